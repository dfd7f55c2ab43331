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

from datajoint_file.errors import ObjectNotFoundError, StorageAccessError, StorageUnavailableError, UnsafePathError
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
from datajoint_file.storage.remote.readahead import check_cache_type
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


class FilesystemBackend(RemoteBackend):
    """Objects as files below a directory.

    The directory, *root*, is made if need be. It stands for *project*, the first part of every key, or holds projects
    side by side if that is empty. Parameters are otherwise those of `RemoteBackend`.

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

    def open(self, key: str, **options: Any) -> BinaryIO:
        check_cache_type(options.get("cache_type"))
        given = {name: value for name, value in options.items() if value}
        path = self._path(key)
        with self._translated(key):
            file = self._opened(path, {"block_size": RANGE_SIZE, "cache_type": "readahead", **given})
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
                yield from self._files(self._below(prefix), prefix, is_object_key)

    def unfinished(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        prefix = check_prefix(prefix) or self._project
        with self._translated(prefix):
            deep = self._look(prefix).get("type") == "directory"
            directory = prefix if deep else prefix.rpartition("/")[0]
            if self._look(directory):
                files = self._files(self._below(directory), directory, is_partial, deep=deep)
                yield from map(unfinished_file, files)

    def above(self, name: str) -> str:
        place = self.root if self._project else f"{self.root}/"
        with suppress(StorageAccessError), self._translated(name):
            while "/" in place:
                place = place.rpartition("/")[0]
                with suppress(FileNotFoundError, NotADirectoryError):
                    if self._filesystem().ls(f"{place}/{name}", detail=True):
                        return f"{self.scheme}://{place}"
        return ""

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

    def _files(
        self, directory: str, prefix: str, wanted: Callable[[str], bool], *, deep: bool = True
    ) -> Iterator[ObjectStat]:
        """Give the files with a wanted key below *directory*, which has the key *prefix*; or only those in it.

        A directory a request. Links are not followed; a directory that is removed meanwhile is passed over.
        """
        for details in self._entries(directory):
            name = str(details["name"]).rstrip("/").rpartition("/")[2]
            key = f"{prefix}/{name}".lstrip("/")
            if details["type"] == "directory":
                if deep and not details.get("islink") and is_object_key(f"{key}/any"):
                    yield from self._files(f"{directory}/{name}", key, wanted)
            elif details["type"] == "file" and wanted(key):
                yield described(key, details)

    def _entries(self, directory: str) -> Iterator[dict[str, Any]]:
        """Give what is in *directory*, without itself, which some filesystems list too."""
        try:
            entries = self._filesystem().ls(directory, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            self._require_root()
            return
        yield from (entry for entry in entries if str(entry["name"]).strip("/") != directory.strip("/"))

    def _require_root(self) -> None:
        """Raise if the directory is missing that stays: without it, what is missing is not missing."""
        try:
            self._filesystem().info(self.root)
        except FileNotFoundError as error:
            message = f"{self.root} has vanished while it was listed: is its disk still mounted?"
            raise StorageUnavailableError(message) from error

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
