"""Previews of each kind of file: what is told of it, and how little is read for that."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile
import tifffile
from PIL import Image

from datajoint_file.errors import StorageUnavailableError, UnsupportedValueError
from datajoint_file.preview import Preview, Subject, preview_file
from datajoint_file.preview.shown import Picture
from datajoint_file.preview.stream import MOST_BYTES


def look(path: Path, mime_type: str | None = None) -> Preview:
    return preview_file(Subject(path.name, path.stat().st_size, mime_type, lambda: path.open("rb")))


def look_at(name: str, content: bytes, mime_type: str | None = None) -> Preview:
    return preview_file(Subject(name, len(content), mime_type, lambda: io.BytesIO(content)))


def decoded(preview: Preview) -> Any:
    assert preview.png is not None
    return Image.open(io.BytesIO(preview.png))


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"trial": range(40), "v": np.linspace(0, 1, 40), "day": pd.Timestamp("2025-01-15")})


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif"])
def test_image_is_shown_small(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan.{suffix}"
    red = np.zeros((600, 1200, 3), "u1")
    red[..., 0] = 200
    Image.fromarray(red).save(path)
    shown = look(path)
    assert "1,200 x 600 pixels" in str(shown)
    assert decoded(shown).size == (480, 240)
    assert decoded(shown).convert("RGB").getpixel((100, 100))[0] in range(195, 206)
    assert "data:image/png;base64," in shown._repr_html_()
    assert shown._repr_png_() == shown.png
    assert shown.save(tmp_path / "small.png").read_bytes() == shown.png
    with pytest.raises(FileExistsError):
        shown.save(tmp_path / "small.png")


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("u2", {}),
        ("f4", {"compression": "zlib"}),
        ("f8", {}),
        ("u4", {}),
        ("i2", {}),
    ],
)
def test_microscope_stack_shows_its_first_page_from_dark_to_bright(
    tmp_path: Path, dtype: str, options: dict[str, Any]
) -> None:
    stack = np.zeros((4, 60, 80), dtype)
    stack[:, :, 40:] = 1000
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack", **options)
    shown = look(tmp_path / "stack.tif")
    assert "4 pages" in str(shown)
    picture = decoded(shown).convert("L")
    assert (picture.getpixel((0, 0)), picture.getpixel((79, 0))) == (0, 255)


def test_picture_has_nothing_of_what_the_file_says_of_itself(tmp_path: Path) -> None:
    image = Image.new("P", (10, 10))
    image.info["comment"] = b"patient"
    exif = Image.Exif()
    exif[0x010E] = "patient"
    image.convert("RGB").save(tmp_path / "a.png", exif=exif)
    assert b"patient" in (tmp_path / "a.png").read_bytes()
    assert b"patient" not in (look(tmp_path / "a.png").png or b"")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "parquet", "feather", "semicolons.csv"])
def test_table_shows_its_first_rows(tmp_path: Path, frame: pd.DataFrame, suffix: str) -> None:
    path = tmp_path / f"trials.{suffix}"
    if suffix.endswith("parquet"):
        frame.to_parquet(path)
    elif suffix.endswith("feather"):
        frame.to_feather(path, compression="zstd")
    else:
        frame.to_csv(path, index=False, sep={"tsv": "\t", "semicolons.csv": ";"}.get(suffix, ","))
    shown = str(look(path))
    header, first, second = shown.splitlines()[1:4]
    assert header.split() == ["trial", "v", "day"]
    assert first.split()[:3] == ["0", "0.0", "2025-01-15"]
    assert second.startswith("  1 ")
    assert "3 columns" in shown
    assert ("40 rows" in shown) == (suffix not in ("csv.gz", "feather"))
    assert "<th" in look(path)._repr_html_()


def test_wide_table_is_cut() -> None:
    content = ",".join(f"c{n}" for n in range(500)) + "\n" + ",".join("x" * 100 for _ in range(500))
    shown = str(look_at("wide.csv", content.encode()))
    assert "… and 490 more columns" in shown
    assert max(map(len, shown.splitlines())) < 300


def test_text_and_json_show_their_first_lines() -> None:
    assert str(look_at("a.txt", "Größe\n\tb\n".encode())).splitlines()[1:] == ["  Größe", "      b"]
    assert '    "b": 1' in str(look_at("a.json", b'{"a": {"b": 1}}'))
    assert "{oh" in str(look_at("bad.json", b"{oh"))
    long = str(look_at("log.txt", b"line\n" * 100_000))
    assert "first lines" in long
    assert len(long.splitlines()) == 31
    assert "a: 1" in str(look_at("p.yaml", b"a: 1\n"))
    assert "print(1)" in str(look_at("no suffix", b"print(1)\n"))
    assert "Gr" in str(look_at("old.txt", "Größe".encode("latin-1")))
    assert "Größe" in str(look_at("windows.txt", "Größe".encode("utf-16")))
    assert "empty" in str(look_at("a.png", b""))


def test_arrays_show_shape_type_and_first_values(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(60, dtype="i2").reshape(3, 20))
    assert str(look(tmp_path / "a.npy")).splitlines()[0].endswith("(3, 20) int16")
    assert " 0  1  2  3" in str(look(tmp_path / "a.npy"))
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(5.0), y=np.zeros((2, 2), "i4"))
    assert "x.npy  168 B  (5,) float64" in str(look(tmp_path / "a.npz"))
    assert "(2, 2) int32" in str(look(tmp_path / "a.npz"))
    scipy.io.savemat(tmp_path / "a.mat", {"spikes": np.eye(3), "label": "text"}, do_compression=True)
    assert "spikes  (3, 3)  double" in str(look(tmp_path / "a.mat"))
    np.save(tmp_path / "0.npy", np.zeros((0, 3)))
    np.save(tmp_path / "s.npy", np.zeros(3, [("a", "i4"), ("b", "f8")]))
    assert "(0, 3) float64" in str(look(tmp_path / "0.npy"))
    assert "('b', '<f8')" in str(look(tmp_path / "s.npy"))


def test_hdf5_shows_its_tree(tmp_path: Path) -> None:
    path = tmp_path / "session.nwb"
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
        file.attrs["many"] = np.arange(1000)
        data = file.create_dataset("acquisition/lfp/data", data=np.zeros((100, 3)), compression="gzip")
        data.attrs["unit"] = "V"
        file["note"] = "text"
        file["again"] = h5py.SoftLink("/acquisition")
        file["acquisition/up"] = file["/"]
    lines = [line.strip() for line in str(look(path)).splitlines()]
    for line in (
        "@nwb_version = 2.6.0",
        "@many = (1000,) int64",
        "acquisition/",
        "lfp/",
        "data  (100, 3) float64, gzip",
        "@unit = V",
        "note  () text",
        "again -> /acquisition",
        "up/",
    ):
        assert line in lines
    assert lines.count("acquisition/") == 1


def test_netcdf_of_both_forms_and_matlab_of_both_forms_are_shown(tmp_path: Path) -> None:
    for version in (1, 2):
        with scipy.io.netcdf_file(str(tmp_path / "a.nc"), "w", version=version) as file:
            file.createDimension("time", None)
            file.createDimension("x", 3)
            variable = file.createVariable("v", "f4", ("time", "x"))
            variable[:] = np.zeros((4, 3))
            variable.units = "mV"
        shown = str(look(tmp_path / "a.nc"))
        assert "v  (time: 4, x: 3) float32" in shown
        assert "@units = mV" in shown
    with h5py.File(tmp_path / "new.nc", "w") as file:
        file["v"] = np.zeros(3)
    assert "v  (3,) float64" in str(look(tmp_path / "new.nc"))
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["v"] = np.zeros(3)
    with (tmp_path / "new.mat").open("r+b") as block:
        block.write(b"MATLAB 7.3 MAT-file".ljust(126) + b"IM")
    assert "v  (3,) float64" in str(look(tmp_path / "new.mat"))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "flac"])
def test_sound_shows_duration_rate_channels_and_outline(tmp_path: Path, subtype: str) -> None:
    tone = np.sin(np.arange(20_000) * 0.5) * np.linspace(0, 0.99, 20_000)
    path = tmp_path / ("a.flac" if subtype == "flac" else "a.wav")
    soundfile.write(path, np.stack([tone, tone], 1), 8000, subtype=None if subtype == "flac" else subtype)
    first, outline = str(look(path)).splitlines()
    assert "0:00:02.5, 8,000 Hz" in first
    assert "2 channels" in first
    assert outline.strip() == "".join(sorted(outline.strip()))
    assert (outline.strip()[0], outline.strip()[-1], len(outline.strip())) == ("▁", "█", 60)
    assert "<svg" in look(path)._repr_html_()


def test_silence_of_no_length_and_a_header_that_lies_are_shown(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 800)
    assert "0:00:00.1" in str(look(tmp_path / "a.wav"))
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[40:44] = b"\xff\xff\xff\x7f"
    assert "0:00:00.1" in str(look_at("a.wav", bytes(content)))


def test_unknown_bytes_are_shown_as_hex() -> None:
    shown = look_at("a.dat", bytes(range(256)) * 100)
    assert "00 01 02 03" in str(shown)
    assert len(str(shown).splitlines()) == 1 + 8
    with pytest.raises(UnsupportedValueError, match=r"a\.dat has no picture"):
        shown.save("never.png")


def test_kind_is_told_by_name_then_row_then_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    content = (tmp_path / "a.npy").read_bytes()
    assert "(3,) float64" in str(look_at("no suffix", content))
    assert "(3,) float64" in str(look_at("no suffix", content, "application/octet-stream"))
    assert "a  b" in str(look_at("no suffix", b"a,b\n1,2\n", "text/csv"))


class _Counting(io.BytesIO):
    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize(
    ("suffix", "most"),
    [("npy", 10_000), ("csv", 80_000), ("h5", 200_000), ("wav", 600_000), ("tif", 3_000_000), ("bin", 5000)],
)
def test_no_more_is_read_than_is_shown(tmp_path: Path, suffix: str, most: int) -> None:
    path = tmp_path / f"a.{suffix}"
    many = np.arange(4_000_000, dtype="i2")
    if suffix == "npy":
        np.save(path, many)
    elif suffix == "csv":
        path.write_bytes(b"1,2,3\n" * 500_000)
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file["data"] = many
    elif suffix == "wav":
        scipy.io.wavfile.write(path, 20_000, many)
    elif suffix == "tif":
        tifffile.imwrite(path, many.reshape(4, 1000, 1000), photometric="minisblack")
    else:
        path.write_bytes(many.tobytes())
    file = _Counting(path.read_bytes())
    preview_file(Subject(path.name, path.stat().st_size, None, lambda: file))
    assert file.read_bytes < most < path.stat().st_size


def test_what_would_take_too_much_says_so(tmp_path: Path) -> None:
    size = MOST_BYTES + 100_000
    content = _png_of_size(size)
    shown = look_at("huge.png", content)
    assert "too" in str(shown)
    assert shown.png is None
    tifffile.imwrite(tmp_path / "big.tif", np.zeros((7000, 7000), "f4"))
    shown = look(tmp_path / "big.tif")
    assert "7,000 x 7,000 pixels" in str(shown)
    assert "too large for a picture" in str(shown)


def _png_of_size(size: int) -> bytes:
    """Return a PNG whose pixels cannot be compressed."""
    side = int((size / 3) ** 0.5) + 1
    made = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype="u1")
    Image.fromarray(pixels).save(made, "PNG", compress_level=0)
    return made.getvalue()


class _Failing(io.BytesIO):
    def __init__(self, content: bytes, after: int) -> None:
        super().__init__(content)
        self._after = after

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() + (size or 0) > self._after:
            raise StorageUnavailableError("no network")
        return super().read(size)


@pytest.mark.parametrize("suffix", ["png", "h5", "npz", "parquet", "feather", "mat", "flac", "wav", "tif"])
def test_failure_of_the_store_is_raised_and_taken_for_no_damage(
    tmp_path: Path, suffix: str, frame: pd.DataFrame
) -> None:
    path = tmp_path / f"a.{suffix}"
    wide = np.random.default_rng(0).integers(0, 255, (300, 300), dtype="u1")
    writers: dict[str, Any] = {
        "png": lambda: Image.fromarray(wide).save(path),
        "tif": lambda: tifffile.imwrite(path, wide),
        "npz": lambda: np.savez(path, wide=wide),
        "mat": lambda: scipy.io.savemat(path, {f"v{n}": wide for n in range(3)}),
        "parquet": lambda: pd.concat([frame] * 200).to_parquet(path, compression=None),
        "feather": lambda: pd.concat([frame] * 200).reset_index(drop=True).to_feather(path, compression="uncompressed"),
        "flac": lambda: soundfile.write(path, wide.ravel() / 256, 8000),
        "wav": lambda: soundfile.write(path, wide.ravel() / 256, 8000),
        "h5": lambda: _groups(path),
    }
    writers[suffix]()
    assert "cannot" not in str(look(path))
    subject = Subject(path.name, path.stat().st_size, None, lambda: _Failing(path.read_bytes(), 5000))
    with pytest.raises(StorageUnavailableError, match="no network"):
        preview_file(subject)


def _groups(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number in range(50):
            file[f"g{number}/data"] = np.zeros(1000)


def test_missing_library_names_its_pip_line_and_the_rest_is_said(tmp_path: Path) -> None:
    files = {"a.png": "pillow", "a.h5": "h5py", "a.parquet": "pyarrow", "a.flac": "soundfile", "a.mat": "scipy"}
    code = f"""
import io, sys
for module in ("PIL", "h5py", "pyarrow", "soundfile", "scipy", "scipy.io"):
    sys.modules[module] = None
from datajoint_file.preview import Subject, preview_file
for name, pip in {files!r}.items():
    shown = str(preview_file(Subject(name, 4, None, lambda: io.BytesIO(b"abcd"))))
    assert f"pip install {{pip}}" in shown, shown
    assert "61 62 63 64" in shown and "4 B" in shown, shown
assert "a  b" in str(preview_file(Subject("a.csv", 8, None, lambda: io.BytesIO(b"a,b\\n1,2\\n"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_preview_is_a_value_that_is_shown_without_reading() -> None:
    shown = look_at("a.csv", b"a,b\n1,2\n")
    assert repr(shown) == str(shown)
    assert shown == look_at("a.csv", b"a,b\n1,2\n")
    assert Picture(b"", 1, 2).text() == ["[picture of 1 x 2 pixels: .save('picture.png') writes it]"]
    assert json.dumps(str(shown))
    assert gzip.compress(str(shown).encode())
