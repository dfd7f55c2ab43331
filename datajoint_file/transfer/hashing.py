"""Hashing readers: bytes are hashed, counted and compared as they pass, each read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import cast

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import HashMismatchError, SizeMismatchError
from datajoint_file.model.media_types import HEAD_SIZE
from datajoint_file.storage.backend import CHUNK_SIZE, HashedReader, Reader


class HashingReader:
    """Passes a reader on while hashing and counting what goes through: the hash is of the bytes that were sent.

    Large pieces are hashed in another thread while they are sent and the next is read.

    Parameters
    ----------
    reader : Reader
        Where the bytes come from.
    advance : callable
        Told how many bytes each read gave.

    Attributes
    ----------
    head : bytes
        The first bytes, by which a media type is known.
    size : int
        Bytes so far.
    """

    def __init__(self, reader: Reader, advance: Advance) -> None:
        self._reader = reader
        self._advance = advance
        self._hash = hashlib.sha256()
        self._hashed: Future[None] | None = None
        self.head = b""
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        chunk = self._reader.read(size)
        self._wait()
        if len(chunk) < _HASH_HERE:
            self._hash.update(chunk)
        else:
            self._hashed = _hashers(os.getpid()).submit(self._hash.update, chunk)
        if self.size < HEAD_SIZE:
            self.head += chunk[: HEAD_SIZE - self.size]
        self.size += len(chunk)
        self._advance(len(chunk))
        return chunk

    @property
    def descriptor(self) -> int | None:
        """The file that the bytes come from, if they are all of one, and none has been read yet."""
        return getattr(self._reader, "descriptor", None)

    def copied(self, chunk: bytes | memoryview) -> None:
        """Take note of the next bytes, which the store has copied by itself, as it has them; of none at the end."""
        self._hash.update(chunk)
        if self.size < HEAD_SIZE:
            self.head += bytes(chunk[: HEAD_SIZE - self.size])
        self.size += len(chunk)
        self._advance(len(chunk))
        cast("HashedReader", self._reader).copied(chunk)

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of all bytes so far."""
        self._wait()
        return self._hash.digest()

    @property
    def hash(self) -> str:
        """The hash of all bytes so far, ``sha256:…``."""
        return f"sha256:{self.sha256.hex()}"

    def _wait(self) -> None:
        """Wait until what was handed to the other thread is hashed: the order matters, and it goes one at a time."""
        if self._hashed is not None:
            self._hashed.result()
            self._hashed = None


_HASH_HERE = 2**19
"""Handing over a piece costs as much as hashing a tenth of this."""


@cache
def _hashers(_process: int) -> ThreadPoolExecutor:
    """Return the threads for hashing of a process; a child made by fork has none of its parent's."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sha256")


class VerifyingReader(HashingReader):
    """A `HashingReader` that, at the end, raises unless the bytes were those expected.

    It stops at the first byte too many, so a tampered object cannot fill a disk.

    Parameters
    ----------
    reader : Reader
        Where the bytes come from.
    size : int
        How many to expect.
    hash_ : str
        Their hash.
    advance : callable
        Told how many bytes each read gave.

    Raises
    ------
    SizeMismatchError, HashMismatchError
        From ``read``, at the end or at the first byte too many.
    """

    def __init__(self, reader: Reader, size: int, hash_: str, advance: Advance) -> None:
        super().__init__(reader, advance)
        self._expected_size = size
        self._expected_hash = hash_

    def copied(self, chunk: bytes | memoryview) -> None:
        """Take note of the next bytes, which the store has copied by itself; at the end, check."""
        self._hash.update(chunk)
        self.size += len(chunk)
        self._advance(len(chunk))
        self._check_size()
        if not chunk:
            self._check()

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end, if all were as expected."""
        chunk = super().read(size)
        self._check_size()
        if not chunk or size < 0:
            self._check()
        return chunk

    def _check_size(self) -> None:
        if self.size > self._expected_size:
            raise SizeMismatchError(f"expected {self._expected_size} bytes, found more")

    def _check(self) -> None:
        if self.size != self._expected_size:
            raise SizeMismatchError(f"expected {self._expected_size} bytes, found {self.size}")
        if self.hash != self._expected_hash:
            raise HashMismatchError(f"expected {self._expected_hash}, found {self.hash}")


def copy(reader: Reader, write: Callable[[bytes], object]) -> None:
    """Hand all that *reader* gives to *write*, a chunk at a time."""
    while chunk := reader.read(CHUNK_SIZE):
        write(chunk)


def drain(reader: Reader) -> None:
    """Read *reader* to its end and keep nothing: for readers that check."""
    while reader.read(CHUNK_SIZE):
        pass


def hash_file(path: Path) -> str:
    """Return the hash of a local file's bytes."""
    with path.open("rb") as file:
        reader = HashingReader(file, lambda _: None)
        drain(reader)
        return reader.hash
