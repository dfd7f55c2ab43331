"""Bucket backend through obstore: several times the speed for the same processor.

What obstore cannot do is left to fsspec, on which each kind of it is built: streams of unknown length, whose parts must
be able to grow; listing, which fails at other programs' names; deleting, for which it asks for batches; unfinished
uploads. Where obstore cannot be used at all, see `selection`.
"""

from __future__ import annotations

import importlib
import threading
import time
from abc import abstractmethod
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, NoReturn
from zlib import crc32

from datajoint_file.errors import ObjectExistsError
from datajoint_file.storage.backend import NO_HEADERS, Capabilities, ContentHeaders, ObjectStat, Reader, receipt_of
from datajoint_file.storage.bucket.azure import AzureBackend
from datajoint_file.storage.bucket.backend import BucketBackend, Piece
from datajoint_file.storage.bucket.gcs import GCSBackend
from datajoint_file.storage.bucket.part_sizes import smallest_part
from datajoint_file.storage.bucket.s3 import S3Backend
from datajoint_file.storage.memory_budget import transfers
from datajoint_file.storage.obstore.credentials import azure_store, gcs_store, s3_store
from datajoint_file.storage.obstore.part_stream import PartStream
from datajoint_file.storage.obstore.shutdown import awaited
from datajoint_file.storage.obstore.unsuited import Unsuited, is_inexpressible, is_panic, suited
from datajoint_file.storage.remote.client_errors import says_interrupted, says_out_of_range
from datajoint_file.storage.remote.forks import keep_from_children
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import Resumed, entity_tag, moment, read_fully
from datajoint_file.storage.tuning import MEMORY_BYTES, OBSTORE_PART_SIZE, OBSTORE_WORKERS

_HEAD = 2**18
"""Bytes to read of a stream of unknown length before it is known to be short or long."""

_RANGE_CHUNK = 2**18
"""What is handed over at a time: little enough to be in the processor's cache still when it is written and hashed."""

_OUTSIDE = 3
"""Parts in memory besides those in flight: the one that is read, the one that waits, the one that is handed over."""

_PAUSES = (0.1, 1.0, None)
"""Seconds before a small object whose connection broke is sent again, which obstore does not: it may be stored."""

Options = Mapping[str, Any]
"""Options of fsspec that obstore can express equally; an empty table stands for a value."""


