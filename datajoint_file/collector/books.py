"""SQL of the collector on ``~file_intent`` and ``~file_history``: what is due, condemned and deleted.

One statement a method, no decisions. Reading is done in a snapshot that the caller has begun, changes on a connection
beside it, by number: a statement that searches would stop writers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

from datajoint.errors import MissingTableError

from datajoint_file.collector.evidence import ObjectRecord
from datajoint_file.collector.snapshot import Snapshot
from datajoint_file.journal import history_table, intent_table
from datajoint_file.journal.history_table import CHECKING, CONDEMNED, KEPT, PURGED, UNKNOWN, HistoryTable
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.model.object_keys import is_candidate, is_of_schema, schema_named_by
from datajoint_file.sql import Rows

BATCH = 400
"""Rows that are locked at a time: little enough for a transaction of a few seconds."""

_ROW_DAYS = 365
"""Rows without files are kept so long at least: what was removed with them may be another project's."""

TOMBSTONE_DAYS = 30
"""How long it can be read in an intent, or in the history, that the collector has deleted an object."""


class Graces(NamedTuple):
    """How long what nobody needs is kept, in seconds."""

    grace: float  # given-up uploads, and unknown objects
    retention: float  # what was removed from rows


class _Book:
    """A table of one schema with numbered rows about objects, of which only those of one project are looked at."""

    table_name = ""

    def __init__(self, second: SecondConnection, schema: str, project: str, graces: Graces) -> None:
        self.second, self.schema, self.project, self.dialect = second, schema, project, second.dialect
        self.table = self.dialect.quoted(schema, self.table_name)
        self.graces = graces

    @property
    def _ours(self) -> str:
        """The condition that a row is about this project; its name needs no quoting."""
        return f"LEFT(path, {len(self.project) + 1}) = '{self.project}/'"

    def _read(self, snapshot: Snapshot, columns: str, condition: str) -> Iterator[tuple[Any, ...]]:
        source, what = f"{self.table} WHERE {self._ours} AND {condition}", f"{self.schema}.{self.table_name}"
        return snapshot.stream(f"number, path, COALESCE(size, 0), {columns}", source, what)

    def _rows(self, sql: str, args: Sequence[Any] = ()) -> Rows:
        """Return rows of the table; none if it was dropped meanwhile: what it does not confirm is not deleted."""
        with suppress(MissingTableError):
            return self.second.query(sql, args)
        return []

    def _lock_free(self, numbers: Sequence[int], condition: str) -> list[int]:
        """Lock those of *numbers* for which *condition* holds and that nobody else is at."""
        where = f"{self.dialect.by_number} WHERE number IN %s AND {condition} FOR UPDATE SKIP LOCKED"
        return [row[0] for row in self._rows(f"SELECT number FROM {self.table} {where}", (tuple(numbers),))]

    def _change(self, numbers: Iterable[int], condition: str, values: str) -> list[int]:
        """Set *values* in those of *numbers* for which *condition* still holds, and return them."""
        changed: list[int] = []
        update = f"UPDATE {self.table} {self.dialect.by_number} SET {values} WHERE number IN %s"
        for some in batches(numbers, BATCH):
            with self.second.transaction():
                found = self._lock_free(some, condition)
                if found:
                    self.second.execute(update, (tuple(found),))
            changed += found
        return changed

    def _delete(self, condition: str, besides: str = "") -> None:
        """Delete rows, by number; *besides* is asked only to find them."""
        found = self._rows(f"SELECT number FROM {self.table} WHERE {condition}{besides}")
        for some in batches((row[0] for row in found), BATCH):
            self.second.execute(f"DELETE FROM {self.table} WHERE {condition} AND number IN %s", (tuple(some),))


