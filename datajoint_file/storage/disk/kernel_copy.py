"""Kernel copy of files, read back in order by whoever hashes it.

Where the file system can share blocks between files (reflink), none is copied. What it becomes is for `disk.backend`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Generator
from contextlib import suppress
from typing import Any

from datajoint_file.concurrency.threads import FOREVER

COPY_ABOVE = 2**20
"""Smaller files are read and written faster by one thread."""

_STEP = 2 * 2**20

_START_WRITING, _WRITE_AND_WAIT = 2, 7
"""``SYNC_FILE_RANGE_WRITE``, and that with waiting before and after."""

_LOST = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT})


def can_copy() -> bool:
    """Tell whether this system can be asked to copy."""
    return hasattr(os, "copy_file_range") and hasattr(os, "preadv")


class KernelCopy:
    """A copy of one open file, from its beginning wherever it stands, to an empty one, which a thread has under way.

    The system need not copy all: some say that they cannot, or that nothing is left, at the first byte or a later one.
    Whoever reads and writes the rest meets what hinders it, and knows in which of the files.

    If the copy is going to be flushed to the disk, that begins at once.
    """

    def __init__(self, source: int, target: int, *, flushes: bool) -> None:
        self._source = source
        self._target = target
        self._flushes = flushes
        self._copied = 0
        self._is_over = False
        self._is_stopped = False
        self._changed = threading.Condition()

    def chunks(self) -> Generator[memoryview, None, None]:
        """Give the bytes of the copy, in order, as they are written. A chunk is good until the next is asked for.

        Whoever stops asking closes the iterator: only then has the copying stopped.

        Raises
        ------
        OSError
            If what has been written cannot be read back.
        """
        thread = threading.Thread(target=self._run, name="copy", daemon=True)
        thread.start()
        try:
            buffer, position = memoryview(bytearray(_STEP)), 0
            while (available := self._beyond(position)) > position:
                count = os.preadv(self._target, [buffer[: min(_STEP, available - position)]], position)
                if not count:
                    raise OSError("it was cut short by somebody else")
                position += count
                yield buffer[:count]
        finally:
            self._is_stopped = True
            thread.join()

    def _beyond(self, position: int) -> int:
        """Wait until more than *position* bytes are written, or all that will be; return how many."""
        with self._changed:
            self._changed.wait_for(lambda: self._copied > position or self._is_over, FOREVER)
            return self._copied

    def _run(self) -> None:
        try:
            with suppress(OSError):
                while not self._is_stopped and (count := self._copy()):
                    with self._changed:
                        self._copied += count
                        self._changed.notify()
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify()

    def _copy(self) -> int:
        count = os.copy_file_range(self._source, self._target, _STEP, self._copied, self._copied)
        if count and self._flushes:
            start_writing(self._target, self._copied, count)
        return count


_FICLONE = 0x40049409


def share_blocks(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> bool:
    """Make a new file that shares the blocks of another, if the file system can; tell whether there is one.

    Written to, either becomes its own.
    """
    try:
        import fcntl  # not on Windows
    except ImportError:
        return False
    with open(source, "rb") as origin, open(target, "xb") as made:
        try:
            fcntl.ioctl(made.fileno(), _FICLONE, origin.fileno())
        except OSError:  # another disk, or a file system without
            os.unlink(target)
            return False
    return True


try:
    _sync_file_range: Any = ctypes.CDLL(None, use_errno=True).sync_file_range
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
except (AttributeError, OSError, TypeError):
    _sync_file_range = None


def start_writing(descriptor: int, start: int, count: int) -> None:
    """Let the system write a part of a file to its disk, without waiting for it. Linux only; elsewhere nothing."""
    if _sync_file_range is not None:
        _sync_file_range(descriptor, start, count, _START_WRITING)


def write_out(descriptor: int) -> None:
    """Let the system write an open file to its disk, as far as that is its to say, and raise if bytes were lost.

    What the disk has in its cache, and which blocks are the file's, is for a flush to follow. Linux only; elsewhere
    nothing.
    """
    if _sync_file_range is not None and _sync_file_range(descriptor, 0, 0, _WRITE_AND_WAIT):
        number = ctypes.get_errno()
        if number in _LOST:
            raise OSError(number, os.strerror(number))
