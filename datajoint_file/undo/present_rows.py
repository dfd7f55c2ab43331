"""Lookup of rows that are in their tables: those under given keys, and the parents that a row depends on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from datajoint.errors import DataJointError

from datajoint_file.hooks.tables import class_name
from datajoint_file.journal.history_table import HistoryTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.object_keys import key_text
from datajoint_file.sql import Column, Condition
from datajoint_file.sql.columns import Kind, NotKept, Value, cell_sql, read_row, row_sql

Written = Mapping[str, tuple[Kind, Value]]
"""A row as the history has it: the kind and the value of each attribute."""

TableId = tuple[str, str]
"""Schema and table, as the database calls them."""


class PresentRows:
    """What there is now, in the tables of one server."""

    def __init__(self, connection: Any) -> None:
        self._dependencies, self._adapter = connection.dependencies, connection.adapter
        self._second = second_connection_of(connection)
        self._dialect = self._second.dialect

    def under_keys(self, table: TableId, columns: Sequence[Column], rows: Sequence[Written]) -> list[Written | None]:
        """Return for each of *rows* what the row of its primary key has now, None where there is none."""
        keys = [column for column in columns if column.is_key]
        known = [row for row in rows if all(key.name in row for key in keys)]
        found = dict[tuple[Value, ...], Written]()
        if known:
            conditions = [self._equal(keys, [row[key.name] for key in keys]) for row in known]
            where = " OR ".join(f"({text})" for text, _ in conditions)
            sql = f"SELECT {row_sql(self._dialect, columns)} FROM {self._named(table)} WHERE {where}"
            for (text,) in self._second.query(sql, [value for _, values in conditions for value in values]):
                row = read_row(text)
                found[tuple(row[key.name][1] for key in keys)] = row
        return [found.get(tuple(row[key.name][1] for key in keys if key.name in row)) for row in rows]

    def parents(self, table: TableId) -> Iterator[tuple[TableId, dict[str, str]]]:
        """Give the tables that foreign keys of *table* lead to, each with what it calls the attributes of the key."""
        name = self._adapter.make_full_table_name(*table)
        if name in self._dependencies:
            for parent, properties in self._dependencies.parents(name):
                yield self._adapter.split_full_table_name(parent), properties["attr_map"]

    def lacking(self, table: TableId, row: Written) -> str:
        """Say which parent of a row is not there, and how it comes back; nothing, if none is seen to be."""
        for parent, names in self.parents(table):
            values = {theirs: row[ours] for ours, theirs in names.items() if ours in row}
            columns = self._dialect.columns(self._second.query, parent[0], [parent[1]]).get(parent[1], [])
            keys = [column for column in columns if column.name in values]
            if not keys or any(value is None for _, value in values.values()):
                continue
            text, args = self._equal(keys, [values[key.name] for key in keys])
            if not self._second.query(f"SELECT 1 FROM {self._named(parent)} WHERE {text} LIMIT 1", args):
                shown = key_text((key.name, str(values[key.name][1])) for key in keys)
                name = f"{parent[0]}.{class_name(parent[1])}"
                return f"{name} ({shown}), on which it depends, is not there; {self._way_back(parent, columns, values)}"
        return ""

    def _way_back(self, table: TableId, columns: Sequence[Column], values: Written) -> str:
        keys = [column for column in columns if column.is_key]
        with suppress(DataJointError, KeyError):  # no history, not this user's to read, or not the whole key is known
            cell = cell_sql(self._dialect, columns, [self._parameter(key, values[key.name][0]) for key in keys])
            condition = f"table_name = %s AND why IN ('delete', 'drop') AND cell = {cell}"
            args = [table[1], *(values[key.name][1] for key in keys)]
            for entry in HistoryTable(self._second, table[0]).entries(condition, args)[:1]:
                given = [f"--key={name}={value}" for name, (_, value) in values.items() if not isinstance(value, bytes)]
                words = ["restore", f"{table[0]}.{class_name(table[1])}", "--event", entry.event, *given]
                return f"put it back first: `datajoint-file {shlex.join(words)}`"
        return "nothing is noted of it: insert it first"

    def _equal(self, columns: Sequence[Column], values: Sequence[tuple[Kind, Value]]) -> Condition:
        pairs = list(zip(columns, values, strict=True))
        equal = [f"{self._dialect.named(column)} = {self._parameter(column, kind)}" for column, (kind, _) in pairs]
        return " AND ".join(equal), [None if isinstance(value, NotKept) else value for _, (_, value) in pairs]

    def _parameter(self, column: Column, kind: Kind) -> str:
        return self._dialect.read_back(kind) if kind == "epoch" else self._dialect.typed(column)

    def _named(self, table: TableId) -> str:
        return self._dialect.quoted(*table).replace("%", "%%")
