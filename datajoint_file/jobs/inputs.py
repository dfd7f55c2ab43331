"""`inputs`: stored files and directories, under given names in a scratch directory, read-only and without a copy.

Where they come from is `pipeline.local_paths`' business: the store itself, if that is a disk, or the cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from datajoint_file.cache.entries import Cache
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import (
    DataJointFileError,
    OutputConflictError,
    ScratchError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
    printable,
    reason_of,
)
from datajoint_file.jobs.scratch import Scratch
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.stored_ref import StoredRef
from datajoint_file.storage.disk.drafts import NO_LINKS
from datajoint_file.storage.disk.kernel_copy import share_blocks

_WORKERS = 8

_ATTEMPTS = 3
"""To find what is in the cache as it was brought."""


@contextmanager
def inputs(files: Mapping[str, Any], *, scratch: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """Lay stored files and directories under given names into a directory, for a block, and yield that directory.

    They are verified, as by `FileRef.cache`, and read-only. Their bytes are shared with the cache by a hard link, or
    with the file system's help (reflink); with a store that is a disk by a symbolic link; they are copied where the
    scratch disk is another one than that of the cache, and where they are linked and this user may write to the
    originals. The working directory is not changed.

    Parameters
    ----------
    files : mapping
        Of names, such as ``"raw.dat"`` or ``"atlas/regions"``, to what a fetch gave.
    scratch : str or os.PathLike, optional
        A directory on the disk to use, as of `capture`.

    Yields
    ------
    Path
        The directory. It is removed at the end.

    Raises
    ------
    UnsupportedValueError
        If a value is no stored file or directory.
    UnsafeNameError
        If a name leads out of the directory.
    OutputConflictError
        If a name lies in another one.
    ScratchError
        If there is no room.
    StorageError, VerificationError, CacheError
        If one cannot be brought here, or is not what was inserted.

    Examples
    --------
    >>> with datajoint_file.inputs({"raw.dat": ref}) as directory:  # doctest: +SKIP
    ...     subprocess.run(["sorter", "raw.dat"], cwd=directory, check=True)
    """
    given = check_names(files)
    home = Scratch.made(scratch)
    try:
        with laid_out(given, home.work):
            yield home.work
    finally:
        home.remove()


def check_names(files: Any) -> dict[str, Any]:
    """Return *files*, or raise unless all names can be laid into one directory, and all values are stored."""
    if not isinstance(files, Mapping):
        raise UnsupportedValueError(f"inputs = {brief(files)}: give the files by names, such as {{'raw.dat': ref}}")
    for name, ref in files.items():
        if not isinstance(ref, StoredRef):
            raise UnsupportedValueError(
                f"{brief(name)}: a value of type {type(ref).__name__} is no stored file or directory; give what a "
                "fetch gave, a FileRef or DirectoryRef"
            )
        parts = str(name).rstrip("/").split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise UnsafeNameError(f"{brief(name)} is no name within a directory: give one such as 'raw.dat'")
    paths = [PurePosixPath(name) for name in files]
    for path in paths:
        if paths.count(path) > 1 or any(path in other.parents for other in paths):
            raise OutputConflictError(f"{printable(str(path))} is an input, and another input would lie there as well")
    return dict(files)


@contextmanager
def laid_out(files: Mapping[str, FileRef | DirectoryRef], directory: Path) -> Iterator[None]:
    """Lay stored files into a directory for a block, several at a time."""
    links: list[_Links] = []
    try:
        run_all([partial(_lay, ref, directory / name, links) for name, ref in files.items()], _WORKERS, Stop())
        yield
    finally:
        for one in links:
            one.remove()


def _lay(ref: FileRef | DirectoryRef, target: Path, links: list[_Links]) -> None:
    with _told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if ref.linked and ref.full_path.startswith("/") and _may_be_written(ref.full_path):
            ref.download(target, progress=False)
            for path in (target, *target.rglob("*")):
                if path.is_file():
                    path.chmod(0o444)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            if _is_laid(ref, target, links, is_last=attempt == _ATTEMPTS):
                return


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Say of what the system says that it is about the scratch directory, and neither about the cache nor a store."""
    try:
        yield
    except DataJointFileError:
        raise
    except OSError as error:
        raise ScratchError(f"{printable(str(target))} cannot be laid out: {reason_of(error)}") from error


def _may_be_written(path: str) -> bool:
    """Tell whether this user may write to a file, or one in a directory: to no original a program is to be led then."""
    members = (os.path.join(place, name) for place, _, names in os.walk(path) for name in names)
    files = filter(os.path.isfile, chain([path], members))
    return any(os.access(file, os.W_OK) and os.stat(file).st_mode & 0o222 for file in files)


def _is_laid(ref: FileRef | DirectoryRef, target: Path, links: list[_Links], *, is_last: bool) -> bool:
    """Lay it out from where it is; tell whether that was done: not if a job has written to it in the cache."""
    path, cache = ref.cache(), ref._pipeline().cache
    with cache.relinked(path) as is_entry, _told(target):
        if is_entry is None and not is_last:
            return False
        made = _Links(cache, path)
        links.append(made)
        if not path.is_dir():
            made.add(path, target, is_entry=is_entry is not False)
            return True
        target.mkdir()
        for place, directories, names in os.walk(path):
            below = target / os.path.relpath(place, path)
            for name in directories:
                (below / name).mkdir()
            for name in names:
                made.add(Path(place, name), below / name, is_entry=is_entry is not False)
    return True


class _Links:
    """Hard links to an entry of the cache, to be removed so that it is known who has done that."""

    def __init__(self, cache: Cache, path: Path) -> None:
        self._cache = cache
        self._path = path
        self._made: list[Path] = []

    def add(self, path: Path, target: Path, *, is_entry: bool) -> None:
        """Let *target* be a file: by shared blocks, a link, or at last a copy."""
        if share_blocks(path, target):
            target.chmod(0o444)
            return
        if not is_entry or path.is_symlink():
            target.symlink_to(os.path.realpath(path))  # the store's own file, which nobody evicts
            return
        try:
            os.link(path, target)
            self._made.append(target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            shutil.copyfile(path, target)
            target.chmod(0o444)

    def remove(self) -> None:
        """Remove the links."""
        if self._made:
            with self._cache.relinked(self._path):
                for link in self._made:
                    with suppress(OSError):  # the job has removed it, perhaps; the others are links still
                        link.unlink()
