"""Moving of values, a batch at a time: bytes first, by the same way as any insert, then rows that are as they were.

A row whose old value, or whose file, was changed meanwhile is left to the next pass, and so is what was stored for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.hooks.tables import Row
from datajoint_file.insert.replaced import Replaced
from datajoint_file.insert.statement import Statement
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.transactions import claims_of, transaction_for
from datajoint_file.migrate.note_table import MADE, NoteTable
from datajoint_file.migrate.old_rows import OldRow, OldRows
from datajoint_file.migrate.originals import OF_ONE_ROW, Kind, has_path
from datajoint_file.migrate.report import MigrationProblem
from datajoint_file.migrate.ways import Ways
from datajoint_file.model.metadata import FileMetadata

BATCH_ROWS, BATCH_BYTES = 200, 2**30
"""A batch is a transaction: what a failure in it costs is done again. Larger ones are hardly faster."""

_LOOKS_AT_ONCE = 4


@dataclass(slots=True)
class Moved:
    """What was moved by now."""

    rows: int = 0
    size: int = 0
    emptied: int = 0
    problems: list[MigrationProblem] = field(default_factory=list)


class Mover:
    """Makes files of the old values of rows.

    Parameters
    ----------
    rows : OldRows
        The rows of the table.
    notes : NoteTable
        Where it is noted what was done.
    kind : Kind
        What the old values are.
    ways : Ways
        How bytes become files.
    workers : int, optional
        Files to send at a time.
    executor : Executor, optional
        Whose workers send what stands at a path. All else is sent from here.
    """

    def __init__(
        self,
        rows: OldRows,
        notes: NoteTable,
        kind: Kind,
        ways: Ways,
        *,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._rows, self._notes, self._kind, self._ways = rows, notes, kind, ways
        self._workers, self._executor = workers, executor
        self._table, self._new = rows.table, rows.names.new
        self.moved = Moved()

    def move(self, chosen: Iterable[OldRow]) -> Iterator[int]:
        """Move rows, and give after each batch how many were looked at."""
        for batch in batches(chosen, BATCH_ROWS, lambda row: row.old.size, BATCH_BYTES):
            foreign = [row for row in batch if row.is_foreign]
            for row in foreign:
                self._note(
                    row, f"{self._new} has a file that was not made of the old value: set it to None, or keep it"
                )
            gone = [row for row in batch if row.fingerprint is None and not row.is_foreign]
            if gone:
                self._empty(gone)
            self._move([row for row in batch if row.fingerprint is not None and not row.is_foreign])
            yield len(batch)

    def _move(self, batch: list[OldRow]) -> None:
        found = self._looked_at(batch)
        for is_sent in (True, False):
            if some := [one for one in found if is_sent == (self._executor is not None and has_path(one[1]))]:
                self._store(some, self._executor if is_sent else None)

    def _looked_at(self, batch: list[OldRow]) -> list[tuple[OldRow, Any]]:
        """Return what an insert takes for each row whose bytes are there."""
        found, failed = dict[int, Any](), dict[int, str]()

        def look(index: int) -> None:
            try:
                found[index] = self._ways.value(self._kind.original(batch[index].old))
            except OF_ONE_ROW as error:
                failed[index] = str(error)

        run_all([partial(look, index) for index in range(len(batch))], _LOOKS_AT_ONCE, Stop())
        for index, reason in sorted(failed.items()):
            self._note(batch[index], reason)
        return [(row, found[index]) for index, row in enumerate(batch) if index in found]

    def _store(self, values: list[tuple[OldRow, Any]], executor: Executor | None) -> None:
        """Store the values of rows and let these name them; where one fails, all one by one."""
        try:
            self._store_together(values, executor)
        except OF_ONE_ROW as error:
            if len(values) == 1:
                self._note(values[0][0], str(error))
                return
            middle = len(values) // 2
            self._store(values[:middle], executor)
            self._store(values[middle:], executor)

    def _store_together(self, values: list[tuple[OldRow, Any]], executor: Executor | None) -> None:
        statement = Statement(self._table, (self._new,), "update")
        given = [Row(index, {**self._rows.named(row), self._new: value}) for index, (row, value) in enumerate(values)]
        claims = claims_of(self._table.connection)
        claims.is_used = True
        claims.forget()
        with statement.sources_kept():
            stored = statement.store(given, workers=self._workers, executor=executor)
            again = [given[index] for index, (row, _) in enumerate(values) if row.former is not None]
            replaced = Replaced(statement, "update", again) if again else None
            made: list[tuple[OldRow, FileMetadata]] = []
            with transaction_for(self._table.connection, is_open=False):
                statement.claim(is_own=True)
                if replaced:
                    replaced.keep()
                for index, (row, _) in enumerate(values):
                    metadata = stored[index, self._new].metadata
                    if self._update(row, metadata):
                        made.append((row, metadata))
                if made:
                    self._run(*self._notes.upsert([_note(*one) for one in made], MADE))
                if len(made) < len(values):
                    statement.give_back({metadata.path for _, metadata in made})
        self.moved.rows += len(made)
        self.moved.size += sum(metadata.size for _, metadata in made)

    def _update(self, row: OldRow, metadata: FileMetadata | None) -> bool:
        """Give a row its file, if both its values are still what they were; tell whether they are."""
        rows = self._rows
        where, args = rows.is_row(row.key)
        old, new = rows.quoted(rows.names.old), rows.quoted(rows.names.new)
        if row.fingerprint is None:
            where = f"{where} AND {old} IS NULL"
        else:
            where, args = f"{where} AND {rows.fingerprint} = %s", [*args, row.fingerprint]
        if row.former is None:
            where = f"{where} AND {new} IS NULL"
        else:
            where, args = f"{where} AND {rows.path} = %s", [*args, row.former]
        value = None if metadata is None else json.dumps(metadata.to_json())
        table = rows.full_name.replace("%", "%%")
        return bool(self._run(f"UPDATE {table} SET {new} = %s WHERE {where}", [value, *args]).rowcount)

    def _empty(self, gone: Sequence[OldRow]) -> None:
        """Take the files of rows away whose old values are NULL by now; their history keeps them."""
        statement = Statement(self._table, (self._new,), "update")
        given = [Row(index, {**self._rows.named(row), self._new: None}) for index, row in enumerate(gone)]
        replaced = Replaced(statement, "update", given)
        with transaction_for(self._table.connection, is_open=False):
            replaced.keep()
            emptied = [row.cell for row in gone if self._update(row, None)]
            if emptied:
                self._run(*self._notes.forget(emptied))
        self.moved.emptied += len(emptied)

    def _run(self, sql: str, args: Sequence[Any]) -> Any:
        return self._table.connection.query(sql, args, reconnect=False)

    def _note(self, row: OldRow, reason: str) -> None:
        self.moved.problems.append(MigrationProblem(self._rows.shown(row), reason))


def _note(row: OldRow, metadata: FileMetadata) -> tuple[str, str, str]:
    return row.cell, row.fingerprint or "", metadata.path
