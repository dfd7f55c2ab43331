"""Another door to a store: what tests look through to see what a backend really did.

Whoever tests a backend of his own gives the suite a `RawStore` that shares no code with it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from datajoint_file.storage.shared import is_partial


class RawStore(Protocol):
    """Access to objects that bypasses the backend under test: by path, by the vendor's client, by HTTP."""

    def put(self, key: str, content: bytes) -> None:
        """Make an object, or replace one."""
        ...

    def get(self, key: str) -> bytes:
        """Return an object's bytes. `LookupError` or `OSError` if there is none."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether there is an object."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object that is there."""
        ...

    def keys(self, prefix: str) -> Collection[str]:
        """Return the keys of all objects below *prefix*, which is a whole number of components."""
        ...

    def unfinished(self, prefix: str) -> Collection[str]:
        """Return what uploads began below *prefix* and neither finished nor discarded; nothing if nobody can tell."""
        ...


class DirectoryStore:
    """A project's directory on this machine, looked at with `pathlib`.

    Parameters
    ----------
    root : Path
        The directory.
    project : str
        The first part of keys, which stands for it.
    """

    def __init__(self, root: Path, project: str) -> None:
        self.root = root
        self.project = project

    def path(self, key: str) -> Path:
        """Return the file that is the object *key*."""
        return self.root / key.removeprefix(self.project).lstrip("/")

    def put(self, key: str, content: bytes) -> None:
        """Write the object's file, and the directories it needs."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    def get(self, key: str) -> bytes:
        """Return the bytes of the object's file."""
        return self.path(key).read_bytes()

    def exists(self, key: str) -> bool:
        """Tell whether the object's file is there."""
        return self.path(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the object's file."""
        self.path(key).unlink()

    def keys(self, prefix: str) -> set[str]:
        """Return the keys of all complete files below *prefix*."""
        return {key for key in self._files(prefix) if not is_partial(key)}

    def unfinished(self, prefix: str) -> set[str]:
        """Return the names of files that are still being written, or never will be, below *prefix*."""
        return {key for key in self._files(prefix) if is_partial(key)}

    def _files(self, prefix: str) -> set[str]:
        files = (path for path in self.path(prefix).rglob("*") if path.is_file())
        return {f"{self.project}/{file.relative_to(self.root).as_posix()}" for file in files}
