"""Directory descriptors below a store's root: opened at once or one component at a time, never through a link.

Whoever may write to a directory of the store can put a link in a directory's place at any moment. What was looked at is
what is used here, so that nothing is read, written or removed elsewhere. The root itself may be a link: it is named in
the configuration.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_DIRECTORY = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_TO_PASS = getattr(os, "O_PATH", os.O_RDONLY)
"""To look up names in a directory the right to list it is not needed, where the system can be told."""


class LinkOnTheWayError(OSError):
    """What is below the root, or on the way to it, is a symbolic link."""


class Walker:
    """Opens directories below *root*, named as text: ``schema/objects``, or nothing for the root."""

    def __init__(self, root: str) -> None:
        self._root = root

    @contextmanager
    def within(self, below: str) -> Iterator[int]:
        """Give a descriptor in which names can be looked up and changed, for as long as the block lasts.

        Raises
        ------
        LinkOnTheWayError
            If a link is on the way.
        OSError
            If a directory is not there, or may not be passed.
        """
        descriptor = self.open(below)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def open(self, below: str, missing: Callable[[int, str], None] | None = None) -> int:
        """Return such a descriptor, which the caller closes. *missing* makes a directory that is not there."""
        at_once = self.open_file(below, _TO_PASS | _DIRECTORY) if below else None
        if at_once is not None:
            return at_once
        root = os.open(self._root, _TO_PASS | _DIRECTORY)
        try:
            return descend(root, below, missing)
        except OSError as error:
            error.filename = os.path.join(self._root, below)
            raise
        finally:
            os.close(root)

    def open_file(self, below: str, flags: int) -> int | None:
        """Open what is *below* the root, if the system can in one call; None says nothing. The caller closes it."""
        at_once = open_without_links(f"{self._root}/{below}", flags)
        if at_once is not None:
            return at_once
        root = os.open(self._root, _TO_PASS | _DIRECTORY)
        try:
            return open_without_links(below, flags, root)
        finally:
            os.close(root)


def descend(directory: int, below: str, missing: Callable[[int, str], None] | None = None) -> int:
    """Open what is *below* an open directory, or that again, as `Walker.open` does; errors name the part it ends at."""
    at_once = open_without_links(below, _TO_PASS | _DIRECTORY, directory) if below else None
    if at_once is not None:
        return at_once
    descriptor, passed = os.dup(directory), ""
    for name in below.split("/") if below else ():
        passed = os.path.join(passed, name)
        try:
            inner = _entered(descriptor, name, missing)
        except OSError as error:
            error.filename = passed
            raise
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _entered(directory: int, name: str, missing: Callable[[int, str], None] | None) -> int:
    try:
        return enter(directory, name)
    except FileNotFoundError:
        if missing is None:
            raise
    missing(directory, name)
    return enter(directory, name)


def enter(directory: int, name: str, flags: int = _TO_PASS) -> int:
    """Open the directory *name* of another one; *flags* say what for. The caller closes it."""
    return _opened(directory, name, flags | _DIRECTORY)


def _opened(directory: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | _NO_LINK, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and stat.S_ISLNK(mode_in(directory, name)):
            raise LinkOnTheWayError(errno.ELOOP, "it is a symbolic link", name) from error
        raise


def mode_in(directory: int | None, name: str) -> int:
    """Return what kind of file *name* is in a directory, links not followed; 0 if there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def open_below(directory: int, below: str, flags: int) -> int:
    """Open what is *below* an open directory, a file or a directory: no part of the way is a link, nor its end.

    At once, if the system can; else step by step. The caller closes it. Raises as `Walker.within` does.
    """
    at_once = open_without_links(below or ".", flags, directory)
    if at_once is not None:
        return at_once
    above, _, name = below.rpartition("/")
    parent = descend(directory, above)
    try:
        return _opened(parent, name or ".", flags)
    finally:
        os.close(parent)


def open_real(path: str, flags: int) -> int:
    """Open an absolute path as `open_below` does, from the root of the file system on."""
    at_once = open_without_links(path, flags)
    if at_once is not None:
        return at_once
    root = os.open("/", _TO_PASS | _DIRECTORY)
    try:
        return open_below(root, path.strip("/"), flags)
    finally:
        os.close(root)


def owner_of_new(directory: int) -> int:
    """Return the number of the user of whom files are that this process makes in a directory, by making one.

    A server may call him otherwise than this machine does.
    """
    name = secrets.token_hex(8)
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    try:
        return os.fstat(descriptor).st_uid  # not of the name, which may be another's by now
    finally:
        os.close(descriptor)
        os.unlink(name, dir_fd=directory)


def is_called(directory: int | None, name: str, descriptor: int) -> bool:
    """Tell whether *name* in a directory is what a descriptor has open."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


class KeptDirectory:
    """The directory that was opened last, kept open for whoever asks for it next, while it is where it was.

    From any thread; each holds what it was given until it is done with it.
    """

    def __init__(self, root: str) -> None:
        self._walker = Walker(root)
        self._root = root
        self._last: Directory | None = None

    def get(self, below: str, missing: Callable[[int, str], None] | None = None) -> Directory:
        """Return the directory *below* the root; see `Walker.open`."""
        last = self._last
        path = f"{self._root}/{below}"
        if last is None or last.path != path or not last.is_there():
            self._last = last = Directory(self._walker.open(below, missing), path)
        return last

    def close(self) -> None:
        """Let go of it."""
        self._last = None


class Directory:
    """An open directory, which is closed when nobody has it any more."""

    __slots__ = ("_identity", "descriptor", "is_settled", "path")

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self.path = path
        self.is_settled = False  # its name is on the disk, for all that who has it open knows
        self._identity = _identity(os.fstat(descriptor))

    def is_there(self) -> bool:
        """Tell whether its path still leads to it: it may have been removed, or moved away."""
        try:
            return _identity(os.lstat(self.path)) == self._identity
        except OSError:
            return False

    def __del__(self) -> None:
        os.close(self.descriptor)


class Within:
    """A directory that is open for as long as a block lasts; its descriptor is what the block is given."""

    __slots__ = ("_descriptor",)

    def __init__(self, directory: int, name: str) -> None:
        self._descriptor = enter(directory, name)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


# ---- `openat2`: one call for the whole way, where Linux has it; who is refused asks again, step by step ----

_NUMBER = ctypes.c_long(437)
"""Of the system call, on every machine that Python runs on (since Linux 5.6; no C library has a function for it)."""

_AT_FDCWD = -100

_NO_SYMLINKS = 0x04


class _How(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_SIZE = ctypes.c_size_t(ctypes.sizeof(_How))

try:
    _syscall: Any = ctypes.CDLL(None).syscall if sys.platform == "linux" else None
except (AttributeError, OSError, TypeError):
    _syscall = None


def open_without_links(path: str, flags: int, directory: int = _AT_FDCWD) -> int | None:
    """Open *path*, from a directory on if it is relative; None if any part of it is a link, or it cannot be opened.

    The caller closes it.
    """
    if _syscall is None:
        return None
    how = _How(flags, 0, _NO_SYMLINKS)
    descriptor: int = _syscall(_NUMBER, directory, os.fsencode(path), ctypes.byref(how), _SIZE)
    return descriptor if descriptor >= 0 else None
