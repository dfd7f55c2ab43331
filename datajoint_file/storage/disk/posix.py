"""POSIX errors of a store in this package's words."""

from __future__ import annotations

import errno
import os

from datajoint_file.concurrency.descriptors import RAN_OUT
from datajoint_file.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
)


def tag_of(status: os.stat_result) -> str:
    """Return what is another one when a file was written to, or another put in its place: `ObjectStat.tag`."""
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def changed_at(tag: str) -> float:
    """Return when the system has last changed a file, or what it says of it, by its tag: nobody sets that back."""
    return int(tag.rpartition("-")[2]) / 1e9


def translation(key: str, error: OSError) -> StorageError:
    """Return the error of this package that says what *error* says, about the object *key*."""
    reason = f"{key}: {error.strerror or error}"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ObjectNotFoundError(f"{reason}: there is no such object in the store")
    if isinstance(error, FileExistsError):
        return ObjectExistsError(f"{reason}: there is an object under this key, left as it is")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return StorageAccessError(f"{reason}: the store's directory refuses this user ({error.filename})")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageUnavailableError(f"{reason}: the store is full; nothing was left behind")
    if error.errno in (errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN):
        return StorageUnavailableError(f"{reason}: the store's disk does not answer properly")
    if error.errno in RAN_OUT:
        return StorageError(f"{reason}: raise the limit of this process (`ulimit -n`), or close files")
    return StorageError(reason)
