"""Local file or tree beside its stored copy: what it looks like now, whether somebody writes to it, its removal.

Everything is done by descriptor, below a directory that was opened once: no symbolic link is followed, and what was
looked at is what is hashed and removed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from datajoint_file.errors import SourceChangedError, SourceError, SourceNotRegularError, printable, reason_of
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.storage.disk.drafts import move_new
from datajoint_file.storage.disk.rename import rename_new
from datajoint_file.storage.disk.walk import LinkOnTheWayError, is_called, mode_in
from datajoint_file.transfer.directories import Directory, LocalTree, TreeMember
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.pinned_directory import PinnedDirectory

_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Snapshot(NamedTuple):
    """What a file or tree looks like, without being read: two of it are equal if nobody has written meanwhile."""

    size: int
    modified: int  # nanoseconds; of a tree, of the member that was changed last
    identity: str


@dataclass(frozen=True, slots=True)
class LocalValue:
    """A file or directory below a directory, as a value for a `file` attribute; it is not followed if it is a link."""

    root: PinnedDirectory
    path: str  # below it
    is_directory: bool = False

    title = None
    """It has none: it is a stored directory to an insert, as far as that asks."""

    @property
    def original_name(self) -> str:
        """What it is called."""
        return self.path.rpartition("/")[2]

    def as_tree(self) -> LocalTree:
        """Return its members, if it is a directory."""
        path = f"{self.root.path}/{self.path}"
        return LocalTree(Directory(path), path, self.root.path)

    def source(self, expected: Snapshot) -> object:
        """Return what an insert takes: the file that looked as *expected*, and no other that is called so later."""
        return self if self.is_directory else _SameFile(self.root, self.path, expected=expected)

    def snapshot(self) -> Snapshot | None:
        """Return what it looks like now; None if it is gone.

        Raises
        ------
        SourceError
            If it is a link, or reached by one, cannot be looked at, or has members that no store holds.
        """
        try:
            found = [(path, self._status(path)) for path in self._paths()]
            return _snapshot(found)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _as_source_error(self.path, error) from error

    def has_writer(self) -> bool:
        """Tell whether somebody has it open for writing, as far as the system tells, of this user's files."""
        for path in self._paths():
            with suppress(OSError), self._opened(path) as descriptor:
                if is_open_for_writing(descriptor):
                    return True
        return False

    def difference(self, metadata: FileMetadata, manifest: Manifest | None) -> str:
        """Read it, and say how it differs from what is stored, whose *manifest* is given of a directory; else nothing.

        Raises
        ------
        SourceError
            If it cannot be read, or changes meanwhile.
        """
        if self.is_directory != metadata.is_directory:
            return "one of them is a directory, and the other is not"
        try:
            if manifest is None:
                return self._difference(self.path, metadata.size, metadata.hash)
            return self._difference_of_tree(manifest)
        except OSError as error:
            raise _as_source_error(self.path, error) from error

    def _difference_of_tree(self, manifest: Manifest) -> str:
        listing = self.as_tree().listing
        members = list(manifest)
        if [member.name for member in members] != listing.names:
            return "it has other files than what is stored"
        for member, path in zip(members, self._parts()[0], strict=True):
            different = self._difference(path, member.size, f"sha256:{member.digest}")
            if different:
                return f"{printable(path)}: {different}"
        return ""

    def _difference(self, path: str, size: int, hash_: str) -> str:
        with self._opened(path) as descriptor:
            before = os.fstat(descriptor)
            if before.st_size != size:
                return f"it has {before.st_size} bytes, and what is stored {size}"
            found = _hash(descriptor)
            after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceChangedError(f"{printable(path)} changed while it was read")
        return "" if found == hash_ else f"its hash is {found}, and what is stored has {hash_}"

    def remove(self, expected: Snapshot) -> None:
        """Remove it, if it still looks as *expected*, and nobody writes to it.

        Raises
        ------
        SourceError
            If it does not, or cannot be removed. Of a tree, some members may be gone then.
        """
        try:
            files, directories = self._parts()
            looked_at = {path: self._status(path) for path in files}
            if self.snapshot() != expected or self.has_writer():
                raise SourceChangedError(f"{printable(self.path)} was changed, or opened for writing, meanwhile")
            for path, status in looked_at.items():
                self._remove_file(path, status)
            for directory in reversed(directories):
                self._within(directory, lambda parent, name: os.rmdir(name, dir_fd=parent))
        except OSError as error:
            raise _as_source_error(self.path, error) from error

    def put_back(self) -> None:
        """Give a file its name again which a removal that was killed has left under another; else do nothing."""

        def put_back(parent: int, name: str) -> None:
            with suppress(FileNotFoundError):
                move_new(_aside(name), name, parent, parent)

        with suppress(OSError):  # it is looked at next: that tells
            self._within(self.path, put_back)

    def _remove_file(self, path: str, expected: os.stat_result) -> None:
        """Remove a file. It gets another name first: one that somebody puts in its place at this moment is kept."""

        def remove(parent: int, name: str) -> None:
            aside = _aside(name)
            with self._opened(path) as descriptor:
                if not rename_new(name, aside, parent, parent):
                    if mode_in(parent, aside):  # what a removal has left that was killed: nobody knows what it is
                        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), aside)
                    os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
                now = os.fstat(descriptor)
                is_same = os.path.samestat(now, expected) and now.st_mtime_ns == expected.st_mtime_ns
                if is_same and is_called(parent, aside, descriptor) and not is_open_for_writing(descriptor):
                    os.unlink(aside, dir_fd=parent)
                    return
            move_new(aside, name, parent, parent)
            raise SourceChangedError(f"{printable(path)} was changed or replaced at this moment; it was kept")

        self._within(path, remove)

    def _within(self, path: str, action: Callable[[int, str], None]) -> None:
        above, _, name = path.rpartition("/")
        parent = self.root.open_directory(above)
        try:
            action(parent, name)
        finally:
            os.close(parent)

    def _paths(self) -> list[str]:
        """Return the paths of all that it is made of, below the root."""
        files, directories = self._parts()
        return [*files, *directories]

    def _parts(self) -> tuple[list[str], list[str]]:
        """Return the paths of files, and of directories, those within others after these."""
        if not self.is_directory:
            return [self.path], []
        tree = self.as_tree()
        files = [tree.value(name).path for name in tree.listing.names]
        within = {above for path in files for above in _above(path)}
        for name in tree.listing.empty:
            path = tree.value(name.rstrip("/")).path
            within.update((path, *_above(path)))
        return [f"{self.path}/{path}" for path in files], [self.path, *(f"{self.path}/{one}" for one in sorted(within))]

    def _status(self, path: str) -> os.stat_result:
        with self._opened(path, getattr(os, "O_PATH", _READ) | getattr(os, "O_CLOEXEC", 0)) as descriptor:
            status = os.fstat(descriptor)
        if stat.S_ISLNK(status.st_mode):
            raise LinkOnTheWayError(errno.ELOOP, "it is a symbolic link", path)
        is_fitting = stat.S_ISREG(status.st_mode) or (self.is_directory and stat.S_ISDIR(status.st_mode))
        if not is_fitting:
            raise SourceNotRegularError(f"{printable(path)} is not a regular file")
        return status

    @contextmanager
    def _opened(self, path: str, flags: int = _READ) -> Iterator[int]:
        descriptor = self.root.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _SameFile(TreeMember):
    """A file as it was when it was looked at; what has taken its place is not opened."""

    expected: Snapshot = field(kw_only=True)

    def open(self, path: str, flags: int) -> int:
        """Open it, as an *opener* does."""
        descriptor = TreeMember.open(self, path, flags)
        if _snapshot([(self.path, os.fstat(descriptor))]) != self.expected:
            os.close(descriptor)
            raise FileNotFoundError(errno.ENOENT, "it is another file by now", path)
        return descriptor


