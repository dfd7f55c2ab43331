"""Readers of Parquet and Feather: number of rows, names and types of columns, and first rows.

How large the first rows become is asked before they are decompressed.
"""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa

from datajoint_file.model.wording import counted
from datajoint_file.preview.shown import MOST_COLUMNS, Grid, Lines, Preview, cut
from datajoint_file.preview.stream import Metered, Subject

_MOST_ROWS = 10
_MOST_TYPES = 40
_MOST_UNPACKED = 64 * 2**20
_SAFE_ARROW = 16
"""Earlier versions make types that a file asks for, by unpickling them (CVE-2023-47248)."""

_TOO_LARGE = "too large for its first rows"


def parquet(stream: Metered, subject: Subject) -> Preview:
    """Show a table of Parquet."""
    _require_safe_arrow()
    from pyarrow.parquet import ParquetFile

    file = ParquetFile(stream)
    schema, metadata = file.schema_arrow, file.metadata
    facts = (f"{counted(metadata.num_rows, 'row')} of {counted(len(schema.names), 'column')}",)
    if not metadata.num_row_groups or metadata.row_group(0).total_byte_size > _MOST_UNPACKED:
        notes = (_TOO_LARGE,) if metadata.num_row_groups else ()
        return Preview(subject.name, facts, (_types(schema),), notes)
    batches = file.iter_batches(_MOST_ROWS, row_groups=[0], columns=schema.names[:MOST_COLUMNS], use_threads=False)
    return Preview(subject.name, facts, (_rows(schema, next(batches, None)),))


def feather(stream: Metered, subject: Subject) -> Preview:
    """Show a table of Feather, or another file of Arrow."""
    _require_safe_arrow()
    unpacked = _unpacked_size(stream)
    stream.seek(0)
    with pa.ipc.open_file(stream) as file:
        schema = file.schema
        facts = (counted(len(schema.names), "column"),)
        if unpacked > _MOST_UNPACKED or not file.num_record_batches:
            notes = (_TOO_LARGE,) if file.num_record_batches else ()
            return Preview(subject.name, facts, (_types(schema),), notes)
        return Preview(subject.name, facts, (_rows(schema, file.get_batch(0)),))


def _types(schema: Any) -> Lines:
    lines = tuple(f"{field.name}  {cut(str(field.type), 80)}" for field in list(schema)[:_MOST_TYPES])
    return Lines((*lines, "…") if len(schema) > _MOST_TYPES else lines)


def _rows(schema: Any, batch: Any) -> Grid:
    header = tuple(schema.names)
    if batch is None:
        return Grid(header, ())
    first = batch.slice(0, _MOST_ROWS)
    first.validate(full=True)  # Arrow believes offsets that it is given, and ends the process for some
    columns = [[_cell(value) for value in first.column(i)] for i in range(min(first.num_columns, MOST_COLUMNS))]
    return Grid(header, tuple(zip(*columns, strict=True)))


def _cell(value: Any) -> str:
    try:
        plain = value.as_py()
    except (ValueError, OverflowError, ArithmeticError):  # a moment that Python has not
        return str(value)
    return "" if plain is None else str(plain)


def _unpacked_size(stream: Metered) -> int:
    """Return how many bytes the dictionaries and the first batch of a file say that they have when decompressed.

    As the format has it ("Serialization and Interprocess Communication" of Arrow): each compressed buffer begins with
    that number, and the message's metadata, a flatbuffer, say where the buffers are.
    """
    stream.seek(8)  # behind the file's first bytes begin its messages, as in a stream
    reader, total = pa.ipc.MessageReader.open_stream(stream), 0
    for message in reader:
        total += len(message.body or b"") + sum(_unpacked_buffers(message))
        if message.type == "record batch" or total > _MOST_UNPACKED:
            break
    return total


def _unpacked_buffers(message: Any) -> list[int]:
    metadata, body = message.metadata.to_pybytes(), message.body
    header = _table(metadata, struct.unpack_from("<I", metadata)[0], 2)
    if message.type == "dictionary batch":
        header = _table(metadata, header, 1)
    buffers = _table(metadata, header, 2) if message.type != "schema" else 0
    if not buffers or not _table(metadata, header, 3):
        return []
    count = struct.unpack_from("<I", metadata, buffers)[0]
    places = struct.iter_unpack("<qq", metadata[buffers + 4 : buffers + 4 + 16 * count])
    return [struct.unpack_from("<q", body, start)[0] for start, length in places if length >= 8]


def _table(metadata: bytes, table: int, field: int) -> int:
    """Return where what a field of a flatbuffer's table refers to begins; 0 if it has none."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", metadata, vtable + 4 + 2 * field)[0]
    return int(table + offset + struct.unpack_from("<I", metadata, table + offset)[0]) if offset else 0


def _require_safe_arrow() -> None:
    if int(pa.__version__.partition(".")[0]) < _SAFE_ARROW:
        raise ImportError(f"pyarrow {pa.__version__} runs code of files", name=f"pyarrow>={_SAFE_ARROW}")