class IntentBook(_Book):
    """``~file_intent`` of one schema; a lease must be over for so many seconds."""

    table_name = intent_table.TABLE

    def __init__(self, second: SecondConnection, schema: str, project: str, graces: Graces) -> None:
        super().__init__(second, schema, project, graces)
        self._is_old = f"{self.dialect.age('lease_until')} > {min(graces.grace, 1e12):f}"
        self._is_due = (
            f"(state = '{intent_table.CONDEMNED}' OR (state IN ('{intent_table.BEGUN}', '{intent_table.STORED}') "
            f"AND {self._is_old}))"
        )

    def read(self, snapshot: Snapshot) -> Iterator[tuple[str, str, int, int, bool]]:
        """Give key, schema, number, size of all intents, and whether they are due.

        Those that are not this schema's own (a dump has copied them, or somebody has made them up) never are; nor are
        those that share an object: it is not theirs.
        """
        columns = f"write_id, CASE WHEN {self._is_due} THEN 1 ELSE 0 END"
        for number, path, size, write_id, due in self._read(snapshot, columns, f"state <> '{intent_table.RECLAIMED}'"):
            is_own = is_candidate(self.project, path) and is_of_schema(path, self.schema) and write_id in path
            if is_own or not due:
                yield path, self.schema, number, size, bool(due)

    def condemn(self, numbers: Iterable[int], _run: str) -> list[int]:
        """Keep writers from claiming and adopting what is going to be deleted, for good; return what was still due."""
        return self._change(numbers, self._is_due, f"state = '{intent_table.CONDEMNED}'")

    def mark_deleted(self, numbers: Iterable[int]) -> list[int]:
        """Leave tombstones, or reclaimed could not be told from gone with the row. Two collectors count once."""
        values = f"state = '{intent_table.RECLAIMED}', metadata = NULL, lease_until = {self.dialect.now}"
        return self._change(numbers, f"state = '{intent_table.CONDEMNED}'", values)

    def tidy(self) -> None:
        """Remove old tombstones, and what was noted to share an object and never came to it."""
        is_old = f"{self.dialect.age('lease_until')} > {TOMBSTONE_DAYS * 86_400}"
        self._delete(f"state = '{intent_table.RECLAIMED}' AND {self._ours} AND {is_old}")
        self._delete(f"state = '{intent_table.SHARING}' AND {self._ours} AND {self._is_old}")


