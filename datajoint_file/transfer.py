"""The engine that moves bytes: read once, hash, count, compare, publish downloads atomically.

It knows hashes and sizes, but neither keys nor rows nor which store.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datajoint_file.errors import DestinationError, HashMismatchError, SizeMismatchError, printable
from datajoint_file.progress import Advance
from datajoint_file.storage.backend import CHUNK_SIZE, Reader


class HashingReader:
    """Passes a reader on while hashing and counting what goes through: the hash is of the bytes that were sent.

    Parameters
    ----------
    reader : Reader
        Where the bytes come from.
    advance : callable
        Told how many bytes each read gave.
    """

    def __init__(self, reader: Reader, advance: Advance) -> None:
        self._reader = reader
        self._advance = advance
        self._digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        chunk = self._reader.read(size)
        self._digest.update(chunk)
        self.size += len(chunk)
        self._advance(len(chunk))
        return chunk

    @property
    def hash(self) -> str:
        """The hash of all bytes read so far, ``sha256:…``."""
        return f"sha256:{self._digest.hexdigest()}"


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

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end, if all were as expected."""
        chunk = super().read(size)
        if self.size > self._expected_size:
            raise SizeMismatchError(f"expected {self._expected_size} bytes, found more")
        if not chunk or size < 0:
            self._check()
        return chunk

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


@contextmanager
def replacement(target: Path) -> Iterator[Callable[[bytes], object]]:
    """Give the function that writes to a file which takes *target*'s place if the block ends well, else vanishes.

    At every moment *target* is absent, what it was, or complete. A symbolic link is replaced, not written through.
    The file is flushed to the disk first.

    Raises
    ------
    DestinationError
        If the file cannot be written.
    """
    partial = target.with_name(f".datajoint-file-{secrets.token_hex(8)}.partial")  # short, whatever the target's name
    with _destination_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = partial.open("xb", buffering=0)  # a buffer would fail a second time when it is closed
    try:
        with file:
            yield _writer(file, target)
            with _destination_errors(target):
                os.fsync(file.fileno())
        with _destination_errors(target):
            partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _writer(file: io.FileIO, target: Path) -> Callable[[bytes], object]:
    def write(chunk: bytes) -> None:
        view = memoryview(chunk)
        with _destination_errors(target):
            while view:
                view = view[file.write(view) :]

    return write


@contextmanager
def _destination_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DestinationError(
            f"{printable(str(target))} cannot be written: {error.strerror or error}; nothing was left there"
        ) from error
