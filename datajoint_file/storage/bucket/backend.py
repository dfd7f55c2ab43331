"""Bucket backend base: a project in an object store, through fsspec.

Small objects take one request, large ones go part by part and appear when the last one is there. How, and how pages of
a listing are asked for, differs: see `s3`, `gcs` and `azure`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, ClassVar, Protocol, TypeVar
from zlib import crc32

from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import (
    BucketNotFoundError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
    UnsafePathError,
)
from datajoint_file.storage.backend import (
    NO_HEADERS,
    Capabilities,
    ContentHeaders,
    ObjectStat,
    Reader,
    UnfinishedUpload,
    receipt_of,
)
from datajoint_file.storage.bucket.part_sizes import PartPlan
from datajoint_file.storage.memory_budget import transfers
from datajoint_file.storage.remote.backend import RemoteBackend, described, require_object
from datajoint_file.storage.remote.client_errors import says_out_of_range
from datajoint_file.storage.remote.readahead import opened
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import check_prefix, is_object_key, read_fully
from datajoint_file.storage.tuning import PART_SIZE, RANGES, WORKERS
from datajoint_file.storage.wrappers import changed_on_the_way

PAGE_SIZE = 1000
"""Entries of one page of a listing, the most that S3 gives."""

NO_CONTENT = 204

_SEEN_SECONDS = 5.0
"""A bucket that was there so short a time ago is not looked at again: of many objects that are not there, each asks."""

_DOUBTFUL = (StorageError, StorageUnavailableError)
"""What can come of a request though the store has done it."""

_NOT_THE_STORE = "Something else answers in its place (a proxy, a login page): check endpoint_url"

NO_LINK = "without a link, let a web application hand the file on"

Listed = TypeVar("Listed", ObjectStat, UnfinishedUpload)
Marker = Any
"""What a store gives with a page for asking for the next one; None with the last."""

Page = tuple[list[Listed], Marker]

AskForPage = Callable[[Any, str, Marker], Coroutine[Any, Any, Page[Listed]]]
"""Asks a filesystem for a page of a bucket's entries whose names begin with a prefix, after a marker.

