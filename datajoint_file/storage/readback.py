"""Read-back verification of uploads, where nobody else would notice that bytes were changed on their way.

That is where neither TLS protects them nor the store compares a checksum. Which stores those are, `factory` knows for
those that never do, and `bucket.s3_multipart` finds out for S3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator

from datajoint_file.errors import UploadCorruptedError
from datajoint_file.storage.backend import CHUNK_SIZE, NO_HEADERS, ContentHeaders, Reader, StorageBackend, hashed
from datajoint_file.storage.shared import DelegatingBackend


class ReadBackBackend(DelegatingBackend):
    """Reads every object back before its upload is over, and compares it with what was sent.

    It costs a download for each upload. TLS makes it unnecessary.

    Parameters
    ----------
    inner : StorageBackend
        The backend that does the work.
    is_needed : callable
        Whether there is no TLS; asked at the first upload, when secrets are resolved.
    """

    def __init__(self, inner: StorageBackend, is_needed: Callable[[], bool] = lambda: True) -> None:
        super().__init__(inner)
        self._ask = is_needed
        self._answer: bool | None = None

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

    def _is_needed(self) -> bool:
        if self._answer is None:
            self._answer = self._ask()
        return self._answer

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
