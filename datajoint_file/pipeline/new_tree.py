"""Beginning and end of a directory that is being made: its place on this machine, and the manifest of what was written.

How its files are written is told in `new_directory`.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import (
    DataJointFileError,
    HashMismatchError,
    ObjectNotFoundError,
    SourceNotRegularError,
    brief,
    printable,
)
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline.checkpoints import (
    REMOVED,
    CheckpointLine,
    Checkpoints,
    is_checkpoint,
    order_of,
    proven,
    read_checkpoint,
)
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.fence import Fence
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.upload import Upload, check_members
from datajoint_file.pipeline.written import Record
from datajoint_file.storage.backend import ObjectStat, UnfinishedUpload
from datajoint_file.storage.disk.removal import remove_tree
from datajoint_file.storage.shared import PARTIAL_PREFIX
from datajoint_file.transfer.directories import Directory, Listing, LocalTree

logger = logging.getLogger(__name__)

_AREA = f"{PARTIAL_PREFIX}new"
"""What the place for a program's files is called on a disk: an upload that is unfinished, for whoever collects."""


class NewTree:
    """What a new directory is called, and that nobody knows yet what is in it: as a value that is to be stored."""

    def __init__(self, name: str, title: str | None = None) -> None:
        self.original_name = name
        self.title = title
        self.listing = Listing(is_open=True)

    def as_tree(self) -> NewTree:
        """Return its members: none."""
        return self

    def value(self, name: str) -> object:
        """Return a member: there is none."""
        raise NotImplementedError(name)


class LocalArea:
    """A directory of this machine for the files of a new one; on a disk within the store, where they need no way.

    It is known by its name: a child made by fork has the same one. Who has begun it removes it.
    """

    def __init__(self, pipeline: Pipeline, directory: str) -> None:
        self._pipeline = pipeline
        self._directory = directory
        self._process = os.getpid()
        self._is_made = self._is_kept = False
        self._is_mounted = pipeline.backend.capabilities.is_mounted
        self._upload = UnfinishedUpload(manifest_key(directory).rpartition("/")[0], _AREA, None, None)
        if self._is_mounted:
            self._top = pipeline.stores.local_path(pipeline.project)
            self._path = Path(pipeline.stores.local_path(f"{self._upload.key}/{_AREA}"))
        else:
            self._top = tempfile.gettempdir()
            self._path = Path(self._top, f"datajoint-file-{secrets.token_hex(8)}")

    @property
    def path(self) -> Path:
        """Where it is; it is made when it is first asked for."""
        if not self._is_made:
            if os.getpid() != self._process:  # nobody would store what comes too late, nor remove it
                Fence(self._pipeline, self._directory).require_open()
            self._path.mkdir(0o777 if self._is_mounted else 0o700, parents=True, exist_ok=True)
            self._is_made = True
        return self._path

    def tree(self) -> LocalTree | None:
        """Return what is in it; None if nobody has asked for it.

        Raises
        ------
        SourceNotRegularError
            If a link is in its place. If one is put there later, or in the place of a directory that it is in, its
            listing raises `SourceChangedError`.
        """
        if not (self._is_made or os.path.lexists(self._path)):
            return None
        if self._path.is_symlink():
            raise SourceNotRegularError(
                f"{printable(str(self._path))} is a symbolic link now: what it leads to is not what was written into "
                "the directory; nothing was stored. Write into new.path, and leave it where it is"
            )
        return LocalTree(Directory(self._path), str(self._path), self._top)

    @contextmanager
    def kept(self, name: str) -> Iterator[None]:
        """Keep it if what is done with it fails, and say where it is: it may be the work of hours."""
        try:
            yield
        except BaseException as error:
            self._is_kept = self._has_content()
            if not self._is_kept:
                raise
            until = " until the collector removes it" if self._is_mounted else ""
            kept = (
                f"nothing can be inserted, but what was written into new.path is kept in {printable(str(self._path))}"
                f"{until} (to try again, insert datajoint_file.Directory(path, name={name!r}); or shutil.copytree it)"
            )
            if isinstance(error, DataJointFileError):
                raise error.within(kept) from error
            logger.warning("%s", kept)
            raise

    def _has_content(self) -> bool:
        if self._path.is_symlink() or not self._path.is_dir():
            return False
        with suppress(PermissionError), os.scandir(self._path) as entries:
            return any(True for _ in entries)
        return True

    def remove(self) -> None:
        """Remove it, with whatever is in it, unless it is kept. What cannot be removed is left to the collector."""
        self._is_made = True  # or who asks where it was would make it
        if self._is_kept or os.getpid() != self._process or not os.path.lexists(self._path):
            return
        with suppress(OSError):
            if self._path.is_symlink():
                self._path.unlink()
            elif self._is_mounted:
                self._pipeline.backend.discard(self._upload)
            else:
                parent = os.open(self._path.parent, os.O_RDONLY)
                try:
                    remove_tree(parent, self._path.name)
                finally:
                    os.close(parent)


