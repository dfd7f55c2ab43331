"""Description of rows beside their objects: which of the values that an insert was given the store keeps.

Only plain ones: what a codec or a database makes of others is not known here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.row_listing import key_to_json
from datajoint_file.hooks.tables import Row
from datajoint_file.model.key_values import is_missing
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell, is_made_for, key_digest
from datajoint_file.model.sidecar import Sidecar
from datajoint_file.pipeline.mirroring import in_mirror
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.sidecars import write_sidecars

_PLAIN = (bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, uuid.UUID)

_LONGEST = 2**16
"""Characters or bytes of a value that is kept."""


def describe_rows(
    pipeline: Pipeline, table: Any, rows: Iterable[Row], files: Mapping[Cell, tuple[int, FileMetadata]]
) -> None:
    """Have the store keep what is known of rows, beside those of their *files* whose objects are theirs alone.

    *files* has, for each cell, the index of its row. Nobody else's object is described: links, and what is shared.

    Raises
    ------
    StorageError
        If the store fails, or its mirror, if both are to have all.
    """
    attributes, by_index = set(file_attributes(table.heading)), {row.index: row for row in rows}
    own = {cell: found for cell, found in files.items() if _is_own(pipeline, cell, found[1])}
    told = {index: _told(table, by_index[index], attributes) for index, _ in own.values()}
    sidecars = [
        Sidecar(table.database, table.table_name, cell.attribute, told[index][0], file, *told[index][1:])
        for cell, (index, file) in own.items()
    ]
    write_sidecars(pipeline, sidecars)
    if sidecars:
        in_mirror(pipeline, lambda second: write_sidecars(second, sidecars))


def _is_own(pipeline: Pipeline, cell: Cell, file: FileMetadata) -> bool:
    return not file.is_link and is_made_for(file.path, pipeline.project, key_digest(cell.key))


def _told(table: Any, row: Row, attributes: set[str]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return the key of a row, its other plain values, and the names of what is neither."""
    key, values, left_out = dict[str, Any](), dict[str, Any](), []
    for name in table.heading.names:
        value = row.values.get(name)
        value = None if is_missing(value) else value.item() if isinstance(value, np.generic) else value
        if name not in row.values or (name in attributes and value is not None):
            continue
        is_plain = value is None or (isinstance(value, _PLAIN) and table.heading[name].codec is None)
        if name in table.primary_key:
            (key[name],) = key_to_json((value,))
        elif is_plain and not (isinstance(value, str | bytes) and len(value) > _LONGEST):
            (values[name],) = key_to_json((value,))
        else:
            left_out.append(name)
    return key, values, left_out
