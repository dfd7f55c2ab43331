"""Cache look-up before a read: opens what this machine has of a stored file, so that its store need not be asked.

What is not there is not brought: that is the business of `local_paths`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import ConfigurationError, StorageError, VerificationError, reason_of
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.verify_policy import VerifyPolicy
from datajoint_file.pipeline.cache_keys import directory_room, entry_key
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.transfer.fetch import Checks, Write, take_from
from datajoint_file.transfer.hashing import require_hash, require_size

if TYPE_CHECKING:
    from datajoint_file.pipeline.pipeline import Pipeline

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.001
"""Between two looks at what this process is about to bring."""

Watcher = Callable[[FileMetadata], bool]

_watchers: list[Watcher] = []
"""Told what is used; each tells whether it is bringing that. A child made by fork has none of its parent's."""

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


def note_use(metadata: FileMetadata) -> bool:
    """Tell those who watch that a stored file or directory is used; return whether one of them is bringing it."""
    told = [watcher(metadata) for watcher in tuple(_watchers)]
    return any(told)


def open_cached(pipeline: Pipeline, metadata: FileMetadata, *, waits: bool) -> BinaryIO | None:
    """Open a stored file in the cache, if it is there, by itself or in its directory; None if not, and of a disk.

    Of a link the original is read, so that its changes are noticed. What somebody is bringing is waited for if it
    *waits*, and where a `prefetch` of this process brings it.
    """
    is_coming = [note_use(one) for one in _with_wholes(metadata)]
    if metadata.linked or pipeline.backend_of(metadata.project).capabilities.is_mounted:
        return None
    try:
        pipeline.cache  # noqa: B018 - its configuration is read
    except ConfigurationError:  # of which `cache()` tells
        return None
    is_coming[0] |= waits
    for one, may_wait in zip(_with_wholes(metadata), is_coming, strict=True):
        file = _look_up(pipeline, metadata, one)
        if file is None and may_wait and _is_waited_for(pipeline, one):
            file = _look_up(pipeline, metadata, one)
        if file is not None:
            return file
    return None


def take_cached(
    pipeline: Pipeline,
    metadata: FileMetadata,
    write: Write,
    advance: Advance,
    target: Draft | None,
    policy: VerifyPolicy,
) -> bool:
    """Hand the bytes of a stored file on as `fetch` does, if the cache has it; tell whether that is done.

    It was verified when it came, and has not been changed; it is hashed once more where *policy* has all bytes hashed.
    If it is another one by now, the cache is told, and the store has to be asked.
    """
    file = open_cached(pipeline, metadata, waits=True)
    if file is None:
        return False
    checks: Checks = "always" if policy == "always" else "size"
    content = b""
    try:
        with file:
            if target is None:
                content = _content(file, metadata, checks)
            else:
                take_from(file, metadata, write, advance, target, checks)
    except (VerificationError, StorageError) as error:
        logger.warning("%s in the cache is not what was brought, and is brought again: %s", file.name, error)
        for one in _with_wholes(metadata):
            pipeline.cache.discard(entry_key(pipeline, one))
        return False
    if target is None:
        advance(metadata.size)
        write(0, content)
    return True


def _content(file: BinaryIO, metadata: FileMetadata, checks: Checks) -> bytes:
    """Return all bytes of a file, at once: nobody has seen any if they are of another one."""
    try:
        content = file.read()
    except OSError as error:
        raise StorageError(reason_of(error)) from error
    require_size(metadata.size, len(content))
    if checks == "always":
        require_hash(metadata.hash, hashlib.sha256(content).hexdigest())
    return content


def path_within(pipeline: Pipeline, metadata: FileMetadata) -> Path | None:
    """Return the path of a member, or a part, of a directory that is in the cache, and stays; None if there is none."""
    for whole in islice(_with_wholes(metadata), 1, None):
        key = entry_key(pipeline, whole)
        if not pipeline.cache.hold(key, directory_room(whole)):
            continue
        if metadata.is_directory:
            if (top := pipeline.cache.find(key, whole.original_name, whole.size)) is not None:
                return top / _below(metadata, whole)
        elif (file := _look_up(pipeline, metadata, whole)) is not None:
            file.close()
            return Path(file.name)
    return None


def _with_wholes(metadata: FileMetadata) -> Iterator[FileMetadata]:
    """Give what is wanted, and the directories that have it."""
    one: FileMetadata | None = metadata
    while one is not None:
        yield one
        one = one.whole


def _is_waited_for(pipeline: Pipeline, one: FileMetadata) -> bool:
    """Wait for whoever brings an entry, or is just about to in this process; tell whether it was waited for."""
    key, is_coming = entry_key(pipeline, one), False
    while not pipeline.cache.await_transfer(key):
        if not note_use(one):
            return is_coming
        is_coming = True
        time.sleep(_PAUSE_SECONDS)
    return True


def _look_up(pipeline: Pipeline, metadata: FileMetadata, one: FileMetadata) -> BinaryIO | None:
    cache, key, name = pipeline.cache, entry_key(pipeline, one), one.original_name
    if one is metadata:
        return cache.open(key, name, one.size)
    return cache.open_within(key, name, one.size, _below(metadata, one), metadata.size)


def _below(metadata: FileMetadata, whole: FileMetadata) -> str:
    """Return the path of a member, or a part, within a directory, which may stay where it is."""
    return decode_path((metadata.linked or metadata.path)[len(whole.linked or whole.path) :].rstrip("/"))
