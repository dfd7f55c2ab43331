"""One INSERT or UPDATE of a table with ``file`` attributes: its values checked, its files stored.

It sends no row: that remains DataJoint's own insert, which `tables` calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datajoint_file.errors import DataJointFileError, UnsupportedValueError
from datajoint_file.host.codec import Ingested
from datajoint_file.host.declare import refuse_partition
from datajoint_file.host.names import table_name
from datajoint_file.host.pipelines import pipeline_of
from datajoint_file.host.rows import Row
from datajoint_file.host.tablekeys import TableKeys
from datajoint_file.keys import Place
from datajoint_file.keyvalues import is_missing
from datajoint_file.pipeline import Pipeline, Upload
from datajoint_file.progress import progress_bar
from datajoint_file.sources import Source, as_source

Slot = tuple[int, str]
"""A value of a statement: the row's index and the attribute."""


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
        self.keys = TableKeys(table, self.name)
        self._sources: list[Source] = []

    def store(self, rows: list[Row]) -> dict[Slot, Ingested]:
        """Check all values of *rows*, then store them. Returns what stands in their place, by row and attribute."""
        sources = {
            (row.index, name): self._recognised(row, name, len(rows))
            for row in rows
            for name in self.attributes
            if self.has_value(row, name)
        }
        if not sources:
            return {}
        self._sources = [source for source, _ in sources.values()]
        _refuse_shared_streams(sources)
        pipeline = self._pipeline()
        for (index, _), (source, place) in sources.items():
            with located(place, index, len(rows)):
                pipeline.check(source, place)
        return self._ingest(pipeline, self._planned(pipeline, sources, len(rows)), len(rows))

    @contextmanager
    def streams_put_back(self) -> Iterator[None]:
        """Put the user's streams back to where they stood, if the statement fails: it can then be tried again."""
        try:
            yield
        except BaseException:
            for source in self._sources:
                source.rewind()
            raise

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

    def place(self, row: Row, name: str) -> Place:
        """Return where the value of *row* for the attribute *name* belongs."""
        schema, _, table = self.name.partition(".")
        return Place(schema, table, name, self.keys.of(row))

    def _recognised(self, row: Row, name: str, row_count: int) -> tuple[Source, Place]:
        place = self.place(row, name)
        with located(place, row.index, row_count):
            return as_source(row.values[name]), place

    def _pipeline(self) -> Pipeline:
        """Return the connection's pipeline, having checked that its partition pattern suits this table."""
        pipeline = pipeline_of(self.table.connection, self.table.database)
        pattern = pipeline.settings.object_storage.partition_pattern
        outside = pattern.placeholders.intersection(self.table.heading.secondary_attributes)
        refuse_partition(outside, pattern.text, f"{self.name}.{self.attributes[0]}")
        return pipeline

    def _planned(
        self, pipeline: Pipeline, sources: dict[Slot, tuple[Source, Place]], row_count: int
    ) -> dict[Slot, Upload]:
        uploads = {}
        for (index, name), (source, place) in sources.items():
            with located(place, index, row_count):
                uploads[index, name] = pipeline.plan(source, place)
        return uploads

    def _ingest(self, pipeline: Pipeline, uploads: dict[Slot, Upload], row_count: int) -> dict[Slot, Ingested]:
        stored: dict[Slot, Ingested] = {}
        sizes = [upload.source.size for upload in uploads.values()]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        count = _counted(len(uploads)) if len(uploads) > 1 else next(iter(uploads.values())).name
        with progress_bar(f"storing {count} of {self.name}", total) as advance:
            for slot, upload in uploads.items():
                with located(upload.place, slot[0], row_count, len(stored)):
                    stored[slot] = Ingested(pipeline.ingest(upload, advance))
        return stored


@contextmanager
def located(place: Place, index: int, row_count: int, stored_count: int = 0) -> Iterator[None]:
    """Say of an error whose value it concerns, and what has happened to the others."""
    try:
        yield
    except DataJointFileError as error:
        where = f"{place}, row {index}" if row_count > 1 else str(place)
        left = f"; {_counted(stored_count)} stored before it left in the store, unreferenced" if stored_count else ""
        raise error.within(f"{where}: no row was written{left}") from error


def _counted(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _refuse_shared_streams(sources: dict[Slot, tuple[Source, Place]]) -> None:
    """Refuse one stream for two values: each would get a part of its bytes."""
    places: dict[int, Place] = {}
    for source, place in sources.values():
        if source.stream is not None:
            other = places.setdefault(id(source.stream), place)
            if other is not place:
                raise UnsupportedValueError(
                    f"{place}: the same stream is given for {other}, and can be read only once; nothing was stored. "
                    "Give each value a stream of its own, or the path"
                )
