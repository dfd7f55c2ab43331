"""Backends that delegate to another one and change one thing: read only, logged.

The order in which they are put together stands in `factory`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

from datajoint_file.errors import ReadOnlyStorageError
from datajoint_file.storage.backend import Capabilities, ObjectStat, Reader, UnfinishedUpload
from datajoint_file.storage.shared import DelegatingBackend

logger = logging.getLogger("datajoint_file.storage")


class ReadOnlyBackend(DelegatingBackend):
    """Refuses to add or remove objects: another project's store, as ``[projects.NAME]`` opens it."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, writable=False)

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        raise _refusal(key)

    def delete(self, key: str) -> None:
        raise _refusal(key)

    def discard(self, upload: UnfinishedUpload) -> None:
        raise _refusal(upload.key)


def _refusal(key: str) -> ReadOnlyStorageError:
    return ReadOnlyStorageError(f"{key}: this store is configured for reading only, as [projects.…]").of(key)


class LoggedBackend(DelegatingBackend):
    """Writes one DEBUG record a verb to the logger ``datajoint_file.storage``: verb, key, seconds, outcome."""

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        with _logged("upload", key):
            return self.inner.upload(key, reader, size)

    def open(self, key: str, **options: Any) -> BinaryIO:
        with _logged("open", key):
            return self.inner.open(key, **options)

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


@contextmanager
def _logged(verb: str, key: str) -> Iterator[None]:
    start, outcome = time.perf_counter(), "failed"
    try:
        yield
        outcome = "done"
    finally:
        logger.debug("%s %s %s in %.3f s", verb, key, outcome, time.perf_counter() - start)
