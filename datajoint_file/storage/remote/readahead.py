"""Read-ahead file: which bytes to ask the store for, and which of them to keep.

It knows no store: bytes come from a function that reads a range.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from fsspec.caching import caches

from datajoint_file.errors import StorageError

FIRST = 2**16
"""Bytes to ask for at a new place: what formats keep together about their contents (headers, trees, footers)."""

MOST = 4 * 2**20
"""Bytes to ask for at once where reading goes on from front to back."""

KEPT = 8 * 2**20
"""Bytes of earlier requests to keep: formats jump back to their headers."""

SPARE = 4 * 2**20
"""Bytes that may be fetched in vain, besides as many as were read."""

ReadRange = Callable[[int, int], bytes]
"""Gives the bytes from one position to before another."""


class Cache(Protocol):
    """Where a file's bytes come from; fsspec's caches are such."""

    def _fetch(self, start: int, stop: int, /) -> bytes: ...


class AdaptiveCache:
    """Fetches little at a new place and more and more where reading goes on; keeps what was fetched last.

    What is fetched is never more than twice what was read and `SPARE`, however somebody jumps about. *first* bytes are
    asked for at a new place, and *most* at once, if fewer are wanted.
    """

    def __init__(self, read: ReadRange, size: int, first: int = FIRST, most: int = MOST) -> None:
        self._read = read
        self._size = size
        self._first, self._most = first, most
        self._ahead = first
        self._reached = 0
        self._fetched = self._given = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def _fetch(self, start: int, stop: int, /) -> bytes:
        self._given += stop - start
        known = self.known(start, stop)
        if len(known) == stop - start:
            return known
        missing = self._missing(start + len(known), stop)
        return known + missing if known else missing

    def known(self, start: int, stop: int) -> bytes:
        """Return what is kept of the range, from its start."""
        for begin, block in reversed(self._blocks.items()):
            if begin <= start < begin + len(block):
                self._blocks.move_to_end(begin)
                return block[start - begin : stop - begin]
        return b""

    def _missing(self, start: int, stop: int) -> bytes:
        self._ahead = min(2 * self._ahead, self._most) if start == self._reached else self._first
        block = self._read(start, min(max(stop, start + self._allowed(stop - start)), self._size))
        self._fetched += len(block)
        self._reached = start + len(block)
        if len(block) <= self._most:
            self._keep(start, block)
        return block[: stop - start]

    def _allowed(self, wanted: int) -> int:
        """Return how many bytes may be fetched where *wanted* are."""
        return min(self._ahead, max(2 * self._given + SPARE - self._fetched, wanted))

    def _keep(self, start: int, block: bytes) -> None:
        self._blocks.pop(start, None)
        self._blocks[start] = block
        while len(self._blocks) > 1 and sum(map(len, self._blocks.values())) > KEPT:
            self._blocks.popitem(last=False)


def opened(key: str, read: Callable[[int, int], bytes | memoryview], size: int, **options: Any) -> BinaryIO:
    """Return the object *key*, whose *size* bytes *read* gives, as a file; the options are those of `cache_of`.

    An answer that is not as long as it must be is asked for once more, and is a `StorageError` then.
    """

    def whole(start: int, stop: int) -> bytes:
        wanted = max(0, min(stop, size) - start)
        for _ in range(2):
            content = bytes(read(start, start + wanted)) if wanted else b""
            if len(content) == wanted:
                return content
        raise StorageError(
            f"{key}: the store gave {len(content)} of the {wanted} bytes from {start} on, though it has {size}: the "
            "object was replaced since it was opened, or something between here and the store cuts its answers"
        ).of(key)

    return cast("BinaryIO", ReadAheadFile(cache_of(whole, size, **options), size))


def cache_of(
    read: ReadRange,
    size: int,
    block_size: int | None = None,
    cache_type: str | None = None,
    cache_options: dict[str, Any] | None = None,
) -> Cache:
    """Return the cache that these options of fsspec ask for: the adaptive one, unless a kind of its caches is named."""
    if cache_type in (None, "readahead") and not cache_options:
        return AdaptiveCache(read, size, block_size or FIRST, block_size or MOST)
    check_cache_type(cache_type)
    cache: Cache = caches[cache_type or "readahead"](block_size or MOST, read, size, **(cache_options or {}))
    return cache


def check_cache_type(cache_type: str | None) -> None:
    """Raise `ValueError` unless fsspec has such caches."""
    if cache_type not in (None, *caches):
        raise ValueError(f"cache_type = {cache_type!r} is not one of {', '.join(map(str, caches))}")


class ReadAheadFile(io.BufferedIOBase):
    """An object of *size* bytes as a binary, seekable file. Nothing is fetched before something is read."""

    def __init__(self, cache: Cache, size: int) -> None:
        self.cache = cache
        self.size = size
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._require_open()
        content = self._fetch(self.size if size is None or size < 0 else size)
        self._position += len(content)
        return content

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size if size >= 0 else FIRST)

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)

    def readinto1(self, buffer: Any, /) -> int:
        return self.readinto(buffer)

    def peek(self, size: int = 0, /) -> bytes:
        """Return the next bytes and stay before them: those that are there, else what one request gives.

        A buffer of them, whatever *size* says: whoever reads lines asks for one.
        """
        self._require_open()
        size = max(size, io.DEFAULT_BUFFER_SIZE)
        known = (
            self.cache.known(self._position, self._position + size) if isinstance(self.cache, AdaptiveCache) else b""
        )
        return known or self._fetch(size)

    def _fetch(self, size: int) -> bytes:
        stop = min(self._position + size, self.size)
        return bytes(self.cache._fetch(self._position, stop)) if stop > self._position else b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._require_open()
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}
        if whence not in starts:
            raise ValueError(f"whence = {whence} is not one of {', '.join(map(str, starts))}")
        position = offset + starts[whence]
        if position < 0:
            raise ValueError(f"there is no position {position} in a file")
        self._position = position
        return position

    def tell(self) -> int:
        self._require_open()
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _require_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")
