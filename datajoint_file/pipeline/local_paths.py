"""Local paths of stored files and directories: the object itself where the store is a disk, else a copy in the cache.

Both are verified: the object once for what it looks like, in each process, the copy on its way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest
from pathlib import Path

from datajoint_file.cache.space import BLOCK_BYTES
from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.config.urls import file_path
from datajoint_file.errors import ObjectNotFoundError, StorageError, VerificationError, printable
from datajoint_file.model.manifest import Manifest, decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_derived_name
from datajoint_file.pipeline import directory_download
from datajoint_file.pipeline.cache_keys import directory_room, entry_key, link_key
from datajoint_file.pipeline.cached_files import note_use
from datajoint_file.pipeline.linking import gone
from datajoint_file.pipeline.manifests import manifest_of, member_metadata, part_of
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.disk.looks import look_through
from datajoint_file.transfer.atomic_write import atomic_write

_LOOK_SECONDS = 60.0
"""So often it is looked whether all of a directory is what was verified."""

_MOST_VERIFIED = 100_000

_MOST_PROVEN = 8
"""Files of a directory whose sizes are asked for before much room is made: the largest."""

_verified: dict[tuple[str, str], tuple[str, float]] = {}
"""Paths and hashes: what they looked like when they were verified, and when that was looked at."""


def local_path(pipeline: Pipeline, metadata: FileMetadata, below: str = "", progress: bool | None = None) -> Path:
    """Return a verified local path of a stored file or directory; see `FileRef.cache`, which is this.

    Of a part of a directory, *below* is its path in that, as the store has it.
    """
    note_use(pipeline.stores, metadata)
    return _Local(pipeline, metadata, below, progress).path()


def bring(pipeline: Pipeline, metadata: FileMetadata, advance: Advance) -> None:
    """See to it that `local_path` will have nothing to wait for. *advance* is told how many bytes come.

    Raises
    ------
    NoRoomError
        If there is no room for it in the cache beside what is in use.
    """
    _Local(pipeline, metadata, "", False, advance, is_ahead=True).path()


@dataclass
class _Local:
    """A stored file, a directory or a part of one, which is wanted here."""

    pipeline: Pipeline
    whole: FileMetadata
    below: str
    progress: bool | None
    advance: Advance | None = None
    is_ahead: bool = False

    @cached_property
    def _part(self) -> tuple[FileMetadata, Manifest]:
        return part_of(self.whole, manifest_of(self.pipeline, self.whole), self.below)

    @property
    def _manifest(self) -> Manifest:
        return self._part[1]

    def path(self) -> Path:
        metadata = self._part[0] if self.below else self.whole
        name = check_derived_name(metadata.original_name)
        if self.pipeline.stores.of_bytes(metadata).capabilities.is_mounted:
            try:
                return self._in_place(metadata)
            except (StorageError, VerificationError):
                if self.pipeline.stores.mirror_of(metadata) is None or metadata.linked:
                    raise
        elif (found := self.pipeline.reads.cached.path_within(metadata)) is not None:
            return found
        return self.pipeline.cache.get(
            entry_key(self.pipeline.stores, metadata),
            name,
            metadata.size,
            self._bring_tree if metadata.is_directory else self._bring_file,
            self._check,
            room=directory_room(metadata),
            prove=self._prove,
            is_ahead=self.is_ahead,
        )

    def _prove(self) -> None:
        """Raise unless it has as many bytes in the store as the row says: others would go from the cache for them."""
        if not self.whole.is_directory:
            self.pipeline.reads.look(self.whole)
            return
        for member in nlargest(_MOST_PROVEN, self._manifest, key=lambda one: one.size):
            self.pipeline.reads.look(member_metadata(self._part[0], member))

    def _check(self) -> None:
        """Let who is told of bytes say, while others bring them, that nobody waits for them any more."""
        if self.advance is not None:
            self.advance(0)

    def _bring_file(self, target: Path) -> None:
        what = f"downloading {self.whole.original_name}"
        bar = progress_bar(what, self.whole.size, self.progress, self.advance)
        with bar as told, atomic_write(target) as new:
            self.pipeline.reads.from_store(self.whole, new.write, told, new)

    def _bring_tree(self, target: Path) -> None:
        directory_download.bring(self.pipeline, self.whole, target, self.below, self.progress, self.advance)

    def _in_place(self, metadata: FileMetadata) -> Path:
        """Return the object's own path, or that of a link, or of links, where names in the store are others."""
        path = file_path(self.pipeline.url(metadata).rstrip("/"))
        if not metadata.is_directory or self._manifest.files:  # of one without files the store has the manifest alone
            self._verify_once(path, metadata)
        if path.endswith(f"/{metadata.original_name}") and not (metadata.is_directory and self._has_other_names()):
            return Path(path)

        def link(target: Path) -> None:
            if metadata.is_directory:
                _link_all(path, self._manifest, target, decode_path if metadata.linked else str)
            else:
                target.symlink_to(path)

        key, room = link_key(self.pipeline.stores, metadata, path), BLOCK_BYTES * max(1, metadata.files or 0)
        return self.pipeline.cache.get(key, metadata.original_name, 0, link, room=room)

    def _has_other_names(self) -> bool:
        """Tell whether something of a directory is called otherwise in the store, or is not there: what is empty.

        Where it stays where it is, others may put what they like beside its files.
        """
        if self.whole.linked or not self._manifest.files:
            return True
        return any(self._manifest.empty()) or any("%" in member.name for member in self._manifest)

    def _verify_once(self, path: str, metadata: FileMetadata) -> None:
        """Verify what is there, unless this process has and it looks as it did then.

        Raises
        ------
        VerificationError
            If it is not what was inserted, or is changed meanwhile.
        """
        key, now = (path, metadata.hash), time.time()
        seen, when = _verified.get(key, ("", 0.0))
        if metadata.is_directory and abs(now - when) < _LOOK_SECONDS:
            return
        looks = self._look_through(path, metadata)
        if looks != seen:
            self._verify(path)
            if self._look_through(path, metadata) != looks:
                raise VerificationError(f"{metadata.path}: it was changed while it was read")
        if len(_verified) >= _MOST_VERIFIED:
            _verified.clear()
        _verified[key] = looks, now

    def _look_through(self, path: str, metadata: FileMetadata) -> str:
        try:
            return look_through(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if metadata.linked:
                raise gone(self.pipeline.stores, metadata) from error
            self.pipeline.stores.require_present(metadata)
            absent = f"{metadata.path}: there is no such object in the store"
            raise ObjectNotFoundError(absent).of(metadata.path) from error

    def _verify(self, path: str) -> None:
        """Verify a file; or all files of a directory, and that it has no others."""
        if not self.whole.is_directory:
            self.pipeline.verify(self.whole, self.progress, self.advance)
            return
        directory_download.verify(self.pipeline, self.whole, self.progress, self.below, self.advance)
        if self.whole.linked:
            return
        for place, directories, names in os.walk(path):
            above = f"{place[len(path) + 1 :]}/" if len(place) > len(path) else ""
            links = [name for name in directories if Path(place, name).is_symlink()]
            for name in (*names, *links):
                if name in links or self._manifest.find(f"{above}{name}") is None:
                    raise VerificationError(
                        f"{self.whole.path}: {printable(f'{above}{name}')} is in the directory in the store, and not "
                        "among the files that were inserted: somebody else has put it there. Remove it"
                    )


def _link_all(path: str, manifest: Manifest, target: Path, called: Callable[[str], str]) -> None:
    """Make a directory of links to the members below *path*, where they are *called* so by their keys."""
    target.mkdir()
    for member in manifest:
        link = target / decode_path(member.name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"{path}/{called(member.name)}")
    for empty in manifest.empty():
        (target / decode_path(empty.rstrip("/"))).mkdir(parents=True, exist_ok=True)
