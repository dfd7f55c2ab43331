"""Mending of one value that has two places: what one of them lacks or has wrong comes, verified, from the other.

Only bytes whose hash was compared take the place of others, and only of such as are proven to be missing or wrong.
Which values there are is the business of whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import (
    DataJointFileError,
    MetadataError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
    VerificationError,
)
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import sidecar_key
from datajoint_file.model.sidecar import Sidecar
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.pipeline.mirroring import MEMBERS_AT_ONCE, copy_object, manifest_metadata, sizes_of
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.sidecars import sidecar_of, write_sidecars
from datajoint_file.transfer.fetch import fetch
from datajoint_file.verification.check_object import Level, Problem, check_object, missing
from datajoint_file.verification.examine import examine

_REPLACED = ("missing", "size", "hash")
"""What is wrong with an object that another may take the place of."""


@dataclass(slots=True)
class Holding:
    """What one place was found to have of a value, as its row says: by size, or all of it read and hashed.

    Parameters
    ----------
    is_whole : bool
        It has all of the value.
    files, size : int
        Files, and how many bytes they have: of a stored directory its members, of a linked one nothing.
    """

    is_whole: bool = False
    files: int = 0
    size: int = 0


@dataclass(slots=True)
class Mended:
    """What became of one value.

    Parameters
    ----------
    copied, restored : int
        Objects that the mirror, or the store, was given, of which a directory has many.
    size : int
        How many bytes they have.
    damaged : int
        Of the problems those that are no place's silence: objects that are missing or wrong.
    problems : list of (str, str)
        Keys of objects that neither place has as the row says, or that could not be looked at, and why.
    is_unreachable : bool
        One of the places did not answer.
    holdings : (Holding, Holding)
        What the store, and the mirror, have in the end. Of a directory not all is looked at, unless by hash.
    """

    copied: int = 0
    restored: int = 0
    size: int = 0
    damaged: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    is_unreachable: bool = False
    holdings: tuple[Holding, Holding] = field(default_factory=lambda: (Holding(), Holding()))

    @property
    def is_fine(self) -> bool:
        """Whether both places have it now."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Sides:
    """The two places of a project, each as if it were alone."""

    first: Pipeline
    second: Pipeline


def mend(sides: Sides, metadata: FileMetadata, *, by_hash: bool, advance: Advance = lambda _: None) -> Mended:
    """Look at a file or directory in both places, and bring what one lacks or has wrong from the other.

    Parameters
    ----------
    sides : Sides
        The store and its mirror.
    metadata : FileMetadata
        What the row says. Of a link nothing is done: it is not stored. With it goes what describes its row beside it.
    by_hash : bool
        Read and hash all that both have, also what has just been copied. Else sizes are compared, and what is copied is
        hashed on its way.
    advance : callable
        Told of bytes that were read, from several threads.

    Returns
    -------
    Mended
        What was done. What is wrong in both places is in its ``problems``, and was left as it is.
    """
    mending = _Mending(sides, by_hash, advance)
    if not metadata.is_link:
        (mending.mend_directory if metadata.is_directory else mending.mend_file)(metadata)
        if not mending.done.problems and (by_hash or sides.first.settings.object_storage.self_describing):
            mending.mend_sidecar(metadata)
    return mending.done


