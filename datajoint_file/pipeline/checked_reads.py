"""Reads of ranges of stored files, which check as much as a verify policy says.

How whole files are read is told in `reads`.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from threading import Lock
from typing import TypeAlias

from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.pipeline import Pipeline

VERIFIED_BYTES = 16 * 2**20
"""Of an object of no more bytes a range is taken from the whole, which is fetched and verified."""

_KEPT_BYTES = 128 * 2**20
"""Bytes of such objects that a process keeps."""


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
    nothing is to be checked, or a manifest that was verified says what there *is_listed*; of a link, see
    `require_unchanged`.

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
    policy = pipeline.reads.policy(verify)
    if metadata.size <= VERIFIED_BYTES and policy in ("always", "first"):
        return _verified.get(pipeline, metadata)[first:last]
    if (content := pipeline.reads.cached.read(metadata, first, last)) is not None:
        return content
    pipeline.reads.require_unchanged(metadata, verify)
    if policy != "never" and not is_listed:
        pipeline.reads.look(metadata)
    return pipeline.reads.read_part(metadata, first, last)


def read_small(pipeline: Pipeline, metadata: FileMetadata) -> bytes:
    """Return all bytes of an object of up to 16 MiB, which a process keeps for a while if they are verified."""
    is_verified = pipeline.reads.policy() in ("always", "first")
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
        store = pipeline.stores.identity_of(metadata)
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
