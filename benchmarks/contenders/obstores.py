"""Raw obstore: bytes to and from the store without hash, row or check. What the engine can do at most.

Payloads are unsigned, everything else as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from benchmarks.contenders.paths import check_size, sources
from benchmarks.values import Task

REQUESTS = 64
THREADS = 32


def _store(task: Task) -> S3Store:
    storage = task.storage
    return S3Store(
        storage["bucket"],
        endpoint=storage["endpoint_url"],
        region=storage["region"],
        access_key_id=storage["credentials"]["key"],
        secret_access_key=storage["credentials"]["secret"],
        unsigned_payload=True,
        client_options={"allow_http": True},
    )


def object_size(task: Task, key: str) -> int:
    """Ask the store how many bytes an object has."""
    return obstore.head(_store(task), key)["size"]


@contextmanager
def upload_one(task: Task) -> Iterator[Callable[[], object]]:
    """Upload one file."""
    [source] = sources(task)
    store = _store(task)
    obstore.put(store, "before", Path(task.small_file))
    yield lambda: obstore.put(store, "object", source)
    found = obstore.head(store, "object")["size"]
    if found != source.stat().st_size:
        raise RuntimeError(f"the object has {found} bytes")


@contextmanager
def download_one(task: Task) -> Iterator[Callable[[], None]]:
    """Download one object as a stream, and write it to a file."""
    [key] = task.keys
    store = _store(task)

    def download() -> None:
        with (Path(task.scratch) / "file").open("wb") as file:
            for chunk in obstore.get(store, key).stream():
                file.write(chunk)

    obstore.head(store, key)
    yield download
    check_size(Path(task.scratch), task)


@contextmanager
def upload_by_tasks(task: Task) -> Iterator[Callable[[], None]]:
    """Upload files by 64 coroutines at a time."""
    store = _store(task)

    async def upload(path: Path) -> None:
        await obstore.put_async(store, path.name, path.read_bytes())

    obstore.put(store, "before", Path(task.small_file))
    paths = sources(task)
    yield lambda: asyncio.run(_all(upload, paths))
    _check_stored(store, paths)


@contextmanager
def upload_by_threads(task: Task) -> Iterator[Callable[[], None]]:
    """Upload files by threads."""
    store = _store(task)
    obstore.put(store, "before", Path(task.small_file))
    paths = sources(task)
    yield lambda: _in_threads(task, lambda path: obstore.put(store, path.name, path.read_bytes()), paths)
    _check_stored(store, paths)


@contextmanager
def download_by_tasks(task: Task) -> Iterator[Callable[[], None]]:
    """Download objects by 64 coroutines at a time, and write them to files."""
    store, directory = _store(task), Path(task.scratch)

    async def download(item: tuple[int, str]) -> None:
        number, key = item
        got = await obstore.get_async(store, key)
        (directory / str(number)).write_bytes(await got.bytes_async())

    obstore.head(store, task.keys[0])
    yield lambda: asyncio.run(_all(download, list(enumerate(task.keys))))
    check_size(directory, task)


@contextmanager
def download_by_threads(task: Task) -> Iterator[Callable[[], None]]:
    """Download objects by threads, and write them to files."""
    store, directory = _store(task), Path(task.scratch)

    def download(item: tuple[int, str]) -> None:
        number, key = item
        (directory / str(number)).write_bytes(obstore.get(store, key).bytes())

    obstore.head(store, task.keys[0])
    yield lambda: _in_threads(task, download, list(enumerate(task.keys)))
    check_size(directory, task)


async def _all(work: Callable[[Any], Awaitable[None]], items: list[Any]) -> None:
    room = asyncio.Semaphore(REQUESTS)

    async def one(item: Any) -> None:
        async with room:
            await work(item)

    await asyncio.gather(*(one(item) for item in items))


def _in_threads(task: Task, work: Callable[[Any], object], items: list[Any]) -> None:
    with ThreadPoolExecutor(task.options.get("threads", THREADS)) as pool:
        list(pool.map(work, items))


def _check_stored(store: S3Store, paths: list[Path]) -> None:
    found = sum(entry["size"] for entries in obstore.list(store) for entry in entries if entry["path"] != "before")
    expected = sum(path.stat().st_size for path in paths)
    if found != expected:
        raise RuntimeError(f"the objects have {found} bytes, expected {expected}")
