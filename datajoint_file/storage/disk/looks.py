"""Fingerprint of a file or directory: what it looks like from outside, so that a change is noticed without a read.

What is done about a change is the business of who notices it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable


def look(status: os.stat_result) -> str:
    """Say what a file is; its device is not in it, which has a number of its own on each machine that mounts it."""
    kind = stat.S_IFMT(status.st_mode)
    return f"{kind:o} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def look_of_content(status: os.stat_result) -> str:
    """Say what a file is, whatever names it has: what links change is left out."""
    return f"{stat.S_IFMT(status.st_mode):o} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def look_through(path: str, look: Callable[[os.stat_result], str] = look) -> str:
    """Return what a file looks like, or a directory with all that is in it: something else if it was changed."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return look(status)
    seen = hashlib.sha256(f"{status.st_ino}".encode())
    for place, directories, names in os.walk(path):
        directories.sort()
        for name in sorted([*directories, *names]):
            inner = f"{place}/{name}"
            seen.update(os.fsencode(f"{inner[len(path) :]}\0{look(os.lstat(inner))}\0"))
    return f"tree {seen.hexdigest()}"
