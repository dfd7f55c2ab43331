"""Row parsing of an insert: mapping, NumPy record, sequence, data frame, CSV.

They are read here exactly as DataJoint reads them, only earlier: before anything is stored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datajoint.errors import DataJointError


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by attribute.

    Parameters
    ----------
    index : int
        Where it stands in the insert, from 0.
    values : dict
        What the user gave, by attribute.
    is_positional : bool
        Whether it was given as a sequence, which DataJoint wants back as one (it warns of it).
    """

    index: int
    values: dict[str, Any]
    is_positional: bool = False

    def with_values(self, values: Mapping[str, Any]) -> Any:
        """Return the row for DataJoint, some of its values replaced."""
        merged = {**self.values, **values}
        return list(merged.values()) if self.is_positional else merged


def read_rows(heading: Any, rows: Iterable[Any]) -> list[Row]:
    """Read the rows of an insert. An iterator is used up.

    Raises
    ------
    DataJointError
        If something is no row, or a sequence is not as long as the heading.
    """
    return [_read_row(heading, index, row) for index, row in enumerate(rows)]


def as_records(rows: Any) -> Any:
    """Return a data frame or the path of a CSV file as rows, as DataJoint's ``validate`` does; other rows unchanged."""
    if isinstance(rows, pd.DataFrame):
        single_unnamed = len(rows.index.names) == 1 and not rows.index.names[0]
        return rows.reset_index(drop=single_unnamed).to_records(index=False)
    if isinstance(rows, Path):
        with rows.open(newline="") as file:
            return list(csv.DictReader(file))
    return rows


def check_fields(heading: Any, rows: list[Row], *, ignore_extra_fields: bool) -> None:
    """Raise what DataJoint would raise for unknown or differing attributes, before anything is stored."""
    if not rows:
        return
    unknown = [name for name in rows[0].values if name not in heading]
    if unknown and not ignore_extra_fields:
        raise KeyError(f"`{unknown[0]}` is not in the table heading")
    expected = set(rows[0].values).intersection(heading.names)
    if any(expected != set(row.values).intersection(heading.names) for row in rows):
        raise DataJointError("Attempt to insert rows with different fields.")


def _read_row(heading: Any, index: int, row: Any) -> Row:
    if isinstance(row, np.void):
        return Row(index, {name: row[name] for name in row.dtype.names or ()})
    if isinstance(row, Mapping):
        return Row(index, dict(row))
    try:
        count = len(row)
    except TypeError as error:
        raise DataJointError(f"Datatype {type(row)} cannot be inserted") from error
    if count != len(heading):
        raise DataJointError(
            f"Invalid insert argument. Incorrect number of attributes: {count} given; {len(heading)} expected"
        )
    return Row(index, dict(zip(heading.names, row, strict=True)), is_positional=True)
