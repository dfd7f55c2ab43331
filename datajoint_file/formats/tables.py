"""Data frames of pandas as CSV, TSV, Parquet and Feather."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from datajoint_file.formats.arrow import check_feather, check_parquet, require_safe_arrow
from datajoint_file.formats.limits import check_growth


def save_csv(frame: pd.DataFrame, path: Path, separator: str = ",") -> None:
    """Write a frame as text, without its index: only the one that pandas gives by itself comes back."""
    frame.to_csv(path, sep=separator, index=False, lineterminator="\n")


def load_csv(stream: BinaryIO, separator: str = ",") -> pd.DataFrame:
    """Read text as pandas does, each number to the last digit."""
    _check_cells(stream, separator)
    is_exact = tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)  # by itself
    exact: Any = {} if is_exact else {"float_precision": "round_trip"}
    frame: pd.DataFrame = pd.read_csv(stream, sep=separator, low_memory=False, **exact)
    return frame


_CELL = 24
"""Bytes of a cell while pandas reads it: where its text begins, the text, and the value or where that is."""

_COLUMN = 1024
"""Bytes of a column without rows."""

_PIECE = 2**18


def _check_cells(stream: BinaryIO, separator: str) -> None:
    """Raise if a table has many more cells than letters: pandas fills up rows that end early."""
    stored, rows, columns = stream.seek(0, 2), 1, 0
    stream.seek(0)
    while piece := stream.read(_PIECE):
        ends = piece.count(b"\n") + piece.count(b"\r") - piece.count(b"\r\n")
        columns = 0 if ends else columns + piece.count(separator.encode())  # of a line that has no end so far
        check_growth(_COLUMN * columns, stored)
        rows += ends
    stream.seek(0)
    head = pd.read_csv(stream, sep=separator, nrows=1)
    check_growth(_CELL * rows * (head.shape[1] + head.index.nlevels), stored)
    stream.seek(0)


def save_tsv(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as text, with tabs."""
    save_csv(frame, path, "\t")


def load_tsv(stream: BinaryIO) -> pd.DataFrame:
    """Read text with tabs."""
    return load_csv(stream, "\t")


def save_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame with its index and ``attrs``."""
    require_safe_arrow()
    frame.to_parquet(path, engine="pyarrow")


def load_parquet(stream: BinaryIO) -> pd.DataFrame:
    """Read a frame. What the file says of it is JSON; no type of its own is made for it."""
    check_parquet(stream)
    stream.seek(0)
    return pd.read_parquet(stream, engine="pyarrow")


def save_feather(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame without an index of its own."""
    require_safe_arrow()
    frame.to_feather(path)


def load_feather(stream: BinaryIO) -> pd.DataFrame:
    """Read a frame."""
    check_feather(stream)
    stream.seek(0)
    return pd.read_feather(stream)
