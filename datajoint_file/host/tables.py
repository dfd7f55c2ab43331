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

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from datajoint_file.errors import DataJointFileError
from datajoint_file.host.codec import Checked, file_attributes
from datajoint_file.host.rows import Row, as_records, check_fields, is_missing, read_rows
from datajoint_file.host.statement import Statement
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
    if skip_duplicates:
        given = statement.without_existing(given)
    stored = statement.store(given)
    ready = [row.with_values({n: stored.get((row.index, n)) for n in attributes if n in row.values}) for row in given]
    with own_transaction(table.connection):
        if replace and table.connection.adapter.backend == "postgresql":
            statement.delete_existing(given)
            replace = False
        return original(table, ready, replace, skip_duplicates, ignore_extra_fields)


def update1(original: Callable[..., None], table: Any, row: Any) -> None:
    """Store the files of *row* under new keys, then let DataJoint update. The old objects are left as they are."""
    attributes = file_attributes(table.heading)
    if not attributes or not _is_updatable(table, row) or not any(name in row for name in attributes):
        return original(table, row)
    statement = Statement(table, tuple(name for name in attributes if name in row))
    stored = statement.store([Row(0, dict(row))])
    values = {name: stored.get((0, name)) for name in statement.attributes}
    with own_transaction(table.connection):
        return original(table, {**row, **values})


def validate(original: Callable[..., Any], table: Any, rows: Any, *, ignore_extra_fields: bool = False) -> Any:
    """Let DataJoint validate *rows*, and check the values of ``file`` attributes as an insert would."""
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


@contextmanager
def own_transaction(connection: Any) -> Iterator[None]:
    """Run a statement in a transaction: the user's if one is open, else its own.

    Outside one DataJoint sends an INSERT again when the server's reply is lost, and reports a duplicate for the row
    that the first one inserted.
    """
    if connection.in_transaction:
        yield
        return
    with connection.transaction:
        yield


def _is_updatable(table: Any, row: Any) -> bool:
    """Tell whether DataJoint would carry out the update; if not, it says why itself, before anything is stored."""
    if not isinstance(row, Mapping) or not set(row).issuperset(table.primary_key):
        return False
    if len(table.restriction) or any(name not in table.heading.names for name in row):
        return False
    return len(table & {name: row[name] for name in table.primary_key}) == 1


def _checked_values(statement: Statement, index: int, row: Any) -> tuple[Any, list[tuple[int, str, str]]]:
    """Return *row* with its files swapped for what DataJoint can serialise, and what is wrong with them."""
    try:
        read = read_rows(statement.table.heading, [row])[0]
    except Exception:  # noqa: BLE001 - not a row at all: DataJoint says so
        return row, []
    errors, values = [], {}
    for name in statement.attributes:
        if is_missing(read.values.get(name)):
            continue
        values[name] = Checked()
        try:
            as_source(read.values[name])
        except DataJointFileError as error:
            errors.append((index, name, str(error)))
    return read.with_values(values), errors
