"""Uploads to Google Cloud Storage and Azure through fsspec's file objects, part by part.

Uploads to S3 are in `s3_multipart`; which objects there are, and what the errors mean, is for `bucket.backend`.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

from datajoint_file.config.settings import StorageSettings
from datajoint_file.storage.backend import CHUNK_SIZE, ContentHeaders, Reader, receipt_of
from datajoint_file.storage.bucket.backend import BucketBackend, Piece
from datajoint_file.storage.bucket.part_sizes import PartPlan, part_sizes, smallest_part
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import entity_tag
from datajoint_file.storage.tuning import MEMORY_BYTES

logger = logging.getLogger(__name__)

_COPIES = 4
"""How often a part is in memory: the file collects it, and the clients below copy it before it has left."""

_OF_UNKNOWN_SIZE = 4 * 2**20
"""The part size that memory is asked for, if the object may turn out to be small."""


def memory_for(size: int | None, largest: int) -> tuple[int, int]:
    """Return how many bytes of memory an object of *size* bytes would like to have, and how many it must."""
    part_size = min(largest, _OF_UNKNOWN_SIZE if size is None else size)
    least = max(min(part_size, CHUNK_SIZE), smallest_part(size or 0))
    return min(MEMORY_BYTES, _COPIES * max(part_size, least)), min(MEMORY_BYTES, _COPIES * least)


def plan_parts(granted: int, size: int | None, largest: int) -> PartPlan:
    """Decide how to cut an object of *size* bytes, if that is known, so that *granted* bytes of memory do.

    Examples
    --------
    >>> plan_parts(48 * 2**20, 2**30, 16 * 2**20)
    PartPlan(part_size=12582912, in_flight=0, more=0)
    """
    fitting = min(largest, max(CHUNK_SIZE, granted // _COPIES // CHUNK_SIZE * CHUNK_SIZE))
    return PartPlan(max(fitting, smallest_part(size or 0)), 0)


class FileUpload:
    """One object on its way, in a file of fsspec's. It becomes one with `complete`. *expected* is 0 if not known."""

    def __init__(self, file: Any, expected: int) -> None:
        self._file = file
        self._sizes = part_sizes(file.blocksize, expected)
        self._full = next(self._sizes)
        self.size = 0
        self.tag = ""  # what the store answers, fsspec keeps to itself

    def send(self, content: bytes) -> None:
        """Write the next bytes. The file collects them, and sends each part."""
        self._file.write(content)
        self.size += len(content)
        if self.size >= self._full:
            self._file.blocksize = next(self._sizes)
            self._full += self._file.blocksize

    def sizes(self) -> Iterator[int]:
        """Give how many bytes to write at a time."""
        return repeat(CHUNK_SIZE)

    def complete(self) -> tuple[()]:
        """Make the object."""
        self._file.close()
        return ()

    def abandon(self) -> None:
        """Make sure that this never becomes an object: closing the file would publish it."""
        self._file.closed = True
        try:
            self._file.discard()
        except Exception:  # the first error is the one to report; unfinished parts are the collector's
            logger.warning("could not discard the unfinished upload of %s", self._file.path, exc_info=True)


class FileUploads(BucketBackend):
    """A bucket whose large objects are written to a file of fsspec's. They become objects when that is closed."""

    _memory_for = staticmethod(memory_for)
    _plan_parts = staticmethod(plan_parts)

    @staticmethod
    @abstractmethod
    def addresses(storage: StorageSettings, credentials: dict[str, Any], options: dict[str, Any]) -> Iterator[str]:
        """Give what may be the store's address."""

    @staticmethod
    @abstractmethod
    def _told(headers: ContentHeaders) -> dict[str, Any]:
        """Return the filesystem's options that say this of a new object."""

    def _put(self, key: str, content: bytes, reader: Reader, headers: ContentHeaders) -> Iterable[Piece]:
        """Look at the object where the client does not tell what the store has answered, as gcsfs."""
        filesystem, mode = self._filesystem(), "create" if self._exclusive else "overwrite"
        request = filesystem._pipe_file(self._path(key), content, mode=mode, **self._told(headers))
        answer = run(filesystem, request)
        tag = entity_tag(answer.get("etag")) if isinstance(answer, Mapping) else ""
        receipt_of(reader).tag = tag or self._require_stored(key, len(content)).tag
        return ()

    def _begin(self, key: str, plan: PartPlan, expected: int, headers: ContentHeaders) -> FileUpload:
        options = {"mode": "xb" if self._exclusive else "wb", "block_size": plan.part_size, **self._told(headers)}
        return FileUpload(self._filesystem().open(self._path(key), **options), expected)
