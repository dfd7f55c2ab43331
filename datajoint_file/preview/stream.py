"""Metered reader: a file of which no more is read than so many bytes, within so many seconds.

It stands between a store and the libraries that read formats, which take a file's own word for sizes.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

MOST_BYTES = 32 * 2**20
MOST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A file that is looked at."""

    name: str
    size: int
    mime_type: str | None
    open: Callable[[], BinaryIO]


class BudgetSpentError(Exception):
    """More would have to be read than a preview may."""


class Metered(io.RawIOBase):
    """A file for reading that raises when its budget is spent.

    Parameters
    ----------
    file : file
        What is read. It is not closed.
    size : int
        Its number of bytes.
    most : int
        How many bytes may be read of it, those counted that are read again.
    """

    def __init__(self, file: BinaryIO, size: int, most: int = MOST_BYTES) -> None:
        self._file = file
        self.size = size
        self._left = most
        self._until = time.monotonic() + MOST_SECONDS
        self.failure: Exception | None = None  # of the store, however the library that reads has put it

    def allow(self, most: int) -> None:
        """Let no more be read than so many bytes, beside the time that there is."""
        self._left = min(self._left, most)

    def readinto(self, buffer: object) -> int:
        """Fill *buffer* as far as there are bytes."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return so many bytes, fewer only at the end."""
        wanted = self.size - self.tell() if size is None or size < 0 else size
        if min(wanted, self.size) > self._left or time.monotonic() > self._until:
            self._left = 0
            raise BudgetSpentError
        try:
            data = self._file.read(wanted)
        except Exception as error:
            self.failure = error
            raise
        self._left -= len(data)
        return data

    @property
    def is_spent(self) -> bool:
        """Whether something was not read for its amount."""
        return not self._left

    def readall(self) -> bytes:
        """Return what is left of the file."""
        return self.read(-1)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place in the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._file.tell()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read in any order."""
        return True
