"""Manifests of stored directories: read once, verified, and kept for a while by digest.

What stands in one is told in `model.manifest`; what is done with the members, by who asks for it.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from dataclasses import replace
from mmap import MAP_PRIVATE, mmap
from threading import Lock

from datajoint_file.errors import (
    MemberNotFoundError,
    MetadataError,
    ObjectNotFoundError,
    VerificationError,
    brief,
    printable,
)
from datajoint_file.model import manifest, media_types
from datajoint_file.model.manifest import Manifest, Member, read_manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline.cache_keys import entry_key
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage import StorageBackend
from datajoint_file.transfer.fetch import fetch

logger = logging.getLogger("datajoint_file")

_KEPT_BYTES = 200_000_000
"""Of all manifests that are kept: two million files. The one that was used last is kept in any case."""

_SMALL_BYTES = 2**16
"""Of a manifest that gets no pages of its own."""


class _Kept:
    """The manifests that were used last, by store and digest."""

    def __init__(self) -> None:
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, digest: str) -> Manifest | None:
        return self._manifests.get(digest)

    def keep(self, digest: str, manifest: Manifest) -> None:
        """Keep one, and let go of what was used least recently, if there is too much."""
        with self._lock:
            self._bytes += 0 if digest in self._manifests else manifest.memory
            self._manifests.setdefault(digest, manifest)
            self._manifests.move_to_end(digest)
            while len(self._manifests) > 1 and self._bytes > _KEPT_BYTES:
                self._bytes -= self._manifests.popitem(last=False)[1].memory

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def in_child(self) -> None:
        """Go on in a child made by fork, where a lock that another thread held would stay locked."""
        self._lock = Lock()
        self._bytes = sum(manifest.memory for manifest in self._manifests.values())


_kept = _Kept()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kept.in_child)


def manifest_of(pipeline: Pipeline, metadata: FileMetadata, *, is_kept: bool = True) -> Manifest:
    """Return the verified manifest of a stored directory. From the store once; afterwards from memory, if *is_kept*.

    Raises
    ------
    ObjectNotFoundError
        If it is not there: then the directory is not, or not as a whole.
    VerificationError
        If its bytes are not those of the row.
    MetadataError
        If it is malformed, or does not fit the row.
    StorageError
        If the store fails.
    """
    key = entry_key(pipeline.stores, metadata)
    known = _kept.get(key) if is_kept else None
    found = _read(pipeline, metadata) if known is None else known
    if (found.files, found.size) != (metadata.files, metadata.size):
        raise MetadataError(
            f"{metadata.path}: the row speaks of {metadata.files} files with {metadata.size} bytes, and the manifest "
            f"of {found.files} with {found.size}: one of them is not what was inserted"
        )
    _kept.keep(key, found)
    return found


def difference(pipeline: Pipeline, metadata: FileMetadata) -> str:
    """Say how the object differs from what *metadata* says, as far as a look tells; nothing if it does not.

    Of a directory the manifest is looked at, which is the last that is stored and the first that is deleted.
    """
    try:
        if metadata.is_directory:
            manifest_of(pipeline.first, metadata, is_kept=False)
            return ""
        size = pipeline.backend.stat(metadata.path).size
    except ObjectNotFoundError:
        return "is not there"
    except (VerificationError, MetadataError) as error:
        return f"is another one ({error})"
    return "" if size == metadata.size else f"has {size} bytes there, expected {metadata.size}"


def part_of(directory: FileMetadata, whole: Manifest, below: str) -> tuple[FileMetadata, Manifest]:
    """Return what there is to say of a directory within a stored one, and what is in it, as if it were stored itself.

    Nothing, as the name of a directory, stands for the whole.
    """
    metadata = part_metadata(directory, whole, below)
    return metadata, read_manifest(whole.part(below)) if below else whole


def part_metadata(directory: FileMetadata, whole: Manifest, below: str) -> FileMetadata:
    """Return what there is to say of a directory within a stored one, as `part_of` does.

    Raises
    ------
    MemberNotFoundError
        If it has no directory that the store calls so.
    """
    if not below:
        return directory
    if below.endswith("/") or not whole.is_directory(below):
        raise MemberNotFoundError(
            f"{printable(directory.original_name)} has no directory that the store calls {brief(below)}; "
            "ask it for what it has: iterdir(), or / 'path'"
        )
    files, size, digest = whole.described(below)
    path, name = f"{directory.path}{below}/", manifest.decode_path(below.rpartition("/")[2])
    linked = f"{directory.linked}{below}/" if directory.linked else ""
    part = replace(directory, path=path, size=size, hash=f"sha256:{digest}", original_name=name, files=files)
    return replace(part, title=None, linked=linked, whole=directory)  # the title is that of the whole


def prove_part(pipeline: Pipeline, whole: FileMetadata, part: FileMetadata) -> bool:
    """Read whether *part* is a file of a stored directory, or a directory in it, as its manifest says."""
    name, manifest = part.path[len(whole.path) :].rstrip("/"), manifest_of(pipeline, whole)
    if part.is_directory:
        return manifest.is_directory(name) and part == part_metadata(whole, manifest, name)
    member = manifest.find(name)
    return member is not None and part == member_metadata(whole, member)


def _read(pipeline: Pipeline, metadata: FileMetadata) -> Manifest:
    listed = replace(metadata, path=manifest_key(metadata.path), files=None, linked="")
    return pipeline.reads.from_either(listed, lambda backend: _read_from(backend, listed))


def _read_from(backend: StorageBackend, listed: FileMetadata) -> Manifest:
    key = listed.path
    size = backend.stat(key).size
    if size > manifest.MAX_BYTES:
        raise MetadataError(f"{key} has {size} bytes, and no manifest more than {manifest.MAX_BYTES}")
    text = mmap(-1, max(size, 1), MAP_PRIVATE)  # memory that is needed once, and given back as a whole

    def write(position: int, chunk: bytes | memoryview) -> None:
        text[position : position + len(chunk)] = chunk

    fetch(backend, replace(listed, size=size), write, lambda _: None)  # whatever the cache has: its lock may be held
    try:
        return read_manifest(text if size > _SMALL_BYTES else text[:])
    except MetadataError as error:
        raise MetadataError(f"{key} is no manifest of a directory: {error}") from error


def member_metadata(directory: FileMetadata, member: Member) -> FileMetadata:
    """Return what there is to say of a member, as of any stored file."""
    name = manifest.decode_path(member.name.rpartition("/")[2])
    hash_, mime_type = f"sha256:{member.digest}", media_types.of_name(name) or None
    path, linked = f"{directory.linked or directory.path}{member.name}", bool(directory.linked)
    described = FileMetadata(path, member.size, hash_, name, directory.timestamp, mime_type, whole=directory)
    return replace(described, linked=path) if linked else described
