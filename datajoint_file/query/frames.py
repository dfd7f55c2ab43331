"""Data frames and Arrow tables of the files of a query: a row for each, with the right type for each column.

pandas and pyarrow are imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from datajoint_file.errors import MissingLibraryError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.wording import pip_install

if TYPE_CHECKING:
    import pandas
    import pyarrow

Described = tuple[dict[str, Any], str, FileMetadata | None]
"""The primary key of a row, an attribute, and what is recorded of its file; nothing, if that describes none."""

_COLUMNS: dict[str, tuple[str, Callable[[FileMetadata], Any]]] = {
    "name": ("string", lambda metadata: metadata.original_name),
    "size": ("Int64", lambda metadata: metadata.size),
    "hash": ("string", lambda metadata: metadata.hash),
    "media_type": ("string", lambda metadata: metadata.mime_type),
    "stored": ("datetime64[ns, UTC]", lambda metadata: metadata.timestamp),
    "files": ("Int64", lambda metadata: metadata.files),
    "title": ("string", lambda metadata: metadata.title),
    "linked": ("boolean", lambda metadata: bool(metadata.linked)),
    "path": ("string", lambda metadata: metadata.path),
}
"""What is told of a file: the type of pandas, and what it is."""

_KEY_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "Int64"),
    (str, "string"),
    (float, "float64"),
    (datetime, "datetime64[ns]"),
    (date, "datetime64[ns]"),
)


def data_frame(primary_key: tuple[str, ...], files: Iterable[Described]) -> pandas.DataFrame:
    """Return a frame with a row for each file: key, attribute, and what is recorded of it."""
    import pandas as pd

    columns = _columns(primary_key, files)
    types = {_beside(primary_key, name): kind for name, (kind, _) in _COLUMNS.items()}
    types[_beside(primary_key, "attribute")] = "string"
    series = {}
    for name, values in columns.items():
        if name in primary_key:
            series[name] = _key_series(values)
        elif name == _beside(primary_key, "stored"):
            moments = pd.to_datetime(pd.Series(values, dtype=object), utc=True, errors="coerce")
            series[name] = moments.dt.as_unit("ns")  # what nanoseconds do not reach is missing
        else:
            series[name] = pd.Series(values, dtype=types[name])
    return pd.DataFrame(series)


def arrow_table(primary_key: tuple[str, ...], files: Iterable[Described]) -> pyarrow.Table:
    """Return the same as a table of Arrow.

    Raises
    ------
    MissingLibraryError
        If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingLibraryError(f"tables of Arrow need pyarrow: {pip_install('arrow')} ({error})") from error
    kinds = {"Int64": pa.int64(), "boolean": pa.bool_(), "datetime64[ns, UTC]": pa.timestamp("us", tz="UTC")}
    types = {_beside(primary_key, name): kinds.get(kind, pa.string()) for name, (kind, _) in _COLUMNS.items()}
    types[_beside(primary_key, "attribute")] = pa.string()
    return pa.table(
        {
            name: _key_array(values) if name in primary_key else pa.array(values, types[name])
            for name, values in _columns(primary_key, files).items()
        }
    )


def _columns(primary_key: tuple[str, ...], files: Iterable[Described]) -> dict[str, list[Any]]:
    """Return the values of each column; those of files under their names here."""
    keys: dict[str, list[Any]] = {name: [] for name in primary_key}
    attributes: list[str] = []
    described: list[FileMetadata | None] = []
    for key, attribute, metadata in files:
        for name, values in keys.items():
            values.append(key[name])
        attributes.append(attribute)
        described.append(metadata)
    told = {
        _beside(primary_key, name): [None if one is None else of(one) for one in described]
        for name, (_, of) in _COLUMNS.items()
    }
    return {**keys, _beside(primary_key, "attribute"): attributes, **told}


def _beside(primary_key: tuple[str, ...], name: str) -> str:
    """Return the name of a file's column beside those of the key."""
    return f"file_{name}" if name in primary_key else name


def _key_series(values: list[Any]) -> pandas.Series[Any]:
    """Return a column of a key; values that no type of pandas can hold stay as they are."""
    import pandas as pd

    kinds = {type(value) for value in values}
    found = [dtype for kind, dtype in _KEY_TYPES if kinds and all(issubclass(one, kind) for one in kinds)]
    try:
        return pd.Series(values, dtype=found[0] if found else object)
    except (ValueError, OverflowError, TypeError):
        return pd.Series(values, dtype=object)


def _key_array(values: list[Any]) -> Any:
    """Return a column of a key; one of values that Arrow has no type for (a UUID) as text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, TypeError, OverflowError):
        return pa.array(list(map(str, values)), pa.string())
