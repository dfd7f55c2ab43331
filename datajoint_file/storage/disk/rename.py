"""Rename that replaces nothing, or exchanges two names, where Linux has it.

The first is for file systems without hard links (FAT, exFAT, SMB).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

_AT_FDCWD = -100

_NOREPLACE, _EXCHANGE = 1, 2

_MISSING = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})

try:
    _renameat2: Any = ctypes.CDLL(None, use_errno=True).renameat2
except (AttributeError, OSError, TypeError):  # another system, or another C library
    _renameat2 = None


def rename_new(source: str, target: str, origin: int | None, directory: int | None) -> bool:
    """Rename a file, from one open directory to another, unless the new name is taken; False if that cannot be done.

    Raises
    ------
    OSError
        If the name is taken, or the file system says no.
    """
    start, end = (_AT_FDCWD if place is None else place for place in (origin, directory))
    return _renamed(start, source, end, target, _NOREPLACE)


def exchange(one: str, other: str) -> bool:
    """Exchange two files or directories, at no moment of which either name has none; False if that cannot be done.

    Raises
    ------
    OSError
        If one is not there, or the file system says no.
    """
    return _renamed(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)


def _renamed(start: int, source: str, end: int, target: str, flag: int) -> bool:
    if _renameat2 is None:
        return False
    if _renameat2(start, os.fsencode(source), end, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in _MISSING:
        return False
    raise OSError(number, os.strerror(number), target)
