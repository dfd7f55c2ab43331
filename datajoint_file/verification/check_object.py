"""Object check: one stored object against what a row says of it.

It reads and says what is wrong. Many objects at once, and which rows name them, are the business of `verification`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import (
    BucketNotFoundError,
    HashMismatchError,
    MetadataError,
    ObjectNotFoundError,
    SizeMismatchError,
    StorageAccessError,
    StorageUnavailableError,
    UnknownProjectError,
    brief,
    printable,
)
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import StorageBackend
from datajoint_file.storage.tuning import RANGE_SIZE
from datajoint_file.transfer.fetch import fetch
from datajoint_file.verification.findings import Kind

Level = Literal["exists", "size", "content"]
LEVELS: tuple[Level, ...] = get_args(Level)

_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one object, whichever rows name it; as in `Finding`."""

    kind: Kind
    expected: str
    found: str
    is_unreachable: bool = False  # this may be the store's state rather than the object's
    is_configured: bool = True  # datajoint.toml says where the object is


def check_level(level: str) -> Level:
    """Return *level* if there is such a one, else raise `ValueError`."""
    if level not in LEVELS:
        raise ValueError(f"level = {brief(level)}: allowed are {', '.join(map(repr, LEVELS))}")
    return level


def examine(pipeline: Pipeline, metadata: FileMetadata, level: Level, advance: Advance) -> Problem | None:
    """Compare one object with what a row says of it. Returns what is wrong, or None.

    *advance* is told how many bytes have been read; at the cheaper levels, how many are spoken for.
    """
    try:
        backend = pipeline.backend_of(metadata.project)
        try:
            return _examine(backend, metadata, level, advance)
        except ObjectNotFoundError:
            pipeline.require_present(metadata)
            backend.stat(metadata.path)  # asked again: a disk that is being unmounted may have said so
            return _examine(backend, metadata, level, advance)
    except ObjectNotFoundError:
        return Problem("missing", f"an object of {metadata.size} bytes", "no object")
    except MetadataError as error:
        return Problem("row", "the key of an object", _one_line(error))
    except (StorageUnavailableError, StorageAccessError, BucketNotFoundError) as error:
        return _unreadable(metadata, error, is_unreachable=True)
    except UnknownProjectError as error:
        return _unreadable(metadata, error, is_unreachable=True, is_configured=False)
    except OSError as error:
        return _unreadable(metadata, error)


def _examine(backend: StorageBackend, metadata: FileMetadata, level: Level, advance: Advance) -> Problem | None:
    if level != "content":
        stored = backend.stat(metadata.path)
        advance(metadata.size)
        return _size_problem(metadata, stored.size) if level == "size" else None
    is_asked = metadata.size > RANGE_SIZE or backend.capabilities.ranges == 1
    if is_asked and (problem := _size_problem(metadata, backend.stat(metadata.path).size)):
        return problem  # no byte of it need be read
    try:
        fetch(backend, metadata, lambda *_: None, advance)
    except SizeMismatchError:
        return _size_problem(metadata, backend.stat(metadata.path).size)
    except HashMismatchError as error:
        return Problem("hash", metadata.hash, error.found)
    return None


def _size_problem(metadata: FileMetadata, size: int) -> Problem | None:
    return None if size == metadata.size else Problem("size", f"{metadata.size} bytes", f"{size} bytes")


def _unreadable(metadata: FileMetadata, error: Exception, **whose: bool) -> Problem:
    return Problem("unreadable", f"an object of {metadata.size} bytes", _one_line(error), **whose)


def _one_line(error: Exception) -> str:
    """Return what *error* says, on one line of bounded length: others' programs have their words in it."""
    return printable(" ".join(str(error).split())[:_LENGTH] or type(error).__name__)
