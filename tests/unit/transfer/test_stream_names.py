"""Names of streams: of the bytes they give, whatever has wrapped the file those come out of."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import pytest

from datajoint_file.transfer.sources import as_source

CSV = b"x,y\n1,2\n"
MODULES = {"gz": gzip, "bz2": bz2, "xz": lzma}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Archives and compressed files, all of the same table."""
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(CSV)
    for suffix, module in MODULES.items():
        with module.open(f"a.csv.{suffix}", "wb") as file:
            file.write(CSV)
    with tarfile.open("run.tar.gz", "w:gz") as tar, zipfile.ZipFile("run.zip", "w") as packed:
        for name in ("a.csv", "a.csv.gz"):
            tar.add(name, f"inner/{name}")
            packed.write(name, f"inner/{name}")
    return tmp_path


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    with ExitStack() as stack:
        yield stack.enter_context


BUFFERED: dict[str, Callable[[Any], Any]] = {"bare": lambda stream: stream, "buffered": io.BufferedReader}


@pytest.mark.parametrize("wrap", BUFFERED.values(), ids=BUFFERED)
@pytest.mark.parametrize("suffix", MODULES)
def test_decompressed_file_has_the_name_without_the_suffix(
    directory: Path, suffix: str, wrap: Callable[[Any], Any], closing: Callable[[Any], Any]
) -> None:
    module, name = MODULES[suffix], f"a.csv.{suffix}"
    for stream in (
        module.open(name),
        module.open(closing(Path(name).open("rb"))),  # noqa: SIM115 - closed by the fixture
        fsspec.open(str(directory / name), compression="infer").open(),
        codecs.EncodedFile(closing(module.open(name)), "latin-1"),
    ):
        wrapped = stream if isinstance(stream, codecs.StreamRecoder) else wrap(stream)
        source = as_source(closing(wrapped))
        assert source.name == "a.csv"
        with source.open() as reader:
            assert reader.read(1000) == CSV


@pytest.mark.parametrize("wrap", BUFFERED.values(), ids=BUFFERED)
@pytest.mark.parametrize("mode", ["r", "r|gz"])
def test_member_of_a_tar_never_has_the_name_of_the_archive(
    directory: Path, mode: Any, wrap: Callable[[Any], Any], closing: Callable[[Any], Any]
) -> None:
    known = "a.csv" if sys.version_info >= (3, 12) else ""
    with tarfile.open("run.tar.gz", mode) as archive:
        for member in archive:
            stream: Any = archive.extractfile(member)
            if member.name.endswith(".gz"):
                stream = gzip.open(stream)  # noqa: SIM115 - closed by the fixture
            assert as_source(closing(wrap(stream))).name == known


@pytest.mark.parametrize("wrap", BUFFERED.values(), ids=BUFFERED)
def test_member_of_a_zip_has_its_own_name(directory: Path, wrap: Callable[[Any], Any]) -> None:
    with zipfile.ZipFile("run.zip") as archive:
        with archive.open("inner/a.csv") as member:
            assert as_source(wrap(member)).name == "a.csv"
        with archive.open("inner/a.csv.gz") as member, gzip.open(member) as stream:
            assert as_source(wrap(stream)).name == "a.csv"


def test_member_that_fsspec_opens_has_its_own_name(directory: Path, closing: Callable[[Any], Any]) -> None:
    assert as_source(closing(fsspec.open("zip://inner/a.csv::run.zip").open())).name == "a.csv"


def test_name_given_to_a_decompressor_is_that_of_its_bytes(directory: Path) -> None:
    with Path("a.csv.gz").open("rb") as file, gzip.GzipFile("given.csv", fileobj=file) as stream:
        assert as_source(stream).name == "given.csv"


def test_decompressed_file_whose_name_says_nothing_has_none(directory: Path) -> None:
    Path("a.csv.gz").rename("a.bin")
    with gzip.open("a.bin") as stream:
        assert as_source(stream).name == ""
    with gzip.open(io.BytesIO(gzip.compress(CSV))) as stream:
        assert as_source(stream).name == ""


def test_file_that_is_not_decompressed_keeps_its_name(directory: Path) -> None:
    for opened in (Path("a.csv.gz").open("rb"), fsspec.open(str(directory / "a.csv.gz"))):  # noqa: SIM115 - closed below
        with opened as stream:
            assert as_source(stream).name == "a.csv.gz"


def test_zstandard_stream_does_not_have_the_name_of_its_file(directory: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    Path("a.csv.zst").write_bytes(zstandard.ZstdCompressor().compress(CSV))
    with zstandard.open("a.csv.zst") as stream:
        assert as_source(stream).name == ""
        with as_source(stream).open() as reader:
            assert reader.read(1000) == CSV


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the standard library has Zstandard since 3.14")
def test_zstandard_file_of_the_library_has_the_name_without_the_suffix(directory: Path) -> None:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]

    Path("a.csv.zst").write_bytes(zstd.compress(CSV))
    with zstd.open("a.csv.zst") as stream:
        assert as_source(stream).name == "a.csv"
