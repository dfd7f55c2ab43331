"""`openat2`, one system call that opens a path below a directory and passes no link, where Linux has it.

What a refusal means is not told: who is refused asks again, one component at a time (see `walk`).
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

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
