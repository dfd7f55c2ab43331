"""Datasets of xarray as netCDF files and as directories of Zarr, and arrays of Zarr."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datajoint_file.formats import limits
from datajoint_file.formats.limits import check_growth
from datajoint_file.formats.netcdf3 import check_netcdf3
from datajoint_file.formats.zarr_metadata import metadata_of


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
        check_netcdf3(stream)
        stream.seek(0)
        return xarray.load_dataset(stream, engine="scipy")
    from datajoint_file.formats.hdf5_objects import check_loadable

    size = stream.seek(0, 2)
    stream.seek(0)
    check_loadable(stream, size)
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

    content = _Directory(files) if isinstance(files, Path) else files
    store = str(files) if isinstance(files, Path) else files
    described = metadata_of(content)
    if not _is_dataset(described):
        return zarr.open(store, mode="r")
    import xarray

    is_consolidated = ".zmetadata" in described or bool(described.get("zarr.json", {}).get("consolidated_metadata"))
    _check_coordinates((zarr.open_consolidated if is_consolidated else zarr.open_group)(store, mode="r"), content)
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


def _check_coordinates(group: Any, files: Mapping[str, bytes]) -> None:
    """Raise if the indexes, which xarray reads at once, say that they are much larger than what there is of them."""
    indexes = {name: array.nbytes for name, array in group.arrays() if name in _dimensions(array)}
    claimed = sum(map(int, indexes.values()))
    if claimed > limits.ALWAYS:
        check_growth(claimed, sum(len(files[name]) for name in files if name.partition("/")[0] in indexes))


def _dimensions(array: Any) -> Any:
    return array.attrs.get("_ARRAY_DIMENSIONS") or getattr(array.metadata, "dimension_names", None) or ()


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
