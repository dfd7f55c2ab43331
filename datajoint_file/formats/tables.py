"""Data frames of pandas as CSV, TSV, Parquet and Feather."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

from datajoint_file.errors import FormatError
from datajoint_file.formats.limits import check_growth


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
    _require_safe_arrow()
    frame.to_parquet(path, engine="pyarrow")


def load_parquet(stream: BinaryIO) -> pd.DataFrame:
    """Read a frame. What the file says of it is JSON; no type of its own is made for it."""
    _require_safe_arrow()
    from pyarrow import parquet

    metadata = parquet.ParquetFile(stream).metadata
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    check_growth(max(sum(group.total_byte_size for group in groups), _cells(metadata)), _size(stream))
    stream.seek(0)
    return pd.read_parquet(stream, engine="pyarrow")


def save_feather(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame without an index of its own."""
    _require_safe_arrow()
    frame.to_feather(path)


def load_feather(stream: BinaryIO) -> pd.DataFrame:
    """Read a frame."""
    _require_safe_arrow()
    import pyarrow as pa

    beginning = stream.read(6)
    if beginning == b"ARROW1":
        with pa.ipc.open_file(stream) as file:
            size, unpacked = _size(stream), 0
            for i in range(file.num_record_batches):
                batch = file.get_batch(i)
                unpacked += batch.nbytes
                check_growth(unpacked, size)
                batch.validate(full=True)  # pandas believes what it says of its parts, and ends the process for some
    stream.seek(0)
    return pd.read_feather(stream)


def _cells(metadata: Any) -> int:
    return int(metadata.num_rows * metadata.num_columns)


def _size(stream: BinaryIO) -> int:
    stream.seek(0, 2)
    return stream.tell()


def _require_safe_arrow() -> None:
    """Refuse versions that make any type a file asks for, by unpickling it (CVE-2023-47248)."""
    import pyarrow as pa

    if int(pa.__version__.partition(".")[0]) < 16:
        raise FormatError(f"pyarrow {pa.__version__} runs code of files: pip install 'pyarrow>=16'")
