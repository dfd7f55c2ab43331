"""Reads that check as much as a verify policy says: of whole objects, and of ranges of them.

How bytes come, in one request or several, is `transfer.fetch`'s business.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from datajoint_file.concurrency.progress import Advance
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.verify_policy import VerifyPolicy
from datajoint_file.pipeline.cached_files import read_cached
from datajoint_file.pipeline.receipts import Receipts
from datajoint_file.storage.backend import Receipt, StorageBackend
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.storage.tuning import RANGE_SIZE
from datajoint_file.transfer.fetch import Write, fetch

if TYPE_CHECKING:
    from datajoint_file.pipeline.pipeline import Pipeline

VERIFIED_BYTES = 16 * 2**20
"""Of an object of no more bytes a range is taken from the whole, which is fetched and verified."""

_KEPT_BYTES = 128 * 2**20
"""Bytes of such objects that a process keeps."""


def fetch_as(
    policy: VerifyPolicy,
    backend: StorageBackend,
    hashed: Receipts,
    metadata: FileMetadata,
    write: Write,
    advance: Advance,
    target: Draft | None = None,
) -> None:
    """Fetch a stored file as `fetch` does, and check what *policy* says; *hashed* is what was hashed before.

    An object counts as hashed while its store gives it the same tag. Where asking for that takes a request, and hashing
    what is small less time, it is hashed again.
    """
    if policy != "first":
        fetch(backend, metadata, write, advance, target, checks=policy)
        return
    if not backend.capabilities.is_mounted and metadata.size <= RANGE_SIZE:
        fetch(backend, metadata, write, advance, target)
        return
    found = backend.stat(metadata.path)
    if hashed.prove(metadata, found):
        fetch(backend, metadata, write, advance, target, checks="size")
        return
    fetch(backend, metadata, write, advance, target)
    if found.tag and found.tag == backend.stat(metadata.path).tag:  # those bytes it was that were hashed
        hashed.keep(metadata, Receipt(found.tag))


def read_range(
    pipeline: Pipeline,
    metadata: FileMetadata,
    start: int | None,
    stop: int | None,
    verify: str | None = None,
    *,
    is_listed: bool = False,
) -> bytes:
    """Return the bytes of a stored file from *start* to before *stop*, as a slice of all of them.

    All of them, and a range of an object of up to 16 MiB, are verified, unless *verify* or the configuration says
    otherwise. A range of a larger one is not: the object is looked at, which has to have the recorded size, unless
    nothing is to be checked, or a manifest that was verified says what there *is_listed*.

    Raises
    ------
    VerificationError
        If they are not those that were inserted; or, of a range, are fewer than it has.
    """
    first, last, _ = slice(start, stop).indices(metadata.size)
    if (first, last) == (0, metadata.size):
        return pipeline.read(metadata, verify)
    if first >= last:
        return b""
    policy = pipeline.policy(verify)
    if metadata.size <= VERIFIED_BYTES and policy in ("always", "first"):
        return _verified.get(pipeline, metadata)[first:last]
    if (content := read_cached(pipeline, metadata, first, last)) is not None:
        return content
    if policy != "never" and not is_listed:
        pipeline.look(metadata)
    return pipeline.read_part(metadata, first, last)


def read_small(pipeline: Pipeline, metadata: FileMetadata) -> bytes:
    """Return all bytes of an object of up to 16 MiB, which a process keeps for a while if they are verified."""
    is_verified = pipeline.policy() in ("always", "first")
    return _verified.get(pipeline, metadata) if is_verified else pipeline.read(metadata)


_Key: TypeAlias = tuple[str, str, int]


class _Verified:
    """Verified bytes of small members, of which ranges are wanted: those that were used last, one transfer of each."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._coming: dict[_Key, Lock] = {}
        self._lock = Lock()
        self._size = 0

    def get(self, pipeline: Pipeline, metadata: FileMetadata) -> bytes:
        store = pipeline.identity_of(metadata)
        key = store, metadata.hash, metadata.size  # what a row says was compared there
        with self._lock:
            turn = self._coming.setdefault(key, Lock())
        try:
            with turn:
                content = self._kept.get(key)
                if content is None:
                    content = pipeline.read(metadata, "always")
                self._keep(key, content)
                return content
        finally:
            with self._lock:
                self._coming.pop(key, None)

    def _keep(self, key: _Key, content: bytes) -> None:
        with self._lock:
            self._size += 0 if key in self._kept else len(content)
            self._kept[key] = content
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self._size > _KEPT_BYTES:
                self._size -= len(self._kept.popitem(last=False)[1])


_verified = _Verified()

if hasattr(os, "register_at_fork"):  # a lock that another thread held would stay locked
    os.register_at_fork(after_in_child=_verified.__init__)  # type: ignore[misc]
