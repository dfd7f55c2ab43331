"""What is stored as an object comes back as it was, or is refused: types, dtypes, order, indexes, attributes."""

from __future__ import annotations

import datetime
import io
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io.wavfile
import soundfile
import tifffile
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from datajoint_file.errors import FormatError, UnsupportedValueError
from datajoint_file.formats.objects import IN_MEMORY, ObjectFiles
from datajoint_file.formats.sameness import differs
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.sources import File
from tests.unit.formats.conftest import Keep

FRAME = pd.DataFrame(
    {
        "unit": np.array([3, 1, 2], dtype="int16"),
        "rate": [0.1, float("nan"), 1e-300],
        "area": ["CA1", None, "CA3"],
        "kind": pd.Categorical(["b", "a", "b"], categories=["b", "a", "c"], ordered=True),
        "at": pd.DatetimeIndex(np.array(["2020-01-01", "NaT", "2020-01-03T12:00:00.123456789"], "M8[ns]")).tz_localize(
            "Europe/Berlin"
        ),
        "count": pd.array([1, None, 3], dtype="Int64"),
    }
)
INDEXED = FRAME.set_index(pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["rat", "day"]))
INDEXED.attrs = {"rig": "A", "gain": [1, 2.5]}
DATED = pd.DataFrame({"v": [1.0, -0.0]}, index=pd.DatetimeIndex(["2020-01-01", "2020-01-02"], name="t"))
PLAIN = pd.DataFrame({"unit": [3, 1], "rate": [0.1, 2 / 3], "area": ["CA1", "CA3"], "is_good": [True, False]})
DATASET = xr.Dataset(
    {"v": (("t", "x"), np.arange(6, dtype="float32").reshape(2, 3), {"units": "mV"})},
    coords={"t": pd.date_range("2020", periods=2), "x": [1, 2, 3], "depth": ("x", [0.1, 0.2, 0.3])},
    attrs={"lab": "Köln"},
)
STRUCTURED = np.array([(1, 2.5, b"a")], dtype=[("i", ">i2"), ("f", "<f8"), ("s", "S3")])

VALUES = {"a": [1, 2.5, -0.0, None, True, "é\n"], "b": {"c": []}, "big": 10**30}
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("notes.txt", "first line\r\nsecond line, é\n"),
        ("a.json", VALUES),
        ("a.JSON", [1, [2, {}]]),
        ("a.yaml", {**VALUES, "day": datetime.date(2020, 1, 2), "yes": "yes", "1": "1"}),
        ("a.yml", [1, "2"]),
        ("a.npy", np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))),
        ("a.npy", np.array(2.5)),
        ("a.npy", np.empty((0, 3), dtype="M8[us]")),
        ("a.npy", STRUCTURED),
        ("a.npz", {"x": np.arange(3), "file": np.ones((2, 3), order="F"), "a/b.npy": STRUCTURED, "": np.ones(1)}),
        ("a.wav", (44_100, np.arange(-5, 5, dtype="int16").reshape(5, 2))),
        ("a.wav", (8000, RNG.normal(size=7).astype("float32"))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_plain_values_and_arrays_come_back_as_they_were(keep: Keep, name: str, value: Any) -> None:
    ref = keep((name, value))
    assert ref.original_name == name
    assert not differs(value, ref.load())


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("a.parquet", FRAME),
        ("a.parquet", INDEXED),
        ("a.parquet", DATED),
        ("a.parquet", FRAME.drop(columns="kind")[:0]),
        ("a.feather", FRAME),
        ("a.csv", PLAIN),
        ("a.tsv", PLAIN),
    ],
)
def test_frames_come_back_with_dtypes_index_and_attrs(keep: Keep, name: str, frame: pd.DataFrame) -> None:
    loaded = keep((name, frame)).load()
    pd.testing.assert_frame_equal(loaded, frame, check_exact=True)
    assert loaded.attrs == frame.attrs
    assert type(loaded.index) is type(frame.index)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.png", RNG.integers(0, 255, (4, 5), dtype="uint8")),
        ("a.png", RNG.integers(0, 255, (4, 5, 3), dtype="uint8")),
        ("a.png", RNG.integers(0, 255, (4, 5, 4), dtype="uint8")),
        ("a.png", RNG.integers(0, 60_000, (4, 5), dtype="uint16")),
        ("a.png", np.eye(3, dtype=bool)),
        ("a.tif", RNG.normal(size=(3, 4, 5)).astype("float32")),
        ("a.tiff", RNG.integers(0, 60_000, (5, 4, 3), dtype="uint16").T),
        ("a.TIF", RNG.integers(0, 255, (4, 5, 3), dtype="uint8")),
    ],
)
def test_images_come_back_pixel_by_pixel(keep: Keep, name: str, image: Any) -> None:
    loaded = keep((name, image)).load()
    assert loaded.dtype == image.dtype
    assert np.array_equal(loaded, image)


