"""Atomic replacement of a file: written beside its target, flushed, then given its name."""

from __future__ import annotations

import errno
import io
import itertools
import os
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from datajoint_file.errors import DestinationError, printable
from datajoint_file.storage.disk.kernel_copy import KernelCopy, start_writing


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
