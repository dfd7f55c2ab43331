"""Tree of a stored directory, or of a part of one: its members, as what is to be stored again."""

from __future__ import annotations

from functools import cached_property

from datajoint_file.errors import MemberNotFoundError, brief
from datajoint_file.model.manifest import Manifest
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.transfer.directories import Listing


class StoredTree:
    """A stored directory, or a part of it, as what is to be stored."""

    def __init__(self, whole: DirectoryRef, below: str) -> None:
        self._whole = whole
        self._below = below
        self._beginning = f"{below}/" if below else ""

    @cached_property
    def listing(self) -> Listing:
        """What is in it."""
        manifest, listing, start = self._manifest, Listing(), len(self._beginning)
        for member in manifest.below(self._below):
            listing.names.append(member.name[start:])
            listing.sizes.append(member.size)
        listing.empty += [
            name[start:] for name in manifest.empty() if name.startswith(self._beginning) and name[start:]
        ]
        return listing

    def value(self, name: str) -> FileRef:
        """Return a member."""
        member = self._manifest.find(f"{self._beginning}{name}")
        if member is None:
            raise MemberNotFoundError(f"{brief(name)} is none of its members")
        return FileRef(member_metadata(self._whole.metadata, member), self._whole.pipeline)

    @property
    def _manifest(self) -> Manifest:
        return manifest_of(self._whole._pipeline(), self._whole.metadata)
