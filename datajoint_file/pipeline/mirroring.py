"""Mirror copies: one stored value brought from one place to the other under its key, its bytes verified on the way.

What is missing or wrong is found out by `verification.mend`; when an insert does this, `[storage.mirror]` says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import ObjectExistsError, StorageError, StorageUnavailableError
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline.fallback import AGAIN_SECONDS, tell_once
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.pipeline.mirror_note import require_mirror
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import ContentHeaders
from datajoint_file.transfer.fetch import fetch
from datajoint_file.transfer.hashing import VerifyingReader

MEMBERS_AT_ONCE = 4
"""Members of one directory that are copied at a time: other values are, too."""

_down_until: dict[str, float] = {}
"""Mirrors that did not answer, and until when an insert that need not wait for them does not ask again."""


def store_in_mirror(pipeline: Pipeline, metadata: FileMetadata, advance: Advance = lambda _: None) -> None:
    """Store what has just been stored in the mirror as well, if it is to be in both before a row says so.

    It is read back from the store, and verified: so the store has it, too.

    Raises
    ------
    StorageError
        If the mirror fails; if it does not answer, unless it may have the object later.
    VerificationError
        If the store has other bytes than were sent to it.
    ConfigurationError
        If the mirror is not this project's.
    """
    mirror, second = pipeline.settings.storage.mirror, pipeline.second
    if mirror is None or second is None or mirror.write != "both" or metadata.is_link:
        return
    may_wait = mirror.when_down == "later"
    if may_wait and _down_until.get(mirror.location, 0.0) > time.monotonic():
        return
    try:
        require_mirror(pipeline, second)
        copy_value(pipeline.first, second, metadata, advance)
    except StorageUnavailableError as error:
        if not may_wait:
            raise error.within(f"{mirror.where} {mirror.location}, where it is to be as well") from error
        _down_until[mirror.location] = time.monotonic() + AGAIN_SECONDS
        tell_once(
            f"{mirror.where} {mirror.location}: {error}. What is stored now is in one place alone, until "
            "`datajoint-file mirror` has copied it",
            f"write {mirror.location}",
        )
    except StorageError as error:
        raise error.within(f"{mirror.where} {mirror.location}, where it is to be as well") from error


def copy_value(source: Pipeline, target: Pipeline, metadata: FileMetadata, advance: Advance = lambda _: None) -> None:
    """Store a file or directory that one place has in another: members first, the manifest last.

    Members that are there in their size are taken for what they should be; so a copy that was cut short goes on.

    Raises
    ------
    VerificationError, ObjectNotFoundError
        If *source* has not got it as the row says; or *target* has another under its key.
    StorageError
        If one of them fails.
    """
    if metadata.is_link:
        return
    if not metadata.is_directory:
        copy_object(source, target, metadata, advance)
        return
    manifest = manifest_of(source, metadata, is_kept=False)
    stop = Stop()
    copies = _copies(source, target, metadata, manifest, stop.watched(advance))
    run_all(copies, MEMBERS_AT_ONCE, stop)
    copy_object(source, target, listed(source, metadata), advance)


def _copies(
    source: Pipeline, target: Pipeline, metadata: FileMetadata, manifest: Manifest, advance: Advance
) -> Iterator[Callable[[], None]]:
    if metadata.linked:
        return
    there = sizes_of(target, metadata, manifest)
    for number, is_there in enumerate(there):
        if not is_there and (member := manifest.member(number)):
            yield partial(copy_object, source, target, member_metadata(metadata, member), advance)


def sizes_of(pipeline: Pipeline, metadata: FileMetadata, manifest: Manifest) -> bytearray:
    """Return, by number, which members of a directory are in the store in their size: one listing."""
    there = bytearray(len(manifest))
    for stat in pipeline.backend.list(metadata.path.rstrip("/")):
        number = manifest.number_of(stat.key[len(metadata.path) :])
        member = manifest.member(number) if number >= 0 else None
        if member is not None:
            there[number] = stat.size == member.size
    return there


def listed(pipeline: Pipeline, metadata: FileMetadata) -> FileMetadata:
    """Return what there is to say of the manifest of a directory, as of any stored file; its size is the store's."""
    key = manifest_key(metadata.path)
    size, name = pipeline.backend.stat(key).size, f"{metadata.original_name}.sha256"
    return replace(
        metadata, path=key, size=size, files=None, linked="", original_name=name, mime_type="text/plain", whole=None
    )


def copy_object(source: Pipeline, target: Pipeline, metadata: FileMetadata, advance: Advance) -> None:
    """Store one object that one place has in another. What is there already is read, and compared."""
    headers = ContentHeaders(metadata.mime_type or "", metadata.original_name, is_contested=True)
    with source.backend.open(metadata.path) as file:
        reader = VerifyingReader(file, metadata.size, metadata.hash, advance)
        try:
            target.backend.upload(metadata.path, reader, metadata.size, headers)
        except ObjectExistsError:
            fetch(target.backend, metadata, lambda *_: None, lambda _: advance(0))
