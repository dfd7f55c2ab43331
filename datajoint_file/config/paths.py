"""Path resolution: ``~``, references, and the directory where relative paths start.

None of it fails at a schema without ``file`` attributes.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datajoint_file.config.secrets import Answers, reveal
from datajoint_file.errors import ConfigurationError, printable, reason_of


def anchored(text: str, directory: Path | None, answers: Answers | None = None) -> Path:
    """Return the absolute path that a configuration in *directory* means by *text*.

    Raises
    ------
    ConfigurationError
        If a reference in *text*, such as ``${env:SCRATCH}``, cannot be resolved, or the file system's encoding lacks
        some of its characters.

    Examples
    --------
    >>> anchored("../objects", Path("/data/lab")).as_posix()
    '/data/objects'
    """
    start = (directory or working_directory()).absolute()
    path = Path(os.path.normpath(start / expanded(reveal(text, directory, answers))))
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{printable(str(path))} cannot be used: {reason_of(error)}") from error
    return path


def expanded(text: str) -> str:
    """Return *text* with a leading ``~`` replaced; that of a user nobody knows stays."""
    return os.path.expanduser(text)  # noqa: PTH111 - pathlib's raises for an unknown user


def cache_directory() -> Path:
    """Return the directory of this package in the user's caches, as the system has them."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    home = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(given if Path(given).is_absolute() else expanded(home)) / "datajoint-file"


def is_taken(path: Path) -> bool:
    """Tell whether anything bears the name *path*, or may: what may not be looked at is not known to be absent."""
    try:
        path.lstat()
    except ValueError:  # NUL
        return False
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    return True


def is_readable(path: Path) -> bool:
    """Tell whether there is a file at *path* that this user may read."""
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except (OSError, ValueError):
        return False


_origins: list[Path] = []
"""Working directories before those of blocks that work elsewhere, which are in one another: see `working_elsewhere`."""


@contextmanager
def working_elsewhere() -> Iterator[None]:
    """Let the configuration be looked for, during a block that changes the working directory, where it was before."""
    _origins.append(working_directory())
    try:
        yield
    finally:
        _origins.pop()


def configuration_start() -> Path:
    """Return the directory where the search for a configuration starts: the working directory, or what it was."""
    return _origins[0] if _origins else working_directory()


def working_directory() -> Path:
    """Return the directory this process works in, or one that is not there, if it has been removed meanwhile."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.sep, "(the working directory, which was removed)")
