"""Upload tasks for workers: what is sent of each file, and how a worker stores it.

Keys and names were decided, and intents noted down, by whoever sends the order; a worker moves bytes and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from datajoint_file.concurrency.executors import portable
from datajoint_file.concurrency.threads import Stop
from datajoint_file.config.paths import working_directory
from datajoint_file.errors import DataJointFileError, ObjectExistsError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.address import PipelineAddress, worker_name
from datajoint_file.pipeline.pipeline import Pipeline, Upload
from datajoint_file.transfer.sources import File, as_source

ORDER_FILES = 50
"""Files of one order, at most."""

ORDER_BYTES = 64 * 2**20
"""Bytes of one order, at most, unless one file has more."""

_RAMP = 4
"""Orders of each size, beginning with one file: few files are spread over all workers."""


@dataclass(frozen=True)
class Errand:
    """One file to store.

    Parameters
    ----------
    index : int
        Which of the caller's files it is.
    key, place, name, mime_type, write_id
        As in `Upload`.
    value : object
        What the user gave.
    here : Upload or None
        The upload itself, in the process that planned it. It does not travel.
    """

    index: int
    key: str
    cell: Cell
    name: str
    mime_type: str
    write_id: str
    value: Any
    here: Upload | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, index: int, upload: Upload, value: Any) -> Errand:
        """Return the errand that carries out *upload*, whose source was made of *value*."""
        return cls(
            index, upload.key, upload.cell, upload.name, upload.mime_type, upload.write_id, _absolute(value), upload
        )

    def __reduce__(self) -> tuple[type[Errand], tuple[Any, ...]]:
        travelling = (self.index, self.key, self.cell, self.name, self.mime_type, self.write_id, self.value)
        return Errand, travelling

    @property
    def size(self) -> int:
        """Its bytes, as far as they are known where it was planned."""
        return (self.here.source.size or 0) if self.here is not None else 0

    @property
    def carried(self) -> int:
        """Its bytes that travel with the order, and are not read by the worker."""
        content = self.value.content if isinstance(self.value, File) else self.value
        content = content[1] if isinstance(content, tuple) else content
        return len(content) if isinstance(content, bytes | bytearray | memoryview) else 0

    def upload(self) -> Upload:
        """Return the upload, its source looked at from this process."""
        if self.here is not None:
            return self.here
        return Upload(self.key, self.cell, as_source(self.value), self.name, self.mime_type, self.write_id)


def _absolute(value: Any) -> Any:
    """Return *value*, a path in it made absolute: workers have other working directories, and copies of bytes."""
    if isinstance(value, File):
        return replace(value, content=_absolute(value.content))
    if isinstance(value, str | os.PathLike) and not hasattr(value, "read"):
        return str(working_directory() / os.fsdecode(value))
    return value


@dataclass(frozen=True, slots=True)
class Errands:
    """An order to a worker.

    Parameters
    ----------
    address : PipelineAddress
        The pipeline to store through.
    stop : Stop
        Whether anybody still waits.
    files : tuple of Errand
        What to store.
    """

    address: PipelineAddress
    stop: Stop
    files: tuple[Errand, ...]

    @property
    def carried(self) -> int:
        """Bytes that travel with it."""
        return sum(errand.carried for errand in self.files)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of an order.

    Parameters
    ----------
    stored : dict of int to FileMetadata
        What is stored, by the index of the errand.
    failed : int
        Which errand failed; those after it were not begun.
    error : DataJointFileError or None
        Why.
    """

    stored: dict[int, FileMetadata]
    failed: int = -1
    error: DataJointFileError | None = None


def orders(address: PipelineAddress, stop: Stop, errands: Iterable[Errand]) -> Iterator[Errands]:
    """Put errands together to orders that are worth sending; streams, which must be read in turn, all to one."""
    some: list[Errand] = []
    streams: list[Errand] = []
    sent = 0
    for errand in errands:
        if errand.here is not None and errand.here.source.stream is not None:
            streams.append(errand)
            continue
        some.append(errand)
        if len(some) >= min(ORDER_FILES, 1 + sent // _RAMP) or sum(one.size for one in some) >= ORDER_BYTES:
            yield Errands(address, stop, tuple(some))
            some, sent = [], sent + 1
    for rest in (some, streams):
        if rest:
            yield Errands(address, stop, tuple(rest))


def carry_out(order: Errands) -> Delivered:
    """Store the files of an order, one after the other, up to the first that fails.

    Raises
    ------
    ConfigurationError
        If this process has no configuration of the pipeline, or one with another store. Nothing was stored.
    StorageError
        If its store cannot be asked which one it is. Nothing was stored.
    """
    pipeline = order.address.same_store()
    stored: dict[int, FileMetadata] = {}
    for errand in order.files:
        try:
            stored[errand.index] = _stored(pipeline, errand, order.stop)
        except DataJointFileError as error:
            return Delivered(stored, errand.index, _told(error, errand))
    return Delivered(stored)


def _told(error: DataJointFileError, errand: Errand) -> DataJointFileError:
    """Return *error* as whoever sent the order is to have it: with the worker's name, without a client's error."""
    return error if errand.here is not None else portable(error.within(worker_name()))


def _stored(pipeline: Pipeline, errand: Errand, stop: Stop) -> FileMetadata:
    advance = stop.watched(lambda _: None)
    upload = errand.upload()
    advance(0)
    try:
        return pipeline.ingest(upload, advance)
    except ObjectExistsError:
        if errand.here is not None:
            raise
        # Executors may do work twice: Dask does, when a worker dies before its result was fetched.
        return pipeline.stored_before(errand.upload(), advance)