class ObstoreBackend(BucketBackend):
    """Objects of a bucket, through obstore: what its kinds have in common.

    Parameters are those of `BucketBackend`; *connect* makes the fsspec filesystem, whose address and credentials
    obstore is given.

    obstore cannot make the last step of an upload in parts depend on that there is no object yet. That is looked up
    before the first part and before that step, so of two large uploads to one key that end in the same moment the later
    one wins. Most keys are made for one upload each; those that are contested go through fsspec.
    """

    known_options: ClassVar[Options] = {}
    default_part_size = OBSTORE_PART_SIZE
    _held: _Held | None = None

    @staticmethod
    @abstractmethod
    def _make_store(filesystem: Any, bucket: str, prefix: str | None) -> Any:
        """Return obstore's store with the address and the credentials of *filesystem*, and *prefix* before all keys."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, workers=OBSTORE_WORKERS)

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        with self._translated(key, writing=True):
            self._path(key)
            self._store()
        part_size = max(self.part_size, smallest_part(size or 0))
        if size is None or size < part_size:
            return self._upload_short(key, reader, size, headers)
        if headers.is_contested or part_size > MEMORY_BYTES // (_OUTSIDE + 1):
            return super().upload(key, reader, size, headers)
        return self._upload_long(key, reader, size, part_size, headers)

    def stat(self, key: str) -> ObjectStat:
        self._path(key)
        with self._translated(key):
            found = self._run("head", key)
        return ObjectStat(key, int(found["size"]), moment(found["last_modified"]), entity_tag(found["e_tag"]))

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        if start >= stop:
            return super().read(key, start, stop)
        self._path(key)
        with self._translated(key):
            try:
                return memoryview(self._run("get_range", key, start=start, end=stop))
            except Exception as error:
                if not says_out_of_range(error):
                    raise
        return b""

    def iter_range(self, key: str, start: int, stop: int) -> Generator[bytes | memoryview, None, None]:
        if start >= stop or threading.current_thread() is threading.main_thread():
            yield from super().iter_range(key, start, stop)  # there an interrupt stops a request, see _run
            return
        self._path(key)
        with self._translated(key):
            try:
                found = self._run("get", key, options={"range": (start, stop)})
                for chunk in found.stream(min_chunk_size=_RANGE_CHUNK):
                    yield memoryview(chunk)
            except Exception as error:
                if not says_out_of_range(error):
                    raise

    def _refuse_existing(self, key: str) -> None:
        """Ask for the object alone; whether there is a bucket, the upload tells."""
        try:
            self._run("head", key)
        except FileNotFoundError:
            return
        raise ObjectExistsError(f"{key}: there is an object under this key, left as it is").of(key)

    def _upload_short(self, key: str, reader: Reader, size: int | None, headers: ContentHeaders) -> int:
        """Send what is short in one request; what turns out to be long goes another way, from its beginning."""
        most = _HEAD if size is None else size + 1
        with transfers().take(most):
            head = read_fully(reader, most)
            if len(head) < most:
                return self._upload_whole(key, head, reader, headers)
        return super().upload(key, Resumed(head, reader), headers=headers)

    def _upload_whole(self, key: str, content: bytes, reader: Reader, headers: ContentHeaders) -> int:
        try:
            return super()._upload_whole(key, content, reader, headers)
        except Unsuited as error:
            error.taken = content
            raise

    def _put(self, key: str, content: bytes, reader: Reader, headers: ContentHeaders) -> Iterable[Piece]:
        mode = "create" if self._exclusive else "overwrite"
        options = {"mode": mode, "use_multipart": False, "attributes": headers.fields()}
        for pause in _PAUSES:
            try:
                answer = self._run("put", key, content, **options)
                break
            except Exception as error:
                if pause is None or not says_interrupted(error):
                    raise
                time.sleep(pause)
        receipt_of(reader).tag = entity_tag(answer["e_tag"])
        return () if answer["e_tag"] else [Piece(0, len(content), crc32(content))]

    def _upload_long(self, key: str, reader: Reader, size: int, part_size: int, headers: ContentHeaders) -> int:
        with self._translated(key, writing=True):
            self._look_before_sending(key)
        parts = -(-size // part_size)
        with transfers().take(parts * part_size, at_least=min(parts, _OUTSIDE + 1) * part_size) as granted:
            head = [read_fully(reader, part_size)]  # a list, to be emptied: no frame shall keep the first part
            if len(head[0]) < part_size:
                return self._upload_whole(key, head.pop(), reader, headers)
            in_memory = granted // part_size
            at_once = parts if in_memory >= parts else in_memory - _OUTSIDE
            options = {"chunk_size": part_size, "max_concurrency": at_once, "attributes": headers.fields()}
            return self._send(key, head, reader, options)

    def _send(self, key: str, head: list[bytes], reader: Reader, options: dict[str, Any]) -> int:
        """Send part after part; the object appears when the last one was sent, and not if anything is raised here."""
        with self._translated(key, writing=True):
            filesystem, store, obstore = self._filesystem(), self._store(), importlib.import_module("obstore")

        async def put(parts: PartStream) -> None:
            answer = await awaited(obstore.put_async(store, key, parts, use_multipart=True, **options))
            receipt.tag = entity_tag(answer["e_tag"])

        receipt = receipt_of(reader)

        stream, written, part = PartStream(filesystem.loop), 0, head.pop()
        try:
            stream.start(put)
            while part and stream.send(part):
                written += len(part)
                del part  # or it would be in memory while the next one is read
                part = read_fully(reader, options["chunk_size"])
            with self._translated(key, writing=True):
                if not part:
                    self._look_before_sending(key)
                stream.finish()
        except BaseException:
            stream.give_up()
            raise
        return written

    def _run(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """Make a request of obstore's and wait for it.

        In the main thread an interrupt stops it, for which it goes through the event loop; obstore's own waiting calls
        would finish first. In other threads, which nobody interrupts, those cost half as much.
        """
        filesystem, store, obstore = self._filesystem(), self._store(), importlib.import_module("obstore")

        async def made() -> Any:
            return await awaited(getattr(obstore, f"{verb}_async")(store, *arguments, **options))

        with suited(is_panic):
            if threading.current_thread() is not threading.main_thread():
                return getattr(obstore, verb)(store, *arguments, **options)
            return run(filesystem, made())

    def _store(self) -> Any:
        """Return the store that goes with today's filesystem: that is dropped when the store refuses."""
        filesystem, held = self._filesystem(), self._held
        if held is None or held.filesystem is not filesystem:
            with suited(is_inexpressible):
                store = self._make_store(filesystem, self.bucket, self._prefix.rstrip("/") or None)
            self._held = held = _Held(filesystem, store)
            keep_from_children(held)
        return held.store


class ObstoreS3Backend(ObstoreBackend, S3Backend):
    """Objects of a bucket of S3, through obstore."""

    _make_store = staticmethod(s3_store)
    known_options: ClassVar[Options] = {
        "requester_pays": {},
        "max_concurrency": {},
        "client_kwargs": {"verify": {}, "region_name": {}, "endpoint_url": {}},
        "config_kwargs": {
            "connect_timeout": {},
            "retries": {"max_attempts": {}, "total_max_attempts": {}},
            "s3": {"addressing_style": {}, "payload_signing_enabled": {}},
        },
        "s3_additional_kwargs": {"ServerSideEncryption": {}, "SSEKMSKeyId": {}},
    }


class ObstoreGCSBackend(ObstoreBackend, GCSBackend):
    """Objects of a bucket of Google Cloud Storage, through obstore."""

    _make_store = staticmethod(gcs_store)


class ObstoreAzureBackend(ObstoreBackend, AzureBackend):
    """Blobs of a container of Azure, through obstore."""

    _make_store = staticmethod(azure_store)


OBSTORE: dict[str, type[ObstoreBackend]] = {
    "s3": ObstoreS3Backend,
    "gcs": ObstoreGCSBackend,
    "azure": ObstoreAzureBackend,
}


class _Held:
    """Holds a store, so that a child can keep from finalizing it, and what it was made for."""

    def __init__(self, filesystem: Any, store: Any) -> None:
        self.filesystem = filesystem
        self.store = store

    def __reduce__(self) -> NoReturn:
        raise TypeError("a store of obstore holds credentials and is not pickled")


class Counted:
    """A reader that counts what has been read."""

    def __init__(self, reader: Reader) -> None:
        self.count = 0
        self.receipt = receipt_of(reader)
        self._reader = reader

    def read(self, size: int = -1, /) -> bytes:
        content = self._reader.read(size)
        self.count += len(content)
        return content
