"""Previews of files that are made to harm: nothing is run, opened, filled or shown that is not ours."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import zipfile
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import scipy.io
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datajoint_file.preview import Subject, preview_directory, preview_file
from tests.unit.conftest import InChild

from .test_kinds import look, look_at

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs), attrs
        assert all(str(value).startswith("data:image/png;base64,") for name, value in attrs if name == "src"), attrs


def check_harmless(shown: Any) -> None:
    tags = _Tags()
    tags.feed(shown._repr_html_())
    assert tags.found <= {"div", "strong", "em", "pre", "table", "tr", "td", "th", "img", "svg", "path"}
    for text in (str(shown), shown._repr_html_()):
        assert text.replace("\n", "").isprintable()


class _Harm:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/never-made-by-a-preview",)


def test_markup_and_control_characters_are_text_wherever_they_are(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs[MARKUP] = MARKUP
        file[MARKUP.replace("/", "-")] = np.zeros(3)
        file["link"] = h5py.ExternalLink(MARKUP, MARKUP)
    pa.parquet.write_table(pa.table({MARKUP: [MARKUP]}), tmp_path / "a.parquet")
    pa.feather.write_feather(pa.table({MARKUP: [MARKUP]}), str(tmp_path / "a.feather"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(MARKUP, b"x")
    for path in tmp_path.iterdir():
        check_harmless(look(path))
        assert "script" in str(look(path))
    for name in ("a.csv", "a.tsv", "a.txt", "a.json", "a.html", "a.svg", "a.xml", "a.md", f"{MARKUP}.txt"):
        for content in (f"{MARKUP}\n{MARKUP}", f'"{MARKUP}",1', json.dumps({MARKUP: MARKUP})):
            check_harmless(look_at(name, content.encode()))


def test_pickles_are_not_read(tmp_path: Path) -> None:
    content = pickle.dumps(_Harm())
    np.save(tmp_path / "o.npy", np.array([_Harm()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", o=np.array([_Harm()], dtype=object))
    assert "is a pickle and is not read" in str(look(tmp_path / "o.npy"))
    assert "(1,) object, which is a…" in str(look(tmp_path / "o.npz"))
    for name in ("a.pkl", "a.npy", "a.npz", "a.mat", "a.h5", "a.parquet", "a.feather"):
        look_at(name, content)
    assert not Path("/tmp/never-made-by-a-preview").exists()


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody can open for reading without waiting for ever; and by which it is seen if somebody does."""
    path = tmp_path / "trap.h5"
    os.mkfifo(path)
    yield path
    with pytest.raises(OSError, match="No such device"):  # nobody reads
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.timeout(30)
def test_other_files_are_not_opened(tmp_path: Path, trap: Path) -> None:
    layout = h5py.VirtualLayout(shape=(4,), maxshape=(None,), dtype="f8")
    source = h5py.VirtualSource(str(trap), "x", shape=(4,), maxshape=(None,))
    layout[: h5py.h5s.UNLIMITED :] = source[: h5py.h5s.UNLIMITED :]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(trap), "/x")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("outside", (4,), "f8", external=[(str(trap), 0, 32)])
        file["x"] = np.zeros(3)
        own = h5py.VirtualLayout(shape=(3,), dtype="f8")
        own[:] = h5py.VirtualSource(file["x"])
        file.create_virtual_dataset("own", own)
    shown = str(look(tmp_path / "a.h5"))
    assert "link -> /x of another file" in shown
    assert "virtual  is made of other files, not opened" in shown
    assert "outside  has its data in another file, not opened" in shown
    assert "own  (3,) float64" in shown


