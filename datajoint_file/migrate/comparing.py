"""Comparison of new values with old ones: both are read, byte by byte; nothing that was noted is taken for granted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import attrgetter
from threading import Lock
from typing import Any

from datajoint_file.concurrency.executors import TASK_BYTES, delegated
from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.worker_address import address_of
from datajoint_file.migrate.note_table import Note, NoteTable
from datajoint_file.migrate.old_rows import OldRow, OldRows
from datajoint_file.migrate.originals import OF_ONE_ROW, Kind, as_file, digests, has_path
from datajoint_file.migrate.report import MigrationProblem
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.manifests import manifest_of
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.verification.examine import examine

_AT_ONCE, _DELEGATED_AT_ONCE, _ROWS_OF_TASK = 200, 2_000, 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """The two sides of one row, wherever they are read."""

    number: int  # among those that are compared together
    shown: str  # its key
    attribute: str
    new: str  # what has the file
    metadata: FileMetadata
    value: Any  # what an insert takes
    place: str  # what messages call it


@dataclass(slots=True)
class ComparisonTask:
    """A task to a worker: rows whose old values stand at paths that it can read."""

    address: PipelineAddress
    stop: Stop
    some: list[Comparison]


class Comparer:
    """Compares the files of rows with what they were made of.

    Parameters
    ----------
    rows : OldRows
        The rows of the table.
    notes : NoteTable
        Where it is noted what was found.
    kind : Kind
        What the old values are.
    workers : int, optional
        Rows to compare at a time.
    executor : Executor, optional
        Whose workers compare what stands at a path.
    """

    def __init__(
        self,
        rows: OldRows,
        notes: NoteTable,
        kind: Kind,
        *,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._rows, self._notes, self._kind, self._executor = rows, notes, kind, executor
        self._pipeline = pipeline_of(rows.connection, rows.table.database)
        self._workers = workers or self._pipeline.workers
        self._lock = Lock()
        self.count = self.size = 0
        self.problems: list[MigrationProblem] = []

    def compare(self, chosen: Iterable[OldRow], advance: Advance) -> Iterator[int]:
        """Compare rows, some at a time, and give how many these were. What is equal is noted."""
        waiting = iter(chosen)
        while some := list(islice(waiting, _AT_ONCE if self._executor is None else _DELEGATED_AT_ONCE)):
            reasons, sent = dict[int, str](), list[Comparison]()
            run_all(
                [partial(self._look, number, row, reasons, sent) for number, row in enumerate(some)],
                self._workers,
                Stop(),
            )
            if self._executor is not None and sent:
                self._delegate(self._executor, sent, reasons)
            self._notes.set_checked([_note(row) for number, row in enumerate(some) if number not in reasons])
            self._notes.unchecked([_note(some[number]) for number in reasons])
            told = sorted(reasons.items())
            self.problems += [MigrationProblem(self._rows.shown(some[number]), reason) for number, reason in told]
            advance(len(some))
            yield len(some)

    def _look(self, number: int, row: OldRow, reasons: dict[int, str], sent: list[Comparison]) -> None:
        """Compare a row, or have it *sent*."""
        names = self._rows.names
        try:
            metadata = FileMetadata.from_json(json.loads(row.metadata or "null"))
            original = self._kind.original(row.old)
        except OF_ONE_ROW as error:
            reasons[number] = str(error)
            return
        shown = self._rows.shown(row)
        one = Comparison(number, shown, names.name, names.new, metadata, original.value, original.place)
        if self._executor is not None and has_path(original.value):
            sent.append(one)
        else:
            self._end(one, _difference(self._pipeline, one, Stop()), reasons)

    def _delegate(self, executor: Executor, sent: list[Comparison], reasons: dict[int, str]) -> None:
        address, stop = address_of(self._pipeline, self._rows.connection), Stop()
        parts = batches(
            sorted(sent, key=attrgetter("number")), _ROWS_OF_TASK, lambda one: one.metadata.size, TASK_BYTES
        )
        tasks = (ComparisonTask(address, stop, part) for part in parts)
        for task, outcome in delegated(executor, compare_all, tasks, stop=stop):
            for one, reason in zip(task.some, outcome.result(), strict=True):
                self._end(one, reason, reasons)

    def _end(self, one: Comparison, reason: str, reasons: dict[int, str]) -> None:
        if reason:
            reasons[one.number] = reason
            return
        with self._lock:
            self.count, self.size = self.count + 1, self.size + one.metadata.size


def compare_all(task: ComparisonTask) -> list[str]:
    """Compare the rows of a task, wherever this is called; say of each in what its sides differ.

    Raises
    ------
    ConfigurationError
        If this process has no configuration of the pipeline, or one with another store.
    StorageError
        If a store cannot be reached.
    """
    pipeline = task.address.same_store()
    return [_difference(pipeline, one, task.stop) for one in task.some]


def _difference(pipeline: Pipeline, one: Comparison, stop: Stop) -> str:
    """Say in what the stored bytes differ from the old ones; nothing if they do not."""
    try:
        return _told_difference(pipeline, one, lambda _: stop.check())
    except OF_ONE_ROW as error:
        return str(error)


def _told_difference(pipeline: Pipeline, one: Comparison, advance: Advance) -> str:
    problem = examine(pipeline, one.metadata, "content", advance)
    if problem is not None and problem.is_unreachable:
        raise StorageUnavailableError(f"{one.shown}: {problem.found}")
    if problem is not None:
        return (
            f"what is stored is not sound: expected {problem.expected}, found {problem.found}; set "
            f"{one.new} to None, and run again"
        )
    with as_file(one.value, one.attribute) as source:
        old = digests(source, advance)
    if one.metadata.is_directory:
        manifest = manifest_of(pipeline, one.metadata, is_kept=False)
        new = {member.name: (member.size, f"sha256:{member.digest}") for member in manifest}
        new |= {f"{name.rstrip('/')}/": (0, "") for name in manifest.empty()}
    else:
        new = {"": (one.metadata.size, one.metadata.hash)}
    if different := sorted({name for name, _ in set(old.items()) ^ set(new.items())}):
        what = ", ".join(filter(None, different[:5]))
        return (
            f"the file is not what {one.place} has{f', in {what}' if what else ''}: "
            f"expected {_told(old, different)}, found {_told(new, different)}; "
            "change the old value (write it again), and run again"
        )
    return ""


def _note(row: OldRow) -> Note:
    return row.cell, row.fingerprint or "", row.former or ""


def _told(digests_: Any, different: list[str]) -> str:
    size, hash_ = digests_.get(different[0], (0, "nothing"))
    return f"{size} bytes, {hash_ or 'an empty directory'}"
