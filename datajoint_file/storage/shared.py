"""What every backend does alike: the verbs that follow from the others.

A class to inherit from, where the contract alone would have each backend write them again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.errors import ObjectNotFoundError
from datajoint_file.storage.backend import CHUNK_SIZE, ObjectStat, StorageBackend


class DerivedVerbs(StorageBackend):
    """``exists`` and ``download``, made of ``stat`` and ``open``."""

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except ObjectNotFoundError:
            return False
        return True

    def download(self, key: str, path: str) -> int:
        with self.open(key) as source, Path(path).open("xb") as target:
            shutil.copyfileobj(source, target, CHUNK_SIZE)
            return target.tell()


class DelegatingBackend(DerivedVerbs):
    """A backend that passes every verb to another one; wrappers change one thing each.

    Parameters
    ----------
    inner : StorageBackend
        The backend that does the work.
    """

    def __init__(self, inner: StorageBackend) -> None:
        self.inner = inner

    @property
    def capabilities(self) -> Any:
        return self.inner.capabilities

    def upload(self, key: str, reader: Any, size: int | None = None) -> int:
        return self.inner.upload(key, reader, size)

    def open(self, key: str, **options: Any) -> BinaryIO:
        return self.inner.open(key, **options)

    def stat(self, key: str) -> ObjectStat:
        return self.inner.stat(key)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def list(self, prefix: str = "") -> Any:
        return self.inner.list(prefix)

    def url(self, key: str) -> str:
        return self.inner.url(key)
