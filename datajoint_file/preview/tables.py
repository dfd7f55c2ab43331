"""Readers of Parquet and Feather: number of rows, names and types of columns, and first rows.

How large the first rows become is asked before they are decompressed.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from datajoint_file.formats.arrow import require_safe_arrow, unpacked_sizes
from datajoint_file.model.wording import counted
from datajoint_file.preview.shown import MOST_COLUMNS, Grid, Lines, Preview, cut
from datajoint_file.preview.stream import Metered, Subject

_MOST_ROWS = 10
_MOST_TYPES = 40
_MOST_UNPACKED = 64 * 2**20
_TOO_LARGE = "too large for its first rows"


def parquet(stream: Metered, subject: Subject) -> Preview:
    """Show a table of Parquet."""
    require_safe_arrow()
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
    require_safe_arrow()
    unpacked = 0
    for kind, size in unpacked_sizes(stream):  # dictionaries, which all batches need, come first
        unpacked += size
        if kind == "record batch" or unpacked > _MOST_UNPACKED:
            break
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
