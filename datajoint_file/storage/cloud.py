"""A project in a bucket, or below a directory of any other fsspec filesystem.

One filesystem a process, made in the process that uses it: fsspec's do not survive a fork. Errors of the many clients
are translated in `foreign`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, BinaryIO, cast

from datajoint_file.errors import (
    BucketNotFoundError,
    DataJointFileError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
)
from datajoint_file.keys import check_object_key
from datajoint_file.storage.backend import Capabilities, ObjectStat, Reader
from datajoint_file.storage.foreign import translation
from datajoint_file.storage.shared import DerivedVerbs

logger = logging.getLogger(__name__)

PART_SIZE = 16 * 2**20
"""Bytes of one part of a large object; a smaller object takes one request."""

MAX_PARTS = 9_000
"""Parts of one object to plan for; S3 allows 10,000."""

READ_BLOCK_SIZE = 4 * 2**20
"""Bytes that reading fetches ahead, unless told otherwise."""

_PART_GRAIN = 256 * 2**10
"""GCS takes parts in multiples of this."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """In what a protocol differs from the others.

    Parameters
    ----------
    scheme : str
        Begins URLs.
    exclusive : bool
        The filesystem can be asked to create only (``mode="xb"``, ``mode="create"``).
    """

    scheme: str
    exclusive: bool


class CloudBackend(DerivedVerbs):
    """Objects of a bucket, or files below a directory, through fsspec.

    Parameters
    ----------
    root : str
        What stands before every key in the filesystem: the bucket or container, or a directory.
    connect : callable
        Makes a fresh filesystem with today's credentials; called once a process, at the first use.
    dialect : Dialect
        In what the protocol differs.
    has_bucket : bool
        Whether *root* is a bucket, whose absence is told apart from an object's.
    strip : str
        Leading part of keys that *root* stands for (the project, where *root* is the project's directory).
    """

    def __init__(
        self, root: str, connect: Callable[[], Any], dialect: Dialect, *, has_bucket: bool, strip: str = ""
    ) -> None:
        self.root = root.rstrip("/")
        self.dialect = dialect
        self._connect = connect
        self._has_bucket = has_bucket
        self._strip = f"{strip}/" if strip else ""
        self._filesystems: dict[int, Any] = {}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(self.dialect.scheme, atomic_create=self.dialect.exclusive)

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        path = self._path(key)
        part_size = _part_size(size)
        head = read_fully(reader, part_size)
        with self._translated(key, writing=True):
            if not self.dialect.exclusive:
                self._refuse_existing(key, path)
        if len(head) < part_size:
            return self._upload_whole(key, path, head)
        return self._upload_parts(key, path, head, reader, part_size)

    def open(
        self,
        key: str,
        *,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> BinaryIO:
        options = {
            "block_size": block_size or READ_BLOCK_SIZE,
            "cache_type": cache_type or "readahead",
            "cache_options": cache_options,
        }
        path = self._path(key)
        with self._translated(key):
            return cast("BinaryIO", self._filesystem().open(path, "rb", **options))

    def stat(self, key: str) -> ObjectStat:
        path = self._path(key)
        with self._translated(key):
            found = self._filesystem().info(path)
            if found["type"] != "file":
                raise FileNotFoundError(key)
        return _described(key, found)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with suppress(ObjectNotFoundError), self._translated(key):
            self._filesystem().rm_file(path)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        path = self._path(prefix) if "/" in prefix else self._below(prefix)
        with self._translated(prefix):
            try:
                found = self._filesystem().find(path, detail=True)
            except FileNotFoundError:
                self._require_bucket()
                found = {}
        for name, details in found.items():
            yield _described(self._key(name), details)

    def url(self, key: str) -> str:
        return f"{self.dialect.scheme}://{self._path(key)}"

    def _path(self, key: str) -> str:
        return self._below(check_object_key(key))

    def _below(self, key: str) -> str:
        rest = key.removeprefix(self._strip) if f"{key}/" != self._strip else ""
        return f"{self.root}/{rest}" if rest else self.root

    def _key(self, name: str) -> str:
        """Return the key of a path as the filesystem spells it (with or without a leading slash)."""
        return self._strip + name.lstrip("/").removeprefix(self.root.lstrip("/")).lstrip("/")

    def _filesystem(self) -> Any:
        """Return this process's filesystem. No lock: a fork may copy a locked one, and two filesystems do no harm."""
        process = os.getpid()
        filesystem = self._filesystems.get(process)
        if filesystem is None:
            filesystem = self._filesystems.setdefault(process, self._connect())
        return filesystem

    def _upload_whole(self, key: str, path: str, content: bytes) -> int:
        with self._translated(key, writing=True):
            mode = {"mode": "create"} if self.dialect.exclusive else {}
            self._make_directory(path)
            self._filesystem().pipe_file(path, content, **mode)
        return len(content)

    def _upload_parts(self, key: str, path: str, head: bytes, reader: Reader, part_size: int) -> int:
        """Send part after part. What is written becomes an object only when the file is closed, at the very end."""
        with self._translated(key, writing=True):
            self._make_directory(path)
            file = self._filesystem().open(path, "xb" if self.dialect.exclusive else "wb", block_size=part_size)
        written, parts, part = 0, 0, head
        try:
            while part:
                with self._translated(key, writing=True):
                    file.write(part)
                written, parts = written + len(part), parts + 1
                if parts % (MAX_PARTS // 9) == 0:  # of unknown length, and long: larger parts keep below the limit
                    part_size = file.blocksize = part_size * 2
                part = read_fully(reader, part_size)
            with self._translated(key, writing=True):
                file.close()
        except BaseException:
            _abandon(file)
            raise
        return written

    def _make_directory(self, path: str) -> None:
        if not self._has_bucket:
            self._filesystem().makedirs(path.rsplit("/", 1)[0], exist_ok=True)

    def _refuse_existing(self, key: str, path: str) -> None:
        if self._filesystem().exists(path):
            raise ObjectExistsError(f"{key}: there is an object under this key, left as it is").of(key)

    def _require_bucket(self) -> None:
        """Tell a missing bucket from a missing object: the one is a mistake, the other an answer."""
        if self._has_bucket:
            try:
                self._filesystem().info(self.root)
            except FileNotFoundError as error:
                raise BucketNotFoundError(
                    f"the bucket {self.dialect.scheme}://{self.root} does not exist; create it, "
                    "or correct [storage] in datajoint.toml"
                ) from error

    @contextmanager
    def _translated(self, key: str, *, writing: bool = False) -> Iterator[None]:
        """Turn errors of fsspec and the clients below it into this package's."""
        try:
            yield
        except DataJointFileError:
            raise
        except Exception as error:
            raise self._translation(key, error, writing=writing).of(key) from error

    def _translation(self, key: str, error: Exception, *, writing: bool) -> StorageError:
        translated = translation(key, error)
        if not isinstance(translated, ObjectNotFoundError | BucketNotFoundError):
            return translated
        try:
            self._require_bucket()
        except StorageError as missing:
            return missing
        except Exception as unknown:  # noqa: BLE001 - whatever hinders the second look is what there is to tell
            return translation(key, unknown)
        return StorageError(f"{key}: {error}") if writing else translated


def read_fully(reader: Reader, size: int) -> bytes:
    """Return *size* bytes of *reader*, which may give them in smaller pieces; fewer only at the end."""
    first = reader.read(size)
    if not first or len(first) >= size:
        return first
    pieces, missing = [first], size - len(first)
    while missing and (piece := reader.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _part_size(size: int | None) -> int:
    needed = -(-(size or 0) // MAX_PARTS)
    return max(PART_SIZE, -(-needed // _PART_GRAIN) * _PART_GRAIN)


def _abandon(file: Any) -> None:
    """Make sure that what was written of *file* never becomes an object: closing it would publish it."""
    file.closed = True
    try:
        file.discard()
    except Exception:  # the first error is the one to report; unfinished parts are the collector's
        logger.warning("could not discard the unfinished upload of %s", getattr(file, "path", "?"), exc_info=True)


def _described(key: str, details: dict[str, Any]) -> ObjectStat:
    names = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
    return ObjectStat(key, int(details["size"]), _moment(next((details[n] for n in names if details.get(n)), None)))


def _moment(value: Any) -> datetime | None:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, timezone.utc)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
