"""Comparison of what was given with what comes back from a file: types, bits, order, names; not only values.

Each function says how the second differs from the first, and nothing if it does not.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np


def differs(given: Any, loaded: Any, where: str = "", *, is_ordered: bool = True) -> str:
    """Compare plain values and arrays, and what is in dictionaries, lists and tuples of them.

    Examples
    --------
    >>> differs({"a": 1}, {"a": 1}), differs({"a": (1, 2)}, {"a": [1, 2]})
    ('', "['a'] of type tuple comes back as list")
    """
    if type(given) is not type(loaded):
        return f"{where or 'it'} of type {type(given).__name__} comes back as {type(loaded).__name__}"
    if isinstance(given, dict):
        return _names_differ(given, loaded, where) or _first(
            differs(value, loaded[name], f"{where}[{name!r}]", is_ordered=is_ordered) for name, value in given.items()
        )
    if isinstance(given, list | tuple):
        if len(given) != len(loaded):
            return f"{where or 'it'} of {len(given)} items comes back with {len(loaded)}"
        pairs = enumerate(zip(given, loaded, strict=True))
        return _first(differs(*pair, f"{where}[{i}]", is_ordered=is_ordered) for i, pair in pairs)
    if isinstance(given, np.ndarray):
        return arrays_differ(given, loaded, where, is_ordered=is_ordered)
    return "" if _is_same_scalar(given, loaded) else f"{where or 'it'} comes back with another value"


def arrays_differ(given: Any, loaded: Any, where: str = "", *, is_ordered: bool = True) -> str:
    """Compare arrays bit by bit, and their order in memory."""
    name = where or "it"
    if given.dtype != loaded.dtype or given.dtype.metadata != loaded.dtype.metadata:
        return f"{name} of dtype {given.dtype} comes back as {loaded.dtype}"
    if given.shape != loaded.shape:
        return f"{name} of shape {given.shape} comes back as {loaded.shape}"
    if is_ordered and _is_fortran(given) != _is_fortran(loaded):
        return f"{name} in the order {'F' if _is_fortran(given) else 'C'} comes back in the other one"
    if given.dtype.hasobject:
        return differs(given.ravel().tolist(), loaded.ravel().tolist(), where)
    return "" if np.array_equal(_bits(given), _bits(loaded)) else f"{name} comes back with other values"


def values_differ(given: Any, loaded: Any) -> str:
    """Compare as `differs` does, but for the order of arrays in memory: images and MATLAB have one of their own."""
    return differs(given, loaded, is_ordered=False)


def frames_differ(given: Any, loaded: Any) -> str:
    """Compare data frames: values, dtypes, both indexes, ``attrs``; not ``freq`` of an index, which it implies."""
    from pandas import testing

    try:
        testing.assert_frame_equal(
            given, loaded, check_exact=True, check_freq=False, check_index_type=True, check_column_type=True
        )
    except AssertionError as error:
        return " ".join(str(error).split()).partition(" [")[0]  # what follows are values
    return differs(given.attrs, loaded.attrs, ".attrs") or _first(
        differs(list(one), list(other), where) for where, one, other in _columns_of_objects(given, loaded)
    )


def datasets_differ(given: Any, loaded: Any) -> str:
    """Compare datasets of xarray, or arrays with what zarr opens."""
    if isinstance(given, np.ndarray):
        return arrays_differ(given, loaded[...], is_ordered=False)
    if not given.identical(loaded):
        return "names, dimensions, coordinates, attributes or values come back differently"
    return _first(_variables_differ(str(name), given[name], loaded[name]) for name in given.variables)


def _variables_differ(name: str, given: Any, loaded: Any) -> str:
    if given.dtype.kind == loaded.dtype.kind == "M":
        return ""  # the same moments, as `identical` says: files tell their resolution in another way
    if given.dtype != loaded.dtype:
        return f"{name} of dtype {given.dtype} comes back as {loaded.dtype}"
    return arrays_differ(given.values, loaded.values, name, is_ordered=False)


_PARTS = ("X", "obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")


def annotated_differ(given: Any, loaded: Any) -> str:
    """Compare annotated data: its matrix and all that is said of rows, columns and the whole."""
    if (given.raw is None) != (loaded.raw is None):
        return "raw comes back differently"
    parts = [(part, getattr(given, part), getattr(loaded, part)) for part in _PARTS]
    if given.raw is not None:
        parts += [(f"raw.{part}", getattr(given.raw, part), getattr(loaded.raw, part)) for part in ("X", "var")]
    return _first(_parts_differ(*part) for part in parts)


def _parts_differ(where: str, given: Any, loaded: Any) -> str:
    """Compare what annotated data consists of: frames, dense and sparse matrices, mappings of them."""
    if hasattr(given, "keys") and not hasattr(given, "columns"):
        names, others = list(given.keys()), list(loaded.keys())
        if sorted(names) != sorted(others):
            return f"{where} has other names"
        return _first(_parts_differ(f"{where}[{name!r}]", given[name], loaded[name]) for name in names)
    if type(given) is not type(loaded):
        return f"{where} of type {type(given).__name__} comes back as {type(loaded).__name__}"
    if hasattr(given, "columns"):
        return frames_differ(given, loaded)
    if hasattr(given, "tocsr"):
        return arrays_differ(given.toarray(), loaded.toarray(), where, is_ordered=False)
    return differs(given, loaded, where)


def _columns_of_objects(given: Any, loaded: Any) -> Iterable[tuple[str, Any, Any]]:
    """Give the columns and indexes whose items are Python's: pandas compares 1 and True, lists and arrays as equal."""
    indexes = (("the index", given.index, loaded.index), ("the columns", given.columns, loaded.columns))
    columns = ((f"column {i}", given.iloc[:, i], loaded.iloc[:, i]) for i in range(given.shape[1]))
    return (one for one in chain(indexes, columns) if one[1].dtype == object)


def _names_differ(given: Any, loaded: Any, where: str) -> str:
    names, others = list(given), list(loaded)
    return differs(names, others, f"{where or 'it'}: names")


def _first(found: Iterable[str]) -> str:
    return next(filter(None, found), "")


def _is_same_scalar(given: Any, loaded: Any) -> bool:
    if isinstance(given, float):
        return struct.pack("d", given) == struct.pack("d", loaded) or bool(given != given and loaded != loaded)
    return bool(given is loaded or (given == loaded and repr(given) == repr(loaded)))


def _is_fortran(array: Any) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def _bits(array: Any) -> Any:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(np.uint8) if flat.dtype.itemsize else flat
