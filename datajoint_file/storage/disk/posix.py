"""POSIX file operations of a store, a step at a time: write, flush, publish; and what its errors mean.

Which object is concerned, and in which order the steps are taken, is decided in `disk.backend`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from datajoint_file.concurrency.descriptors import RAN_OUT
from datajoint_file.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
)

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
_NO_DIRECTORY_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def mode_of(path: Path) -> int:
    """Return what kind of file *path* is, links not followed; 0 if there is none."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def flush_directory(directory: str | Path) -> None:
    """Flush the names in *directory* to the disk, where the file system can."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FLUSH:  # SMB and others: the server alone decides
            raise
    finally:
        os.close(descriptor)


def publish(partial: str, path: str) -> None:
    """Give *partial* its final name, unless that is taken."""
    try:
        os.link(partial, path, follow_symlinks=False)
    except FileExistsError:
        # Over NFS the reply to a link that was made can be lost, and the repetition finds it.
        if not os.path.samestat(os.lstat(partial), os.lstat(path)):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _publish_by_rename(partial, path)
    os.unlink(partial)
    return None


def _publish_by_rename(partial: str, path: str) -> None:
    """Publish where there are no hard links. The check leaves a gap, but 128 random bits keep names apart."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    os.rename(partial, path)


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
