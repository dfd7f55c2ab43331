"""The filesystem over a stored directory: zarr, xarray, Dask, pandas and others read it in place, verified."""

from __future__ import annotations

import importlib
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from zarr.storage import FsspecStore

import datajoint_file
from datajoint_file.errors import HashMismatchError, MemberNotFoundError, StorageError, VerificationError
from datajoint_file.pipeline import checked_reads, filesystem
from tests.integration.executors import write_toml
from tests.projects import Store, over_all_stores, over_local_and_s3, over_mysql, unique
from tests.tables import drop_schema, recording_of

zarr: Any = importlib.import_module("zarr")  # its types say that anything may be anything
dask: Any = importlib.import_module("dask")
write_image: Any = importlib.import_module("ome_zarr.writer").write_image
ome_zarr: Any = SimpleNamespace(
    io=importlib.import_module("ome_zarr.io"), reader=importlib.import_module("ome_zarr.reader")
)

VALUES = np.arange(6_000, dtype="int32").reshape(60, 100)


@pytest.fixture(params=[2, 3], ids=["v2", "v3"])
def array(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A Zarr of 12 chunks, of which one was never written."""
    path = tmp_path / "movie.zarr"
    made = zarr.create_array(
        path, shape=(60, 100), chunks=(10, 50), dtype="int32", zarr_format=request.param, fill_value=7
    )
    made[:50] = VALUES[:50]
    return path


def expected() -> Any:
    values = VALUES.copy()
    values[50:] = 7
    return values


@over_all_stores
def test_zarr_is_read_in_place(table: Any, array: Path) -> None:
    table.insert1({"id": 1, "raw": array})
    ref = table.fetch1("raw")
    assert np.array_equal(zarr.open(ref.fsmap, mode="r")[:], expected())
    assert np.array_equal(
        zarr.open(FsspecStore.from_mapper(ref.fsmap, read_only=True), mode="r")[5:15, 3], expected()[5:15, 3]
    )


@over_all_stores
def test_libraries_read_what_is_stored_in_place(table: Any, tmp_path: Path) -> None:
    """An OME-Zarr image, an NWB file in Zarr's second format, a data set of xarray, a partitioned Parquet table."""
    image = np.arange(2 * 32 * 32, dtype="uint16").reshape(2, 32, 32)
    write_image(image, zarr.open_group(tmp_path / "image.ome.zarr", mode="w"), axes="cyx")
    nwb = zarr.open_group(tmp_path / "session.nwb.zarr", mode="w", zarr_format=2)
    nwb.attrs.update({"namespace": "core", "neurodata_type": "NWBFile", "nwb_version": "2.9.0"})
    series = nwb.create_array("acquisition/ElectricalSeries/data", shape=VALUES.shape, chunks=(10, 50), dtype="int32")
    series[:] = VALUES
    series.attrs["zarr_dtype"] = "int32"
    dataset = xr.Dataset({"movie": (("time", "pixel"), VALUES)})
    dataset.to_zarr(tmp_path / "data.zarr", consolidated=False)
    frame = pd.DataFrame({"year": [2020, 2020, 2021], "spikes": [1, 2, 3]})
    frame.to_parquet(tmp_path / "spikes", partition_cols=["year"])
    names = ("image.ome.zarr", "session.nwb.zarr", "data.zarr", "spikes")
    table.insert([{"id": id_, "raw": tmp_path / name} for id_, name in enumerate(names)])
    image_ref, nwb_ref, data_ref, spikes_ref = table.to_arrays("raw", order_by="id")
    location = ome_zarr.io.ZarrLocation(FsspecStore.from_mapper(image_ref.fsmap, read_only=True))
    (node,) = ome_zarr.reader.Reader(location)()
    assert np.array_equal(node.data[0].compute(), image)
    read = zarr.open_group(nwb_ref.fsmap, mode="r")
    assert read.attrs["neurodata_type"] == "NWBFile"
    assert np.array_equal(read["acquisition/ElectricalSeries/data"][:], VALUES)
    assert xr.open_zarr(data_ref.fsmap, consolidated=False).equals(dataset)
    assert pd.read_parquet("", filesystem=spikes_ref.fs)["spikes"].tolist() == [1, 2, 3]
    assert pd.read_parquet("year=2021", filesystem=spikes_ref.fs)["spikes"].tolist() == [3]


@over_local_and_s3
@over_mysql
def test_chunk_that_the_store_has_lost_or_changed_is_an_error_and_not_numbers(
    table: Any, array: Path, store: Store
) -> None:
    table.insert1({"id": 1, "raw": array})
    ref = table.fetch1("raw")
    chunk = next(file for file in ref.files() if file.path.endswith(("/c/0/0", "/0.0")))
    content = store.content(chunk.path)
    store.damage(chunk.path, content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(VerificationError):
        zarr.open(ref.fsmap, mode="r")[:]
    store.remove(chunk.path)
    with pytest.raises(StorageError, match="it is one of the files that were inserted") as caught:
        zarr.open(ref.fsmap, mode="r")[:]
    assert not isinstance(caught.value, FileNotFoundError)
    assert np.array_equal(zarr.open(ref.fsmap, mode="r")[10:], expected()[10:])


@over_mysql
def test_xarray_and_dask_read_in_threads_and_processes(instance: dj.Instance, store: Store, tmp_path: Path) -> None:
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    table = recording_of(instance.Schema(unique("schema")))
    path = tmp_path / "movie.zarr"
    dataset = xr.Dataset({"movie": (("time", "pixel"), VALUES)}, {"time": np.arange(60)})
    dataset.chunk({"time": 10}).to_zarr(path, consolidated=False)
    table.insert1({"id": 1, "raw": path})
    opened = xr.open_zarr(table.fetch1("raw").fsmap, chunks={}, consolidated=False)
    assert opened.equals(dataset)
    for scheduler in ("threads", "processes"):
        with dask.config.set(scheduler=scheduler, num_workers=2):
            assert int(opened.movie.sum().compute()) == int(VALUES.sum())
    drop_schema(instance.connection, table.database)


@over_mysql
def test_filesystem_does_what_fsspec_promises(table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (filesystem, checked_reads):
        monkeypatch.setattr(module, "VERIFIED_BYTES", 1_000)
    root = tmp_path / "run"
    (root / "a" / "b").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a" / "b" / "small ö.bin").write_bytes(bytes(range(200)))
    (root / "large.bin").write_bytes(bytes(range(256)) * 10)
    table.insert1({"id": 1, "raw": root})
    fs: Any = table.fetch1("raw").fs
    assert fs.ls("", detail=False) == ["a", "empty", "large.bin"]
    assert fs.find("") == ["a/b/small ö.bin", "large.bin"]
    assert fs.glob("**/*.bin") == ["a/b/small ö.bin", "large.bin"]
    assert (fs.isdir("a"), fs.isfile("a"), fs.exists("b"), fs.size("large.bin")) == (True, False, False, 2560)
    for path, content in {"a/b/small ö.bin": bytes(range(200)), "large.bin": bytes(range(256)) * 10}.items():
        for start, end in ((None, None), (5, 10), (-7, None), (190, 10_000), (10, 5), (3, -3)):
            assert fs.cat_file(path, start, end) == content[start:end]
        with fs.open(path) as file:
            file.seek(100)
            assert file.read(5) == content[100:105]
    fs.get("", str(tmp_path / "copy") + "/", recursive=True)
    assert (tmp_path / "copy" / "a" / "b" / "small ö.bin").read_bytes() == bytes(range(200))
    for path in ("nothing", "a/nothing", "a/../large.bin", "large.bin/x"):
        with pytest.raises(MemberNotFoundError):
            fs.cat_file(path)
    filesystem_type: Any = type(fs)
    again = filesystem_type.from_json(fs.to_json())
    assert again.cat_file("large.bin", 0, 3) == b"\x00\x01\x02"
    assert pickle.loads(pickle.dumps(fs)).cat_file("large.bin", 0, 3) == b"\x00\x01\x02"
    assert json.loads(fs.to_json())["args"][1] == table.fetch1("raw").pipeline
    assert dask.base.tokenize(fs) == dask.base.tokenize(again)
    writes: list[Any] = [
        lambda: fs.pipe_file("x", b""), lambda: fs.rm("large.bin"), lambda: fs.mkdir("x"), lambda: fs.touch("x"),
        lambda: fs.open("x", "wb"), lambda: fs.put_file(root / "large.bin", "x"), lambda: fs.cp_file("large.bin", "x"),
        lambda: fs.mv("large.bin", "x"), lambda: fs.rm("", recursive=True),
    ]  # fmt: skip
    for write in writes:
        with pytest.raises(OSError, match="never changed"):
            write()
    with pytest.raises(OSError, match="never changed"):
        table.fetch1("raw").fsmap["x"] = b""


@over_mysql
def test_range_of_a_small_member_is_verified(table: Any, store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_bytes(b"0123456789-range")
    table.insert1({"id": 1, "raw": tmp_path / "run"})
    ref = table.fetch1("raw")
    store.damage(f"{ref.path}x", b"0123456789-RANGE")
    with pytest.raises(HashMismatchError):
        ref.fs.cat_file("x", 0, 3)
    with pytest.raises(HashMismatchError):
        ref.fs.open("x")


@over_mysql
def test_groups_in_groups_are_walked(table: Any, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "plate.zarr", mode="w")
    for row in "AB":
        for column in "12":
            group.create_array(f"{row}/{column}/image", shape=(4, 4), chunks=(2, 2), dtype="uint8")[:] = 1
    table.insert1({"id": 1, "raw": tmp_path / "plate.zarr"})
    read = zarr.open_group(table.fetch1("raw").fsmap, mode="r")
    assert sorted(read.keys()) == ["A", "B"]
    assert sorted(read["A"].keys()) == ["1", "2"]
    assert sorted(read["A/1"].keys()) == ["image"]
    assert read["B/2/image"][:].sum() == 16
    part = table.fetch1("raw") / "B"
    assert zarr.open_group(part.fsmap, mode="r")["2/image"][:].sum() == 16
    assert part.fs.ls("2", detail=False) == ["2/image", "2/zarr.json"]
    assert part.fs.find("") == [path.removeprefix("B/") for path in table.fetch1("raw").fs.find("B")]
    assert pickle.loads(pickle.dumps(part.fs)).size("2/zarr.json") == part.fs.size("2/zarr.json")
