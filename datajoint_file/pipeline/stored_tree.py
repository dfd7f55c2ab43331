"""Tree of a stored directory, or of a part of one: its members, as what is to be stored again."""

from __future__ import annotations

from functools import cached_property

from datajoint_file.errors import MemberNotFoundError, brief
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.manifests import manifest_of, member_metadata, part_of
from datajoint_file.transfer.directories import Listing


class StoredTree:
    """A stored directory, or a part of it, as what is to be stored."""

    def __init__(self, whole: DirectoryRef, below: str) -> None:
        self._whole = whole
        self._below = below

    @cached_property
    def listing(self) -> Listing:
        """What is in it."""
        manifest = self._part[1]
        listing = Listing(empty=list(manifest.empty()))
        for member in manifest:
            listing.names.append(member.name)
            listing.sizes.append(member.size)
        return listing

    def value(self, name: str) -> FileRef:
        """Return a member."""
        metadata, manifest = self._part
        member = manifest.find(name)
        if member is None:
            raise MemberNotFoundError(f"{brief(name)} is none of its members")
        return FileRef(member_metadata(metadata, member), self._whole.pipeline)

    @cached_property
    def _part(self) -> tuple[FileMetadata, Manifest]:
        whole = self._whole.metadata
        return part_of(whole, manifest_of(self._whole._pipeline(), whole), self._below)