def test_matlab_gives_what_it_was_given_in_its_own_order(keep: Keep) -> None:
    given = {"x": np.arange(6.0).reshape(2, 3), "n": np.array([[1]], dtype="uint8"), "z": np.array([[1 + 2j]])}
    loaded = keep(("a.mat", given)).load()
    assert list(loaded) == list(given)
    for name, array in given.items():
        assert loaded[name].dtype == array.dtype
        assert np.array_equal(loaded[name], array)


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_datasets_come_back_with_coordinates_and_attributes(keep: Keep, name: str) -> None:
    ref = keep((name, DATASET))
    loaded = ref.load()
    assert loaded.identical(DATASET)
    assert {str(key): value.dtype for key, value in loaded.variables.items() if key != "t"} == {
        str(key): value.dtype for key, value in DATASET.variables.items() if key != "t"
    }
    assert loaded.v.attrs == {"units": "mV"}
    assert ref.is_dir() == (name == "a.zarr")


def test_text_in_a_zarr_comes_back_and_netcdf_says_that_it_would_not(keep: Keep) -> None:
    dataset = xr.Dataset({"v": ("x", [1, 2])}, coords={"x": np.array(["a", "bc"])}, attrs={"n": 3, "l": [1, 2]})
    loaded = keep(("a.zarr", dataset)).load()
    assert loaded.identical(dataset)
    assert loaded.attrs == dataset.attrs
    assert loaded.x.dtype == dataset.x.dtype


def test_an_array_as_zarr_is_opened_and_read_when_it_is_used(keep: Keep) -> None:
    array = np.asfortranarray(RNG.integers(0, 99, (20, 30), dtype="uint16"))
    loaded = keep(("a.zarr", array)).load()
    assert isinstance(loaded, zarr.Array)
    assert loaded.dtype == array.dtype
    assert np.array_equal(loaded[:], array)


def test_nwb_comes_back_open_and_is_read_when_it_is_used(keep: Keep) -> None:
    pynwb = pytest.importorskip("pynwb")
    file = pynwb.NWBFile("a session", "id", datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc))
    series = pynwb.TimeSeries(name="v", data=np.arange(5), unit="mV", rate=10.0)
    file.add_acquisition(series)
    probe = file.create_device(name="probe")
    group = file.create_electrode_group(name="shank", description="one", location="CA1", device=probe)
    for _ in range(3):
        file.add_electrode(group=group, location="CA1")
    region = file.create_electrode_table_region(region=[0, 2], description="two of them")
    electrical = pynwb.ecephys.ElectricalSeries(name="e", data=np.zeros((5, 2)), electrodes=region, rate=10.0)
    file.add_acquisition(electrical)
    file.add_epoch(start_time=0.1, stop_time=0.3, tags=["run"], timeseries=[series])
    file.add_unit(spike_times=[0.1, 0.2], electrodes=[1])
    loaded = keep(("a.nwb", file)).load()
    assert loaded.session_description == "a session"
    assert loaded.acquisition["v"].data[:].tolist() == [0, 1, 2, 3, 4]
    # references: in an attribute, in a column, in a list of compounds
    assert loaded.acquisition["e"].electrodes.table is loaded.electrodes
    assert loaded.electrodes["group"][1].name == "shank"
    assert loaded.epochs["timeseries"][0][0].timeseries.name == "v"
    loaded.get_read_io().close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="anndata for the pandas of these tests needs Python 3.12")
