"""Readers of arrays, of NumPy and of MATLAB: shapes, types and first values, and never a pickle."""

from __future__ import annotations

import math
import zipfile
from itertools import islice
from typing import Any, BinaryIO, cast

import numpy as np

from datajoint_file.formats.arrays import header, is_metered
from datajoint_file.formats.matlab import check_names
from datajoint_file.model.wording import counted, format_size
from datajoint_file.preview.shown import Grid, Lines, Preview
from datajoint_file.preview.stream import Metered, Subject

_VALUES = 12
_MOST_MEMBERS = 20
_VALUE_BYTES = 64 * 1024
_LISTING_BYTES = 4 * 2**20


def npy(stream: Metered, subject: Subject) -> Preview:
    """Show an array."""
    described, values = _array(stream)
    return Preview(subject.name, (described,), (Lines(values),) if values else ())


def archive(stream: Metered, subject: Subject) -> Preview:
    """Show what is in a zip: of arrays their shapes."""
    stream.allow(_LISTING_BYTES)
    with zipfile.ZipFile(stream) as opened:
        members = [info for info in opened.infolist() if not info.is_dir()]
        rows = tuple(
            (info.filename, format_size(info.file_size), _described(opened, info)) for info in members[:_MOST_MEMBERS]
        )
    more = (f"… and {len(members) - _MOST_MEMBERS:,} more",) if len(members) > _MOST_MEMBERS else ()
    return Preview(subject.name, (counted(len(members), "member"),), (Grid(("name", "size", "array"), rows),), more)


def matlab(stream: Metered, subject: Subject) -> Preview:
    """Show the variables of a file of MATLAB, whose version 7.3 is HDF5."""
    if stream.read(10) == b"MATLAB 7.3":
        from datajoint_file.preview.hdf5 import tree  # for its cost: h5py

        return tree(stream, subject)
    from scipy.io import whosmat

    check_names(cast("BinaryIO", stream))
    stream.seek(0)
    variables = whosmat(stream)
    rows = tuple((name, _shape(shape), kind) for name, shape, kind in variables[:_MOST_MEMBERS])
    said = counted(len(variables), "variable")
    return Preview(subject.name, (said,), (Grid(("name", "shape", "class"), rows),))


def _array(stream: Any) -> tuple[str, tuple[str, ...]]:
    """Return what an array is, and its first values."""
    dtype, shape, is_fortran = header(stream)
    described = f"{_shape(shape)} {dtype}"
    if dtype.hasobject:
        return f"{described}, which is a pickle and is not read", ()
    count = min(math.prod(shape), _VALUES)
    size = count * dtype.itemsize
    data = stream.read(size) if 0 < size <= _VALUE_BYTES else b""
    if not size or len(data) < size:
        return described, ()
    order = ", columns first" if is_fortran and len(shape) > 1 else ""
    values = np.array2string(np.frombuffer(data, dtype), precision=5, max_line_width=_VALUE_BYTES)
    more = " …" if math.prod(shape) > count else ""
    return f"{described}{order}", (f"{values[1:-1]}{more}",)


def _described(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    if not info.filename.endswith(".npy") or not is_metered(info):
        return ""
    with opened.open(info) as member:
        return _array(member)[0]


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, islice(shape, 32)))}{',' if len(shape) == 1 else ''})"
