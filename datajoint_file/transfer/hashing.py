"""Hashing readers: bytes are hashed, counted and compared as they pass, each read once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import LastingPool
from datajoint_file.errors import HashMismatchError, SizeMismatchError
from datajoint_file.model.media_types import HEAD_SIZE
from datajoint_file.storage.backend import CHUNK_SIZE, HashedReader, Reader, Receipt


class Digest(Protocol):
    """What bytes are hashed by, as they come."""

    def update(self, chunk: bytes | memoryview, /) -> None:
        """Take the next bytes."""
        ...

    def digest(self) -> bytes:
        """Return the hash of all bytes so far."""
        ...

    def hexdigest(self) -> str:
        """Return it in hexadecimal digits."""
        ...


class _NoDigest:
    """Hashes nothing."""

    def update(self, _chunk: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes:
        return b""

    def hexdigest(self) -> str:
        return ""


NO_DIGEST: Digest = _NoDigest()
"""For bytes that nobody wants the hash of."""


class HashingReader:
    """Passes a reader on while hashing and counting what goes through: the hash is of the bytes that were sent.

    Large pieces are hashed in another thread while they are sent and the next is read.
    """

    def __init__(self, reader: Reader, advance: Advance) -> None:
        self._reader = reader
        self._advance = advance
        self._hash: Digest = hashlib.sha256()
        self._hashed: Future[None] | None = None
        self.head = b""  # the first bytes, by which a media type is known
        self.size = 0  # bytes so far
        self.receipt = Receipt()  # what becomes of them, if it is a store that reads
        self.is_at_end = False  # the reader has given all that it has

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        chunk = self._reader.read(size)
        self._wait()
        if len(chunk) < _HASH_HERE or self._hash is NO_DIGEST:
            self._hash.update(chunk)
        else:
            self._hashed = _hashers(os.getpid()).submit(self._hash.update, chunk)
        self._count(chunk)
        return chunk

    def _count(self, chunk: bytes | memoryview) -> None:
        if self.size < HEAD_SIZE:
            self.head += bytes(chunk[: HEAD_SIZE - self.size])
        self.size += len(chunk)
        self.is_at_end = not chunk
        self._advance(len(chunk))

    @property
    def descriptor(self) -> int | None:
        """The file that the bytes come from, if they are all of one, and none has been read yet."""
        return getattr(self._reader, "descriptor", None)

    def copied(self, chunk: bytes | memoryview) -> None:
        """Take note of the next bytes, which the store has copied by itself, as it has them."""
        self._hash.update(chunk)
        self._count(chunk)
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
def _hashers(_process: int) -> LastingPool:
    """Return the threads for hashing of a process; a child made by fork has none of its parent's."""
    return LastingPool(os.cpu_count(), thread_name_prefix="sha256")


class VerifyingReader(HashingReader):
    """A `HashingReader` that, at the end, raises unless the bytes were those expected.

    It stops at the first byte too many, so a tampered object cannot fill a disk. ``read`` raises as `require_size` and
    `require_hash` do.
    """

    def __init__(self, reader: Reader, size: int, hash_: str | None, advance: Advance) -> None:
        super().__init__(reader, advance)
        self._expected_size = size
        self._expected_hash = hash_  # if it is to be compared
        if hash_ is None:
            self._hash = NO_DIGEST

    def copied(self, chunk: bytes | memoryview) -> None:
        """Take note of the next bytes, which the store has copied by itself."""
        self._hash.update(chunk)
        self._count(chunk)
        self._check(is_end=False)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end, if all were as expected."""
        chunk = super().read(size)
        self._check(is_end=not chunk or size < 0)
        return chunk

    def _check(self, *, is_end: bool) -> None:
        if is_end or self.size > self._expected_size:
            require_size(self._expected_size, self.size)
        if is_end and self._expected_hash is not None:
            require_hash(self._expected_hash, self.sha256.hex())


def require_size(expected: int, found: int) -> None:
    """Raise a `SizeMismatchError` unless there are as many bytes as expected; of too many, not all need be counted."""
    if found != expected:
        raise SizeMismatchError(f"expected {expected} bytes, found {found if found < expected else 'more'}")


def require_whole(start: int, stop: int, found: int) -> None:
    """Raise unless all bytes of a range have come."""
    if found != stop - start:
        raise SizeMismatchError(f"expected {stop - start} bytes from {start} on, found {found}")


def require_hash(expected: str, digest: str) -> None:
    """Raise a `HashMismatchError` unless *expected* is *digest*, the SHA-256 of all bytes in hexadecimal digits."""
    if expected != f"sha256:{digest}":
        error = HashMismatchError(f"expected {expected}, found sha256:{digest}")
        error.found = f"sha256:{digest}"
        raise error


def copy(reader: Reader, write: Callable[[bytes], object]) -> None:
    """Hand all that *reader* gives to *write*, a chunk at a time."""
    while chunk := reader.read(CHUNK_SIZE):
        write(chunk)


def drain(reader: Reader) -> None:
    """Read *reader* to its end and keep nothing: for readers that check."""
    copy(reader, lambda _: None)


def hash_file(path: Path) -> str:
    """Return the hash of a local file's bytes."""
    with path.open("rb") as file:
        reader = HashingReader(file, lambda _: None)
        drain(reader)
        return reader.hash
