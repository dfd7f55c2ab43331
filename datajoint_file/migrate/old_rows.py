"""Paged listing of the rows of a migration: what is to be made anew, what was made, and the old values themselves.

Each page is a query of its own, in the order of the primary key, so that others may read and write meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from datajoint_file.errors import RowVanishedError
from datajoint_file.hooks.row_listing import Key, decoded, key_column
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.migrate.hashed import HEAD_BYTES
from datajoint_file.migrate.names import Names
from datajoint_file.migrate.note_table import CHECKED, OWN, NoteTable
from datajoint_file.migrate.originals import OldValue
from datajoint_file.model.object_keys import key_text
from datajoint_file.sql import Column, Condition, dialect_of
from datajoint_file.sql.columns import cell_sql

PAGE_ROWS = 400

_BINARY = ("blob", "bytea", "binary")


@dataclass(frozen=True, slots=True)
class OldRow:
    """A row, as far as a migration is concerned."""

    key: Key
    cell: str
    fingerprint: str | None  # of its old value; None if that is NULL
    old: OldValue
    former: str | None  # the path of the file that it has by now
    metadata: str | None  # the JSON of that file
    made: str | None  # the path of the file that was made of an old value, as far as it is noted

    @property
    def is_foreign(self) -> bool:
        """Whether it has a file that no migration has put there."""
        return self.former is not None and self.made != self.former


class OldRows:
    """The rows of a table, with an old attribute and, at most stages, a new one."""

    def __init__(self, table: Any, names: Names, notes: NoteTable | None) -> None:
        self.table, self.names, self.notes = table, names, notes
        self.connection = table.connection
        self.dialect = dialect_of(self.connection)
        self.full_name = table.full_table_name
        self._keys = [table.heading[name] for name in table.primary_key]

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The columns of the table by name, without DataJoint's hidden ones."""
        found = self.dialect.columns(self._query, self.table.database, [self.table.table_name])
        return {column.name: column for column in found.get(self.table.table_name, [])}

    @property
    def is_binary(self) -> bool:
        """Whether the old attribute holds bytes, not text."""
        return any(kind in self.columns[self.names.old].type.lower() for kind in _BINARY)

    def quoted(self, name: str) -> str:
        """Return a name for a statement in which percent signs are doubled."""
        return self.dialect.quoted(name).replace("%", "%%")

    @property
    def fingerprint(self) -> str:
        """The SQL of what stands for an old value."""
        return self.dialect.fingerprint(self.columns[self.names.old])

    @property
    def path(self) -> str:
        """The SQL of the path of a new value."""
        return self.dialect.bounded_path(self.quoted(self.names.new))

    @property
    def cell(self) -> str:
        """The SQL of what stands for a row."""
        return cell_sql(self.dialect, list(self.columns.values()))

    def undone(self) -> Condition:
        """Return the condition that a row's file is not yet made of what it holds; notes are joined."""
        old, new = self.quoted(self.names.old), self.quoted(self.names.new)
        made = f"(djf_path IS NOT NULL AND djf_path = {self.path})"
        stale = f"({new} IS NULL OR NOT {made} OR djf_old <> {self.fingerprint})"
        return (
            f"(({old} IS NOT NULL AND {stale}) OR ({old} IS NULL AND {new} IS NOT NULL AND {made} AND djf_old <> ''))",
            [],
        )

    def unchecked(self) -> Condition:
        """Return the condition that a file was made, and not compared."""
        return f"(djf_path = {self.path} AND djf_state NOT IN ('{CHECKED}', '{OWN}'))", []

    def made(self) -> Condition:
        """Return the condition that a file was made of the old value as it is."""
        return f"(djf_path = {self.path} AND djf_state <> '{OWN}' AND djf_old = {self.fingerprint})", []

    def own(self) -> Condition:
        """Return the condition that a user has put a file there."""
        return f"({self.quoted(self.names.new)} IS NOT NULL AND (djf_path IS NULL OR djf_path <> {self.path}))", []

    def filled(self) -> Condition:
        """Return the condition that a row has an old value."""
        return f"{self.quoted(self.names.old)} IS NOT NULL", []

    def count(self, condition: Condition) -> int:
        """Return how many rows there are of a condition."""
        source, joined = self._source()
        sql, args = condition
        return int(self._query(f"SELECT COUNT(*) FROM {source} WHERE {sql}", [*joined, *args])[0][0])

    def rows(self, condition: Condition) -> Iterator[OldRow]:
        """Give the rows of a condition, in the order of their key. What changes meanwhile may be given or not."""
        after: Key | None = None
        while True:
            page = self._page(condition, after)
            yield from page
            if len(page) < PAGE_ROWS or not self._keys:
                return
            after = page[-1].key

    def named(self, row: OldRow) -> dict[str, Any]:
        """Return a row's key by attribute, its values as DataJoint's fetch gives them."""
        pairs = zip(self._keys, row.key, strict=True)
        return {attribute.name: decoded(attribute, value, self.connection) for attribute, value in pairs}

    def shown(self, row: OldRow) -> str:
        """Return a row's key as people read it."""
        return key_text((name, str(value)) for name, value in self.named(row).items())

    def is_row(self, key: Key) -> Condition:
        """Return the condition that a row has a key."""
        return " AND ".join(f"{self.quoted(one.name)} = %s" for one in self._keys) or "TRUE", list(key)

    def _source(self) -> Condition:
        """Return what to select from, and the parameters of that."""
        table = self.full_name.replace("%", "%%")
        if self.notes is None:
            return table, []
        notes, args = self.notes.joined()
        return f"{table} LEFT JOIN {notes} ON djf_cell = {self.cell}", list(args)

    def _page(self, condition: Condition, after: Key | None) -> list[OldRow]:
        source, joined = self._source()
        where, args = condition
        if after is not None:
            behind, values = self.dialect.after([(self.quoted(one.name), one.type) for one in self._keys], after)
            where, args = f"{where} AND ({behind})", [*args, *values]
        keys = [key_column(self.quoted(one.name), one.type) for one in self._keys]
        order = ", ".join(self.quoted(one.name) for one in self._keys)
        sql = (
            f"SELECT {', '.join([*keys, *self._selected()])} FROM {source} WHERE {where} "
            f"{f'ORDER BY {order} ' if order else ''}{f'LIMIT {PAGE_ROWS}' if order else ''}"
        )
        return [self._row(found) for found in self._query(sql, [*joined, *args])]

    def _selected(self) -> list[str]:
        old, column = self.quoted(self.names.old), self.columns[self.names.old]
        value = f"SUBSTRING({old} FROM 1 FOR {HEAD_BYTES})" if self.is_binary else self.dialect.as_text(old)
        found = [self.cell, self.fingerprint, self.dialect.byte_length(column), f"{value} AS djf_value"]
        if self.names.stage == "new":
            return [*found, *["NULL"] * 3]
        new = self.dialect.as_text(self.quoted(self.names.new))
        return [*found, self.path, f"{new} AS djf_new", "djf_path" if self.notes else "NULL"]

    def _row(self, found: Sequence[Any]) -> OldRow:
        count = len(self._keys)
        key = tuple(bytes(one) if isinstance(one, memoryview) else one for one in found[:count])
        cell, fingerprint, size, value, former, metadata, made = found[count:]
        old = OldValue(
            None if self.is_binary else value,
            int(size or 0),
            bytes(value or b"") if self.is_binary else b"",
            partial(self._content, key),
        )
        return OldRow(key, cell, fingerprint, old, former, metadata, made)

    def _content(self, key: Key) -> bytes:
        """Return the bytes that a row holds; on the second connection, which several threads may use."""
        where, args = self.is_row(key)
        old = self.quoted(self.names.old)
        second = second_connection_of(self.connection)
        found = second.query(f"SELECT {old} FROM {self.full_name.replace('%', '%%')} WHERE {where}", args)
        if not found or found[0][0] is None:
            raise RowVanishedError(f"{table_name(self.table)}: the row was deleted or emptied meanwhile")
        return bytes(found[0][0])

    def _query(self, sql: str, args: Sequence[Any] = ()) -> Any:
        return self.connection.query(sql, args).fetchall()
