"""Reader of HDF5, and of what is made of it (NWB, netCDF 4, MATLAB 7.3): the tree of groups, datasets and attributes.

No data are read but short attributes. Links to other files are named, not followed, and datasets whose data are in
other files are not asked even for their shape, for which HDF5 would open those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import h5py

from datajoint_file.formats.hdf5_objects import address, elsewhere
from datajoint_file.preview.shown import Lines, Preview, cut
from datajoint_file.preview.stream import BudgetSpentError, Metered, Subject

MOST_LINES = 80
DEEPEST = 5
_MOST_ATTRIBUTES = 6
_LONGEST_VALUE = 4096
_MOST_VALUES = 8


def tree(stream: Metered, subject: Subject) -> Preview:
    """Show what is in a file."""
    lines: list[str] = []
    notes: list[str] = []
    with h5py.File(stream, "r") as file:
        try:
            lines += islice(_below(file, 0, {address(file)}, stream), MOST_LINES + 1)
        except BudgetSpentError:
            notes.append("there is more, which is too much to read for a preview")
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = ["…"]
    return Preview(subject.name, ("HDF5",), (Lines(tuple(lines)),), tuple(notes))


def _below(group: Any, depth: int, seen: set[int], stream: Metered) -> Iterator[str]:
    """Give the lines of a group's attributes and members."""
    indent = "  " * depth
    yield from (f"{indent}{line}" for line in _attributes(group, stream))
    if depth == DEEPEST:
        yield f"{indent}…"
        return
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            yield f"{indent}{_link(name, link)}"
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            yield f"{indent}{name}/"
            if (place := address(item)) not in seen:
                seen.add(place)
                yield from _below(item, depth + 1, seen, stream)
        else:
            yield f"{indent}{name}  {_dataset(item) if isinstance(item, h5py.Dataset) else 'a type'}"
            yield from (f"{indent}  {line}" for line in _attributes(item, stream))


def _link(name: str, link: Any) -> str:
    if isinstance(link, h5py.SoftLink):
        return f"{name} -> {link.path}"
    other = getattr(link, "filename", "?")
    return f"{name} -> {getattr(link, 'path', '?')} of another file, {other}, which is not opened"


def _dataset(item: Any) -> str:
    if where := elsewhere(item):
        return f"{where}, not opened"
    try:
        shape = item.shape
        dtype = "text" if h5py.check_string_dtype(item.dtype) else cut(str(item.dtype), 80)
    except (TypeError, ValueError) as error:  # a type that NumPy has not
        return f"({error})"
    packed = f", {item.compression}" if item.compression else ""
    return f"{'empty' if shape is None else shape} {dtype}{packed}"


def _attributes(item: Any, stream: Metered) -> Iterator[str]:
    names = list(islice(item.attrs, _MOST_ATTRIBUTES + 1))
    for name in names[:_MOST_ATTRIBUTES]:
        yield f"@{name} = {_value(item.attrs, name, stream)}"
    if len(names) > _MOST_ATTRIBUTES:
        yield "@…"


def _value(attributes: Any, name: str, stream: Metered) -> str:
    try:
        attribute = attributes.get_id(name)
        if math.prod(attribute.shape) > _MOST_VALUES or attribute.get_storage_size() > _LONGEST_VALUE:
            return f"{attribute.shape} {attribute.dtype}"
        value = attributes[name]
    except Exception as error:
        if stream.is_spent:
            raise BudgetSpentError from None
        if stream.failure is not None:
            raise
        return f"({type(error).__name__})"
    value = value.tolist() if hasattr(value, "tolist") else value
    return cut(value if isinstance(value, str) else repr(value), 80)
