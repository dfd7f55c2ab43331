"""SQL tables of the collector: intents that were given up, and objects in quarantine.

One statement a method; rows are locked by number, and skipped where somebody else has them. When which of them is
called is decided in `make_plan`, `execute_plan` and `reclaim`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from datajoint.errors import MissingTableError

from datajoint_file.collector.evidence import ObjectRecord
from datajoint_file.collector.reclaim import Due
from datajoint_file.journal import intent_table
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.model.object_keys import is_candidate, write_id_of
from datajoint_file.sql import Rows

QUARANTINE = "~file_quarantine"

BATCH = 400
"""Rows that are locked at a time: little enough for a transaction of a few seconds over a slow store."""

_PAGE = 5_000

TOMBSTONE_DAYS = 30
"""How long it can be read in an intent that the collector has deleted its object."""

_ATTRIBUTES = """
    number {number},
    path VARCHAR(1024) {ascii} NOT NULL UNIQUE,
    size BIGINT NOT NULL,
    first_seen {moment} NOT NULL
"""


class _NumberedTable:
    """A table of one schema with numbered rows about objects, of which only those of one project are looked at."""

    table_name = ""
    due_attributes = ""

    def __init__(self, second: SecondConnection, schema: str, project: str, seconds: float = float("inf")) -> None:
        self.second = second
        self.schema = schema
        self.project = project
        self.seconds = min(seconds, 1e12)  # how long an object must have been unused to be due
        self.dialect = second.dialect
        self.table = self.dialect.quoted(schema, self.table_name)
        self._by_number = self.dialect.by_number

    @property
    def _ours(self) -> str:
        """The condition that a row is about this project; its name needs no quoting."""
        beginning = f"{self.project}/"
        return f"LEFT(path, {len(beginning)}) = '{beginning}'"

    @property
    def _is_due(self) -> str:
        """The condition that an object may be deleted; its parameter are the seconds."""
        raise NotImplementedError

    @contextmanager
    def locked(self, rows: Sequence[int]) -> Iterator[list[Due]]:
        """Lock those of *rows* that are still due and that nobody else is at."""
        with self.second.transaction():
            found = self.second.query(
                f"SELECT number, {self.due_attributes} FROM {self.table} {self._by_number} "
                f"WHERE number IN %s AND {self._is_due} FOR UPDATE SKIP LOCKED",
                (tuple(rows), self.seconds),
            )
            yield [Due(number, path, size or 0, self._problem(path, *rest)) for number, path, size, *rest in found]

    def _problem(self, path: str, *rest: str) -> str:
        return ""

    def _pages(self, attributes: str, condition: str, args: Sequence[Any], size: int) -> Iterator[Rows]:
        """Give numbers and *attributes* of rows; none if the schema has been dropped meanwhile, and they with it."""
        last = -1
        sql = (
            f"SELECT number, {attributes} FROM {self.table} WHERE number > %s AND {condition} "
            f"ORDER BY number LIMIT {size}"
        )
        with suppress(MissingTableError):
            while rows := self.second.query(sql, (last, *args)):
                yield rows
                last = rows[-1][0]


class AbandonedIntents(_NumberedTable):
    """``~file_intent`` of one schema, as the collector reads it; a lease must be over for so many seconds."""

    table_name = intent_table.TABLE
    due_attributes = "path, size, write_id"

    @property
    def _is_due(self) -> str:
        is_old = f"state <> '{intent_table.RECLAIMED}' AND {self.dialect.age('lease_until')} > %s"
        return f"(state = '{intent_table.CONDEMNED}' OR {is_old}) AND {self._ours}"

    def abandoned(self) -> Iterator[ObjectRecord]:
        """Give the intents that are due. Nothing is locked."""
        for rows in self._pages("path, size", self._is_due, (self.seconds,), BATCH):
            for _, path, size in rows:
                yield ObjectRecord(path, size or 0, self.schema)

    def batches(self) -> Iterator[list[int]]:
        """Give the numbers of those intents, a few at a time."""
        for rows in self._pages("write_id", self._is_due, (self.seconds,), BATCH):
            yield [row[0] for row in rows]

    def in_flight(self) -> list[str]:
        """Return the keys of uploads that are not due. That the table is gone is an error: it proves nothing."""
        rows = self.second.query(
            f"SELECT path FROM {self.table} WHERE state = '{intent_table.BEGUN}' AND {self._ours} "
            f"AND {self.dialect.age('lease_until')} <= %s",
            (self.seconds,),
        )
        return [row[0] for row in rows]

    def condemn(self, rows: Sequence[int]) -> bool:
        """Keep writers from claiming and adopting what is going to be deleted."""
        if rows:
            self.second.execute(
                f"UPDATE {self.table} {self._by_number} SET state = '{intent_table.CONDEMNED}' WHERE number IN %s",
                (tuple(rows),),
            )
        return True

    def mark_reclaimed(self, rows: Sequence[int]) -> list[int]:
        """Leave tombstones: an intent that is gone means that its row was committed. Two collectors count once."""
        if not rows:
            return []
        with self.second.transaction():
            found = self.second.query(
                f"SELECT number FROM {self.table} {self._by_number} "
                f"WHERE number IN %s AND state = '{intent_table.CONDEMNED}' FOR UPDATE",
                (tuple(rows),),
            )
            self.second.execute(
                f"UPDATE {self.table} {self._by_number} SET state = '{intent_table.RECLAIMED}', metadata = NULL, "
                f"lease_until = {self.dialect.now} "
                f"WHERE number IN %s AND state = '{intent_table.CONDEMNED}'",
                (tuple(rows),),
            )
        return [row[0] for row in found]

    def remove_tombstones(self) -> None:
        """Remove old tombstones; by number, since a DELETE that searches would stop all writers."""
        old = self.second.query(
            f"SELECT number FROM {self.table} WHERE state = '{intent_table.RECLAIMED}' AND {self._ours} "
            f"AND {self.dialect.age('lease_until')} > %s",
            (TOMBSTONE_DAYS * 86_400,),
        )
        for rows in batches([row[0] for row in old], BATCH):
            self.second.execute(
                f"DELETE FROM {self.table} WHERE state = '{intent_table.RECLAIMED}' AND number IN %s", (tuple(rows),)
            )

    def _problem(self, path: str, *rest: str) -> str:
        fits = is_candidate(self.project, path) and write_id_of(path) == rest[0]
        return "" if fits else f"the intent {rest[0]} in {self.schema} does not fit its path"


class QuarantineTable(_NumberedTable):
    """``~file_quarantine`` of one schema; an object must have been set aside for so many seconds."""

    table_name = QUARANTINE
    due_attributes = "path, size"

    @property
    def _is_due(self) -> str:
        return f"{self.dialect.age('first_seen')} > %s AND {self._ours}"

    def create(self) -> None:
        """Create the table, unless it is there."""
        comment = "objects that no row refers to"
        self.second.execute(self.dialect.create_table(self.table, _ATTRIBUTES, comment=comment))

    def rows(self) -> Iterator[tuple[ObjectRecord, timedelta, datetime]]:
        """Give all that is set aside, for how long, and since when."""
        times = f"{self.dialect.age('first_seen')}, {self.dialect.utc('first_seen')}"
        for rows in self._pages(f"path, size, {times}", self._ours, (), _PAGE):
            for _, path, size, seconds, moment in rows:
                yield ObjectRecord(path, size, self.schema), timedelta(seconds=float(seconds)), moment

    def add(self, records: Sequence[ObjectRecord]) -> list[ObjectRecord]:
        """Set objects aside, from now on, and return them; not those that are set aside already, which keep their time.

        *records* are not none. Of two collectors in the same moment, both may return the same.
        """
        keys = tuple(record.key for record in records)
        known = {row[0] for row in self.second.query(f"SELECT path FROM {self.table} WHERE path IN %s", (keys,))}
        values = ", ".join([f"(%s, %s, {self.dialect.now})"] * len(records))
        self.second.execute(
            self.dialect.insert_new(self.table, "path, size, first_seen", values),
            [value for record in records for value in (record.key, record.size)],
        )
        return [record for record in records if record.key not in known]

    def numbers_of(self, keys: Sequence[str]) -> list[int]:
        """Return the numbers of the rows of *keys*."""
        rows = self.second.query(f"SELECT number FROM {self.table} WHERE path IN %s", (tuple(keys),))
        return sorted(row[0] for row in rows)

    def condemn(self, rows: Sequence[int]) -> bool:
        """Do nothing: only `take_out` is kept from these objects, by the lock."""
        return False

    def take_out(self, keys: Sequence[str]) -> list[str]:
        """Forget the rows of *keys*, waiting for whoever is deleting them; return those that were still there."""
        with self.second.transaction():
            numbers = tuple(self.numbers_of(keys)) or (-1,)
            found = self.second.query(
                f"SELECT number, path FROM {self.table} {self._by_number} "
                f"WHERE number IN %s AND {self._ours} FOR UPDATE",
                (numbers,),
            )
            self.mark_reclaimed([row[0] for row in found])
        return [row[1] for row in found]

    def mark_reclaimed(self, rows: Sequence[int]) -> list[int]:
        """Forget rows. Whoever calls it has them locked."""
        if rows:
            self.second.execute(f"DELETE FROM {self.table} WHERE number IN %s", (tuple(rows),))
        return list(rows)
