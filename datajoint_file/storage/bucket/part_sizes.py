"""Part sizes of multipart uploads: few enough parts, and no more of them in memory than was granted.

Sending them is done in `s3_multipart`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.storage.tuning import MEMORY_BYTES, PART_SIZE, PARTS_IN_FLIGHT

SMALLEST_PART = 5 * 2**20
"""S3 takes no smaller ones, but for the last."""

MAX_PARTS = 9_000
"""Parts of one object to plan for; S3 allows 10,000."""

_PARTS_OF_ONE_SIZE = MAX_PARTS // 10
"""Of an object that is longer than expected: after so many they grow. Eleven sizes, each twice the last, hold 5 TiB."""


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How an object is cut."""

    part_size: int  # bytes; an object of fewer goes in one request
    in_flight: int  # parts that may be under way while the next one is read
    more: int = 0  # bytes of memory that let more parts be under way, if they are free


def memory_for(size: int | None, largest: int = PART_SIZE) -> tuple[int, int]:
    """Return how many bytes of memory an object of *size* bytes would like to have, and how many it must."""
    if size is None:
        return SMALLEST_PART, SMALLEST_PART  # most streams are short; a long one asks for more
    if size < largest:
        return size, size
    return MEMORY_BYTES, min(MEMORY_BYTES, max(2 * SMALLEST_PART, smallest_part(size)))


def plan_parts(granted: int, size: int | None, largest: int = PART_SIZE) -> PartPlan:
    """Decide how to cut an object of *size* bytes, if that is known, so that *granted* bytes of memory do.

    Objects of more than half a TiB need parts that are larger than that: their number is limited.

    Examples
    --------
    >>> plan_parts(48 * 2**20, 2**30)
    PartPlan(part_size=9437184, in_flight=4, more=0)
    >>> plan_parts(48 * 2**20, 2 * 2**40).part_size // 2**20
    234
    """
    if size is not None and size < largest:
        return PartPlan(max(size + 1, SMALLEST_PART), 0)
    fitting = min(largest, max(SMALLEST_PART, granted // (PARTS_IN_FLIGHT + 1)))
    part_size = max(fitting // CHUNK_SIZE * CHUNK_SIZE or fitting, smallest_part(size or 0))
    in_flight = min(PARTS_IN_FLIGHT, max(0, granted // part_size - 1))
    return PartPlan(part_size, in_flight, (PARTS_IN_FLIGHT - in_flight) * part_size)


def smallest_part(size: int) -> int:
    """Return how large the parts of an object of *size* bytes must be, for them not to be too many; 0 if any do."""
    needed = -(-size // MAX_PARTS)
    return -(-needed // CHUNK_SIZE) * CHUNK_SIZE if needed > 2**18 else 0


def part_sizes(first: int, expected: int) -> Iterator[int]:
    """Give the size of one part after the other; without end, and never more than S3 takes.

    Parts are as large as the *first* up to the *expected* length of the object, which is 0 if it is not known.
    """
    size, sent = first, 0
    limit = max(expected, _PARTS_OF_ONE_SIZE * size)
    while True:
        yield size
        sent += size
        if sent >= limit:
            size *= 2
            limit += _PARTS_OF_ONE_SIZE * size
