"""Versions of cells: the files that a ``file`` attribute held, newest first, also of rows that are gone."""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any
from uuid import UUID

from datajoint.errors import MissingTableError
from datajoint.table import Table

from datajoint_file.errors import DataJointFileError, UnsupportedValueError, brief, brief_traceback
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import name_of
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.history_table import PURGED, UNKNOWN, HistoryEntry, HistoryTable
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.object_keys import key_text
from datajoint_file.pipeline.directoryref import ref_of
from datajoint_file.sql import Column
from datajoint_file.sql.columns import NotKept, Value, cell_sql, read_row, read_value
from datajoint_file.sql.path_lookup import cells_among
from datajoint_file.undo.own_session import OwnSession

_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Version:
    """A file that a cell held, and how it went.

    Parameters
    ----------
    file : FileRef or DirectoryRef
        The file. It reads like any other, until the collector has deleted its bytes.
    attribute : str
        Of which attribute.
    key : dict
        The primary key of its row, as it was written down: text for all but numbers and bytes. Empty if the collector
        has deleted the bytes of all versions of the row, with which its values went. Of a table that is dropped nobody
        knows the key: then some short values.
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
    number : int
        How many versions back it is in its cell, for `revert`: 1 is the newest of those that `history` gives.
    is_back : bool
        Whether a row of the table names the file now; of what `history` gives, that is another row than its own.
    """

    file: Any
    attribute: str
    key: Mapping[str, Any]
    at: datetime
    who: str
    why: str
    event: str
    is_purged: bool = False
    number: int = field(default=1, compare=False)
    is_back: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        key = ", ".join(f"{name}={value}" for name, value in self.key.items()) or "key not kept"
        gone = ", deleted since" if self.is_purged else ""
        return f"{local_time(self.at)} {self.why} by {self.who}: {self.attribute} ({key}) {self.file!r}{gone}"


@brief_traceback
def history(query: Any, attribute: str | None = None, *, key: Mapping[str, Any] | None = None) -> list[Version]:
    """Return what cells held before, newest first: each file once, and not what they hold now.

    No file is read, and the store is not asked. Known is what DataJoint took away through this package: by
    ``update1``, ``insert(…, replace=True)``, ``delete``, ``drop`` and ``alter``, with cascades; not by SQL of others.

    Only files are given. Empty, also of a table without ``file`` attributes, it does not say that nothing was deleted:
    rows without a file that went together with files are shown by ``datajoint-file history`` and come back by
    `undelete`.

    Parameters
    ----------
    query : datajoint.Table
        A table, or rows of it: ``Recording & key``. A table without a restriction gives all of its history, also of
        rows that are gone; one that is dropped is a `datajoint.FreeTable`.
    attribute : str, optional
        Of which ``file`` attribute; of all, if not given.
    key : mapping, optional
        Of which rows, whether they are there or not: the primary key, or some attributes of it.

    Raises
    ------
    UnsupportedValueError
        If *query* is no table, *attribute* none of its ``file`` attributes, or *key* names others than the primary key
        or has a value that its attribute cannot have.

    Examples
    --------
    >>> for version in datajoint_file.history(Recording & {"subject_id": 1}, "raw_data"):  # doctest: +SKIP
    ...     print(version.at, version.who, version.why, version.file.size)
    """
    return [version for version in removed(query, attribute, key=key) if version.number]


def removed(query: Any, attribute: str | None = None, *, key: Mapping[str, Any] | None = None) -> list[Version]:
    """Return the same as `history`, and with the number 0 what cells hold again."""
    table = table_of(query)
    require_key(key)
    columns = columns_of(table)
    if attribute is not None and columns and attribute not in file_attributes(table.heading):
        raise UnsupportedValueError(
            f"{attribute!r} is no `file` attribute of {table_name(table)}; it has "
            f"{', '.join(file_attributes(table.heading)) or 'none'}"
        )
    entries = entries_of(table, columns, f"attribute <> '' AND why <> '{UNKNOWN}'", key, attribute)
    versions = dict[_Held, Version]()
    for entry in entries:  # newest first: what was held twice stands where it went last
        if version := version_of(entry, columns, table.connection):
            versions.setdefault((entry.cell, entry.attribute, version.file.path), version)
    held = _held(table, columns, versions) if columns else set[_Held]()
    named, found, numbers = {place[1:] for place in held}, list[Version](), Counter[tuple[str, str]]()
    for (cell, name, path), version in versions.items():
        is_held = (cell, name, path) in held
        numbers[cell, name] += not is_held
        number = 0 if is_held else numbers[cell, name]
        found.append(replace(version, number=number, is_back=(name, path) in named))
    return found


_Held = tuple[str, str, str]
"""Cell, attribute, path."""