def test_annotated_data_come_back(keep: Keep) -> None:
    import anndata

    data = anndata.AnnData(
        np.arange(6, dtype="float32").reshape(2, 3), obs=pd.DataFrame({"n": [1, 2]}, index=["a", "b"])
    )
    data.uns["lab"] = {"k": np.arange(2)}
    loaded = keep(data).load()
    assert np.array_equal(loaded.X, data.X)
    pd.testing.assert_frame_equal(loaded.obs, data.obs)
    assert loaded.uns["lab"]["k"].tolist() == [0, 1]


def test_hdf5_comes_open_for_reading(keep: Keep, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b"] = [1, 2]
        file["soft"] = h5py.SoftLink("/a/b")
        file["again"] = file["a"]
    with keep(str(tmp_path / "x.h5")).load() as file:
        assert file["soft"][:].tolist() == [1, 2]
        with pytest.raises(ValueError, match="no write intent"):
            file["c"] = 1


def test_members_and_parts_of_a_directory_are_loaded_as_files_are(keep: Keep, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "params.json").write_text('{"a": 1}')
    DATASET.to_zarr(run / "grid.zarr", zarr_format=2)
    ref = keep(str(run))
    assert isinstance(ref, DirectoryRef)
    assert (ref / "params.json").load() == {"a": 1}
    assert (ref / "grid.zarr").load().identical(DATASET)
    with pytest.raises(FormatError, match=r"run .*is a directory of no format"):
        ref.load()


@pytest.mark.parametrize(("subtype", "dtype"), [("PCM_16", "int16"), ("PCM_32", "int32"), ("FLOAT", "float32")])
def test_sound_is_what_libsndfile_writes_and_reads(keep: Keep, tmp_path: Path, subtype: str, dtype: str) -> None:
    samples = (RNG.uniform(-1, 1, size=(50, 2)) * (1 if dtype == "float32" else 30_000)).astype(dtype)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype=subtype)
    rate, loaded = keep(str(tmp_path / "a.wav")).load()
    assert (rate, loaded.dtype, loaded.tolist()) == (16_000, dtype, samples.tolist())
    read, rate = soundfile.read(io.BytesIO(keep(("b.wav", (8000, loaded))).read()), dtype=dtype)
    assert (rate, read.tolist()) == (8000, samples.tolist())


def test_what_other_programs_have_written_is_read(keep: Keep, tmp_path: Path) -> None:
    Image.new("P", (2, 2)).save(tmp_path / "a.png")
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "a.jpg")
    scipy.io.wavfile.write(tmp_path / "a.wav", 8000, np.zeros(3, "uint8"))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 3), "uint8"), compression="zlib")
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(3))
    xr.Dataset({"v": ("x", [1, 2])}).to_netcdf(tmp_path / "a.nc", engine="scipy")
    assert keep(str(tmp_path / "a.png")).load().shape == (2, 2, 3)
    assert keep(str(tmp_path / "a.jpg")).load().shape == (2, 3, 3)
    assert keep(str(tmp_path / "a.wav")).load()[0] == 8000
    assert keep(str(tmp_path / "a.tif")).load().shape == (2, 3)
    assert keep(str(tmp_path / "a.npz")).load()["x"].tolist() == [0, 1, 2]
    assert keep(str(tmp_path / "a.nc")).load().v.values.tolist() == [1, 2]
    assert keep(("day1", b"%PDF-1.7")).original_name == "day1"
    assert keep(File(b"text", name="readme", mime_type="text/plain")).load() == "text"
    assert keep(("a.dat", b"a,b\n1,2\n")).load(format=".csv").to_dict("list") == {"a": [1], "b": [2]}


