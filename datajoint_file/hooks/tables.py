"""Tables as people and the database know them: names, rows of an insert in whatever form, primary keys.

A `FreeTable` and a class give one name, so that keys of objects do not depend on which of them was at hand. Rows are
read exactly as DataJoint reads them, only earlier: before anything is stored. What "the same key" means the database
says (collations, padding and rounding make keys equal that Python tells apart): it is asked where they might.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datajoint.errors import DataJointError
from datajoint.table import FreeTable, Table
from datajoint.utils import to_camel_case

from datajoint_file.errors import InvalidKeyError
from datajoint_file.model.key_values import KeyValue, is_missing, key_value
from datajoint_file.model.metadata import path_in


def table_name(table: Any) -> str:
    """Return the name of a table as people write it: ``schema.Recording``, ``schema.Recording.Trace`` for a part."""
    return f"{table.database}.{class_name(table.table_name)}"


def query_name(query: Any) -> str:
    """Return the name of a table, restricted or not, as people write it; nothing, of another query."""
    return table_name(query) if isinstance(query, Table) else ""


def class_name(name: str) -> str:
    """Return the name of the class of the table that the database calls *name*.

    Examples
    --------
    >>> class_name("__filtered_trace"), class_name("recording__trace"), class_name("#method")
    ('FilteredTrace', 'Recording.Trace', 'Method')
    """
    return ".".join(to_camel_case(part) for part in name.lstrip("#~_").split("__"))


def tables_of(connection: Any, schema: str) -> Iterator[FreeTable]:
    """Give the tables of a schema but DataJoint's and our own, whose names begin with a tilde."""
    adapter = connection.adapter
    for name, *_ in connection.query(adapter.list_tables_sql(schema)).fetchall():
        if not name.startswith("~"):
            yield FreeTable(connection, adapter.make_full_table_name(schema, name))


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by attribute."""

    index: int  # in the insert, from 0
    values: dict[str, Any]  # as the user gave them
    is_positional: bool = False  # it was given as a sequence, which DataJoint wants back as one: it warns of it

    def with_values(self, values: Mapping[str, Any]) -> Any:
        """Return the row for DataJoint, some of its values replaced."""
        merged = {**self.values, **values}
        return list(merged.values()) if self.is_positional else merged


def read_rows(heading: Any, rows: Iterable[Any]) -> list[Row]:
    """Read the rows of an insert. An iterator is used up.

    Raises
    ------
    DataJointError
        If something is no row, or a sequence is not as long as the heading.
    """
    return [_read_row(heading, index, row) for index, row in enumerate(rows)]


def as_records(rows: Any) -> Any:
    """Return a data frame or the path of a CSV file as rows, as DataJoint's ``validate`` does; other rows unchanged."""
    if isinstance(rows, pd.DataFrame):
        single_unnamed = len(rows.index.names) == 1 and not rows.index.names[0]
        return rows.reset_index(drop=single_unnamed).to_records(index=False)
    if isinstance(rows, Path):
        with rows.open(newline="") as file:
            return list(csv.DictReader(file))
    return rows


def check_fields(heading: Any, rows: list[Row], *, ignore_extra_fields: bool) -> None:
    """Raise what DataJoint would raise for unknown or differing attributes, before anything is stored."""
    if not rows:
        return
    unknown = [name for name in rows[0].values if name not in heading]
    if unknown and not ignore_extra_fields:
        raise KeyError(f"`{unknown[0]}` is not in the table heading")
    expected = set(rows[0].values).intersection(heading.names)
    if any(expected != set(row.values).intersection(heading.names) for row in rows):
        raise DataJointError("Attempt to insert rows with different fields.")


def _read_row(heading: Any, index: int, row: Any) -> Row:
    if isinstance(row, np.void):
        return Row(index, {name: row[name] for name in row.dtype.names or ()})
    if isinstance(row, Mapping):
        return Row(index, dict(row))
    try:
        count = len(row)
    except TypeError as error:
        raise DataJointError(f"Datatype {type(row)} cannot be inserted") from error
    if count != len(heading):
        raise DataJointError(
            f"Invalid insert argument. Incorrect number of attributes: {count} given; {len(heading)} expected"
        )
    return Row(index, dict(zip(heading.names, row, strict=True)), is_positional=True)


_KEYS_PER_QUERY = 500

Key = tuple[KeyValue, ...]


class TableKeys:
    """The primary key of one table, which messages call *name*."""

    def __init__(self, table: Any, name: str) -> None:
        self._table = table
        self._name = name
        self._types = {name: declared_type(table.heading[name]) for name in table.primary_key}

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
        found = {self.of(Row(0, values)) for part in self._parts(complete) for values in part.proj().to_dicts()}
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
        return [part.make_sql(attributes) for part in self._parts(rows)]

    def paths_by(self, queries: list[str]) -> set[str]:
        """Return the object keys that `queries_for` finds, as this connection sees it.

        Rows whose keys the database has rounded are not found; `paths_among` finds them.
        """
        connection, paths = self._table.connection, set[str]()
        for sql in queries:
            found = connection.query(sql, reconnect=False).fetchall()
            values = (value for row in found for value in row if value is not None)
            documents = (json.loads(value) if isinstance(value, str | bytes) else value for value in values)
            paths |= {path_in(document) or "" for document in documents}
        return paths

    def _parts(self, rows: list[Row]) -> Iterator[Any]:
        """Give the table restricted to the keys of *rows*, to so many at a time as one query can take."""
        for start in range(0, len(rows), _KEYS_PER_QUERY):
            yield self.unrestricted & [self._given(row) for row in rows[start : start + _KEYS_PER_QUERY]]

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


def declared_type(attribute: Any) -> str:
    """Return the type of an attribute as it was declared, as far as DataJoint knows it."""
    return str(attribute.original_type or attribute.type)
