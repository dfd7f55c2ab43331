"""Files of one INSERT or UPDATE, or of `stage`: checked, stored, and claimed in the transaction of their rows.

It sends no row: that remains DataJoint's own insert, which `table_hooks` calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

from datajoint.errors import LostConnectionError

from datajoint_file.concurrency.executors import runs_here
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.config.bindings import called
from datajoint_file.errors import DataJointFileError, UnsupportedValueError
from datajoint_file.formats.objects import ObjectFiles, object_in
from datajoint_file.hooks.codec import Ingested
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.declare import refuse_partition
from datajoint_file.hooks.tables import Row, TableKeys, table_name
from datajoint_file.insert.describing import describe_rows
from datajoint_file.insert.quotas import Quotas
from datajoint_file.insert.rights import Right, require_right
from datajoint_file.insert.staged import Staged
from datajoint_file.insert.uploads import UploadFailed, Uploads, store_all
from datajoint_file.journal.journal import Journal, JournalEntries, JournalEntry
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.journal.sharing import prove_parts, share
from datajoint_file.journal.sources import note_sources
from datajoint_file.journal.transactions import claims_of, claims_outside
from datajoint_file.model.key_values import is_missing
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell, directory_of, key_digest
from datajoint_file.pipeline.directoryref import Subdirectory
from datajoint_file.pipeline.linking import located
from datajoint_file.pipeline.lookup import has_same_root, is_same_store
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.stored_ref import StoredRef
from datajoint_file.transfer.source_readers import moved_by
from datajoint_file.transfer.sources import File, Source, as_source

LARGE_BYTES = 16 * 2**20
"""Of a statement that sends so much the database is asked first whether it can succeed; else that is not worth it."""

CellIndex = tuple[int, str]
"""Which value of a statement: the row's index and the attribute."""


@dataclass(slots=True)
class _Value:
    """A value that is to be stored, or shared."""

    index: CellIndex
    cell: Cell
    source: Source
    prefix: str  # of the key of its object
    original: FileMetadata | None  # what it is, if it is a file of this store
    entry: JournalEntry | None = None  # from the beginning of its upload; what is shared has one before

    @property
    def stored_size(self) -> int | None:
        """How many bytes it needs in the store: none, if it is a link; None as long as nobody knows."""
        if self.source.link:
            return 0
        return self.source.size if self.entry is None or self.entry.metadata is None else self.entry.metadata.size

    @property
    def metadata(self) -> FileMetadata:
        """What the row is to record, once it is stored. What is shared may have another title in another row."""
        stored = cast("FileMetadata", cast("JournalEntry", self.entry).metadata)
        return stored if self.original is None else replace(stored, title=self.source.title)


