"""Download of a stored directory: brought beside its target, or in it, and verified, then put in its place.

How one file is brought is `Pipeline.download`'s business.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby
from pathlib import Path

from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import DestinationError, DestinationExistsError, printable
from datajoint_file.model.manifest import Manifest, Member, decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_derived_name
from datajoint_file.pipeline.destinations import destination_path
from datajoint_file.pipeline.manifests import manifest_of, member_metadata, part_of
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.disk.drafts import Batch, Draft, move_new
from datajoint_file.storage.disk.walk import mode_in
from datajoint_file.transfer.arriving_directory import ArrivingDirectory, arriving
from datajoint_file.transfer.atomic_write import READ_FILE
from datajoint_file.transfer.existing_directory import (
    DIFFERS,
    ELSEWHERE,
    IS_DIRECTORY,
    ExistingDirectory,
    opened,
)
from datajoint_file.transfer.hashing import HashingReader, drain


def download(
    pipeline: Pipeline,
    metadata: FileMetadata,
    destination: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool | None = None,
    advance: Advance | None = None,
    is_exact: bool = False,
    below: str = "",
    verify: str | None = None,
) -> Path:
    """Write the verified files of a stored directory and return its path. See `DirectoryRef.download`, which is this.

    With *advance*, no progress is shown: it is told how many bytes come. If it *is_exact*, *destination* is the path of
    the new directory, whatever is there. Of a part of it, *below* is its path, as the store has it.
    """
    metadata, manifest = part_of(metadata, manifest_of(pipeline, metadata), below)
    target = Path(destination) if is_exact else _target(destination, metadata.original_name, manifest)
    fill = partial(pipeline.reads.fill, verify=verify)
    arrival = _Arrival(fill, pipeline.workers, metadata, manifest, target, overwrite=overwrite)
    with progress_bar(f"downloading {metadata.original_name}", metadata.size, progress, advance) as told:
        arrival.bring(told)
    return target


def bring(
    pipeline: Pipeline,
    metadata: FileMetadata,
    target: Path,
    below: str = "",
    progress: bool | None = None,
    advance: Advance | None = None,
) -> None:
    """Write the verified files of a stored directory, or a part of it, to a new one, from the store in any case."""
    metadata, manifest = part_of(metadata, manifest_of(pipeline, metadata), below)

    def fill(new: Draft, member: FileMetadata, advance: Advance) -> None:
        pipeline.reads.from_store(member, new.write, advance, new)

    arrival = _Arrival(fill, pipeline.workers, metadata, manifest, target, overwrite=False)
    with progress_bar(f"downloading {metadata.original_name}", metadata.size, progress, advance) as told:
        arrival.bring(told)


def verify(
    pipeline: Pipeline,
    metadata: FileMetadata,
    progress: bool | None = None,
    below: str = "",
    advance: Advance | None = None,
) -> None:
    """Read all members of a stored directory and raise unless they are those recorded; see `DirectoryRef.verify`.

    With *advance*, no progress is shown: it is told how many bytes come.
    """
    metadata, manifest = part_of(metadata, manifest_of(pipeline.first, metadata, is_kept=False), below)

    def look(member: Member, advance: Advance) -> None:
        pipeline.verify(member_metadata(metadata, member), progress=False)
        advance(member.size)

    with progress_bar(f"verifying {metadata.original_name}", metadata.size, progress, advance) as told:
        _for_each(look, manifest, pipeline.workers, told)


def _for_each(
    job: Callable[[Member, Advance], None], members: Iterable[Member], workers: int, advance: Advance
) -> None:
    """Do *job* with each member, so many at a time; it tells how many bytes have come, one call at a time."""
    lock, stop = threading.Lock(), Stop()

    def told(count: int) -> None:
        stop.check()
        with lock:
            advance(count)

    run_all((partial(job, member, told) for member in members), workers, stop)


class _Arrival:
    """A directory on its way to *target*."""

    def __init__(
        self,
        fill: Callable[[Draft, FileMetadata, Advance], object],
        workers: int,
        metadata: FileMetadata,
        manifest: Manifest,
        target: Path,
        *,
        overwrite: bool,
    ) -> None:
        self._fill = fill
        self._workers = workers
        self._metadata = metadata
        self._manifest = manifest
        self._target = target
        self._overwrite = overwrite

    def bring(self, advance: Advance) -> None:
        """Bring what is not there, and put it in its place."""
        with opened(self._target) as there:
            if there is None:
                with self._brought(self._manifest, advance) as new:
                    for empty in self._manifest.empty():
                        new.make(decode_path(empty.rstrip("/")))
                    new.rename(self._target)
                return
            if numbers := self._missing(there, advance):
                with self._brought(self._members(numbers), advance, is_inside=True) as new:
                    self._merge(there, new, self._members(numbers))
            self._make_empty(there)

    @contextmanager
    def _brought(
        self, wanted: Iterable[Member], advance: Advance, *, is_inside: bool = False
    ) -> Iterator[ArrivingDirectory]:
        """Bring members to a new directory, beside the target or in it."""
        with arriving(self._target, is_inside=is_inside) as new:
            with Batch() as arrivals:
                _for_each(partial(self._bring, new, arrivals), wanted, self._workers, advance)
            yield new

    def _members(self, numbers: Iterable[int]) -> Iterator[Member]:
        return filter(None, map(self._manifest.member, numbers))

    def _missing(self, there: ExistingDirectory, advance: Advance) -> array[int]:
        """Return the numbers of members that are not at the target already; refuse if others are in their place."""
        missing = array("Q")
        for directory, members in _by_directory(self._manifest):
            with there.entered(directory) as inside:
                for member, name in members:
                    mode = 0 if inside is None else mode_in(inside, name)
                    if inside is not None and mode and self._is_equal(there, inside, name, member):
                        advance(member.size)
                        continue
                    if mode and (stat.S_ISDIR(mode) or not self._overwrite):
                        raise self._differs(there, member, mode)
                    missing.append(self._manifest.number_of(member.name))
        for empty in self._manifest.empty():
            with there.entered(decode_path(empty.rstrip("/"))):
                pass
        there.refuse_what_datajoint_reads(decode_path(member.name) for member in self._members(missing))
        return missing

    def _is_equal(self, there: ExistingDirectory, directory: int, name: str, member: Member) -> bool:
        """Tell whether a regular file has the bytes of a member; no link is followed."""
        if not stat.S_ISREG(mode_in(directory, name)):
            return False
        try:
            with io.FileIO(os.open(name, READ_FILE, dir_fd=directory)) as file:
                if os.fstat(file.fileno()).st_size != member.size:
                    return False
                reader = HashingReader(file, lambda _: None)
                drain(reader)
                return reader.hash == f"sha256:{member.digest}"
        except OSError as error:
            raise there.error(decode_path(member.name), f"cannot be read: {error.strerror}", DIFFERS) from error

    def _differs(self, there: ExistingDirectory, member: Member, mode: int) -> DestinationError:
        of = printable(self._metadata.original_name)
        differs = f"exists and differs from that of {of} ({member.size} bytes, sha256:{member.digest})"
        what, advice = IS_DIRECTORY if stat.S_ISDIR(mode) else (differs, DIFFERS)
        return there.error(decode_path(member.name), what, advice, DestinationExistsError)

    def _bring(self, new: ArrivingDirectory, arrivals: Batch, member: Member, advance: Advance) -> None:
        with new.file(decode_path(member.name), arrivals.add) as file:
            self._fill(file, member_metadata(self._metadata, member), advance)

    def _merge(self, there: ExistingDirectory, new: ArrivingDirectory, brought: Iterable[Member]) -> None:
        """Move what was brought into the target, file by file: what somebody else has put there meanwhile stays."""
        there.require_same()
        there.is_moving = True
        for directory, members in _by_directory(brought):
            with there.made(directory) as inside, new.within(directory) as origin:
                for member, name in members:
                    self._place(there, origin, inside, name, member)

    def _make_empty(self, there: ExistingDirectory) -> None:
        for empty in self._manifest.empty():
            with there.made(decode_path(empty.rstrip("/"))):
                pass
        there.require_same()

    def _place(self, there: ExistingDirectory, origin: int, inside: int, name: str, member: Member) -> None:
        try:
            if self._overwrite:
                os.replace(name, name, src_dir_fd=origin, dst_dir_fd=inside)
            else:
                move_new(name, name, origin, inside)
        except (FileExistsError, IsADirectoryError) as error:
            if not self._is_equal(there, inside, name, member):
                raise self._differs(there, member, mode_in(inside, name)) from error
        except OSError as error:
            raise there.error(decode_path(member.name), f"cannot be written: {error.strerror}", ELSEWHERE) from error
        else:
            there.placed.append(decode_path(member.name))


def _by_directory(members: Iterable[Member]) -> Iterator[tuple[str, list[tuple[Member, str]]]]:
    """Give directories, and what is in each with its name; one may come again."""
    for directory, some in groupby(members, lambda member: member.name.rpartition("/")[0]):
        inside = [(member, decode_path(member.name.rpartition("/")[2])) for member in some]
        yield decode_path(directory) if directory else "", inside


def _target(destination: str | os.PathLike[str], name: str, manifest: Manifest) -> Path:
    """Return the directory to make: *destination*, or *name* in it if it is there, or is written like a directory.

    A *destination* that has all files is taken for what an earlier call has made.
    """
    path = destination_path(destination)
    if os.fspath(destination).endswith((os.sep, os.altsep or os.sep)) or (
        path.is_dir() and not _has_all(path, manifest)
    ):
        return destination_path(path / check_derived_name(name))
    return path


def _has_all(path: Path, manifest: Manifest) -> bool:
    with suppress(OSError):
        return manifest.files > 0 and all(
            (path / decode_path(member.name)).stat().st_size == member.size for member in manifest
        )
    return False
