"""Files that would run code, read other files, or fill the memory are refused; so is what is no file of its format."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import scipy.io
import tifffile
import xarray as xr
import zarr
from numcodecs import Pickle
from PIL import Image

from datajoint_file.errors import FormatError, UnsafeContentError
from datajoint_file.formats import limits
from tests.unit.conftest import InChild
from tests.unit.formats.conftest import Keep

Ran = Callable[[], bool]


class Bomb:
    """What leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    return Bomb(tmp_path / "ran")


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return (tmp_path / "ran").exists


def npy(descr: str, shape: str, data: bytes = b"", fortran: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def zipped(method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members.items():
            archive.writestr(name.replace("_npy", ".npy").removesuffix("2"), content)
    return buffer.getvalue()


def test_pickles_of_numpy_are_never_loaded(keep: Keep, bomb: Bomb, ran: Ran, tmp_path: Path) -> None:
    array = np.array([bomb, None], dtype=object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=array)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UnsafeContentError, match=f"{name} .*a pickle, which can run any code"):
            keep(str(tmp_path / name)).load()
    for name in ("a.npy", "a.npz", "a.mat", "a.h5", "a.parquet", "a.feather", "a.png", "a.tif", "a.wav", "a.nc"):
        with pytest.raises(FormatError):
            keep((name, pickle.dumps(bomb))).load()
    assert not ran()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("'<f8'", "(1000000000000,)"), "tells of 8000000000000 bytes, and there are 0"),
        (npy("'<f8'", "(-1, 2)"), "its shape is"),
        (npy("'<f8'", "(True,)", bytes(8)), "its shape is"),
        (npy("'|O'", "(1,)", bytes(8)), "pickle"),
        (npy("[('a', '|O'), ('b', '<i4')]", "(1,)", bytes(12)), "pickle"),
        (npy("'<f8'", "(2,)", bytes(8)), "tells of 16 bytes"),
        (npy("__import__('os').system('true')", "(1,)"), "ValueError"),
        (npy("'<f8'", "(" * 300 + ")" * 300), "fails|shape|FormatError"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{", "its header has"),
        (b"\x93NUMPY\x09\x00", "version"),
        (b"", "no array"),
    ],
)
def test_headers_of_arrays_are_not_believed(keep: Keep, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        keep(("a.npy", content)).load()


def test_a_zip_bomb_is_not_unpacked(keep: Keep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**20)
    zeros = npy("'|u1'", f"({2**25},)", bytes(2**25))
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep(("a.npz", zipped(x_npy=zeros))).load()
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.zeros((2**22, 1))}, do_compression=True)
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep(str(tmp_path / "a.mat")).load()
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2**12, 2**13), "uint8"), compression="zlib")
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep(str(tmp_path / "a.tif")).load()
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file.create_dataset("x", (2**40,), "u1", chunks=(2**20,))
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep(str(tmp_path / "a.nc")).load()
    frame = pd.DataFrame({"x": np.zeros(2**22)})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_feather(tmp_path / "a.feather")
    for name in ("a.parquet", "a.feather"):
        with pytest.raises(UnsafeContentError, match="times as many"):
            keep(str(tmp_path / name)).load()


def test_offsets_that_arrow_would_end_the_process_for_are_an_error(
    keep: Keep, in_child: InChild, tmp_path: Path
) -> None:
    table = pa.table({"s": pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["abcd", "efgh"]))})
    pa.feather.write_feather(table, str(tmp_path / "a.feather"), compression="uncompressed")
    content = (tmp_path / "a.feather").read_bytes()
    offsets = struct.pack("<3i", 0, 4, 8)
    assert content.count(offsets) == 1
    broken = content.replace(offsets, struct.pack("<3i", 0, 2**31 - 1, -(2**31)))

    def load() -> str:
        with pytest.raises(FormatError) as raised:
            keep(("a.feather", broken)).load()
        return str(raised.value)

    assert "ArrowInvalid" in in_child(load)


