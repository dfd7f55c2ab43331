"""Bucket backend through fsspec: a project in S3, Google Cloud Storage or Azure.

Small objects take one request, large ones go part by part and appear when the last one is there: to S3 as in
`s3_multipart`, to the others as in `fsspec_upload`. Opening is done in `remote`, listing in `listing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from itertools import repeat
from typing import Any
from zlib import crc32

from datajoint_file.errors import (
    BucketNotFoundError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    UnsafePathError,
)
from datajoint_file.storage.backend import CHUNK_SIZE, Capabilities, ObjectStat, Reader, UnfinishedUpload, hashed
from datajoint_file.storage.bucket import fsspec_upload
from datajoint_file.storage.bucket import part_sizes as s3_parts
from datajoint_file.storage.bucket.fsspec_upload import StreamedUpload
from datajoint_file.storage.bucket.listing import (
    OBJECTS,
    PAGE_SIZE,
    UPLOADS,
    AskForPage,
    ListedObject,
    Marker,
    Page,
    check_progress,
    entries_of,
)
from datajoint_file.storage.bucket.part_sizes import IN_FLIGHT, PART_SIZE, PartPlan, part_sizes
from datajoint_file.storage.bucket.s3_multipart import Destination, MultipartUpload, Sent, put
from datajoint_file.storage.budget import transfers
from datajoint_file.storage.readback import changed_on_the_way
from datajoint_file.storage.remote.backend import RemoteBackend, described, require_object
from datajoint_file.storage.remote.client_errors import says_out_of_range
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import check_prefix, is_object_key, moment, read_fully

RANGES = 4
"""Parts of one object to fetch at a time."""

WORKERS = 16
"""Objects to send or fetch at a time."""

Head = list[bytes]
"""The first part of an object, alone in a list that is emptied when it is sent: no frame shall keep it in memory."""


class CloudBackend(RemoteBackend):
    """Objects of a bucket.

    Parameters
    ----------
    scheme : str
        Begins URLs.
    bucket : str
        The bucket or container, with the prefix of all keys if there is one: ``bucket/team/ephys``.
    connect : callable
        Makes a fresh filesystem with today's credentials; called at the first use in a process, and after a refusal.
    exclusive : bool
        Ask the store to refuse replacing an object, also when two writers race. Where that is not supported, it is
        looked up before.
    part_size : int
        The most bytes that one part of a large object has, if it is not very large: for S3 at least 5 MiB, for GCS a
        multiple of 256 KiB. Less where several objects go at a time, see `transfers`.
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
        self.bucket, _, prefix = self.root.partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.part_size = part_size
        self.page_size = page_size
        self._exclusive = exclusive
        self._project = project

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            self.scheme,
            atomic_create=self._exclusive,
            lists_unfinished=self.scheme in UPLOADS,
            workers=WORKERS,
            ranges=RANGES,
        )

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        path = self._path(key)
        cutter = s3_parts if self.scheme == "s3" else fsspec_upload
        wanted, at_least = cutter.memory_for(size, self.part_size)
        with transfers().take(wanted, at_least=at_least) as granted:
            plan = cutter.plan_parts(granted, size, self.part_size)
            head = [read_fully(reader, plan.part_size)]
            if len(head[0]) < plan.part_size:
                return self._upload_whole(key, path, head.pop(), reader)
            if self.scheme == "s3":
                return self._upload_parts(key, path, head, reader, plan, size or 0)
            return self._upload_stream(key, path, head, reader, plan, size or 0)

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
            if self.scheme == "s3":
                bucket, _, name = path.partition("/")
                found = run(filesystem, filesystem._call_s3("head_object", Bucket=bucket, Key=name))
                return ObjectStat(key, int(found["ContentLength"]), moment(found.get("LastModified")))
            return described(key, require_object(path, run(filesystem, filesystem._info(path))))

    def delete(self, key: str) -> None:
        path = self._path(key)
        with suppress(ObjectNotFoundError), self._translated(key):
            filesystem = self._filesystem()
            run(filesystem, filesystem._rm_file(path))

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
        bucket, _, path = self._path(key).partition("/")
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

    def _pages(self, ask: AskForPage[ListedObject], prefix: str, below: str) -> Callable[[Marker], Page[ListedObject]]:
        """Return what asks for one page of the names that begin with *below*. Errors are about *prefix*."""

        def page_after(marker: Marker) -> Page[ListedObject]:
            with self._translated(prefix):
                filesystem = self._filesystem()
                entries, following = run(
                    filesystem, ask(filesystem, self.bucket, self._prefix + below, self.page_size, marker)
                )
                check_progress(marker, following)
                return [self._without_prefix(entry) for entry in entries] if self._prefix else entries, following

        return page_after

    def _without_prefix(self, entry: ListedObject) -> ListedObject:
        return replace(entry, key=entry.key.removeprefix(self._prefix))

    def _upload_whole(self, key: str, path: str, content: bytes, reader: Reader) -> int:
        with self._translated(key, writing=True):
            if not self._exclusive:
                self._refuse_existing(key)
            filesystem = self._filesystem()
            if self.scheme != "s3":
                mode = "create" if self._exclusive else "overwrite"
                run(filesystem, filesystem._pipe_file(path, content, mode=mode))
                return len(content)
            digests, destination = hashed(reader), self._destination(path)
            sent = run(filesystem, put(destination, content, digests.sha256 if digests else None))
        self._check_received(key, destination, [sent])
        return len(content)

    def _upload_parts(self, key: str, path: str, head: Head, reader: Reader, plan: PartPlan, expected: int) -> int:
        """Send part after part, and read the next meanwhile. They become an object at the very end."""
        with self._translated(key, writing=True):
            self._look_before_sending(key)
            destination = self._destination(path)
            upload = MultipartUpload(destination)
            upload.begin()
        try:
            with transfers().more((IN_FLIGHT - plan.in_flight) * plan.part_size) as more:
                under_way = plan.in_flight * plan.part_size + more
                for content in _parts(head, reader, part_sizes(plan.part_size, expected)):
                    with self._translated(key, writing=True):
                        upload.send(content)
                        del content  # or it would be in memory while the next one is read
                        upload.wait(at_most=under_way)
            with self._translated(key, writing=True):
                sent = upload.complete()
        except BaseException:
            upload.abandon()
            raise
        self._check_received(key, destination, sent)
        return upload.size

    def _upload_stream(self, key: str, path: str, head: Head, reader: Reader, plan: PartPlan, expected: int) -> int:
        """Write to a file of fsspec's. What is written becomes an object only when that is closed, at the very end."""
        with self._translated(key, writing=True):
            self._look_before_sending(key)
            mode = "xb" if self._exclusive else "wb"
            upload = StreamedUpload(self._filesystem().open(path, mode, block_size=plan.part_size), expected)
        try:
            for content in _parts(head, reader, repeat(CHUNK_SIZE)):
                with self._translated(key, writing=True):
                    upload.send(content)
            with self._translated(key, writing=True):
                upload.complete()
        except BaseException:
            upload.abandon()
            raise
        return upload.size

    def _destination(self, path: str) -> Destination:
        return Destination(self._filesystem(), path, exclusive=self._exclusive)

    def _check_received(self, key: str, destination: Destination, sent: Iterable[Sent]) -> None:
        """Read back what nobody has compared: the store does not know checksums, and there is no TLS."""
        if destination.is_encrypted:
            return
        for piece in sent:
            if not piece.is_confirmed and crc32(self.read(key, piece.start, piece.stop)) != piece.crc32:
                raise changed_on_the_way(key)

    def _look_before_sending(self, key: str) -> None:
        """Refuse an existing key before the first part, not after the last, which is when stores look (or do not)."""
        with suppress(StorageAccessError) if self._exclusive else nullcontext():
            self._refuse_existing(key)

    def _require_store(self) -> None:
        filesystem = self._filesystem()
        try:
            with suppress(Exception):
                filesystem.info(self.bucket)
                return
            filesystem.ls(self.bucket)  # many who may not look at a bucket (SAS tokens, Google's roles) may list it
        except FileNotFoundError as error:
            raise BucketNotFoundError(
                f"the bucket {self.scheme}://{self.bucket} does not exist; create it, or correct [storage] in "
                "datajoint.toml"
            ) from error


def _parts(head: Head, reader: Reader, sizes: Iterator[int]) -> Iterator[bytes]:
    """Give *head*, emptying it, and the rest of *reader* in pieces of *sizes*, the first of which is of the head."""
    next(sizes)
    yield head.pop()
    for size in sizes:
        if not (content := read_fully(reader, size)):
            return
        yield content
        del content
