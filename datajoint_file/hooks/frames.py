"""Data frames and Arrow tables of fetched rows, with ``file`` attributes in them.

Arrow and Polars have no place for objects: they get what the row records, as structs. pandas keeps the references, in
columns that Arrow can read all the same, which is how a frame is written to Parquet or Feather.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take
from pandas.api.indexers import check_array_indexer

from datajoint_file.errors import MetadataError
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import query_name
from datajoint_file.pipeline.stored_ref import StoredRef


def to_pandas(original: Callable[..., pd.DataFrame], query: Any, *args: Any, **options: Any) -> pd.DataFrame:
    """Let DataJoint make a frame, then put its references where Arrow finds what they record."""
    frame = original(query, *args, **options)
    for name in file_attributes(query.heading):
        if name in frame.columns:  # an empty frame has none
            frame[name] = _FileRefArray(frame[name])
    return frame


def with_structs(original: Callable[..., Any], query: Any, *args: Any, **options: Any) -> Any:
    """Let DataJoint make a table of Arrow or Polars, of rows with the metadata of files in place of references.

    Raises
    ------
    MetadataError
        If a row does not describe a file.
    """
    names = file_attributes(query.heading)
    return original(_PlainRows(query, names) if names else query, *args, **options)


class _PlainRows:
    """A query of which nothing is wanted but its rows."""

    def __init__(self, query: Any, names: Sequence[str]) -> None:
        self._query = query
        self._names = names

    def to_dicts(self, **options: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._query.to_dicts(**options)
        return [{**row, **{name: self._plain(row, name) for name in self._names}} for row in rows]

    def _plain(self, row: dict[str, Any], name: str) -> Any:
        try:
            return _plain(row[name])
        except MetadataError as error:
            key = ", ".join(f"{name}={row[name]}" for name in self._query.primary_key)
            raise error.within(f"{query_name(self._query) or 'the query'}.{name} ({key})") from error


def _plain(value: Any) -> Any:
    return value.to_dict() if isinstance(value, StoredRef) else value


class _FileRefDtype(ExtensionDtype):
    name = "object"  # a Parquet file names it, and has to be read where this package is not
    type = np.object_
    kind = "O"
    na_value = None

    @classmethod
    def construct_array_type(cls) -> Any:
        return _FileRefArray

    @classmethod
    def construct_from_string(cls, string: str) -> _FileRefDtype:
        raise TypeError(f"a column of files is not made from {string!r}")


class _FileRefArray(ExtensionArray):
    """A column of a frame: objects, as pandas has them without it, of which Arrow makes structs."""

    def __init__(self, values: Iterable[Any]) -> None:
        listed = list(values)
        self._objects = np.empty(len(listed), dtype=object)
        self._objects[:] = listed

    @classmethod
    def _from_sequence(cls, scalars: Iterable[Any], *, dtype: Any = None, copy: bool = False) -> _FileRefArray:
        return cls(scalars)

    @classmethod
    def _from_factorized(cls, values: Iterable[Any], original: _FileRefArray) -> _FileRefArray:
        return cls(values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[_FileRefArray]) -> _FileRefArray:
        return cls(value for array in to_concat for value in array._objects)

    def map(self, mapper: Any, na_action: Any = None) -> Any:
        """Map objects as pandas does: of no files it would make files again, whatever the mapper makes of them."""
        return self._cast_pointwise_result(pd.Series(self._objects, dtype=object).map(mapper, na_action=na_action))

    def _cast_pointwise_result(self, values: Any) -> Any:
        """Return what was computed from files, each by itself: files again, or whatever pandas makes of it."""
        kinds = {type(value) for value in values} - {type(None)}
        if kinds and all(issubclass(kind, StoredRef) for kind in kinds):
            return type(self)(values)
        return pd.Series(values, dtype=getattr(values, "dtype", object)).infer_objects().array

    def __arrow_array__(self, type: Any = None) -> Any:  # noqa: A002 - as Arrow calls it
        import pyarrow  # no dependency: who asks for this has it

        return pyarrow.array([_plain(value) for value in self._objects], type=type)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self._objects.astype(dtype or object, copy=copy is not False)

    @property
    def dtype(self) -> _FileRefDtype:
        return _FileRefDtype()

    @property
    def nbytes(self) -> int:
        return self._objects.nbytes

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, item: Any) -> Any:
        found = self._objects[check_array_indexer(self, item)]
        return type(self)(found) if isinstance(found, np.ndarray) else found

    def __setitem__(self, item: Any, value: Any) -> None:
        self._objects[check_array_indexer(self, item)] = value

    def __eq__(self, other: object) -> Any:
        if isinstance(other, pd.Series | pd.Index | pd.DataFrame):
            return NotImplemented
        return np.asarray(pd.Series(self._objects) == (other._objects if isinstance(other, _FileRefArray) else other))

    def isna(self) -> np.ndarray[Any, Any]:
        return np.asarray(pd.isna(self._objects))

    def copy(self) -> _FileRefArray:
        return type(self)(self._objects)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> _FileRefArray:
        return type(self)(take(self._objects, indices, allow_fill=allow_fill, fill_value=fill_value))
