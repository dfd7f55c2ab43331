"""Time and memory of an insert against the size of a file and the number of rows.

Each series is of `Comparison` values with one contender; what fits them is computed in `judging`.
"""

from __future__ import annotations

from benchmarks.comparisons import OURS, Scale
from benchmarks.values import KIBI, MEBI, Comparison, Contender, Place, Workload

SERIES = ("size-local", "size-s3", "rows-local")
CHUNK_SIZE = {"full": 1_000, "small": 20}

_SIZES: dict[Scale, tuple[int, ...]] = {
    "full": tuple(4**power * MEBI for power in range(7)),
    "small": tuple(4**power * 64 * KIBI for power in range(4)),
}
_ROWS: dict[Scale, tuple[int, ...]] = {
    "full": (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
    "small": (10, 30, 100),
}


def all_series(scale: Scale) -> dict[str, list[Comparison]]:
    """Return the points of every series, from small to large."""
    return {
        "size-local": [_of_size("local", size) for size in _SIZES[scale]],
        "size-s3": [_of_size("s3", size) for size in _SIZES[scale]],
        "rows-local": [_of_rows(number, CHUNK_SIZE[scale]) for number in _ROWS[scale]],
    }


def _of_size(place: Place, size: int) -> Comparison:
    contender = Contender(OURS, "inserts:files", {"attribute": "file"}, is_ours=True)
    return Comparison(f"size-{place}", "insert {work}", Workload(place, 1, size), (contender,), ())


def _of_rows(number: int, chunk_size: int) -> Comparison:
    options = {"attribute": "file", "storage": {"durability": "none"}, "chunk_size": chunk_size}
    contender = Contender(OURS, "inserts:small_bytes", options, is_ours=True)
    return Comparison("rows-local", "insert {work}", Workload("local", number), (contender,), ())
