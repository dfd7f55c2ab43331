"""Directory walk that reads directories as they are reached and keeps nothing.

On a disk and through fsspec. What is an object and what is unfinished is decided by the backends, `disk.backend` and
`remote.filesystem`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datajoint_file.errors import StorageUnavailableError
from datajoint_file.storage.shared import is_object_key

Wanted = Callable[[str], bool]
"""Says whether a file of that key is to be given."""

_GONE = "{} has vanished while it was listed: is its disk still mounted?"


class DiskWalk:
    """The files below directories of a disk, entry by entry: one directory may have a million.

    Links are not followed. A directory or file that is removed meanwhile is passed over.

    Parameters
    ----------
    root : Path
        A directory that stays: if another one is in its place, or none, what is missing is not missing.
    wanted : callable
        Which keys to give.
    """

    def __init__(self, root: Path, wanted: Wanted) -> None:
        self._root = root
        self._identity = root.stat()
        self._wanted = wanted

    def files(self, directory: str | Path, prefix: str, *, deep: bool = True) -> Iterator[tuple[str, os.stat_result]]:
        """Give key and status of the files below *directory*, which has the key *prefix*; or only of those in it."""
        try:
            entries = os.scandir(directory)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return
        with entries:
            for entry in entries:
                key = f"{prefix}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if deep and is_object_key(key):
                        yield from self.files(entry.path, key)
                elif self._wanted(key) and (status := self._status(entry)):
                    yield key, status

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        try:
            return entry.stat(follow_symlinks=False) if entry.is_file(follow_symlinks=False) else None
        except FileNotFoundError:
            self._require_root()
            return None

    def _require_root(self) -> None:
        try:
            is_same = os.path.samestat(self._root.stat(), self._identity)
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise StorageUnavailableError(_GONE.format(self._root))


class RemoteWalk:
    """The files below directories of a fsspec filesystem, a directory a request.

    Links are not followed. A directory that is removed meanwhile is passed over.

    Parameters
    ----------
    filesystem : fsspec filesystem
        Which one.
    root : str
        A directory that stays: without it, what is missing is not missing.
    wanted : callable
        Which keys to give.
    """

    def __init__(self, filesystem: Any, root: str, wanted: Wanted) -> None:
        self._filesystem = filesystem
        self._root = root
        self._wanted = wanted

    def files(self, directory: str, prefix: str, *, deep: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give key and details of the files below *directory*, which has the key *prefix*; or only of those in it."""
        for details in self._entries(directory):
            name = str(details["name"]).rstrip("/").rpartition("/")[2]
            key = f"{prefix}/{name}".lstrip("/")
            if details["type"] == "directory":
                if deep and not details.get("islink") and is_object_key(f"{key}/any"):
                    yield from self.files(f"{directory}/{name}", key)
            elif details["type"] == "file" and self._wanted(key):
                yield key, details

    def _entries(self, directory: str) -> list[dict[str, Any]]:
        """Return what is in *directory*, without itself, which some filesystems list too."""
        try:
            entries = self._filesystem.ls(directory, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return []
        return [entry for entry in entries if str(entry["name"]).strip("/") != directory.strip("/")]

    def _require_root(self) -> None:
        try:
            self._filesystem.info(self._root)
        except FileNotFoundError as error:
            raise StorageUnavailableError(_GONE.format(self._root)) from error
