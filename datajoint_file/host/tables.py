"""Inserts and updates of tables with ``file`` attributes: all rows checked, then bytes, then rows.

A table without ``file`` attributes goes straight through. The order of one insert::

    read the rows  ->  check each: value, name, key, partition        nothing is stored yet
    leave out rows that are there already (skip_duplicates)
    plan: a key for each file                                         here intents will be journalled
    ingest: read, hash and store each file
    in one transaction: DataJoint's own INSERT, with metadata in place of the values

When an insert fails after files were stored, they stay: a failed statement does not prove that no row refers to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from datajoint.table import FreeTable
from datajoint.utils import to_camel_case

from datajoint_file.errors import DataJointFileError, InvalidKeyError, UnsupportedValueError
from datajoint_file.host.codec import Checked, Ingested, file_attributes
from datajoint_file.host.declare import refuse_partition
from datajoint_file.host.pipelines import pipeline_of
from datajoint_file.host.rows import Row, as_records, check_fields, is_missing, read_rows
from datajoint_file.keys import Place
from datajoint_file.keyvalues import KeyValue, key_value
from datajoint_file.pipeline import Pipeline, Upload
from datajoint_file.progress import progress_bar
from datajoint_file.sources import Source, as_source

_KEYS_PER_QUERY = 500

_Slot = tuple[int, str]
"""A value of an insert: the row's index and the attribute."""


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


