"""Stores that lie: wrappers that answer wrongly where the contract allows no mistake, and raise nothing.

What ``datajoint-file doctor`` has to find, and what must not lead a collector to delete. Faults that are reported are
in `faults`. The first argument of each is the backend that does the work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from datajoint_file.errors import ObjectExistsError
from datajoint_file.storage.backend import CHUNK_SIZE, NO_HEADERS, ContentHeaders, ObjectStat, Reader, StorageBackend
from datajoint_file.storage.shared import DelegatingBackend, Resumed
from datajoint_file.testing.readers import LimitedReader


class ShortListing(DelegatingBackend):
    """Lists the first objects, as if there were no more: one that loses its second page, or does not show what is new.

    Parameters
    ----------
    most : int
        How many objects a listing gives.
    """

    def __init__(self, inner: StorageBackend, most: int = 0) -> None:
        super().__init__(inner)
        self.most = most

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Give the beginning of a listing."""
        return islice(self.inner.list(prefix), self.most)


class StaleListing(DelegatingBackend):
    """Goes on listing what was deleted through it."""

    def __init__(self, inner: StorageBackend) -> None:
        super().__init__(inner)
        self._deleted: dict[str, ObjectStat] = {}

    def delete(self, key: str) -> None:
        """Delete, and remember."""
        if self.inner.exists(key):
            self._deleted[key] = self.inner.stat(key)
        self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Give what is there, and what was."""
        yield from self.inner.list(prefix)
        for key, found in self._deleted.items():
            if f"{key}/".startswith(f"{prefix}/") or not prefix:
                yield found


class WrongSize(DelegatingBackend):
    """Adds to the size of every object it describes.

    Parameters
    ----------
    by : int
        How many bytes too many.
    """

    def __init__(self, inner: StorageBackend, by: int = 1) -> None:
        super().__init__(inner)
        self.by = by

    def stat(self, key: str) -> ObjectStat:
        """Describe, with a wrong size."""
        found = self.inner.stat(key)
        return replace(found, size=found.size + self.by)


class WrongClock(DelegatingBackend):
    """Has a clock of its own.

    Parameters
    ----------
    skew : timedelta or None
        How far its clock is ahead; None if it does not tell the time.
    """

    def __init__(self, inner: StorageBackend, skew: timedelta | None) -> None:
        super().__init__(inner)
        self.skew = skew

    def stat(self, key: str) -> ObjectStat:
        """Describe, with a wrong time."""
        return self._moved(self.inner.stat(key))

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """List, with wrong times."""
        return map(self._moved, self.inner.list(prefix))

    def _moved(self, found: ObjectStat) -> ObjectStat:
        if found.modified is None or self.skew is None:
            return replace(found, modified=None)
        return replace(found, modified=found.modified + self.skew)


class CutShort(DelegatingBackend):
    """Stores the beginning of an object, and says that it has all of it.

    Parameters
    ----------
    most : int
        How many bytes it stores.
    """

    def __init__(self, inner: StorageBackend, most: int = 1000) -> None:
        super().__init__(inner)
        self.most = most

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Store less than was given."""
        stored = self.inner.upload(key, LimitedReader(reader, self.most), headers=headers)
        while chunk := reader.read(CHUNK_SIZE):
            stored += len(chunk)
        return stored


class Undeleting(DelegatingBackend):
    """Deletes nothing, and does not say so."""

    def delete(self, key: str) -> None:
        """Keep it."""


class DeletesPrefix(DelegatingBackend):
    """Deletes every object beside the one that is meant whose name begins like its name."""

    def delete(self, key: str) -> None:
        """Delete too much."""
        for found in [*self.inner.list(key.rpartition("/")[0])]:
            if found.key.startswith(key):
                self.inner.delete(found.key)


class Replacing(DelegatingBackend):
    """Replaces what is there, although it says that it does not."""

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Store, whether or not there is an object."""
        self.inner.delete(key)
        return self.inner.upload(key, reader, size, headers)


class RefusingAfterwards(Replacing):
    """Says that it has refused to replace an object, having replaced it."""

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Store, and complain if there was an object."""
        was_there = self.inner.exists(key)
        stored = super().upload(key, reader, size, headers)
        if was_there:
            raise ObjectExistsError(f"{key}: there is an object under this key, left as it is").of(key)
        return stored


class LooksOnlyBefore(DelegatingBackend):
    """Refuses to replace what is there when an upload begins, and of two that race accepts both."""

    def __init__(self, inner: StorageBackend) -> None:
        super().__init__(inner)
        self._lock = threading.Lock()

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Look, then store whatever has come in between."""
        if self.inner.exists(key):
            raise ObjectExistsError(f"{key}: there is an object under this key, left as it is").of(key)
        start = reader.read(CHUNK_SIZE)
        with self._lock:
            self.inner.delete(key)
            return self.inner.upload(key, Resumed(start, reader), size, headers)
