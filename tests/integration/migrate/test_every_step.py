"""Kills at every statement and every verb of the store, in each verb of a migration: doing it again ends it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.migrate.scenes import BEFORE, TYPES, Scene
from tests.torture.values import Fault

pytestmark = [pytest.mark.release, pytest.mark.timeout(3600)]

_WRITING = re.compile(r"\d+ store (upload|copy|take|delete)")


def faults(steps: list[str]) -> Iterator[Fault]:
    """Give a kill before each step, which is one behind the step before; uploads are at work side by side."""
    for number, step in enumerate(steps, 1):
        yield Fault("crash-before", number)
        if number == len(steps) or _WRITING.match(step):
            yield Fault("crash-after", number)
        if " store upload " in step:
            yield Fault("torn-crash", number)


def again(scene: Scene, *verbs: str) -> None:
    """Do it again, the last verb twice: it ends, and the second time there is nothing to do."""
    for verb in (*verbs, verbs[-1]):
        report = getattr(scene.migration(), verb)()
        assert report, report
    assert verbs[-1] != "run" or report.rows == 0, report
    checked = scene.migration().check()
    assert checked, checked


@pytest.mark.parametrize("verb", BEFORE)
@pytest.mark.parametrize("kind", TYPES)
def test_a_killed_verb_is_done_again(database: Any, tmp_path: Path, kind: str, verb: str) -> None:
    with Scene(database, tmp_path / "whole", kind) as whole:
        whole.prepare(verb)
        steps = whole.trace(verb)
        again(whole, verb)
        expected = whole.settled()
    waiting = deque(faults(steps))
    while waiting:
        with Scene(database, tmp_path / "killed", kind) as scene:
            scene.prepare(verb)
            before = scene.picture()
            while waiting and scene.picture() == before:  # a kill that leaves no trace is one like the next
                fault = waiting.popleft()
                scene.meet(verb, fault)
                scene.assert_readable(verb)
            again(scene, verb)
            assert scene.settled() == expected, (fault, steps[fault.step - 1])


@pytest.mark.parametrize(
    ("verb", "then"), [("finish", ["forget"]), ("finish", ["back"]), ("back", ["run", "check", "finish"])]
)
def test_after_a_kill_behind_the_exchange_another_verb_does_as_well(
    database: Any, tmp_path: Path, verb: str, then: list[str]
) -> None:
    with Scene(database, tmp_path / "whole", "path") as whole:
        whole.prepare(verb)
        steps = whole.trace(verb)
        stage = whole.migration().stage
        again(whole, *then)
        expected = whole.settled()
    met = 0
    for number in range(next(number for number, step in enumerate(steps, 1) if " ALTER " in step), len(steps) + 1):
        with Scene(database, tmp_path / "killed", "path") as scene:
            scene.prepare(verb)
            scene.meet(verb, Fault("crash-after", number))
            if scene.migration().stage == stage:
                met += 1
                again(scene, *then)
                assert scene.settled() == expected, steps[number - 1]
    assert met
