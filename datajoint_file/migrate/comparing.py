"""Comparison of new values with old ones: both are read, byte by byte; nothing that was noted is taken for granted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.migrate.note_table import Note, NoteTable
from datajoint_file.migrate.old_rows import OldRow, OldRows
from datajoint_file.migrate.originals import OF_ONE_ROW, Kind, as_file, digests
from datajoint_file.migrate.report import MigrationProblem
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.manifests import manifest_of
from datajoint_file.verification.examine import examine

_AT_ONCE = 200


class Comparer:
    """Compares the files of rows with what they were made of."""

    def __init__(self, rows: OldRows, notes: NoteTable, kind: Kind) -> None:
        self._rows, self._notes, self._kind = rows, notes, kind
        self._pipeline = pipeline_of(rows.connection, rows.table.database)
        self._lock = Lock()
        self.count = self.size = 0
        self.problems: list[MigrationProblem] = []

    def compare(self, chosen: Iterable[OldRow], advance: Advance) -> Iterator[int]:
        """Compare rows, and give after each some how many. What is equal is noted."""
        waiting = iter(chosen)
        while some := list(islice(waiting, _AT_ONCE)):
            reasons: dict[int, str] = {}
            jobs: list[Callable[[], None]] = [
                partial(self._look, number, row, reasons) for number, row in enumerate(some)
            ]
            run_all(jobs, self._pipeline.workers, Stop())
            self._notes.set_checked([_note(row) for number, row in enumerate(some) if number not in reasons])
            self._notes.unchecked([_note(some[number]) for number in reasons])
            told = sorted(reasons.items())
            self.problems += [MigrationProblem(self._rows.shown(some[number]), reason) for number, reason in told]
            advance(len(some))
            yield len(some)

    def _look(self, number: int, row: OldRow, reasons: dict[int, str]) -> None:
        try:
            metadata = FileMetadata.from_json(json.loads(row.metadata or "null"))
            reason = self._difference(row, metadata)
        except OF_ONE_ROW as error:
            reasons[number] = str(error)
            return
        if reason:
            reasons[number] = reason
            return
        with self._lock:
            self.count, self.size = self.count + 1, self.size + metadata.size

    def _difference(self, row: OldRow, metadata: FileMetadata) -> str:
        """Say in what the stored bytes differ from the old ones; nothing if they do not."""
        problem = examine(self._pipeline, metadata, "content", lambda _: None)
        if problem is not None and problem.is_unreachable:
            raise StorageUnavailableError(f"{self._rows.shown(row)}: {problem.found}")
        if problem is not None:
            return (
                f"what is stored is not sound: expected {problem.expected}, found {problem.found}; set "
                f"{self._rows.names.new} to None, and run again"
            )
        original = self._kind.original(row.old)
        with as_file(original.value, self._rows.names.name) as source:
            old = digests(source, lambda _: None)
        if metadata.is_directory:
            manifest = manifest_of(self._pipeline, metadata, is_kept=False)
            new = {member.name: (member.size, f"sha256:{member.digest}") for member in manifest}
            new |= {f"{name.rstrip('/')}/": (0, "") for name in manifest.empty()}
        else:
            new = {"": (metadata.size, metadata.hash)}
        if different := sorted({name for name, _ in set(old.items()) ^ set(new.items())}):
            what = ", ".join(filter(None, different[:5]))
            return (
                f"the file is not what {original.place} has{f', in {what}' if what else ''}: "
                f"expected {_told(old, different)}, found {_told(new, different)}; "
                "change the old value (write it again), and run again"
            )
        return ""


def _note(row: OldRow) -> Note:
    return row.cell, row.fingerprint or "", row.former or ""


def _told(digests_: Any, different: list[str]) -> str:
    size, hash_ = digests_.get(different[0], (0, "nothing"))
    return f"{size} bytes, {hash_ or 'an empty directory'}"
