"""Copies by the kernel: what it cannot copy is read, whatever it says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE, KernelCopy
from datajoint_file.testing import generated
from datajoint_file.transfer.hashing import HashingReader
from datajoint_file.transfer.source_readers import open_file

SIZE = COPY_ABOVE + 1
KEY = "lab/subject1/k7/recording.dat"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "recording.dat"
    path.write_bytes(generated(SIZE))
    return path


@pytest.fixture
def nothing_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that copies 0 bytes of each file, as old kernels and some of FUSE do."""
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)


@pytest.mark.usefixtures("nothing_copied")
def test_file_of_which_the_kernel_copies_nothing_is_read(source: Path, tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "store", "lab")
    (tmp_path / "store").mkdir()
    with open_file(source) as reader:
        assert backend.upload(KEY, HashingReader(reader, lambda _: None), SIZE) == SIZE
    assert (tmp_path / "store" / KEY.removeprefix("lab/")).read_bytes() == generated(SIZE)


def test_copy_of_an_empty_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "source").touch()
    with (tmp_path / "source").open("rb") as file, (tmp_path / "target").open("wb+") as target:
        assert list(KernelCopy(file.fileno(), target.fileno(), flushes=False).chunks()) == []
