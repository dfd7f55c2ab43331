"""Files that would run code, read other files, or fill the memory are refused; so is what is no file of its format."""

from __future__ import annotations

import io
import json
import lzma
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from datetime import datetime
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
import scipy.sparse
import tifffile
import xarray as xr
import zarr
from numcodecs import BZ2, Blosc, Delta, Pickle, Quantize, Shuffle, Zstd
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


@pytest.mark.parametrize("separator", [",", "\t"])
def test_rows_that_end_early_are_counted_as_if_they_did_not(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**22)
    name = "a.csv" if separator == "," else "a.tsv"
    wide = separator * 999
    for table in (
        f"{wide}\n" + "1\n" * 5000,
        f"{wide}\r" + "1\r" * 5000,
        "a\n" + wide + "\n" + "1\n" * 5000,  # all but one of its columns are an index
        '\n\n"\n"' + wide + "\n" + "1\n" * 5000,
    ):
        with pytest.raises(UnsafeContentError, match="times as many"):
            keep((name, table.encode())).load()
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep((name, separator.encode() * 2**20 + b"\n1\n")).load()
    full = f"{separator.join(['a', 'b'])}\n" + f'"{wide}"{separator}"x\ny"\n' * 5000
    assert keep((name, full.encode())).load().shape == (5000, 2)


def classic(count: int, size: int, kind: int = 1) -> bytes:
    """A file of netCDF 3 whose variables, of so many bytes each, begin at one place."""

    def text(name: bytes) -> bytes:
        return struct.pack(">I", len(name)) + name + bytes(-len(name) % 4)

    def header(begin: int) -> bytes:
        sides = struct.pack(">II", 0xA, 1) + text(b"x") + struct.pack(">I", size)
        variables = b"".join(
            text(b"v%d" % i) + struct.pack(">IIIIIII", 1, 0, 0, 0, kind, size, begin) for i in range(count)
        )
        return b"CDF\x01" + bytes(4) + sides + bytes(8) + struct.pack(">II", 0xB, count) + variables

    return header(len(header(0))) + bytes(size)


