"""`StorageBackend`, the contract of a store: bytes by key, dumb.

An implementation adds nothing of its own: no hashing, no naming, no retrying of what has already been read. What every
implementation must do is executed by `datajoint_file.testing.StorageBackendTests`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol, cast, runtime_checkable
from urllib.parse import quote

from datajoint_file.model.metadata import is_mime_type
from datajoint_file.model.object_keys import MANIFEST

CHUNK_SIZE = 2**20
"""Bytes moved at a time by whoever copies: enough to be fast, too little to be noticed."""


@runtime_checkable
class Reader(Protocol):
    """What is uploaded: bytes from front to back, once."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most *size* bytes; none at the end."""
        ...


class HashedReader(Reader, Protocol):
    """A reader that hashes what passes, and lets a store profit from what else it knows. `hashed` tells one."""

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of all that has passed: a store that can compares the bytes it got with it."""
        ...

    @property
    def descriptor(self) -> int | None:
        """The file that the bytes come from, at its beginning, or None: a store may copy what it can without reading.

        It puts the file behind what it has copied, and reads the rest: the end, at least.
        """
        ...

    def copied(self, chunk: bytes | memoryview) -> None:
        """Take note of the next bytes that the store has copied by itself, *as it has them*."""
        ...


@dataclass(slots=True)
class Receipt:
    """What a store says of the object that it has just been given: `ObjectStat.tag`; empty where it says nothing."""

    tag: str = ""


def receipt_of(reader: Reader) -> Receipt:
    """Return where a backend writes down what becomes of the bytes of *reader*: somebody may want to know."""
    receipt = getattr(reader, "receipt", None)
    return receipt if isinstance(receipt, Receipt) else Receipt()


def hashed(reader: Reader) -> HashedReader | None:
    """Return *reader* if it is one that hashes what passes."""
    promised = ("sha256", "descriptor", "copied")
    return cast("HashedReader", reader) if all(hasattr(type(reader), name) for name in promised) else None


@dataclass(frozen=True, slots=True)
class ContentHeaders:
    """What a store that speaks HTTP tells whoever gets an object by other means: a browser saves it under its name.

    Parameters
    ----------
    media_type : str or callable
        What the bytes are; empty if that is not known. What gives it is called when the first bytes have been read.
    filename : str
        The name to save them under; empty for none.
    disposition : {"inline", "attachment"}
        Whether a browser is to show it, or to save it.
    is_contested : bool
        For the store alone: others may be storing under the same key. It must be the store that refuses the later one,
        however long an upload takes, also where that is slower.

    Examples
    --------
    >>> print(ContentHeaders("text/csv", "Köln.csv").fields()["Content-Disposition"])
    inline; filename="K_ln.csv"; filename*=UTF-8''K%C3%B6ln.csv
    """

    media_type: str | Callable[[], str] = ""
    filename: str = ""
    is_contested: bool = False
    disposition: str = "inline"

    def fields(self) -> dict[str, str]:
        """Return the header fields, as RFC 6266 and 8187 write them: in ASCII, whatever the name."""
        media_type = self.media_type if isinstance(self.media_type, str) else self.media_type()
        fields = {"Content-Type": media_type} if media_type.isascii() and is_mime_type(media_type) else {}
        if self.filename:
            plain = re.sub(r"[^\w .()+-]", "_", self.filename, flags=re.ASCII)
            full = quote(self.filename, safe="!#$&+-.^_`|~", errors="replace")
            fields["Content-Disposition"] = f"{self.disposition}; filename=\"{plain}\"; filename*=UTF-8''{full}"
        return fields


NO_HEADERS = ContentHeaders()


class UploadGroup(Protocol):
    """Uploads that wait for the store together. They are objects, all of them, once `publish` has returned."""

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Send one object, as `StorageBackend.upload` does; it may appear only with `publish`."""
        ...

    def publish(self) -> None:
        """Make objects of all that was sent. What cannot become one is left out, and the first error raised."""
        ...

    def discard(self) -> None:
        """Remove what was sent and has not become an object; for when the group is given up."""
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
    tag : str
        What is another one as soon as the bytes are others: an entity tag; on a disk inode, size and times. Empty where
        the store tells none, and in most listings.
    """

    key: str
    size: int
    modified: datetime | None
    tag: str = ""


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """What an upload has left, or is about to leave, that is no object: parts in a bucket, a temporary file on a disk.

    On a disk also a directory that a program fills, and all that is in it, whatever it is called.

    Parameters
    ----------
    key : str
        The object key that it is for, in a bucket. A disk knows the directory only: then all components but the last.
    id : str
        What tells it from other uploads with the same `key`: the store's upload id, or the temporary file's name.
    started : datetime or None
        When it began, by the store's clock, aware. A disk tells when bytes were last written, which is later; None
        where the store does not tell.
    size : int or None
        Bytes that are there; None where telling would take more requests.

    Examples
    --------
    >>> upload = UnfinishedUpload("lab/subject1/k7", "~partial-0f3a", None, 6)
    >>> upload.may_become("lab/subject1/k7/recording.dat"), upload.may_become("lab/subject1/k8/recording.dat")
    (True, False)
    """

    key: str
    id: str
    started: datetime | None
    size: int | None

    def may_become(self, key: str) -> bool:
        """Tell whether this can be an upload of the object *key*, or of what a directory has, as far as is known."""
        if key.endswith("/"):
            home = key[:-1].rpartition("/")[0]
            return f"{self.key}/".startswith(key) or self.key in (home, f"{home}/{MANIFEST}")
        return self.key in (key, key.rpartition("/")[0])


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do beyond the contract. Data, so that wrappers pass it on unchanged.

    Parameters
    ----------
    protocol : str
        How messages and URLs call the store.
    atomic_create : bool
        The store itself refuses to replace an object, also when two writers race.
    lists_unfinished : bool
        Whether the store tells which uploads were begun and not finished. Those that do not (Google Cloud Storage,
        Azure) forget them after a week.
    workers : int
        How many objects to send or fetch at a time: where each waits for a network, many.
    ranges : int
        How many parts of one object to fetch at a time; one where there is no network between.
    group_below : int
        Objects of fewer bytes are sent faster one after the other, in a `StorageBackend.group`; 0 where none are.
    copies : bool
        Whether the store makes an object of another by itself: `StorageBackend.copy`.
    is_mounted : bool
        Another file system may be mounted at its place, or be so no more: what is there can change from one moment to
        the next, and asking costs nothing.
    """

    protocol: str
    atomic_create: bool
    lists_unfinished: bool = False
    workers: int = 1
    ranges: int = 1
    group_below: int = 0
    copies: bool = False
    is_mounted: bool = False


