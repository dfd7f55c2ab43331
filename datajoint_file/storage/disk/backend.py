"""File system backend: a project on a local disk, NFS, SMB.

Published by link, so that a name is either absent or complete; flushed to the disk before it is announced.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

from datajoint_file.errors import (
    ObjectNotFoundError,
    StorageError,
    StorageMissingError,
    StorageUnavailableError,
    UnsafePathError,
)
from datajoint_file.model.object_keys import check_object_key
from datajoint_file.storage.backend import (
    NO_HEADERS,
    Capabilities,
    ContentHeaders,
    ObjectStat,
    Reader,
    UnfinishedUpload,
)
from datajoint_file.storage.disk.drafts import flush_directory
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE
from datajoint_file.storage.disk.posix import mode_of, tag_of, translation
from datajoint_file.storage.disk.publishing import LocalGroup, remove_if_empty
from datajoint_file.storage.shared import (
    PARTIAL_PREFIX,
    DerivedVerbs,
    check_partial,
    check_prefix,
    is_object_key,
    is_partial,
    moment,
    refuse_partial,
    unfinished_file,
)

_WORKERS = 2
"""One copies and hashes while another waits for the disk. Tiny files go one after the other, in a group."""


class LocalBackend(DerivedVerbs):
    """Objects as files below one directory.

    The project's directory *root* stands for the first part of every key. It must exist: a missing one is more often an
    unmounted disk than a new project. With durability ``"none"`` flushing is left to the operating system: faster for
    many small files, and what a power cut takes is lost.

    An object is written under a temporary name in its own directory, flushed, made read-only, linked to its final name
    (which fails if there is one), and its directory is flushed. Permissions follow the umask. Where the file system
    has no hard links, it is renamed instead, and two writers that race for one key are not told apart.
    """

    def __init__(self, root: Path, project: str, durability: Literal["full", "none"] = "full") -> None:
        self.root = Path(root)
        self._root = str(self.root)
        self.project = project
        self._flushes = durability == "full"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            "file", True, lists_unfinished=True, workers=_WORKERS, group_below=COPY_ABOVE, is_mounted=True
        )

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        group = self.group()
        try:
            written = group.upload(key, reader, size)
            group.publish()
        except BaseException:
            group.discard()
            raise
        return written

    def group(self) -> LocalGroup:
        return LocalGroup(self._root, self._flushes, self._path_of, _translated, self._require_root)

    def open(self, key: str, **options: Any) -> BinaryIO:
        with _translated(key):
            return open(self._regular(key), "rb", opener=_open_no_link)

    def stat(self, key: str) -> ObjectStat:
        with _translated(key):
            return _described(key, os.lstat(self._regular(key)))

    def delete(self, key: str) -> None:
        with _translated(key), suppress(ObjectNotFoundError, FileNotFoundError, NotADirectoryError):
            path = self._regular(key)
            self._remove(path)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        path, prefix = self._place(prefix)
        with _translated(prefix):
            mode = mode_of(path)
            if stat_module.S_ISREG(mode):
                with suppress(ObjectNotFoundError):  # deleted since
                    yield self.stat(prefix)
            elif stat_module.S_ISDIR(mode) or path == self.root:
                yield from _Walk(self.root, is_object_key).files(path, prefix)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        path, prefix = self._place(prefix)
        with _translated(prefix):
            deep = stat_module.S_ISDIR(mode_of(path)) or path == self.root
            if not deep:
                path, prefix = path.parent, prefix.rpartition("/")[0]
            yield from map(unfinished_file, _Walk(self.root, is_partial).files(path, prefix, deep=deep))

    def discard(self, upload: UnfinishedUpload) -> None:
        key = check_partial(upload)
        with _translated(key), suppress(FileNotFoundError, NotADirectoryError):
            path = self._path(f"{upload.key}/any").with_name(upload.id)
            self._require_root()
            if stat_module.S_ISREG(os.lstat(path).st_mode):
                self._remove(path)

    def above(self, name: str) -> str:
        for directory in Path(os.path.realpath(self.root)).parents:
            with suppress(OSError), os.scandir(directory / name) as entries:
                if next(entries, None) is not None:
                    return str(directory)
        return ""

    def url(self, key: str) -> str:
        return Path(self._named(check_object_key(key))).absolute().as_uri()

    def _place(self, prefix: str) -> tuple[Path, str]:
        """Return the path of *prefix*, and its key: the project if it is empty. The root must be there."""
        prefix = check_prefix(prefix) or self.project
        path = self._path(prefix) if "/" in prefix else Path(self._named(prefix))
        with _translated(prefix):
            self._require_root()
        return path, prefix

    def _named(self, key: str) -> str:
        """Return what *key* is called below the root."""
        project, _, rest = key.partition("/")
        if project != self.project:
            raise UnsafePathError(f"path = {key!r} is not of the project {self.project!r}")
        if PARTIAL_PREFIX in rest:
            refuse_partial(key)
        return os.path.join(self._root, rest)

    def _path(self, key: str) -> Path:
        """Return the file of *key*, refusing what would leave the root, by name or through a planted link."""
        return Path(self._path_of(key, set()))

    def _path_of(self, key: str, plain: set[str]) -> str:
        """Return the path of *key*, as `_path` does; *plain* are directories that are known to be no links."""
        path = self._named(check_object_key(key))
        directory = os.path.dirname(path)
        if self._has_link(directory, plain) and not _is_inside(directory, self._root):
            raise UnsafePathError(f"path = {key!r} leaves the project's directory through a symbolic link")
        return path

    def _has_link(self, directory: str, plain: set[str]) -> bool:
        """Tell whether a directory below the root, on the way to *directory*, is a symbolic link."""
        end = len(self._root)
        while end < len(directory):
            end = f"{directory}/".index("/", end + 1)
            below = directory[:end]
            if below in plain:
                continue
            try:
                if stat_module.S_ISLNK(os.lstat(below).st_mode):
                    return True
            except OSError:
                return False  # it is not there, and nothing is below it
            plain.add(below)
        return False

    def _regular(self, key: str) -> Path:
        path = self._path(key)
        self._require_root()
        if not stat_module.S_ISREG(os.lstat(path).st_mode):
            raise ObjectNotFoundError(f"{key}: {path} is not a regular file").of(key)
        return path

    def _require_root(self) -> None:
        if self.root.is_file():
            raise StorageUnavailableError(
                f"the project's directory {self.root} is a file: correct path in [storage] of datajoint.toml"
            )
        if not self.root.is_dir():
            error = StorageMissingError(f"the project's directory {self.root} does not exist: is its disk mounted?")
            error.advice = f"create it with `mkdir -p {self.root}`"
            raise error

    def _remove(self, path: Path) -> None:
        path.unlink()
        if self._flushes:
            flush_directory(str(path.parent))
        remove_if_empty(str(path.parent), self._root)


class _Walk:
    """The files below directories, entry by entry: one directory may have a million. Links are not followed.

    A directory or file that is removed meanwhile is passed over, as long as *root* is there, and the same as before.
    """

    def __init__(self, root: Path, wanted: Callable[[str], bool]) -> None:
        self._root = root
        self._identity = root.stat()
        self._wanted = wanted

    def files(self, directory: str | Path, prefix: str, *, deep: bool = True) -> Iterator[ObjectStat]:
        """Give the files with a wanted key below *directory*, which has the key *prefix*; or only those in it."""
        try:
            entries = os.scandir(directory)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return
        with entries:
            for entry in entries:
                key = f"{prefix}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if deep and is_object_key(key):
                        yield from self.files(entry.path, key)
                elif self._wanted(key) and (status := self._status(entry)):
                    yield _described(key, status)

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        try:
            return entry.stat(follow_symlinks=False) if entry.is_file(follow_symlinks=False) else None
        except FileNotFoundError:
            self._require_root()
            return None

    def _require_root(self) -> None:
        with suppress(FileNotFoundError):
            if os.path.samestat(self._root.stat(), self._identity):
                return
        raise StorageUnavailableError(f"{self._root} has vanished while it was listed: is its disk still mounted?")


@contextmanager
def _translated(key: str) -> Iterator[None]:
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


def _is_inside(directory: str, root: str) -> bool:
    return Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(root))


def _described(key: str, status: os.stat_result) -> ObjectStat:
    return ObjectStat(key, status.st_size, moment(status.st_mtime), tag_of(status))
