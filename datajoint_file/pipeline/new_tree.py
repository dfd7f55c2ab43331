"""Beginning and end of a directory that is being made: its place on this machine, and the manifest of what was written.

How its files are written is told in `new_directory`.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from pathlib import Path

from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import ObjectNotFoundError, StorageError, brief
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline.checkpoints import Checkpoints, Noted, is_note, read_note
from datajoint_file.pipeline.directory_upload import DirectoryUpload, check_members
from datajoint_file.pipeline.pipeline import Pipeline, Upload
from datajoint_file.storage.backend import ObjectStat, UnfinishedUpload
from datajoint_file.storage.shared import PARTIAL_PREFIX
from datajoint_file.transfer.directories import Directory, Listing, LocalTree
from datajoint_file.transfer.hashing import HashingReader, drain

_AREA = f"{PARTIAL_PREFIX}new"
"""What the place for a program's files is called on a disk: an upload that is unfinished, for whoever collects."""


class NewTree:
    """What a new directory is called, and that nobody knows yet what is in it: as a value that is to be stored."""

    def __init__(self, name: str) -> None:
        self.original_name = name
        self.listing = Listing(is_open=True)

    def as_tree(self) -> NewTree:
        """Return its members: none."""
        return self

    def value(self, name: str) -> object:
        """Return a member: there is none."""
        raise NotImplementedError(name)


class LocalArea:
    """A directory of this machine for the files of a new one; on a disk within the store, where they need no way."""

    def __init__(self, pipeline: Pipeline, directory: str) -> None:
        self._pipeline = pipeline
        self._upload = UnfinishedUpload(manifest_key(directory).rpartition("/")[0], _AREA, None, None)
        self._elsewhere = ExitStack()
        self.is_made = False

    @cached_property
    def path(self) -> Path:
        """Where it is; it is made when it is first asked for."""
        self.is_made = True
        if not self._pipeline.backend.capabilities.is_mounted:
            area = tempfile.TemporaryDirectory(prefix="datajoint-file-", ignore_cleanup_errors=True)
            return Path(self._elsewhere.enter_context(area))
        made = Path(self._pipeline.local_path(f"{self._upload.key}/{_AREA}"))
        made.mkdir(parents=True)
        return made

    def remove(self) -> None:
        """Remove it, if it was made, with whatever is in it. What cannot be removed is left to the collector."""
        self._elsewhere.close()
        if self.is_made and self._pipeline.backend.capabilities.is_mounted:
            with suppress(StorageError):
                self._pipeline.backend.discard(self._upload)


def finished(pipeline: Pipeline, upload: Upload, area: LocalArea, known: Iterable[Noted]) -> FileMetadata:
    """End a directory: store what is in its local area, learn what else was written, and store the manifest.

    What this process has written is *known*; what others have, they have noted. What nobody vouches for is read back.

    Raises
    ------
    InvalidKeyError
        If a member could not be named, or is both a file and a directory.
    ObjectNotFoundError
        If a member that this process has written is not there.
    """
    directory = upload.key
    listing, digests = Listing(), dict[str, str]()
    if area.is_made:
        local = LocalTree(Directory(area.path), str(area.path))
        check_members(directory[:-1], local.listing)
        sent = DirectoryUpload(pipeline, upload, local, is_resumable=False)
        sent.send_all()
        digests |= {member.name: f"sha256:{member.digest}" for member in sent.members()}
        listing.empty += local.listing.empty
    notes = Checkpoints(pipeline, directory)
    stats: list[ObjectStat] = []
    for stat in pipeline.backend.list(directory[:-1].rpartition("/")[0]):
        if stat.key.startswith(directory):
            stats.append(stat)
        elif is_note(stat.key):
            notes.keys.append(stat.key)
    stats.sort(key=lambda stat: stat.key)
    listing.names += [stat.key[len(directory) :] for stat in stats]
    _require_all({noted.name for noted in known}, listing.names)
    listing.empty = [name for name in listing.empty if not _begins_any(name, listing.names)]
    check_members(directory[:-1], listing)
    vouched = _Vouched(pipeline, known)
    run_all([partial(vouched.read, key) for key in notes.keys], pipeline.workers, Stop())
    found: dict[str, tuple[str, int]] = {}

    def look(name: str, stat: ObjectStat) -> None:
        found[name] = (digests[name], stat.size) if name in digests else vouched.look(name, stat)

    looks = [partial(look, *one) for one in zip(listing.names, stats, strict=True)]
    run_all(looks, pipeline.workers, Stop())
    listing.sizes.extend(found[name][1] for name in listing.names)
    made = DirectoryUpload(pipeline, upload, KnownTree(listing))
    for index, name in enumerate(listing.names):
        made.note(index, *found[name])
    stored = made.finish()
    notes.remove()
    return stored


def _begins_any(directory: str, names: Sequence[str]) -> bool:
    """Tell whether one of the sorted names lies in a directory."""
    index = bisect_left(names, directory)
    return index < len(names) and names[index].startswith(directory)


def _require_all(written: set[str], names: list[str]) -> None:
    if lost := sorted(written.difference(names)):
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ObjectNotFoundError(
            f"its member {brief(decode_path(lost[0]), 200)}{more} was written in the block and is not in the store: "
            "another process has removed it, perhaps to write it again, and died. The directory is not complete, and "
            "there is nothing to insert: write it anew"
        )


class _Vouched:
    """What was noted of members by those who wrote them: of a name perhaps several times, in any order."""

    def __init__(self, pipeline: Pipeline, known: Iterable[Noted]) -> None:
        self._pipeline = pipeline
        self._noted: dict[str, set[Noted]] = {}
        self._add(known)

    def read(self, key: str) -> None:
        """Read a note of a worker. From any thread."""
        self._add(read_note(self._pipeline, key))

    def _add(self, some: Iterable[Noted]) -> None:
        for noted in some:
            self._noted.setdefault(noted.name, set()).add(noted)

    def look(self, name: str, stat: ObjectStat) -> tuple[str, int]:
        """Return hash and size of an object: as noted, if all who speak of the object as it is agree; else as read."""
        some = {noted for noted in self._noted.get(name, ()) if noted.tag and noted.size == stat.size}
        digests = {noted.digest for noted in some if noted.tag == stat.tag}
        if some and not digests:  # most listings tell no tags
            tag = self._pipeline.backend.stat(stat.key).tag
            digests = {noted.digest for noted in some if noted.tag == tag}
        if len(digests) == 1:
            return digests.pop(), stat.size
        with self._pipeline.backend.open(stat.key) as file:
            reader = HashingReader(file, lambda _: None)
            drain(reader)
            return reader.hash, reader.size


class KnownTree:
    """A directory of which all members are in the store already."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def value(self, name: str) -> object:
        """Return a member: none is going to be stored."""
        raise NotImplementedError(name)
