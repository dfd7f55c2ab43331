"""The engine that moves bytes: read once, hash, count, compare, publish downloads atomically.

It knows hashes and sizes, but neither keys nor rows nor which store.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import cast

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import DestinationError, HashMismatchError, SizeMismatchError, printable
from datajoint_file.model.media_types import HEAD_SIZE
from datajoint_file.storage.backend import CHUNK_SIZE, HashedReader, Reader
from datajoint_file.storage.disk.kernel_copy import KernelCopy, start_writing


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
            self._hashed = _hashers().submit(self._hash.update, chunk)
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

_pools: dict[int, ThreadPoolExecutor] = {}


def _hashers() -> ThreadPoolExecutor:
    """Return this process's threads for hashing; a child made by fork has none of its parent's."""
    process = os.getpid()
    pool = _pools.get(process)
    return pool or _pools.setdefault(process, ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sha256"))


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


class Replacement:
    """A file that is written beside a target and takes its place when it is complete.

    Parameters
    ----------
    file : io.FileIO
        It, open for reading and writing, unbuffered.
    partial : Path
        What it is called meanwhile.
    target : Path
        What it is going to be called.

    Attributes
    ----------
    order : int
        Those with a higher one were written to only after this one was opened.
    """

    def __init__(self, file: io.FileIO, partial: Path, target: Path) -> None:
        self.file = file
        self.order = next(_opened)
        self._partial = partial
        self._target = target

    def write(self, position: int, chunk: bytes | memoryview) -> None:
        """Write *chunk* at *position*. From any thread."""
        view = memoryview(chunk)
        with _destination_errors(self._target):
            start, size = position, len(view)
            while view:
                count = os.pwrite(self.file.fileno(), view, position)
                view, position = view[count:], position + count
            self._start_writing(start, start + size)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Give what has been written there, a piece at a time. From any thread."""
        with _destination_errors(self._target):
            while start < stop:
                chunk = os.pread(self.file.fileno(), min(_READ_BACK, stop - start), start)
                if not chunk:
                    raise OSError("it was cut short by somebody else")
                yield chunk
                start += len(chunk)

    def _start_writing(self, start: int, stop: int) -> None:
        """Let the disk begin with the steps that are complete, if a writer goes from front to back."""
        first, last = start // _WRITE_OUT, stop // _WRITE_OUT
        if last > first:
            start_writing(self.file.fileno(), first * _WRITE_OUT, (last - first) * _WRITE_OUT)

    def flush(self) -> None:
        """Wait until the disk has all that was written."""
        with _destination_errors(self._target):
            os.fsync(self.file.fileno())

    def publish(self) -> None:
        """Close the file and give it its name."""
        with _destination_errors(self._target):
            self.file.close()
            self._partial.replace(self._target)

    def remove(self) -> None:
        """Close the file and remove it, unless it has its name already."""
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self._partial.unlink()

    def copy(self, descriptor: int) -> Generator[memoryview, None, None]:
        """Have the system copy another file into this one, which is empty; give the bytes as they are there.

        The iterator is to be closed. What reading the other file meets comes through as an `OSError`.
        """
        with closing(KernelCopy(descriptor, self.file.fileno(), flushes=True).chunks()) as chunks:
            while True:
                try:
                    chunk = next(chunks, None)
                except OSError as error:
                    if error.errno not in _OF_THE_TARGET:
                        raise
                    with _destination_errors(self._target):
                        raise
                if chunk is None:
                    return
                yield chunk


_WRITE_OUT = 4 * 2**20
"""The disk is handed what is written in steps of this."""

_READ_BACK = 2**16
"""What the C library allocates anew each time, and the system clears, is larger."""

_OF_THE_TARGET = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})

_opened = itertools.count()


def finish(new: Replacement) -> None:
    """Flush a complete file to the disk and give it its name."""
    new.flush()
    new.publish()


@contextmanager
def replacement(target: Path, finish: Callable[[Replacement], object] = finish) -> Iterator[Replacement]:
    """Give a file that takes *target*'s place if the block ends well, else vanishes.

    At every moment *target* is absent, what it was, or complete. A symbolic link is replaced, not written through.
    The file is flushed to the disk first.

    Parameters
    ----------
    target : Path
        What to replace.
    finish : callable
        Flushes and publishes the file, or sees to it that both is done later.

    Raises
    ------
    DestinationError
        If the file cannot be written.
    """
    partial = target.with_name(f".datajoint-file-{secrets.token_hex(8)}.partial")  # short, whatever the target's name
    with _destination_errors(target):
        new = Replacement(_created(partial), partial, target)
    try:
        yield new
        finish(new)
    except BaseException:
        new.remove()
        raise


def _created(partial: Path) -> io.FileIO:
    """Return a new file, unbuffered: a buffer would fail a second time when it is closed."""
    try:
        return io.FileIO(partial, "x+")
    except FileNotFoundError:
        partial.parent.mkdir(parents=True, exist_ok=True)
        return io.FileIO(partial, "x+")


@contextmanager
def _destination_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DestinationError(
            f"{printable(str(target))} cannot be written: {error.strerror or error}; nothing was left there"
        ) from error