def test_offsets_that_arrow_would_end_the_process_for_are_an_error(tmp_path: Path, in_child: InChild) -> None:
    table = pa.table({"s": pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["abcd", "efgh"]))})
    pa.feather.write_feather(table, str(tmp_path / "a.feather"), compression="uncompressed")
    content = (tmp_path / "a.feather").read_bytes()
    offsets = struct.pack("<3i", 0, 4, 8)
    assert content.count(offsets) == 1
    broken = content.replace(offsets, struct.pack("<3i", 0, 2**31 - 1, -(2**31)))
    assert "cannot be shown" in in_child(lambda: str(look_at("a.feather", broken)))


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * 10_000_000)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def _bombs(directory: Path) -> dict[str, bytes]:
    zeros = np.zeros(100_000_000, "u1")
    with zipfile.ZipFile(directory / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", zeros.tobytes())
        archive.writestr("b.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 100_000_000)
    table = pa.table({"a": pa.array(zeros)})
    pa.feather.write_feather(table, str(directory / "a.feather"), compression="zstd", chunksize=len(zeros))
    pa.parquet.write_table(table, directory / "a.parquet", compression="zstd", row_group_size=len(zeros))
    with h5py.File(directory / "a.h5", "w") as file:
        file.create_dataset("a", data=zeros, compression="gzip", chunks=(10_000_000,))
    lying = io.BytesIO()
    np.save(lying, np.zeros(3))
    return {
        **{path.name: path.read_bytes() for path in directory.iterdir()},
        "a.png": _png_header(60_000, 60_000),
        "large.png": _png_header(12_000, 12_000),
        "a.csv.gz": zlib.compressobj(wbits=31).compress(b"1,2\n" * 20_000_000),
        "a.json": b"[" * 60_000,
        "a.csv": b'"' + b"\n," * 30_000,
        "long.txt": b"a" * 10_000_000,
        "lie.npy": lying.getvalue().replace(b"(3,)", b"(9999999999,)"),
    }


def _look_in_little_memory(bombs: dict[str, bytes]) -> dict[str, str]:
    look_at("warm.csv", b"a\n1\n")  # libraries are loaded before the limit
    import datajoint_file.preview.hdf5
    import datajoint_file.preview.images
    import datajoint_file.preview.tables  # noqa: F401

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
    return {name: str(look_at(name, content)) for name, content in bombs.items()}


def test_bombs_do_not_go_off(tmp_path: Path, in_child: InChild) -> None:
    bombs = _bombs(tmp_path)
    shown = in_child(_look_in_little_memory, bombs)
    assert not [name for name, text in shown.items() if "MemoryError" in text]
    assert "too large for its first rows" in shown["a.feather"]
    assert "100,000,000 rows" in shown["a.parquet"]
    assert "too large for a picture" in shown["large.png"]
    assert "(100000000,) uint8" in shown["a.h5"]
    assert all(len(text) < 20_000 for text in shown.values())


KINDS = [
    "png",
    "jpg",
    "tif",
    "gif",
    "npy",
    "npz",
    "mat",
    "h5",
    "nc",
    "parquet",
    "feather",
    "wav",
    "flac",
    "csv",
    "json",
    "gz",
]


@settings(deadline=None)  # the first call loads libraries
@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_any_bytes_of_any_name_are_shown(suffix: str, content: bytes) -> None:
    check_harmless(look_at(f"a.{suffix}", content))


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("sound")
    Image.new("RGB", (30, 30), "red").save(directory / "a.png")
    Image.new("L", (30, 30)).save(directory / "a.tif")
    np.savez(directory / "a.npz", x=np.arange(5))
    np.save(directory / "a.npy", np.arange(5))
    pa.parquet.write_table(pa.table({"x": [1, 2, 3]}), directory / "a.parquet")
    pa.feather.write_feather(pa.table({"x": ["a", "b", "a"]}), str(directory / "a.feather"), compression="lz4")
    with h5py.File(directory / "a.h5", "w") as file:
        file["g/x"] = np.zeros(4)
        file["g"].attrs["a"] = "b"
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@given(st.data())
def test_damaged_files_are_shown(sound_files: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(sound_files)))
    content = bytearray(sound_files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    check_harmless(look_at(name, bytes(content[: data.draw(st.integers(1, len(content)))])))


class _Entry:
    """A stored directory or file of a name, in memory."""

    def __init__(self, name: str, content: bytes | dict[str, Any]) -> None:
        self.name = name
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    def is_dir(self) -> bool:
        return isinstance(self._content, dict)

    def iterdir(self) -> Iterator[_Entry]:
        assert isinstance(self._content, dict)
        return (_Entry(name, content) for name, content in self._content.items())

    def joinpath(self, *paths: str) -> _Entry:
        assert isinstance(self._content, dict)
        return _Entry(paths[0], self._content[paths[0]])

    def __contains__(self, path: object) -> bool:
        return path in self._content

    def read(self) -> bytes:
        assert isinstance(self._content, bytes)
        return self._content


def test_directories_are_cut_and_what_they_say_is_text() -> None:
    many: dict[str, Any] = {f"{n}{MARKUP}".replace("/", ""): b"x" for n in range(100)}
    deep: Any = {"bottom": b""}
    for _ in range(50):
        deep = {"deeper": deep, **many}
    shown = preview_directory(_Entry("tree", deep))
    check_harmless(shown)
    assert len(str(shown).splitlines()) < 70
    assert "bottom" not in str(shown)


@pytest.mark.parametrize(
    "document",
    [
        *("[]", "5", "[" * 3000, "\x00", '{"shape": "x", "chunk_grid": 5}', '{"attributes": 5}', '{"shape": null}'),
        json.dumps({"attributes": {MARKUP: MARKUP}, "shape": [MARKUP], "data_type": {MARKUP: 1}}),
    ],
)
def test_zarr_that_says_nonsense_is_shown(document: str) -> None:
    inner = {"zarr.json": document.encode(), "a": {".zarray": document.encode(), ".zattrs": document.encode()}}
    check_harmless(preview_directory(_Entry("a.zarr", inner)))


def test_seconds_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datajoint_file.preview.stream.MOST_SECONDS", 0.0)
    shown = str(preview_file(Subject("a.png", 10, None, lambda: io.BytesIO(b"0123456789"))))
    assert "too large to preview: open it with ref.open()" in shown
    assert "30 31 32" in shown


def test_values_that_are_no_numbers_have_no_height(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    scipy.io.wavfile.write(path, 8000, np.array([0, np.nan, 1, -np.inf, np.inf, 0.5], "f4"))
    check_harmless(shown := look(path))
    assert "nan" not in shown._repr_html_()
    assert str(shown).splitlines()[1].strip() == "▁▁███▅"
    large = np.finfo("f8").max
    tifffile.imwrite(tmp_path / "a.tif", np.array([[np.nan, np.inf], [-np.inf, large], [-large, 0]]), metadata=None)
    shown = look(tmp_path / "a.tif")
    assert shown.png is not None
    with Image.open(io.BytesIO(shown.png)) as picture:
        assert np.asarray(picture).ravel().tolist() == [0, 255, 0, 255, 0, 127]


@pytest.mark.parametrize("is_compressed", [True, False])
def test_names_of_matlab_are_not_as_long_as_they_say(is_compressed: bool) -> None:
    variable = struct.pack("<IIII", 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 2**24)
    matrix = struct.pack("<II", 14, len(variable) + 2**24) + variable + b"a" * 2**24
    packed = zlib.compress(matrix)
    content = struct.pack("<II", 15, len(packed)) + packed if is_compressed else matrix
    shown = look_at("a.mat", b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + content)
    assert "the name of a variable in it has 16777216 bytes" in str(shown)
