"""Upload tasks: batches of planned uploads for the workers of an executor, and how a worker stores them.

Keys and names were decided, and intents noted down, by whoever sends a task; a worker moves bytes and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from datajoint_file.concurrency.executors import grouped, portable
from datajoint_file.concurrency.threads import Stop
from datajoint_file.errors import DataJointFileError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.address import PipelineAddress, worker_name
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.upload import Upload


@dataclass(frozen=True, slots=True)
class UploadTask:
    """Some uploads for a worker."""

    address: PipelineAddress
    stop: Stop  # whether anybody still waits
    uploads: tuple[Upload, ...]
    is_here: bool = True  # this is the process that planned it

    def __reduce__(self) -> tuple[type[UploadTask], tuple[Any, ...]]:
        return UploadTask, (self.address, self.stop, self.uploads, False)

    @property
    def carried(self) -> int:
        """Bytes that travel with it, and are not read by the worker."""
        return sum(upload.source.carried for upload in self.uploads)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What came of a task."""

    stored: tuple[FileMetadata, ...]  # what the rows of its first uploads are to record
    error: DataJointFileError | None = None  # why the next upload failed; those after it were not begun


def tasks(address: PipelineAddress, stop: Stop, uploads: Iterable[Upload]) -> Iterator[UploadTask]:
    """Put uploads together to tasks that are worth sending; streams, which must be read in turn, all to one."""
    streams: list[Upload] = []

    def others() -> Iterator[Upload]:
        for upload in uploads:
            if upload.source.stream is None:
                yield upload
            else:
                streams.append(upload)

    for some in grouped(others(), lambda upload: upload.source.size or 0):
        yield UploadTask(address, stop, some)
    if streams:
        yield UploadTask(address, stop, tuple(streams))


def carry_out(task: UploadTask) -> Delivered:
    """Store the files of a task, one after the other, up to the first that fails.

    Raises
    ------
    ConfigurationError
        If this process has no configuration of the pipeline, or one with another store. Nothing was stored.
    StorageError
        If its store cannot be asked which one it is. Nothing was stored.
    """
    pipeline = task.address.same_store()
    stored: list[FileMetadata] = []
    for upload in task.uploads:
        try:
            stored.append(_stored(pipeline, upload, task))
        except DataJointFileError as error:  # another process says its name, and sends no error of a client's
            return Delivered(tuple(stored), error if task.is_here else portable(error.within(worker_name())))
    return Delivered(tuple(stored))


def _stored(pipeline: Pipeline, upload: Upload, task: UploadTask) -> FileMetadata:
    advance = task.stop.watched(lambda _: None)
    advance(0)
    upload = replace(upload, is_contested=True)  # executors do again what they have no answer of
    if task.is_here:
        return pipeline.ingest(upload, advance)
    return pipeline.ingest(replace(upload, source=upload.source.here()), advance)
