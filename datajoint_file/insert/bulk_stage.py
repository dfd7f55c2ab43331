"""Many files stored before their rows are: planned and noted down here, their bytes moved by threads or an executor.

The caller's process does all that concerns the database, and keeps connection and leases alive meanwhile; what a worker
does is the business of `datajoint_file.insert.upload_tasks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from datajoint.errors import LostConnectionError

from datajoint_file.concurrency.executors import Delegation, TaskResult, check_executor, ending, runs_here
from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop
from datajoint_file.errors import DataJointFileError, UnsupportedValueError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.declare import refuse_partition
from datajoint_file.hooks.names import table_name
from datajoint_file.hooks.rows import Row
from datajoint_file.insert.staged import Staged
from datajoint_file.insert.statement import Statement
from datajoint_file.insert.upload_jobs import located
from datajoint_file.insert.upload_tasks import Delivered, Errand, Errands, carry_out, orders
from datajoint_file.insert.upload_thread import Care, run_in_thread, store_all
from datajoint_file.journal.journal import Entries
from datajoint_file.journal.schema_registry import register
from datajoint_file.journal.worker_address import address_of
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell, key_digest
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.pipeline import Pipeline, Upload
from datajoint_file.transfer.sources import Source, as_source

CARRIED_BYTES = 64 * 2**20
"""Bytes given in memory that are under way to workers at a time, unless one value has more."""

_TICK_SECONDS = 0.2
"""How often it is looked whether the caller was interrupted."""


def stage_all(
    table: Any,
    attribute: str,
    keys: Sequence[Mapping[str, Any]],
    values: Sequence[Any],
    *,
    workers: int | None,
    executor: Executor | None,
) -> list[Staged]:
    """Store *values* for the rows of *keys*, and return what to insert, in their order. See `stage`."""
    pairs = enumerate(zip(keys, values, strict=True))
    rows = [_row(table, attribute, index, key, value) for index, (key, value) in pairs]
    if not rows:
        return []
    if executor is not None or workers is None:
        return _Staging(table, attribute, rows, executor).all()
    with ThreadPoolExecutor(workers, thread_name_prefix="stage") as threads:
        return _Staging(table, attribute, rows, threads).all()


def _row(table: Any, attribute: str, index: int, key: Mapping[str, Any], value: Any) -> Row:
    if value is None or isinstance(value, Staged):
        what = "nothing" if value is None else "what is staged already"
        raise UnsupportedValueError(f"row {index}: {what} cannot be staged; nothing was stored")
    return Row(index, {**{name: key[name] for name in table.primary_key if name in key}, attribute: value})


class _Staging:
    """Many files of one attribute on their way to the store."""

    def __init__(self, table: Any, attribute: str, rows: list[Row], executor: Executor | None) -> None:
        self.table = table
        self.attribute = attribute
        self.rows = rows
        self.executor = executor
        self.statement = Statement(table, (attribute,))
        self.stored: dict[int, FileMetadata] = {}

    def all(self) -> list[Staged]:
        """Check all values, note them down, store them."""
        cells = [self.statement.cell(row, self.attribute) for row in self.rows]
        sources = [self._source(row, cell) for row, cell in zip(self.rows, cells, strict=True)]
        _refuse_shared_streams(sources, cells)
        with _streams_put_back(sources):
            pipeline = self._checked(sources, cells)
            try:
                entries, uploads = self._begun(pipeline, sources, cells)
            except LostConnectionError:  # while nobody used it; keys are new, for nobody knows what the server has done
                entries, uploads = self._begun(pipeline, sources, cells)
            self._store(pipeline, entries, uploads)
        return [self._staged(entries, cell, self.stored[index]) for index, cell in enumerate(cells)]

    def _source(self, row: Row, cell: Cell) -> Source:
        with located(cell, row.index, len(self.rows)):
            source = as_source(row.values[self.attribute])
            if source.stream is not None and self.executor is not None and not runs_here(self.executor):
                raise UnsupportedValueError(
                    "a stream cannot be sent to a worker in another process; give a path that the worker can read, or "
                    "(name, bytes)"
                )
        return source

    def _checked(self, sources: list[Source], cells: list[Cell]) -> Pipeline:
        """Return the pipeline, having checked all that can be without the store; make sure that the store knows us."""
        pipeline = pipeline_of(self.table.connection, self.table.database)
        pattern = pipeline.settings.object_storage.partition_pattern
        outside = pattern.placeholders.intersection(self.table.heading.secondary_attributes)
        refuse_partition(outside, pattern.text, f"{self.statement.name}.{self.attribute}")
        for index, (source, cell) in enumerate(zip(sources, cells, strict=True)):
            with located(cell, index, len(cells)):
                pipeline.check(source, cell)
        with located(cells[0], 0, len(cells)):
            register(pipeline, self.table.connection, self.table.database)
        return pipeline

    def _begun(self, pipeline: Pipeline, sources: list[Source], cells: list[Cell]) -> tuple[Entries, list[Upload]]:
        uploads = []
        for index, (source, cell) in enumerate(zip(sources, cells, strict=True)):
            with located(cell, index, len(cells)):
                uploads.append(pipeline.plan(source, cell))
        return self.statement.journal.begin(self.table.table_name, uploads), uploads

    def _store(self, pipeline: Pipeline, entries: Entries, uploads: list[Upload]) -> None:
        if self.executor is None:
            slots = {(index, self.attribute): upload for index, upload in enumerate(uploads)}
            stored = store_all(self.table, pipeline, entries, slots, len(uploads))
            self.stored = {index: metadata for (index, _), metadata in stored.items()}
            return
        total = sum(upload.source.size or 0 for upload in uploads)
        stop = Stop()
        with progress_bar(f"storing {len(uploads)} files of {table_name(self.table)}", total) as advance:
            work = _Work(self, pipeline, entries, uploads, stop, advance)
            try:
                run_in_thread(work.all, stop, Care(self.table.connection, entries))
            except BaseException:
                entries.try_to_flush()
                raise
        entries.flush()

    def _staged(self, entries: Entries, cell: Cell, metadata: FileMetadata) -> Staged:
        write = entries.write_of(metadata.path)
        return Staged(metadata, self.statement.name, self.attribute, key_digest(cell.key), write)


class _Work:
    """What is done beside the caller's thread: adopting, handing errands to the executor, noting what is stored."""

    def __init__(
        self,
        staging: _Staging,
        pipeline: Pipeline,
        entries: Entries,
        uploads: list[Upload],
        stop: Stop,
        advance: Advance,
    ) -> None:
        self._rows = staging.rows
        self._attribute = staging.attribute
        self._stored = staging.stored
        self._connection = staging.table.connection
        self._pipeline = pipeline
        self._entries = entries
        self._uploads = uploads
        self._stop = stop
        self._advance = advance
        self._delegation: Delegation[Errands, Delivered] = Delegation(check_executor(staging.executor), carry_out)
        self._carried = 0

    def all(self) -> None:
        """Store all files."""
        with ending(self._delegation, self._stop):
            try:
                for order in orders(self._address(), self._stop, self._errands()):
                    self._wait_for_room(order.carried)
                    self._carried += order.carried
                    self._delegation.begin(order)
                while self._delegation:
                    self._take_results()
            except DataJointFileError:
                self._keep_what_is_under_way()
                raise

    def _address(self) -> PipelineAddress:
        return address_of(self._pipeline, self._connection)

    def _errands(self) -> Iterator[Errand]:
        """Give what is to be stored; what an earlier attempt has left is adopted instead, and sends nothing."""
        for index, upload in enumerate(self._uploads):
            adopted = self._adopted(upload)
            if adopted is None:
                yield Errand.of(index, upload, self._rows[index].values[self._attribute])
            else:
                self._take_note(index, adopted)

    def _adopted(self, upload: Upload) -> FileMetadata | None:
        return self._entries.adopt(upload, lambda stored: self._pipeline.adopted(upload, stored, self._look))

    def _look(self, _count: int = 0) -> None:
        """End the work if the caller was interrupted."""
        self._stop.check()

    def _wait_for_room(self, carried: int) -> None:
        while self._delegation.is_full or (self._delegation and self._carried + carried > CARRIED_BYTES):
            self._take_results()

    def _take_results(self) -> None:
        self._look()
        for order, outcome in self._delegation.finished(_TICK_SECONDS):
            self._carried -= order.carried
            self._take(order, outcome)

    def _take(self, order: Errands, outcome: TaskResult[Delivered]) -> None:
        try:
            delivered = outcome.result()
        except DataJointFileError as error:
            raise self._about(order.files[0].index, error) from error
        for index, metadata in delivered.stored.items():
            self._take_note(index, metadata)
        if delivered.error is not None:
            raise self._about(delivered.failed, delivered.error) from delivered.error

    def _take_note(self, index: int, metadata: FileMetadata) -> None:
        self._stored[index] = metadata
        self._entries.finished(metadata)
        self._advance(metadata.size)

    def _about(self, index: int, error: DataJointFileError) -> DataJointFileError:
        count = len(self._stored)
        left = f"; {count} of {len(self._uploads)} files are stored: a retry does not send these again" if count else ""
        return error.within(f"{self._uploads[index].cell}, row {index}: no row was written{left}")

    def _keep_what_is_under_way(self) -> None:
        """Wait for the orders that workers have begun, for the sake of a retry, and take back all others."""
        self._stop.set()
        for order, outcome in self._delegation.rest():
            with suppress(DataJointFileError):  # the first failure is the one that is told
                self._take(order, outcome)


@contextmanager
def _streams_put_back(sources: list[Source]) -> Iterator[None]:
    """Put the user's streams back to where they stood, if staging fails: it can then be tried again."""
    try:
        yield
    except BaseException:
        for source in sources:
            with suppress(Exception):  # the failure it is put back for matters more
                source.rewind()
        raise


def _refuse_shared_streams(sources: list[Source], cells: list[Cell]) -> None:
    """Refuse one stream for two rows: each would get a part of its bytes."""
    owners: dict[int, Cell] = {}
    for source, cell in zip(sources, cells, strict=True):
        if source.stream is not None and owners.setdefault(id(source.stream), cell) is not cell:
            raise UnsupportedValueError(
                f"{cell}: the same stream is given for {owners[id(source.stream)]}, and can be read only once; "
                "nothing was stored. Give each row a stream of its own, or the path"
            )
