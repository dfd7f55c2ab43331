"""Primary keys of a table's rows: in canonical form, and which of them are in the table already.

What "the same key" means is the database's to say: collations, padding and rounding make keys equal that Python tells
apart. It is asked where they might.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from datajoint.table import FreeTable

from datajoint_file.errors import InvalidKeyError
from datajoint_file.hooks.rows import Row
from datajoint_file.model.key_values import KeyValue, is_missing, key_value

_KEYS_PER_QUERY = 500

Key = tuple[KeyValue, ...]


class TableKeys:
    """The primary key of one table.

    Parameters
    ----------
    table : datajoint.Table
        The table.
    name : str
        What messages call it.
    """

    def __init__(self, table: Any, name: str) -> None:
        self._table = table
        self._name = name
        self._types = {name: _declared_type(table.heading[name]) for name in table.primary_key}

    def of(self, row: Row) -> Key:
        """Return the row's primary key in canonical form.

        Raises
        ------
        InvalidKeyError
            If a key attribute is missing (also one that the database would fill in) or malformed.
        """
        try:
            return tuple(key_value(name, type_, row.values.get(name)) for name, type_ in self._types.items())
        except InvalidKeyError as error:
            raise error.within(f"{self._name}, row {row.index}") from error

    def is_complete(self, row: Row) -> bool:
        """Tell whether *row* gives all attributes of the key; the database may fill in those it does not."""
        return not any(is_missing(row.values.get(name)) for name in self._types)

    @cached_property
    def unrestricted(self) -> Any:
        """The table without the restrictions it may carry: they do not concern what is inserted."""
        return FreeTable(self._table.connection, self._table.full_table_name)

    def without_existing(self, rows: list[Row]) -> list[Row]:
        """Return the rows whose primary key is neither in the table nor earlier in *rows*."""
        present, seen, remaining = self.present(rows), set[Key](), []
        for row in rows:
            if not self.is_complete(row):
                remaining.append(row)
            elif row.index not in present and (key := self.of(row)) not in seen:
                seen.add(key)
                remaining.append(row)
        return remaining

    def present(self, rows: list[Row]) -> set[int]:
        """Return the indices of those *rows* whose primary key is in the table."""
        keys = {row.index: self.of(row) for row in rows if self.is_complete(row)}
        complete = [row for row in rows if row.index in keys]
        found = {self.of(Row(0, values)) for values in self._found(complete)}
        alike = {_alike(key) for key in found}
        return {
            row.index
            for row in complete
            if (key := keys[row.index]) in found or (_alike(key) in alike and self._is_there(row))
        }

    def queries_for(self, rows: list[Row], attributes: tuple[str, ...]) -> list[str]:
        """Return queries for *attributes* of the rows of these keys.

        To be made before a transaction: DataJoint looks at the table for it, and overlooks that a connection is lost.
        """
        return [
            (self.unrestricted & [self._given(row) for row in rows[start : start + _KEYS_PER_QUERY]]).make_sql(
                attributes
            )
            for start in range(0, len(rows), _KEYS_PER_QUERY)
        ]

    def paths_by(self, queries: list[str]) -> set[str]:
        """Return the object keys that `queries_for` finds, as this connection sees it.

        Rows whose keys the database has rounded are not found; `rowpaths` finds them.
        """
        connection, paths = self._table.connection, set[str]()
        for sql in queries:
            found = connection.query(sql, reconnect=False).fetchall()
            paths |= {_path(value) for row in found for value in row if value is not None}
        return paths

    def _found(self, rows: list[Row]) -> Iterator[dict[str, Any]]:
        table = self.unrestricted
        for start in range(0, len(rows), _KEYS_PER_QUERY):
            keys = [self._given(row) for row in rows[start : start + _KEYS_PER_QUERY]]
            yield from (table & keys).proj().to_dicts()

    def _is_there(self, row: Row) -> bool:
        return len(self.unrestricted & self._given(row)) > 0

    def _given(self, row: Row) -> dict[str, Any]:
        return {name: row.values[name] for name in self._types}


def _alike(key: Key) -> tuple[Any, ...]:
    """Return what keys have in common that some database might find equal."""
    return tuple(_alike_value(value) for value in key)


def _alike_value(value: KeyValue) -> Any:
    if value.kind == "str":
        letters = unicodedata.normalize("NFKD", value.text)
        return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold().strip()
    if isinstance(value.value, datetime):
        return (value.value + timedelta(seconds=0.5)).replace(microsecond=0, tzinfo=None)
    return "" if value.kind in ("float", "time") else value.text


def _path(value: Any) -> str:
    """Return the object key in a row's JSON, as the driver gives it."""
    row = json.loads(value) if isinstance(value, str | bytes) else value
    return str(row.get("path")) if isinstance(row, dict) else ""


def _declared_type(attribute: Any) -> str:
    return str(attribute.original_type or attribute.type)
