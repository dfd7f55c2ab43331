"""Deleting what is due: in which order, and what keeps an object alive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from datajoint_file.collector.reclaim import Due, Tally, reclaim

from datajoint_file.collector.plan import Refusal, refuse
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.testing import Fault, FaultyBackend

UNIT = "a" * 16 + "-" + "b" * 26


def key(number: int) -> str:
    return f"lab/s/objects/T-a/{UNIT[:-1]}{'abcdefghijklmnopqrstuvwxyz234567'[number % 32]}/{number}"


class Shelf:
    """A table in memory, which writes down in which order things happen."""

    def __init__(self, rows: dict[int, Due], busy: Sequence[int] = (), *, is_certain: bool = True) -> None:
        self.rows = rows
        self.is_certain = is_certain
        self.busy = busy
        self.log: list[str] = []

    @contextmanager
    def locked(self, rows: Sequence[int]) -> Iterator[list[Due]]:
        self.log.append("lock")
        yield [self.rows[number] for number in rows if number in self.rows and number not in self.busy]
        self.log.append("commit")

    def condemn(self, rows: Sequence[int]) -> bool:
        self.log.append(f"condemn {sorted(rows)}")
        return self.is_certain

    def mark_reclaimed(self, rows: Sequence[int]) -> list[int]:
        self.log.append(f"close {sorted(rows)}")
        for number in rows:
            del self.rows[number]
        return list(rows)


def shelf(count: int, busy: Sequence[int] = ()) -> Shelf:
    return Shelf({number: Due(number, key(number), 1) for number in range(count)}, busy)


def run(table: Shelf, tally: Tally, in_use: set[str] | None = None) -> None:
    def referenced(keys: Sequence[str]) -> set[str]:
        table.log.append("look")
        return (in_use or set()).intersection(keys)

    reclaim(table, [list(range(10)), list(range(10, 20))], referenced, tally, lambda _: None)


@pytest.fixture
def backend(root: Path) -> FaultyBackend:
    return FaultyBackend(LocalBackend(root, "lab"))


@pytest.fixture
def tally(backend: FaultyBackend) -> Tally:
    return Tally("lab", backend)


@pytest.mark.parametrize("is_certain", [True, False])
def test_each_batch_is_locked_looked_at_condemned_deleted_and_noted(
    tally: Tally, backend: FaultyBackend, is_certain: bool
) -> None:
    table = shelf(12)
    table.is_certain = is_certain
    run(table, tally)
    expected = []
    for rows in (list(range(10)), [10, 11]):
        ends = ["commit", f"close {rows}"] if is_certain else [f"close {rows}", "commit"]
        expected += ["lock", "look", f"condemn {rows}", *ends]
    assert table.log == expected
    assert [verb for verb, _ in backend.history] == ["delete"] * 12
    assert (tally.deleted.count, tally.spared, table.rows) == (12, 8, {})


def test_what_is_referenced_or_locked_is_spared(tally: Tally, backend: FaultyBackend) -> None:
    table = shelf(4, busy=[1])
    run(table, tally, in_use={key(2)})
    assert sorted(table.rows) == [1, 2]
    assert {deleted for _, deleted in backend.history} == {key(0), key(3)}
    assert "a row refers to it" in tally.notes[0]


def test_no_answer_deletes_nothing(tally: Tally, backend: FaultyBackend) -> None:
    def referenced(keys: Sequence[str]) -> set[str]:
        raise refuse(Refusal("unreadable", "x", "y"))

    with pytest.raises(CollectionRefusedError):
        reclaim(shelf(4), [[0, 1, 2, 3]], referenced, tally, lambda _: None)
    assert backend.history == []


@pytest.mark.parametrize("bad", ["lab/README.md", "other/s/objects/T-a/" + UNIT + "/x", "lab/~registry/x.json", ""])
def test_key_of_nothing_that_an_insert_made_is_never_deleted(tally: Tally, backend: FaultyBackend, bad: str) -> None:
    run(Shelf({0: Due(0, bad, 1)}), tally)
    assert (backend.history, tally.spared) == ([], 20)


def test_row_that_contradicts_itself_is_spared(tally: Tally, backend: FaultyBackend) -> None:
    run(Shelf({0: Due(0, key(0), 1, "it does not fit")}), tally)
    assert (backend.history, tally.notes) == ([], [f"{key(0)} was left as it is: it does not fit"])


def test_failures_are_named_and_their_rows_stay(tally: Tally, backend: FaultyBackend) -> None:
    backend.faults = [Fault("delete", call=2)]
    table = shelf(4)
    run(table, tally)
    assert [failed for failed, _ in tally.failures] == [key(1)]
    assert sorted(table.rows) == [1]


def test_store_that_refuses_everything_is_not_asked_for_ever(tally: Tally, backend: FaultyBackend) -> None:
    backend.faults = [Fault("delete", lasting=True)]
    table = Shelf({number: Due(number, key(number), 1) for number in range(100)})
    reclaim(table, [list(range(50)), list(range(50, 100))], lambda keys: set(), tally, lambda _: None)
    assert backend.calls["delete"] == 20
    assert len(table.rows) == 100
    assert "20 failures in a row" in tally.notes[-1]
