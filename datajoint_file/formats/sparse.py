"""Validation of sparse matrices: an index that is out of bounds makes SciPy write where it must not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


def check_sparse(values: Iterable[Any]) -> None:
    """Raise if an index in a sparse matrix, in *values* or anywhere in what they contain, is out of bounds.

    Raises
    ------
    ValueError
        If so.

    Examples
    --------
    >>> check_sparse([{"a": [1, 2]}])
    """
    seen: dict[int, Any] = {}  # which are kept: a view that is gone leaves its identity to the next
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if id(value) not in seen:
            seen[id(value)] = value
            if hasattr(value, "check_format"):
                value.check_format(full_check=True)
            waiting += _parts(value)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, np.ndarray | np.void) and value.dtype.names and value.dtype.hasobject:
        yield from (value[name] for name in value.dtype.names)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from (item for item in value.flat if not isinstance(item, str))
