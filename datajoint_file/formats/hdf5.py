"""HDF5, and formats made of it: NWB and H5AD. A file that reaches for other files is not opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from datajoint_file.errors import FormatError, UnsafeContentError, brief
from datajoint_file.formats.limits import check_growth


def load_h5(path: Path) -> Any:
    """Open a file for reading. Whoever asked closes it."""
    check_self_contained(path)
    return h5py.File(path, "r")


def save_nwb(content: Any, path: Path) -> None:
    """Write a file of Neurodata Without Borders, whose parts must not be links to other files."""
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "w") as io:
        io.write(content)
    check_self_contained(path)


def load_nwb(path: Path) -> Any:
    """Open a file for reading; its arrays are read when they are used. ``nwb.get_read_io().close()`` closes it."""
    check_self_contained(path)
    from pynwb import NWBHDF5IO

    return NWBHDF5IO(str(path), "r").read()


def save_h5ad(data: Any, path: Path) -> None:
    """Write annotated data."""
    data.copy().write_h5ad(path)  # writing changes texts to categories, in place


def load_h5ad(path: Path) -> Any:
    """Read annotated data, all of it."""
    check_growth(check_self_contained(path), path.stat().st_size)
    import anndata

    return anndata.read_h5ad(path)


def check_self_contained(file: Any) -> int:
    """Raise if a file of HDF5, by path or open, takes anything from other files. Return the size of what is in it.

    Raises
    ------
    UnsafeContentError
        If it has external links, data in other files, or virtual datasets of other files.
    """
    with h5py.File(file, "r") as opened:
        return sum(_size_of(item) for item in _items(opened))


def _items(root: Any) -> Iterator[Any]:
    """Give all datasets, each once; links are looked at before they are followed."""
    waiting, seen = [root], {address(root)}
    while waiting:
        group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):
                continue  # within the file: what it leads to is met there
            if not isinstance(link, h5py.HardLink):
                raise UnsafeContentError(f"{brief(name)} in it is a link to another file")
            item = group[name]
            if (place := address(item)) in seen:
                continue
            seen.add(place)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                yield item


def address(item: Any) -> int:
    """Return where in its file an object is, which is the same under all its names."""
    return int(h5py.h5o.get_info(item.id).addr)


def elsewhere(dataset: Any) -> str:
    """Say in which other files the data of a dataset are; nothing (``""``), if in none. Opens none of them."""
    made = dataset.id.get_create_plist()
    if made.get_external_count():
        return "has its data in another file"
    is_virtual = made.get_layout() == h5py.h5d.VIRTUAL
    if is_virtual and any(made.get_virtual_filename(i) != "." for i in range(made.get_virtual_count())):
        return "is made of other files"
    return ""


def _size_of(dataset: Any) -> int:
    if where := elsewhere(dataset):
        raise UnsafeContentError(f"{brief(dataset.name)} in it {where}")
    try:
        return int(dataset.nbytes)
    except TypeError as error:  # without a shape
        if dataset.shape is None:
            return 0
        raise FormatError(f"the size of {brief(dataset.name)} is not known") from error
