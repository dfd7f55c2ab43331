"""Mirror copies: one stored value brought from one place to the other under its key, its bytes verified on the way.

What is missing or wrong is found out by `verification.mend`; when an insert does this, `[storage.mirror]` says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import ConfigurationError, ObjectExistsError, StorageError, StorageUnavailableError
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import REGISTRY, manifest_key
from datajoint_file.pipeline.fallback import AGAIN_SECONDS, tell_once
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.pipeline.mirror_note import MirrorNote
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage import place_of
from datajoint_file.storage.backend import ContentHeaders, StorageBackend, UploadGroup
from datajoint_file.transfer.fetch import fetch
from datajoint_file.transfer.hashing import VerifyingReader, require_size

logger = logging.getLogger("datajoint_file")

MEMBERS_AT_ONCE = 4
"""Members of one directory that are copied at a time: other values are, too."""

TOGETHER = 128
"""Small objects that wait for a disk together."""


def store_in_mirror(pipeline: Pipeline, some: Sequence[FileMetadata], advance: Advance = lambda _: None) -> None:
    """Store what has just been stored in the mirror as well, if it is to be in both before a row says so.

    It is read back from the store, and verified: so the store has it, too. Several are small files, which the mirror
    stores together.

    Raises
    ------
    StorageError
        If the mirror fails; if it does not answer, unless it may have the object later.
    VerificationError
        If the store has other bytes than were sent to it.
    ConfigurationError
        If the mirror is not this project's.
    """
    some = [metadata for metadata in some if not metadata.is_link]

    def store(second: Pipeline) -> None:
        if len(some) == 1:
            copy_value(pipeline.first, second, some[0], advance)
        else:
            copy_objects(pipeline.first, second, some, advance)

    if some:
        in_mirror(pipeline, store)


def in_mirror(pipeline: Pipeline, store: Callable[[Pipeline], object]) -> None:
    """Have *store* do in the mirror what was done in the store, if both are to have it before a row says so.

    Raises
    ------
    StorageError
        If the mirror fails; if it does not answer, unless it may have the object later.
    ConfigurationError
        If the mirror is not this project's.
    """
    mirror, second = pipeline.settings.storage.mirror, pipeline.second
    if not is_mirrored_at_once(pipeline) or mirror is None or second is None:
        return
    may_wait = mirror.when_down == "later"
    if may_wait and second.stores.known.is_down(second.project):
        return
    try:
        require_mirror(pipeline, second)
        store(second)
    except StorageUnavailableError as error:
        if not may_wait:
            raise error.within(f"{mirror.shown}, where it is to be as well") from error
        second.stores.known.note_down(second.project, AGAIN_SECONDS)
        tell_once(
            second.stores,
            f"{mirror.shown}: what is stored now is in one place alone, until "
            f"`datajoint-file mirror` has copied it: {error}",
            "write",
        )
    except StorageError as error:
        raise error.within(f"{mirror.shown}, where it is to be as well") from error


def require_mirror(pipeline: Pipeline, second: Pipeline) -> None:
    """Make sure that *second* is the mirror of this project's store; say so there if it is new.

    If that is known, a disk alone is asked whether it is there yet: what was the mirror does not become a new one.

    Raises
    ------
    ConfigurationError
        If it is another project's mirror, or a store that a project uses itself, or lies inside one.
    StorageError
        If it cannot be asked, or is not there any more.
    """
    where = second.settings.storage.shown
    note = MirrorNote(second.backend, second.project, where)
    if second.stores.known.is_mirror:
        if second.backend.capabilities.is_mounted:
            note.require()
        return
    if outer := second.backend.above(REGISTRY):
        raise ConfigurationError(f"{where}: it lies inside another project's place, {outer}; give it one of its own")
    there = {found.key for found in second.backend.list(f"{second.project}/{REGISTRY}")}
    if there and note.key not in there:
        raise ConfigurationError(
            f"{where} is a store that a project uses by itself, and no mirror: it has marks of database schemas. Give "
            "the mirror a place of its own; if the project has moved there, use the datajoint.toml that says so"
        )
    if not there and note.write(pipeline.first.backend):
        logger.warning(
            "%s had nothing of the project %s, and is its mirror from now on. If it was that before, it is not mounted",
            where,
            second.project,
        )
    note.require()
    second.stores.known.is_mirror = True


def is_mirrored_at_once(pipeline: Pipeline) -> bool:
    """Tell whether an insert stores in the mirror as well."""
    mirror = pipeline.settings.storage.mirror
    return mirror is not None and mirror.write == "both"


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
    told = stop.watched(advance)
    missing = batches_of(target, _missing(target, metadata, manifest))
    run_all((partial(copy_objects, source, target, some, told) for some in missing), MEMBERS_AT_ONCE, stop)
    copy_object(source, target, manifest_metadata(source, metadata), advance)


def _missing(target: Pipeline, metadata: FileMetadata, manifest: Manifest) -> Iterator[FileMetadata]:
    if metadata.linked:
        return
    for number, is_there in enumerate(sizes_of(target, metadata, manifest)):
        if not is_there and (member := manifest.member(number)):
            yield member_metadata(metadata, member)


def sizes_of(pipeline: Pipeline, metadata: FileMetadata, manifest: Manifest) -> bytearray:
    """Return, by number, which members of a directory are in the store in their size: one listing."""
    there = bytearray(len(manifest))
    for stat in pipeline.backend.list(metadata.path.rstrip("/")):
        number = manifest.number_of(stat.key[len(metadata.path) :])
        member = manifest.member(number) if number >= 0 else None
        if member is not None:
            there[number] = stat.size == member.size
    return there


def manifest_metadata(pipeline: Pipeline, metadata: FileMetadata) -> FileMetadata:
    """Return what there is to say of the manifest of a directory, as of any stored file; its size is the store's."""
    key = manifest_key(metadata.path)
    size, name = pipeline.backend.stat(key).size, f"{metadata.original_name}.sha256"
    return replace(
        metadata, path=key, size=size, files=None, linked="", original_name=name, mime_type="text/plain", whole=None
    )