OBJECTS = pd.DataFrame({"o": pd.Series([1, True], dtype=object)})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.json", {"a": (1, 2)}, r"\['a'\] of type tuple comes back as list"),
        ("a.json", {1: 2}, "type int comes back as str"),
        ("a.json", [float("nan")], "ValueError"),
        ("a.json", {"a": np.float64(1)}, "comes back as float"),
        ("a.yaml", {"a": (1, 2)}, "tuple comes back as list"),
        ("a.yaml", {"a": {1, 2}, "b": object()}, "RepresenterError"),
        ("a.csv", DATED, r"index.*Instead, give it as .parquet"),
        ("a.csv", FRAME, "give it as .parquet"),
        ("a.csv", pd.DataFrame({"id": ["007", "8"]}), "give it as .parquet"),
        ("a.csv", pd.DataFrame({"x": ["NA", "b"]}), "give it as .parquet"),
        ("a.parquet", pd.DataFrame({"o": [[1, 2], [3]]}), "comes back|come back"),
        ("a.parquet", FRAME[:0], "dtype"),  # categories that no row has
        ("a.parquet", OBJECTS, "ArrowTypeError|come back"),
        ("a.parquet", pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate column"),
        ("a.npy", np.array([{}], dtype=object), "could only be pickled"),
        ("a.npy", np.zeros(2, np.dtype("i4", metadata={"unit": "mV"})), "has metadata"),
        ("a.npz", {"x": [1]}, "no array with a name"),
        ("a.npz", {"x": np.array([None])}, "could only be pickled"),
        ("a.mat", {"x": np.arange(3)}, r"of shape \(3,\) comes back as \(1, 3\)"),
        ("a.mat", {"x": np.array([[True]])}, "dtype bool comes back as uint8"),
        ("a.png", np.zeros((3, 3)), "give it as .tif"),
        ("a.png", np.zeros((3, 3, 3), "uint16"), "give it as .tif"),
        ("a.tif", np.zeros((3, 3), dtype=object), ".tif"),
        ("a.wav", (8000, np.zeros((3, 1), "int16")), "of shape"),
        ("a.wav", (8000.5, np.zeros(3, "int16")), "whole number"),
        ("a.zarr", xr.Dataset({"v": ("x", np.array([{}], dtype=object))}), ".zarr"),
    ],
)  # fmt: skip
def test_what_would_come_back_as_something_else_is_refused(keep: Keep, name: str, value: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        keep((name, value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (("a.csv", np.arange(3)), r"numpy.ndarray.*name it .npy, .png, .*; .csv takes pandas.DataFrame"),
        (("a.jpg", np.zeros((2, 2), "uint8")), r".jpg takes nothing"),
        (("a.dat", PLAIN), r"name it .csv, .tsv, .parquet, .feather"),
        (("a.parquet", object()), r".parquet takes pandas.DataFrame"),
        (("a.npy", np.ma.masked_array([1], [True])), "MaskedArray"),
        (("a.npy", np.matrix([[1]])), "matrix"),
        (("a.txt", "results.csv"), "is this a path"),
        (("a.txt", "/data/my notes"), None),
        (("a.dat", "text"), "neither"),
        (DATASET, r"needs the name of a file, which ends in .nc, .zarr"),
        ({"a": 1}, "dict is not a file"),
    ],
)
def test_an_unknown_pair_is_refused_with_what_would_be_possible(keep: Keep, value: Any, message: str | None) -> None:
    if message is None:
        assert keep(value).load() == value[1]
        return
    with pytest.raises(UnsupportedValueError, match=message):
        keep(value)


def test_an_object_without_a_name_gets_the_format_of_its_type(keep: Keep) -> None:
    assert keep(PLAIN).original_name == "raw_data.parquet"
    assert keep(np.arange(3)).load().tolist() == [0, 1, 2]
    assert keep(PLAIN, {"DataFrame": ".csv"}).original_name == "raw_data.csv"
    assert keep({"a": 1}, {"dict": ".json"}).load() == {"a": 1}
    assert keep(DATASET, {"xarray.Dataset": ".nc"}).load().identical(DATASET)
    assert keep(File(PLAIN, name="x.tsv", mime_type="text/x-own")).mime_type == "text/x-own"
    with pytest.raises(UnsupportedValueError, match="no format writes"):
        keep(PLAIN, {"DataFrame": ".png"})


def test_what_is_large_is_a_file_that_only_this_user_can_read_and_goes(files: ObjectFiles) -> None:
    small = files.stored(("a.npy", np.zeros(3)), "x", dict, is_sent=False)
    large = files.stored(("a.npy", np.zeros(IN_MEMORY)), "x", dict, is_sent=False)
    directory = files.stored(("a.zarr", np.zeros(3)), "x", dict, is_sent=False)
    assert isinstance(small.content, bytes)
    assert isinstance(directory, Directory)
    assert large.content.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in large.content.parent.iterdir()) == ["2.npy", "3.zarr"]
    files.remove()
    assert not large.content.parent.exists()


