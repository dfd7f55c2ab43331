"""Mixins of backends: verbs that follow from others, delegation, prefixes, names of unfinished files, times.

For backends only; what callers may rely on is the contract in `backend`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Generator, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, BinaryIO

from datajoint_file.errors import ObjectNotFoundError, SigningError, UnsafePathError, brief
from datajoint_file.model.object_keys import check_object_key
from datajoint_file.storage.backend import (
    NO_HEADERS,
    Capabilities,
    ContentHeaders,
    ObjectStat,
    Reader,
    StorageBackend,
    UnfinishedUpload,
    UploadGroup,
    receipt_of,
)
from datajoint_file.storage.memory_budget import transfers
from datajoint_file.storage.tuning import RANGE_SIZE

PARTIAL_PREFIX = "~partial-"
"""Begins the name of a file that is being written, or on a disk of a directory that a program fills as it likes.

`encode_component` makes no component that begins so.
"""

UNCOUNTED = -1
"""The size of such a directory."""


class DerivedVerbs(StorageBackend):
    """The verbs that follow from others: ``exists``, ``read``, ``iter_range``, ``group``, ``copy``.

    And those that few stores have: no ``above``, no ``sign``.
    """

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        size = self.stat(source).size
        with self.open(source) as file:
            self.upload(key, file, size, headers)

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        return False

    def group(self) -> UploadGroup:
        return _SingleUploads(self)

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        with self.open(key) as file:
            file.seek(start)
            return read_fully(file, stop - start)

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        for begin in range(start, stop, RANGE_SIZE):
            yield self.read(key, begin, min(begin + RANGE_SIZE, stop))

    def above(self, name: str) -> str:
        return ""

    def sign(self, key: str, seconds: int, headers: ContentHeaders = NO_HEADERS) -> str:
        raise SigningError(
            f"{key}: stores of the protocol {self.capabilities.protocol!r} make no links, as s3, gcs and azure do; "
            "let a web application hand the file on"
        ).of(key)

    def settle(self, *keys: str) -> None:
        """Do nothing: what is there stays."""

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except ObjectNotFoundError:
            return False
        return True


class _SingleUploads:
    """A group of a store that has nothing to gain from one: each object is there at once."""

    def __init__(self, backend: StorageBackend) -> None:
        self._backend = backend

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        return self._backend.upload(key, reader, size, headers)

    def publish(self) -> None:
        """Nothing is left to do."""

    def discard(self) -> None:
        """Nothing is left behind."""


class DelegatingBackend(DerivedVerbs):
    """A backend that passes every verb to another one; wrappers change one thing each.

    ``group``, ``read`` and ``iter_range`` are not passed on, but made of ``upload`` and ``open``, which a wrapper may
    have changed.
    """

    def __init__(self, inner: StorageBackend) -> None:
        self.inner = inner

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        return self.inner.upload(key, reader, size, headers)

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        self.inner.copy(source, key, headers)

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        return self.inner.take(address, size, key, headers)

    def open(self, key: str, **options: Any) -> BinaryIO:
        return self.inner.open(key, **options)

    def stat(self, key: str) -> ObjectStat:
        return self.inner.stat(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        return self.inner.list(prefix)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        return self.inner.unfinished(prefix)

    def discard(self, upload: UnfinishedUpload) -> None:
        self.inner.discard(upload)

    def above(self, name: str) -> str:
        return self.inner.above(name)

    def settle(self, *keys: str) -> None:
        self.inner.settle(*keys)

    def sign(self, key: str, seconds: int, headers: ContentHeaders = NO_HEADERS) -> str:
        return self.inner.sign(key, seconds, headers)

    def url(self, key: str) -> str:
        return self.inner.url(key)


class ForwardedFile(io.RawIOBase):
    """An open object, passed on and closed with this; subclasses change how it is read.

    `io.BufferedReader` makes the rest of a file of it.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def _read(self, size: int) -> bytes:
        return bytes(self._file.read(size))

    def readinto(self, buffer: Any, /) -> int:
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._file.close()


def check_prefix(prefix: str) -> str:
    """Return *prefix* if it is empty, a project, or leading components of an object key; or raise `UnsafePathError`."""
    if prefix:
        refuse_partial(check_object_key(prefix if "/" in prefix else f"{prefix}/any"))
    return prefix


def refuse_partial(key: str) -> None:
    """Raise `UnsafePathError` if *key* is the name of a temporary file, or would be below one."""
    if is_partial(key):
        raise UnsafePathError(f"path = {key!r} is the name of an unfinished upload, not of an object")


def is_object_key(key: str) -> bool:
    """Tell whether *key* can be an object's: not another program's file, nor one that is still being written."""
    try:
        check_object_key(key)
    except UnsafePathError:
        return False
    return not is_partial(key)


def is_partial(key: str) -> bool:
    """Tell whether *key* names a file that is being written, or was when its writer died, or something below one."""
    return f"/{PARTIAL_PREFIX}" in f"/{key}"


def unfinished_file(found: ObjectStat) -> UnfinishedUpload:
    """Return the upload that a temporary file is of: which object's is not known, only in which directory."""
    directory, _, name = found.key.rpartition("/")
    return UnfinishedUpload(directory, name, found.modified, None if found.size == UNCOUNTED else found.size)


def check_partial(upload: UnfinishedUpload) -> str:
    """Return the key of the temporary file that *upload* names; `UnsafePathError` if it names none."""
    if not upload.id.startswith(PARTIAL_PREFIX) or "/" in upload.id:
        raise UnsafePathError(f"{brief(upload.id)} is not the name of an unfinished upload")
    return check_object_key(f"{upload.key}/{upload.id}")


def moment(value: Any) -> datetime | None:
    """Return a time as a client gives it, aware and in UTC; None for what is no time."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, timezone.utc)
    if isinstance(value, str):
        with suppress(ValueError):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if not isinstance(value, datetime):
        return None
    return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)


def entity_tag(told: Any) -> str:
    """Return an entity tag as stores and clients give it, with quotes or without; empty for none."""
    return str(told or "").strip('"')


def read_fully(reader: Reader, size: int) -> bytes:
    """Return *size* bytes of *reader*, which may give them in smaller pieces; fewer only at the end."""
    with transfers().reading():
        first = reader.read(size)
        if not first or len(first) >= size:
            return first
        pieces, missing = [first], size - len(first)
        while missing and (piece := reader.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
    return b"".join(pieces)


class Resumed:
    """A reader whose first bytes have been read already."""

    def __init__(self, head: bytes, reader: Reader) -> None:
        self.receipt = receipt_of(reader)
        self._head = memoryview(head)
        self._reader = reader

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._reader.read(size)
        if size < 0:
            return self.read(len(self._head)) + self._reader.read(size)
        first, self._head = self._head[:size], self._head[size:]
        return bytes(first)
