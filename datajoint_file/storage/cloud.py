"""A project in a bucket of S3, Google Cloud Storage or Azure.

Small objects take one request, large ones go part by part and appear when the last one is there. Reading and deleting
is done in `remote`; how the kinds of store list is in `paging`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

from datajoint_file.errors import (
    BucketNotFoundError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    UnsafePathError,
)
from datajoint_file.storage.backend import CHUNK_SIZE, Capabilities, ObjectStat, Reader, UnfinishedUpload
from datajoint_file.storage.paging import (
    OBJECTS,
    PAGE_SIZE,
    UPLOADS,
    AskForPage,
    Entry,
    Marker,
    Page,
    check_progress,
    entries_of,
)
from datajoint_file.storage.remote import RemoteBackend
from datajoint_file.storage.requests import run
from datajoint_file.storage.shared import check_prefix, is_object_key, read_fully

logger = logging.getLogger(__name__)

PART_SIZE = 16 * 2**20
"""Bytes of one part of a large object; a smaller object takes one request."""

MAX_PARTS = 9_000
"""Parts of one object to plan for; S3 allows 10,000."""

_PARTS_OF_ONE_SIZE = MAX_PARTS // 9
"""Of an object of unknown size: after so many they grow. Nine sizes, each twice the last, hold what any store takes."""


class CloudBackend(RemoteBackend):
    """Objects of a bucket.

    Parameters
    ----------
    scheme : str
        Begins URLs.
    bucket : str
        The bucket or container. Keys are literal in it.
    connect : callable
        Makes a fresh filesystem with today's credentials; called at the first use in a process, and after a refusal.
    exclusive : bool
        Ask the store to refuse replacing an object, also when two writers race. Where that is not supported, it is
        looked up before.
    part_size : int
        Bytes of one part of a large object: for S3 at least 5 MiB, for GCS a multiple of 256 KiB.
    page_size : int
        Objects of one page of a listing, at most 1000.
    project : str
        Confines `unfinished` and `discard` to one of the projects in the bucket; empty for all of them.

    Notes
    -----
    What is left of an upload that failed is discarded; Azure, which cannot be asked to, does so itself after a week.
    A process that is killed in the middle leaves invisible parts: S3 lists them (`unfinished`); a lifecycle rule of the
    bucket removes them without anybody's doing (``AbortIncompleteMultipartUpload``).
    """

    def __init__(
        self,
        scheme: str,
        bucket: str,
        connect: Callable[[], Any],
        *,
        exclusive: bool = True,
        part_size: int = PART_SIZE,
        page_size: int = PAGE_SIZE,
        project: str = "",
    ) -> None:
        super().__init__(scheme, bucket, connect)
        self.part_size = part_size
        self.page_size = page_size
        self._exclusive = exclusive
        self._project = project

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(self.scheme, atomic_create=self._exclusive, lists_unfinished=self.scheme in UPLOADS)

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        path = self._path(key)
        part_size = self._part_size_for(size)
        head = read_fully(reader, part_size)
        if len(head) < part_size:
            return self._upload_whole(key, path, head)
        return self._upload_parts(key, path, head, reader, part_size, size or 0)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        below = f"{prefix}/" if check_prefix(prefix) else ""
        if "/" in prefix:
            with suppress(ObjectNotFoundError):
                yield self.stat(prefix)
        for found in entries_of(self._pages(OBJECTS[self.scheme], prefix, below)):
            if found.key.startswith(below) and is_object_key(found.key):
                yield found

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        prefix = self._confined(check_prefix(prefix) or self._project)
        if self.scheme not in UPLOADS:
            return
        below = f"{prefix}/" if prefix else ""
        for upload in entries_of(self._pages(UPLOADS[self.scheme], prefix, prefix if "/" in prefix else below)):
            if is_object_key(upload.key) and f"{upload.key}/".startswith(below):
                yield upload

    def discard(self, upload: UnfinishedUpload) -> None:
        key = self._confined(upload.key)
        bucket, path = self.root, self._path(key).removeprefix(f"{self.root}/")
        if self.scheme not in UPLOADS:
            raise StorageError(f"{key}: this store cannot be asked to discard unfinished uploads").of(key)
        with suppress(ObjectNotFoundError), self._translated(key):
            filesystem = self._filesystem()
            request = filesystem._call_s3("abort_multipart_upload", Bucket=bucket, Key=path, UploadId=upload.id)
            run(filesystem, request)

    def _confined(self, key: str) -> str:
        if self._project and key.partition("/")[0] != self._project:
            raise UnsafePathError(f"path = {key!r} is not of the project {self._project!r}")
        return key

    def _pages(self, ask: AskForPage[Entry], prefix: str, below: str) -> Callable[[Marker], Page[Entry]]:
        """Return what asks for one page of the names that begin with *below*. Errors are about *prefix*."""

        def page_after(marker: Marker) -> Page[Entry]:
            with self._translated(prefix):
                filesystem = self._filesystem()
                entries, following = run(filesystem, ask(filesystem, self.root, below, self.page_size, marker))
                check_progress(marker, following)
                return entries, following

        return page_after

    def _part_size_for(self, size: int | None) -> int:
        needed = -(-(size or 0) // MAX_PARTS)
        return max(self.part_size, -(-needed // CHUNK_SIZE) * CHUNK_SIZE)

    def _upload_whole(self, key: str, path: str, content: bytes) -> int:
        with self._translated(key, writing=True):
            if not self._exclusive:
                self._refuse_existing(key)
            filesystem = self._filesystem()
            mode = "create" if self._exclusive else "overwrite"
            run(filesystem, filesystem._pipe_file(path, content, mode=mode))
        return len(content)

    def _upload_parts(self, key: str, path: str, head: bytes, reader: Reader, part_size: int, expected: int) -> int:
        """Send part after part. What is written becomes an object only when the file is closed, at the very end."""
        with self._translated(key, writing=True):
            self._look_before_sending(key)
            file = self._filesystem().open(path, "xb" if self._exclusive else "wb", block_size=part_size)
        try:
            written = self._write(key, file, head, reader, expected)
            with self._translated(key, writing=True):
                file.close()
        except BaseException:
            _abandon(file)
            raise
        return written

    def _look_before_sending(self, key: str) -> None:
        """Refuse an existing key before the first part, not after the last, which is when stores look (or do not)."""
        with suppress(StorageAccessError) if self._exclusive else nullcontext():
            self._refuse_existing(key)

    def _write(self, key: str, file: Any, head: bytes, reader: Reader, expected: int) -> int:
        """Hand *head* and the rest of *reader* to *file* in small pieces: it collects them, and sends each part."""
        written, piece, limit = 0, head, max(expected, _PARTS_OF_ONE_SIZE * file.blocksize)
        while piece:
            with self._translated(key, writing=True):
                file.write(piece)
            written += len(piece)
            if written > limit:  # longer than expected: larger parts keep below the number that stores allow
                file.blocksize *= 2
                limit += _PARTS_OF_ONE_SIZE * file.blocksize
            piece = read_fully(reader, CHUNK_SIZE)
        return written

    def _require_store(self) -> None:
        filesystem = self._filesystem()
        try:
            with suppress(Exception):
                filesystem.info(self.root)
                return
            filesystem.ls(self.root)  # many who may not look at a bucket (SAS tokens, Google's roles) may list it
        except FileNotFoundError as error:
            raise BucketNotFoundError(
                f"the bucket {self.scheme}://{self.root} does not exist; create it, or correct [storage] in "
                "datajoint.toml"
            ) from error


def _abandon(file: Any) -> None:
    """Make sure that what was written of *file* never becomes an object: closing it would publish it."""
    file.closed = True
    try:
        file.discard()
    except Exception:  # the first error is the one to report; unfinished parts are the collector's
        logger.warning("could not discard the unfinished upload of %s", getattr(file, "path", "?"), exc_info=True)
