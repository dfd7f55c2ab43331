"""A mirror that is slow, or away: who waits for it, how often it is asked, how many copies there are at a time."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

import datajoint_file
from datajoint_file import mirror
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.storage.backend import Capabilities
from datajoint_file.testing.faults import Fault, FaultyBackend
from tests.integration.mirrors import Make, Places, one_warning

SECONDS = 0.2


class Far(FaultyBackend):
    """A disk that says that it is behind a network."""

    at_a_time = 1

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, workers=self.at_a_time, group_below=0)


class Meeting:
    """Waits until so many calls are under way together, and counts how many were; more would be seen."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count)
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, key: str) -> None:
        if "~registry" in key:
            return
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        with suppress(threading.BrokenBarrierError):
            self._barrier.wait(10)
        with self._lock:
            self._now -= 1

    @property
    def was_held(self) -> bool:
        return not self._barrier.broken


def far(found: Places, *faults: Fault, at_a_time: int = 1) -> Far:
    second = pipeline_of(found.connection).second
    assert second is not None
    slow = Far(second.backend, *faults)
    slow.at_a_time = at_a_time
    second.stores._backends[second.project] = slow
    return slow


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number, "raw": (f"{number}.dat", b"%d" % number)} for number in numbers]


def slowly(_: str) -> None:
    time.sleep(SECONDS)


def test_later_does_not_ask_the_mirror(places: Make) -> None:
    found = places(write="later")
    slow = far(found, Fault(None, action=slowly, lasting=True))
    found.table.insert(rows(1, 2, 3))
    assert slow.calls.total() == 0
    assert mirror.run(found.connection, [found.table.database]).copied == 3
    assert slow.calls.total() > 0


def test_both_waits_for_a_slow_mirror_and_has_it_all(places: Make) -> None:
    found = places()
    far(found, Fault(None, action=slowly, lasting=True), at_a_time=4)
    found.table.insert(rows(1, 2, 3, 4))
    first, second = found.both()
    assert first == second
    assert len(first) == 4


def test_a_mirror_that_is_down_is_asked_once_and_not_by_each_insert(places: Make) -> None:
    found = places(when_down="later")
    slow = far(found, Fault(None, lasting=True))
    with one_warning():
        for number in range(5):
            found.table.insert(rows(number))
    assert slow.calls.total() == 1
    assert len(found.table()) == 5


@pytest.mark.parametrize(("asked", "at_a_time"), [(None, 3), (3, 1)])
def test_copies_are_made_so_many_at_a_time(places: Make, asked: int | None, at_a_time: int) -> None:
    found = places(write="later")
    found.table.insert(rows(*range(9)))
    meeting = Meeting(3)
    far(found, Fault("upload", action=meeting, lasting=True), at_a_time=at_a_time)
    assert mirror.run(found.connection, [found.table.database], workers=asked)
    assert (meeting.was_held, meeting.most) == (True, 3)


@pytest.mark.parametrize(("asked", "at_a_time"), [(None, 3), (3, 1)])
def test_an_insert_copies_as_many_at_a_time_as_suits_the_mirror(
    places: Make, asked: int | None, at_a_time: int
) -> None:
    found = places()
    meeting = Meeting(3)
    far(found, Fault("upload", action=meeting, lasting=True), at_a_time=at_a_time)
    some = rows(*range(9))
    if asked is None:
        found.table.insert(some)
    else:
        datajoint_file.stage(found.table, some, "raw", [row["raw"] for row in some], workers=asked)
    assert (meeting.was_held, meeting.most) == (True, 3)
