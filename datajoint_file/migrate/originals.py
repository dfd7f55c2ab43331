"""`Original`, the bytes of one old value: where they are, what they are called, and what is known of them beforehand.

What the kinds of attributes make of a row is told in their own modules; nothing is written here.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b32encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import (
    ConfigurationError,
    DestinationError,
    FormatError,
    InvalidKeyError,
    MetadataError,
    SourceChangedError,
    SourceError,
    UnsafeNameError,
    UnsupportedValueError,
    VerificationError,
)
from datajoint_file.formats.objects import ObjectFiles
from datajoint_file.storage.backend import Reader
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.sources import File, Source, as_source

OF_ONE_ROW = (
    ConfigurationError,
    DestinationError,
    FormatError,
    InvalidKeyError,
    MetadataError,
    SourceError,
    UnsafeNameError,
    UnsupportedValueError,
    VerificationError,
)
"""What is wrong with one value: it is told, and the others are moved all the same."""


@dataclass(frozen=True, slots=True)
class OldValue:
    """What a row holds in the old attribute, as the database has it."""

    text: str | None  # JSON, or a path; None where it holds bytes
    size: int  # of the bytes
    head: bytes  # the first of them
    content: Callable[[], bytes]  # all of them, asked when they are wanted; from any thread


@dataclass(frozen=True, slots=True)
class Original:
    """Where the bytes of an old value are.

    Parameters
    ----------
    value : object
        What an insert into a ``file`` attribute takes for them.
    path : str
        Where they stand as they are on this machine; empty if they do not.
    place : str
        What messages call it.
    address : callable
        Returns where the project's store, of these settings, has them as they are; empty if it has not.
    """

    value: Any
    path: str = ""
    place: str = ""
    address: Callable[[Any], str] = lambda _: ""


REMAINS = "the files that it named are where they were: nobody can tell whether others need them"
"""What becomes of files that people have put where they are."""


def remains_of(title: str) -> str:
    """Return what becomes of what DataJoint has stored for an attribute of a type."""
    return (
        f"the bytes of {title} are where they were: dj.gc.GarbageCollector(schema, store=…).collect() removes those "
        "that no row of its schemas refers to"
    )


def has_path(value: Any) -> bool:
    """Tell whether a worker elsewhere can read what an insert takes."""
    return isinstance(value.content if isinstance(value, File) else value, str | os.PathLike | Directory)


class Kind(Protocol):
    """A kind of old attribute: what is at its values is known here, and nowhere else."""

    @property
    def title(self) -> str:
        """What people call it, such as ``<attach@main>``."""
        ...

    @property
    def remains(self) -> str:
        """What becomes of the old bytes when the attribute is dropped."""
        ...

    def original(self, old: OldValue) -> Original:
        """Return where the bytes of a value are. Looks whether they are there; reads none of them.

        Raises
        ------
        SourceError, UnsafeNameError, UnsupportedValueError, MetadataError
            If they are not, or not as many as the row says, or cannot be a file.
        StorageError
            If their store cannot be reached at all.
        """
        ...


class CheckedReader:
    """Passes a reader on, and raises at its end unless the bytes were those that DataJoint has noted."""

    def __init__(self, reader: Reader, place: str, size: int | None, md5: str, head: bytes = b"") -> None:
        self._reader, self._place, self._size, self._md5 = reader, place, size, md5
        self._count = 0
        self._digest = hashlib.md5(head, usedforsecurity=False)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        chunk = self._reader.read(size)
        self._count += len(chunk)
        if self._md5:
            self._digest.update(chunk)
        is_end = not chunk or size < 0 or self._count == self._size
        if self._size is not None and (self._count > self._size or (is_end and self._count != self._size)):
            found = "more" if self._count > self._size else str(self._count)
            raise SourceChangedError(f"{self._place} should have {self._size} bytes, and has {found}")
        if is_end and self._md5 and dj_hash(self._digest.digest()) != self._md5:
            raise SourceChangedError(
                f"{self._place} is damaged: its bytes have the hash {dj_hash(self._digest.digest())}, and its row "
                f"names {self._md5}"
            )
        return chunk


def dj_hash(digest: bytes) -> str:
    """Return an MD5 as DataJoint writes it."""
    return b32encode(digest).decode("ascii").rstrip("=").lower()


@contextmanager
def as_file(value: Any, attribute: str) -> Iterator[Source]:
    """Give the source of what an insert takes; an object is written to a file that goes at the end of the block."""
    files = ObjectFiles()
    try:
        yield as_source(files.stored(value, attribute, dict, is_sent=False))
    finally:
        files.remove()


def digests(source: Source, advance: Advance) -> Mapping[str, tuple[int, str]]:
    """Read a source; return size and hash of its bytes, of those of its members by the names that a store has."""
    if source.tree is None:
        return {"": _digest(source, advance)}
    found = {name: _digest(as_source(source.tree.value(name)), advance) for name in source.tree.listing.names}
    return found | {f"{name.rstrip('/')}/": (0, "") for name in source.tree.listing.empty}


def _digest(source: Source, advance: Advance) -> tuple[int, str]:
    with source.open() as bare:
        reader = HashingReader(bare, advance)
        drain(reader)
        return reader.size, reader.hash