class Statement:
    """One INSERT or UPDATE of a table with ``file`` attributes, or files that are staged for one."""

    def __init__(self, table: Any, attributes: tuple[str, ...], right: Right = "insert") -> None:
        self.table = table
        self._right: Right = right  # which it takes
        self.attributes = attributes
        self.name = table_name(table)
        self.keys = TableKeys(table, self.name)
        self._values: list[_Value] = []
        self._staged: dict[CellIndex, tuple[Staged, Cell]] = {}
        self._entries: JournalEntries | None = None
        self._is_staging = False  # what is staged has an object of its own: it may wait for long
        self._files = ObjectFiles()

    @cached_property
    def pipeline(self) -> Pipeline:
        """The connection's pipeline, whose partition pattern suits this table."""
        pipeline = pipeline_of(self.table.connection, self.table.database)
        pattern = pipeline.settings.object_storage.partition_pattern
        outside = pattern.text and pattern.placeholders.intersection(self.table.heading.secondary_attributes)
        if outside:
            refuse_partition(outside, pattern.text, f"{self.name}.{self.attributes[0]}")
        return pipeline

    def store(
        self,
        rows: list[Row],
        *,
        workers: int | None = None,
        executor: Executor | None = None,
        ask_first: Callable[[], None] = lambda: None,
    ) -> dict[CellIndex, Ingested]:
        """Check all values of *rows*, then store them. Returns what stands in their place, by row and attribute.

        *workers* limits the threads that send files; an *executor* sends them instead. If they are large,
        *ask_first* is called before, and raises if they would be sent in vain. Their intents stay until `claim` deletes
        them, in the transaction that inserts the rows.
        """
        self._check(rows, executor)
        if not self._values and not self._staged:
            return {}
        require_right(self.table, self._right, self._written(rows[0]))
        if self._is_large():
            ask_first()
        with self._located(self.cell(rows[0], self.attributes[0]), rows[0].index, len(rows)):
            ensure_marked(self.pipeline, self.table.connection, self.table.database)
        is_known = self._check_quotas(rows)
        shared = self._share()
        entries = self._send([value for value in self._values if value.entry is None], len(rows), workers, executor)
        self._look_at_staged(len(rows))
        if not is_known:
            self._check_quotas(rows)
        stored = {value.index: Ingested(value.metadata) for value in self._values}
        for index, (staged, _) in self._staged.items():
            stored[index] = Ingested(staged.metadata)
            entries.add(staged.write, staged.metadata, self.table.table_name, staged.key_digest)
        entries.all.extend(shared)
        if self.pipeline.settings.object_storage.self_describing and not self._is_staging:
            cells = {one.index: one.cell for one in self._values}
            cells |= {i: cell for i, (one, cell) in self._staged.items() if not one.write.is_shared}
            with self._located(self.cell(rows[0], self.attributes[0]), rows[0].index, len(rows)):
                describe_rows(
                    self.pipeline, self.table, rows, {c: (i[0], stored[i].metadata) for i, c in cells.items()}
                )
        return stored

    def begin(self, row: Row) -> Uploads:
        """Note down what is going to be stored for *row*, by somebody else; nothing is stored."""
        self._is_staging = True
        self._check([row], None)
        require_right(self.table, self._right, self._written(row))
        with self._located(self.cell(row, self.attributes[0]), row.index, 1):
            ensure_marked(self.pipeline, self.table.connection, self.table.database)
        return self._begin(self._values, 1)

    def check_quotas(self, row: Row, size: int) -> None:
        """Raise `QuotaExceededError` unless there is room for so many bytes of *row*."""
        with self._located(self.cell(row, self.attributes[0]), row.index, 1):
            self._quotas.check([(row, size)], self.keys)

    @property
    def _quotas(self) -> Quotas:
        return Quotas(self.table, self.pipeline.project, self.pipeline.settings.quota)

    def _check_quotas(self, rows: list[Row]) -> bool:
        """Compare sizes with quotas, if all are known, or else those that are; tell whether all were."""
        if not self.pipeline.settings.quota:
            return True
        by_index = {row.index: row for row in rows}
        sizes = [(index, staged.metadata.size) for (index, _), (staged, _) in self._staged.items()]
        sizes += [(value.index[0], size) for value in self._values if (size := value.stored_size) is not None]
        is_known = len(sizes) == len(self._staged) + len(self._values)
        with self._located(self.cell(rows[0], self.attributes[0]), rows[0].index, len(rows)):
            self._quotas.check([(by_index[index], size) for index, size in sizes], self.keys, is_final=is_known)
        return is_known

    def _written(self, row: Row) -> list[str]:
        """Return the attributes that the statement gives values to."""
        key = self.table.primary_key if self._right == "update" else ()
        return [name for name in self.table.heading.names if name in row.values and name not in key]

    def _share(self) -> list[JournalEntry]:
        """Claim the stored files among the values whose objects can be shared; the others are copied, in the store."""
        asked = {one.index: (one.cell, one.original) for one in self._values if one.original is not None}
        if not asked:
            return []
        journal = Journal(self.table.connection, self.table.database)
        parts = {index: found for index, found in asked.items() if directory_of(found[1].path)}
        wholes = {index: found for index, found in asked.items() if index not in parts}
        may_share = not (self._is_staging or claims_outside(self.table.connection))
        found = share(journal, self.pipeline, self.table.table_name, wholes if may_share else {})
        known = found.known | prove_parts(journal, self.pipeline, self.table.table_name, parts)
        for one in self._values:
            one.entry = found.claims.get(one.index)
            if one.original is not None and one.entry is None:
                one.source = replace(one.source, copy_of=one.original.path, is_known=one.index in known)
        return list(found.claims.values())

    def _look_at_staged(self, row_count: int) -> None:
        """See that what was staged is in this store: it may have been another's, and not all have an intent."""

        def look(index: CellIndex, staged: Staged, cell: Cell) -> None:
            with self._located(cell, index[0], row_count):
                staged.require_stored(self.pipeline)

        looks = [partial(look, index, *value) for index, value in self._staged.items()]
        run_all(looks, self.pipeline.workers, Stop())

    def stage(self, rows: list[Row], *, workers: int | None = None, executor: Executor | None = None) -> list[Staged]:
        """Store the files of *rows*, and leave their intents to whoever inserts the rows."""
        self._is_staging = True
        self.store(rows, workers=workers, executor=executor)
        entries = cast("JournalEntries", self._entries)
        return [
            Staged(value.metadata, self.name, value.cell.attribute, entry.intent.key_digest, entries.write_of(entry))
            for value, entry in zip(self._values, entries.all, strict=True)
        ]

    def claim(self, *, is_own: bool) -> None:
        """Delete the intents, in the transaction that is open: it inserts the rows next.

        It *is_own* if it has just been opened for this.

        Raises
        ------
        LeaseLostError
            If a file is not this statement's any more.
        """
        if self._entries is not None:
            claims = claims_of(self.table.connection)
            claims.add(self._entries.claim(is_own=is_own, claimed=claims.writes))
            if self.pipeline.settings.provenance.enabled:
                note_sources(self.table.connection, self.table.database, self._entries.own_files())

    def give_back(self, kept: Iterable[str] = ()) -> None:
        """Note down again, in the transaction that is open, the files that no row names after all: all but *kept*."""
        if self._entries is not None:
            claims_of(self.table.connection).drop(self._entries.give_back(kept))

    @contextmanager
    def sources_kept(self) -> Iterator[None]:
        """Keep the files that are made of objects as long as the block runs.

        If it fails, put the user's streams back to where they stood: the statement can then be tried again.
        """
        try:
            yield
        except BaseException:
            for value in self._values:
                with suppress(Exception):  # the failure it is put back for matters more
                    value.source.rewind()
            raise
        finally:
            self._files.remove()

    def cell(self, row: Row, name: str) -> Cell:
        """Return where the value of *row* for the attribute *name* belongs."""
        schema, _, table = self.name.partition(".")
        return Cell(schema, table, name, self.keys.of(row))

    def where(self, row: Row) -> str:
        """Say which row of the statement it is."""
        return f"{self.cell(row, self.attributes[0])}, row {row.index}"

    def _check(self, rows: list[Row], executor: Executor | None) -> None:
        """Check each value, and decide what the key of its object will begin with. Nothing is read or stored.

        Objects are written to files, on this machine.
        """
        streams: dict[int, Cell] = {}
        for row in rows:
            for name in self.attributes:
                if self._has_value(row, name):
                    index, cell, value = (row.index, name), self.cell(row, name), row.values[name]
                    with self._located(cell, row.index, len(rows)):
                        if isinstance(value, Staged):
                            value.check(self.pipeline.project, self.name, name, key_digest(cell.key))
                            self._staged[index] = (value, cell)
                        else:
                            source = self._source(value, name, executor)
                            _check_stream(source, cell, streams, executor)
                            prefix = self.pipeline.check(source, cell)
                            self._values.append(_Value(index, cell, source.listed(), prefix, self._original(value)))

    def _source(self, value: object, attribute: str, executor: Executor | None) -> Source:
        is_sent = executor is not None and not runs_here(executor)
        source = as_source(self._files.stored(value, attribute, self._formats, is_sent=is_sent))
        if not source.link:
            return source
        if self._is_staging:
            raise UnsupportedValueError("a link needs no staging, for its bytes are not stored: insert it with its row")
        self._check_same_root(value)
        return located(self.pipeline.stores, source)

    def _check_same_root(self, value: object) -> None:
        """Raise if a link that a row of another pipeline has would mean another file in this one."""
        value = value.content if isinstance(value, File) else value
        name = getattr(value, "pipeline", "")
        if name and not has_same_root(name, self.pipeline, getattr(value, "linked", "")):
            raise UnsupportedValueError(
                f"{value!r} is a link below a root that the pipeline {called(name)} has elsewhere: give both "
                "the same place, or insert a Link to the file"
            )

    def check_value(self, value: object, attribute: str) -> None:
        """Raise unless *value* could be stored. Looks at the path of a file; reads and writes nothing."""
        if object_in(value, attribute, self._formats) is None:
            as_source(value)

    def _formats(self) -> Mapping[str, str]:
        return self.pipeline.settings.formats

    def _original(self, value: object) -> FileMetadata | None:
        """Return what is said of a file of the store that this statement stores into; nothing, of any other value."""
        if isinstance(value, File) and value.name is value.mime_type is None:
            value = value.content
        if not isinstance(value, StoredRef | Subdirectory) or value.metadata.project != self.pipeline.project:
            return None
        return value.metadata if is_same_store(value.pipeline, self.pipeline) else None

    def _is_large(self) -> bool:
        """Tell whether there is much to send; of some streams nobody knows."""
        sizes = [value.source.size for value in self._values]
        return None in sizes or sum(filter(None, sizes)) >= LARGE_BYTES

    def _has_value(self, row: Row, name: str) -> bool:
        """Tell whether *row* gives a file for the attribute *name*; refuse a row that must and does not."""
        if not is_missing(row.values.get(name)):
            return True
        if not self.table.heading[name].nullable:
            given = "is None" if name in row.values else "is missing"
            raise UnsupportedValueError(
                f"{self.name}.{name}, row {row.index}: the value {given}, and the attribute is not nullable "
                f"(declare it as `{name} = null : file`); nothing was stored"
            )
        return False

    def _send(
        self, values: list[_Value], row_count: int, workers: int | None, executor: Executor | None
    ) -> JournalEntries:
        """Plan the uploads, note them down, store them."""
        try:
            uploads = self._begin(values, row_count)
        except LostConnectionError:  # while nobody used it; keys are new, for nobody knows what the server has done
            uploads = self._begin(values, row_count)
        try:
            if values:
                store_all(uploads, self.table.connection, self.name, workers, executor)
        except UploadFailed as failure:
            error = cast("DataJointFileError", failure.__cause__)
            failed = next(value for value in values if value.entry is failure.entry)
            stored = sum(entry.metadata is not None for entry in uploads.entries.all)
            others = "1 other file is" if stored == 1 else f"{stored} other files are"
            left = f"; {others} stored: a retry does not send that again" if stored else ""
            raise _about(error, failed.cell, failed.index[0], row_count, left) from error
        return uploads.entries

    def _begin(self, values: list[_Value], row_count: int) -> Uploads:
        planned = []
        for value in values:
            with self._located(value.cell, value.index[0], row_count):
                planned.append(self.pipeline.plan(value.source, value.cell, value.prefix))
        journal = Journal(self.table.connection, self.table.database)
        self._entries = journal.begin(self.table.table_name, planned)
        ensure_marked(self.pipeline, self.table.connection, self.table.database)  # nothing, unless it was made anew
        for value, entry in zip(values, self._entries.all, strict=True):
            value.entry = entry
        return Uploads(self.pipeline, self._entries, list(zip(self._entries.all, planned, strict=True)))

    @contextmanager
    def _located(self, cell: Cell, index: int, row_count: int) -> Iterator[None]:
        """Say of an error whose value it concerns."""
        try:
            yield
        except DataJointFileError as error:
            raise _about(error, cell, index, row_count) from error


def _check_stream(source: Source, cell: Cell, streams: dict[int, Cell], executor: Executor | None) -> None:
    """Refuse one stream for two values, each of which would get a part of its bytes; and one that cannot be sent."""
    if source.stream is None:
        return
    other = streams.setdefault(id(moved_by(source.stream)), cell)
    if other is not cell:
        raise UnsupportedValueError(
            f"the same stream, or another that reads from it, is given for {other}, and can be read only once; nothing "
            "was stored. Give each value a stream of its own, or the path"
        )
    if executor is not None and not runs_here(executor):
        raise UnsupportedValueError(
            "a stream cannot be sent to a worker in another process; give a path that the worker can read, or "
            "(name, bytes)"
        )


def _about(error: DataJointFileError, cell: Cell, index: int, row_count: int, left: str = "") -> DataJointFileError:
    where = f"{cell}, row {index}" if row_count > 1 else str(cell)
    return error.within(f"{where}: no row was written{left}")
