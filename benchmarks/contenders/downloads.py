"""Download what was prepared into files: through `FileRef` and `datajoint_file.download`, and by s3fs.

Ours are verified against the hash in the row; the others check nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from s3fs import S3FileSystem

import datajoint_file
from benchmarks.contenders.database import connect, table
from benchmarks.contenders.inserts import BEFORE
from benchmarks.contenders.paths import check_size
from benchmarks.values import Task


@contextmanager
def one(task: Task) -> Iterator[Callable[[], object]]:
    """Download one file by its reference."""
    with _stored(task) as samples:
        reference = samples.fetch1("data")
        yield lambda: reference.download(task.scratch)


@contextmanager
def many(task: Task) -> Iterator[Callable[[], object]]:
    """Download the files of all rows into one directory."""
    with _stored(task) as samples:
        yield lambda: datajoint_file.download(samples, task.scratch)


@contextmanager
def _stored(task: Task) -> Iterator[Any]:
    """Yield the rows that were prepared, when one more file has been downloaded; afterwards look at what came."""
    instance = connect(task)
    samples = table(instance, task, "file")
    with TemporaryDirectory() as elsewhere:
        datajoint_file.download(samples & {"id": BEFORE}, elsewhere)
    yield samples & f"id <> {BEFORE}"
    check_size(Path(task.scratch), task)
    instance.connection.close()


@contextmanager
def one_by_s3fs(task: Task) -> Iterator[Callable[[], object]]:
    """Download one object by `get_file`."""
    [key] = task.keys
    filesystem = _s3fs(task)
    path = f"{task.storage['bucket']}/{key}"
    filesystem.info(path)
    yield lambda: filesystem.get_file(path, f"{task.scratch}/file")
    check_size(Path(task.scratch), task)


@contextmanager
def many_by_s3fs(task: Task) -> Iterator[Callable[[], object]]:
    """Download all objects by one `get`."""
    filesystem = _s3fs(task)
    remote = [f"{task.storage['bucket']}/{key}" for key in task.keys]
    local = [f"{task.scratch}/{number}" for number in range(len(remote))]
    filesystem.info(remote[0])
    yield lambda: filesystem.get(remote, local)
    check_size(Path(task.scratch), task)


def _s3fs(task: Task) -> S3FileSystem:
    storage = task.storage
    return S3FileSystem(
        key=storage["credentials"]["key"],
        secret=storage["credentials"]["secret"],
        client_kwargs={"endpoint_url": storage["endpoint_url"], "region_name": storage["region"]},
    )
