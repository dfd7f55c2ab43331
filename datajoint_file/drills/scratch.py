"""Scratch directory of one drill, removed at its end; one that a killed drill has left is removed by the next.

A directory is only ever removed if it bears the tag, belongs to this user, and nobody holds its lock.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datajoint_file.concurrency.file_lock import FileLock

PREFIX = "datajoint-file-drill-"
_TAG, _LOCK = "tag", "lock"
_TAGGED = b"scratch directory of `datajoint-file drill`: may be removed while nobody holds the lock\n"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Run the block with an empty directory of its own, below that for temporary files, which has room for the dump.

    Others may pass through it, but not look into it: a server of ours may have to run as another user.
    """
    remove_leftovers()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    lock = None
    try:
        lock = FileLock.opened(directory / _LOCK, 0o600)
        if lock is not None:
            lock.take()
        (directory / _TAG).write_bytes(_TAGGED)
        directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if lock is not None:
            lock.close()


def remove_leftovers() -> None:
    """Remove the scratch directories of drills that were killed."""
    for found in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if _is_ours(found):
                _remove(found)


def _is_ours(directory: Path) -> bool:
    about = directory.lstat()
    is_own_directory = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
    return is_own_directory and (directory / _TAG).read_bytes() == _TAGGED


def _remove(directory: Path) -> None:
    lock = FileLock.opened(directory / _LOCK, 0o600)
    if lock is None:
        return
    try:
        if lock.take_for_sure():
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        lock.close()
