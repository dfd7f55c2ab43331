"""Copies by the kernel: what it cannot copy is read, whatever it says of it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from datajoint_file.errors import SourceChangedError, SourceError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE, KernelCopy
from datajoint_file.testing import generated
from datajoint_file.transfer.atomic_write import atomic_write
from datajoint_file.transfer.fetch import fetch
from datajoint_file.transfer.hashing import HashingReader
from datajoint_file.transfer.source_readers import open_file

SIZE = COPY_ABOVE + 1
KEY = "lab/subject1/k7/recording.dat"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "recording.dat"
    path.write_bytes(generated(SIZE))
    return path


def upload(source: Path, directory: Path, meanwhile: Callable[[int], object] = lambda _: None) -> int:
    """Store *source*, and do something with its descriptor when the first bytes have been."""
    (directory / "store").mkdir()
    with open_file(source) as reader:
        hashing = HashingReader(reader, lambda _: meanwhile(reader.descriptor))
        stored = LocalBackend(directory / "store", "lab").upload(KEY, hashing, source.stat().st_size)
        assert hashing.hash == f"sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
        return stored


def stored(directory: Path) -> bytes:
    return (directory / "store" / KEY.removeprefix("lab/")).read_bytes()


def is_nothing_stored(directory: Path) -> bool:
    return not any(path.is_file() for path in (directory / "store").rglob("*"))


@pytest.fixture
def nothing_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that copies 0 bytes of each file, as old kernels and some of FUSE do."""
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)


@pytest.mark.usefixtures("nothing_copied")
def test_file_of_which_the_kernel_copies_nothing_is_read(source: Path, tmp_path: Path) -> None:
    assert upload(source, tmp_path) == SIZE
    assert stored(tmp_path) == generated(SIZE)


def test_copy_of_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "source").touch()
    with (tmp_path / "source").open("rb") as file, (tmp_path / "target").open("wb+") as target:
        assert list(KernelCopy(file.fileno(), target.fileno(), flushes=False).chunks()) == []


LARGE = 7 * 2**20 + 1
ODDITIES = [0, OSError(errno.EIO, "Input/output error"), OSError(errno.EINVAL, "Invalid argument")]


@pytest.fixture(params=ODDITIES, ids=["zero", "EIO", "EINVAL"])
def stops_in_the_middle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that gives a copy up after 4 MiB of it."""
    copy = os.copy_file_range

    def some(source: int, target: int, count: int, at: int, to: int) -> int:
        if at < 4 * 2**20:
            return copy(source, target, count, at, to)
        if isinstance(request.param, OSError):
            raise request.param
        return 0

    monkeypatch.setattr(os, "copy_file_range", some)


@pytest.mark.usefixtures("stops_in_the_middle")
def test_what_the_kernel_leaves_out_is_read(source: Path, tmp_path: Path) -> None:
    source.write_bytes(generated(LARGE))
    assert upload(source, tmp_path) == LARGE
    assert stored(tmp_path) == generated(LARGE)


@pytest.mark.usefixtures("stops_in_the_middle")
def test_what_the_kernel_leaves_out_of_a_download_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lab" / "k7" / "x.dat"
    path.parent.mkdir(parents=True)
    path.write_bytes(generated(LARGE))
    hash_ = f"sha256:{hashlib.sha256(generated(LARGE)).hexdigest()}"
    metadata = FileMetadata("lab/k7/x.dat", LARGE, hash_, "x.dat", datetime.now(timezone.utc), "")
    with atomic_write(tmp_path / "here.dat") as new:
        fetch(LocalBackend(tmp_path / "lab", "lab"), metadata, new.write, lambda _: None, new)
    assert (tmp_path / "here.dat").read_bytes() == generated(LARGE)


@pytest.mark.parametrize("change", ["grows", "shrinks", "is replaced"])
def test_large_source_that_changes_meanwhile_is_blamed_itself(source: Path, tmp_path: Path, change: str) -> None:
    source.write_bytes(generated(LARGE))
    other = tmp_path / "other"
    other.write_bytes(generated(LARGE))
    os.utime(other, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))

    def changes(_: int) -> None:
        if change == "is replaced":
            other.exists() and other.replace(source)
        else:
            os.truncate(source, LARGE + 1 if change == "grows" else LARGE - 1)

    with pytest.raises(SourceChangedError, match=r"recording\.dat (changed|was replaced)"):
        upload(source, tmp_path, changes)
    assert is_nothing_stored(tmp_path)


def test_large_source_that_cannot_be_read_is_blamed_itself(source: Path, tmp_path: Path) -> None:
    source.write_bytes(generated(LARGE))
    unreadable = os.open(source, os.O_WRONLY)
    with pytest.raises(SourceError, match=r"recording\.dat cannot be read: Bad file descriptor"):
        upload(source, tmp_path, lambda descriptor: os.dup2(unreadable, descriptor))
    os.close(unreadable)
    assert is_nothing_stored(tmp_path)
