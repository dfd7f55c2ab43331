"""Recorder of verification results in ``~file_check``, and the order in which the longest unverified files come first.

Bounded memory and no statement for a single row: results are written some hundred at a time, rows are listed a page at
a time.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from datajoint.errors import LostConnectionError

from datajoint_file.errors import DataJointError
from datajoint_file.hooks.row_listing import Key
from datajoint_file.journal.check_table import SOUND, CheckTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.verification.check_object import LEVELS, Level
from datajoint_file.verification.findings import Finding
from datajoint_file.verification.subjects import QueryRow, Subject
from datajoint_file.verification.verification import FileValue

_BATCH = 1_000
_SECONDS = 10.0
_STEPS = 8
"""How exactly rows are taken by age: each step is a walk through the tables."""

_UNDER_WAY = 60_000
"""Rows that may have been begun and not be noted yet, at least."""


def levels_from(level: Level) -> tuple[Level, ...]:
    """Return the levels that look at least as closely as *level*."""
    return LEVELS[LEVELS.index(level) :]


class CheckRecorder:
    """What a run has found out, written down for each schema as it goes."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._tables: dict[tuple[int, str], CheckTable | None] = {}
        self._waiting: dict[tuple[int, str], dict[str, str]] = {}
        self._count = 0
        self._written = time.monotonic()

    def table_of(self, connection: Any, schema: str) -> CheckTable | None:
        """Return the table of a schema, made if it is not there; None if it cannot be written."""
        key = id(connection), schema
        if key not in self._tables:
            table = CheckTable(second_connection_of(connection), schema)
            self._tables[key] = table if table.ensure() else None
        return self._tables[key]

    def settled(self, row: QueryRow, value: FileValue, finding: Finding | None) -> None:
        """Take note of what is known of one file now."""
        schema = value.schema
        if not (schema and value.path and self.table_of(row.connection, schema)):
            return
        self._waiting.setdefault((id(row.connection), schema), {})[value.path] = finding.kind if finding else SOUND
        self._count += 1
        if self._count >= _BATCH or time.monotonic() - self._written > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting. What cannot be written is told, and no more is tried for that schema."""
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for key, results in waiting.items():
            table = self._tables[key]
            if table is not None:
                try:
                    _record(table, self._level, results)
                except Exception as error:  # noqa: BLE001 - whatever it is, the files are verified as well without it
                    table.warn(error)
                    self._tables[key] = None
        self._written = time.monotonic()

    def open_tables(self, subjects: Sequence[Subject]) -> bool:
        """Open the tables of all *subjects*; tell whether their results are going to be written down."""
        return all(self.table_of(subject.listing.connection, subject.schema) for subject in subjects)


def _record(table: CheckTable, level: str, results: dict[str, str]) -> None:
    try:
        table.record(level, results)
    except LostConnectionError:  # writing it twice does no harm
        table.record(level, results)


class ByAge:
    """Rows of whole tables, the longest unverified first: in a round of perhaps several runs each of them once.

    First those that never were, in the order of their keys; then those that were not since some moment, and since a
    later one, up to that at which the round began.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        left: Sequence[tuple[Subject, Key | None]],
        level: Level,
        recorder: CheckRecorder,
    ) -> None:
        self._subjects = subjects
        self._left = left  # of those that never were: what an earlier run of the round has not come to
        self._levels = levels_from(level)
        self._recorder = recorder
        self.since: datetime = self._table(subjects[0]).clock()

    @staticmethod
    def suits(subjects: Sequence[Subject], recorder: CheckRecorder) -> bool:
        """Tell whether rows can be taken in this order: as the database has them now, of tables that take notes."""
        return (
            bool(subjects)
            and all(subject.schema and not has_transaction(subject.listing.connection) for subject in subjects)
            and recorder.open_tables(subjects)
        )

    def go_on(self, since: datetime, *, is_again: bool) -> None:
        """Belong to the round that has begun then, and has perhaps come to those that it looks at again."""
        self.since = since
        if is_again:
            self._left = ()

    def rows(self) -> Iterator[QueryRow]:
        """Give the rows. Those that are under way are not noted yet."""
        recent: OrderedDict[tuple[int, Key], None] = OrderedDict()
        for number, row in chain(self._new(), self._old()):
            name = number, row.raw_key
            if name not in recent:
                recent[name] = None
                if len(recent) > _UNDER_WAY:
                    recent.popitem(last=False)
                yield row

    def _new(self) -> Iterator[tuple[int, QueryRow]]:
        for subject, key in self._left:
            for row in subject.rows_where(self._never(subject), key):
                row.round = {"since": self.since.isoformat()}
                yield id(subject), row

    def _old(self) -> Iterator[tuple[int, QueryRow]]:
        for step in self._steps():
            for subject in self._subjects:
                self._recorder.flush()
                for row in subject.rows_where(self._not_since(subject, step)):
                    row.round = {"since": self.since.isoformat(), "again": True}
                    yield id(subject), row

    def _steps(self) -> list[datetime]:
        tables = [self._table(subject) for subject in self._subjects]
        moments = {moment for table in tables for moment in table.moments(self._levels, _STEPS)}
        older = sorted(moment for moment in moments if moment < self.since)
        return [*older[:: max(1, len(older) // _STEPS)], self.since]

    def count(self, left: Sequence[tuple[Subject, Key | None]], *, is_again: bool) -> int:
        """Return how many values there are in rows that the round has not come to."""
        self._recorder.flush()
        new = () if is_again else left
        count = sum(subject.count_where(self._never(subject), key) for subject, key in new)
        return count + sum(each.count_where(self._not_since(each, self.since)) for each in self._subjects)

    def count_all(self) -> int:
        """Return how many values the round has left out, also such as cannot be noted."""
        return self.count([(subject, None) for subject in self._subjects], is_again=False)

    def _never(self, subject: Subject) -> str:
        table = self._table(subject)
        return " OR ".join(table.unchecked_sql(name, self._levels) for name in subject.listing.names)

    def _not_since(self, subject: Subject, moment: datetime) -> str:
        """Return the condition of a row whose files were all checked, and one of them not since."""
        table = self._table(subject)
        names = subject.listing.names
        since = " OR ".join(table.unchecked_since_sql(name, self._levels, moment) for name in names)
        return f"({since}) AND NOT ({self._never(subject)})"

    def _table(self, subject: Subject) -> CheckTable:
        table = self._recorder.table_of(subject.listing.connection, subject.schema)
        if table is None:
            raise DataJointError(f"when files of {subject.title} were verified cannot be noted any more")
        return table


def round_in(position: str | None) -> tuple[datetime | None, bool]:
    """Return when the round of a position began, and whether it looks at files again; None if it is of none."""
    try:
        document = json.loads(position or "null")
        return datetime.fromisoformat(document["since"]).replace(tzinfo=None), bool(document.get("again"))
    except (ValueError, LookupError, TypeError):
        return None, False
