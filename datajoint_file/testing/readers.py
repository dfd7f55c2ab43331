"""Readers that behave badly on purpose: slow, failing, giving short pieces, or endless amounts.

What `StorageBackend.upload` takes; which store they are read by is not known here.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from datajoint_file.storage.backend import Reader


def as_reader(content: bytes | Reader) -> Reader:
    """Return bytes as a reader; a reader as it is."""
    return io.BytesIO(content) if isinstance(content, bytes) else content


class ShortReader:
    """Never gives more than a few bytes at once, as sockets and pipes do.

    Parameters
    ----------
    content : bytes or Reader
        What is given, piece by piece.
    most : int
        The longest piece.

    Examples
    --------
    >>> ShortReader(b"recording", most=4).read(100)
    b'reco'
    """

    def __init__(self, content: bytes | Reader, most: int = 7) -> None:
        self._reader = as_reader(content)
        self._most = most

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes, and at most as many as a piece has."""
        return self._reader.read(self._most if size < 0 else min(size, self._most))


class LimitedReader:
    """Ends early, as if the rest had never been there.

    Parameters
    ----------
    content : bytes or Reader
        What is given, from its start.
    limit : int
        How many bytes at most.

    Examples
    --------
    >>> LimitedReader(b"recording", limit=3).read()
    b'rec'
    """

    def __init__(self, content: bytes | Reader, limit: int) -> None:
        self._reader = as_reader(content)
        self._left = limit

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none after the limit."""
        length = self._left if size < 0 else min(size, self._left)
        chunk = self._reader.read(length) if length else b""
        self._left -= len(chunk)
        return chunk


class FailingReader:
    """Gives some bytes and then raises.

    Parameters
    ----------
    content : bytes or Reader
        What is given first.
    after : int
        How many bytes; all of them if there are fewer.
    error : BaseException
        What is raised, this very object, at the next read and at every later one.

    Examples
    --------
    >>> reader = FailingReader(b"recording", after=3, error=OSError("the disk was unplugged"))
    >>> reader.read(100)
    b'rec'
    >>> reader.read(100)
    Traceback (most recent call last):
        ...
    OSError: the disk was unplugged
    """

    def __init__(self, content: bytes | Reader, *, after: int, error: BaseException) -> None:
        self._reader = LimitedReader(content, after)
        self._error = error

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes, none of them after the failure."""
        chunk = self._reader.read(size)
        if not chunk and size != 0:
            raise self._error
        return chunk


class SlowReader:
    """Waits before each read: for a moment, at a barrier, for an event.

    Parameters
    ----------
    content : bytes or Reader
        What is given.
    pause : callable
        Called before each read; it returns when reading may go on.

    Examples
    --------
    >>> from threading import Barrier
    >>> together = Barrier(1)
    >>> SlowReader(b"recording", together.wait).read()
    b'recording'
    """

    def __init__(self, content: bytes | Reader, pause: Callable[[], object]) -> None:
        self._reader = as_reader(content)
        self._pause = pause

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes, when it may."""
        self._pause()
        return self._reader.read(size)


class GeneratedReader:
    r"""Gives any number of bytes that are nowhere kept: for uploads larger than memory should become.

    Parameters
    ----------
    size : int
        How many bytes.

    Examples
    --------
    >>> GeneratedReader(5).read()
    b'\x00\x01\x02\x03\x04'
    """

    _BLOCK = bytes(range(251)) * 4099  # of prime lengths, so that no part of an object equals another

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        left = self._size - self._position
        end = self._position + (left if size < 0 else min(size, left))
        pieces = []
        while self._position < end:
            start = self._position % len(self._BLOCK)
            pieces.append(memoryview(self._BLOCK)[start : start + end - self._position])
            self._position += len(pieces[-1])
        return b"".join(pieces)


def generated(size: int) -> bytes:
    """Return what a `GeneratedReader` of that size gives, at once."""
    return GeneratedReader(size).read()