class StorageBackend(Protocol):
    """Objects by key.

    Keys are whole object keys, project first, as `model.object_keys` makes them; they are taken literally (no globs,
    no escapes, no ``..``), and a component that begins with ``~partial-`` is refused. All methods may be called from
    several threads and, after a ``fork``, in the child.
    Every failure is a `StorageError` that names the key.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do beyond the contract."""
        ...

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Store all that *reader* gives under *key* and return the number of bytes.

        All or nothing: if *reader* or the store raises, there is no object under *key*, and the error of *reader* comes
        through unchanged. A complete object that has its name stays, whatever fails then (a flush of its directory, an
        interrupt): others may count on it. An existing object is never touched. Memory is bounded whatever the size.

        Parameters
        ----------
        key : str
            Where to.
        reader : Reader
            Read once, from front to back; never closed here.
        size : int or None
            How many bytes to expect, if known: a hint for choosing part sizes.
        headers : ContentHeaders
            What to tell others about the object, for stores that can; the rest ignores it.

        Raises
        ------
        ObjectExistsError
            If there is an object under *key*.
        BucketNotFoundError, StorageAccessError, StorageUnavailableError
            If the store is not there, refuses, or cannot be reached.
        """
        ...

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        """Make an object under *key* of the bytes of another.

        Within the store, where ``capabilities.copies``; else the bytes are read and sent. If it fails there may be an
        object under *key*, complete or not; one that was there is touched only if the key is not contested.

        Parameters
        ----------
        source, key : str
            What to copy, and where to.
        headers : ContentHeaders
            What to tell others about the copy, where the store does not go by the original. If the key is contested,
            the store refuses a copy onto an object; else it is not asked whether there is one: the key is new.

        Raises
        ------
        ObjectExistsError
            If there is an object under *key*, and it is contested.
        ObjectNotFoundError
            If there is no object under *source*.
        """
        ...

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        """Make an object of what lies beside the project's, without moving its bytes through here; tell whether it did.

        In a bucket the store copies what is elsewhere in it. On a disk the file gets a second name, and loses the right
        to be written to: whoever has it open all the same changes the object. Where that cannot be, nothing is done.

        Parameters
        ----------
        address : str
            Where it is: bucket and name; on a disk the absolute path of a regular file.
        size : int
            Its bytes.
        key : str
            Of the object. It is new: it is not asked whether there is one.
        headers : ContentHeaders
            What to tell others about the object.
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
        ValueError
            If fsspec has no such caches, where they are not ignored.
        """
        ...

    def settle(self, *keys: str) -> None:
        """Wait until the disk has what others have stored: names and bytes of objects, or of all below directories.

        They may have been killed before they had waited, or do not wait at all. To be asked by whoever is going to
        count on what he finds. Nothing where stores see to that, or are configured to leave it to the system.

        Raises
        ------
        StorageUnavailableError
            If the disk has not taken all of it, or had not when this process stored there: it says so only once. Then
            nobody in this process may count on what is there.
        """
        ...

    def group(self) -> UploadGroup:
        """Return what uploads several objects, one after the other, and waits for the store once for all of them."""
        ...

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        """Return the bytes of an object from *start* to before *stop*, in one request; fewer where it ends earlier.

        Raises
        ------
        ObjectNotFoundError
            If there is no such object.
        """
        ...

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        """Give the bytes of an object from *start* to before *stop* as they come; fewer where it ends earlier.

        Memory is bounded, whatever the number of bytes. Asked for, and failing, while it is used.

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

        What has no object key (other programs' files) and what is still being written is no object. The store is asked
        page by page, or directory by directory, while the iterator is used: memory does not grow with the number of
        objects, and an error can come after some of them. What is added or deleted meanwhile may be given or not.

        Parameters
        ----------
        prefix : str
            Leading components of keys: ``lab/ephys`` covers ``lab/ephys/x``, not ``lab/ephys2``. Empty for all.
        """
        ...

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Give what uploads of the project have left that never became objects. Complete, or an error.

        Asked like `list`, with the same meaning of *prefix*. Uploads that are under way are among them: only who began
        one can tell. Nothing where ``capabilities.lists_unfinished`` is false.

        Parameters
        ----------
        prefix : str
            An object key, or leading components of one. Where a disk knows no more than directories, an object key
            gives what is in its directory.
        """
        ...

    def discard(self, upload: UnfinishedUpload) -> None:
        """Remove exactly what this upload has left: it never becomes an object. What is gone already is success.

        If somebody is still at it, his upload fails. Parts that a bucket receives at this very moment may stay: then
        `unfinished` gives the upload again.

        Parameters
        ----------
        upload : UnfinishedUpload
            From `unfinished`.

        Raises
        ------
        UnsafePathError
            If it is none of the project's, or names something that is no unfinished upload.
        """
        ...

    def above(self, name: str) -> str:
        """Return a place around the project's, up to the top of the store, that has something in a directory *name*.

        The nearest one; empty if there is none. What one may not look at is not seen.
        """
        ...

    def url(self, key: str) -> str:
        """Return the object's address without credentials, such as ``s3://bucket/key``. No I/O."""
        ...

    def sign(self, key: str, seconds: int, headers: ContentHeaders = NO_HEADERS) -> str:
        """Return a URL by which anybody may get an object for so long, and no other, with these headers.

        The object is not asked for; credentials may be.

        Raises
        ------
        SigningError
            If the store makes no such URLs, or the credentials cannot.
        """
        ...

    def exists(self, key: str) -> bool:
        """Tell whether there is an object under *key*. A store that cannot be asked raises: that is not "no"."""
        ...
