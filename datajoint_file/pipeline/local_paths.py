"""Local paths of stored files and directories: the object itself where the store is a disk, else a copy in the cache.

Both are verified: the object once for what it looks like, in each process, the copy on its way.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from datajoint_file.cache.entries import look_through
from datajoint_file.config.urls import file_path
from datajoint_file.errors import ObjectNotFoundError, VerificationError, printable
from datajoint_file.model.manifest import Manifest, decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_derived_name
from datajoint_file.pipeline import directory_download
from datajoint_file.pipeline.manifests import manifest_of, part_of
from datajoint_file.pipeline.pipeline import Pipeline

_LOOK_SECONDS = 60.0
"""So often it is looked whether all of a directory is what was verified."""

_MOST_VERIFIED = 100_000

_verified: dict[tuple[str, str], tuple[str, float]] = {}
"""Paths and hashes: what they looked like when they were verified, and when that was looked at."""


def local_path(pipeline: Pipeline, metadata: FileMetadata, below: str = "", progress: bool | None = None) -> Path:
    """Return a verified local path of a stored file or directory; see `FileRef.cache`, which is this.

    Of a part of a directory, *below* is its path in that, as the store has it.
    """
    whole = metadata
    if metadata.is_directory and below:
        metadata = part_of(whole, manifest_of(pipeline, whole), below)[0]
    name = check_derived_name(metadata.original_name)
    if pipeline.backend_of(metadata.project).capabilities.is_mounted:
        return _in_place(pipeline, whole, metadata, below, progress)
    if metadata.is_directory:
        fill = partial(_bring_tree, pipeline, whole, below, progress)
    else:
        fill = partial(_bring_file, pipeline, metadata, progress)
    return pipeline.cache.get(metadata.hash.partition(":")[2], name, metadata.size, fill)


def _bring_file(pipeline: Pipeline, metadata: FileMetadata, progress: bool | None, target: Path) -> None:
    pipeline.download(metadata, target, progress=progress)


def _bring_tree(pipeline: Pipeline, whole: FileMetadata, below: str, progress: bool | None, target: Path) -> None:
    directory_download.download(pipeline, whole, target, progress=progress, is_exact=True, below=below)


def _in_place(
    pipeline: Pipeline, whole: FileMetadata, metadata: FileMetadata, below: str, progress: bool | None
) -> Path:
    """Return the object's own path, or that of a link, or of links, where names in the store are others."""
    path = file_path(pipeline.url(metadata).rstrip("/"))
    if not metadata.is_directory:
        _verify_once(path, metadata, partial(pipeline.verify, metadata, progress), pipeline)
        fill, is_plain = partial(_link, path), True
    else:
        manifest = part_of(whole, manifest_of(pipeline, whole), below)[1]
        verify = partial(_verify_tree, pipeline, whole, below, progress, path, manifest)
        _verify_once(path, metadata, verify, pipeline)
        fill = partial(_link_all, path, manifest)
        is_plain = not any(manifest.empty()) and not any("%" in member.name for member in manifest)
    if is_plain and Path(path).name == metadata.original_name:
        return Path(path)
    key = hashlib.sha256(f"{path}\0{metadata.hash}".encode(errors="surrogateescape")).hexdigest()
    return pipeline.cache.get(key, metadata.original_name, 0, fill)


def _link(path: str, target: Path) -> None:
    target.symlink_to(path)


def _link_all(path: str, manifest: Manifest, target: Path) -> None:
    target.mkdir()
    for member in manifest:
        link = target / decode_path(member.name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"{path}/{member.name}")
    for empty in manifest.empty():
        (target / decode_path(empty.rstrip("/"))).mkdir(parents=True, exist_ok=True)


def _verify_once(path: str, metadata: FileMetadata, verify: Callable[[], object], pipeline: Pipeline) -> None:
    """Verify what is there, unless this process has and it looks as it did then.

    Raises
    ------
    VerificationError
        If it is not what was inserted, or is changed meanwhile.
    """
    key, now = (path, metadata.hash), time.time()
    seen, when = _verified.get(key, ("", 0.0))
    if metadata.is_directory and seen and abs(now - when) < _LOOK_SECONDS:
        return
    try:
        looks = look_through(path)
        if looks != seen:
            verify()
            if look_through(path) != looks:
                raise VerificationError(f"{metadata.path}: it was changed while it was read")
    except FileNotFoundError as error:
        if isinstance(error, ObjectNotFoundError):
            raise
        pipeline.require_present(metadata)
        raise ObjectNotFoundError(f"{metadata.path}: there is no such object in the store").of(metadata.path) from error
    if len(_verified) >= _MOST_VERIFIED:
        _verified.clear()
    _verified[key] = looks, now


def _verify_tree(
    pipeline: Pipeline, whole: FileMetadata, below: str, progress: bool | None, path: str, manifest: Manifest
) -> None:
    """Verify all files of a stored directory, and that it has no others."""
    directory_download.verify(pipeline, whole, progress, below)
    for place, directories, names in os.walk(path):
        above = f"{place[len(path) + 1 :]}/" if len(place) > len(path) else ""
        links = [name for name in directories if Path(place, name).is_symlink()]
        for name in (*names, *links):
            if name in links or manifest.find(f"{above}{name}") is None:
                raise VerificationError(
                    f"{whole.path}: {printable(f'{above}{name}')} is in the directory in the store, and not among the "
                    "files that were inserted: somebody else has put it there. Remove it"
                )
