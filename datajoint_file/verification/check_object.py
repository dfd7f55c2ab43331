"""Object check: one stored object against what a row, or the manifest of a directory, says of it.

It reads and says what is wrong. Many objects at once, and which rows name them, are the business of `verification`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import HashMismatchError, SizeMismatchError, brief
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.wording import counted
from datajoint_file.storage.backend import StorageBackend
from datajoint_file.storage.tuning import RANGE_SIZE
from datajoint_file.transfer.fetch import fetch
from datajoint_file.verification.findings import Kind

Level = Literal["exists", "size", "content"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one object, whichever rows name it; as in `Finding`."""

    kind: Kind
    expected: str
    found: str
    is_unreachable: bool = False  # this may be the store's state rather than the object's
    is_configured: bool = True  # datajoint.toml says where the object is
    member: str = ""  # of a directory, the path within it; empty if this is about the whole
    others: tuple[Problem, ...] = ()  # what else is wrong with the same directory


def check_level(level: str) -> Level:
    """Return *level* if there is such a one, else raise `ValueError`."""
    if level not in LEVELS:
        raise ValueError(f"level = {brief(level)}: allowed are {', '.join(map(repr, LEVELS))}")
    return level


def missing(metadata: FileMetadata) -> Problem:
    """Say that an object, or the manifest of a directory, is not there."""
    if metadata.is_link:
        return Problem("gone", f"the original of {metadata.size} bytes", "no file")
    if metadata.is_directory:
        return Problem("missing", f"the manifest of a directory of {counted(metadata.files or 0, 'file')}", "no object")
    return Problem("missing", f"an object of {metadata.size} bytes", "no object")


def check_object(backend: StorageBackend, metadata: FileMetadata, level: Level, advance: Advance) -> Problem | None:
    """Compare one object with its description. Raises what the store raises, also if it is not there."""
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
        return Problem("changed" if metadata.is_link else "hash", metadata.hash, error.found)
    return None


def _size_problem(metadata: FileMetadata, size: int) -> Problem | None:
    kind: Kind = "changed" if metadata.is_link else "size"
    return None if size == metadata.size else Problem(kind, f"{metadata.size} bytes", f"{size} bytes")
