"""Durability of what others have put on a disk: flushed by whoever is going to count on it, each directory once.

A name that is found may be on the disk or not: who made it may have been killed before its flush, be about it, or leave
flushing to the operating system. What this process has flushed itself it remembers, and what it could not flush, too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NoReturn

from datajoint_file.concurrency.descriptors import RAN_OUT
from datajoint_file.storage.disk import syncfs
from datajoint_file.storage.disk.drafts import flush_within
from datajoint_file.storage.disk.kernel_copy import write_out
from datajoint_file.storage.disk.walk import Walker, mode_in
from datajoint_file.storage.shared import PARTIAL_PREFIX

MOST = 10_000
"""So many directories are remembered; then all are forgotten, and flushed once more when they are met."""

_TO_FLUSH = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_NOT_ASKED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, *RAN_OUT})
"""Errors of opening what is to be flushed: nobody has asked the disk."""

Identity = tuple[int, ...]
"""Of a directory: what no other one has, nor one that is made later in its place."""


class Settled:
    """Bounded memo of directories whose names are on the disk, with all names above them, up to *root*.

    And of those of which a flush has failed: the system tells such an error once, and the next flush, which finds
    nothing left to do, seems to succeed. No lock: a fork may copy a locked one; what a child inherits is true.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._walker = Walker(root)
        self._names: set[Identity] = set()
        self._failed: set[str] = set()

    def has(self, identity: Identity | None) -> bool:
        """Tell whether the name of a directory is on the disk for all that this process knows."""
        return identity in self._names

    def discard(self, identity: Identity | None) -> None:
        """Forget a directory that has just been made: clocks are coarse, and it may look like one that was there."""
        if identity is not None:
            self._names.discard(identity)

    def add(self, identity: Identity | None) -> None:
        """Remember that the name of a directory is on the disk, and that of each above it."""
        if identity is not None:
            if len(self._names) >= MOST:
                self._names.clear()
            self._names.add(identity)

    @contextmanager
    def flushing(self, below: str) -> Iterator[None]:
        """Remember the directory *below* the root if what is in it, or above it, cannot be flushed."""
        try:
            yield
        except OSError as error:
            if error.errno not in _NOT_ASKED and len(self._failed) < MOST:
                self._failed.add(below)
            raise

    def settle_name(self, below: str) -> None:
        """Flush the name of what is *below* the root, and those of the directories above it, unless that was done."""
        unsettled: list[tuple[str, Identity | None]] = []
        while below and not self.has(identity := identity_of(f"{self._root}/{below}")):
            unsettled.append((below, identity))
            below = below.rpartition("/")[0]
        for name, identity in reversed(unsettled):  # that a name is settled says that those above it are
            parent = name.rpartition("/")[0]
            with self.flushing(parent), self._walker.within(parent) as directory:
                _flush_names(directory)
            self.add(identity)

    def settle(self, some: Sequence[str]) -> None:
        """Flush files below the root, and all that is in and below directories, with all names on the way there.

        What is being written, or not there, is passed over.

        Raises
        ------
        OSError
            If something of it cannot be flushed, or could not be when this process tried before.
        """
        if self._failed:
            self._require_flushed(some)
        if not self._flush_together(some):
            for below in some:
                self._flush_each(below)
        for below in some:
            self.settle_name(below)

    def _flush_together(self, some: Sequence[str]) -> bool:
        """Flush by one call what is worth it, and tell so; raise if some bytes could not be written to the disk.

        Each file is asked for: such an error may be older than what is opened here.
        """
        count, size, devices = 0, 0, set[int]()
        with ExitStack() as held:
            for below in some:
                for directory, descriptor, files in self._walked(below):
                    if not devices:
                        held.callback(os.close, witness := os.open(".", os.O_RDONLY, dir_fd=descriptor))
                        if not syncfs.can_flush_together(witness):
                            return False
                    devices.add(os.fstat(descriptor).st_dev)
                    count += len(files) + 1
                    size += self._write_out(directory, descriptor, files)
            return len(devices) == 1 and syncfs.flush_together(witness, count, size)

    def _write_out(self, directory: str, descriptor: int, files: Sequence[str]) -> int:
        size = 0
        for name in files:
            with self.flushing(directory), suppress(PermissionError):
                size += _with_file(descriptor, name, write_out)
        return size

    def _flush_each(self, below: str) -> None:
        for directory, descriptor, files in self._walked(below):
            with self.flushing(directory):
                for name in files:
                    flush_file(descriptor, name)
                if len(directory) >= len(below):  # else it is that of a file
                    _flush_names(descriptor)

    def _require_flushed(self, some: Sequence[str]) -> None:
        """Raise if the flush of a directory has failed that files are in, or that is above one."""
        for below in some:
            for directory, _, _ in self._walked(below):
                parts = directory.split("/")
                above = {"/".join(parts[:count]) for count in range(len(parts) + 1)}
                if above & self._failed or len(self._failed) >= MOST:
                    said = "a flush of its directory has failed before, and the disk may not have it"
                    raise OSError(errno.EIO, said, directory)

    def _walked(self, below: str) -> Iterator[tuple[str, int, list[str]]]:
        """Give the directories in and below one, open, with what is in each; of a file its directory, with it alone."""
        above, _, name = below.rpartition("/")
        if not below:
            return
        with self._walker.within(above) as parent:
            mode = mode_in(parent, name)
            if stat.S_ISREG(mode):
                yield above, parent, [name]
            elif stat.S_ISDIR(mode):
                for path, inner, files, descriptor in os.fwalk(name, onerror=_raise, dir_fd=parent):
                    inner[:] = [one for one in inner if not one.startswith(PARTIAL_PREFIX)]
                    yield os.path.join(above, path), descriptor, files