def test_variables_of_a_classic_file_are_in_places_of_their_own(keep: Keep) -> None:
    assert keep(("a.nc", classic(1, 2**16))).load().v0.shape == (2**16,)
    with pytest.raises(UnsafeContentError, match="its variables have 131072 bytes, and there are 65"):
        keep(("a.nc", classic(2, 2**16))).load()
    for content, message in ((classic(1, 8, kind=99), "of type 99"), (classic(1, 8)[:60], "ends early")):
        with pytest.raises(FormatError, match=message):
            keep(("a.nc", content)).load()
    out = io.BytesIO()
    with scipy.io.netcdf_file(out, "w") as file:
        file.createDimension("t", None)
        file.createVariable("t", "i", ("t",))[:] = np.arange(3)
        file.createVariable("u", "h", ("t",))[:] = np.arange(3)
        file.flush()
        content = out.getvalue()
    for records in (3, 2**32 - 1):  # which is how one says that it is not known
        told = content[:4] + struct.pack(">I", records) + content[8:]
        assert keep(("a.nc", told)).load().t.values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_strips_of_a_tiff_are_no_longer_than_what_they_are_of(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compression: str
) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**22)
    zeros = bytes(2**23)
    data = zlib.compress(zeros) if compression == "zlib" else lzma.compress(b"") + lzma.compress(zeros)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), "uint8"), compression=compression, metadata=None)
    assert keep(str(path)).load().shape == (64, 64)
    with tifffile.TiffFile(path, mode="r+b") as file:
        end = path.stat().st_size
        file.pages.first.tags["StripOffsets"].overwrite(end)
        file.pages.first.tags["StripByteCounts"].overwrite(len(data))
    with path.open("ab") as out:
        out.write(data)
    with pytest.raises(UnsafeContentError, match="times as many"):
        keep(str(path)).load()


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
        ("!!int 1:30", "'1:30' is no number"),
    ],
)
def test_yaml_makes_plain_values_and_not_too_many(
    keep: Keep, ran: Ran, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        keep(("a.yaml", text.replace("RAN", str(tmp_path / "ran")).encode())).load()
    assert not ran()
    assert keep(("a.yaml", b"a: &x [1]\nb: *x\nc: {<<: {d: 1}}")).load() == {"a": [1], "b": [1], "c": {"d": 1}}


def test_numbers_of_yaml_to_the_base_of_60_are_texts(keep: Keep) -> None:
    assert keep(("a.yaml", b"[1:30, 1:30.5, 2001-01-01 1:30:00]")).load() == [
        "1:30",
        "1:30.5",
        datetime(2001, 1, 1, 1, 30),
    ]
    assert len(keep(("a.yaml", b"1" + b":1" * 250_000)).load()) == 500_001  # which was a number of as many digits


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


def in_attribute(file: h5py.File, reference: Any) -> None:
    file.attrs["r"] = reference


def in_type(file: h5py.File, reference: Any) -> None:
    file["t"] = np.dtype([("i", "i4")])
    file["t"].attrs["r"] = reference


def in_data(file: h5py.File, reference: Any) -> None:
    file.create_dataset("r", data=np.array([file["a"].ref, reference], dtype=h5py.ref_dtype))


def in_scalar(file: h5py.File, reference: Any) -> None:
    file.create_dataset("r", data=reference, dtype=h5py.ref_dtype)


def in_compound(file: h5py.File, reference: Any) -> None:
    values = np.zeros((3, 2), [("i", "i4"), ("s", [("r", h5py.ref_dtype, (2,)), ("q", h5py.ref_dtype)])])
    values["s"]["q"] = file["a"].ref
    values["s"]["r"][:] = file["a"].ref
    values["s"]["r"][2, 1, 1] = reference
    file.create_dataset("r", (3, 2), values.dtype)[...] = values


def in_lists(file: h5py.File, reference: Any) -> None:
    lists = file.create_dataset("r", (2,), h5py.vlen_dtype(h5py.ref_dtype))
    lists[1] = np.array([file["a"].ref, reference], dtype=h5py.ref_dtype)


def to_region(file: h5py.File, reference: Any) -> None:
    file.create_dataset("r", data=np.array([file[reference].regionref[:2]], dtype=h5py.regionref_dtype))


def through_another(file: h5py.File, reference: Any) -> None:
    between = file["z"].create_dataset("b", data=np.array([reference], dtype=h5py.ref_dtype))
    file["a"].attrs["r"] = between.ref


def through_a_group(file: h5py.File, reference: Any) -> None:
    file["a"].attrs["r"] = file["z"].ref


@pytest.mark.parametrize(
    "place",
    [in_attribute, in_type, in_data, in_scalar, in_compound, in_lists, to_region, through_another, through_a_group],
)
@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_what_only_references_lead_to_is_looked_at(
    keep: Keep, tmp_path: Path, place: Callable[[h5py.File, Any], None], is_elsewhere: bool
) -> None:
    path, secret = tmp_path / "a.h5", tmp_path / "secret.txt"
    secret.write_text("secret")
    with h5py.File(path, "w", libver="earliest") as file:
        file["a"] = 1
        data = {"external": [(str(secret), 0, 6)]} if is_elsewhere else {}
        place(file, file.create_group("z").create_dataset("e", (6,), "u1", **data).ref)
    content = bytearray(path.read_bytes())
    names = content.index(b"SNOD") + 6  # of the root, of which z is the last; nothing has this name then
    content[names : names + 2] = struct.pack("<H", struct.unpack_from("<H", content, names)[0] - 1)
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert "z" not in file
    if is_elsewhere:
        with pytest.raises(UnsafeContentError, match="what only a reference leads to in it has its data in another"):
            keep(str(path)).load()
    else:
        keep(str(path)).load().close()


def test_lists_of_references_are_not_many_in_one_attribute(keep: Keep, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        one = np.array([file.create_dataset("a", data=1).ref], dtype=h5py.ref_dtype)
        for count in (32, 4000):
            lists = np.empty(count, dtype=object)
            lists[:] = [one] * count
            file.attrs.create("r", lists, dtype=h5py.vlen_dtype(h5py.ref_dtype))
            file["noise"] = np.zeros(2**20)
            file.flush()
            if count == 32:
                keep(str(tmp_path / "a.h5")).load().close()
                del file["noise"]
    with pytest.raises(UnsafeContentError, match="lists of references"):
        keep(str(tmp_path / "a.h5")).load()


def test_texts_that_are_one_in_the_file_are_counted_as_often_as_they_are(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**22)
    count = 1000
    for number, kind in enumerate([h5py.string_dtype(), h5py.vlen_dtype("u1"), [("t", h5py.string_dtype())]]):
        path = tmp_path / f"{number}.nc"
        with h5py.File(path, "w") as file:
            texts = file.create_dataset("t", (count,), kind)
            texts[0] = (long := "a" * 2**16) if number == 0 else np.zeros(2**16, "u1") if number == 1 else (long,)
            texts[1] = "b" if number == 0 else np.zeros(1, "u1") if number == 1 else ("b",)
            texts[2:] = texts[1]
            place = texts.id.get_offset()
        content = bytearray(path.read_bytes())
        content[place : place + 16 * count] = bytes(content[place : place + 16]) * count
        with pytest.raises(UnsafeContentError, match="times as many"):
            keep((path.name, bytes(content))).load()


def test_chunks_of_hdf5_are_no_larger_than_a_file_may_be(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "ALWAYS", 2**22)
    for kind, name in (("u1", "a.nc"), (h5py.ref_dtype, "a.h5")):
        with h5py.File(tmp_path / name, "w") as file:
            values = file.create_dataset("x", (16,), kind, chunks=(16,), compression="gzip", shuffle=True)
            values.id.write_direct_chunk((0,), zlib.compress(bytes(2**23)))
        with pytest.raises(UnsafeContentError, match="times as many"):
            keep(str(tmp_path / name)).load()
    with h5py.File(tmp_path / "b.nc", "w") as file:
        twice = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        twice.set_chunk((16,))
        twice.set_deflate(9)
        twice.set_deflate(9)
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((16,)), twice)
    with pytest.raises(UnsafeContentError, match="packed more than once"):
        keep(str(tmp_path / "b.nc")).load()


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


ARRAY = {
    "zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|u1", "order": "C", "compressor": None, "fill_value": 0,
    "filters": None,
}  # fmt: skip
PICKLES = {"compressor": {"id": "pickle"}, "dtype": "|O", "filters": [{"id": "vlen-utf8"}]}


def consolidated(node: Any, name: str = "x/.zarray") -> Any:
    return {"zarr_consolidated_format": 1, "metadata": {".zgroup": {"zarr_format": 2}, name: node}}


def in_version_3(*codecs: Any) -> Any:
    return {"zarr_format": 3, "node_type": "array", "codecs": list(codecs)}


@pytest.mark.parametrize(
    ("name", "document", "message"),
    [
        (".zmetadata", consolidated([*{**ARRAY, **PICKLES}.items()]), "has list where Zarr has an object"),
        (".zmetadata", consolidated(json.dumps({**ARRAY, **PICKLES})), "has str where Zarr has an object"),
        (".zmetadata", consolidated([["compressor", {"id": "pickle"}]], "x/.zattrs"), "has list"),
        (".zmetadata", {"metadata": [["x/.zarray", ARRAY]]}, "has list"),
        (".zmetadata", consolidated({**ARRAY, **PICKLES}), "chunks are pickles"),
        (".zgroup", {"zarr_format": 2, "consolidated_metadata": {"metadata": {".zattrs": PICKLES}}}, "pickles"),
        (".zattrs", [["a", 1]], "has list"),
        ("x/.zarray", [*ARRAY.items()], "has list"),
        ("x/.zarray", {**ARRAY, "compressor": [["id", "pickle"]]}, "has list"),
        ("x/.zarray", {**ARRAY, "compressor": {"id": "zlib", "name": "pickle"}}, "pickles"),
        ("x/.zarray", {**ARRAY, "compressor": {"id": "my_codec"}}, "'my_codec': it is none of those known"),
        ("x/.zarray", {**ARRAY, "compressor": {"id": ["pickle"]}}, "pickles"),
        ("x/.zarray", {**ARRAY, "filters": [{"protocol": 5}]}, "names no codec"),
        ("x/zarr.json", in_version_3("bytes", "imagecodecs_jpeg"), "none of those known"),
        ("x/zarr.json", in_version_3({"name": "sharding_indexed", "configuration": {"index_codecs": ["a"]}}), "'a'"),
        ("x/zarr.json", in_version_3({"name": "numcodecs.zlib", "configuration": {"id": "pickle"}}), "pickles"),
        ("zarr.json", {"consolidated_metadata": {"metadata": {".zattrs": in_version_3("pickle")}}}, "pickles"),
        ("zarr.json", {"consolidated_metadata": [["metadata", {}]]}, "has list"),
    ],
)
def test_metadata_of_a_zarr_are_objects_that_name_known_codecs(
    keep: Keep, tmp_path: Path, name: str, document: Any, message: str
) -> None:
    root = tmp_path / "a.zarr"
    (root / "x").mkdir(parents=True)
    (root / ".zgroup").write_text('{"zarr_format": 2}')
    (root / name).write_text(json.dumps(document))
    with pytest.raises(FormatError, match=message):
        keep(str(root)).load()


def test_all_codecs_of_the_list_are_read(keep: Keep, tmp_path: Path) -> None:
    for number, (dtype, codecs) in enumerate(
        [
            ("f8", {"filters": [Delta("<f8"), Shuffle(8)], "compressors": Zstd()}),
            ("f8", {"filters": [Quantize(3, "<f8")], "compressors": BZ2()}),
            ("U3", {"compressors": Blosc()}),
        ]
    ):
        path = tmp_path / f"{number}.zarr"
        array = zarr.create_array(str(path), shape=(4,), dtype=dtype, zarr_format=2, **codecs)
        array[:] = np.arange(4).astype(dtype)
        assert keep(str(path)).load()[:].tolist() == np.arange(4).astype(dtype).tolist()
    sharded = zarr.create_array(str(tmp_path / "s.zarr"), shape=(8,), dtype="i4", shards=(4,), chunks=(2,))
    sharded[:] = np.arange(8)
    assert keep(str(tmp_path / "s.zarr")).load()[:].tolist() == list(range(8))
    texts = xr.Dataset({"v": ("x", np.array(["a", "bc"], dtype=object))}, {"x": ["k", "l"]})
    for version in (2, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts, for which version 3 has no specification
            texts.to_zarr(tmp_path / f"t{version}.zarr", zarr_format=version)
        assert keep(str(tmp_path / f"t{version}.zarr")).load().v.values.tolist() == ["a", "bc"]


@pytest.mark.parametrize("version", [2, 3])
def test_coordinates_of_a_zarr_are_asked_for_their_size(keep: Keep, tmp_path: Path, version: Any) -> None:
    root = tmp_path / "a.zarr"
    group = zarr.open_group(str(root), mode="w", zarr_format=version)
    named = {"dimension_names": ["x"]} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": ["x"]}}
    group.create_array("x", shape=(10**11,), chunks=(10**9,), dtype="i8", **named)
    with pytest.raises(UnsafeContentError, match="become 800000000000 in memory"):
        keep(str(root)).load()


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


def test_indexes_of_sparse_matrices_are_within_bounds(keep: Keep, tmp_path: Path) -> None:
    matrix = scipy.sparse.csc_matrix((np.arange(1.0, 5), ([0, 1, 2, 3], [0, 1, 2, 3])), shape=(4, 4))
    cells = np.empty((1, 2), dtype=object)
    cells[0, 0], cells[0, 1] = {"a": matrix}, "text"
    for number, value in enumerate([matrix, {"deep": {"deeper": matrix}}, cells]):
        path = tmp_path / f"{number}.mat"
        scipy.io.savemat(path, {"m": value})
        assert set(keep(str(path)).load()) == {"m"}
        content = bytearray(path.read_bytes())
        place = content.index(struct.pack("<4i", 0, 1, 2, 3))
        content[place + 4 : place + 8] = struct.pack("<i", 2**28)
        with pytest.raises(FormatError, match="fails by ValueError: "):
            keep((path.name, bytes(content))).load()


def test_indexes_of_annotated_data_are_within_bounds(keep: Keep, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    matrix = scipy.sparse.csr_matrix(np.eye(4, dtype="f4"))
    for place in ("X", "layers/a", "obsp/a", "obsm/a", "uns/a/b", "raw/X"):
        data = anndata.AnnData(X=matrix.copy(), layers={"a": matrix.copy()}, uns={"a": {"b": matrix.copy()}})
        data.obsp["a"], data.obsm["a"], data.raw = matrix.copy(), matrix.copy(), data.copy()
        path = tmp_path / "a.h5ad"
        data.write_h5ad(path)
        assert keep(str(path)).load().shape == (4, 4)
        with h5py.File(path, "r+") as file:
            file[f"{place}/indices"][1] = 2**28
        with pytest.raises(FormatError, match="fails by ValueError: "):
            keep(str(path)).load()