class HistoryBook(_Book):
    """``~file_history`` of one schema, under rules of how long entries are kept."""

    table_name = history_table.TABLE

    def read(
        self, snapshot: Snapshot, *, due: str, oldest: datetime, schemas: Collection[str]
    ) -> Iterator[tuple[str, str, int, int, bool, bool, str, bool, bool]]:
        """Give what `Evidence.add_entries` takes of all entries; which of them are *due*, as SQL.

        What is condemned has a run, and a stamp from before the *oldest* transaction. An entry is of its own schema's
        objects, or of those of a schema that is none of *schemas*: whoever writes to a history has a say on no others.
        """
        age, is_final = self.dialect.age("at"), f"state = '{CONDEMNED}' OR why = '{UNKNOWN}'"
        expired = (
            f"CASE WHEN state = '{CONDEMNED}' OR (why = '{UNKNOWN}' AND {age} > {self.graces.grace:f}) "
            f"OR (why <> '{UNKNOWN}' AND {age} > {self.graces.retention:f}) THEN 1 ELSE 0 END"
        )
        columns = (
            f"{expired}, CASE WHEN (state = '{CONDEMNED}' AND run IS NOT NULL AND {self.stamped_before(oldest)}) "
            f"OR (state <> '{CONDEMNED}' AND {due}) THEN 1 ELSE 0 END, table_name, attribute, cell, "
            f"CASE WHEN {is_final} THEN 1 ELSE 0 END"
        )
        for number, path, size, is_over, is_due, *cell, final in self._read(snapshot, columns, f"state <> '{PURGED}'"):
            if is_candidate(self.project, path):
                over = bool(is_over), bool(is_over and is_due)
                is_own = is_of_schema(path, self.schema) or schema_named_by(path) not in schemas
                yield path, self.schema, number, size, *over, ".".join(cell), bool(final), is_own

    def stamped_before(self, moment: datetime) -> str:
        """Return the SQL of whether an entry was found to be over before a *moment*."""
        return f"due_at IS NOT NULL AND {self.dialect.utc('due_at')} < TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S.%f}'"

    def checked_by(self, run: str) -> str:
        """Return the SQL of whether *run* asks about an entry."""
        return f"state = '{CHECKING}' AND run = '{run}'"

    def stamp(self, numbers: Iterable[int]) -> list[int]:
        """Note that the retention of entries is over, as everybody can see from now on."""
        return self._change(numbers, "due_at IS NULL", f"due_at = {self.dialect.now}")

    def check(self, numbers: Iterable[int], run: str) -> list[int]:
        """Say that *run* asks who uses the objects: from now on nobody can share them."""
        return self._change(numbers, f"state IN ('{KEPT}', '{CHECKING}')", f"state = '{CHECKING}', run = '{run}'")

    def release_young(self) -> None:
        """Let go what a run has asked about that came to no end, if the retention was raised since then."""
        is_young = f"{self.dialect.age('at')} <= {self.graces.retention:f}"
        self._release(f"state = '{CHECKING}' AND why <> '{UNKNOWN}' AND {is_young}")

    def condemn(self, numbers: Iterable[int], run: str) -> list[int]:
        """Decide that the objects are deleted, for good; return those about which *run* still asked."""
        states = f"(({self.checked_by(run)}) OR state = '{CONDEMNED}')"
        return self._change(numbers, states, f"state = '{CONDEMNED}'")

    def release(self, run: str) -> None:
        """Let all go that *run* has asked about and not condemned: somebody uses them, so they are to be stamped anew.

        A transaction that is older than the new stamp, and not than the old one, may see what uses them now.
        """
        self._release(self.checked_by(run))

    def _release(self, condition: str) -> None:
        found = self._rows(f"SELECT number FROM {self.table} WHERE {condition}")
        self._change((row[0] for row in found), condition, f"state = '{KEPT}', run = NULL, due_at = NULL")

    def mark_deleted(self, numbers: Iterable[int]) -> list[int]:
        """Note that the objects are deleted. Two collectors count once."""
        values = f"state = '{PURGED}', row_text = NULL, due_at = {self.dialect.now}"
        return self._change(numbers, f"state = '{CONDEMNED}'", values)

    def tidy(self) -> None:
        """Remove what was purged a month ago, and rows without objects (links have none) whose retention is over."""
        is_past = f"state = '{PURGED}' AND {self._ours} AND {self.dialect.age('due_at')} > {TOMBSTONE_DAYS * 86_400}"
        HistoryTable(self.second, self.schema).forget_sources(is_past)
        self._delete(is_past)
        seconds = max(self.graces.retention, _ROW_DAYS * 86_400) + TOMBSTONE_DAYS * 86_400  # of other projects, too
        is_old = f"{self.dialect.age('at')} > {seconds:f}"
        kept = f"SELECT event FROM {self.table} WHERE path LIKE '%%/objects/%%' AND state <> '{PURGED}'"
        self._delete(f"COALESCE(path, '') NOT LIKE '%%/objects/%%' AND {is_old}", f" AND event NOT IN ({kept})")

    def add_unknown(self, records: Sequence[ObjectRecord], event: str) -> list[ObjectRecord]:
        """Note objects that nothing speaks of, for deletion after the grace; return those that were not noted yet."""
        condition, args = self.dialect.by_path([record.key for record in records])
        sql = f"SELECT path FROM {self.table} WHERE {condition} AND state <> '{PURGED}'"
        with suppress(MissingTableError):  # dropped meanwhile: nothing is noted, and a later run finds them unknown
            noted = {path for (path,) in self.second.query(sql, args)}
            if new := [record for record in records if record.key not in noted]:
                HistoryTable(self.second, self.schema).add_unknown([(record.key, record.size) for record in new], event)
            return new
        return []

    def spare(self, keys: Sequence[str]) -> list[str]:
        """Forget that unknown objects are to be deleted; return those of *keys* for which that was not too late."""
        condition, args = self.dialect.by_path(keys)
        sql = f"SELECT number, path FROM {self.table} WHERE {condition} AND why = '{UNKNOWN}'"
        found: dict[int, str] = dict(self._rows(sql, args))
        with self.second.transaction():
            free = self._lock_free([*found, -1], f"state IN ('{KEPT}', '{CHECKING}')")
            if free:
                self.second.execute(f"DELETE FROM {self.table} WHERE number IN %s", (tuple(free),))
        return [found[number] for number in free]

    def kept(self) -> Iterator[tuple[str, int, str, str, datetime]]:
        """Give key, size, why, event and since when of all entries that are open, newest first."""
        sql = (
            f"SELECT number, path, COALESCE(size, 0), why, event, {self.dialect.utc('at')} FROM {self.table} "
            f"WHERE number < %s AND state <> '{PURGED}' AND {self._ours} ORDER BY number DESC LIMIT 5000"
        )
        last = 2**62
        while rows := self._rows(sql, (last,)):
            yield from ((*row[1:-1], row[-1].replace(tzinfo=timezone.utc)) for row in rows)
            last = rows[-1][0]
