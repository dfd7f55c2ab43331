"""Verification run: the files of many rows, examined at once, within a budget.

It mends and deletes nothing. How one object is examined stands in `examine`; which rows there are, `verify` tells.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Protocol

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import DataJointError, WorkerError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.verification.budget import Budget
from datajoint_file.verification.check_object import Level, Problem
from datajoint_file.verification.findings import Finding
from datajoint_file.verification.workers import UNREACHABLE_LIMIT, Delegated, Examination, Meter, Threads

_WINDOW = 1_000
"""Rows begun and not yet settled, at most: while one large object is read, others go on."""

_DELEGATED_WINDOW = 30_000
"""The same with an executor: as many as its workers may have, and half as many that others wait for."""

_REMEMBERED = 500_000
"""Objects to remember as fine, at least: another row that names one is not a reason to read it again."""

_IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class FileValue:
    """A value of a ``file`` attribute, as its row has it."""

    table: str  # as people call it, like the attribute
    attribute: str
    name: str  # what the query calls the attribute
    path: str  # the object key; for what cannot be used, whatever stands there, shortened
    metadata: FileMetadata | None  # None if it cannot be used
    fault: str = ""  # why it cannot be used
    schema: str = ""  # whose table it is; empty if that is not known

    @property
    def linked(self) -> str:
        """Where its files are, if they stay where they are."""
        return self.metadata.linked if self.metadata else ""


class ListedRow(Protocol):
    """A row to check, as `subjects` lists it. Used in the thread that lists, never by workers."""

    @property
    def pipeline(self) -> Pipeline:
        """Where its objects are."""

    @property
    def values(self) -> tuple[FileValue, ...]:
        """Its files; none for an attribute that is NULL."""

    def key(self) -> dict[str, Any]:
        """Return its primary key."""

    def position(self) -> str:
        """Return where a later run goes on if this row is the last that was checked."""

    def still_names(self, value: FileValue) -> bool:
        """Ask the database whether the row is there yet and still names the object of *value*."""


@dataclass(slots=True)
class _Begun:
    """A row that has been begun, which in the run, and how many of its values are not settled."""

    number: int
    row: ListedRow
    unsettled: int


@dataclass(slots=True)
class _PendingObject:
    """An object that is being examined, the bytes of it that will be read, and the values that name it."""

    identity: bytes
    size: int
    values: list[tuple[_Begun, FileValue]] = field(default_factory=list)


class _Remembered:
    """Objects known to be fine, as digests. Bounded: the older half is forgotten when the newer one is full."""

    def __init__(self) -> None:
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._newer or identity in self._older

    def add(self, identity: bytes) -> None:
        if len(self._newer) >= _REMEMBERED:
            self._newer, self._older = set(), self._newer
        self._newer.add(identity)


class Verification:
    """One run over rows. After `run`, the attributes say how it ended.

    A value is *settled* when it is known to be fine, or its finding is made. What the store would not say is held back
    until the store has answered about another object, so that an outage is not taken for many lost files.
    """

    def __init__(
        self,
        level: Level,
        workers: int,  # objects at a time; by each task of an executor, if there is one that works in other processes
        budget: Budget,
        *,
        executor: Executor | None = None,  # whose workers examine the objects; threads of this process if there is none
        address_of: Callable[[Pipeline], PipelineAddress] = lambda pipeline: PipelineAddress("", pipeline.project),
        advance: Advance = lambda _: None,  # told how many bytes have been read, one call at a time
        settled: Callable[[Any, FileValue, Finding | None], object] = lambda *_: (
            None
        ),  # told of each value, in the thread of `run`
        idle: Callable[[], object] = lambda: None,  # called while nothing is asked of a database, which may forget us
    ) -> None:
        self.checked = self.directories = self.members = 0
        self.seconds = 0.0
        self.is_complete = False
        self.interruption = ""
        self._level = level
        self._workers = workers
        self._budget = budget
        self._told_of = settled
        self._idle = idle
        self._executor = executor
        self._address_of = address_of
        self._window = _WINDOW if executor is None else _DELEGATED_WINDOW
        self._meter = Meter(advance)
        self._planned = 0
        self._start = time.monotonic()
        self._begun: deque[_Begun] = deque()
        self._by_identity: dict[bytes, _PendingObject] = {}
        self._fine = _Remembered()
        self._bad: dict[bytes, Problem] = {}
        self._suspects: list[tuple[_PendingObject, Problem]] = []
        self._found: list[tuple[int, Finding]] = []
        self._row_count = 0
        self._last: ListedRow | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The problems, in the order of the rows."""
        return tuple(finding for _, finding in sorted(self._found, key=itemgetter(0)))

    @property
    def position(self) -> str | None:
        """Where a later run goes on, also if an exception has ended this one; None if it has not come to a row."""
        return None if self._last is None else self._last.position()

    @property
    def bytes(self) -> int:
        """Bytes that were read."""
        return self._meter.bytes if self._level == "content" else 0

    def run(self, rows: Iterable[ListedRow]) -> None:
        """Check the files of *rows* until they end, the budget is used up, or the store or the database is gone.

        Rows are taken as they are needed. What was begun is finished, except when this is interrupted by an exception.

        Raises
        ------
        DataJointError
            If that is so before anything was checked: the database does not answer, or workers have no configuration
            of the pipeline.
        """
        examination = (
            Threads(self._level, self._workers, self._meter)
            if self._executor is None
            else Delegated(self._executor, self._address_of, self._level, self._workers, self._meter)
        )
        try:
            self._take(rows, examination)
            if not self.interruption:
                self._settle_suspects()
        except DataJointError as error:
            if not self.checked and not isinstance(error, WorkerError):
                raise
            self.is_complete = False  # what was found so far must not be lost
            self.interruption = str(error)
        finally:
            examination.close()
            self.seconds = time.monotonic() - self._start
        self._advance_position()

    def _take(self, rows: Iterable[ListedRow], examination: Examination) -> None:
        self.is_complete = True
        for row in rows:
            if not self._may_begin(examination):
                self.is_complete = False
                break
            self._begin(row, examination)
            while not self.interruption and (
                examination.is_full or (self._by_identity and len(self._begun) >= self._window)
            ):
                self._wait(examination)
            if self.interruption:
                break
        if not self.interruption:
            examination.flush()
        while self._by_identity and not self.interruption:
            self._wait(examination)
        self.is_complete = self.is_complete and not self.interruption

    def _may_begin(self, examination: Examination) -> bool:
        """Tell whether there is budget for another row, waiting where what is being read decides it."""
        if not self._row_count:
            return True  # each run gets on, however small its budget
        if not self._allows():
            examination.flush()
        while not (allows := self._allows()) and self._by_identity and not self.interruption:
            self._wait(examination)
        return allows

    def _allows(self) -> bool:
        planned = self._planned if self._level == "content" else 0
        return self._budget.allows(self.bytes + planned, time.monotonic() - self._start)

    def _begin(self, row: ListedRow, examination: Examination) -> None:
        begun = _Begun(self._row_count, row, len(row.values))
        self._row_count += 1
        self._begun.append(begun)
        for value in row.values:
            if value.metadata is None:
                self._settle(begun, value, Problem("row", "the description of a stored file", value.fault))
            else:
                self._look_up(begun, value, value.metadata, examination)
        self._advance_position()

    def _look_up(self, begun: _Begun, value: FileValue, metadata: FileMetadata, examination: Examination) -> None:
        """Settle *value* if its object is known already, else have the object examined."""
        identity = _identity(begun.row.pipeline, metadata)
        if identity in self._fine:
            self._settle(begun, value, None)
        elif identity in self._bad:
            self._settle(begun, value, self._bad[identity])
        elif identity in self._by_identity:
            self._by_identity[identity].values.append((begun, value))
        else:
            check = self._by_identity[identity] = _PendingObject(identity, metadata.size, [(begun, value)])
            self._planned += check.size
            examination.begin(check, begun.row.pipeline, metadata)

    def _wait(self, examination: Examination) -> None:
        """Wait for the next objects, and settle the values that name them."""
        is_idle = True
        for check, problem in examination.wait(_IDLE_SECONDS):
            is_idle = False
            del self._by_identity[check.identity]
            self._planned -= check.size
            self._conclude(check, problem)
            if self.interruption:
                break
        if is_idle:
            self._idle()
        self._advance_position()

    def _conclude(self, check: _PendingObject, problem: Problem | None) -> None:
        if problem is not None and problem.is_unreachable:
            self._suspects.append((check, problem))
            if len(self._suspects) >= UNREACHABLE_LIMIT:
                in_a_row = f"{counted(len(self._suspects), 'object')} in a row could not be asked for"
                what = "the store cannot be reached" if problem.is_configured else "the store is not configured"
                self.interruption = f"{what}: {in_a_row}, the last with: {problem.found}"
            return
        self._settle_suspects()  # the store answers: what it would not say is about those objects
        if problem is None:
            self._fine.add(check.identity)
        else:
            self._bad[check.identity] = problem
        self._settle_all(check, problem)

    def _settle_suspects(self) -> None:
        suspects, self._suspects = self._suspects, []
        for check, problem in suspects:
            self._settle_all(check, problem)
        self._advance_position()

    def _settle_all(self, check: _PendingObject, problem: Problem | None) -> None:
        for begun, value in check.values:
            self._settle(begun, value, problem)

    def _settle(self, begun: _Begun, value: FileValue, problem: Problem | None) -> None:
        is_there = problem is None or value.metadata is None or begun.row.still_names(value)
        begun.unsettled -= 1
        self.checked += 1
        if value.metadata is not None and value.metadata.files is not None:
            self.directories += 1
            self.members += value.metadata.files
        if problem is None or not is_there:
            if is_there:
                self._told_of(begun.row, value, None)
            return  # a row that is gone, or names another object by now, has no problem
        where = value.table, value.attribute, begun.row.key(), value.path
        findings = [
            Finding(one.kind, *where, one.expected, one.found, one.member, value.linked if one.member else "")
            for one in (problem, *problem.others)
        ]
        self._found += [(begun.number, finding) for finding in findings]
        self._told_of(begun.row, value, findings[0])

    def _advance_position(self) -> None:
        """Move on to the last row before which, and with which, all is settled."""
        while self._begun and not self._begun[0].unsettled:
            self._last = self._begun.popleft().row


def _identity(pipeline: Pipeline, metadata: FileMetadata) -> bytes:
    """Return what is equal for values that one look at the store answers."""
    claim = f"{id(pipeline)}\n{metadata.path}\n{metadata.size}\n{metadata.hash}"
    return hashlib.blake2b(claim.encode(), digest_size=16).digest()
