"""Open files in other processes: opened again there, at their position, through the configuration there."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import cloudpickle
import datajoint as dj
import h5py
import numpy as np
import pytest
import xarray
from distributed import Client, LocalCluster

import datajoint_file
from datajoint_file.pipeline.fileref import FileRef
from tests.integration.executors import write_toml
from tests.projects import Store, connect, over_local_and_s3, unique

CONTENT = os.urandom(300_000)
TRACES = np.arange(100_000)


@pytest.fixture
def refs(postgresql: Any, store: Store, tmp_path: Path) -> Iterator[list[FileRef]]:
    """Some bytes, and a file of HDF5."""
    instance = connect(postgresql)
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    schema = instance.Schema(unique("schema"))

    @schema
    class Recording(dj.Manual):
        definition = "session : int32\n---\nraw : file"

    with h5py.File(tmp_path / "traces.h5", "w") as h5:
        h5["traces"] = TRACES
    Recording.insert1({"session": 1, "raw": ("x.dat", CONTENT)})
    Recording.insert1({"session": 2, "raw": tmp_path / "traces.h5"})
    yield list(Recording.to_arrays("raw", order_by="session"))
    schema.drop(prompt=False)
    instance.connection.close()


@pytest.fixture
def dask() -> Iterator[Any]:
    """One process of Dask's."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:  # type: ignore[no-untyped-call]
        with Client(cluster) as client:  # type: ignore[no-untyped-call]
            yield client


def read_rest(file: BinaryIO) -> bytes:
    with file:
        return file.read()


def read_slice(file: Any) -> Any:
    with file, h5py.File(file, "r") as h5:
        return h5["traces"][500:600]


@over_local_and_s3
def test_open_files_go_to_spawned_processes(refs: list[FileRef]) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with refs[0].open(block_size=2**16) as file, refs[1].open() as h5:
            assert file.read(1000) == CONTENT[:1000]
            assert pool.submit(read_rest, file).result() == CONTENT[1000:]
            assert (pool.submit(read_slice, h5).result() == TRACES[500:600]).all()
            assert file.read() == CONTENT[1000:]


@over_local_and_s3
def test_processes_of_dask_read_what_xarray_has_opened_lazily(refs: list[FileRef], dask: Any) -> None:
    with refs[1].open() as file, xarray.open_dataset(file, engine="h5netcdf", phony_dims="sort", chunks={}) as lazy:
        assert int(lazy["traces"][500:600].sum().compute(scheduler=dask)) == TRACES[500:600].sum()


@over_local_and_s3
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda file: pickle.loads(cloudpickle.dumps(file))])
def test_a_copy_is_a_file_of_its_own(refs: list[FileRef], copied: Any) -> None:
    with refs[0].open() as file:
        file.seek(10)
        with copied(file) as other:
            assert (file.tell(), other.tell()) == (10, 10)
            file.close()
            assert other.read() == CONTENT[10:]


@over_local_and_s3
def test_a_pickled_file_holds_no_secret_and_little_else(refs: list[FileRef], store: Store) -> None:
    with refs[0].open() as file:
        file.read(100)
        parcel = pickle.dumps(file)
    assert len(parcel) < 1000
    assert not [value for value in store.table.get("credentials", {}).values() if value.encode() in parcel]


def test_a_process_without_the_pipeline_says_what_to_do(refs: list[FileRef], tmp_path: Path) -> None:
    with refs[0].open() as file:
        (tmp_path / "parcel").write_bytes(pickle.dumps(file))
    (tmp_path / "datajoint.toml").unlink()
    program = "import pathlib, pickle; pickle.loads(pathlib.Path('parcel').read_bytes())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "ConfigurationNotFoundError" in result.stderr
    assert "set DATAJOINT_TOML, or call datajoint_file.configure" in result.stderr


def test_a_closed_file_is_not_pickled(refs: list[FileRef]) -> None:
    file = refs[0].open()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(file)
