"""Mirror run: all values of a project, looked at in both places and mended, several at a time.

It looks before it copies: so what was cut short goes on where it was. How one value is mended is told by
`verification.mend`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any

from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import ConfigurationError, StorageError, VerificationError, brief_traceback
from datajoint_file.hooks.connections import connection_of, pipeline_of
from datajoint_file.mirror.ledger import Ledger, ledger
from datajoint_file.mirror.marks import copy_marks
from datajoint_file.mirror.values import Fault, Stored, values_of
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.wording import counted, format_size
from datajoint_file.pipeline.mirroring import batches_of, copy_objects, require_mirror
from datajoint_file.verification.mend import Mended, Sides, mend

_BATCH = 1_000
"""Values that are listed, then looked at: no query waits for a copy."""

_UNREACHABLE = 10
"""After so many in a row a place cannot be reached, and not some objects of it."""

_SHOWN, _KEPT = 20, 10_000
"""Problems that a report prints, and that it has."""

_ROWS_NAMED = 3


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What a run has done. **True if both places have all now**, as far as rows and histories name it.

    Parameters
    ----------
    values : int
        Files and directories that were looked at, each once.
    copied, restored : int
        Objects that the mirror was given, and that the store was: those of a directory are many.
    size : int
        Their bytes.
    seconds : float
        How long it took.
    damaged : int
        Of the problems those that are no place's silence: objects that are missing or wrong.
    problems : tuple of (str, str)
        Object keys, or rows, and what is wrong with them: 10,000 at most.
    rows : mapping of str to tuple of str
        Which rows name an object with a problem, by its key: table, attribute and primary key of the first three. None
        of what is staged or only a history keeps, nor if the run could not go on.
    interruption : str
        Why it could not go on; empty if it could.
    """

    values: int = 0
    copied: int = 0
    restored: int = 0
    size: int = 0
    seconds: float = 0.0
    damaged: int = 0
    problems: tuple[tuple[str, str], ...] = ()
    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    interruption: str = ""

    def __bool__(self) -> bool:
        return not self.problems and not self.interruption

    @property
    def summary(self) -> str:
        """The run on one line."""
        done = f"{counted(self.copied, 'object')} copied to the mirror, {self.restored} to the store"
        text = f"{counted(self.values, 'file or directory', 'files or directories')} looked at"
        text = f"{text}: {done} ({format_size(self.size)}) in {self.seconds:.1f} s"
        if self.problems:
            text += f"; {counted(len(self.problems), 'problem')}"
        return f"{text}; stopped: {self.interruption}" if self.interruption else text

    def __str__(self) -> str:
        lines = [self.summary, *(f"  {told}" for told in islice(self.told, _SHOWN))]
        left = len(self.problems) - _SHOWN
        return "\n".join([*lines, *([f"  and {left} more in .problems"] if left > 0 else [])])

    @property
    def told(self) -> Iterator[str]:
        """Each problem on one line: which row names it, if one does, which object it is, and what is wrong."""
        for where, why in self.problems:
            rows = self.rows.get(where, ())
            named = f"{rows[0]}{' and others' if len(rows) > 1 else ''}: " if rows else ""
            yield f"{named}{where}: {why}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        problems = [{"path": one, "problem": why, "rows": list(self.rows.get(one, ()))} for one, why in self.problems]
        document = {"ok": bool(self), **asdict(self), "problems": problems}
        del document["rows"]
        return document


@brief_traceback
def run(
    connection: Any = None,
    names: Sequence[str] = (),
    *,
    verify: bool = False,
    workers: int | None = None,
    progress: bool | None = None,
) -> MirrorReport:
    """Bring what the mirror has not from the store, and what the store has lost from the mirror.

    All that rows name is looked at, what is staged, and what was removed from rows and is kept yet. What is missing or
    has another size is copied, verified on its way; nothing is deleted but an object that is proven wrong, when the
    other one was read and found right. What both places have wrong is left as it is, and told. Links are not stored,
    and not mirrored.

    Parameters
    ----------
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        Whose database and pipeline; DataJoint's default connection if not given.
    names : sequence of str
        Schemas (``"lab_ephys"``) or tables (``"lab_ephys.Recording"``); all of the project if empty.
    verify : bool
        Read and hash all that both places have.
    workers : int, optional
        Values at a time; what suits the stores if not given.
    progress : bool, optional
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

    Returns
    -------
    MirrorReport
        True if both places have everything.

    Raises
    ------
    ConfigurationError
        If ``datajoint.toml`` names no mirror, or the place is no mirror of this project.
    LookupError
        If there is no schema or table of a name, or none has files of the project.
    DataJointError
        If the database does not answer.

    Examples
    --------
    >>> print(datajoint_file.mirror.run())  # doctest: +SKIP
    12 files or directories looked at: 3 objects copied to the mirror, 0 to the store (1.2 GB) in 8.1 s
    """
    connection = connection_of(connection)
    pipeline = pipeline_of(connection)
    if pipeline.second is None:
        raise ConfigurationError(
            f"{pipeline.settings.storage.where} names no mirror: add a table [storage.mirror], written like [storage]"
        )
    require_mirror(pipeline, pipeline.second)
    sides = Sides(pipeline.first, pipeline.second)
    copy_marks(sides.first, sides.second)
    with ledger() as noted:
        one = MirrorRun(sides, noted, by_hash=verify, workers=workers, progress=progress)
        return one.through(partial(values_of, connection, pipeline.project, names))


