"""SQL table ``~file_history`` of a schema: references that were, and the rows that had them.

One statement a method, and no decisions. Entries are written where rows are removed (`history`), and are what the
collector goes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from datajoint.errors import AccessError

from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.journal.source_table import SourceTable
from datajoint_file.model.object_keys import write_id_of
from datajoint_file.sql import Column, Dialect, Rows
from datajoint_file.sql.columns import cell_sql, row_sql

TABLE = "~file_history"

KEPT, CHECKING, CONDEMNED, PURGED = "kept", "checking", "condemned", "purged"
"""The states of an entry. Its bytes are kept; a run of the collector asks whether anybody uses them; nobody does, they
are being deleted, which is never taken back; they are deleted."""

UNKNOWN = "unknown"
"""Why there is an entry for an object that no row was known to refer to: somebody told the collector to delete it."""

_ATTRIBUTES = """
    number {number},
    event CHAR(26) {ascii} NOT NULL,
    at {moment} NOT NULL,
    who VARCHAR(128) NOT NULL,
    why VARCHAR(10) {ascii} NOT NULL,
    table_name VARCHAR(64) NOT NULL,
    attribute VARCHAR(64) NOT NULL,
    path VARCHAR(1024) {ascii} NULL,
    {path_attribute}
    size BIGINT NULL,
    metadata {large_text} NULL,
    cell CHAR(16) {ascii} NOT NULL,
    row_text {large_text} NULL,
    state VARCHAR(10) {ascii} NOT NULL,
    due_at {moment} NULL,
    run CHAR(26) {ascii} NULL
"""

_PATHS_PER_QUERY = 400
_PAGE = 1_000
_MAX_METADATA = 60_000
_LOCKING = " FOR UPDATE"

_COLUMNS = "event, at, who, why, table_name, attribute, path, size, metadata, cell, row_text, state"


@dataclass(frozen=True, slots=True)
class Removal:
    """One statement, or one cascade, that takes references away."""

    event: str  # 26 characters, the same in all tables of a cascade
    why: str  # ``delete``, ``drop``, ``update``, ``replace``, ``alter``
    schemas: tuple[str, ...] = ()  # whose histories may have entries of it, if there are several

    @property
    def takes_rows(self) -> bool:
        """Whether rows go, not only values of rows that stay."""
        return self.why in ("delete", "drop")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry, as it is read."""

    schema: str
    number: int
    event: str
    at: datetime  # aware
    who: str
    why: str
    table_name: str  # as the database calls it
    attribute: str  # empty for a row that was kept for the sake of others
    path: str | None
    metadata: str | None  # the row's JSON of the file
    cell: str
    state: str
    row_text: str | None  # None once the object is purged


