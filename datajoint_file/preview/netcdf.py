"""Reader of netCDF: version 4, which is HDF5, and the classic form, of which the header says all."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from datajoint_file.formats.netcdf3 import Attribute, Header, read_header
from datajoint_file.preview.shown import Lines, Preview, cut
from datajoint_file.preview.stream import Metered, Subject

_NAMES = {"b": "int8", "c": "char", "h": "int16", "i": "int32", "f": "float32", "d": "float64"}
_NAMES |= {"B": "uint8", "H": "uint16", "I": "uint32", "q": "int64", "Q": "uint64"}
_MOST_LINES = 80
_HEADER = 2**20


def netcdf(stream: Metered, subject: Subject) -> Preview:
    """Show dimensions, variables and attributes."""
    is_classic = stream.read(3) == b"CDF"
    stream.seek(0)
    if not is_classic:
        from datajoint_file.preview.hdf5 import tree  # for its cost: h5py

        return tree(stream, subject)
    stream.allow(_HEADER)
    lines = tuple(_lines(read_header(stream)))
    return Preview(subject.name, ("netCDF, classic",), (Lines(lines[:_MOST_LINES]),))


def _lines(header: Header) -> Iterator[str]:
    yield from (f"dimension {name} = {size or f'{header.records}, unlimited'}" for name, size in header.sides)
    yield from map(_line, header.attributes)
    for variable in header.variables:
        sides = ", ".join(f"{name}: {size or header.records}" for name, size in variable.sides)
        yield f"{variable.name}  ({sides}) {_NAMES[variable.kind]}"
        yield from (f"  {_line(attribute)}" for attribute in variable.attributes)


def _line(attribute: Attribute) -> str:
    if attribute.kind == "c":
        values = attribute.data.decode("utf-8", "replace")
    else:
        values = " ".join(map(str, struct.unpack(f">{attribute.count}{attribute.kind}", attribute.data)))
    return f"@{attribute.name} = {cut(values, 80)}"
