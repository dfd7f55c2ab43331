"""One INSERT or UPDATE of a table with ``file`` attributes: its values checked, its files stored.

It sends no row: that remains DataJoint's own insert, which `tables` calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datajoint.table import FreeTable
from datajoint.utils import to_camel_case

from datajoint_file.errors import DataJointFileError, InvalidKeyError, UnsupportedValueError
from datajoint_file.host.codec import Ingested
from datajoint_file.host.declare import refuse_partition
from datajoint_file.host.pipelines import pipeline_of
from datajoint_file.host.rows import Row, is_missing
from datajoint_file.keys import Place
from datajoint_file.keyvalues import KeyValue, key_value
from datajoint_file.pipeline import Pipeline, Upload
from datajoint_file.progress import progress_bar
from datajoint_file.sources import Source, as_source

_KEYS_PER_QUERY = 500

_Slot = tuple[int, str]
"""A value of an insert: the row's index and the attribute."""


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
def located(place: Place, index: int, row_count: int, stored_count: int = 0) -> Iterator[None]:
    """Say of an error whose value it concerns, and what has happened to the others."""
    try:
        yield
    except DataJointFileError as error:
        where = f"{place}, row {index}" if row_count > 1 else str(place)
        left = f"; {stored_count} files stored before it are left, unreferenced" if stored_count else ""
        raise error.within(f"{where}: no row was written{left}") from error


def _declared_type(attribute: Any) -> str:
    return str(attribute.original_type or attribute.type)
