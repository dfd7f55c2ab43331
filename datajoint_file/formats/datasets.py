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

    described = _described(_Directory(files) if isinstance(files, Path) else files)
    if not _is_dataset(described):
        return zarr.open(str(files) if isinstance(files, Path) else files, mode="r")
    import xarray

    is_consolidated = ".zmetadata" in described or "consolidated_metadata" in described.get("zarr.json", {})
    return xarray.open_zarr(files, chunks=None, consolidated=is_consolidated)


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


def _described(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return what the metadata say, by the names of their files. Refuse chunks that would be unpickled."""
    described = {name: json.loads(files[name]) for name in files if name.rpartition("/")[2] in _METADATA}
    for name, metadata in described.items():
        if not name.endswith(".zattrs"):
            for node in _nodes(metadata):
                _refuse_pickles(name, [node.get(key) for key in _NAMED])
    return described


def _nodes(metadata: Any) -> Iterator[dict[str, Any]]:
    """Give the metadata of a node, and those of others that are consolidated in them."""
    if isinstance(metadata, dict):
        yield metadata
        for consolidated in (metadata, metadata.get("consolidated_metadata")):
            others = consolidated.get("metadata") if isinstance(consolidated, dict) else None
            for other in others.values() if isinstance(others, dict) else ():
                yield from _nodes(other)


def _refuse_pickles(name: str, codecs: Any) -> None:
    """Look through codecs, and codecs of codecs, for the one whose chunks are pickles."""
    if isinstance(codecs, dict):
        if any("pickle" in str(codecs.get(key)).lower() for key in ("id", "name")):
            raise UnsafeContentError(f"{brief(name)} in it says that chunks are pickles, which can run any code")
        _refuse_pickles(name, list(codecs.values()))
    elif isinstance(codecs, list):
        for codec in codecs:
            _refuse_pickles(name, codec)
    elif isinstance(codecs, str) and "pickle" in codecs.lower():
        raise UnsafeContentError(f"{brief(name)} in it names a codec of pickles, which can run any code")


def _is_dataset(described: Mapping[str, Any]) -> bool:
    """Tell whether xarray has written it: a group, all of whose arrays name their dimensions."""
    if ".zarray" in described or described.get("zarr.json", {}).get("node_type") == "array":
        return False
    top = [name for name in described if name.count("/") == 1]
    arrays = [name for name in top if name.endswith("/.zarray") or described[name].get("node_type") == "array"]
    return bool(arrays) and all(_names_dimensions(name, described) for name in arrays)


def _names_dimensions(name: str, described: Mapping[str, Any]) -> bool:
    attributes = described.get(name.replace(".zarray", ".zattrs"), {})
    names = attributes.get("_ARRAY_DIMENSIONS", described[name].get("dimension_names"))
    return names is not None or described[name].get("shape") == []
