"""Datasets of xarray as netCDF files and as directories of Zarr, and arrays of Zarr."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datajoint_file.errors import UnsafeContentError, brief
from datajoint_file.formats.limits import check_growth


def save_nc(dataset: Any, path: Path) -> None:
    """Write a dataset as netCDF 4."""
    import h5netcdf  # noqa: F401 - it is missing more clearly here than in xarray

    dataset.to_netcdf(path, engine="h5netcdf")


def load_nc(stream: BinaryIO) -> Any:
    """Read a dataset, all of it: netCDF 3 or 4."""
    import xarray

    beginning = stream.read(3)
    stream.seek(0)
    if beginning == b"CDF":
        return xarray.load_dataset(stream, engine="scipy")
    from datajoint_file.formats.hdf5 import check_self_contained

    unpacked = check_self_contained(stream)
    stream.seek(0, 2)
    check_growth(unpacked, stream.tell())
    stream.seek(0)
    return xarray.load_dataset(stream, engine="h5netcdf")


def save_zarr(given: Any, path: Path) -> None:
    """Write a dataset, or an array, as a directory."""
    zarr: Any = import_module("zarr")
    version: Any = {"zarr_format": 2}  # of which everything that is needed here is specified, text for instance
    if isinstance(given, np.ndarray):
        zarr.save_array(str(path), given, **({} if zarr.__version__.startswith("2.") else version))
    else:
        given.to_zarr(path, mode="w-", consolidated=True, **version)


def load_zarr(files: Any) -> Any:
    """Open a Zarr, whose chunks are read when they are used: what xarray has written as a dataset, else as Zarr's own.

    *files* is its directory, or a mapping of paths in it to bytes.
    """
    import zarr

    if not _check(_Directory(files) if isinstance(files, Path) else files):
        return zarr.open(str(files) if isinstance(files, Path) else files, mode="r")
    import xarray

    return xarray.open_zarr(files, chunks=None, consolidated=None)


class _Directory(Mapping[str, bytes]):
    """The files of a directory of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getitem__(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def __iter__(self) -> Iterator[str]:
        return (path.relative_to(self._path).as_posix() for path in self._path.rglob("*") if path.is_file())

    def __len__(self) -> int:
        return sum(1 for _ in self)


_METADATA = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json")

_NAMED = ("codecs", "compressor", "compressors", "filters", "serializer")
"""Where metadata name what unpacks chunks."""


def _check(files: Mapping[str, bytes]) -> bool:
    """Refuse chunks that would be unpickled, and tell whether it is a dataset: its arrays name their dimensions."""
    described: dict[str, Any] = {}
    for name in files:
        if name.rpartition("/")[2] in _METADATA:
            described[name] = json.loads(files[name])
            if not name.endswith(".zattrs"):
                _refuse_pickles(name, described[name])
    top = [name for name in described if name.count("/") == 1]
    arrays = [
        name for name in top if name.endswith("/.zarray") or described[name].get("node_type") == "array"
    ]  # fmt: skip
    if ".zarray" in described or described.get("zarr.json", {}).get("node_type") == "array" or not arrays:
        return False
    return all(_names_dimensions(name, described) for name in arrays)


def _names_dimensions(name: str, described: Mapping[str, Any]) -> bool:
    attributes = described.get(name.replace(".zarray", ".zattrs"), {})
    return "_ARRAY_DIMENSIONS" in attributes or described[name].get("dimension_names") is not None or (
        described[name].get("shape") == []
    )  # fmt: skip


def _refuse_pickles(name: str, described: Any, is_codec: bool = False) -> None:
    """Look through metadata for codecs whose chunks are pickles, also in codecs of codecs."""
    if isinstance(described, dict):
        called = str(described.get("id", "")), str(described.get("name", ""))
        if is_codec and any("pickle" in text.lower() for text in called):
            raise UnsafeContentError(f"{brief(name)} in it says that chunks are pickles, which can run any code")
        for key, value in described.items():
            if key != "attributes" and not key.endswith(".zattrs"):
                _refuse_pickles(name, value, is_codec or key in _NAMED)
    elif isinstance(described, list):
        for value in described:
            _refuse_pickles(name, value, is_codec)