def entries_of(
    table: Any, columns: list[Column], condition: str, key: Mapping[str, Any] | None, attribute: str | None = None
) -> list[HistoryEntry]:
    """Return the entries of a table for which a condition holds, newest first: those of its restriction, or of *key*.

    Raises
    ------
    UnsupportedValueError
        If *key* names others than the primary key or has a value that its attribute cannot have.
    """
    second, own = second_connection_of(table.connection), OwnSession(table.connection)
    condition, args = f"table_name = %s AND {condition}", [table.table_name]
    if attribute is not None:
        condition, args = f"{condition} AND attribute = %s", [*args, attribute]
    cells = _cells(own, table, columns, key)
    try:
        entries = _entries(HistoryTable(second, table.database), condition, args, cells)
    except MissingTableError:  # nothing was ever removed from this schema
        return []
    texts = {entry.cell: entry.row_text for entry in entries if entry.row_text}  # what is purged has no row any more
    entries = [replace(entry, row_text=entry.row_text or texts.get(entry.cell)) for entry in entries]
    if cells is None:  # else the database has compared the key
        rows = [values_of(entry) for entry in entries]
        wanted: dict[str, Collection[Any]] = {name: (value, str(value)) for name, value in (key or {}).items()}
        wanted |= values_in_database(own, columns, key or {}, rows)  # none, if the table is gone
        entries = [entry for entry, row in zip(entries, rows, strict=True) if has_values(row, wanted)]
    return entries


def _held(table: Any, columns: Sequence[Column], versions: Iterable[_Held]) -> set[_Held]:
    """Return what rows of the table have now of some files, each with the cell that has it."""
    second, paths = second_connection_of(table.connection), dict[str, list[str]]()
    for _, attribute, path in versions:
        paths.setdefault(attribute, []).append(path)
    name, there = second.dialect.quoted(table.database, table.table_name), set(file_attributes(table.heading))
    return {
        (cell, attribute, path)
        for attribute in paths.keys() & there
        for cell, path in cells_among(second.query, second.dialect, name, columns, attribute, paths[attribute])
    }


def table_of(query: Any) -> Any:
    """Return *query* as an instance; refuse what is no table."""
    table = query() if isinstance(query, type) and issubclass(query, Table) else query
    if not isinstance(table, Table):
        raise UnsupportedValueError(
            f"{brief(query)} is no table, and history is kept of tables: give a table, or rows of one: Recording, "
            "Recording & key"
        )
    return table


def require_key(key: Any) -> None:
    """Refuse what is no key."""
    if key is not None and not isinstance(key, Mapping):
        raise UnsupportedValueError(f"key = {brief(key)}: give a dict, such as {{'subject_id': 1}}")


def columns_of(table: Any) -> list[Column]:
    """Return the columns of a table; none if it is dropped."""
    second = second_connection_of(table.connection)
    return second.dialect.columns(second.query, table.database, [table.table_name]).get(table.table_name, [])


def _cells(own: OwnSession, table: Any, columns: list[Column], key: Mapping[str, Any] | None) -> list[str] | None:
    """Return the cells that a whole *key*, or a restriction, selects; None if it is neither."""
    dialect = own.dialect
    keys = [column for column in columns if column.is_key]
    if key is not None:
        others = sorted(set(key) - {column.name for column in keys})
        if others and columns:
            known = ", ".join(column.name for column in keys)
            raise UnsupportedValueError(f"{table_name(table)}: {', '.join(others)} not in the primary key ({known})")
        if keys and len(key) == len(keys):
            cell = cell_sql(dialect, columns, [dialect.typed(column) for column in keys])
            args = [_given(column, key[column.name]) for column in keys]
            try:
                return [cell for (cell,) in own.query(f"SELECT {cell}", args)]
            except Exception as error:
                if not dialect.is_about_value(error):
                    raise
                shown = key_text((name, str(value)) for name, value in key.items())
                raise UnsupportedValueError(f"{table_name(table)}: no row can have the key {shown}") from error
    elif table.restriction:
        sql = f"SELECT {cell_sql(dialect, columns)} FROM {table.full_table_name}{table.where_clause()}"
        return [cell for (cell,) in own.query(sql)]
    return None


def _entries(
    history_table: HistoryTable, condition: str, args: list[Any], cells: list[str] | None
) -> list[HistoryEntry]:
    if cells is None:
        return history_table.entries(condition, args)
    found = [
        entry
        for some in batches(cells, _VALUES_PER_QUERY)
        for entry in history_table.entries(f"{condition} AND cell IN %s", [*args, tuple(some)])
    ]
    return sorted(found, key=lambda entry: entry.number, reverse=True)


def version_of(entry: HistoryEntry, columns: list[Column], connection: Any) -> Version | None:
    """Return the version that an entry is about; None if what it has is no file."""
    with suppress(DataJointFileError, ValueError, TypeError, RecursionError):
        file, key = ref_of(json.loads(entry.metadata or ""), name_of(connection._config)), key_in(entry, columns)
        file.metadata  # noqa: B018 - raises if it is not sound
        return Version(file, entry.attribute, key, entry.at, entry.who, entry.why, entry.event, entry.state == PURGED)
    return None


