"""HDF5, and formats made of it: NWB and H5AD. A file that reaches for other files is not opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from datajoint_file.formats.hdf5_objects import check_loadable, check_self_contained
from datajoint_file.formats.sparse import check_sparse


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
    check_loadable(path, path.stat().st_size)
    import anndata

    loaded = anndata.read_h5ad(path)
    parts = (getattr(loaded, name) for name in ("X", "layers", "obsm", "varm", "obsp", "varp", "uns"))
    check_sparse(_plain(part) for part in (*parts, loaded.raw and loaded.raw.X, loaded.raw and loaded.raw.varm))
    return loaded


def _plain(part: Any) -> Any:
    return dict(part) if isinstance(part, Mapping) else part
