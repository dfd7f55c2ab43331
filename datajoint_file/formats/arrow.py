"""Checks of files of Apache Arrow and Parquet: what they become in memory, before that is taken. It makes no frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from datajoint_file.errors import FormatError
from datajoint_file.formats.limits import check_growth

_SAFE = 16

_CELL = 8
"""Bytes of a cell in pandas: a number, or where an object is. A column without values has none in its file."""

_TEXTS, _CATEGORIES = 2**8, 2**20
"""Rows of Parquet that are unpacked at a time, to be measured. Categories are there once, each time."""

_DICTIONARIES, _BATCHES = 2, 3  # fields of a footer

_OLD_COMPRESSION = b"ARROW:experimental_compression"
"""By which messages say that they are compressed in files of Arrow 0.17."""


def require_safe_arrow() -> None:
    """Raise if this version makes types that a file asks for, by unpickling them (CVE-2023-47248).

    Raises
    ------
    ImportError
        If so.
    """
    import pyarrow as pa

    if int(pa.__version__.partition(".")[0]) < _SAFE:
        raise ImportError(f"pyarrow {pa.__version__} runs code of files", name=f"pyarrow>={_SAFE}")


def check_feather(stream: Any) -> None:
    """Raise if a file becomes too large, or is not what it says of itself: reading that would end the process.

    Raises
    ------
    UnsafeContentError
        If it becomes too large.
    FormatError, pyarrow.ArrowInvalid
        If it is no Feather of version 2, or contradicts itself.
    """
    require_safe_arrow()
    import pyarrow as pa

    if stream.read(6) != b"ARROW1":
        raise FormatError("it is no Feather, or Feather of version 1, in which nothing is checked: ref.open() it")
    stored, grown, cells = stream.seek(0, 2), 0, 0
    for _, size in unpacked_sizes(stream):
        check_growth(grown := grown + size, stored)
    stream.seek(0)
    with pa.ipc.open_file(stream) as file:
        for batch in map(file.get_batch, range(file.num_record_batches)):
            check_growth(cells := cells + _CELL * batch.num_rows * batch.num_columns, stored)
            batch.validate(full=True)  # pandas believes what it says of its parts


def check_parquet(stream: Any) -> None:
    """Raise if a file becomes too large. It is asked; texts, of which it can name one often, are measured.

    Raises
    ------
    UnsafeContentError
        If so.
    """
    require_safe_arrow()
    from pyarrow import parquet, types

    file, stored, grown = parquet.ParquetFile(stream), stream.seek(0, 2), 0
    columns = [file.metadata.schema.column(i) for i in range(file.metadata.num_columns)]
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    cells = sum(
        max(group.num_rows, group.column(i).num_values) * max(_CELL, column.length)
        for group in groups
        for i, column in enumerate(columns)
    )
    check_growth(max(cells, sum(group.total_byte_size for group in groups)), stored)
    texts = {column.path for column in columns if column.physical_type == "BYTE_ARRAY"}
    categories = {field.name for field in file.schema_arrow if types.is_dictionary(field.type)}
    for names, rows in ((texts - categories, _TEXTS), (texts & categories, _CATEGORIES)):
        for batch in file.iter_batches(rows, columns=sorted(names), use_threads=False) if names else ():
            check_growth(grown := grown + batch.nbytes, stored)


def unpacked_sizes(stream: Any) -> Iterator[tuple[str, int]]:
    """Give of each message that is read for a table what it is, and how many bytes it has when decompressed.

    As the format has it ("Serialization and Interprocess Communication" of Arrow): the footer, a flatbuffer, says where
    dictionaries are, and where batches; the metadata of each, another one, say where its buffers are; and each buffer
    that is compressed begins with the number of its bytes, or -1 if it is as it is. One message at a time is in memory.
    """
    import pyarrow as pa

    end = stream.seek(-10, 2)
    (length,) = struct.unpack("<I", stream.read(4))
    stream.seek(end - length)
    footer = stream.read(length)
    for field in (_DICTIONARIES, _BATCHES):
        for (place,) in _structs(footer, _root(footer), field, "<q16x"):
            stream.seek(place)
            message = pa.ipc.MessageReader.open_stream(stream).read_next_message()
            yield message.type, len(message.body or b"") + sum(_unpacked_buffers(message))


def _unpacked_buffers(message: Any) -> Iterator[int]:
    metadata = message.metadata.to_pybytes()
    header = _table(metadata, _root(metadata), 2)
    if message.type == "dictionary":
        header = _table(metadata, header, 1)
    if _table(metadata, header, 3) or _OLD_COMPRESSION in metadata:
        for start, length in _structs(metadata, header, 2, "<qq"):
            if length >= 8:
                yield max(0, struct.unpack_from("<q", message.body, start)[0])


def _structs(flat: bytes, table: int, field: int, layout: str) -> Iterator[tuple[Any, ...]]:
    """Give what is in the vector of structs that a field refers to."""
    if start := _table(flat, table, field):
        (count,) = struct.unpack_from("<I", flat, start)
        yield from struct.iter_unpack(layout, flat[start + 4 : start + 4 + struct.calcsize(layout) * count])


def _root(flat: bytes) -> int:
    return int(struct.unpack_from("<I", flat)[0])


def _table(flat: bytes, table: int, field: int) -> int:
    """Return where what a field of a flatbuffer's table refers to begins; 0 if it has none."""
    vtable = table - struct.unpack_from("<i", flat, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", flat, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", flat, vtable + 4 + 2 * field)[0]
    return int(table + offset + struct.unpack_from("<I", flat, table + offset)[0]) if offset else 0
