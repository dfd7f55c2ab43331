"""A Zarr array read whole, twice: as a stored directory, verified, and by stores that check nothing.

Its chunks are of random bytes, uncompressed, so that reading them costs what moving them costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr
from obstore.store import S3Store
from s3fs import S3FileSystem
from zarr.storage import FsspecStore, LocalStore, ObjectStore

from benchmarks.contenders.database import connect, table
from benchmarks.contenders.inserts import store
from benchmarks.values import Task

CHUNK_BYTES = 64 * 2**10


def prepare(task: Task) -> list[str]:
    """Store an array of so many chunks; return its key."""
    with TemporaryDirectory(dir=task.scratch) as directory:
        path = f"{directory}/array.zarr"
        array = zarr.create_array(
            path, shape=(task.number, CHUNK_BYTES), chunks=(1, CHUNK_BYTES), dtype="uint8", compressors=None
        )
        random = np.random.default_rng(1)
        for start in range(0, task.number, 500):
            stop = min(start + 500, task.number)
            array[start:stop] = random.integers(0, 256, (stop - start, CHUNK_BYTES), dtype="uint8")
        return store(task, [Path(path)])


@contextmanager
def by_reference(task: Task) -> Iterator[Callable[[], None]]:
    """Read it through ``fsmap``: each chunk is verified."""
    instance = connect(task)
    reference = (table(instance, task, "file") & {"id": 0}).fetch1("data")
    yield from _read(task, reference.fsmap)
    instance.connection.close()


@contextmanager
def by_local_store(task: Task) -> Iterator[Callable[[], None]]:
    """Read it from the disk by zarr's own store."""
    yield from _read(task, LocalStore(Path(task.storage["path"]) / task.keys[0].partition("/")[2], read_only=True))


@contextmanager
def by_s3fs(task: Task) -> Iterator[Callable[[], None]]:
    """Read it through s3fs."""
    storage = task.storage
    filesystem = S3FileSystem(
        key=storage["credentials"]["key"],
        secret=storage["credentials"]["secret"],
        client_kwargs={"endpoint_url": storage["endpoint_url"], "region_name": storage["region"]},
        asynchronous=True,
        config_kwargs={"max_pool_connections": 32},
    )
    yield from _read(
        task, FsspecStore(filesystem, read_only=True, path=f"{storage['bucket']}/{task.keys[0].rstrip('/')}")
    )


@contextmanager
def by_obstore(task: Task) -> Iterator[Callable[[], None]]:
    """Read it through obstore."""
    storage = task.storage
    store = S3Store(
        storage["bucket"],
        prefix=task.keys[0],
        endpoint=storage["endpoint_url"],
        region=storage["region"],
        access_key_id=storage["credentials"]["key"],
        secret_access_key=storage["credentials"]["secret"],
        client_options={"allow_http": True},
    )
    yield from _read(task, ObjectStore(store, read_only=True))


def _read(task: Task, store: Any) -> Iterator[Callable[[], None]]:
    """Yield the reading of all rows, some at a time, so that memory does not count; look that they are not zeros."""
    array: Any = zarr.open_array(store, mode="r")
    total = 0

    def read() -> None:
        nonlocal total
        for start in range(0, task.number, 500):
            total += int(array[start : start + 500].sum(dtype="uint64"))

    yield read
    if not 120 < total / (task.number * CHUNK_BYTES) < 135:
        raise RuntimeError(f"the mean is {total / (task.number * CHUNK_BYTES)}, and the bytes are random")
