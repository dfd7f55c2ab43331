"""Cache look-up before a read: opens what this machine has of a stored file, so that its store need not be asked.

What is not there is not brought: that is the business of `local_paths`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from datajoint_file.cache import cache_of
from datajoint_file.cache.entries import Cache
from datajoint_file.concurrency.file_lock import Check, wait_while
from datajoint_file.concurrency.progress import OnlyOnce
from datajoint_file.errors import ConfigurationError, StorageError, VerificationError, reason_of
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.verify_policy import VerifyPolicy
from datajoint_file.pipeline.cache_keys import directory_room, entry_key
from datajoint_file.pipeline.stores import Stores
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.transfer.fetch import Checks, Write, take_from
from datajoint_file.transfer.hashing import require_hash, require_size, require_whole

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

Watcher = Callable[[str], bool]

_watchers: list[Watcher] = []
"""Told by its `entry_key` what is used; each tells whether it is bringing that. A child made by fork has none."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watchers.clear)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell *watcher*, for as long as the block lasts, what of stored files is used in this process."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        if watcher in _watchers:  # not in a child
            _watchers.remove(watcher)


def note_use(stores: Stores, metadata: FileMetadata) -> bool:
    """Tell those who watch that a stored file or directory is used; return whether one of them is bringing it."""
    watchers = tuple(_watchers)
    key = entry_key(stores, metadata) if watchers else ""
    told = [watcher(key) for watcher in watchers]
    return any(told)


class CachedFiles:
    """What the cache of this machine has of the files of some stores."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    @cached_property
    def cache(self) -> Cache:
        """The cache, whose configuration is read."""
        return cache_of(self._stores.settings)

    def open(self, metadata: FileMetadata, check: Check | None = None) -> BinaryIO | None:
        """Open a stored file in the cache, if it is there, by itself or in its directory; None if not, and of a disk.

        Of a link the original is read, so that its changes are noticed. What a `prefetch` of this process brings is
        waited for; with *check*, what anybody does, and it is called now and then: what it raises ends the waiting.
        """
        found = self._found(metadata, check)
        return found and found[0]

    def take(
        self,
        metadata: FileMetadata,
        write: Write,
        advance: OnlyOnce,
        target: Draft | None,
        policy: VerifyPolicy,
    ) -> bool:
        """Hand the bytes of a stored file on as `fetch` does, if the cache has it; tell whether that is done.

        It was verified when it came, and has not been changed; it is hashed once more where *policy* has all bytes
        hashed. If it is another one by now, *target* is left empty, and *advance* at the beginning.
        """
        checks: Checks = "always" if policy == "always" else "size"

        def check() -> None:
            advance(0)

        def copy(file: BinaryIO) -> bool:
            try:
                take_from(file, metadata, write, advance, target, checks)
            except (VerificationError, StorageError):
                if target is not None:
                    target.clear()
                advance.begin_anew()
                raise
            return True

        if target is not None:
            return self._used(metadata, copy, check) is not None
        content = self._used(metadata, lambda file: _content(file, metadata, checks), check)
        if content is None:
            return False
        advance(metadata.size)
        write(0, content)
        return True

    def read(self, metadata: FileMetadata, start: int, stop: int) -> bytes | None:
        """Return the bytes of a stored file from *start* to before *stop*, if the cache has it."""

        def read(file: BinaryIO) -> bytes:
            file.seek(start)
            content = _read(file, stop - start)
            require_whole(start, stop, len(content))
            return content

        return self._used(metadata, read)

    def path_within(self, metadata: FileMetadata) -> Path | None:
        """Return the path of a member, or a part, of a directory that is in the cache, and stays; else None."""
        for whole in islice(_with_wholes(metadata), 1, None):
            key, below, size = entry_key(self._stores, whole), _below(metadata, whole), metadata.size
            expected = None if metadata.is_directory else size
            how = key, whole.original_name, whole.size, below, expected
            if (found := self.cache.path_within(*how, room=directory_room(whole))) is not None:
                return found
        return None

    def _found(self, metadata: FileMetadata, check: Check | None) -> tuple[BinaryIO, str] | None:
        """Open a stored file in the cache; tell the key of the entry that it is in."""
        is_coming = [note_use(self._stores, one) for one in _with_wholes(metadata)]
        if metadata.linked or self._stores.of_bytes(metadata).capabilities.is_mounted:
            return None
        try:
            self.cache  # noqa: B018 - its configuration is read
        except ConfigurationError:  # of which `cache()` tells
            return None
        for one, comes in zip(_with_wholes(metadata), is_coming, strict=True):
            is_awaited = comes or (check is not None and one is metadata)
            file = self._look_up(metadata, one)
            if file is None and is_awaited and self._is_waited_for(one, check):
                file = self._look_up(metadata, one)
            if file is not None:
                return file, entry_key(self._stores, one)
        return None

    def _used(self, metadata: FileMetadata, use: Callable[[BinaryIO], _T], check: Check | None = None) -> _T | None:
        """Do something with a stored file in the cache; None if it is not there.

        If *use* finds that it is not what it should be, or cannot be read, the entry that it is in is discarded, and
        the store has to be asked.
        """
        found = self._found(metadata, check)
        if found is None:
            return None
        file, key = found
        try:
            with file:
                return use(file)
        except (VerificationError, StorageError) as error:
            logger.warning("%s in the cache is not what was brought, and is read from the store: %s", file.name, error)
            self.cache.discard(key)
            return None

    def _is_waited_for(self, one: FileMetadata, check: Check | None) -> bool:
        """Wait for whoever brings an entry, or is just about to in this process; tell whether it was waited for."""
        key = entry_key(self._stores, one)
        return self.cache.await_transfer(key, check) or wait_while(lambda: note_use(self._stores, one), check)

    def _look_up(self, metadata: FileMetadata, one: FileMetadata) -> BinaryIO | None:
        cache, key, name = self.cache, entry_key(self._stores, one), one.original_name
        if one is metadata:
            return cache.open(key, name, one.size)
        return cache.open_within(key, name, one.size, _below(metadata, one), metadata.size)


def _content(file: BinaryIO, metadata: FileMetadata, checks: Checks) -> bytes:
    """Return all bytes of a file, at once: nobody has seen any if they are of another one."""
    content = _read(file, -1)
    require_size(metadata.size, len(content))
    if checks == "always":
        require_hash(metadata.hash, hashlib.sha256(content).hexdigest())
    return content


def _read(file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise StorageError(reason_of(error)) from error


def _with_wholes(metadata: FileMetadata) -> Iterator[FileMetadata]:
    """Give what is wanted, and the directories that have it."""
    one: FileMetadata | None = metadata
    while one is not None:
        yield one
        one = one.whole


def _below(metadata: FileMetadata, whole: FileMetadata) -> str:
    """Return the path of a member, or a part, within a directory, which may stay where it is."""
    return decode_path((metadata.linked or metadata.path)[len(whole.linked or whole.path) :].rstrip("/"))
