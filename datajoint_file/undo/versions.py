"""Versions of cells: the files that a ``file`` attribute held, newest first, also of rows that are gone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from datajoint.table import Table

from datajoint_file.errors import DataJointFileError, UnsupportedValueError, brief, brief_traceback
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import name_of
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.history_table import PURGED, UNKNOWN, Entry, HistoryTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.sql import Column, Condition
from datajoint_file.sql.columns import NotKept, Value, cell_sql, read_row


@dataclass(frozen=True, slots=True)
class Version:
    """A file that a cell held, and how it went.

    Parameters
    ----------
    file : FileRef
        The file. It reads like any other, until the collector has deleted its bytes.
    attribute : str
        Of which attribute.
    key : dict
        The primary key of its row, as it was written down: text for all but numbers and bytes.
    at : datetime
        When it was taken away, by the database's clock, aware, in UTC.
    who : str
        The database's user who did it.
    why : str
        ``update``, ``replace``, ``delete``, ``drop`` or ``alter``.
    event : str
        The same for all that was removed together.
    is_purged : bool
        Whether the collector has deleted the bytes.
    """

    file: FileRef
    attribute: str
    key: Mapping[str, Any]
    at: datetime
    who: str
    why: str
    event: str
    is_purged: bool = False

    def __str__(self) -> str:
        key = ", ".join(f"{name}={value}" for name, value in self.key.items())
        gone = ", deleted since" if self.is_purged else ""
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.why} by {self.who}: {self.attribute} ({key}) {self.file!r}{gone}"


@brief_traceback
def history(query: Any, attribute: str | None = None, *, key: Mapping[str, Any] | None = None) -> list[Version]:
    """Return what cells held before, newest first. What they hold now is not among it.

    One query; no file is read, and the store is not asked. Known is what DataJoint took away through this package: by
    ``update1``, ``insert(…, replace=True)``, ``delete``, ``drop`` and ``alter``, with cascades; not by SQL of others.

    Parameters
    ----------
    query : datajoint.Table
        A table, or rows of it: ``Recording & key``. A table without a restriction gives all of its history, also of
        rows that are gone.
    attribute : str, optional
        Of which ``file`` attribute; of all, if not given.
    key : mapping, optional
        Of which rows, whether they are there or not: the primary key, or some attributes of it.

    Raises
    ------
    UnsupportedValueError
        If *query* is no table, *attribute* none of its ``file`` attributes, or *key* names others than the primary key.

    Examples
    --------
    >>> for version in datajoint_file.history(Recording & {"subject_id": 1}, "raw_data"):  # doctest: +SKIP
    ...     print(version.at, version.who, version.why, version.file.size)
    """
    table = table_of(query)
    if attribute is not None and attribute not in file_attributes(table.heading):
        raise UnsupportedValueError(
            f"{attribute!r} is no `file` attribute of {table_name(table)}; it has "
            f"{', '.join(file_attributes(table.heading)) or 'none'}"
        )
    second = second_connection_of(table.connection)
    columns = second.dialect.columns(second.query, table.database, [table.table_name]).get(table.table_name, [])
    condition, args = "table_name = %s AND attribute <> '' AND why <> %s", [table.table_name, UNKNOWN]
    conditions = _conditions(table, columns, attribute, key)
    for text, values in conditions:
        condition, args = f"{condition} AND {text}", [*args, *values]
    entries = HistoryTable(second, table.database).entries(condition, args)
    versions = [version for entry in entries if (version := version_of(entry, columns, table.connection))]
    if any(text.startswith("cell") for text, _ in conditions):
        return versions  # the database has compared the key
    wanted = {name: str(value) for name, value in (key or {}).items()}
    return [one for one in versions if all(str(one.key.get(name)) == value for name, value in wanted.items())]


def table_of(query: Any) -> Any:
    """Return *query* as an instance; refuse what is no table."""
    table = query() if isinstance(query, type) and issubclass(query, Table) else query
    if not isinstance(table, Table):
        raise UnsupportedValueError(f"{brief(query)} is no table with a restriction: history is kept for tables")
    return table


def _conditions(
    table: Any, columns: list[Column], attribute: str | None, key: Mapping[str, Any] | None
) -> list[Condition]:
    found: list[Condition] = [] if attribute is None else [("attribute = %s", [attribute])]
    dialect = second_connection_of(table.connection).dialect
    keys = [column for column in columns if column.is_key]
    if key is not None:
        others = sorted(set(key) - {column.name for column in keys})
        if others:
            raise UnsupportedValueError(f"{table_name(table)}: {', '.join(others)} not in the primary key")
        if len(key) == len(keys):
            cell = cell_sql(dialect, columns, [dialect.typed(column) for column in keys])
            found.append((f"cell = {cell}", [_given(column, key[column.name]) for column in keys]))
    elif table.restriction:
        cells = f"SELECT {cell_sql(dialect, columns)} FROM {table.full_table_name}{table.where_clause()}"
        found.append((f"cell IN ({cells})", []))
    return found


def version_of(entry: Entry, columns: list[Column], connection: Any) -> Version | None:
    """Return the version that an entry is about; None if what it has is no file."""
    with suppress(DataJointFileError, ValueError, TypeError):
        metadata = FileMetadata.from_json(json.loads(entry.metadata or ""))
        file, key = FileRef(metadata, name_of(connection._config)), key_in(entry, columns)
        return Version(file, entry.attribute, key, entry.at, entry.who, entry.why, entry.event, entry.state == PURGED)
    return None


def key_in(entry: Entry, columns: list[Column]) -> dict[str, Any]:
    """Return the primary key of an entry's row; empty once the row is forgotten."""
    row = read_row(entry.row_text) if entry.row_text else {}
    return {
        column.name: _plain(column, row[column.name][1]) for column in columns if column.is_key and column.name in row
    }


def _given(column: Column, value: Any) -> Any:
    """Return a key's value as the driver takes it for its column."""
    if isinstance(value, UUID):
        return value.bytes if column.type.startswith("binary") else str(value)
    return value.item() if hasattr(value, "item") else value


def _plain(column: Column, value: Value) -> Any:
    """Return a number for text that is one, and a UUID for its bytes."""
    if isinstance(value, bytes) and column.comment.startswith(":uuid:"):
        return UUID(bytes=value)
    if isinstance(value, str) and value.lstrip("-").isdigit() and str(int(value)) == value:
        return int(value)
    return None if isinstance(value, NotKept) else value