def finished(pipeline: Pipeline, upload: Upload, area: LocalArea, record: Record) -> FileMetadata:
    """End a directory: store what is in its local area, learn what else was written, and store the manifest.

    What this process has written is in its *record*; what others have, in checkpoints. What nobody vouches for is read
    back, twice. What others have stored is flushed, on a disk: they may have been killed before they had done so.

    Raises
    ------
    HashMismatchError
        If what is read back is not the same each time.
    InvalidKeyError
        If a member could not be named, or is both a file and a directory.
    ObjectNotFoundError
        If a member has gone that nobody has removed on purpose.
    WorkerError
        If somebody who was replacing or removing a member has not finished.
    """
    directory = upload.key
    listing, digests = Listing(), dict[str, str]()
    local = area.tree()
    if local is not None:
        check_members(directory[:-1], local.listing)
    Fence(pipeline, directory).end()
    if local is not None:
        sent = DirectoryUpload(pipeline, upload, local, is_resumable=False)
        sent.send_all()
        digests |= {member.name: f"sha256:{member.digest}" for member in sent.members()}
        listing.empty += local.listing.empty
    checkpoints = Checkpoints(pipeline, directory)
    stats = _listed(pipeline, directory, checkpoints)
    listing.names += [stat.key[len(directory) :] for stat in stats]
    listing.empty = [name for name in listing.empty if not _begins_any(name, listing.names)]
    check_members(directory[:-1], listing)
    vouched = _Vouched(pipeline, list(record.members.values()))
    run_all([partial(vouched.read, key) for key in checkpoints.keys], pipeline.workers, Stop())
    written = vouched.names - vouched.removed() - record.removed
    _require_all(directory, {*digests, *record.begun, *written}, listing.names)
    found: dict[str, tuple[str, int]] = {}

    def look(name: str, stat: ObjectStat) -> None:
        found[name] = (digests[name], stat.size) if name in digests else vouched.look(name, stat)

    looks = [partial(look, *one) for one in zip(listing.names, stats, strict=True)]
    run_all(looks, pipeline.workers, Stop())
    if not all(name in digests or record.is_own(name, stat) for name, stat in zip(listing.names, stats, strict=True)):
        pipeline.backend.settle(directory)
    listing.sizes.extend(found[name][1] for name in listing.names)
    made = DirectoryUpload(pipeline, upload, KnownTree(listing))
    for index, name in enumerate(listing.names):
        made.mark_stored(index, *found[name])
    stored = made.finish()
    checkpoints.remove()
    return stored


def _listed(pipeline: Pipeline, directory: str, checkpoints: Checkpoints) -> list[ObjectStat]:
    """Return the members in the order of their names, and add those checkpoints that are there."""
    stats: list[ObjectStat] = []
    for stat in pipeline.backend.list(directory[:-1].rpartition("/")[0]):
        if stat.key.startswith(directory):
            stats.append(stat)
        elif is_checkpoint(stat.key):
            checkpoints.keys.append(stat.key)
    return sorted(stats, key=lambda stat: stat.key)


def _require_all(directory: str, expected: set[str], names: Iterable[str]) -> None:
    """Raise if a member that somebody has stored is not there: without it, the directory is another one."""
    missing = expected.difference(names)
    if missing:
        first, more = min(missing), f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ObjectNotFoundError(
            f"its member {brief(decode_path(first), 200)}{more} was written, and is not in the store any more: it was "
            "being written again, which failed, or somebody has removed it by other means than new.fs. The directory "
            "is not complete, and there is nothing to insert"
        ).of(f"{directory}{first}")


def _begins_any(directory: str, names: Sequence[str]) -> bool:
    """Tell whether one of the sorted names lies in a directory."""
    index = bisect_left(names, directory)
    return index < len(names) and names[index].startswith(directory)


class _Vouched:
    """What those who wrote members say of them: of a name perhaps several times, in any order."""

    def __init__(self, pipeline: Pipeline, known: Iterable[CheckpointLine]) -> None:
        self._pipeline = pipeline
        self._lines: dict[str, set[CheckpointLine]] = {}
        self._by_writer: dict[str, list[tuple[str, list[CheckpointLine]]]] = {}
        self._add(known)

    @property
    def names(self) -> set[str]:
        """Members that have been there."""
        return set(self._lines)

    def removed(self) -> set[str]:
        """Return the members of which the last that one of their writers has said is that he has removed them."""
        names: set[str] = set()
        for said in self._by_writer.values():
            if any(line.digest == REMOVED for _, lines in said for line in lines):
                last = {line.name: line.digest for _, lines in sorted(said) for line in lines}
                names.update(name for name, digest in last.items() if digest == REMOVED)
        return names

    def read(self, key: str) -> None:
        """Read a checkpoint of a worker. From any thread."""
        (writer, number), lines = order_of(key), list(read_checkpoint(self._pipeline, key))
        self._by_writer.setdefault(writer, []).append((number, lines))
        self._add(lines)

    def _add(self, some: Iterable[CheckpointLine]) -> None:
        for line in some:
            if line.digest != REMOVED:
                self._lines.setdefault(line.name, set()).add(line)

    def look(self, name: str, stat: ObjectStat) -> tuple[str, int]:
        """Return hash and size of an object. What nobody has said is read twice: nothing else would show an error."""
        lines = self._lines.get(name, ())
        hash_, size = proven(self._pipeline, stat, lines, lambda _: None)
        is_said = any(line.digest == hash_ for line in lines)
        if size != stat.size or not (is_said or proven(self._pipeline, stat, lines, lambda _: None) == (hash_, size)):
            raise HashMismatchError(
                f"its member {brief(decode_path(name), 200)} is not the same each time it is read, or has not the "
                f"{stat.size} bytes that the store says: it is written by other means still, or changed on its way "
                "from the store. There is nothing to insert"
            )
        return hash_, size


class KnownTree:
    """A directory of which all members are in the store already."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing

    def value(self, name: str) -> object:
        """Return a member: none is going to be stored."""
        raise NotImplementedError(name)
