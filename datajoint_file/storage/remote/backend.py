"""Remote backend base: the filesystem of a process, and errors in this package's words.

The verbs differ: see `bucket.backend`, and `remote.filesystem` for directories.
Errors of the many clients are translated in `client_errors`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import (
    BucketNotFoundError,
    DataJointFileError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
)
from datajoint_file.model.object_keys import check_object_key
from datajoint_file.storage.backend import ObjectStat
from datajoint_file.storage.remote.client_errors import presentable, scrubbed, translation
from datajoint_file.storage.remote.forks import keep_from_children
from datajoint_file.storage.shared import DerivedVerbs, entity_tag, moment, refuse_partial

_TIME_FIELDS = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


class RemoteBackend(DerivedVerbs):
    """Objects below one path of an fsspec filesystem.

    *root* stands before every key: the bucket or container, or a directory; *scheme* before that in URLs. *connect*
    makes a fresh filesystem with today's credentials, at the first use in a process and after a refusal: fsspec's do
    not survive a fork.
    """

    table = "storage"
    """That of ``datajoint.toml`` which says where this is."""

    def __init__(self, scheme: str, root: str, connect: Callable[[], Any]) -> None:
        self.scheme = scheme
        self.root = root.rstrip("/")
        self._connect = connect
        self._filesystems: dict[int, Any] = {}

    @staticmethod
    def arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
        """Return what the filesystem is made with."""
        return credentials

    @staticmethod
    def filesystem_class(protocol: str) -> Any:
        """Return fsspec's class for *protocol*."""
        return fsspec.get_filesystem_class(protocol)

    def url(self, key: str) -> str:
        return f"{self.scheme}://{self._path(key)}"

    def _path(self, key: str) -> str:
        return self._below(check_object_key(key))

    def _below(self, key: str) -> str:
        refuse_partial(key)
        return f"{self.root}/{key}" if key else self.root

    def _filesystem(self) -> Any:
        """Return this process's filesystem. No lock: a fork may copy a locked one, and two filesystems do no harm."""
        process = os.getpid()
        filesystem = self._filesystems.get(process)
        if filesystem is None:
            filesystem = self._filesystems.setdefault(process, self._connect())
            keep_from_children(filesystem)
        return filesystem

    def _refuse_existing(self, key: str) -> None:
        if self.exists(key):
            raise ObjectExistsError(f"{key}: there is an object under this key, left as it is").of(key)

    def _require_store(self) -> None:
        """Raise if what holds the objects is itself missing: that is a mistake, a missing object is an answer."""

    @contextmanager
    def _translated(self, key: str, *, writing: bool = False) -> Iterator[None]:
        """Turn errors of fsspec and the clients below it into this package's, about the object *key*."""
        try:
            yield
        except StorageError as error:
            error.key = error.key or key
            raise
        except DataJointFileError:
            raise
        except Exception as error:  # noqa: BLE001 - clients raise what they like, and some of it shows credentials
            raise self._translation(key, error, writing=writing).of(key) from presentable(error)

    def _translation(self, key: str, error: Exception, *, writing: bool) -> StorageError:
        translated = translation(key, error, self.table, writing=writing)
        if isinstance(translated, StorageAccessError):
            self._filesystems.pop(os.getpid(), None)  # credentials may be renewed: the next call reads them again
        if not isinstance(translated, ObjectNotFoundError | BucketNotFoundError):
            return translated
        try:
            self._require_store()
        except StorageError as missing:
            return missing
        except Exception as unknown:  # noqa: BLE001 - whatever hinders the second look is what there is to tell
            return translation(key, unknown, self.table)
        if writing and isinstance(translated, ObjectNotFoundError):
            return StorageError(f"{key}: the store has lost the upload ({scrubbed(error)}); nothing was stored")
        return translated


def require_object(path: str, details: dict[str, Any]) -> dict[str, Any]:
    """Return *details* unless they are of a directory, or of a prefix, which are not objects."""
    if details["type"] != "file":
        raise FileNotFoundError(path)
    return details


def described(key: str, details: dict[str, Any]) -> ObjectStat:
    """Return what fsspec says of an object, in the contract's words."""
    modified = next((details[field] for field in _TIME_FIELDS if details.get(field)), None)
    tag = entity_tag(details.get("ETag") or details.get("etag"))
    return ObjectStat(key, int(details["size"]), moment(modified), tag)
