"""Removal of what a cache has, and its replacement: at no moment does a directory look like one that never was.

Which entries go, and when, is decided in `space`.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress

from datajoint_file.cache.layout import Place
from datajoint_file.storage.disk.rename import exchange


def remove(path: str) -> None:
    """Remove a file, a link or a directory with all that is in it, read-only or not; what cannot be removed stays."""
    with suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        for place, _, _ in os.walk(path):
            os.chmod(place, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def put(new: str, path: str) -> None:
    """Give a file or directory its place, and what was there the one of the new: at no moment there is nothing.

    But for the blink of an eye, where a system cannot exchange names.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)  # else it could not be moved
        if not exchange(new, path):
            os.rename(path, f"{new}.old")
            os.rename(f"{new}", path)
        return
    os.rename(new, path)


def withdraw(place: Place) -> None:
    """Remove what there is of an entry. A directory leaves a link to itself, which cannot be opened.

    Whoever still goes by its path gets an error by that. Without it, a file that has gone would look like one that
    never was: in a Zarr that is a chunk of zeros.
    """
    with suppress(OSError):
        for name in os.listdir(place.home):
            path = place.path(name)
            if stat.S_ISDIR(os.lstat(path).st_mode):
                _exchange_for_nothing(place, name)
            elif not is_stub(path):
                os.unlink(path)
        os.rmdir(place.home)


def _exchange_for_nothing(place: Place, name: str) -> None:
    aside = place.aside(0)
    os.mkdir(aside, 0o700)
    try:
        os.symlink(name, f"{aside}/{name}")
        put(f"{aside}/{name}", place.path(name))
    finally:
        remove(aside)


def is_stub(path: str) -> bool:
    """Tell whether it is a link to itself, where a directory was."""
    try:
        return os.readlink(path) == os.path.basename(path)
    except OSError:
        return False


def stubs(home: str) -> list[float] | None:
    """Return when directories went of which a link is left, if there is nothing else."""
    try:
        paths = [f"{home}/{name}" for name in os.listdir(home)]
        return [os.lstat(path).st_mtime for path in paths] if all(map(is_stub, paths)) else None
    except FileNotFoundError:
        return []
    except OSError:
        return None
