"""The contract of a store: bytes by key, dumb.

An implementation adds nothing of its own: no hashing, no naming, no retrying of what has already been read. What every
implementation must do is executed by `datajoint_file.testing.StorageBackendTests`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol, runtime_checkable

CHUNK_SIZE = 2**20
"""Bytes moved at a time by whoever copies: enough to be fast, too little to be noticed."""


@runtime_checkable
class Reader(Protocol):
    """What is uploaded: bytes from front to back, once."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """One stored object.

    Parameters
    ----------
    key : str
        Its object key.
    size : int
        Bytes as stored.
    modified : datetime or None
        When it was stored, by the store's clock, aware; None where the store does not tell.
    """

    key: str
    size: int
    modified: datetime | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the contract. Data, so that wrappers pass it on unchanged.

    Parameters
    ----------
    protocol : str
        How messages and URLs call the store.
    atomic_create : bool
        The store itself refuses to replace an object, also when two writers race.
    writable : bool
        Whether objects may be added.
    """

    protocol: str
    atomic_create: bool
    writable: bool = True


class StorageBackend(Protocol):
    """Objects by key.

    Keys are whole object keys, project first, as `datajoint_file.keys` makes them; they are taken literally (no globs,
    no escapes, no ``..``). All methods may be called from several threads and, after a ``fork``, in the child.
    Every failure is a `StorageError` that names the key.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do beyond the contract."""
        ...

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        """Store all that *reader* gives under *key* and return the number of bytes.

        All or nothing: if *reader* or the store raises, there is no object under *key*, and the error of *reader* comes
        through unchanged. An existing object is never touched. Memory is bounded whatever the size.

        Parameters
        ----------
        key : str
            Where to.
        reader : Reader
            Read once, from front to back; never closed here.
        size : int or None
            How many bytes to expect, if known: a hint for choosing part sizes.

        Raises
        ------
        ObjectExistsError
            If there is an object under *key*.
        BucketNotFoundError, StorageAccessError, StorageUnavailableError
            If the store is not there, refuses, or cannot be reached.
        """
        ...

    def open(
        self,
        key: str,
        *,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> BinaryIO:
        """Open an object for reading: binary, seekable, fetching only what is read. The caller closes it.

        What fails later, while it is read, is an `OSError`; where a network is between, a `StorageError`.

        Parameters
        ----------
        key : str
            Which object.
        block_size, cache_type, cache_options
            As fsspec has them, for stores that are read over a network; others ignore them.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object.
        """
        ...

    def stat(self, key: str) -> ObjectStat:
        """Describe one object, freshly asked from the store.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object. A store that cannot be asked raises another `StorageError`.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove exactly this object. An object that is not there (a directory, say) is success."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Give every object whose key is *prefix* or lies below it, in any order. Complete, or an error.

        What has no object key (other programs' files) and what is still being written is no object.

        Parameters
        ----------
        prefix : str
            Leading components of keys: ``lab/ephys`` covers ``lab/ephys/x``, not ``lab/ephys2``. Empty for all.
        """
        ...

    def url(self, key: str) -> str:
        """Return the object's address without credentials, such as ``s3://bucket/key``. No I/O."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether there is an object under *key*. A store that cannot be asked raises: that is not "no"."""
        ...

    def download(self, key: str, path: str) -> int:
        """Write the object's bytes, unverified, to a new file at *path* and return their number.

        For tools and tests; a `FileRef` downloads through its pipeline, which verifies.
        """
        ...
