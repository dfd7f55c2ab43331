"""Insert plan of one INSERT or UPDATE: its values checked, its files stored, its intents claimed.

It sends no row: that remains DataJoint's own insert, which `table_hooks` calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from datajoint.errors import LostConnectionError

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.hooks.codec import Ingested
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.declare import refuse_partition
from datajoint_file.hooks.names import table_name
from datajoint_file.hooks.rows import Row
from datajoint_file.hooks.table_keys import TableKeys
from datajoint_file.insert.staged import Staged
from datajoint_file.insert.upload_jobs import Slot, located
from datajoint_file.insert.upload_thread import store_all
from datajoint_file.journal.commit_outcome import claims_of
from datajoint_file.journal.journal import Entries, Journal
from datajoint_file.journal.schema_registry import register
from datajoint_file.model.key_values import is_missing
from datajoint_file.model.object_keys import Cell, key_digest
from datajoint_file.pipeline.pipeline import Pipeline, Upload
from datajoint_file.transfer.sources import Source, as_source


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
        self._entries: Entries | None = None

    @cached_property
    def journal(self) -> Journal:
        """The intents of the table's schema."""
        return Journal(self.table.connection, self.table.database)

    def store(self, rows: list[Row]) -> dict[Slot, Ingested]:
        """Check all values of *rows*, then store them. Returns what stands in their place, by row and attribute.

        Their intents stay until `claim` deletes them, in the transaction that inserts the rows.
        """
        slots = [(row, name) for row in rows for name in self.attributes if self.has_value(row, name)]
        staged = {(row.index, name): self._staged(row, name) for row, name in slots if _is_staged(row, name)}
        sources = {
            (row.index, name): self._recognised(row, name, len(rows))
            for row, name in slots
            if not _is_staged(row, name)
        }
        if not slots:
            return {}
        self._sources = [source for source, _ in sources.values()]
        _refuse_shared_streams(sources)
        pipeline = self._pipeline()
        prefixes = self._checked(pipeline, sources, len(rows))
        self._register(pipeline, rows)
        try:
            entries, uploads = self._begun(pipeline, sources, prefixes, len(rows))
        except LostConnectionError:  # while nobody used it; keys are new, for nobody knows what the server has done
            entries, uploads = self._begun(pipeline, sources, prefixes, len(rows))
        self._entries = entries
        stored = store_all(self.table, pipeline, entries, uploads, len(rows)) if uploads else {}
        return {slot: Ingested(metadata) for slot, metadata in {**stored, **self._added(staged)}.items()}

    def stage(self, row: Row, attribute: str) -> Staged:
        """Store one file, and leave its intent to whoever inserts the row."""
        metadata = self.store([row])[row.index, attribute].metadata
        digest = key_digest(self.keys.of(row))
        write = self._entries.write_of(metadata.path) if self._entries else None
        return Staged(metadata, self.name, attribute, digest, write)

    def claim(self, *, is_own: bool) -> None:
        """Delete the intents, in the transaction that is open: it inserts the rows next.

        Parameters
        ----------
        is_own : bool
            The transaction has just been opened for this.

        Raises
        ------
        LeaseLostError
            If a file is not this statement's any more.
        """
        if self._entries is not None:
            claims = claims_of(self.table.connection)
            claims.add(self._entries.claim(is_own=is_own, claimed=claims.writes))

    def give_back(self, kept: Iterable[str] = ()) -> None:
        """Note down again, in the transaction that is open, the files that no row names after all: all but *kept*."""
        if self._entries is not None:
            self._entries.give_back(kept)

    @contextmanager
    def streams_put_back(self) -> Iterator[None]:
        """Put the user's streams back to where they stood, if the statement fails: it can then be tried again."""
        try:
            yield
        except BaseException:
            for source in self._sources:
                with suppress(Exception):  # the failure it is put back for matters more
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

    def cell(self, row: Row, name: str) -> Cell:
        """Return where the value of *row* for the attribute *name* belongs."""
        schema, _, table = self.name.partition(".")
        return Cell(schema, table, name, self.keys.of(row))

    def _recognised(self, row: Row, name: str, row_count: int) -> tuple[Source, Cell]:
        cell = self.cell(row, name)
        with located(cell, row.index, row_count):
            return as_source(row.values[name]), cell

    def _staged(self, row: Row, name: str) -> Staged:
        value: Staged = row.values[name]
        cell = self.cell(row, name)
        with located(cell, row.index, 1):
            value.check(self._pipeline().project, self.name, name, key_digest(cell.key))
        return value

    def _added(self, staged: dict[Slot, Staged]) -> dict[Slot, Any]:
        """Include what was staged before among the files of this statement."""
        for value in staged.values():
            if value.write is not None and self._entries is not None:
                self._entries.add(value.write, value.metadata, self.table.table_name, value.attribute, value.key_digest)
        return {slot: value.metadata for slot, value in staged.items()}

    def _pipeline(self) -> Pipeline:
        """Return the connection's pipeline, having checked that its partition pattern suits this table."""
        pipeline = pipeline_of(self.table.connection, self.table.database)
        pattern = pipeline.settings.object_storage.partition_pattern
        outside = pattern.placeholders.intersection(self.table.heading.secondary_attributes)
        refuse_partition(outside, pattern.text, f"{self.name}.{self.attributes[0]}")
        return pipeline

    def _register(self, pipeline: Pipeline, rows: list[Row]) -> None:
        """Let the store know who refers to its objects. It is the first that is asked of the store."""
        with located(self.cell(rows[0], self.attributes[0]), rows[0].index, len(rows)):
            register(pipeline, self.table.connection, self.table.database)

    def _checked(self, pipeline: Pipeline, sources: dict[Slot, tuple[Source, Cell]], row_count: int) -> dict[Slot, str]:
        """Return what the key of each file will begin with."""
        prefixes = {}
        for slot, (source, cell) in sources.items():
            with located(cell, slot[0], row_count):
                prefixes[slot] = pipeline.check(source, cell)
        return prefixes

    def _begun(
        self,
        pipeline: Pipeline,
        sources: dict[Slot, tuple[Source, Cell]],
        prefixes: dict[Slot, str],
        row_count: int,
    ) -> tuple[Entries, dict[Slot, Upload]]:
        """Plan the uploads and note them down."""
        uploads = {}
        for slot, (source, cell) in sources.items():
            with located(cell, slot[0], row_count):
                uploads[slot] = pipeline.plan(source, cell, prefixes[slot])
        return self.journal.begin(self.table.table_name, list(uploads.values())), uploads


def _is_staged(row: Row, name: str) -> bool:
    return isinstance(row.values[name], Staged)


def _refuse_shared_streams(sources: dict[Slot, tuple[Source, Cell]]) -> None:
    """Refuse one stream for two values: each would get a part of its bytes."""
    cells: dict[int, Cell] = {}
    for source, cell in sources.values():
        if source.stream is not None:
            other = cells.setdefault(id(source.stream), cell)
            if other is not cell:
                raise UnsupportedValueError(
                    f"{cell}: the same stream is given for {other}, and can be read only once; nothing was stored. "
                    "Give each value a stream of its own, or the path"
                )
