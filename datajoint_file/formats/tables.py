"""Data frames of pandas as CSV, TSV, Parquet and Feather."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from datajoint_file.formats.arrow import check_feather, check_parquet, require_safe_arrow


def save_csv(frame: pd.DataFrame, path: Path, separator: str = ",") -> None:
    """Write a frame as text, without its index: only the one that pandas gives by itself comes back."""
    frame.to_csv(path, sep=separator, index=False, lineterminator="\n")


def load_csv(stream: BinaryIO, separator: str = ",") -> pd.DataFrame:
    """Read text as pandas does, each number to the last digit."""
    is_exact = tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)  # by itself
    exact: Any = {} if is_exact else {"float_precision": "round_trip"}
    frame: pd.DataFrame = pd.read_csv(stream, sep=separator, low_memory=False, **exact)
    return frame


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
