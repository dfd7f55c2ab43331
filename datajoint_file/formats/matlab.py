"""Variables of MATLAB 5 to 7.2 (``.mat``). What they would take of memory is added up before one of them is loaded.

Elements, classes and flags are those of "MAT-File Format" (MathWorks), and are followed as SciPy follows them.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.errors import FormatError, UnsafeContentError
from datajoint_file.formats.limits import check_growth
from datajoint_file.formats.sparse import check_sparse

_PIECE = 2**20
_LONGEST_NAME = 4096  # MATLAB has 63 letters
_LONGEST_KEPT = 128  # of an element: 32 dimensions, the most that NumPy has

_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18})
"""Types of elements that SciPy knows; for others it reads past the end of a table."""

_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17

_PARTS = {_CELL: 0, _STRUCT: 2, _OBJECT: 3, _CHAR: 1, _SPARSE: 3, _FUNCTION: 0}
"""How many elements come before the matrices that a matrix of a class has in it. A numeric one is one element."""

_ARRAY_BYTES = 100  # of an array of NumPy, beside its values
_IS_COMPLEX = 2**11


def save_mat(arrays: dict[str, Any], path: Path) -> None:
    """Write arrays as MATLAB 5 does."""
    from scipy.io import savemat

    savemat(path, arrays, appendmat=False)


def load_mat(stream: BinaryIO) -> dict[str, Any]:
    """Read the variables of a file of MATLAB 5 to 7.2; what MATLAB says of the file itself is left out."""
    from scipy.io import loadmat

    _check(stream)
    stream.seek(0)
    found = loadmat(stream, appendmat=False)
    check_sparse(found.values())
    return {name: value for name, value in found.items() if not (name.startswith("__") and name.endswith("__"))}


def check_names(stream: BinaryIO) -> None:
    """Raise if a variable has a name, or dimensions, of more than a few bytes. Reads no more of each than that.

    SciPy believes their lengths, even where it is asked for names alone.

    Raises
    ------
    UnsafeContentError
        If so.
    FormatError
        If it ends early.
    """
    for order, is_compressed, variable in _variables(stream, _LONGEST_NAME):
        _exactly(variable, 24 if is_compressed else 16)  # that it is a matrix, and its flags
        for _ in range(2):
            small, length = struct.unpack(f"{order}II", _exactly(variable, 8))
            if small >> 16 == 0:
                if length > _LONGEST_NAME:
                    raise UnsafeContentError(f"the name of a variable in it has {length} bytes")
                _exactly(variable, length + -length % 8)


def _check(stream: BinaryIO) -> None:
    stored = stream.seek(0, 2)
    walk: _Variables | None = None
    for order, is_compressed, variable in _variables(stream, _PIECE):
        walk = walk or _Variables(order, stored)
        if is_compressed:
            walk.pass_matrix(variable)
        else:
            walk.pass_content(variable)


def _variables(stream: BinaryIO, piece: int) -> Iterator[tuple[str, bool, Any]]:
    """Give the order of bytes, whether a variable is compressed, and a file in which it begins, for each variable."""
    stream.seek(0)
    head = stream.read(128)
    if 0 in head[:4] or head[124 + (head[126] == ord("I"))] != 1:
        return  # version 4, in which nothing is compressed or nested; or none that SciPy reads
    order = "<" if head[126:] == b"IM" else ">"
    while len(tag := stream.read(8)) == 8:
        kind, length = struct.unpack(f"{order}II", tag)
        behind = stream.tell() + length
        is_compressed = kind == _COMPRESSED
        yield (
            order,
            is_compressed,
            io.BufferedReader(_Unpacked(stream, length, piece), piece) if is_compressed else stream,
        )
        stream.seek(behind)


class _Unpacked(io.RawIOBase):
    """The next bytes of a file, decompressed as they are asked for, piece by piece: zlib copies what is left of one."""

    def __init__(self, file: BinaryIO, length: int, piece: int) -> None:
        self._file, self._left, self._piece = file, length, piece
        self._unpacking, self._data = zlib.decompressobj(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacking.eof:
            if not self._data:
                self._data = self._file.read(min(self._piece, self._left))
                self._left -= len(self._data)
            is_end = not self._data
            unpacked = self._unpacking.decompress(self._data, len(buffer))
            self._data = self._unpacking.unconsumed_tail
            if unpacked or is_end:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
        return 0


class _Variables:
    """Reader that keeps nothing: it adds up what loading takes, before it goes on to what that is taken for."""

    def __init__(self, order: str, stored: int) -> None:
        self._order, self._stored, self._taken = order, stored, 0
        self._tag, self._flags = struct.Struct(f"{order}II"), struct.Struct(f"{order}8xI4x")

    def pass_matrix(self, file: Any) -> None:
        kind, length = self._tag.unpack(_exactly(file, 8))
        if kind != _MATRIX:
            raise FormatError(f"it has an element of type {kind} where a matrix is to be")
        self._take(_ARRAY_BYTES)
        if length:
            self.pass_content(file)

    def pass_content(self, file: Any) -> None:
        (flags,) = self._flags.unpack(_exactly(file, 16))
        of_class = flags & 0xFF
        if of_class == _OPAQUE:
            for _ in range(3):  # texts
                self._pass_element(file)
            return self.pass_matrix(file)
        shape, length = self._pass_element(file)
        count = math.prod(struct.unpack(f"{self._order}{length // 4}i", shape[: length // 4 * 4])) % 2**64
        self._pass_element(file)  # its name
        is_complex = bool(flags & _IS_COMPLEX) and _SPARSE <= of_class < _FUNCTION
        parts = [self._pass_element(file) for _ in range(_PARTS.get(of_class, 1) + is_complex)]
        within = {_CELL: count, _FUNCTION: 1}.get(of_class, 0)
        if of_class in (_STRUCT, _OBJECT):
            within = count * max(0, parts[-1][1] // struct.unpack(f"{self._order}i", parts[-2][0])[0])
        each = 8 if of_class <= _CHAR else 16 if is_complex and of_class != _SPARSE else 0
        self._take(each * max(count, within))
        for _ in range(within):
            self.pass_matrix(file)
        return None

    def _pass_element(self, file: Any) -> tuple[bytes, int]:
        """Return the first bytes of an element, and how many it has."""
        tag = _exactly(file, 8)
        kind, length = self._tag.unpack(tag)
        small, kind = divmod(kind, 2**16) if kind >> 16 else (0, kind)
        if kind not in _NUMBERS:
            raise FormatError(f"it has an element of type {kind} where numbers are to be")
        if small:
            return tag[4 : 4 + small], small
        self._take(length)
        first = _exactly(file, min(length, _LONGEST_KEPT))
        for start in range(len(first), length, _PIECE):
            _exactly(file, min(_PIECE, length - start))
        file.read(-length % 8)
        return first, length

    def _take(self, count: int) -> None:
        self._taken += count
        check_growth(self._taken, self._stored)


def _exactly(file: Any, count: int) -> bytes:
    data: bytes = file.read(count)
    if len(data) < count:
        raise FormatError("it ends early")
    return data
