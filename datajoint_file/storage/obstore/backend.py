"""Bucket backend through obstore: several times the speed for the same processor.

What obstore cannot do is left to `bucket.backend` and fsspec: all in a forked child, in which it hangs; streams of
unknown length, whose parts must be able to grow; listing, which fails at other programs' names; deleting, for which
it asks for batches; unfinished uploads.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

from datajoint_file.errors import StorageAccessError, StorageError
from datajoint_file.storage.backend import Capabilities, ObjectStat, Reader
from datajoint_file.storage.bucket.backend import CloudBackend
from datajoint_file.storage.bucket.listing import PAGE_SIZE
from datajoint_file.storage.bucket.part_sizes import PART_SIZE, SMALLEST_PART, smallest_part
from datajoint_file.storage.budget import LIMIT, transfers
from datajoint_file.storage.obstore.credentials import connect as connect_obstore
from datajoint_file.storage.obstore.part_stream import PartStream
from datajoint_file.storage.obstore.selection import is_at_home
from datajoint_file.storage.obstore.shutdown import awaited
from datajoint_file.storage.remote.client_errors import says_out_of_range
from datajoint_file.storage.remote.forks import keep_from_children
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import moment, read_fully

SMALL_PART_SIZE = SMALLEST_PART
"""Bytes of a part: many in flight are faster than large ones."""

WORKERS = 32

_HEAD = 2**18
"""Bytes to read of a stream of unknown length before it is known to be short or long."""

_STREAM_CHUNK = 2**18
"""What is handed over at a time: little enough to be in the processor's cache still when it is written and hashed."""

_OUTSIDE = 3
"""Parts in memory besides those in flight: the one that is read, the one that waits, the one that is handed over."""


class ObstoreBackend(CloudBackend):
    """Objects of a bucket, through obstore where this process may use it.

    Parameters are those of `CloudBackend`; *connect* makes the fsspec filesystem, whose address and credentials obstore
    is given.

    Notes
    -----
    obstore cannot make the last step of an upload in parts depend on that there is no object yet. That is looked up
    before the first part and before that step, so of two large uploads to one key that end in the same moment the later
    one wins. Keys are made for one upload each.
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
        small_part_size: int = SMALL_PART_SIZE,
    ) -> None:
        super().__init__(
            scheme, bucket, connect, exclusive=exclusive, part_size=part_size, page_size=page_size, project=project
        )
        self.small_part_size = small_part_size
        self._stores: dict[int, _Held] = {}

    @property
    def capabilities(self) -> Capabilities:
        capabilities = super().capabilities
        return replace(capabilities, workers=WORKERS) if is_at_home() else capabilities

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        if not is_at_home():
            return super().upload(key, reader, size)
        self._path(key)
        part_size = self._small_part_size_for(size)
        if size is None or size < part_size:
            return self._upload_short(key, reader, size)
        if part_size > LIMIT // (_OUTSIDE + 1):
            return super().upload(key, reader, size)
        return self._upload_long(key, reader, size, part_size)

    def stat(self, key: str) -> ObjectStat:
        if not is_at_home():
            return super().stat(key)
        self._path(key)
        with self._translated(key):
            found = self._run("head", key)
        modified: datetime | None = moment(found["last_modified"])
        return ObjectStat(key, int(found["size"]), modified)

    def read(self, key: str, start: int, stop: int) -> bytes | memoryview:
        if not is_at_home() or start >= stop:
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
        if not is_at_home() or start >= stop or threading.current_thread() is threading.main_thread():
            yield from super().iter_range(key, start, stop)  # in the main thread an interrupt stops a request, see _run
            return
        self._path(key)
        with self._translated(key):
            try:
                found = self._run("get", key, options={"range": (start, stop)})
                for chunk in found.stream(min_chunk_size=_STREAM_CHUNK):
                    yield memoryview(chunk)
            except Exception as error:
                if not says_out_of_range(error):
                    raise

    def _small_part_size_for(self, size: int | None) -> int:
        return max(self.small_part_size, smallest_part(size or 0))

    def _upload_short(self, key: str, reader: Reader, size: int | None) -> int:
        """Send what is short in one request; what turns out to be long goes another way, from its beginning."""
        most = _HEAD if size is None else size + 1
        with transfers().take(most):
            head = read_fully(reader, most)
            if len(head) < most:
                return self._put(key, head)
        return super().upload(key, _Resumed(head, reader))

    def _put(self, key: str, content: bytes) -> int:
        with self._translated(key, writing=True):
            if not self._exclusive:
                self._refuse_existing(key)
            options = {"mode": "create" if self._exclusive else "overwrite", "use_multipart": False}
            self._run("put", key, content, **options)
        return len(content)

    def _upload_long(self, key: str, reader: Reader, size: int, part_size: int) -> int:
        with self._translated(key, writing=True):
            self._look_before_sending(key)
        parts = -(-size // part_size)
        with transfers().take(parts * part_size, at_least=min(parts, _OUTSIDE + 1) * part_size) as granted:
            head = [read_fully(reader, part_size)]  # a list, to be emptied: no frame shall keep the first part
            if len(head[0]) < part_size:
                return self._put(key, head.pop())
            in_memory = granted // part_size
            return self._send(key, head, reader, part_size, parts if in_memory >= parts else in_memory - _OUTSIDE)

    def _send(self, key: str, head: list[bytes], reader: Reader, part_size: int, at_once: int) -> int:
        """Send part after part; the object appears when the last one was sent, and not if anything is raised here."""
        with self._translated(key, writing=True):
            filesystem, store, obstore = self._filesystem(), self._store(), importlib.import_module("obstore")
        options = {"use_multipart": True, "chunk_size": part_size, "max_concurrency": at_once}

        async def put(parts: PartStream) -> None:
            await awaited(obstore.put_async(store, key, parts, **options))

        stream, written, part = PartStream(filesystem.loop), 0, head.pop()
        try:
            stream.start(put)
            while part and stream.send(part):
                written += len(part)
                del part  # or it would be in memory while the next one is read
                part = read_fully(reader, part_size)
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
        if threading.current_thread() is not threading.main_thread():
            return getattr(obstore, verb)(store, *arguments, **options)

        async def made() -> Any:
            return await awaited(getattr(obstore, f"{verb}_async")(store, *arguments, **options))

        return run(filesystem, made())

    def _store(self) -> Any:
        process = os.getpid()
        held = self._stores.get(process)
        if held is None:
            held = self._stores.setdefault(process, _Held(connect_obstore(self.scheme, self._filesystem(), self.root)))
            keep_from_children(held)
        return held.store

    def _translation(self, key: str, error: Exception, *, writing: bool) -> StorageError:
        translated = super()._translation(key, error, writing=writing)
        if isinstance(translated, StorageAccessError):
            with suppress(KeyError):
                del self._stores[os.getpid()]
        return translated


class _Held:
    """Holds a store, so that a child can keep from finalizing it."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __reduce__(self) -> NoReturn:
        raise TypeError("a store of obstore holds credentials and is not pickled")


class _Resumed:
    """A reader whose first bytes have been read already."""

    def __init__(self, head: bytes, reader: Reader) -> None:
        self._head = memoryview(head)
        self._reader = reader

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._reader.read(size)
        if size < 0:
            return self.read(len(self._head)) + self._reader.read(size)
        first, self._head = self._head[:size], self._head[size:]
        return bytes(first)