class MirrorRun:
    """One run through values, which may go through them again: what was found fine is not looked at twice."""

    def __init__(
        self,
        sides: Sides,
        noted: Ledger,
        *,
        by_hash: bool,
        workers: int | None = None,
        progress: bool | None = None,
    ) -> None:
        self._sides = sides
        self._noted = noted
        self._by_hash = by_hash
        self._workers = workers or max(sides.first.workers, sides.second.workers)
        self._progress = progress
        self._lock = Lock()
        self._stop = Stop()
        self._in_a_row = 0
        self._start = time.monotonic()
        self._sum = Mended()
        self._values = 0
        self._interruption = ""
        self._wrong = dict[str, Mended]()  # by the path of the value
        self._rows: Mapping[str, tuple[str, ...]] = {}

    def through(self, values: Callable[[], Iterable[Stored | Fault]]) -> MirrorReport:
        """Mend all of *values* that are not known to be fine. Listed and noted in the caller's thread."""
        waiting = iter(values())
        with progress_bar(f"mirroring {self._sides.first.project}", None, self._progress) as show:

            def advance(count: int) -> None:
                with self._lock:
                    show(count)

            while not self._interruption and (some := list(islice(waiting, _BATCH))):
                self._mend_all(some, advance)
        if self._wrong and not self._interruption:
            self._look_again(values())
        return self._report()

    def _look_again(self, values: Iterable[Stored | Fault]) -> None:
        """Find out which rows name what is wrong. What nobody names any more was deleted meanwhile, which is fine."""
        named = dict[str, list[str]]()
        for one in values:
            if isinstance(one, Stored) and one.metadata.path in self._wrong:
                rows = named.setdefault(one.metadata.path, [])
                if len(rows) < _ROWS_NAMED and one.where:
                    rows.append(one.where)
        self._rows = {
            where: tuple(rows) for path, rows in named.items() if rows for where, _ in self._wrong[path].problems
        }
        for path in self._wrong.keys() - named.keys():
            gone = self._wrong.pop(path)
            self._sum.damaged -= gone.damaged
            self._sum.problems = [one for one in self._sum.problems if one not in gone.problems]

    def _mend_all(self, some: Sequence[Stored | Fault], advance: Advance) -> None:
        new, settled = list[FileMetadata](), list[tuple[FileMetadata, Mended]]()
        for one in some:
            if not isinstance(one, Stored):
                self._problem(*one)
            elif self._noted.add(one.metadata):
                new.append(one.metadata)
        by_path = {one.path: one for one in new}
        # rows may say different things of one object: each is looked at
        apart = {(one.path, one.hash, one.size): one for one in new}
        second = self._sides.second
        if second.backend.capabilities.group_below:
            batches = (some for some in batches_of(second, by_path.values()) if len(some) > 1)
            run_all((partial(self._copy, some, advance) for some in batches), self._workers, Stop())
        jobs = (partial(self._mend, one, advance, settled) for one in apart.values())
        run_all(jobs, self._workers, Stop())
        self._values += len(apart)
        for metadata, done in settled:
            self._noted.settle(metadata, done.holdings, is_fine=done.is_fine)

    def _copy(self, some: Sequence[FileMetadata], advance: Advance) -> None:
        """Copy small files that the mirror has not, and waits for together. What fails is looked at one by one."""
        with suppress(StorageError, VerificationError):
            missing = [one for one in some if not self._sides.second.backend.exists(one.path)]
            if missing:
                self._sides.second.stores.require_present(missing[0])  # an empty directory has none of them, either
                copy_objects(self._sides.first, self._sides.second, missing, advance)
                with self._lock:
                    self._sum.copied += len(missing)
                    self._sum.size += sum(one.size for one in missing)

    def _mend(self, metadata: FileMetadata, advance: Advance, settled: list[tuple[FileMetadata, Mended]]) -> None:
        if self._stop.is_set():
            return
        done = mend(self._sides, metadata, by_hash=self._by_hash, advance=advance)
        with self._lock:
            self._sum.copied += done.copied
            self._sum.restored += done.restored
            self._sum.size += done.size
            self._sum.damaged += done.damaged
            self._in_a_row = self._in_a_row + 1 if done.is_unreachable else 0
            for where, why in done.problems:
                self._problem(where, why)
            if done.problems and len(self._wrong) < _KEPT:
                self._wrong[metadata.path] = done
            settled.append((metadata, done))
            if self._in_a_row >= _UNREACHABLE and not self._stop.is_set():
                self._interruption = f"one of the places cannot be reached: {done.problems[-1][1]}"
                self._stop.set()

    def _problem(self, where: str, why: str) -> None:
        if len(self._sum.problems) < _KEPT and (where, why) not in self._sum.problems[-_SHOWN:]:
            self._sum.problems.append((where, why))

    def _report(self) -> MirrorReport:
        done = self._sum
        seconds = round(time.monotonic() - self._start, 3)
        sums = (self._values, done.copied, done.restored, done.size, seconds, done.damaged)
        return MirrorReport(*sums, tuple(done.problems), self._rows, self._interruption)
