"""Directories downloaded whole, by their reference and by raw obstore; and the manifest of a very large one.

Ours are verified; the others check nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import obstore

from benchmarks.contenders.database import connect, table
from benchmarks.contenders.inserts import BEFORE, store
from benchmarks.contenders.obstores import _all, _store
from benchmarks.contenders.paths import check_size, sources
from benchmarks.values import Task
from datajoint_file import DirectoryRef
from datajoint_file.model.manifest import Member, lines
from datajoint_file.model.object_keys import manifest_key


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


def prepare_manifest(task: Task) -> list[str]:
    """Store a directory of one file with the manifest of another one, of very many; return its key, and the hash."""
    digest = hashlib.sha256()
    with TemporaryDirectory(dir=task.scratch) as directory:
        (Path(directory) / "0").write_bytes(b"0")
        [key] = store(task, [Path(directory)])
    manifest = Path(task.storage["path"]) / manifest_key(key).partition("/")[2]
    manifest.unlink()
    with manifest.open("wb") as file:
        for line in lines(Member(f"c/{number:09d}/0", 1, "0" * 64) for number in range(task.number)):
            digest.update(line)
            file.write(line)
    return [key, f"sha256:{digest.hexdigest()}"]


@contextmanager
def look_up(task: Task) -> Iterator[Callable[[], object]]:
    """Find the last file of a directory whose manifest has not been read yet."""
    instance = connect(task)
    small = (table(instance, task, "file") & {"id": 0}).fetch1("data")
    described = replace(small.metadata, hash=task.keys[1], size=task.number, files=task.number)
    large = DirectoryRef(described, small.pipeline)
    yield lambda: large / f"c/{task.number - 1:09d}/0"
    instance.connection.close()