def test_a_worker_elsewhere_gets_bytes_or_nothing(files: ObjectFiles) -> None:
    sent = files.stored(("a.npy", np.zeros(IN_MEMORY)), "x", dict, is_sent=True)
    assert np.load(io.BytesIO(sent.content)).nbytes == 8 * IN_MEMORY
    with pytest.raises(UnsupportedValueError, match="too many to be sent"):
        files.stored(("a.npy", np.zeros(9 * 2**20)), "x", dict, is_sent=True)
    with pytest.raises(UnsupportedValueError, match=r"datajoint_file\.create"):
        files.stored(("a.zarr", np.zeros(3)), "x", dict, is_sent=True)


ANYTHING = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
PLAIN_VALUES: st.SearchStrategy[Any] = st.deferred(
    lambda: SCALARS | st.lists(PLAIN_VALUES, max_size=3) | st.dictionaries(st.text(), PLAIN_VALUES, max_size=3)
)


@ANYTHING
@given(
    value=st.lists(PLAIN_VALUES) | st.dictionaries(st.text(), PLAIN_VALUES), suffix=st.sampled_from(["json", "yaml"])
)
def test_any_plain_value_comes_back_or_is_refused(keep: Keep, value: Any, suffix: str) -> None:
    try:
        ref = keep((f"a.{suffix}", value))
    except FormatError:
        return
    assert repr(ref.load()) == repr(value)


@ANYTHING
@given(array=arrays.arrays(arrays.scalar_dtypes() | arrays.array_dtypes(), arrays.array_shapes(min_side=0)))
def test_any_array_of_numbers_comes_back(keep: Keep, array: Any) -> None:
    for name, loaded in (("a.npy", keep(("a.npy", array)).load()), ("x", keep(("a.npz", {"x": array})).load()["x"])):
        assert loaded.dtype == array.dtype, name
        assert loaded.shape == array.shape
        assert loaded.tobytes() == array.tobytes()


CELLS = st.one_of(
    st.lists(st.floats(), min_size=3, max_size=3),
    st.lists(st.text(st.characters(codec="utf-8")) | st.none(), min_size=3, max_size=3),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.datetimes(), min_size=3, max_size=3),
    st.lists(st.booleans() | st.none(), min_size=3, max_size=3),
)


@ANYTHING
@given(
    columns=st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), CELLS, min_size=1, max_size=3),
    suffix=st.sampled_from(["parquet", "feather", "csv", "tsv"]),
)
def test_any_frame_comes_back_or_is_refused(keep: Keep, columns: Any, suffix: str) -> None:
    frame = pd.DataFrame(columns)
    try:
        ref = keep((f"a.{suffix}", frame))
    except FormatError:
        return
    pd.testing.assert_frame_equal(ref.load(), frame, check_exact=True)