def test_an_image_of_too_many_pixels_is_not_unpacked(keep: Keep) -> None:
    image = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(image, "PNG")
    with pytest.raises(FormatError, match="DecompressionBombError"):
        keep(("a.png", image.getvalue())).load()
    with pytest.raises(FormatError, match="UnidentifiedImageError"):  # other kinds, some of which start programs
        keep(("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n")).load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(x_npy=npy("'|u1'", "(1,)", b"a"), x_npy2=npy("'|u1'", "(1,)", b"b")), "two of one name"),
        (zipped(readme=b"text"), "no arrays"),
        (zipped(x_npy=npy("'|u1'", "(1000,)", b"a")), "tells of 1000 bytes"),
        (zipped(x_npy=npy("'|u1'", "(1,)", b"a"))[:-30], "BadZipFile"),
        (zipped(zipfile.ZIP_BZIP2, x_npy=npy("'|u1'", "(1,)", b"a")), "hides how large"),
        (zipped(zipfile.ZIP_LZMA, x_npy=npy("'|u1'", "(1,)", b"a")), "hides how large"),
    ],
)
def test_zips_that_contradict_themselves_are_refused(keep: Keep, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        keep(("a.npz", content)).load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": NaN}', "NaN is no number"),
        (b"[-Infinity]", "no number"),
        (b"[1e999]", "too large"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 200_000, "RecursionError"),
        (b"1" * 10_000, "ValueError"),
        (b'"\xff"', "UnicodeDecodeError"),
        (b"{", "JSONDecodeError"),
    ],
)
def test_json_that_parsers_disagree_about_is_refused(keep: Keep, content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        keep(("a.json", content)).load()


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.mkdir [RAN]", "ConstructorError"),
        ("!!python/name:os.system", "ConstructorError"),
        (LAUGHS, "a million values"),
        (MERGES, "a million values"),
        ("a: &a [*a]", "contains itself"),
        ("a: 1\na: 2", "twice"),
        ("[" * 900, "RecursionError|ParserError"),
        ("{? [a] : b}", "ConstructorError"),
        ("a: 1\n---\nb: 2", "ComposerError"),
    ],
)
def test_yaml_makes_plain_values_and_not_too_many(
    keep: Keep, ran: Ran, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        keep(("a.yaml", text.replace("RAN", str(tmp_path / "ran")).encode())).load()
    assert not ran()
    assert keep(("a.yaml", b"a: &x [1]\nb: *x\nc: {<<: {d: 1}}")).load() == {"a": [1], "b": [1], "c": {"d": 1}}


def hostile_hdf5(path: Path, kind: str, other: Path) -> None:
    with h5py.File(path, "w") as file:
        file["ok"] = [1]
        group = file.create_group("a/b")
        if kind == "link":
            group["x"] = h5py.ExternalLink(str(other), "/secret")
        elif kind == "storage":
            group.create_dataset("x", (8,), "u1", external=[(str(other), 0, 8)])
        else:
            layout = h5py.VirtualLayout((1,), "i8")
            layout[0] = h5py.VirtualSource(str(other), "secret", (1,))[0]
            group.create_virtual_dataset("x", layout)
        file["cycle"] = file["a"]
        group["up"] = file["/"]


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
@pytest.mark.parametrize("name", ["a.h5", "a.nwb", "a.nc", "a.h5ad"])
def test_hdf5_that_reads_other_files_is_not_opened(keep: Keep, tmp_path: Path, kind: str, name: str) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = [42]
    hostile_hdf5(tmp_path / name, kind, other)
    with pytest.raises(UnsafeContentError, match=f"{name} .*file"):
        keep(str(tmp_path / name)).load()


def test_hdf5_that_is_made_of_itself_is_opened(keep: Keep, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1, 2]
        layout = h5py.VirtualLayout((2,), "i8")
        layout[:] = h5py.VirtualSource(file["x"])
        file.create_virtual_dataset("v", layout)
        file["empty"] = h5py.Empty("f8")
        file["type"] = np.dtype("i4")
    with keep(str(tmp_path / "a.h5")).load() as file:
        assert file["v"][:].tolist() == [1, 2]


def test_an_object_that_is_stored_as_hdf5_does_not_read_other_files_either(keep: Keep, tmp_path: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    import datetime

    start = datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
    first = pynwb.NWBFile("a", "1", start)
    series = pynwb.TimeSeries(name="v", data=np.arange(5), unit="mV", rate=10.0)
    first.add_acquisition(series)
    with pynwb.NWBHDF5IO(str(tmp_path / "first.nwb"), "w") as out:
        out.write(first)
    with pynwb.NWBHDF5IO(str(tmp_path / "first.nwb"), "r") as reading:
        second = pynwb.NWBFile("b", "2", start)
        second.add_acquisition(reading.read().acquisition["v"])
        with pytest.raises(FormatError):
            keep(("second.nwb", second))


def test_chunks_of_a_zarr_are_never_unpickled(keep: Keep, bomb: Bomb, ran: Ran, tmp_path: Path) -> None:
    root = tmp_path / "a.zarr"
    (root / "v").mkdir(parents=True)
    array = {
        "zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C", "compressor": None,
        "fill_value": None, "filters": [{"id": "pickle", "protocol": 5}], "dimension_separator": ".",
    }  # fmt: skip
    (root / ".zgroup").write_text('{"zarr_format": 2}')
    (root / ".zattrs").write_text('{"filters": [{"id": "pickle"}]}')
    (root / "v" / ".zarray").write_text(json.dumps(array))
    (root / "v" / "0").write_bytes(Pickle().encode(np.array([bomb], dtype=object)))
    with pytest.raises(UnsafeContentError, match="chunks are pickles"):
        keep(str(root)).load()

    (root / "v" / ".zarray").write_text(json.dumps({**array, "filters": None, "dtype": "|u1", "fill_value": 0}))
    (root / "v" / "0").write_bytes(b"\x07")
    assert keep(str(root)).load()["v"][:].tolist() == [7]

    sharded = {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}
    described = {"zarr_format": 3, "node_type": "array", "codecs": [sharded]}
    (tmp_path / "b.zarr").mkdir()
    consolidated = {
        "zarr_format": 3,
        "node_type": "group",
        "consolidated_metadata": {"metadata": {"attributes": described}},
    }
    for metadata in (described, consolidated):
        (tmp_path / "b.zarr" / "zarr.json").write_text(json.dumps(metadata))
        with pytest.raises(UnsafeContentError, match="chunks are pickles"):
            keep(str(tmp_path / "b.zarr")).load()
    assert not ran()


def test_a_zarr_of_another_program_is_opened_as_zarr(keep: Keep, tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("x", data=np.arange(3))
    loaded = keep(str(tmp_path / "a.zarr")).load()
    assert isinstance(loaded, zarr.Group)
    xr.Dataset({"v": ("x", [1, 2])}).to_zarr(tmp_path / "b.zarr", zarr_format=3, consolidated=False)
    assert isinstance(keep(str(tmp_path / "b.zarr")).load(), xr.Dataset)


def test_a_parquet_file_makes_no_types_of_its_own(keep: Keep, bomb: Bomb, ran: Ran, tmp_path: Path) -> None:
    storage = pa.array([1, 2])
    field = pa.field(
        "x",
        pa.int64(),
        metadata={
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": pickle.dumps(bomb),
        },
    )
    described = {"index_columns": [], "columns": [], "attributes": {}, "pandas_version": "1.0"}
    schema = pa.schema([field], metadata={b"pandas": json.dumps(described).encode(), b"pickle": pickle.dumps(bomb)})
    pyarrow.parquet.write_table(pa.Table.from_arrays([storage], schema=schema), tmp_path / "a.parquet")
    keep(str(tmp_path / "a.parquet")).load()
    schema = schema.with_metadata({b"pandas": pickle.dumps(bomb)})
    pyarrow.parquet.write_table(pa.Table.from_arrays([storage], schema=schema), tmp_path / "b.parquet")
    with pytest.raises(FormatError):
        keep(str(tmp_path / "b.parquet")).load()
    assert not ran()


def test_a_tiff_opens_no_other_files_that_it_names(keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite(tmp_path / "other.ome.tif", np.full((4, 5), 42, "uint8"), metadata={"axes": "YX"})
    ome = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="P:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="5" SizeY="4" SizeZ="1" SizeC="1" SizeT="2">'
        '<TiffData IFD="0" FirstT="0" PlaneCount="1"/>'
        '<TiffData IFD="0" FirstT="1" PlaneCount="1"><UUID FileName="other.ome.tif">urn:uuid:1</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((4, 5), "uint8"), description=ome, metadata=None)
    assert not (keep(str(tmp_path / "a.ome.tif")).load() == 42).any()


NAMES = "txt json yaml csv parquet feather npy npz mat png jpg tif wav h5 nwb nc"


@pytest.mark.parametrize("name", NAMES.split())
def test_noise_is_an_error_of_ours_that_names_the_file(keep: Keep, name: str) -> None:
    noise = b"\xff\xfe\x00" + os.urandom(300)
    with pytest.raises(FormatError, match=rf"noise.{name} \(lab/ephys/objects/Recording-raw_data/.*\): "):
        keep((f"noise.{name}", noise)).load()
