"""Two-phase deletion of what is due, a few objects at a time: locked, looked at again, condemned, deleted, noted.

Wherever this is cut short, an object may be gone while its row is still there; the next run deletes nothing twice over
that, and removes the row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import Protocol

from datajoint_file.collector.evidence import NOTHING, Amount
from datajoint_file.collector.workers import NOT_OURS, Deleted, Helpers, delete_object
from datajoint_file.concurrency.progress import Advance
from datajoint_file.model.object_keys import is_candidate
from datajoint_file.storage.backend import StorageBackend

_HOPELESS = 20
"""After so many failures in a row the store, or the right to delete, is what fails."""

_MANY = 100
"""Notes of one kind."""


@dataclass(frozen=True, slots=True)
class Due:
    """One row of a table whose object may be deleted, if nothing refers to it after all."""

    number: int
    key: str
    size: int  # 0 where nobody knows
    problem: str = ""  # why it must not be touched, if the row itself says so


class DueTable(Protocol):
    """Rows of one table, each about an object that may become due."""

    def locked(self, rows: Sequence[int]) -> AbstractContextManager[list[Due]]:
        """Open a transaction, and give those of *rows* that are due now and that nobody else has locked."""

    def condemn(self, rows: Sequence[int]) -> bool:
        """Within that transaction, see to it that nobody can use the objects of *rows* any more.

        Return whether that is certain once it is committed: the objects are deleted then, and the lock is not needed. A
        lock goes with its session, which can end while a slow store deletes.
        """

    def mark_reclaimed(self, rows: Sequence[int]) -> Collection[int]:
        """Note that the objects of *rows* are gone; return those of which nobody else has noted it."""


@dataclass
class Tally:
    """What has been done so far."""

    project: str  # the only one whose objects may be deleted
    backend: StorageBackend
    with_remains: bool = False  # remove as well what unfinished uploads of the same keys have left
    helpers: Helpers | None = None  # they delete only what is condemned, unless they are threads of this process
    deleted: Amount = NOTHING
    discarded: Amount = NOTHING
    spared: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _failed_in_a_row: int = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether nothing seems to work any more."""
        return self._failed_in_a_row >= _HOPELESS

    def objection_to(self, due: Due) -> str:
        """Say why an object must not be deleted, whoever refers to it or not; nothing if it may be."""
        return due.problem or ("" if is_candidate(self.project, due.key) else NOT_OURS)

    def delete(self, due: Sequence[Due], *, is_locked: bool) -> Iterator[Due]:
        """Delete objects by their exact keys, and give those that are gone."""
        by_key: dict[str, list[Due]] = {}
        for one in due:
            if not self.objection_to(one):
                by_key.setdefault(one.key, []).append(one)
        with closing(self._deleted(list(by_key), is_locked=is_locked)) as results:
            for result in results:
                self.discarded += result.discarded
                if result.problem:
                    self.failures.append((result.key, result.problem))
                    self._failed_in_a_row += 1
                else:
                    self._failed_in_a_row = 0
                    yield from by_key[result.key]

    def _deleted(self, keys: Sequence[str], *, is_locked: bool) -> Generator[Deleted, None, None]:
        helpers = self.helpers
        if helpers is not None and helpers.may_delete(is_locked=is_locked):
            yield from helpers.delete(keys, with_remains=self.with_remains)
            return
        for key in keys:
            if self.is_hopeless:
                return
            yield delete_object(self.backend, self.project, key, with_remains=self.with_remains)

    def spare(self, due: Due, reason: str) -> None:
        """Leave an object and its row as they are, and say why."""
        self.spared += 1
        if len(self.notes) < _MANY:
            self.notes.append(f"{due.key} was left as it is: {reason}")


def reclaim(
    table: DueTable,
    batches: Iterable[Sequence[int]],
    referenced: Callable[[Sequence[str]], set[str]],
    tally: Tally,
    advance: Advance,
) -> None:
    """Delete the objects of rows that are due, a batch of row numbers at a time.

    *referenced* returns which of some keys a row refers to at this moment; *advance* is told of rows dealt with.

    Raises
    ------
    CollectionRefusedError
        If *referenced* cannot tell; nothing of that batch has been deleted.
    """
    for rows in batches:
        if tally.is_hopeless:
            tally.notes.append(f"stopped after {_HOPELESS} failures in a row")
            return
        if not rows:
            continue
        with table.locked(rows) as found:
            tally.spared += len(rows) - len(found)
            due = _unreferenced(found, referenced, tally)
            is_certain = table.condemn([one.number for one in due])
            if not is_certain:
                _delete(table, due, tally, is_locked=True)
        if is_certain:
            _delete(table, due, tally, is_locked=False)
        advance(len(rows))


def _unreferenced(due: Sequence[Due], referenced: Callable[[Sequence[str]], set[str]], tally: Tally) -> list[Due]:
    """Return those of *due* that may be deleted, and say of the others why not."""
    in_use = referenced([one.key for one in due]) if due else set[str]()
    free = []
    for one in due:
        reason = "a row refers to it" if one.key in in_use else tally.objection_to(one)
        if reason:
            tally.spare(one, reason)
        else:
            free.append(one)
    return free


def _delete(table: DueTable, due: Sequence[Due], tally: Tally, *, is_locked: bool) -> None:
    """Delete the objects of *due* and note that they are gone."""
    gone = list(tally.delete(due, is_locked=is_locked))
    noted = set(table.mark_reclaimed([one.number for one in gone]))
    for one in gone:
        if one.number in noted:  # by us and by nobody else
            tally.deleted = tally.deleted.plus(one.size)
