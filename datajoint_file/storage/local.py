"""A project on a POSIX file system: local disk, NFS, SMB.

Published by link, so that a name is either absent or complete; flushed to the disk before it is announced.
"""

from __future__ import annotations

import os
import secrets
import stat as stat_module
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, Literal

from datajoint_file.errors import ObjectNotFoundError, StorageError, StorageUnavailableError, UnsafePathError
from datajoint_file.keys import check_object_key
from datajoint_file.storage.backend import CHUNK_SIZE, Capabilities, ObjectStat, Reader, UnfinishedUpload
from datajoint_file.storage.posix import (
    flush_directory,
    make_read_only,
    mode_of,
    publish,
    translation,
    write_all,
)
from datajoint_file.storage.shared import (
    PARTIAL_PREFIX,
    DerivedVerbs,
    check_partial,
    check_prefix,
    is_object_key,
    is_partial,
    refuse_partial,
    unfinished_file,
)
from datajoint_file.storage.walking import DiskWalk

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_ATTEMPTS = 10


class LocalBackend(DerivedVerbs):
    """Objects as files below one directory.

    Parameters
    ----------
    root : Path
        The project's directory. It must exist: a missing one is more often an unmounted disk than a new project.
    project : str
        The first part of every key; it stands for *root*.
    durability : {"full", "none"}
        ``"full"`` flushes file and directories to the disk before an upload returns. ``"none"`` leaves that to the
        operating system: faster for many small files, and what a power cut takes is lost.

    Notes
    -----
    An object is written under a temporary name in its own directory, flushed, made read-only, linked to its final name
    (which fails if there is one), and its directory is flushed. Permissions follow the umask. Where the file system
    has no hard links, it is renamed instead, and two writers that race for one key are not told apart.
    """

    def __init__(self, root: Path, project: str, durability: Literal["full", "none"] = "full") -> None:
        self.root = Path(root)
        self.project = project
        self._flushes = durability == "full"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities("file", atomic_create=True, lists_unfinished=True)

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        path = self._path(key)
        with self._translated(key):
            partial, descriptor = self._create_partial(path.parent)
            status = os.fstat(descriptor)
        try:
            written = self._write(key, descriptor, reader)
            with self._translated(key):
                publish(partial, path)
                self._flush_directory(path.parent)
        except BaseException:
            self._discard(partial, path, status)
            raise
        return written

    def open(
        self,
        key: str,
        *,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> BinaryIO:
        with self._translated(key):
            return open(self._regular(key), "rb", opener=_open_no_link)

    def stat(self, key: str) -> ObjectStat:
        with self._translated(key):
            return _described(key, os.lstat(self._regular(key)))

    def delete(self, key: str) -> None:
        with self._translated(key), suppress(ObjectNotFoundError, FileNotFoundError, NotADirectoryError):
            path = self._regular(key)
            path.unlink()
            self._flush_directory(path.parent)
            self._remove_if_empty(path.parent)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        path, prefix = self._place(prefix)
        with self._translated(prefix):
            mode = mode_of(path)
            if stat_module.S_ISREG(mode):
                with suppress(ObjectNotFoundError):  # deleted since
                    yield self.stat(prefix)
            elif stat_module.S_ISDIR(mode) or path == self.root:
                for key, status in DiskWalk(self.root, is_object_key).files(path, prefix):
                    yield _described(key, status)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        path, prefix = self._place(prefix)
        with self._translated(prefix):
            deep = stat_module.S_ISDIR(mode_of(path)) or path == self.root
            if not deep:
                path, prefix = path.parent, prefix.rpartition("/")[0]
            for key, status in DiskWalk(self.root, is_partial).files(path, prefix, deep=deep):
                yield unfinished_file(_described(key, status))

    def discard(self, upload: UnfinishedUpload) -> None:
        key = check_partial(upload)
        with self._translated(key), suppress(FileNotFoundError, NotADirectoryError):
            path = self._path(f"{upload.key}/any").with_name(upload.id)
            self._require_root()
            if stat_module.S_ISREG(os.lstat(path).st_mode):
                path.unlink()
                self._flush_directory(path.parent)
                self._remove_if_empty(path.parent)

    def url(self, key: str) -> str:
        return self._named(check_object_key(key)).absolute().as_uri()

    def _place(self, prefix: str) -> tuple[Path, str]:
        """Return the path of *prefix*, and its key: the project if it is empty. The root must be there."""
        prefix = check_prefix(prefix) or self.project
        path = self._path(prefix) if "/" in prefix else self._named(prefix)
        with self._translated(prefix):
            self._require_root()
        return path, prefix

    def _named(self, key: str) -> Path:
        """Return what *key* is called below the root."""
        project, _, rest = key.partition("/")
        if project != self.project:
            raise UnsafePathError(f"path = {key!r} is not of the project {self.project!r}")
        refuse_partial(key)
        return self.root / rest

    def _path(self, key: str) -> Path:
        """Return the file of *key*, refusing what would leave the root, by name or through a planted link."""
        path = self._named(check_object_key(key))
        if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self.root)):
            raise UnsafePathError(f"path = {key!r} leaves the project's directory through a symbolic link")
        return path

    def _regular(self, key: str) -> Path:
        path = self._path(key)
        self._require_root()
        if not stat_module.S_ISREG(os.lstat(path).st_mode):
            raise ObjectNotFoundError(f"{key}: {path} is not a regular file").of(key)
        return path

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise StorageUnavailableError(
                f"the project's directory {self.root} does not exist: is its disk mounted? "
                f"For a new project create it with `mkdir -p {self.root}`"
            )

    def _create_partial(self, directory: Path) -> tuple[Path, int]:
        """Open a new file in *directory*, which is made if need be.

        Whoever deletes the last object of a directory removes it too, also at this moment: then it is made again.
        """
        partial = directory / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}"
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
                self._make_directory(directory)
                return partial, os.open(partial, _CREATE, 0o666)
        self._require_root()
        raise StorageError(f"{directory} cannot be made: a file is in its place, or another process keeps removing it")

    def _make_directory(self, directory: Path) -> None:
        """Create *directory* below the root, and flush the entry of each directory that is new."""
        self._require_root()
        missing = []
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            self._flush_directory(new.parent)

    def _write(self, key: str, descriptor: int, reader: Reader) -> int:
        """Copy *reader* into the open file, flush it, make it read-only. Errors of *reader* come through."""
        written = 0
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            while chunk := reader.read(CHUNK_SIZE):
                with self._translated(key):
                    written += write_all(file, chunk)
            with self._translated(key):
                make_read_only(file.fileno())
                if self._flushes:
                    os.fsync(file.fileno())
        return written

    def _flush_directory(self, directory: Path) -> None:
        if self._flushes:
            flush_directory(directory)

    def _discard(self, partial: Path, path: Path, status: os.stat_result) -> None:
        """Remove what an upload left, under its final name too if it got that far, and nothing else."""
        with suppress(OSError):
            partial.unlink()
        with suppress(OSError):
            if os.path.samestat(os.lstat(path), status):
                path.unlink()
        self._remove_if_empty(partial.parent)

    def _remove_if_empty(self, directory: Path) -> None:
        """Remove an object's own directory, which no other write shares. Parents stay: others may be adding to them."""
        if directory != self.root:
            with suppress(OSError):
                directory.rmdir()

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn errors of the operating system into this package's, about the object *key*."""
        try:
            yield
        except StorageError as error:
            error.key = error.key or key
            raise
        except OSError as error:
            raise translation(key, error).of(key) from error


def _open_no_link(path: str, flags: int) -> int:
    """Open for `open`, which gives the file its path as a name: tifffile and others look at it."""
    return os.open(path, flags | os.O_NOFOLLOW)


def _described(key: str, status: os.stat_result) -> ObjectStat:
    return ObjectStat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, timezone.utc))
