"""Insert files or a directory through DataJoint: into our ``file``, or its own ``<object@>`` and ``<attach@>``.

All are given the same paths in one `insert`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.contenders.database import connect, table
from benchmarks.contenders.paths import sources
from benchmarks.values import Task

BEFORE = 1_000_000_000
"""The key of the row that is inserted before the clock runs."""


@contextmanager
def files(task: Task) -> Iterator[Callable[[], None]]:
    """Insert all source files by one `insert`."""
    yield from _insert(task, sources(task))


@contextmanager
def in_both_places(task: Task) -> Iterator[Callable[[], None]]:
    """Insert all source files by one `insert`, into a store with a mirror on the same disk."""
    mirror = {"backend": "file", "path": task.scratch, "write": "both"}
    yield from _insert(replace(task, options={**task.options, "storage": {"mirror": mirror}}), sources(task))


@contextmanager
def directory(task: Task) -> Iterator[Callable[[], None]]:
    """Insert the directory of the source files as one value."""
    yield from _insert(task, [Path(task.files)])


def _insert(task: Task, values: Sequence[Path]) -> Iterator[Callable[[], None]]:
    with _table(task, len(values)) as samples:
        samples.insert1({"id": BEFORE, "data": task.small_file})
        yield lambda: samples.insert(_rows(values))


def _rows(values: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"id": number, "data": path} for number, path in enumerate(values)]


@contextmanager
def small_bytes(task: Task) -> Iterator[Callable[[], None]]:
    """Insert rows of a hundred bytes each, a thousand at a time, made as they are asked for."""
    with _table(task, task.number) as samples:
        samples.insert1({"id": BEFORE, "data": ("before.bin", b"before")})
        yield lambda: samples.insert(_small_rows(task.number), chunk_size=task.options["chunk_size"])


def _small_rows(number: int) -> Iterator[dict[str, Any]]:
    for row in range(number):
        yield {"id": row, "data": (f"{row}.bin", b"%099d\n" % row)}


@contextmanager
def plain_rows(task: Task) -> Iterator[Callable[[], None]]:
    """Insert the JSON of as many files by one statement: what remains if files cost nothing."""
    instance = connect(task)
    samples = table(instance, task, "json")
    described = json.dumps(
        {
            "path": f"bench/{task.schema}/objects/FileSample-data/{'k' * 26}/00000000.bin",
            "size": 4096,
            "hash": f"sha256:{'0' * 64}",
            "original_name": "00000000.bin",
            "timestamp": "2025-01-15T10:30:00Z",
            "mime_type": "application/octet-stream",
        }
    )
    holes = ",".join(["(%s,%s)"] * task.number)
    values = [value for row in range(task.number) for value in (row, described)]
    statement = f"INSERT INTO {samples.full_table_name} (id, data) VALUES {holes}"  # noqa: S608 - quoted by DataJoint
    yield lambda: instance.connection.query(statement, values)
    _check(len(samples), task.number)
    instance.connection.close()


@contextmanager
def _table(task: Task, number: int) -> Iterator[Any]:
    """Yield the empty table; afterwards look that so many rows are in it, and the first."""
    instance = connect(task)
    samples = table(instance, task, task.options["attribute"])
    yield samples
    _check(len(samples), number + 1)
    instance.connection.close()


def _check(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"{found} rows, expected {expected}")


def prepare(task: Task) -> list[str]:
    """Store all source files for others to read, and one more; return their object keys, but not that of the last."""
    return store(task, sources(task))


def prepare_directory(task: Task) -> list[str]:
    """Store the directory of the source files for others to read, and one more file; return its key."""
    return store(task, [Path(task.files)])


def store(task: Task, values: Sequence[Path]) -> list[str]:
    """Store values, and the file that is read before the clock runs; return the keys of the values."""
    instance = connect(task)
    samples = table(instance, task, "file")
    samples.insert1({"id": BEFORE, "data": task.small_file})
    samples.insert(_rows(values))
    keys = [reference.path for reference in (samples & f"id <> {BEFORE}").to_arrays("data")]
    instance.connection.close()
    return keys
