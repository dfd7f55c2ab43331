"""Remote file system backend: sftp, smb, webhdfs, memory, or any other fsspec filesystem.

Such filesystems show a file as soon as its first byte is written. So it is written under another name, and moved to
its own when it is complete.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, BinaryIO, cast

from fsspec import AbstractFileSystem

from datajoint_file.errors import ObjectNotFoundError, UnsafePathError
from datajoint_file.storage.backend import (
    CHUNK_SIZE,
    NO_HEADERS,
    Capabilities,
    ContentHeaders,
    ObjectStat,
    Reader,
    UnfinishedUpload,
)
from datajoint_file.storage.remote.backend import RemoteBackend, described, require_object
from datajoint_file.storage.shared import (
    PARTIAL_PREFIX,
    ForwardedFile,
    check_partial,
    check_prefix,
    is_object_key,
    is_partial,
    unfinished_file,
)
from datajoint_file.storage.tuning import RANGE_SIZE
from datajoint_file.storage.walking import RemoteWalk, Wanted


class FilesystemBackend(RemoteBackend):
    """Objects as files below a directory.

    Parameters
    ----------
    scheme : str
        Begins URLs.
    root : str
        The directory. It is made if need be.
    connect : callable
        Makes a fresh filesystem with today's credentials; called at the first use in a process, and after a refusal.
    project : str
        The first part of every key, where *root* stands for it; empty if *root* holds projects side by side.

    Notes
    -----
    Nothing is replaced, but two writers that race for one key are not told apart. Directories stay when their last
    object goes: what removing one means differs too much between filesystems.
    """

    def __init__(self, scheme: str, root: str, connect: Callable[[], Any], *, project: str = "") -> None:
        super().__init__(scheme, root, connect)
        self._project = project

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(self.scheme, atomic_create=False, lists_unfinished=True)

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        path = self._path(key)
        directory = path.rsplit("/", 1)[0]
        partial = f"{directory}/{PARTIAL_PREFIX}{secrets.token_hex(8)}"
        with self._translated(key, writing=True):
            self._refuse_existing(key)
            self._filesystem().makedirs(directory, exist_ok=True)
        try:
            written = self._write(key, partial, reader)
            with self._translated(key, writing=True):
                self._refuse_existing(key)
                _move(self._filesystem(), partial, path)
        except BaseException:
            with suppress(Exception):  # the first error is the one to report
                self._filesystem().rm_file(partial)
            raise
        return written

    def open(
        self,
        key: str,
        *,
        block_size: int | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
    ) -> BinaryIO:
        options = {
            "block_size": block_size or RANGE_SIZE,
            "cache_type": cache_type or "readahead",
            "cache_options": cache_options,
        }
        path = self._path(key)
        with self._translated(key):
            file = self._opened(path, options)
        return cast("BinaryIO", io.BufferedReader(_RemoteFile(file, lambda: self._translated(key))))

    def _opened(self, path: str, options: dict[str, Any]) -> Any:
        """Open *path*, refusing prefixes, which some filesystems open as empty files."""
        file = self._filesystem().open(path, "rb", **options)
        details = getattr(file, "details", None)
        if isinstance(details, dict):
            require_object(path, details)
        # `memory` hands out the one file it keeps: readers would move each other's position, and could write.
        return io.BytesIO(file.getvalue()) if isinstance(file, io.BytesIO) else file

    def stat(self, key: str) -> ObjectStat:
        path = self._path(key)
        with self._translated(key):
            return described(key, require_object(path, self._filesystem().info(path)))

    def delete(self, key: str) -> None:
        with suppress(ObjectNotFoundError):
            self.stat(key)  # some filesystems would remove a directory of that name
            with self._translated(key):
                self._filesystem().rm_file(self._path(key))

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        prefix = check_prefix(prefix) or self._project
        with self._translated(prefix):
            details = self._look(prefix)
            if details.get("type") == "file":
                yield described(prefix, details)
            elif details:
                for key, found in self._walk(is_object_key).files(self._below(prefix), prefix):
                    yield described(key, found)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        prefix = check_prefix(prefix) or self._project
        with self._translated(prefix):
            deep = self._look(prefix).get("type") == "directory"
            directory = prefix if deep else prefix.rpartition("/")[0]
            if self._look(directory):
                for key, found in self._walk(is_partial).files(self._below(directory), directory, deep=deep):
                    yield unfinished_file(described(key, found))

    def discard(self, upload: UnfinishedUpload) -> None:
        key = check_partial(upload)
        path = f"{self._below(upload.key)}/{upload.id}"
        with suppress(ObjectNotFoundError), self._translated(key):
            require_object(path, self._filesystem().info(path))
            self._filesystem().rm_file(path)

    def _look(self, key: str) -> dict[str, Any]:
        """Return what fsspec says of a key or prefix; nothing if there is nothing."""
        try:
            return cast("dict[str, Any]", self._filesystem().info(self._below(key)))
        except (FileNotFoundError, NotADirectoryError):
            return {}

    def _walk(self, wanted: Wanted) -> RemoteWalk:
        return RemoteWalk(self._filesystem(), self.root, wanted)

    def _write(self, key: str, path: str, reader: Reader) -> int:
        written = 0
        with self._translated(key, writing=True):
            file = self._filesystem().open(path, "wb")
        try:
            while chunk := reader.read(CHUNK_SIZE):
                with self._translated(key, writing=True):
                    file.write(chunk)
                written += len(chunk)
        except BaseException:
            with suppress(Exception):
                file.close()
            raise
        with self._translated(key, writing=True):
            file.close()
        return written

    def _below(self, key: str) -> str:
        if not self._project:
            return super()._below(key)
        project, _, rest = key.partition("/")
        if project not in ("", self._project):
            raise UnsafePathError(f"path = {key!r} is not of the project {self._project!r}")
        return super()._below(rest)


class _RemoteFile(ForwardedFile):
    """An object that fsspec has opened, with errors translated."""

    def __init__(self, file: Any, translated: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(file)
        self._translated = translated

    def _read(self, size: int) -> bytes:
        with self._translated():
            return super()._read(size)


def _move(filesystem: Any, source: str, target: str) -> None:
    """Give a file another name, both taken literally: fsspec's own ``mv`` expands what looks like a glob."""
    if type(filesystem).mv is not AbstractFileSystem.mv:
        filesystem.mv(source, target)
    else:
        filesystem.cp_file(source, target)
        filesystem.rm_file(source)