def key_in(entry: HistoryEntry, columns: list[Column]) -> dict[str, Any]:
    """Return the primary key of an entry's row; empty once the row is forgotten.

    Of a table that is gone nobody knows the key: then some short values, which tell people which row it was.
    """
    row = values_of(entry)
    if not columns:
        numbers = ((name, value) for name, value in row.items() if isinstance(value, str | int | float))
        return dict(islice(((name, value) for name, value in numbers if len(str(value)) <= _MAX_SHOWN), 3))
    return {column.name: _plain(column, row[column.name]) for column in columns if column.is_key and column.name in row}


def values_of(entry: HistoryEntry) -> dict[str, Value]:
    """Return what an entry's row held; nothing once the row is forgotten, or if it is damaged."""
    with suppress(ValueError, RecursionError):
        return {name: value for name, (_, value) in read_row(entry.row_text or "{}").items()}
    return {}


def has_values(row: Mapping[str, Value], wanted: Mapping[str, Collection[Any]]) -> bool:
    """Tell whether a row has one of the values of *wanted* each, which are as `values_in_database` gives them."""
    return all(name in row and row[name] in values for name, values in wanted.items())


def values_in_database(
    own: OwnSession, columns: Sequence[Column], key: Mapping[str, Any], rows: Sequence[Mapping[str, Value]]
) -> dict[str, Collection[Any]]:
    """Return the values of *key* as *rows* of the history have them, for those of its attributes that *columns* has.

    Several where the database takes spellings for equal, none where its column would round or cut the value.

    Raises
    ------
    UnsupportedValueError
        If a column cannot have a value of this kind.
    """
    found: dict[str, Collection[Any]] = {}
    for column in columns:
        if column.name in key:
            value = _value_in_database(own, column, _given(column, key[column.name]))
            held = {row[column.name] for row in rows if isinstance(row.get(column.name), str)}
            found[column.name] = [*value, *(text for one in value for text in _equal(own, column, one, list(held)))]
    return found


def _equal(own: OwnSession, column: Column, value: Any, others: Sequence[Value]) -> Iterator[Value]:
    """Give those of *others* that the database takes for equal to a value, all as they are written down."""
    one = own.dialect.compared(column, "%s")
    if one != own.dialect.written(column, "%s")[1]:
        for some in batches(others, _VALUES_PER_QUERY):
            first, *rest = own.query(f"SELECT {', '.join([one] * (1 + len(some)))}", [value, *some])[0]
            yield from (other for other, text in zip(some, rest, strict=True) if text == first)


def _value_in_database(own: OwnSession, column: Column, given: Any) -> list[Value]:
    kind, sql, _ = own.dialect.written(column, own.dialect.typed(column))
    try:
        written = read_value(kind, own.query(f"SELECT {sql}", [given])[0][0])
    except Exception as error:
        if not own.dialect.is_about_value(error):
            raise
        raise _is_none(column, given) from error
    if (written is None) != (given is None):  # MySQL makes NULL of what is no time
        raise _is_none(column, given)
    is_cut = column.type.startswith("character varying") and written != str(given)
    is_rounded = _EXACT.match(column.type) and given is not None and Decimal(str(written)) != Decimal(str(given))
    return [] if is_cut or is_rounded else [written]


_VALUES_PER_QUERY = 400
_EXACT = re.compile(r"(tiny|small|medium|big)?int(eger)?\b|decimal|numeric", re.IGNORECASE)
_INEXACT = re.compile("float|double|real", re.IGNORECASE)
_SINGLE = re.compile("float|real", re.IGNORECASE)


def _given(column: Column, value: Any) -> Any:
    """Return a key's value as the driver takes it for its column."""
    value = value.item() if hasattr(value, "item") else value
    word = str(value).lower()
    try:
        if column.comment.startswith(":uuid:") and column.type.startswith("binary") and isinstance(value, (str, UUID)):
            return UUID(str(value)).bytes
        if column.comment.startswith(":bool:") and word in ("true", "false") and _EXACT.match(column.type):
            return int(word == "true")
        if value is not None and _EXACT.match(column.type):
            return Decimal(int(value) if isinstance(value, bool) else str(value))
        if value is not None and _INEXACT.match(column.type):
            is_single = _SINGLE.match(column.type)
            return struct.unpack(">f", struct.pack(">f", float(value)))[0] if is_single else float(value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise _is_none(column, value) from error
    return str(value) if isinstance(value, UUID) else value


def _is_none(column: Column, value: Any) -> UnsupportedValueError:
    return UnsupportedValueError(f"key: {column.name} is {column.type}, and cannot be {brief(value)}")


def local_time(moment: datetime) -> str:
    """Return a moment as people read it here, with the offset, so that it can be given to ``--since`` as it is."""
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _plain(column: Column, value: Value) -> Any:
    """Return a number for text that is one, and a UUID for its bytes."""
    if isinstance(value, bytes) and column.comment.startswith(":uuid:"):
        return UUID(bytes=value)
    if isinstance(value, str) and value.lstrip("-").isdigit() and str(int(value)) == value:
        return int(value)
    return None if isinstance(value, NotKept) else value
