"""Reader of netCDF: version 4, which is HDF5, and the classic form, of which the header says all."""

from __future__ import annotations

import struct
from typing import Any

from datajoint_file.preview.shown import Lines, Preview, cut
from datajoint_file.preview.stream import Metered, Subject

_TYPES = {1: "b", 2: "c", 3: "h", 4: "i", 5: "f", 6: "d", 7: "B", 8: "H", 9: "I", 10: "q", 11: "Q"}
_NAMES = {"b": "int8", "c": "char", "h": "int16", "i": "int32", "f": "float32", "d": "float64"}
_NAMES |= {"B": "uint8", "H": "uint16", "I": "uint32", "q": "int64", "Q": "uint64"}
_MOST_LINES = 80
_HEADER = 2**20


def netcdf(stream: Metered, subject: Subject) -> Preview:
    """Show dimensions, variables and attributes."""
    if stream.read(3) != b"CDF":
        from datajoint_file.preview.hdf5 import tree  # for its cost: h5py

        stream.seek(0)
        return tree(stream, subject)
    stream.allow(_HEADER)
    lines = tuple(_Header(stream).lines())
    return Preview(subject.name, ("netCDF, classic",), (Lines(lines[:_MOST_LINES]),))


class _Header:
    """The header of a classic file ("The NetCDF Classic Format Specification"), read from beginning to end."""

    def __init__(self, stream: Metered) -> None:
        self._stream = stream
        self._version = stream.read(1)[0]

    def lines(self) -> list[str]:
        records = self._number()
        sides = [(self._name(), self._number()) for _ in range(self._list())]
        lines = [f"dimension {name} = {size or f'{records}, unlimited'}" for name, size in sides]
        lines += [f"@{line}" for line in self._attributes()]
        for _ in range(self._list()):
            name = self._name()
            shape = [sides[self._number()] for _ in range(self._number())]
            attributes = self._attributes()
            kind = _NAMES[_TYPES[self._unpack("i")]]
            self._number(), self._unpack("i" if self._version == 1 else "q")
            lines.append(f"{name}  ({', '.join(f'{side}: {size or records}' for side, size in shape)}) {kind}")
            lines += [f"  @{line}" for line in attributes]
        return lines

    def _attributes(self) -> list[str]:
        found = []
        for _ in range(self._list()):
            name, kind = self._name(), _TYPES[self._unpack("i")]
            found.append(f"{name} = {self._values(kind, self._number())}")
        return found

    def _values(self, kind: str, count: int) -> str:
        size = struct.calcsize(f">{kind}") * count
        data = self._stream.read(size + -size % 4)[:size]
        if kind == "c":
            return cut(data.decode("utf-8", "replace"), 80)
        return cut(" ".join(map(str, struct.unpack(f">{count}{kind}", data))), 80)

    def _list(self) -> int:
        self._unpack("i")
        return self._number()

    def _name(self) -> str:
        length = self._number()
        return self._stream.read(length + -length % 4)[:length].decode("utf-8", "replace")

    def _number(self) -> int:
        return int(self._unpack("Q" if self._version == 5 else "I"))

    def _unpack(self, kind: str) -> Any:
        return struct.unpack(f">{kind}", self._stream.read(struct.calcsize(f">{kind}")))[0]