class _Mending:
    """One value, being mended."""

    def __init__(self, sides: Sides, by_hash: bool, advance: Advance) -> None:
        self._sides = sides
        self._level: Level = "content" if by_hash else "size"
        self._advance = advance
        self._lock = Lock()
        self.done = Mended()

    def mend_file(self, metadata: FileMetadata) -> None:
        """Mend a file, or a member of a directory, and count it where it is right."""
        found = self.mend_object(metadata)
        with self._lock:
            for holding, is_right in zip(self.done.holdings, found, strict=True):
                holding.is_whole = is_right
                holding.files += is_right
                holding.size += metadata.size if is_right else 0

    def mend_object(self, metadata: FileMetadata) -> tuple[bool, bool]:
        """Mend one object; tell which places have it then, as far as each was looked at."""
        first, second = self._sides.first, self._sides.second
        theirs = self._glance(second, metadata)
        if theirs is not None and theirs.kind == "missing":
            if self._copies(first, second, metadata):
                return True, True  # its hash was compared with what the first place has on the way
            theirs = self._look(second, metadata, "size")
        ours = self._look(first, metadata, self._level)
        if theirs is None and self._level == "content":
            theirs = self._look(second, metadata, "content")
        if ours is None:
            return True, theirs is None or self._replaces(first, second, metadata, theirs)
        if theirs is None:
            return self._replaces(second, first, metadata, ours), True
        self._note(metadata, f"the store: {_said(ours)}; its mirror: {_said(theirs)}", ours, theirs)
        return False, False

    def _look(self, side: Pipeline, metadata: FileMetadata, level: Level) -> Problem | None:
        return examine(side, metadata, level, self._advance)

    def _glance(self, side: Pipeline, metadata: FileMetadata) -> Problem | None:
        """Compare sizes. That a bucket lacks an object one request tells, once it is known to be the mirror.

        A disk may be away instead.
        """
        if side.backend.capabilities.is_mounted or not side.stores.known.is_mirror:
            return self._look(side, metadata, "size")
        try:
            return check_object(side.backend, metadata, "size", self._advance)
        except ObjectNotFoundError:
            return missing(metadata)
        except StorageError:
            return self._look(side, metadata, "size")

    def _copies(self, source: Pipeline, target: Pipeline, metadata: FileMetadata) -> bool:
        """Copy what is not there, and tell whether it is then; if not, a closer look tells why."""
        try:
            is_read = copy_object(source, target, metadata, self._advance)
        except (StorageError, VerificationError):
            return False
        unread = [target] if is_read else [source, target]
        if self._level == "content" and any(self._look(side, metadata, "content") is not None for side in unread):
            return False
        self._count(target, metadata.size)
        return True

    def _replaces(self, source: Pipeline, target: Pipeline, metadata: FileMetadata, problem: Problem) -> bool:
        """Put what *source* has, once all of it is verified, in the place of what *target* has; tell whether it did."""
        if problem.kind not in _REPLACED:
            self._note(metadata, _said(problem), problem)
            return False
        try:
            if problem.kind != "missing":
                fetch(source.backend, metadata, lambda *_: None, self._advance)
                target.backend.delete(metadata.path)
            copy_object(source, target, metadata, self._advance)
            if self._level == "content":
                fetch(target.backend, metadata, lambda *_: None, self._advance)
        except (StorageError, VerificationError) as error:
            side = "the store" if target is self._sides.first else "its mirror"
            self._note(metadata, f"{side}: {_said(problem)}; the other could not help: {error}", problem, error)
            return False
        self._count(target, metadata.size)
        return True

    def mend_directory(self, metadata: FileMetadata) -> None:
        """Mend a directory: its members, by the manifest that one of the places has; then the manifest."""
        errors = list[DataJointFileError]()
        for side in (self._sides.first, self._sides.second):
            try:
                manifest = manifest_of(side, metadata, is_kept=False)
                break
            except (StorageError, VerificationError, MetadataError) as error:
                errors.append(error)
        else:
            self._note(metadata, f"the manifest; the store: {errors[0]}; its mirror: {errors[1]}", *errors)
            return
        try:
            if not metadata.linked:
                run_all(self._members(metadata, manifest), MEMBERS_AT_ONCE, Stop())
            if self.done.problems:
                return
            of_manifest = manifest_metadata(side, metadata)
        except StorageError as error:
            self._note(metadata, str(error), error)
            return
        for holding, is_right in zip(self.done.holdings, self.mend_object(of_manifest), strict=True):
            holding.is_whole = is_right

    def _members(self, metadata: FileMetadata, manifest: Manifest) -> Iterator[Callable[[], None]]:
        """Give the members to look at: with hashes, all; else those that one listing of each place has not, in size."""
        sizes = [sizes_of(side, metadata, manifest) for side in (self._sides.first, self._sides.second)]
        for number, (ours, theirs) in enumerate(zip(*sizes, strict=True)):
            if (self._level == "content" or not (ours and theirs)) and (member := manifest.member(number)):
                yield partial(self.mend_file, member_metadata(metadata, member))

    def mend_sidecar(self, metadata: FileMetadata) -> None:
        """Bring what describes the row. No hash is known: the later of two that can be believed is right."""
        first, second = self._sides.first, self._sides.second
        try:
            theirs = sidecar_of(second, metadata.path)
            if isinstance(theirs, Sidecar) and self._level != "content":
                return
            found = [(first, sidecar_of(first, metadata.path)), (second, theirs)]
            sound = [one for _, one in found if isinstance(one, Sidecar)]
            right = max(sound, key=lambda one: one.written, default=None)
            for side, one in found:
                if right is not None and one != right:
                    write_sidecars(side, [right])
                    self._count(side, 0)
        except StorageError as error:
            self.done.problems.append((sidecar_key(metadata.path), str(error)))
            self.done.is_unreachable |= isinstance(error, StorageUnavailableError)

    def _count(self, target: Pipeline, size: int) -> None:
        with self._lock:
            self.done.size += size
            if target is self._sides.first:
                self.done.restored += 1
            else:
                self.done.copied += 1

    def _note(self, metadata: FileMetadata, why: str, *causes: Problem | DataJointFileError) -> None:
        with self._lock:
            self.done.problems.append((metadata.path, why))
            self.done.damaged += all(map(_is_damage, causes))
            self.done.is_unreachable |= any(map(_is_unreachable, causes))


def _is_damage(cause: Problem | DataJointFileError) -> bool:
    """Tell whether bytes were looked for, and are missing or wrong."""
    if isinstance(cause, Problem):
        return cause.kind in _REPLACED
    return isinstance(cause, ObjectNotFoundError) or not isinstance(cause, StorageError)


def _is_unreachable(cause: Problem | DataJointFileError) -> bool:
    return cause.is_unreachable if isinstance(cause, Problem) else isinstance(cause, StorageUnavailableError)


def _said(problem: Problem) -> str:
    return f"expected {problem.expected}, found {problem.found}"