In each store's own terms: fsspec's ``find`` holds a whole listing in memory.
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an object that were sent, from where to where, and their CRC-32."""

    start: int
    stop: int
    crc32: int


class PartedUpload(Protocol):
    """One object on its way, part by part: `complete` makes it, `abandon` makes sure that it is never made.

    `sizes` gives how many bytes to send, one time after the other; `complete` returns what the store has not compared,
    and sets `tag`, the entity tag, if the store's answer says that there is an object now.
    """

    size: int
    tag: str

    def sizes(self) -> Iterator[int]: ...
    def send(self, content: bytes) -> None: ...
    def complete(self) -> Iterable[Piece]: ...
    def abandon(self) -> None: ...


class BucketBackend(RemoteBackend):
    """Objects of a bucket.

    What is left of an upload that failed is discarded; Azure, which cannot be asked to, does so itself after a week.
    A process that is killed in the middle leaves invisible parts: S3 lists them (`unfinished`); a lifecycle rule of the
    bucket removes them without anybody's doing (``AbortIncompleteMultipartUpload``).
    """

    protocol: ClassVar[str]
    default_part_size: ClassVar[int] = PART_SIZE

    def __init__(
        self,
        bucket: str,  # or container, with the prefix of all keys if there is one: bucket/team/ephys
        connect: Callable[[], Any],  # see RemoteBackend
        *,
        exclusive: bool = True,  # the store is asked to refuse replacing an object; else it is looked up before
        part_size: int | None = None,  # bytes; more if the object is huge, less if memory is short; GCS: n * 256 KiB
        page_size: int = PAGE_SIZE,
        project: str = "",  # confines unfinished and discard to this one
    ) -> None:
        super().__init__(self.protocol, bucket, connect)
        self.bucket, _, prefix = self.root.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.part_size = part_size or self.default_part_size
        self.page_size = page_size
        self._exclusive = exclusive
        self._project = project
        self._seen = float("-inf")  # when the bucket was there, by this machine's monotonic clock

    @staticmethod
    @abstractmethod
    def arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
        """Return what the filesystem is made with."""

    @staticmethod
    @abstractmethod
    def _memory_for(size: int | None, largest: int) -> tuple[int, int]:
        """Return how many bytes of memory an object of *size* bytes would like to have, and how many it must."""

    @staticmethod
    @abstractmethod
    def _plan_parts(granted: int, size: int | None, largest: int) -> PartPlan:
        """Decide how to cut an object of *size* bytes, if that is known, so that *granted* bytes of memory do."""

    @abstractmethod
    def _put(self, key: str, content: bytes, reader: Reader, headers: ContentHeaders) -> Iterable[Piece]:
        """Send all of an object, which came from *reader*, in one request; return what the store has not compared."""

    @abstractmethod
    def _begin(self, key: str, plan: PartPlan, expected: int, headers: ContentHeaders) -> PartedUpload:
        """Begin to send an object of about *expected* bytes, 0 if that is not known."""

    @abstractmethod
    def _copy(self, source: str, size: int, key: str, headers: ContentHeaders, *, is_new: bool) -> None:
        """Have the store copy an object of *size* bytes, to its end; if *is_new*, on condition that there is none."""

    @abstractmethod
    async def _delete(self, filesystem: Any, bucket: str, name: str) -> bool:
        """Delete an object; tell whether the answer says so as this store does."""

    @abstractmethod
    async def _object_page(self, filesystem: Any, below: str, marker: Marker) -> Page[ObjectStat]:
        """Ask for a page of objects."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(self.protocol, atomic_create=self._exclusive, workers=WORKERS, ranges=RANGES, copies=True)

    def sign(self, key: str, seconds: int, headers: ContentHeaders = NO_HEADERS) -> str:
        path = self._path(key)
        with self._translated(key):
            return self._link(path.partition("/")[2], seconds, headers.fields())

    @abstractmethod
    def _link(self, name: str, seconds: int, fields: dict[str, str]) -> str:
        """Return a URL for an object of the bucket, with these header fields in its answer."""

    def copy(self, source: str, key: str, headers: ContentHeaders = NO_HEADERS) -> None:
        self._path(key)
        size = self.stat(source).size
        with self._translated(key, writing=True):
            if headers.is_contested and not self._exclusive:
                self._refuse_existing(key)
            is_new = headers.is_contested and self._exclusive
            self._copy(self._path(source), size, key, headers, is_new=is_new)

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        """Have the store copy what is elsewhere in the bucket, if these credentials may read it."""
        if not address.startswith(f"{self.root.partition('/')[0]}/"):
            return False
        try:
            with self._translated(key):  # as if it were read: what is not there is the original
                self._copy(address, size, key, headers, is_new=False)
        except (ObjectNotFoundError, StorageAccessError):
            return False
        return True

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        self._path(key)
        wanted, at_least = self._memory_for(size, self.part_size)
        with transfers().take(wanted, at_least=at_least) as granted:
            plan = self._plan_parts(granted, size, self.part_size)
            head = [read_fully(reader, plan.part_size)]  # a list, to be emptied: no frame shall keep the first part
            if len(head[0]) < plan.part_size:
                return self._upload_whole(key, head.pop(), reader, headers)
            with transfers().more(plan.more) as more:
                return self._upload_parts(key, head, reader, replace(plan, more=more), size or 0, headers)

    def _upload_whole(self, key: str, content: bytes, reader: Reader, headers: ContentHeaders) -> int:
        with self._translated(key, writing=True):
            if not self._exclusive:
                self._refuse_existing(key)
            unchecked = self._put(key, content, reader, headers)
        self._compare(key, unchecked)
        return len(content)

    def _upload_parts(
        self, key: str, head: list[bytes], reader: Reader, plan: PartPlan, expected: int, headers: ContentHeaders
    ) -> int:
        with self._translated(key, writing=True):
            self._look_before_sending(key)
            upload = self._begin(key, plan, expected, headers)
        try:
            for content in _pieces(head, reader, upload.sizes()):
                with self._translated(key, writing=True):
                    upload.send(content)
                del content  # or it would be in memory while the next one is read
            with self._translated(key, writing=True):
                unchecked = upload.complete()
        except BaseException:
            upload.abandon()
            raise
        receipt_of(reader).tag = upload.tag or self._require_stored(key, upload.size).tag
        self._compare(key, unchecked)
        return upload.size

    def _require_stored(self, key: str, size: int) -> ObjectStat:
        """Look at the object, since the store has not said that it has it: no error is no success."""
        try:
            found = self.stat(key)
        except ObjectNotFoundError as error:
            raise _not_stored(key) from error
        if found.size != size:
            raise StorageError(f"{key}: {size} bytes were sent, and the store has {found.size}").of(key)
        return found

    def _look_before_sending(self, key: str) -> None:
        """Refuse an existing key before the first part, not after the last, which is when stores look (or do not)."""
        with suppress(StorageAccessError) if self._exclusive else nullcontext():
            self._refuse_existing(key)

    def _compare(self, key: str, pieces: Iterable[Piece]) -> None:
        """Read back what nobody has compared: the store does not know checksums, and there is no TLS."""
        try:
            for piece in pieces:
                if crc32(self.read(key, piece.start, piece.stop)) != piece.crc32:
                    raise changed_on_the_way(key)
        except ObjectNotFoundError as error:
            raise _not_stored(key) from error

    def open(self, key: str, **options: Any) -> BinaryIO:
        return opened(key, partial(self.read, key), self.stat(key).size, **options)

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        path = self._path(key)
        if start >= stop:
            return b""
        with self._translated(key):
            filesystem = self._filesystem()
            try:
                return bytes(run(filesystem, filesystem._cat_file(path, start=start, end=stop)))
            except Exception as error:
                if not says_out_of_range(error):
                    raise
        return b""

    def stat(self, key: str) -> ObjectStat:
        path = self._path(key)
        with self._translated(key):
            filesystem = self._filesystem()
            return described(key, require_object(path, run(filesystem, self._details(filesystem, path))))

    @staticmethod
    def _details(filesystem: Any, path: str) -> Coroutine[Any, Any, dict[str, Any]]:
        """Ask what there is to say of an object."""
        asked: Coroutine[Any, Any, dict[str, Any]] = filesystem._info(path)
        return asked

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            with self._translated(key):
                filesystem = self._filesystem()
                is_done = run(filesystem, self._delete(filesystem, *path.split("/", 1)))
                filesystem.invalidate_cache(path)
        except ObjectNotFoundError:
            return
        except StorageError as error:
            if type(error) in _DOUBTFUL and self._is_gone(key):
                return
            raise
        if not is_done and self.exists(key):
            raise StorageError(
                f"{key}: the store has answered that all is well, and still has the object. {_NOT_THE_STORE}"
            ).of(key)

    def _is_gone(self, key: str) -> bool:
        """Tell whether there is no object, for certain: the answer to its deletion may have been lost."""
        try:
            return not self.exists(key)
        except StorageError:
            return False

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        below = f"{prefix}/" if check_prefix(prefix) else ""
        if "/" in prefix:
            with suppress(ObjectNotFoundError):
                yield self.stat(prefix)
        for found in self._entries(self._object_page, prefix, below):
            if found.key.startswith(below) and is_object_key(found.key):
                yield found

    def above(self, name: str) -> str:
        places = self._prefix.split("/")
        with suppress(StorageAccessError), self._translated(name):
            filesystem = self._filesystem()
            for place in ("/".join([*places[:depth], ""]) for depth in range(len(places) - 1, -1, -1)):
                found, _ = run(filesystem, self._object_page(filesystem, f"{place}{name}/", None))
                if found:
                    return f"{self.scheme}://{self.bucket}/{place}"
        return ""

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        self._confined(check_prefix(prefix))
        return iter(())

    def discard(self, upload: UnfinishedUpload) -> None:
        key = self._confined(upload.key)
        self._path(key)
        raise StorageError(f"{key}: this store cannot be asked to discard unfinished uploads").of(key)

    def _confined(self, key: str) -> str:
        key = key or self._project
        if self._project and key.partition("/")[0] != self._project:
            raise UnsafePathError(f"path = {key!r} is not of the project {self._project!r}")
        return key

    def _entries(self, ask: AskForPage[Listed], prefix: str, below: str) -> Iterator[Listed]:
        """Give what has a name that begins with *below*, a page at a time. Errors are about *prefix*."""
        marker: Marker = None
        before: list[Listed] = []
        while True:
            with self._translated(prefix):
                filesystem = self._filesystem()
                entries, following = run(filesystem, ask(filesystem, self._prefix + below, marker))
                if (following is not None and following == marker) or (entries and entries == before):
                    raise StorageError("the listing is not complete: the store gives the same page again and again")
            for entry in entries:
                yield replace(entry, key=entry.key.removeprefix(self._prefix)) if self._prefix else entry
            if following is None:
                return
            marker, before = following, entries

    def _require_store(self) -> None:
        now = time.monotonic()
        if now - self._seen < _SEEN_SECONDS:
            return
        try:
            self._look_at_bucket(self._filesystem())
        except FileNotFoundError as error:
            raise BucketNotFoundError(
                f"the bucket {self.scheme}://{self.bucket} does not exist; create it, or correct [{self.table}] in "
                "datajoint.toml"
            ) from error
        self._seen = now

    def _look_at_bucket(self, filesystem: Any) -> None:
        """Raise `FileNotFoundError` if there is no bucket."""
        with suppress(Exception):
            filesystem.info(self.bucket)
            return
        filesystem.ls(self.bucket)  # many who may not look at a bucket (tokens, Google's roles) may list it


def _pieces(head: list[bytes], reader: Reader, sizes: Iterator[int]) -> Iterator[bytes]:
    """Give *head*, emptying it, and the rest of *reader* in pieces of *sizes*, the first of which is of the head."""
    next(sizes)
    yield head.pop()
    for size in sizes:
        if not (content := read_fully(reader, size)):
            return
        yield content
        del content


def _not_stored(key: str) -> StorageError:
    return StorageError(
        f"{key}: the store has answered that all is well, and has no such object; nothing was stored. {_NOT_THE_STORE}"
    ).of(key)


def foreign_listing() -> StorageError:
    """Return the error for an answer that is no listing of the store's: taken for one, it would be of no objects."""
    return StorageError(f"the listing is not complete: one of its answers is not the store's. {_NOT_THE_STORE}")
