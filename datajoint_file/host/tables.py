"""Inserts and updates of tables with ``file`` attributes: all rows checked, then bytes, then rows.

A table without ``file`` attributes goes straight through. The order of one insert::

    read the rows; leave out those that are there already (skip_duplicates)
    check each of the others: value, name, key, partition             nothing is stored yet
    plan: a key for each file                                         whoever wants to journal them can, here
    ingest: read, hash and store each file
    in one transaction: DataJoint's own INSERT, with metadata in place of the values

When an insert fails after files were stored, they stay: a failed statement does not prove that no row refers to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

from datajoint.table import Table

from datajoint_file.errors import DataJointFileError
from datajoint_file.host.codec import Checked, Ingested, file_attributes
from datajoint_file.host.hooks import original_of
from datajoint_file.host.rows import Row, as_records, check_fields, read_rows
from datajoint_file.host.statement import Slot, Statement
from datajoint_file.host.transactions import has_transaction, own_transaction
from datajoint_file.keyvalues import is_missing
from datajoint_file.sources import as_source


def insert_rows(
    original: Callable[..., None],
    table: Any,
    rows: Iterable[Any],
    replace: bool,
    skip_duplicates: bool,
    ignore_extra_fields: bool,
) -> None:
    """Store the files of *rows*, then let DataJoint insert the rows. Wraps ``Table._insert_rows``, one statement.

    Raises
    ------
    UnsupportedValueError, UnsafeNameError, SourceError, InvalidKeyError, ConfigurationError
        If a value cannot be stored; nothing has been.
    StorageError
        If the store fails; no row has been inserted.
    """
    attributes = file_attributes(table.heading)
    if not attributes:
        return original(table, rows, replace, skip_duplicates, ignore_extra_fields)
    statement = Statement(table, attributes)
    given = read_rows(table.heading, rows)
    check_fields(table.heading, given, ignore_extra_fields=ignore_extra_fields)
    is_open = has_transaction(table.connection)  # asked first: an upload can outlive the connection
    if skip_duplicates:
        given = statement.keys.without_existing(given)
    with statement.streams_put_back():
        stored = statement.store(given)
        with nullcontext() if is_open or not (stored or replace) else own_transaction(table.connection):
            if replace and table.connection.adapter.backend == "postgresql":
                return _replace(original, statement, given, stored, ignore_extra_fields)
            ready = [_ready(row, stored, attributes) for row in given]
            return original(table, ready, replace, skip_duplicates, ignore_extra_fields)


def update1(original: Callable[..., None], table: Any, row: Any) -> None:
    """Store the files of *row* under new keys, then let DataJoint update. The old objects are left as they are."""
    attributes = file_attributes(table.heading)
    if not attributes or not _is_updatable(table, row) or not any(name in row for name in attributes):
        return original(table, row)
    statement = Statement(table, tuple(name for name in attributes if name in row))
    is_open = has_transaction(table.connection)
    given = Row(0, dict(row))
    with statement.streams_put_back():
        stored = statement.store([given])
        with nullcontext() if is_open or not stored else own_transaction(table.connection):
            return original(table, _ready(given, stored, attributes))


def validate(original: Callable[..., Any], table: Any, rows: Any, *, ignore_extra_fields: bool = False) -> Any:
    """Let DataJoint validate *rows*, and check keys and values of ``file`` attributes. Nothing is read or stored."""
    attributes = file_attributes(table.heading)
    if not attributes:
        return original(table, rows, ignore_extra_fields=ignore_extra_fields)
    statement = Statement(table, attributes)
    swapped, problems = [], []
    for index, row in enumerate(as_records(rows)):
        values, errors = _checked_values(statement, index, row)
        swapped.append(values)
        problems += errors
    result = original(table, swapped, ignore_extra_fields=ignore_extra_fields)
    result.errors = sorted(result.errors + problems, key=lambda problem: problem[0])
    result.is_valid = not result.errors
    return result


def _ready(row: Row, stored: Mapping[Slot, Ingested], attributes: tuple[str, ...]) -> Any:
    """Return *row* for DataJoint, with what has been stored in place of its files."""
    return row.with_values({name: stored.get((row.index, name)) for name in attributes if name in row.values})


def _replace(
    original: Callable[..., None],
    statement: Statement,
    rows: list[Row],
    stored: Mapping[Slot, Ingested],
    ignore_extra_fields: bool,
) -> None:
    """Do what MySQL's ``REPLACE`` does, which PostgreSQL has not: the last row of a key wins, what it omits is reset.

    Rows that are there are updated, not deleted and inserted again, so that others can refer to them.
    """
    keys, table = statement.keys, statement.table
    latest = list({keys.of(row) if keys.is_complete(row) else row.index: row for row in rows}.values())
    present = keys.present(latest)
    update = original_of(Table.update1)
    for row in latest:
        if row.index in present:
            values = {**row.values, **{name: stored.get((row.index, name)) for name in statement.attributes}}
            update(keys.unrestricted(), {name: values.get(name) for name in table.heading.names})
    new = [_ready(row, stored, statement.attributes) for row in latest if row.index not in present]
    original(table, new, False, False, ignore_extra_fields)


def _is_updatable(table: Any, row: Any) -> bool:
    """Tell whether DataJoint would carry out the update; if not, it says why itself, before anything is stored."""
    if not isinstance(row, Mapping) or not set(row).issuperset(table.primary_key):
        return False
    if len(table.restriction) or any(name not in table.heading.names for name in row):
        return False
    return len(table & {name: row[name] for name in table.primary_key}) == 1


def _checked_values(statement: Statement, index: int, row: Any) -> tuple[Any, list[tuple[int, str, str]]]:
    """Return *row* with its files swapped for what DataJoint can serialise, and what is wrong with it."""
    try:
        read = read_rows(statement.table.heading, [row])[0]
    except Exception:  # noqa: BLE001 - not a row at all: DataJoint says so
        return row, []
    errors = _key_errors(statement, read, index)
    values: dict[str, Any] = {}
    for name in statement.attributes:
        if name not in read.values:
            continue
        values[name] = None if is_missing(read.values[name]) else Checked()
        try:
            _ = None if is_missing(read.values[name]) else as_source(read.values[name])
        except DataJointFileError as error:
            errors.append((index, name, str(error)))
    return read.with_values(values), errors


def _key_errors(statement: Statement, row: Row, index: int) -> list[tuple[int, str, str]]:
    if not statement.keys.is_complete(row):
        return []  # DataJoint says so
    try:
        statement.keys.of(row)
    except DataJointFileError as error:
        return [(index, statement.table.primary_key[0], str(error))]
    return []
