"""Ownership check of a ``datajoint.toml`` found by searching: nobody else may decide where this user's files go.

A file that was named, by a variable or in a call, is not held to it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from datajoint_file.errors import ConfigurationError


def check_trusted(path: Path) -> None:
    """Refuse a file that another user can have put there, or can change; and what is no regular file.

    Its owner must be this user, root, or the owner of its directory, and neither may be writable by others. Symbolic
    links on the way are held to it, all of them, as what they lead to. Where files have no owners (Windows), all is
    trusted.

    Raises
    ------
    ConfigurationError
        It says how to name the file explicitly.
    OSError
        If it cannot be looked at.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a FIFO, socket or device"
        raise ConfigurationError(f"{path} is {kind}, no file; remove it, or name another with DATAJOINT_TOML")
    if not hasattr(os, "getuid"):
        return
    for found in dict.fromkeys((*_way(path), Path(os.path.realpath(path)))):
        for fault in _faults(found):
            raise ConfigurationError(
                f"{path} was found by searching, and {fault}: somebody else could decide where your files go. Mend "
                f"that, or name the file to use it as it is: export DATAJOINT_TOML={path}, or "
                f'datajoint_file.configure("{path}")'
            )


def _way(path: Path) -> Iterator[Path]:
    """Give *path* and, if it is a link, the links that lead on from there, those to directories included."""
    yield path
    if path.is_symlink():
        target = path.parent / path.readlink()
        for directory in reversed(target.parents):
            if directory.is_symlink():
                yield from _way(directory)
        yield from _way(target)


def _faults(path: Path) -> Iterator[str]:
    file, directory = path.lstat(), path.parent.stat()
    if file.st_uid not in (os.getuid(), 0, directory.st_uid):
        yield f"{path} belongs to the user {_name_of(file.st_uid)}, neither you nor root nor the directory's owner"
    if not stat.S_ISLNK(file.st_mode) and file.st_mode & stat.S_IWOTH:
        yield f"{path} is writable by others (chmod o-w)"
    if directory.st_mode & stat.S_IWOTH:
        yield f"its directory {path.parent} is writable by others (chmod o-w)"


def _name_of(uid: int) -> str:
    import pwd  # where there are users

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
