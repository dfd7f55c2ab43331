"""Statement sizes: how many rows go into one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

MAX_ROWS = 5_000
"""Rows of one statement."""

_Item = TypeVar("_Item")


def batches(items: Iterable[_Item], size: int = 0) -> Iterator[list[_Item]]:
    """Give *items* in lists that one statement can take, or of at most *size*.

    Examples
    --------
    >>> list(batches(range(5), 2))
    [[0, 1], [2, 3], [4]]
    """
    remaining = iter(items)
    while batch := list(islice(remaining, size or MAX_ROWS)):
        yield batch
