"""Parser of the header of classic netCDF files ("The NetCDF Classic Format Specification"). It reads no data."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from datajoint_file.errors import FormatError, UnsafeContentError

_TYPES = {1: "b", 2: "c", 3: "h", 4: "i", 5: "f", 6: "d", 7: "B", 8: "H", 9: "I", 10: "q", 11: "Q"}
_WIDE = 5
"""Version whose numbers have 64 bits."""

_STREAMING = 2**32 - 1
"""Number of records of a file that does not say it."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute: its values as they are stored, of a type as `struct` has it."""

    name: str
    kind: str
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: its dimensions, of which an unlimited one has the length 0, and its type."""

    name: str
    sides: tuple[tuple[str, int], ...]
    kind: str
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    records: int
    sides: tuple[tuple[str, int], ...]
    attributes: tuple[Attribute, ...]
    variables: tuple[Variable, ...]

    @property
    def size(self) -> int:
        """Bytes of all variables; of a file that does not say its number of records, without those."""
        records = 0 if self.records == _STREAMING else self.records
        return sum(
            math.prod(side or records for _, side in variable.sides) * struct.calcsize(f">{variable.kind}")
            for variable in self.variables
        )


def check_netcdf3(stream: Any) -> None:
    """Raise if variables have more bytes than their file, as they do if several are in one place.

    Raises
    ------
    UnsafeContentError
        If so.
    FormatError
        If it ends early, or has a type that there is not.
    """
    stored = stream.seek(0, 2)
    stream.seek(0)
    claimed = read_header(stream).size
    if claimed > stored:
        raise UnsafeContentError(f"its variables have {claimed} bytes, and there are {stored}")


def read_header(stream: Any) -> Header:
    """Return what a file says of itself, from its beginning on.

    Raises
    ------
    FormatError
        If it ends early, or has a type that there is not.
    """
    return _Reader(stream).header()


class _Reader:
    """Reads from beginning to end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._version = self._exactly(4)[3]

    def header(self) -> Header:
        records = self._number()
        sides = tuple((self._name(), self._number()) for _ in range(self._list()))
        attributes = self._attributes()
        return Header(records, sides, attributes, tuple(self._variable(sides) for _ in range(self._list())))

    def _variable(self, sides: tuple[tuple[str, int], ...]) -> Variable:
        name = self._name()
        of = tuple(sides[self._number()] for _ in range(self._number()))
        attributes = self._attributes()
        kind = self._kind()
        self._number(), self._unpack("i" if self._version == 1 else "q")  # its size once more, and its place
        return Variable(name, of, kind, attributes)

    def _attributes(self) -> tuple[Attribute, ...]:
        return tuple(self._attribute() for _ in range(self._list()))

    def _attribute(self) -> Attribute:
        name, kind, count = self._name(), self._kind(), self._number()
        return Attribute(name, kind, count, self._padded(struct.calcsize(f">{kind}") * count))

    def _kind(self) -> str:
        number = self._unpack("i")
        if number not in _TYPES:
            raise FormatError(f"it has values of type {number}, which there is not")
        return _TYPES[number]

    def _list(self) -> int:
        self._unpack("i")
        return self._number()

    def _name(self) -> str:
        return self._padded(self._number()).decode("utf-8", "replace")

    def _number(self) -> int:
        return int(self._unpack("Q" if self._version == _WIDE else "I"))

    def _unpack(self, kind: str) -> Any:
        return struct.unpack(f">{kind}", self._exactly(struct.calcsize(f">{kind}")))[0]

    def _padded(self, size: int) -> bytes:
        return self._exactly(size + -size % 4)[:size]

    def _exactly(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        if len(data) < size:
            raise FormatError("it ends early")
        return data
