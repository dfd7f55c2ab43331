"""Backend decorators that change one thing: read only, read back, with a mirror, logged.

The order in which they are put together stands in `factory`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any, BinaryIO

from datajoint_file.errors import ReadOnlyStorageError, UploadCorruptedError
from datajoint_file.model.object_keys import MANIFEST, REGISTRY
from datajoint_file.storage.backend import (
    CHUNK_SIZE,
    NO_HEADERS,
    ContentHeaders,
    ObjectStat,
    Reader,
    StorageBackend,
    UnfinishedUpload,
    UploadGroup,
    hashed,
    receipt_of,
)
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

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        raise _refusal(key)

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        raise _refusal(key)

    def delete(self, key: str) -> None:
        raise _refusal(key)

    def discard(self, upload: UnfinishedUpload) -> None:
        raise _refusal(upload.key)


def _refusal(key: str) -> ReadOnlyStorageError:
    return ReadOnlyStorageError(f"{key}: this store is configured for reading only, as [projects.…]").of(key)


class ReadBackBackend(DelegatingBackend):
    """Reads every object back before its upload is over, and compares it with what was sent: a download each.

    For stores to which the client sends no checksum. *is_needed* tells whether nothing else would notice that bytes
    were changed on their way, as TLS does; it is asked at the first upload, when secrets are resolved.
    """

    def __init__(self, inner: StorageBackend, is_needed: Callable[[], bool] = lambda: True) -> None:
        super().__init__(inner)
        self._is_needed = cache(is_needed)

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        if not self._is_needed():
            return self.inner.upload(key, reader, size, headers)
        sent = _Sent(reader)
        written = self.inner.upload(key, sent, size, headers)
        if self._stored(key, written) != (written, sent.sha256):
            raise changed_on_the_way(key)
        return written

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        return self.inner.read(key, start, stop)

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        return self.inner.iter_range(key, start, stop)

    def _stored(self, key: str, limit: int) -> tuple[int, bytes]:
        """Return size and SHA-256 of the object as it is stored; stop where it is longer than it should be."""
        digest, size = hashlib.sha256(), 0
        with self.inner.open(key) as file:
            while size <= limit and (chunk := file.read(CHUNK_SIZE)):
                digest.update(chunk)
                size += len(chunk)
        return size, digest.digest()


class _Sent:
    """Passes a reader on, and knows the digest of what passed: by asking it, if it knows, or else by hashing."""

    def __init__(self, reader: Reader) -> None:
        self.receipt = receipt_of(reader)
        self._reader = reader
        self._hashed = hashed(reader)
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._reader.read(size)
        if self._hashed is None:
            self._digest.update(chunk)
        return chunk

    @property
    def sha256(self) -> bytes:
        return self._digest.digest() if self._hashed is None else self._hashed.sha256


def changed_on_the_way(key: str) -> UploadCorruptedError:
    """Return the error that says that the object which was just made has other bytes.

    The object stays, for it may be another writer's: not every store keeps two apart that write in parts.
    """
    return UploadCorruptedError(
        f"{key}: the bytes in the store are not those that were sent: they were changed on their way. No row refers to "
        "the object, and the collector removes it. Insert the file again; if that happens repeatedly, a device between "
        "here and the store is broken. An endpoint_url with https:// notices such changes by itself"
    ).of(key)


class MirroredBackend(DelegatingBackend):
    """Deletes from *mirror* first, and then from the store: what the mirror could not forget, the store has yet.

    So whoever deletes knows the key, and tries again. That an object is not there is the mirror's word only while
    *require_mirror* does not raise: of a disk that is not mounted the empty directory has nothing, either. Marks are
    each place's own. All else is the store's business.
    """

    def __init__(self, inner: StorageBackend, mirror: StorageBackend, require_mirror: Callable[[], object]) -> None:
        super().__init__(inner)
        self._mirror = mirror
        self._require_mirror = require_mirror
        self._is_known = False

    def delete(self, key: str) -> None:
        if f"/{REGISTRY}/" not in key:
            self._look()
            self._forget(key)
            self._look()  # for it may have been unmounted just now
        self.inner.delete(key)

    def _look(self) -> None:
        """Make sure that the mirror is there: a bucket once, a disk each time."""
        if not self._is_known or self._mirror.capabilities.is_mounted:
            self._require_mirror()
            self._is_known = True

    def _forget(self, key: str) -> None:
        """Delete an object from the mirror; with the manifest of a directory, all that it has beside it."""
        self._mirror.delete(key)
        home, _, name = key.rpartition("/")
        for member in self._mirror.list(home) if name == MANIFEST else ():
            self._mirror.delete(member.key)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        theirs = (_OfMirror(one.key, one.id, one.started, one.size) for one in self._mirror.unfinished(prefix))
        return chain(self.inner.unfinished(prefix), theirs)

    def discard(self, upload: UnfinishedUpload) -> None:
        (self._mirror if isinstance(upload, _OfMirror) else self.inner).discard(upload)

    def group(self) -> UploadGroup:
        return self.inner.group()

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        return self.inner.read(key, start, stop)

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        return self.inner.iter_range(key, start, stop)


class _OfMirror(UnfinishedUpload):
    """What an upload has left in the mirror."""


class LoggedBackend(DelegatingBackend):
    """Writes one DEBUG record a verb to the logger ``datajoint_file.storage``: verb, key, seconds, outcome."""

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        with _logged("upload", key):
            return self.inner.upload(key, reader, size, headers)

    def group(self) -> UploadGroup:
        return _LoggedGroup(self.inner.group())

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        with _logged("copy", key):
            self.inner.copy(source, key, headers)

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        with _logged("take", key):
            return self.inner.take(address, size, key, headers)

    def open(self, key: str, **options: Any) -> BinaryIO:
        with _logged("open", key):
            return self.inner.open(key, **options)

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        with _logged("read", key):
            return self.inner.read(key, start, stop)

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        with _logged("read", key):
            yield from self.inner.iter_range(key, start, stop)

    def sign(self, key: str, seconds: int, headers: ContentHeaders = NO_HEADERS) -> str:
        with _logged("sign", key):
            return self.inner.sign(key, seconds, headers)

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


@contextmanager
def _logged(verb: str, key: str) -> Iterator[None]:
    """Log how a verb ends, and when."""
    start, outcome = time.perf_counter(), "failed"
    try:
        yield
        outcome = "done"
    finally:
        logger.debug("%s %s %s in %.3f s", verb, key, outcome, time.perf_counter() - start)
