"""What a local path costs: opening a stored file by its reference, beside opening the path that it leads to.

    python -m benchmarks.local_paths

No server is needed: whoever finds a file in the cache asks none. What is brought comes out of memory, so that what is
counted is what this package does, and the disk.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from datajoint_file.config import parse_settings
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.sources import as_source

RUNS = 5
FILES = 500
SIZE = 2**16

_CELL = Cell("lab", "Recording", "raw", (KeyValue("id", "int", 1),))


def _stored(directory: Path, backend: str, count: int) -> list[FileRef]:
    """Store files in a store of that kind, and return their references."""
    root = directory / backend
    root.mkdir()
    tables = {"storage": {"backend": backend, "path": str(root)}, "cache": {"path": str(directory / "cache")}}
    pipeline = remember(str(root), Pipeline(parse_settings({"project": {"name": "lab"}, **tables}, "benchmark")))
    contents = (number.to_bytes(8, "big") * (SIZE // 8) for number in range(count))
    plans = (pipeline.plan(as_source((f"{number}.dat", content)), _CELL) for number, content in enumerate(contents))
    return [FileRef(pipeline.ingest(plan), str(root)) for plan in plans]


def _opened(paths: list[FileRef] | list[str]) -> list[float]:
    """Return the seconds that opening and closing each takes."""

    def use(path: FileRef | str) -> None:
        with open(path, "rb"):  # noqa: PTH123
            pass

    return _timed(use, paths)


def _opened_by_method(refs: list[FileRef]) -> list[float]:
    def use(ref: FileRef) -> None:
        with ref.open():
            pass

    return _timed(use, refs)


def _timed(use: Callable[[Any], object], things: Sequence[Any]) -> list[float]:
    seconds = []
    for thing in things:
        start = perf_counter()
        use(thing)
        seconds.append(perf_counter() - start)
    return seconds


def _looked_up(refs: list[FileRef]) -> list[float]:
    """Return the seconds that each read looks into the cache, in vain."""
    return _timed(lambda ref: ref._pipeline().reads.cached.open(ref.metadata, lambda: None), refs)


def _microseconds(measure: Callable[[], list[float]]) -> str:
    medians = [statistics.median(measure()) * 1e6 for _ in range(RUNS)]
    return f"{statistics.median(medians):.0f} µs ({min(medians):.0f} to {max(medians):.0f})"


def main() -> None:
    """Print the medians of all runs; in parentheses the smallest and the largest of one."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        here, far = (_stored(directory, backend, FILES) for backend in ("file", "memory"))
        brought = _opened(far)
        far[0]._pipeline().cache.space.clear()  # which leaves the directories
        missed = _microseconds(lambda: _looked_up(far))
        _opened(far)
        cached = [str(ref.cache()) for ref in far]
        _opened(here)
        rows = {
            "a cached file, by its path": _microseconds(lambda: _opened(cached)),
            "the same, by its reference": _microseconds(lambda: _opened(far)),
            "the same, by its open()": _microseconds(lambda: _opened_by_method(far)),
            "the same, read() with its hash": _microseconds(lambda: _timed(FileRef.read, far)),
            "a look into the cache in vain, before a read from the store": missed,
            "a file of a store on a disk, by its reference": _microseconds(lambda: _opened(here)),
            f"a file of {SIZE // 1024} KiB that is not in the cache yet": f"{statistics.median(brought) * 1e6:.0f} µs",
        }
    for row, figure in rows.items():
        click.echo(f"{row}: {figure}")


if __name__ == "__main__":
    main()
