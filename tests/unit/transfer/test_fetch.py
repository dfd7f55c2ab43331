"""Objects that come in several streams: hashed in order, whatever the order in which they arrive."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from datajoint_file.errors import HashMismatchError, ObjectNotFoundError, SizeMismatchError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.storage.backend import Capabilities, ObjectStat
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.storage.tuning import RANGE_SIZE
from datajoint_file.transfer.atomic_write import atomic_write
from datajoint_file.transfer.fetch import fetch

PATIENCE_SECONDS = 20
KEY = "lab/s/objects/R-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/x.dat"
CONTENT = os.urandom(3 * RANGE_SIZE + 12345)


class Backwards(DelegatingBackend):
    """Gives no byte of the beginning before the last streams have come to their end."""

    def __init__(self, content: bytes, *, claimed: int | None = None) -> None:
        super().__init__(LocalBackend(Path("nowhere"), "lab"))
        self.content = content
        self.claimed = claimed
        self.last_is_over = threading.Event()

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, ranges=4)

    def stat(self, key: str) -> ObjectStat:
        return ObjectStat(key, self.claimed or len(self.content), None)

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes, None, None]:
        if start == 0:
            assert self.last_is_over.wait(PATIENCE_SECONDS)
        for position in range(start, min(stop, len(self.content)), 100_000):
            yield self.content[position : min(position + 100_000, stop)]
        if stop >= len(self.content):
            self.last_is_over.set()


def recorded(content: bytes) -> FileMetadata:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return FileMetadata(KEY, len(content), digest, "x.dat", datetime.now(timezone.utc))


def download(backend: Backwards, target: Path) -> int:
    told: list[int] = []
    with atomic_write(target) as new:
        fetch(backend, recorded(CONTENT), new.write, told.append, new)
    return sum(told)


def test_what_comes_before_its_turn_is_hashed_in_order(tmp_path: Path) -> None:
    assert download(Backwards(CONTENT), tmp_path / "x.dat") == len(CONTENT)
    assert (tmp_path / "x.dat").read_bytes() == CONTENT


@pytest.mark.parametrize("position", [0, RANGE_SIZE, len(CONTENT) - 1])
def test_a_wrong_byte_is_found_wherever_it_is(tmp_path: Path, position: int) -> None:
    wrong = bytearray(CONTENT)
    wrong[position] ^= 1
    with pytest.raises(HashMismatchError):
        download(Backwards(bytes(wrong)), tmp_path / "x.dat")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x"])
def test_an_object_that_changes_its_size_meanwhile_is_refused(tmp_path: Path, content: bytes) -> None:
    backend = Backwards(content, claimed=len(CONTENT))
    backend.last_is_over.set()
    with pytest.raises(SizeMismatchError):
        download(backend, tmp_path / "x.dat")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_one_stream_ends_the_others(tmp_path: Path) -> None:
    class Lost(Backwards):
        def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes, None, None]:
            if start:
                raise ObjectNotFoundError(f"{key} is gone").of(key)
            yield from super().iter_range(key, start, stop)

    backend = Lost(CONTENT)
    backend.last_is_over.set()
    with pytest.raises(ObjectNotFoundError):
        download(backend, tmp_path / "x.dat")
    assert list(tmp_path.iterdir()) == []