class HistoryTable:
    """The table of one schema; where methods return SQL, it is for whichever connection its caller runs it on."""

    def __init__(self, second: SecondConnection, schema: str) -> None:
        self.second = second
        self.schema = schema
        self.dialect: Dialect = second.dialect
        self.table = self.dialect.quoted(schema, TABLE)

    def create(self) -> None:
        """Create the table, unless it is there."""
        indexes = {"~file_history_path": self.dialect.path_index, "~file_history_cell": "table_name, cell"}
        comment = "references that were"
        self.second.create(self.dialect.create_table(self.table, _ATTRIBUTES, comment=comment, indexes=indexes))

    def require_rights(self) -> None:
        """Raise `AccessError` unless this user may add entries. Nothing is changed."""
        self.second.execute(
            f"INSERT INTO {self.table} ({_COLUMNS}) "
            f"SELECT '', {self.dialect.now}, '', '', '', '', NULL, NULL, NULL, '', NULL, '' "
            "FROM (SELECT 1 AS one) AS nothing WHERE FALSE"
        )

    def insertion(
        self,
        removal: Removal,
        table_name: str,
        columns: Sequence[Column],
        attributes: Sequence[str],
        source: str,
        condition: str,
    ) -> str:
        """Return the statement that writes the rows of *source* down, with what follows it, for each of *attributes*.

        An entry for each of them that names a path. Where rows go, the first entry of each has the row, and there is
        one also if there is no path; where values go, all have it. No parameters, and percent signs in it are doubled.
        """
        dialect = self.dialect
        named = {column.name: dialect.named(column) for column in columns}
        name = _choice([dialect.literal(attribute) for attribute in attributes] or ["''"])
        path = _choice([dialect.bounded_path(named[attribute]) for attribute in attributes] or ["NULL"])
        by_name = {column.name: column for column in columns}
        metadata = _choice([_metadata(dialect, by_name[attribute]) for attribute in attributes] or ["NULL"])
        size = _choice([dialect.bounded_size(named[attribute]) for attribute in attributes] or ["NULL"])
        row, chosen = row_sql(dialect, columns, removal.schemas), "" if removal.takes_rows else f"{path} IS NOT NULL"
        if len(attributes) > 1:
            numbers = " UNION ALL ".join(f"SELECT {number} AS djf_n" for number in range(1, len(attributes) + 1))
            source = f"{source} CROSS JOIN ({numbers}) AS djf_attributes"
            if removal.takes_rows:
                has_path = enumerate((dialect.bounded_path(named[attribute]) for attribute in attributes), 1)
                first = (
                    f"CASE {' '.join(f'WHEN {one} IS NOT NULL THEN {number}' for number, one in has_path)} ELSE 1 END"
                )
                row, chosen = f"CASE djf_n WHEN {first} THEN {row} END", f"djf_n = {first} OR {path} IS NOT NULL"
        where = condition.removesuffix(_LOCKING)
        locking = condition[len(where) :]
        if chosen:
            where = f"{where} {'AND' if where else 'WHERE'} ({chosen})"
        return (
            f"INSERT INTO {self.table.replace('%', '%%')} ({_COLUMNS}) SELECT '{removal.event}', {dialect.now}, "
            f"LEFT({dialect.user}, 128), '{removal.why}', {dialect.literal(table_name)}, {name}, {path}, {size}, "
            f"{metadata}, "
            f"{cell_sql(dialect, columns)}, {row}, '{KEPT}' FROM {source}{where}{locking}"
        )

    def by_path(self, paths: Sequence[str]) -> Rows:
        """Return path, state and metadata of the entries of some objects."""
        found: Rows = []
        for some in batches(paths, _PATHS_PER_QUERY):
            condition, args = self.dialect.by_path(some)
            found += self.second.query(f"SELECT path, state, metadata FROM {self.table} WHERE {condition}", args)
        return found

    def hold(self, paths: Sequence[str]) -> None:
        """Take back that the collector asks about some objects: what it does not ask about any more it cannot condemn.

        As when it lets go itself, a later run begins anew.
        """
        for some in batches(paths, _PATHS_PER_QUERY):
            condition, args = self.dialect.by_path(some)
            sql = f"SELECT number FROM {self.table} WHERE state = '{CHECKING}' AND {condition}"
            for numbers in batches((number for (number,) in self.second.query(sql, args)), _PATHS_PER_QUERY):
                self.second.execute(
                    f"UPDATE {self.table} {self.dialect.by_number} SET state = '{KEPT}', run = NULL, due_at = NULL "
                    f"WHERE number IN %s AND state = '{CHECKING}'",
                    (tuple(numbers),),
                )

    def entries(self, condition: str, args: Sequence[Any]) -> list[HistoryEntry]:
        """Return the entries for which a condition holds, newest first, each with the row that it belongs to."""
        row = (
            f"COALESCE(one.row_text, (SELECT whole.row_text FROM {self.table} AS whole WHERE "
            "whole.table_name = one.table_name AND whole.cell = one.cell AND whole.event = one.event "
            "AND whole.row_text IS NOT NULL LIMIT 1))"
        )
        found = self.second.query(
            f"SELECT number, event, {self.dialect.utc('at')}, who, why, table_name, attribute, path, metadata, cell, "
            f"state, {row} FROM {self.table} AS one WHERE {condition} ORDER BY number DESC",
            args,
        )
        return [
            HistoryEntry(self.schema, number, event, at.replace(tzinfo=timezone.utc), *rest)
            for number, event, at, *rest in found
        ]

    def kept_files(self, after: int, since: datetime | None = None) -> Rows:
        """Return number, event, table, attribute, metadata of entries whose bytes are kept: a page, from a number on.

        *since* a moment, if it is given: those whose references went before are left out.
        """
        recent = f" AND {self.dialect.utc('at')} >= %s" if since else ""
        moment = (since.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),) if since else ()
        return self.second.query(
            f"SELECT number, event, table_name, attribute, metadata FROM {self.table.replace('%', '%%')} "
            f"WHERE number > %s AND state IN ('{KEPT}', '{CHECKING}') AND metadata IS NOT NULL{recent} "
            f"ORDER BY number LIMIT {_PAGE}",
            (after, *moment),
        )

    def forget_sources(self, condition: str) -> None:
        """Delete what is noted of where the objects of some entries came from: they are gone for good."""
        paths = self.second.query(f"SELECT DISTINCT path FROM {self.table} WHERE {condition}")
        gone, sources = [write_id_of(path or "") for (path,) in paths], SourceTable(self.second, self.schema)
        if any(gone) and sources.is_plain():
            try:
                sources.forget(filter(None, gone))
            except AccessError:
                return
            except Exception as error:
                if not self.dialect.is_timeout(error):  # what stays is of no account
                    raise

    def has_event(self, event: str) -> bool:
        """Tell whether there are entries of an event, for everybody to see."""
        return bool(self.second.query(f"SELECT 1 FROM {self.table} WHERE event = %s LIMIT 1", (event,)))

    def add_unknown(self, objects: Sequence[tuple[str, int]], event: str) -> None:
        """Insert entries for objects, by path and size, that somebody told the collector to delete."""
        value = (
            f"(%s, {self.dialect.now}, LEFT({self.dialect.user}, 128), '{UNKNOWN}', '', '', %s, %s, NULL, '', NULL, "
            f"'{KEPT}', {self.dialect.now})"
        )
        self.second.execute(
            f"INSERT INTO {self.table} ({_COLUMNS}, due_at) VALUES {', '.join([value] * len(objects))}",
            [part for path, size in objects for part in (event, path, size)],
        )

    def noted(self, removal: Removal, table_name: str, columns: Sequence[Column]) -> str:
        """Return the SQL of whether a row of a table is written down in an event."""
        return f"({cell_sql(self.dialect, columns)} IN (SELECT cell{self._of(removal, table_name)}))"

    def rows_since(self, removal: Removal, table_name: str, number: int) -> str:
        """Return the statement that counts the rows of a table which entries of an event are of, from *number* on."""
        return f"SELECT COUNT(DISTINCT cell){self._of(removal, table_name)} AND number >= {number}"

    def _of(self, removal: Removal, table_name: str) -> str:
        history = self.table.replace("%", "%%")
        return f" FROM {history} WHERE table_name = {self.dialect.literal(table_name)} AND event = '{removal.event}'"

    def void(self, event: str, attribute: str = "") -> str:
        """Return the statement that forgets an event, or *attribute* of it, which has not happened after all."""
        also = f" AND attribute = {self.dialect.literal(attribute)}" if attribute else ""
        return f"DELETE FROM {self.table.replace('%', '%%')} WHERE event = '{event}'{also}"


def _metadata(dialect: Dialect, column: Column) -> str:
    """Return the SQL of what a ``file`` attribute holds, unless that is too long to be the description of a file."""
    return f"CASE WHEN {dialect.byte_length(column)} <= {_MAX_METADATA} THEN {dialect.written(column)[1]} END"


def _choice(values: Sequence[str]) -> str:
    """Return the SQL of one of *values*: which, says the number of the attribute."""
    if len(values) == 1:
        return values[0]
    return f"(CASE djf_n {' '.join(f'WHEN {number} THEN {value}' for number, value in enumerate(values, 1))} END)"
