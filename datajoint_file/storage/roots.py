"""Read-only backends of roots: files that stay where they are, under the names that somebody else has given them.

A key is the root's name and the path below it, percent-encoded. Nothing is ever written, moved or removed here: no verb
that would is reachable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datajoint_file.config.loader import OVERRIDE_PREFIX
from datajoint_file.errors import (
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageMissingError,
    StorageUnavailableError,
    UnsafeNameError,
    UnsafePathError,
)
from datajoint_file.model.manifest import decode_path, encode_path
from datajoint_file.model.object_keys import check_link
from datajoint_file.model.wording import RIGHT_PLACE
from datajoint_file.storage.backend import ObjectStat, StorageBackend
from datajoint_file.storage.bucket.backend import BucketBackend
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.disk.posix import changed_at
from datajoint_file.storage.remote.backend import RemoteBackend, described
from datajoint_file.storage.remote.filesystem import FilesystemBackend
from datajoint_file.storage.shared import moment


def _names(root: str, key: str) -> str:
    """Return the path of a file below the root *root*, as it is called there."""
    name, _, path = check_link(key.removesuffix("/")).partition("/")
    if name != root:
        raise UnsafePathError(f"path = {key!r} is not that of a file below the root {root!r}")
    return decode_path(path)


def _encoded(below: str) -> str:
    """Return the key's part of a path below a root; of what no row could name, what `check_link` refuses."""
    try:
        return encode_path(below)
    except UnsafeNameError:
        return f"~{quote(below, safe='', errors='replace')}"


class LocalRoot(LocalBackend):
    """Files below a directory of this machine. No symbolic link on the way to one is followed."""

    def __init__(self, root: Path, name: str, variable: str) -> None:
        super().__init__(root, name)
        self._variable = variable

    def _path(self, key: str) -> str:
        return f"{self._root}/{_names(self.project, key)}"

    def stat(self, key: str) -> ObjectStat:
        """Describe a file. It counts as modified when it got its bytes here, even if its time was set back since."""
        with self._no_link(key):
            found = super().stat(key)
        times = filter(None, (found.modified, moment(changed_at(found.tag))))
        return replace(found, modified=max(times, default=None))

    def _opened_file(self, key: str, path: str) -> tuple[int, int]:
        with self._no_link(key):
            return super()._opened_file(key, path)

    @contextmanager
    def _no_link(self, key: str) -> Iterator[None]:
        """Say so, if what is there is a symbolic link."""
        try:
            yield
        except ObjectNotFoundError as error:
            if Path(self._path(key)).is_symlink():
                raise UnsafePathError(f"path = {key!r} leaves its root through a symbolic link") from error
            raise

    def url(self, key: str) -> str:
        """Return the address of a file or directory."""
        return Path(self._path(key)).absolute().as_uri()

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Give the files of a directory of the root, or of all of it; what in it may not be entered is passed over."""
        top = self._path(prefix) if "/" in prefix else self._root
        self._require_root()
        if not os.access(top, os.R_OK | os.X_OK) and os.path.lexists(top):
            raise StorageAccessError(f"{top} may not be listed by this user").of(prefix)
        for place, _, names in os.walk(top):
            for path in (f"{place}/{name}" for name in names):
                with suppress(StorageError, UnsafePathError):
                    yield self.stat(f"{self.project}/{_encoded(path[len(self._root) + 1 :])}")

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise StorageMissingError(
                f"the root {self.project!r} is not on this machine: there is no directory {self.root}. Mount its disk, "
                f"or set {self._variable} to where it is here; what rows say of the file can be read without it"
            )


class _RemoteNames(RemoteBackend):
    """Names of a remote root."""

    _name: str

    def _path(self, key: str) -> str:
        return f"{self.root}/{_names(self._name, key)}"


class FilesystemRoot(_RemoteNames, FilesystemBackend):
    """Files below a directory of any fsspec filesystem."""

    def _path(self, key: str) -> str:
        """Return the path of a file; in a URL it is quoted, of which ``?`` and ``%2e%2e`` would make another one."""
        if "://" not in self.root:
            return super()._path(key)
        return f"{self.root}/{quote(_names(self._name, key))}"

    def url(self, key: str) -> str:
        """Return the address of a file."""
        return self._path(key) if "://" in self.root else super().url(key)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Give the files of a directory of the root, or of all of it."""
        path = self._path(prefix) if "/" in prefix else self.root
        with self._translated(prefix):
            yield from self._walk(path)

    def _walk(self, directory: str) -> Iterator[ObjectStat]:
        for details in self._entries(directory):
            path = f"{directory}/{str(details['name']).rstrip('/').rpartition('/')[2]}"
            if details["type"] == "directory" and not details.get("islink"):
                yield from self._walk(path)
            elif details["type"] == "file":
                yield described(f"{self._name}/{_encoded(path[len(self.root) + 1 :])}", details)


class BucketRoot(_RemoteNames, BucketBackend):
    """Objects of a bucket, or of a prefix of it. The kind of bucket is mixed in by `root_of`."""

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Give the objects below a part of the root, or of all of it."""
        below = f"{_names(self._name, prefix)}/" if "/" in prefix else ""
        for found in self._entries(self._object_page, prefix, below):
            if not found.key.endswith("/"):  # which stands for a directory, as some programs make them
                yield replace(found, key=f"{self._name}/{_encoded(found.key)}")


def root_of(kind: type[RemoteBackend], name: str, table: str) -> Callable[..., Any]:
    """Return what makes the backend of a root called *name* that is a store of this *kind*, as a *table* says."""
    base = BucketRoot if issubclass(kind, BucketBackend) else FilesystemRoot
    made: Any = type(
        f"{kind.__name__}Root", (base,) if base is FilesystemRoot else (base, kind), {"_name": name, "table": table}
    )
    return partial(made)


def require_anything(backend: StorageBackend, link: str) -> None:
    """Raise `StorageUnavailableError` if a root has nothing at all: then what is missing there is not missing."""
    name = link.partition("/")[0]
    if next(backend.list(), None) is None:
        raise StorageUnavailableError(
            f"the root {name!r} has no file at all, and {backend.url(link.rstrip('/'))} is wanted: {RIGHT_PLACE}"
        )


def root_variable(table: str, name: str = "") -> str:
    """Return the environment variable that says where a root is on this machine."""
    return "__".join(filter(None, (f"{OVERRIDE_PREFIX}{table.upper()}", name.upper(), "PATH")))
