"""Download of a stored directory: brought beside its target and verified, then put in its place; and its verification.

How one file is brought is `Pipeline.download`'s business.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import DestinationError, DestinationExistsError, brief, printable
from datajoint_file.model.manifest import Manifest, Member, decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_derived_name, is_read_by_datajoint
from datajoint_file.pipeline.manifests import manifest_of, member_metadata, part_of
from datajoint_file.pipeline.pipeline import Pipeline, destination_path
from datajoint_file.storage.disk.drafts import Batch, flush_directory
from datajoint_file.transfer.atomic_write import destination_errors
from datajoint_file.transfer.hashing import hash_file


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
) -> Path:
    """Write the verified files of a stored directory and return its path. See `DirectoryRef.download`, which is this.

    With *advance*, no progress is shown: it is told how many bytes come. If it *is_exact*, *destination* is the path of
    the new directory, whatever is there. Of a part of it, *below* is its path, as the store has it.
    """
    metadata, manifest = part_of(metadata, manifest_of(pipeline, metadata), below)
    target = Path(destination) if is_exact else _target(destination, metadata.original_name, manifest)
    show = progress if advance is None else False
    with progress_bar(f"downloading {metadata.original_name}", metadata.size, show) as shown:
        _Arrival(pipeline, metadata, manifest, target, overwrite=overwrite).bring(advance or shown)
    return target


def verify(pipeline: Pipeline, metadata: FileMetadata, progress: bool | None = None, below: str = "") -> None:
    """Read all members of a stored directory and raise unless they are those recorded; see `DirectoryRef.verify`."""
    metadata, manifest = part_of(metadata, manifest_of(pipeline, metadata, is_kept=False), below)

    def look(member: Member, advance: Advance) -> None:
        pipeline.verify(member_metadata(metadata, member), progress=False)
        advance(member.size)

    with progress_bar(f"verifying {metadata.original_name}", metadata.size, progress) as advance:
        _for_each(look, list(manifest), pipeline.workers, advance)


def _for_each(job: Callable[[Member, Advance], None], members: list[Member], workers: int, advance: Advance) -> None:
    """Do *job* with each member, so many at a time; it tells how many bytes have come, one call at a time."""
    lock, stop = threading.Lock(), Stop()

    def told(count: int) -> None:
        stop.check()
        with lock:
            advance(count)

    run_all([partial(job, member, told) for member in members], workers, stop)


class _Arrival:
    """A directory on its way to *target*."""

    def __init__(
        self, pipeline: Pipeline, metadata: FileMetadata, manifest: Manifest, target: Path, *, overwrite: bool
    ) -> None:
        self._pipeline = pipeline
        self._metadata = metadata
        self._manifest = manifest
        self._target = target
        self._overwrite = overwrite
        self._new = target.with_name(f".datajoint-file-{secrets.token_hex(8)}.partial")

    def bring(self, advance: Advance) -> None:
        """Bring what is not there, and put it in its place."""
        is_there = self._target.is_dir()
        if not is_there and os.path.lexists(self._target):
            raise DestinationExistsError(
                f"{printable(str(self._target))} is no directory; it was left as it is. Give another destination"
            )
        wanted = self._missing(advance) if is_there else list(self._manifest)
        try:
            with destination_errors(self._new):
                self._new.mkdir(parents=True)
            with Batch() as arrivals:
                _for_each(partial(self._bring, arrivals), wanted, self._pipeline.workers, advance)
            for name in self._manifest.empty():
                self._make(self._new / decode_path(name.rstrip("/")))
            if is_there:
                self._merge(wanted)
            else:
                self._name()
        finally:
            shutil.rmtree(self._new, ignore_errors=True)

    def _missing(self, advance: Advance) -> list[Member]:
        """Return the members that are not at the target already; refuse if others are in their place."""
        missing = []
        for member in self._manifest:
            path = self._target / decode_path(member.name)
            self._require_inside(path)
            if not os.path.lexists(path):
                missing.append(member)
            elif self._is_equal(path, member):
                advance(member.size)
            elif self._overwrite and not path.is_dir():
                missing.append(member)
            else:
                raise DestinationExistsError(
                    f"{printable(str(path))} exists and differs from that of {printable(self._metadata.original_name)} "
                    f"({member.size} bytes, sha256:{member.digest}); nothing was changed. Pass overwrite=True to "
                    "replace what differs, or give another destination"
                )
        if unasked := next((one for one in missing if _is_read_by_datajoint(one)), None):
            file, name = brief(decode_path(unasked.name)), printable(self._metadata.original_name)
            raise DestinationExistsError(
                f"DataJoint would read {file} of {name} where it lies, and {printable(str(self._target))} is there "
                "already; nothing was changed. Give the path of a new directory"
            )
        for name in self._manifest.empty():
            self._require_inside(self._target / decode_path(name.rstrip("/")) / "any")
        return missing

    def _require_inside(self, path: Path) -> None:
        """Refuse a path whose directory is not in the target, because of a link that is in it."""
        inside = self._target.resolve() / path.parent.relative_to(self._target)
        if path.parent.resolve() != inside:
            raise DestinationError(
                f"{printable(str(path.parent))} leads out of {printable(str(self._target))} through a symbolic link; "
                "nothing was changed. Give another destination"
            )

    def _is_equal(self, path: Path, member: Member) -> bool:
        with destination_errors(path):
            is_file = path.is_file() and not path.is_symlink()
            return is_file and path.stat().st_size == member.size and hash_file(path) == f"sha256:{member.digest}"

    def _bring(self, arrivals: Batch, member: Member, advance: Advance) -> None:
        metadata, path = member_metadata(self._metadata, member), self._new / decode_path(member.name)
        self._pipeline.download(metadata, path, progress=False, advance=advance, finish=arrivals.add)

    def _make(self, directory: Path) -> None:
        with destination_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)

    def _name(self) -> None:
        """Give the new directory the name of the target, unless somebody else has made one meanwhile."""
        with destination_errors(self._target):
            self._new.rename(self._target)
            with suppress(OSError):
                flush_directory(str(self._target.parent))

    def _merge(self, brought: list[Member]) -> None:
        """Move what was brought into the target, file by file."""
        for name in self._manifest.empty():
            self._make(self._target / decode_path(name.rstrip("/")))
        for member in brought:
            path = decode_path(member.name)
            self._make((self._target / path).parent)
            with destination_errors(self._target / path):
                (self._new / path).replace(self._target / path)


def _is_read_by_datajoint(member: Member) -> bool:
    return any(map(is_read_by_datajoint, decode_path(member.name).split("/")))


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
