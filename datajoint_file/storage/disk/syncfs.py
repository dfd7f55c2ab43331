"""Group flush by `syncfs`, in place of an ``fsync`` for each file and directory, where Linux can.

Which files, and what must be on the disk before what, is decided by who writes them.

``syncfs`` waits until all that was written to a file system is on its disk, names and bytes, with the guarantee of
``fsync`` on each file (syncfs(2), sync(2)). Two things are to be minded. Since Linux 5.8 it reports bytes that could
not be written, but to each open file once, and only what failed since *that* was opened: so the descriptor it is given
must be older than the first byte that is to be flushed. And it also waits for what other programs have written.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Any

ENOUGH_FILES = 16
"""Fewer are flushed one by one: a file system that others write to should not have to wait for them."""

MAX_OTHERS_BYTES = 2**28
"""So much may wait to be written on the whole machine, besides one's own. A slow disk takes some seconds for it."""

_EXT = 0xEF53
_KNOWN = frozenset({_EXT, 0x58465342, 0x9123683E})
"""File systems whose ``syncfs`` commits their journal and empties the disk's cache: ext3 and 4, XFS, Btrfs (statfs(2)).

Not among them are network file systems, where it would be the server's turn, those in user space and overlays, which
pass it on only in newer kernels, and ext2, which leaves the disk's cache to ``fsync`` and has the number of ext4.
"""

_WAITING = re.compile(rb"^(?:Dirty|Writeback): +(\d+) kB$", re.MULTILINE)


def flush_together(witness: int, count: int, size: int) -> bool:
    """Flush a whole file system, if that is as good as flushing *count* of its files one by one, and quicker.

    *witness* is a descriptor of a file in it, opened before the first byte of what is to be flushed was written; *size*
    is how many bytes the files have. Return whether all is on the disk. If not, for whatever reason, flush them one by
    one: that tells which file's fault it is. Each must have been open since before it was written: an error is
    forgotten with the last descriptor.
    """
    if count < ENOUGH_FILES or not can_flush_together(witness) or _waiting_bytes() > size + MAX_OTHERS_BYTES:
        return False
    try:
        syncfs(witness)
    except OSError:
        return False
    return True


def can_flush_together(descriptor: int) -> bool:
    """Tell whether `syncfs` keeps all promises for the file system that an open file is in."""
    return _reports_errors and has_journal(descriptor) and not (_kind_of(descriptor) == _EXT and _may_be_ext2())


def has_journal(descriptor: int) -> bool:
    """Tell whether an open file is in a file system that commits many files at once: it pays to flush them in turn."""
    return _libc is not None and _kind_of(descriptor) in _KNOWN


def syncfs(descriptor: int) -> None:
    """Wait until all of a file system is on its disk. Linux only.

    Raises `OSError` if something is not, and the file of *descriptor* was open when it was written.
    """
    if _libc.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _is_since_linux_5_8() -> bool:
    if not hasattr(os, "uname") or os.uname().sysname != "Linux":
        return False
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return version is not None and tuple(map(int, version.groups())) >= (5, 8)


try:
    _libc: Any = ctypes.CDLL(None, use_errno=True)
    _libc.syncfs.argtypes = [ctypes.c_int]
    _libc.fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]
except (AttributeError, OSError, TypeError):
    _libc = None

_reports_errors = _libc is not None and _is_since_linux_5_8()


def _kind_of(descriptor: int) -> int:
    """Return the magic number of a file's file system, with which ``struct statfs`` begins; 0 if it is not told."""
    answer = (ctypes.c_long * 64)()
    return 0 if _libc.fstatfs(descriptor, answer) else answer[0] & 0xFFFFFFFF


def _may_be_ext2() -> bool:
    """Tell whether any file system of this machine is mounted as ext2, or it cannot be told."""
    try:
        return b" - ext2 " in Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return True


def _waiting_bytes() -> int:
    """Return how much the machine has still to write to its disks."""
    try:
        return sum(map(int, _WAITING.findall(Path("/proc/meminfo").read_bytes()))) * 1024
    except OSError:
        return sys.maxsize
