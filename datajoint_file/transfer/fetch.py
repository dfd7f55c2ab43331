"""Verified fetch of an object: in parallel ranges over a network, copied by the kernel on a disk.

The hash follows in order, whatever the order in which ranges arrive. Where the bytes go is up to the caller.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import BinaryIO, Literal, cast

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import DataJointFileError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.storage.backend import CHUNK_SIZE, StorageBackend
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE, can_copy
from datajoint_file.storage.disk.posix import translation
from datajoint_file.storage.memory_budget import transfers
from datajoint_file.storage.tuning import RANGE_SIZE, STREAM_SIZE
from datajoint_file.transfer.hashing import NO_DIGEST, Digest, VerifyingReader, copy, require_hash, require_size

_PLAUSIBLE_SIZE = 64 * 2**30
"""Up to here the first range tells whether the size is right, which saves asking."""

Checks = Literal["always", "size", "never"]
"""What a fetch checks: size and hash; the size; or nothing, beyond that as many bytes come as are asked for."""

Write = Callable[[int, bytes | memoryview], object]
"""Takes bytes and the position they belong to, which are not in order."""


def fetch(
    backend: StorageBackend,
    metadata: FileMetadata,
    write: Write,
    advance: Advance,
    target: Draft | None = None,
    *,
    checks: Checks = "always",
) -> None:
    """Hand all bytes of a stored file to *write* and raise unless they are those recorded, as far as *checks* says.

    Several threads may call *write* at once; *advance* is told how many bytes have come, one call at a time. Into
    *target*, an empty file, the system may copy the object, without *write*.

    Raises
    ------
    SizeMismatchError, HashMismatchError
        If the object is not what was recorded. What has been written is worthless then.
    StorageError
        If the object is gone or the store fails.
    """
    ranges = backend.capabilities.ranges
    if ranges == 1 and metadata.size <= CHUNK_SIZE:
        _take_at_once(backend, metadata, write, advance, checks)
    elif ranges == 1:
        with backend.open(metadata.path) as file:
            take_from(file, metadata, write, advance, target, checks)
    elif metadata.size <= RANGE_SIZE:
        with transfers().take(metadata.size):
            _take_at_once(backend, metadata, write, advance, checks)
    else:
        if metadata.size > _PLAUSIBLE_SIZE:  # a row may claim any, and its ranges are counted out beforehand
            found = backend.stat(metadata.path).size
            require_size(metadata.size, min(found, metadata.size) if checks == "never" else found)
        wanted = min(ranges, -(-metadata.size // RANGE_SIZE)) * RANGE_SIZE
        with transfers().take(wanted, at_least=RANGE_SIZE) as granted:
            workers = max(1, granted // RANGE_SIZE)
            if target is None:
                _Ranges(backend, metadata, write, advance, checks).run(workers)
            else:
                _Streams(backend, metadata, target, advance, checks).run(workers)


def _take_at_once(
    backend: StorageBackend, metadata: FileMetadata, write: Write, advance: Advance, checks: Checks
) -> None:
    content = backend.read(metadata.path, 0, metadata.size + (checks != "never"))  # one more: there should be none
    require_size(metadata.size, len(content))
    advance(len(content))
    if checks == "always":
        require_hash(metadata.hash, hashlib.sha256(content).hexdigest())
    write(0, content)


def take_from(
    file: BinaryIO, metadata: FileMetadata, write: Write, advance: Advance, target: Draft | None, checks: Checks
) -> None:
    """Hand on the bytes of an open file of this machine, as `fetch` does; the system copies where it can."""
    descriptor = _descriptor(file) if metadata.size > COPY_ABOVE and can_copy() else None
    if checks == "never" and (descriptor is None or os.fstat(descriptor).st_size != metadata.size):
        descriptor, file = None, cast("BinaryIO", _Beginning(file, metadata.size))
    reader = VerifyingReader(file, metadata.size, metadata.hash if checks == "always" else None, advance)
    with _translated(metadata):
        position = target.copy(descriptor, reader) if target is not None and descriptor is not None else 0

        def write_on(chunk: bytes) -> None:
            nonlocal position
            write(position, chunk)
            position += len(chunk)

        copy(reader, write_on)


class _Beginning:
    """So many of the first bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(chunk)
        return chunk


