"""Adoption of objects and directories that an earlier attempt has left, and that no row names: compared by content.

Nobody vouches for what is left, nor for what is said of it. An object is believed if this process has stored it and it
is as it was then; else it is read back. No payload is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, Stopped, run_all
from datajoint_file.errors import MetadataError, StorageError, VerificationError
from datajoint_file.model.manifest import Manifest, Member
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import proof_key
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.upload import Upload
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.transfer.directories import Tree
from datajoint_file.transfer.fetch import fetch
from datajoint_file.transfer.hashing import HashingReader
from datajoint_file.transfer.sources import Source, as_source

logger = logging.getLogger("datajoint_file")


def alike(
    pipeline: Pipeline, upload: Upload, left: Sequence[FileMetadata], advance: Advance = lambda _: None
) -> Iterator[FileMetadata]:
    """Give what the row could record instead of sending *upload*: those of *left* that have its very bytes.

    The source is hashed once, if one has its size and name; of a directory the files, up to the first that differs.
    """
    same = [one for one in left if (one.project, one.original_name) == (pipeline.project, upload.name)]
    if upload.source.tree is not None:
        for stored in _directories_alike(pipeline, upload.source.tree, same, advance):
            yield replace(stored, title=upload.source.title)
        return
    same = [stored for stored in same if upload.source.size in (stored.size, None)]
    hash_ = hash_of(upload.source, max(stored.size for stored in same), advance) if same else ""
    for stored in same:
        if stored.hash == hash_ and prove(pipeline, stored, advance) and _settle(pipeline, stored):
            yield replace(stored, mime_type=upload.mime_type or stored.mime_type, title=upload.source.title)


def _directories_alike(
    pipeline: Pipeline, tree: Tree, same: Sequence[FileMetadata], advance: Advance
) -> Iterator[FileMetadata]:
    for stored in same:
        if not stored.is_directory or (stored.files, stored.size) != (len(tree.listing.names), tree.listing.size):
            continue
        try:
            manifest = manifest_of(pipeline, stored, is_kept=False)
        except (StorageError, VerificationError, MetadataError) as error:
            logger.info("%s is not adopted: %s", stored.path, error)
            continue
        is_alike = _matches(tree, manifest, advance) and _prove_members(pipeline, stored, manifest, advance)
        if is_alike and _settle(pipeline, stored):
            yield stored


def _settle(pipeline: Pipeline, stored: FileMetadata) -> bool:
    """Wait for the disk to have what another process has stored, and tell whether it has; for its own this one has."""
    is_ours = bool(pipeline.writes.receipts.tag_of(proof_key(stored.path)))
    return is_ours or settled(pipeline, stored.path, proof_key(stored.path))


def settled(pipeline: Pipeline, *keys: str) -> bool:
    """Wait for the disk to have what others have stored, as `StorageBackend.settle`, and tell whether it has."""
    try:
        pipeline.backend.settle(*dict.fromkeys(keys))
    except StorageError as error:
        logger.info("%s is not used: %s", keys[0], error)
        return False
    return True


def _matches(tree: Tree, manifest: Manifest, advance: Advance) -> bool:
    """Read the files of a tree, up to the first that differs, and tell whether it is the one of the manifest."""
    listing = tree.listing
    same_count = list(manifest.empty()) == listing.empty and manifest.files == len(listing.names)
    same_names = same_count and all(one.name == name for one, name in zip(manifest, listing.names, strict=True))
    return same_names and all(
        hash_of(as_source(tree.value(member.name)), member.size, advance) == f"sha256:{member.digest}"
        for member in manifest
    )


def _prove_members(pipeline: Pipeline, directory: FileMetadata, manifest: Manifest, advance: Advance) -> bool:
    """Tell whether all members are in the store as the manifest says, as `prove` does."""
    wrong = Stop()

    def look(member: Member) -> None:
        if not prove(pipeline, member_metadata(directory, member), advance):
            wrong.set()

    looks = (partial(look, member) for member in manifest)
    with suppress(Stopped):
        run_all(looks, pipeline.workers, wrong)
    return not wrong.is_set()


def prove(pipeline: Pipeline, stored: FileMetadata, advance: Advance) -> bool:
    """Tell whether the object has the bytes that *stored* says, which may be read; if the store cannot tell, not."""
    try:
        if not pipeline.writes.receipts.prove(stored, pipeline.backend.stat(stored.path)):
            fetch(pipeline.backend, stored, lambda *_: None, lambda _: advance(0))
    except (StorageError, VerificationError) as error:
        logger.info("%s is not adopted: %s", stored.path, error)
        return False
    return True


def hash_of(source: Source, most: int, advance: Advance) -> str:
    """Return the hash of a source that can be read again; nothing of one that has more than *most* bytes."""
    if source.hash is not None:
        return source.hash
    if not source.can_reread:
        return ""
    with source.open() as bare:
        reader = HashingReader(bare, advance)
        while reader.size <= most and reader.read(CHUNK_SIZE):
            pass
    source.rewind()
    return reader.hash if reader.size <= most else ""
