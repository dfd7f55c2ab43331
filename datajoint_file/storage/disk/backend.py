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
from datajoint_file.model.object_keys import check_object_key, own_directories
from datajoint_file.storage.backend import (
    NO_HEADERS,
    Capabilities,
    ContentHeaders,
    ObjectStat,
    Reader,
    UnfinishedUpload,
)
from datajoint_file.storage.disk.drafts import flush_within
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE
from datajoint_file.storage.disk.posix import tag_of, translation
from datajoint_file.storage.disk.publishing import LocalGroup
from datajoint_file.storage.disk.removal import remove_tree
from datajoint_file.storage.disk.settling import Settled
from datajoint_file.storage.disk.walk import LinkOnTheWayError, Walker, enter, mode_in
from datajoint_file.storage.shared import (
    PARTIAL_PREFIX,
    UNCOUNTED,
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

_CAPABILITIES = Capabilities(
    "file", True, lists_unfinished=True, workers=_WORKERS, group_below=COPY_ABOVE, is_mounted=True, copies=True
)


_WRITABLE = 0o222
"""The rights to write, of whomever."""


class LocalBackend(DerivedVerbs):
    """Objects as files below one directory.

    The project's directory *root* stands for the first part of every key. It must exist: a missing one is more often an
    unmounted disk than a new project. With durability ``"none"`` flushing is left to the operating system: faster for
    many small files, and what a power cut takes is lost.

    An object is written under a temporary name in its own directory, flushed, made read-only, linked to its final name
    (which fails if there is one), and its directory is flushed. Permissions follow the umask. Where the file system
    has no hard links, it is renamed instead; where no rename refuses to replace, two writers that race for one key are
    not told apart.
    """

    def __init__(self, root: Path, project: str, durability: Literal["full", "none"] = "full") -> None:
        self.root = Path(root)
        self._root = str(self.root)
        self._walker = Walker(self._root)
        self.project = project
        self._flushes = durability == "full"
        self._settled = Settled(self._root)

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        group = self.group()
        try:
            written = group.upload(key, reader, size)
            group.publish()
        except BaseException:
            group.discard()
            raise
        return written

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        """Give the file a second name, which costs nothing: its bytes never change. Where that cannot be, copy them."""
        path = self._path(source)
        with self._translated(source), self._directory_of(path) as (directory, name):
            _regular(source, path, directory, name)
            is_linked = self.group().link(directory, name, key)
        if not is_linked:
            super().copy(source, key, headers)

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        """Give a file of this machine a second name, if it is on the same file system, and can be made read-only."""
        place, name = os.path.split(address)
        try:
            directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            with _translated(key):
                mode = mode_in(directory, name)
                if not stat_module.S_ISREG(mode) or not self.group().link(directory, name, key):
                    return False
                if mode & _WRITABLE and not _made_read_only(directory, name, mode):
                    self.delete(key)  # it is another user's, who may write to it
                    return False
                return True
        finally:
            os.close(directory)

    def settle(self, *keys: str) -> None:
        if self._flushes:
            with self._translated(keys[0]):
                self._settled.settle([self._below(self._named(key.rstrip("/"))) for key in keys])

    def group(self) -> LocalGroup:
        return LocalGroup(self._root, self._settled, self._flushes, self._path, _translated, self._require_root)

    def open(self, key: str, **options: Any) -> BinaryIO:
        path = self._path(key)
        with self._translated(key):
            # `open` gives the file its path as a name: tifffile and others look at it.
            return open(path, "rb", opener=lambda *_: self._opened_file(key, path)[0])

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        path = self._path(key)
        with self._translated(key):
            descriptor, size = self._opened_file(key, path)
            try:
                return _content(descriptor, start, min(stop, size))
            finally:
                os.close(descriptor)

    def stat(self, key: str) -> ObjectStat:
        path = self._path(key)
        with self._translated(key), self._directory_of(path) as (directory, name):
            return _described(key, _regular(key, path, directory, name))

    def delete(self, key: str) -> None:
        self._remove(key, self._path(key))

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        prefix = check_prefix(prefix) or self.project
        yield from self._found(self._named(prefix), prefix, is_object_key)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        prefix = check_prefix(prefix) or self.project
        path = self._named(prefix)
        with _translated(prefix):
            self._require_root()
            deep = path == self._root or self._is_directory(path)
        if not deep:
            path, prefix = os.path.dirname(path), prefix.rpartition("/")[0]
        yield from map(unfinished_file, self._found(path, prefix, is_partial, deep=deep))

    def discard(self, upload: UnfinishedUpload) -> None:
        key = check_partial(upload)
        self._remove(key, os.path.join(self._named(upload.key), upload.id))

    def above(self, name: str) -> str:
        for directory in Path(os.path.realpath(self.root)).parents:
            with suppress(OSError), os.scandir(directory / name) as entries:
                if next(entries, None) is not None:
                    return str(directory)
        return ""

    def url(self, key: str) -> str:
        return Path(self._named(check_object_key(key))).absolute().as_uri()

    def _named(self, key: str) -> str:
        """Return what *key* is called below the root."""
        project, _, rest = key.partition("/")
        if project != self.project:
            raise UnsafePathError(f"path = {key!r} is not of the project {self.project!r}")
        if PARTIAL_PREFIX in rest:
            refuse_partial(key)
        return os.path.join(self._root, rest) if rest else self._root

    def _path(self, key: str) -> str:
        """Return the path of an object, refusing what would leave the root."""
        return self._named(check_object_key(key))

    def _below(self, path: str) -> str:
        return path[len(self._root) :].strip("/")

    @contextmanager
    def _directory_of(self, path: str) -> Iterator[tuple[int, str]]:
        """Give the directory of a file below the root, open, and the file's name in it."""
        below, _, name = self._below(path).rpartition("/")
        with self._walker.within(below) as directory:
            yield directory, name

    def _opened_file(self, key: str, path: str) -> tuple[int, int]:
        """Open a regular file and return it with its size; the caller closes it.

        Where it cannot be opened at once, why is found out step by step.
        """
        descriptor = self._walker.open_file(self._below(path), _TO_READ)
        if descriptor is not None:
            status = os.fstat(descriptor)
            if stat_module.S_ISREG(status.st_mode):
                return descriptor, status.st_size
            os.close(descriptor)
        with self._directory_of(path) as (directory, name):
            size = _regular(key, path, directory, name).st_size
            return os.open(name, _TO_READ, dir_fd=directory), size

    def _remove(self, key: str, path: str) -> None:
        """Remove a file, if it is there, and the directories that are its own and empty; what is unfinished, whole."""
        below, _, name = self._below(path).rpartition("/")
        with _translated(key):
            try:
                with self._walker.within(below) as directory:
                    mode = mode_in(directory, name)
                    if stat_module.S_ISREG(mode):
                        os.unlink(name, dir_fd=directory)
                    elif stat_module.S_ISDIR(mode) and is_partial(key):
                        remove_tree(directory, name)
                    else:
                        return
                    if self._flushes:
                        flush_within(directory)
                self._remove_empty(below, own_directories(key))
            except (FileNotFoundError, NotADirectoryError):
                self._require_root()

    def _remove_empty(self, below: str, count: int) -> None:
        """Remove so many directories, from the innermost on, if they are empty. Those above stay: others may add."""
        for _ in range(count if below else 0):
            below, _, name = below.rpartition("/")
            try:
                with self._walker.within(below) as parent:
                    os.rmdir(name, dir_fd=parent)
            except OSError:
                return

    def _found(
        self, path: str, prefix: str, wanted: Callable[[str], bool], *, deep: bool = True
    ) -> Iterator[ObjectStat]:
        """Give the files with a wanted key in or below a directory of the key *prefix*, or that file itself."""
        with self._translated(prefix):
            self._require_root()
            if path != self._root and not self._is_directory(path):
                with suppress(ObjectNotFoundError):
                    if wanted(prefix):
                        yield self.stat(prefix)
                return
            walk = _Walk(self.root, wanted)
            try:
                directory = self._opened(path)
            except (FileNotFoundError, NotADirectoryError):
                walk.require_root()
                return
            yield from walk.files(directory, prefix, deep=deep)
            walk.require_root()  # what was listed may be a disk that is not mounted any more

    def _is_directory(self, path: str) -> bool:
        try:
            with self._directory_of(path) as (directory, name):
                return stat_module.S_ISDIR(mode_in(directory, name))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _opened(self, path: str) -> int:
        """Open a directory for listing."""
        if path == self._root:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with self._directory_of(path) as (directory, name):
            return enter(directory, name, os.O_RDONLY)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Turn errors of the system into this package's; nothing is said to be absent if the root is."""
        try:
            with _translated(key):
                yield
        except ObjectNotFoundError:
            with _translated(key):
                self._require_root()
            raise

    def _require_root(self) -> None:
        if self.root.is_file():
            raise StorageUnavailableError(
                f"the project's directory {self.root} is a file: correct path in [storage] of datajoint.toml"
            )
        if not self.root.is_dir():
            error = StorageMissingError(f"the project's directory {self.root} does not exist: is its disk mounted?")
            error.advice = f"create it with `mkdir -p {self.root}`"
            raise error


def _made_read_only(directory: int, name: str, mode: int) -> bool:
    """Take the right to write to a file away from everybody; tell whether this user may do that."""
    try:
        os.chmod(name, stat_module.S_IMODE(mode) & ~_WRITABLE, dir_fd=directory)
    except PermissionError:
        return False
    return True


class _Walk:
    """The files below directories, entry by entry: one directory may have a million. Links are not followed.

    A directory or file that is removed meanwhile is passed over, as long as *root* is there, and the same as before.
    """

    def __init__(self, root: Path, wanted: Callable[[str], bool]) -> None:
        self._root = root
        self._identity = root.stat()
        self._wanted = wanted

    def files(self, directory: int, prefix: str, *, deep: bool = True) -> Iterator[ObjectStat]:
        """Give the files with a wanted key below *directory*, which has the key *prefix*; or only those in it.

        The descriptor is closed by this, as soon as it can be.
        """
        try:
            entries = os.scandir(directory)  # has a descriptor of its own
        except BaseException:
            os.close(directory)
            raise
        with entries:
            try:
                for entry in entries:
                    key = f"{prefix}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False) and not is_partial(key):
                        inner = self._entered(directory, entry.name) if deep and is_object_key(key) else None
                        if inner is not None:
                            yield from self.files(inner, key)
                    elif self._wanted(key) and (status := self._status(entry)):
                        yield _described(key, status)
            finally:
                os.close(directory)

    def _entered(self, directory: int, name: str) -> int | None:
        try:
            return enter(directory, name, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError, LinkOnTheWayError):  # removed since, or exchanged
            self.require_root()
            return None

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Describe a file, or a directory that a program is filling."""
        try:
            is_told = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
            return entry.stat(follow_symlinks=False) if is_told else None
        except FileNotFoundError:
            self.require_root()
            return None

    def require_root(self) -> None:
        """Raise unless the root is there, and the same as before: what is missing below has not vanished with it."""
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
    except LinkOnTheWayError as error:
        raise UnsafePathError(f"path = {key!r} leaves its root through a symbolic link") from error
    except OSError as error:
        raise translation(key, error).of(key) from error


_TO_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""A link or a FIFO that has come into a file's place meanwhile is neither followed nor waited for."""


def _regular(key: str, path: str, directory: int, name: str) -> os.stat_result:
    """Describe a regular file; what is none is no object."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat_module.S_ISREG(status.st_mode):
        raise ObjectNotFoundError(f"{key}: {path} is not a regular file").of(key)
    return status


def _content(descriptor: int, start: int, stop: int) -> bytes:
    """Return the bytes of an open file from *start* to before *stop*, which is not behind its end; fewer if cut off."""
    pieces = []
    while start < stop and (piece := os.pread(descriptor, stop - start, start)):
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def _described(key: str, status: os.stat_result) -> ObjectStat:
    size = status.st_size if stat_module.S_ISREG(status.st_mode) else UNCOUNTED
    return ObjectStat(key, size, moment(status.st_mtime), tag_of(status))