def _raise(error: OSError) -> NoReturn:
    raise error


def _flush_names(directory: int) -> None:
    """Flush what an open directory is about; where it may not be listed, all that the system has to write."""
    try:
        flush_within(directory)
    except PermissionError:
        os.sync()


def flush_file(directory: int, name: str) -> None:
    """Flush a file of an open directory, whoever has written it; if it may not be read, all there is to write."""
    try:
        _with_file(directory, name, os.fsync)
    except PermissionError:
        os.sync()


def _with_file(directory: int, name: str, step: Callable[[int], object]) -> int:
    """Take a step with a regular file that is complete, and return its size."""
    if name.startswith(PARTIAL_PREFIX) or not stat.S_ISREG(mode_in(directory, name)):
        return 0
    descriptor = os.open(name, _TO_FLUSH, dir_fd=directory)
    try:
        step(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def identity_of(path: str, directory: int | None = None) -> Identity | None:
    """Return what tells a directory from one that takes its place, and may get its inode: since when it is there.

    None if the system does not tell. On Linux ``statx`` knows (statx(2)), elsewhere ``stat``.
    """
    if _statx is None:
        status = os.stat(path, dir_fd=directory, follow_symlinks=False)
        birth = getattr(status, "st_birthtime", None)
        return None if birth is None else (status.st_dev, status.st_ino, birth)
    answer = ctypes.create_string_buffer(_ANSWER.size)
    if _statx(_AT_FDCWD if directory is None else directory, os.fsencode(path), _NO_FOLLOW, _BIRTH | _INODE, answer):
        return None
    mask, *identity = _ANSWER.unpack(answer)
    return tuple(identity) if mask & _BIRTH else None


_AT_FDCWD, _NO_FOLLOW, _INODE, _BIRTH = -100, 0x100, 0x100, 0x800

_ANSWER = struct.Struct("I28xQ40xqI44xII112x")
"""Of ``struct statx``: what is told, the inode, seconds and nanoseconds of its birth, the device's two numbers."""

try:
    _statx: Any = ctypes.CDLL(None).statx
except (AttributeError, OSError, TypeError):
    _statx = None
