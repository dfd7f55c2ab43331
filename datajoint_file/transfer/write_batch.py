"""Batched atomic writes of downloaded files: the disk is waited for once for many of them.

How one is written is in `atomic_write`; which are brought, and by how many threads, is up to the caller.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from datajoint_file.errors import DataJointFileError
from datajoint_file.storage.disk.syncfs import can_flush_together, flush_together
from datajoint_file.transfer.atomic_write import Replacement, finish

MOST_FILES = 128
MOST_BYTES = 64 * 2**20
"""So much waits for the disk at most. Each file that waits is open."""

_LARGE = 4 * 2**20
"""Such a file appears by itself."""


class Arrivals:
    """Complete files that wait for their names until the disk has them all. A block that uses it ends by naming all.

    Each name appears when its bytes are on the disk, as if each had been flushed alone; what cannot be flushed or named
    vanishes, and the others do not suffer. If the block is interrupted, all that wait vanish. Where the system cannot
    flush many at once, each gets its name at once.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from datajoint_file.transfer.hashing import replacement
    >>> with TemporaryDirectory() as directory:
    ...     target = Path(directory, "spikes.dat")
    ...     with Arrivals() as arrivals, replacement(target, arrivals.take) as new:
    ...         new.write(0, b"spikes")
    ...     target.read_bytes()
    b'spikes'
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Replacement] = []
        self._size = 0

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._publish(*self._all())
        elif issubclass(kind, Exception):
            with suppress(DataJointFileError):  # the first error is the one to tell
                self._publish(*self._all())
        else:
            _remove(self._all()[0])

    def take(self, new: Replacement) -> None:
        """Give a complete file its name: at once, or when enough wait. From any thread.

        Raises
        ------
        DestinationError
            If this one, or another one that waited, cannot be flushed or named.
        """
        descriptor = new.file.fileno()
        size = os.fstat(descriptor).st_size
        if size >= _LARGE or not can_flush_together(descriptor):
            finish(new)
            return
        with self._lock:
            self._waiting.append(new)
            self._size += size
            is_enough = len(self._waiting) >= MOST_FILES or self._size >= MOST_BYTES
            some, size = self._emptied() if is_enough else ([], 0)
        self._publish(some, size)

    def _all(self) -> tuple[list[Replacement], int]:
        with self._lock:
            return self._emptied()

    def _emptied(self) -> tuple[list[Replacement], int]:
        some, size = self._waiting, self._size
        self._waiting, self._size = [], 0
        return some, size

    def _publish(self, some: list[Replacement], size: int) -> None:
        errors: list[Exception] = []
        try:
            flushed = some if _flush_together(some, size) else _succeeded(Replacement.flush, some, errors)
            _succeeded(Replacement.publish, flushed, errors)
        except BaseException:
            _remove(some)
            raise
        if errors:
            raise errors[0]


def _flush_together(some: list[Replacement], size: int) -> bool:
    """Flush all by one call, if that can be done, and tell so. The witness is the one that was opened first."""
    if len({os.fstat(new.file.fileno()).st_dev for new in some}) != 1:
        return False
    return flush_together(min(some, key=lambda new: new.order).file.fileno(), len(some), size)


def _succeeded(
    step: Callable[[Replacement], None], some: list[Replacement], errors: list[Exception]
) -> list[Replacement]:
    """Take a step with each, and return those with which it could be taken; the others are removed."""
    good = []
    for new in some:
        try:
            step(new)
            good.append(new)
        except DataJointFileError as error:
            errors.append(error)
            new.remove()
    return good


def _remove(some: list[Replacement]) -> None:
    for new in some:
        new.remove()