def _snapshot(found: Sequence[tuple[str, os.stat_result]]) -> Snapshot:
    told = "\n".join(f"{one.st_dev} {one.st_ino} {one.st_size} {one.st_mtime_ns} {path!r}" for path, one in found)
    size = sum(one.st_size for _, one in found if stat.S_ISREG(one.st_mode))
    latest = max((one.st_mtime_ns for _, one in found), default=0)
    return Snapshot(size, latest, hashlib.sha256(told.encode()).hexdigest())


def _above(path: str) -> list[str]:
    """Return the directories that a path leads through."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _aside(name: str) -> str:
    """Return what a file is called from when it is found to be what it should be until it is removed."""
    return f".datajoint-file-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.freed"


def is_open_for_writing(descriptor: int) -> bool:
    """Tell whether any process has the file of a descriptor, which is open for reading, open for writing.

    Linux gives a read lease only if not (fcntl(2)), on local file systems, and to the owner of a file. It is given back
    at once; who opens the file in between waits for that, and the signal that it sends us is one that nobody heeds.
    """
    try:
        import fcntl  # not on Windows

        take, signals = fcntl.F_SETLEASE, fcntl.F_SETSIG
    except (ImportError, AttributeError):  # another system: only stillness tells
        return False
    try:
        fcntl.fcntl(descriptor, signals, signal.SIGURG)
        fcntl.fcntl(descriptor, take, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:  # a directory, a file system without leases, somebody else's file
        return False
    fcntl.fcntl(descriptor, take, fcntl.F_UNLCK)
    return False


def _hash(descriptor: int) -> str:
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        reader = HashingReader(file, lambda _: None)
        drain(reader)
        return reader.hash


def _as_source_error(path: str, error: OSError) -> SourceError:
    if isinstance(error, SourceError):
        return error
    if isinstance(error, LinkOnTheWayError):
        return SourceNotRegularError(f"{printable(path)} is a symbolic link, or reached by one: it is not followed")
    return SourceError(f"{printable(path)} cannot be used: {reason_of(error)}")
