"""Recursive removal of a directory below a store's root, whatever a program has put there (``unlinkat``).

Neither links nor mounts are followed, no name is ever decoded, and no depth is too deep.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress

from datajoint_file.storage.disk.walk import enter, is_called


def remove_tree(directory: int, name: str) -> None:
    """Remove the directory *name* of an open one, and all that is in it. What is gone meanwhile is passed over.

    Directories are moved to the top before they are emptied, a level at a time: one that is mounted cannot be moved.

    Raises
    ------
    OSError
        If something cannot be removed; also if *name* is a link.
    """
    top = _opened(directory, name)
    try:
        remove_opened(directory, name, top)
    finally:
        os.close(top)


def remove_opened(directory: int, name: str, top: int) -> None:
    """Remove what is in an open directory, and the directory, if it is *name* in another one: what else is stays."""
    _empty(top, top)
    while is_called(directory, name, top) and not _remove_if_empty(directory, name):
        _empty(top, top)


def _empty(directory: int, top: int) -> None:
    """Remove what is in a directory; its own directories are emptied if it is the top, and else moved there."""
    with os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=directory)
                    continue
                _open_up(directory, entry.name)
                moved = f"~{secrets.token_hex(16)}"
                os.rename(entry.name, moved, src_dir_fd=directory, dst_dir_fd=top)
                if directory == top:
                    _empty_inner(top, moved)


def _empty_inner(top: int, name: str) -> None:
    inner = _opened(top, name)
    try:
        _empty(inner, top)
    finally:
        os.close(inner)
    _remove_if_empty(top, name)


def _remove_if_empty(directory: int, name: str) -> bool:
    """Remove a directory, if it is empty; tell whether it is gone."""
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _opened(directory: int, name: str) -> int:
    _open_up(directory, name)
    return enter(directory, name, os.O_RDONLY)


def _open_up(directory: int, name: str) -> None:
    """Let its owner change a directory that was protected by whoever made it."""
    descriptor = enter(directory, name)
    try:
        if os.fstat(descriptor).st_mode & 0o700 != 0o700:
            with suppress(PermissionError):  # who is not its owner is told by what comes next
                # By `fchmod` what was opened to be passed only cannot be changed.
                os.chmod(f"/proc/self/fd/{descriptor}" if hasattr(os, "O_PATH") else descriptor, 0o700)
    finally:
        os.close(descriptor)
