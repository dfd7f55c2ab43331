"""Arrays of NumPy: one (``.npy``), and several by name (``.npz``). Never a pickle."""

from __future__ import annotations

import ast
import math
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datajoint_file.errors import FormatError, UnsafeContentError, brief
from datajoint_file.formats.limits import check_growth

_LONGEST_HEADER = 10_000
"""As NumPy has it: what parses it needs much memory for long ones."""

_PIECE = 2**20

_VERSIONS = ((1, 0), (2, 0), (3, 0))


def save_npy(array: Any, path: Path) -> None:
    """Write an array, its dtype and order; one that is neither in C nor in F order, in C order."""
    with path.open("wb") as file:
        _write(array, file)
    with path.open("rb") as file:
        dtype, shape, _ = header(file)
    if dtype != array.dtype or dtype.isalignedstruct != array.dtype.isalignedstruct or shape != array.shape:
        raise FormatError(f"its dtype {array.dtype} comes back as {dtype}")


def load_npy(stream: BinaryIO) -> Any:
    """Read an array."""
    stream.seek(0, 2)
    size = stream.tell()
    stream.seek(0)
    return _read(stream, size)


def save_npz(arrays: dict[str, Any], path: Path) -> None:
    """Write arrays, each under its name; equal ones make equal files."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            if type(name) is not str or type(array) is not np.ndarray:
                raise FormatError(f"{brief(name)} of type {type(array).__name__} is no array with a name")
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                _write(array, file)


def load_npz(stream: BinaryIO) -> dict[str, Any]:
    """Read all arrays. A zip is known by its list of members; what these say of themselves must agree with it."""
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        stream.seek(0, 2)
        check_growth(sum(member.file_size for member in members), stream.tell())
        names = [member.filename for member in members]
        if len(set(names)) < len(names) or not all(name.endswith(".npy") for name in names):
            raise FormatError("it has members that are no arrays, or two of one name")
        if not all(map(is_metered, members)):
            raise UnsafeContentError("its members are encrypted, or packed in a way that hides how large they become")
        arrays = {}
        for member in members:
            with archive.open(member) as file:
                arrays[member.filename.removesuffix(".npy")] = _read(file, member.file_size)
        return arrays


def is_metered(member: zipfile.ZipInfo) -> bool:
    """Tell whether a member is unpacked no further than is asked: bzip2 and LZMA give at once all that they become."""
    return member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) and not member.flag_bits & 1


def _write(array: Any, file: Any) -> None:
    if array.dtype.hasobject:
        raise FormatError(f"an array of dtype {array.dtype} could only be pickled")
    if array.dtype.metadata:
        raise FormatError(f"its dtype {array.dtype} has metadata, which would be lost")
    for version in _VERSIONS:  # the first that can hold its header, which is written first
        try:
            return np.lib.format.write_array(file, array, version, allow_pickle=False)
        except ValueError:
            if version == _VERSIONS[-1]:
                raise
    return None


def _read(stream: Any, size: int) -> Any:
    """Read an array of a file of so many bytes, which must be what its header says before memory is taken for it."""
    dtype, shape, is_fortran = header(stream)
    count = math.prod(shape)
    if dtype.hasobject:
        raise UnsafeContentError("an array of objects is a pickle, which can run any code")
    left = size - stream.tell()
    if count * dtype.itemsize != left:
        raise FormatError(f"its header tells of {count * dtype.itemsize} bytes, and there are {left}")
    flat = np.empty(count if dtype.itemsize else 0, dtype)
    _fill(stream, flat)
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    return flat.reshape(shape[::-1]).transpose() if is_fortran else flat.reshape(shape)


def _fill(stream: Any, flat: Any) -> None:
    if not flat.nbytes:
        return
    into = memoryview(flat.view(np.uint8))
    done = 0
    while done < len(into):
        piece = stream.read(min(_PIECE, len(into) - done))
        if not piece:
            raise FormatError("it ends early")
        into[done : done + len(piece)] = piece
        done += len(piece)


def header(stream: Any) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Read the header of an array (NEP 1), as NumPy does: a literal of Python, which is not evaluated."""
    if stream.read(6) != b"\x93NUMPY":
        raise FormatError("it is no array of NumPy")
    version = tuple(stream.read(2))
    if version not in _VERSIONS:
        raise FormatError(f"its version {version} is not known")
    (length,) = struct.unpack("<H", stream.read(2)) if version == (1, 0) else struct.unpack("<I", stream.read(4))
    if length > _LONGEST_HEADER:
        raise UnsafeContentError(f"its header has {length} bytes, and {_LONGEST_HEADER} are the most")
    fields = ast.literal_eval(stream.read(length).decode("utf-8" if version == (3, 0) else "latin1"))
    shape, is_fortran = fields["shape"], fields["fortran_order"]
    if not isinstance(shape, tuple) or not all(type(part) is int and part >= 0 for part in shape):
        raise FormatError(f"its shape is {brief(shape)}")
    return np.lib.format.descr_to_dtype(fields["descr"]), shape, bool(is_fortran)
