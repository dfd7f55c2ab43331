"""Destination of a download: which path is meant, and whether an equal file is there already."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from datajoint_file.config.paths import expanded
from datajoint_file.errors import DestinationError, DestinationExistsError, printable, reason_of
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_derived_name
from datajoint_file.pipeline.described import Described
from datajoint_file.transfer.hashing import hash_file


def destination_path(given: str | os.PathLike[str]) -> Path:
    """Return the path that somebody means by *given*: a leading ``~`` is his home.

    A `DestinationError` is raised if no path can be like that, or the file system's encoding lacks its characters.
    """
    if isinstance(given, Described):  # whose path here is that of the object
        raise DestinationError(f"{given!r} is stored, and is not written to: give a path of this machine")
    path = Path(expanded(os.fspath(given)))
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise DestinationError(f"{printable(str(path))} cannot be written: {reason_of(error)}") from error
    if b"\0" in encoded:
        raise DestinationError(f"{printable(str(path))} cannot be written: a path has no null byte")
    return path


def target_of(destination: str | os.PathLike[str], name: str) -> Path:
    """Return the file to write: *destination*, or *name* in it if it is, or looks like, a directory."""
    path = destination_path(destination)
    mode = _mode_of(path)
    if stat.S_ISDIR(mode) or os.fspath(destination).endswith((os.sep, os.altsep or os.sep)):
        path = destination_path(path / check_derived_name(name))
        mode = _mode_of(path)
    if mode and not stat.S_ISREG(mode):  # a device must not be replaced by a file, even if the user may
        kind = "a directory" if stat.S_ISDIR(mode) else "a FIFO, socket or device"
        raise DestinationError(f"{printable(str(path))} is {kind}; give a file's path, or another directory")
    return path


def _mode_of(path: Path) -> int:
    """Return the mode of what *path* leads to; 0 if nothing is there, or it cannot be looked at."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def is_there(target: Path, metadata: FileMetadata, *, overwrite: bool) -> bool:
    """Tell whether an equal file is at *target*; refuse a different one unless it may be replaced."""
    if not os.path.lexists(target):
        return False
    if _is_equal(target, metadata):
        return True
    if overwrite:
        return False
    hint = "" if target.name == metadata.original_name else " (to mean a directory, end it in / or make it first)"
    raise DestinationExistsError(
        f"{printable(str(target))} exists and differs from {printable(metadata.original_name)} ({metadata.size} bytes, "
        f"{metadata.hash}); it was left as it is. Pass overwrite=True to replace it, or give another destination{hint}"
    )


def _is_equal(target: Path, metadata: FileMetadata) -> bool:
    try:
        return target.is_file() and target.stat().st_size == metadata.size and hash_file(target) == metadata.hash
    except OSError as error:
        raise DestinationError(
            f"{printable(str(target))} exists and cannot be compared with {printable(metadata.original_name)}: "
            f"{error.strerror or error}; it was left as it is. Give another destination"
        ) from error