class Statement:
    """One INSERT or UPDATE of a table with ``file`` attributes.

    Parameters
    ----------
    table : datajoint.Table
        The table.
    attributes : tuple of str
        Its ``file`` attributes that are concerned.
    """

    def __init__(self, table: Any, attributes: tuple[str, ...]) -> None:
        self.table = table
        self.attributes = attributes
        self.name = table_name(table)
        self._key_types = {name: _declared_type(table.heading[name]) for name in table.primary_key}

    def store(self, rows: list[Row]) -> dict[_Slot, Ingested]:
        """Check all values of *rows*, then store them. Returns what stands in their place, by row and attribute."""
        sources = {
            (row.index, name): self._recognised(row, name, len(rows))
            for row in rows
            for name in self.attributes
            if self.has_value(row, name)
        }
        if not sources:
            return {}
        pipeline = self._pipeline()
        for (index, _), (source, place) in sources.items():
            with located(place, index, len(rows)):
                pipeline.check(source, place)
        uploads = {slot: pipeline.plan(source, place) for slot, (source, place) in sources.items()}
        return self._ingest(pipeline, uploads, len(rows))

    def has_value(self, row: Row, name: str) -> bool:
        """Tell whether *row* gives a file for the attribute *name*; refuse a row that must and does not.

        Raises
        ------
        UnsupportedValueError
            If the attribute is not nullable and there is no value.
        """
        if not is_missing(row.values.get(name)):
            return True
        if not self.table.heading[name].nullable:
            given = "is None" if name in row.values else "is missing"
            raise UnsupportedValueError(
                f"{self.name}.{name}, row {row.index}: the value {given}, and the attribute is not nullable "
                f"(declare it as `{name} = null : file`); nothing was stored"
            )
        return False

    def _recognised(self, row: Row, name: str, row_count: int) -> tuple[Source, Place]:
        place = self.place(row, name)
        with located(place, row.index, row_count):
            return as_source(row.values[name]), place

    def place(self, row: Row, name: str) -> Place:
        """Return where the value of *row* for the attribute *name* belongs."""
        schema, _, table = self.name.partition(".")
        try:
            return Place(schema, table, name, self.key(row))
        except InvalidKeyError as error:
            raise error.within(f"{self.name}.{name}, row {row.index}") from error

    def key(self, row: Row) -> tuple[KeyValue, ...]:
        """Return the row's primary key in canonical form.

        Raises
        ------
        InvalidKeyError
            If a key attribute is missing (also one that the database would fill in) or malformed.
        """
        return tuple(key_value(name, type_, row.values.get(name)) for name, type_ in self._key_types.items())

    def without_existing(self, rows: list[Row]) -> list[Row]:
        """Return the rows whose primary key is neither in the table nor earlier in *rows*."""
        complete = [row for row in rows if not any(is_missing(row.values.get(name)) for name in self._key_types)]
        seen = self._existing_keys(complete)
        remaining = [row for row in rows if row not in complete]
        for row in complete:
            key = self.key(row)
            if key not in seen:
                seen.add(key)
                remaining.append(row)
        return sorted(remaining, key=lambda row: row.index)

    def delete_existing(self, rows: list[Row]) -> None:
        """Delete the rows that *rows* replace, as MySQL's ``REPLACE`` does; PostgreSQL has no such statement."""
        for keys in self._key_batches(rows):
            (self._unrestricted() & keys).delete_quick()

    def _existing_keys(self, rows: list[Row]) -> set[tuple[KeyValue, ...]]:
        found: set[tuple[KeyValue, ...]] = set()
        for keys in self._key_batches(rows):
            found.update(self.key(Row(0, key)) for key in (self._unrestricted() & keys).proj().to_dicts())
        return found

    def _key_batches(self, rows: list[Row]) -> Iterator[list[dict[str, Any]]]:
        for start in range(0, len(rows), _KEYS_PER_QUERY):
            batch = rows[start : start + _KEYS_PER_QUERY]
            yield [{name: row.values[name] for name in self._key_types} for row in batch]

    def _unrestricted(self) -> Any:
        """Return the table without the restrictions it may carry: they do not concern what is inserted."""
        return FreeTable(self.table.connection, self.table.full_table_name)

    def _pipeline(self) -> Pipeline:
        """Return the connection's pipeline, having checked that its partition pattern suits this table."""
        pipeline = pipeline_of(self.table.connection, self.table.database)
        pattern = pipeline.settings.object_storage.partition_pattern
        outside = pattern.placeholders.intersection(self.table.heading.secondary_attributes)
        refuse_partition(outside, pattern.text, f"{self.name}.{self.attributes[0]}")
        return pipeline

    def _ingest(self, pipeline: Pipeline, uploads: dict[_Slot, Upload], row_count: int) -> dict[_Slot, Ingested]:
        stored: dict[_Slot, Ingested] = {}
        sizes = [upload.source.size for upload in uploads.values()]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        count = f"{len(uploads)} files" if len(uploads) > 1 else next(iter(uploads.values())).name
        with progress_bar(f"storing {count} of {self.name}", total) as advance:
            for slot, upload in uploads.items():
                with located(upload.place, slot[0], row_count, len(stored)):
                    stored[slot] = Ingested(pipeline.ingest(upload, advance))
        return stored


def table_name(table: Any) -> str:
    """Return the name of a table as people write it: ``schema.Recording``, ``schema.Recording.Trace`` for a part.

    It is made of the database's name, so that a `FreeTable` has the same one.
    """
    parts = table.table_name.lstrip("#~_").split("__")
    return f"{table.database}.{'.'.join(to_camel_case(part) for part in parts)}"


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


@contextmanager
def located(place: Place, index: int, row_count: int, stored_count: int = 0) -> Iterator[None]:
    """Say of an error whose value it concerns, and what has happened to the others."""
    try:
        yield
    except DataJointFileError as error:
        where = f"{place}, row {index}" if row_count > 1 else str(place)
        left = f"; {stored_count} files stored before it are left, unreferenced" if stored_count else ""
        raise error.within(f"{where}: no row was inserted{left}") from error


def _is_updatable(table: Any, row: Any) -> bool:
    """Tell whether DataJoint would carry out the update; if not, it says why itself, before anything is stored."""
    if not isinstance(row, Mapping) or not set(row).issuperset(table.primary_key):
        return False
    if len(table.restriction) or any(name not in table.heading.names for name in row):
        return False
    return len(table & {name: row[name] for name in table.primary_key}) == 1


def _declared_type(attribute: Any) -> str:
    return str(attribute.original_type or attribute.type)


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
