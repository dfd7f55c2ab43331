"""Directories inserted and downloaded whole: as one value of ours, of DataJoint's own, and by raw obstore.

Ours are hashed, listed in a manifest and verified; the others check nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore

from benchmarks.contenders.database import connect, table
from benchmarks.contenders.obstores import _all, _store
from benchmarks.contenders.paths import check_size, sources
from benchmarks.values import Task

BEFORE = 1_000_000_000
"""The key of the row that is inserted before the clock runs."""


@contextmanager
def insert(task: Task) -> Iterator[Callable[[], None]]:
    """Insert the directory of the source files as one value."""
    instance = connect(task)
    samples = table(instance, task, task.options["attribute"])
    samples.insert1({"id": BEFORE, "data": task.small_file})
    yield lambda: samples.insert1({"id": 0, "data": task.files})
    if len(samples) != 2:
        raise RuntimeError(f"{len(samples)} rows, expected 2")
    instance.connection.close()


def prepare(task: Task) -> list[str]:
    """Store the directory for others to read; return its key."""
    instance = connect(task)
    samples = table(instance, task, "file")
    samples.insert1({"id": BEFORE, "data": task.small_file})
    samples.insert1({"id": 0, "data": task.files})
    key = (samples & {"id": 0}).fetch1("data").path
    instance.connection.close()
    return [key]


@contextmanager
def download(task: Task) -> Iterator[Callable[[], object]]:
    """Download the directory by its reference."""
    instance = connect(task)
    samples = table(instance, task, "file")
    (samples & {"id": BEFORE}).fetch1("data").read()
    reference = (samples & {"id": 0}).fetch1("data")
    yield lambda: reference.download(f"{task.scratch}/all")
    check_size(Path(task.scratch), task)
    instance.connection.close()


@contextmanager
def download_by_obstore(task: Task) -> Iterator[Callable[[], None]]:
    """Download the members by 64 coroutines at a time, and write them to files; which there are is known."""
    [directory] = task.keys
    store = _store(task)

    async def fetch(source: Path) -> None:
        got = await obstore.get_async(store, f"{directory}{source.name}")
        (Path(task.scratch) / source.name).write_bytes(await got.bytes_async())

    obstore.head(store, f"{directory}{sources(task)[0].name}")
    yield lambda: asyncio.run(_all(fetch, sources(task)))
    check_size(Path(task.scratch), task)