def copy_objects(source: Pipeline, target: Pipeline, some: Sequence[FileMetadata], advance: Advance) -> None:
    """Store several small objects, of which *target* has none, and wait for it once; if that fails, one by one."""
    if len(some) == 1:
        copy_object(source, target, some[0], advance)
        return
    group = target.backend.group()
    try:
        for metadata in some:
            _send(group, source, metadata, advance)
    except ObjectExistsError:
        group.discard()
    except BaseException:
        group.discard()
        raise
    else:
        with suppress(ObjectExistsError):
            group.publish()
            return
    for metadata in some:
        copy_object(source, target, metadata, advance)


def copy_object(source: Pipeline, target: Pipeline, metadata: FileMetadata, advance: Advance) -> bool:
    """Store one object that one place has in another; tell whether *source* was read for that, all of it, and is right.

    What is there already is read instead, and compared.
    """
    try:
        if not _is_taken(source, target, metadata, advance):
            _send(target.backend, source, metadata, advance)
    except ObjectExistsError:
        fetch(target.backend, metadata, lambda *_: None, lambda _: advance(0))
        return False
    return True


def _is_taken(source: Pipeline, target: Pipeline, metadata: FileMetadata, advance: Advance) -> bool:
    """Have the store itself copy an object to another place in it, if it can; tell whether it did.

    What it copies is read and compared with the hash just before: a copy is of right bytes, also if this process dies
    now. That the store has copied these is its word, as it is for bytes sent to it that it has them; a checksum or tag
    of the copy would be no more, for stores hand on the original's. Whoever wants to know reads the copy, too.
    """
    address = _address_beside(source, target, metadata.path)
    if not address or target.backend.exists(metadata.path):  # the store would put the copy in its place
        return False
    fetch(source.backend, metadata, lambda *_: None, advance)
    if not target.backend.take(address, metadata.size, metadata.path, _headers(metadata)):
        location = source.stores.location_of(source.project)
        target.stores.known.takes[location] = False  # a right is missing: for others, too
        return False
    require_size(metadata.size, target.backend.stat(metadata.path).size)
    return True


def _address_beside(source: Pipeline, target: Pipeline, key: str) -> str:
    """Return where an object of *source* is for the store of *target*, if both are in one bucket; else nothing.

    By other credentials a bucket of that name may be another one: a profile has a server, a tenant buckets of its own.
    Not so on a disk: there a store takes a file by a second name. Two names of one file are no second copy of it.
    """
    storage = target.settings.storage
    if not (storage.bucket or storage.container):
        return ""
    takes, location = target.stores.known.takes, source.stores.location_of(source.project)
    if location not in takes:
        places = [(side.settings.storage, side.settings.directory) for side in (source, target)]
        ours, theirs = (
            [*place_of(*place), place[0].bucket, place[0].container, place[0].credentials] for place in places
        )
        takes[location] = ours == theirs
    return source.backend.url(key).partition("://")[2] if takes[location] else ""


def _send(to: StorageBackend | UploadGroup, source: Pipeline, metadata: FileMetadata, advance: Advance) -> None:
    with source.backend.open(metadata.path) as file:
        reader = VerifyingReader(_Opened(file), metadata.size, metadata.hash, advance)
        to.upload(metadata.path, reader, metadata.size, _headers(metadata))


class _Opened:
    """An object that is read for another place; on a disk the system may copy it, and what the copy has is hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self._file = file

    @property
    def descriptor(self) -> int | None:
        try:
            return self._file.fileno()
        except OSError:  # of a network
            return None


def _headers(metadata: FileMetadata) -> ContentHeaders:
    return ContentHeaders(metadata.mime_type or "", metadata.original_name, is_contested=True)


def batches_of(target: Pipeline, some: Iterable[FileMetadata]) -> Iterator[list[FileMetadata]]:
    """Put objects together that *target* stores faster together: small ones; each other is by itself."""
    small, limit = list[FileMetadata](), target.backend.capabilities.group_below
    for metadata in some:
        if metadata.is_directory or metadata.size >= limit:
            yield [metadata]
            continue
        small.append(metadata)
        if len(small) == TOGETHER:
            yield small
            small = []
    if small:
        yield small