@contextmanager
def _translated(metadata: FileMetadata) -> Iterator[None]:
    """Turn what the system says while it reads an object into this package's words."""
    try:
        yield
    except DataJointFileError:
        raise
    except OSError as error:
        raise translation(metadata.path, error).of(metadata.path) from error


def _descriptor(file: BinaryIO) -> int | None:
    try:
        return file.fileno()
    except OSError:
        return None


class _Ranges:
    """One object, fetched in parallel. A range that has come waits for its turn to be hashed, and holds its thread."""

    def __init__(
        self, backend: StorageBackend, metadata: FileMetadata, write: Write, advance: Advance, checks: Checks
    ) -> None:
        self._backend = backend
        self._metadata = metadata
        self._write = write
        self._advance = advance
        self._checks = checks
        self._hash: Digest = hashlib.sha256() if checks == "always" else NO_DIGEST
        self._hashed = 0
        self._turn = threading.Condition()
        self._stop = Stop()

    def run(self, workers: int) -> None:
        size, span = self._metadata.size, self._span(workers)
        spans = [partial(self._fetch, start, min(start + span, size)) for start in range(0, size, span)]
        run_all(spans, workers, self._stop)
        if self._checks == "always":
            require_hash(self._metadata.hash, self._hash.hexdigest())

    def _span(self, workers: int) -> int:
        """Return how many bytes one request is for."""
        return RANGE_SIZE

    def _fetch(self, start: int, stop: int) -> None:
        is_last = stop == self._metadata.size and self._checks != "never"
        try:
            self._take(start, stop, stop + is_last)  # of the last, one more: there should be none
        except BaseException:
            self._stop.set()
            with self._turn:
                self._turn.notify_all()
            raise

    def _take(self, start: int, stop: int, end: int) -> None:
        """Take the bytes from *start* to before *stop*, of which those to *end* are asked for."""
        content = self._backend.read(self._metadata.path, start, end)
        self._require(stop - start, len(content))
        self._write(start, content)
        self._await_turn(start)
        self._hash.update(content)  # nobody else's turn comes before the next lines
        self._advance(len(content))
        self._pass_turn(stop)

    def _require(self, expected: int, found: int) -> None:
        require_size(self._metadata.size, self._metadata.size - expected + found)

    def _await_turn(self, start: int) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._hashed == start or self._stop.is_set())
            self._stop.check()

    def _pass_turn(self, stop: int) -> None:
        with self._turn:
            self._hashed = stop
            self._turn.notify_all()


class _Streams(_Ranges):
    """One object, fetched into a file by several streams: what comes before its turn to be hashed is read back.

    What comes in its turn is hashed and written while it is in the processor's cache.
    """

    def __init__(
        self, backend: StorageBackend, metadata: FileMetadata, target: Draft, advance: Advance, checks: Checks
    ) -> None:
        super().__init__(backend, metadata, target.write, advance, checks)
        self._target = target
        self._one_call_at_a_time = threading.Lock()

    def _span(self, workers: int) -> int:
        return max(RANGE_SIZE, min(STREAM_SIZE, -(-self._metadata.size // workers)))

    def _take(self, start: int, stop: int, end: int) -> None:
        position = hashed = start
        with closing(self._backend.iter_range(self._metadata.path, start, end)) as chunks:
            for chunk in chunks:
                self._stop.check()
                if position + len(chunk) > stop:
                    self._require(stop - start, position + len(chunk) - start)
                self._write(position, chunk)
                position += len(chunk)
                with self._one_call_at_a_time:
                    self._advance(len(chunk))
                if self._hashed == start:
                    hashed = self._catch_up(hashed, position, chunk)
        self._require(stop - start, position - start)
        self._await_turn(start)
        self._catch_up(hashed, stop)
        self._pass_turn(stop)

    def _catch_up(self, start: int, stop: int, last: bytes | memoryview = b"") -> int:
        """Hash what has been written from *start* to before *stop*; *last*, which it ends with, is at hand still."""
        if self._hash is NO_DIGEST:
            return stop
        for chunk in self._target.read(start, stop - len(last)):
            self._hash.update(chunk)
        self._hash.update(last)
        return stop
