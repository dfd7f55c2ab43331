"""Backend decorators that change one thing: read only, logged.

The order in which they are put together stands in `factory`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

from datajoint_file.errors import ReadOnlyStorageError
from datajoint_file.storage.backend import NO_HEADERS, ContentHeaders, ObjectStat, Reader, UnfinishedUpload, UploadGroup
from datajoint_file.storage.shared import DelegatingBackend

logger = logging.getLogger("datajoint_file.storage")


class ReadOnlyBackend(DelegatingBackend):
    """Refuses to add or remove objects: another project's store, as ``[projects.NAME]`` opens it."""

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        raise _refusal(key)

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        return self.inner.read(key, start, stop)

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        return self.inner.iter_range(key, start, stop)

    def delete(self, key: str) -> None:
        raise _refusal(key)

    def discard(self, upload: UnfinishedUpload) -> None:
        raise _refusal(upload.key)


def _refusal(key: str) -> ReadOnlyStorageError:
    return ReadOnlyStorageError(f"{key}: this store is configured for reading only, as [projects.…]").of(key)


class LoggedBackend(DelegatingBackend):
    """Writes one DEBUG record a verb to the logger ``datajoint_file.storage``: verb, key, seconds, outcome."""

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        with _logged("upload", key):
            return self.inner.upload(key, reader, size, headers)

    def group(self) -> UploadGroup:
        return _LoggedGroup(self.inner.group())

    def open(self, key: str, **options: Any) -> BinaryIO:
        with _logged("open", key):
            return self.inner.open(key, **options)

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        with _logged("read", key):
            return self.inner.read(key, start, stop)

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        with _logged("read", key):
            yield from self.inner.iter_range(key, start, stop)

    def stat(self, key: str) -> ObjectStat:
        with _logged("stat", key):
            return self.inner.stat(key)

    def delete(self, key: str) -> None:
        with _logged("delete", key):
            self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        with _logged("list", prefix or "everything"):
            yield from self.inner.list(prefix)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        with _logged("unfinished", prefix or "everything"):
            yield from self.inner.unfinished(prefix)

    def discard(self, upload: UnfinishedUpload) -> None:
        with _logged("discard", upload.key):
            self.inner.discard(upload)


class _LoggedGroup:
    """A group whose verbs are logged."""

    def __init__(self, inner: UploadGroup) -> None:
        self._inner = inner

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        with _logged("upload", key):
            return self._inner.upload(key, reader, size, headers)

    def publish(self) -> None:
        with _logged("publish", "a group of uploads"):
            self._inner.publish()

    def discard(self) -> None:
        self._inner.discard()


class _logged:  # noqa: N801 - used like a function; a generator would cost every small file some microseconds
    """Log how a verb ends, and when."""

    __slots__ = ("_key", "_start", "_verb")

    def __init__(self, verb: str, key: str) -> None:
        self._verb = verb
        self._key = key

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        outcome = "done" if kind is None else "failed"
        logger.debug("%s %s %s in %.3f s", self._verb, self._key, outcome, time.perf_counter() - self._start)
