"""Ownership check of a ``datajoint.toml`` found by searching: nobody else may decide where this user's files go.

A file that was named, by a variable or in a call, is not held to it.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from datajoint_file.errors import ConfigurationError, printable

_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read_trusted(path: Path) -> bytes:
    """Return the bytes of a file; refuse one that another user can have put there or can change, and what is none.

    Its owner must be this user, root, or the owner of its directory (not that one if it names a program to run), and
    neither may be writable by others. Symbolic
    links on the way are held to it, all of them, as what they lead to. What is looked at is the file that was opened,
    whatever bears its name by then. Members of a group that may write are whom the owner chose: they are trusted as he
    is. Where files have no owners (Windows), all is trusted.

    Raises
    ------
    ConfigurationError
        It says how to name the file explicitly.
    OSError
        If it cannot be looked at or read.
    """
    if path.is_dir():  # which some systems do not open
        raise _no_file(path, "a directory")
    with open(path, "rb", opener=lambda name, _: os.open(name, _OPEN)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _no_file(path, "a FIFO, socket or device")
        content = file.read()
        for fault in _faults(path, status, content) if hasattr(os, "getuid") else ():
            name, quoted = printable(str(path)), printable(shlex.quote(str(path)))
            raise ConfigurationError(
                f"{name} was found by searching, and {fault}: somebody else could decide where your files go. Mend "
                f"that, or name the file to use it as it is: export DATAJOINT_TOML={quoted}, or "
                f'datajoint_file.configure("{name}")'
            )
        return content


def _no_file(path: Path, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"{printable(str(path))} is {kind}, no file; remove it, or name another with DATAJOINT_TOML"
    )


def _faults(path: Path, opened: os.stat_result, content: bytes) -> Iterator[str]:
    """Say what is wrong with the way to the file that was opened, and with that file."""
    real = Path(os.path.realpath(path))
    for found in dict.fromkeys(_way(path)):
        yield from _faults_at(found, found.lstat())
    yield from _faults_at(real, opened)
    if not os.path.samestat(real.lstat(), opened):
        yield "another file was put in its place while it was looked at"
    if b"${cmd:" in content and opened.st_uid not in (os.geteuid(), 0):
        yield f"it names a program to run, and belongs to the user {_name_of(opened.st_uid)}, neither you nor root"


def _way(path: Path) -> Iterator[Path]:
    """Give *path* and, if it is a link, the links that lead on from there, those to directories included."""
    yield path
    if path.is_symlink():
        target = path.parent / path.readlink()
        for directory in reversed(target.parents):
            if directory.is_symlink():
                yield from _way(directory)
        yield from _way(target)


def _faults_at(path: Path, file: os.stat_result) -> Iterator[str]:
    name, directory = printable(str(path)), path.parent.stat()
    if file.st_uid not in (os.geteuid(), 0, directory.st_uid):
        yield f"{name} belongs to the user {_name_of(file.st_uid)}, neither you nor root nor the directory's owner"
    if not stat.S_ISLNK(file.st_mode) and file.st_mode & stat.S_IWOTH:
        yield f"{name} is writable by others (chmod o-w)"
    if directory.st_mode & stat.S_IWOTH:
        yield f"its directory {printable(str(path.parent))} is writable by others (chmod o-w)"


def _name_of(uid: int) -> str:
    import pwd  # where there are users

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
