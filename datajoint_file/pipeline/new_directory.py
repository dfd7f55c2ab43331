"""fsspec filesystem of a directory that is being made: what is written goes straight into the store.

Nobody sees the directory before its manifest is stored, so that a file may be written again, or removed, until then.
What each file is, the process that writes it records (`written`); who comes too late is told so (`fence`). How a
directory is begun and ended is told in `new_tree`.
"""

from __future__ import annotations

import errno
import io
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.errors import (
    MemberNotFoundError,
    ObjectNotFoundError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
)
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.object_keys import MAX_KEY_BYTES, project_of
from datajoint_file.pipeline.checkpoints import CheckpointLine
from datajoint_file.pipeline.filesystem import ThreadedFileSystem
from datajoint_file.pipeline.lookup import pipeline_named
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.written import Change, Record, WorkerRecord, record_of
from datajoint_file.storage.backend import ContentHeaders, ObjectStat, Reader
from datajoint_file.transfer.hashing import HashingReader

_IN_MEMORY = 16 * 2**20
"""Bytes of a file that is written through `open` which are not put on the disk meanwhile."""

_HEADERS = ContentHeaders(is_contested=True)

_MAGIC = frozenset("*?[")
"""A path with one of them may be a pattern."""


class NewDirectoryFileSystem(ThreadedFileSystem):
    """The files of a directory that is being made, to read and to write; made by `NewDirectory.fs`.

    Parameters
    ----------
    directory : str
        The key of the directory, which no other write has.
    pipeline : str
        The name of the pipeline that stores it.
    """

    protocol = "datajoint-file-new"
    cachable = False

    def __init__(self, directory: str, pipeline: str, **options: Any) -> None:
        super().__init__(directory, pipeline, **options)
        self.directory = directory
        self._name = pipeline

    @property
    def _pipeline(self) -> Pipeline:
        return pipeline_named(self._name, project_of(self.directory))

    def _key(self, path: str) -> str:
        """Return the key of a file that is going to be written."""
        if not self._strip_protocol(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        key = f"{self.directory}{self._encoded(path)}"
        if len(key) > MAX_KEY_BYTES:
            raise OSError(errno.ENAMETOOLONG, "no object key has room for it", path)
        return key

    def _written_key(self, path: str) -> str:
        """Return the key of a file that may have been written."""
        try:
            return self._key(path)
        except IsADirectoryError:
            raise
        except (UnsafeNameError, OSError) as error:  # nothing is called so
            raise self._absent(path) from error

    def _absent(self, path: str) -> MemberNotFoundError:
        return MemberNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _entries(self, path: str) -> Iterator[tuple[str, ObjectStat]]:
        """Give the files at or below a path, and what they are called within the directory."""
        stripped = self._strip_protocol(path)
        prefix = self._written_key(path) if stripped else self.directory[:-1]
        for stat in self._pipeline.backend.list(prefix):
            yield decode_path(stat.key[len(self.directory) :]), stat

    def _described(self, path: str) -> dict[str, Any]:
        name = self._strip_protocol(path)
        with suppress(ObjectNotFoundError):
            if name:
                return _file(name, self._pipeline.backend.stat(self._written_key(path)).size)
        if not name or any(True for _ in self._entries(path)):
            return {"name": name, "size": 0, "type": "directory"}
        raise self._absent(path)

    def _listed(self, path: str) -> list[dict[str, Any]]:
        name, found = self._strip_protocol(path), dict[str, dict[str, Any]]()
        beginning = f"{name}/" if name else ""
        for inner, stat in self._entries(path):
            if inner == name:
                return [_file(name, stat.size)]
            child, slash, _ = inner[len(beginning) :].partition("/")
            directory = {"name": f"{beginning}{child}", "size": 0, "type": "directory"}
            found[child] = directory if slash else _file(inner, stat.size)
        if name and not found:
            raise self._absent(path)
        return [found[child] for child in sorted(found)]

    def _content(self, path: str, start: int | None, end: int | None) -> bytes:
        key = self._written_key(path)
        try:
            size = self._pipeline.backend.stat(key).size
            first, stop, _ = slice(start, end).indices(size)
            return bytes(self._pipeline.backend.read(key, first, stop)) if first < stop else b""
        except ObjectNotFoundError as error:
            raise self._absent(path) from error

    @property
    def _record(self) -> Record | WorkerRecord:
        return record_of(self.directory, self._name)

    def write(self, path: str, reader: Reader, size: int | None = None) -> None:
        """Store a file, in place of one that is there."""
        key, name, record = self._key(path), self._encoded(path), self._record
        backend = self._pipeline.backend
        is_there = record.has(name) or backend.exists(key)
        may_replace = is_there or not backend.capabilities.atomic_create
        with record.changing([name], Change.REPLACE if may_replace else Change.ADD), ExitStack() as held:
            if is_there:
                held.enter_context(self._held(key))
                backend.delete(key)
            hashing = HashingReader(reader, lambda _: None)
            backend.upload(key, hashing, size, _HEADERS)
            record.add(CheckpointLine(name, hashing.hash, hashing.size, hashing.receipt.tag))

    @contextmanager
    def _held(self, key: str) -> Iterator[None]:
        """Keep a file of a disk open while another takes its place: that cannot get its number, nor its tag."""
        with ExitStack() as stack:
            if self._pipeline.backend.capabilities.is_mounted:
                with suppress(ObjectNotFoundError):
                    stack.enter_context(self._pipeline.backend.open(key))
            yield

    def _remove(self, paths: Sequence[str]) -> None:
        """Remove files that are there; of nothing nothing, before the end: zarr would stop at an error, unheard."""
        with self._record.changing([self._encoded(path) for path in paths], Change.REMOVE):
            for path in paths:
                self._pipeline.backend.delete(self._key(path))

    def _remove_file(self, path: str) -> None:
        if self._described(path)["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self._remove([self._strip_protocol(path)])

    def _remove_below(self, path: str, depth: float) -> None:
        """Remove what is at or below a path, so many directories deep."""
        length = len(self._strip_protocol(path))
        self._remove([one for one, _ in self._entries(path) if one[length:].lstrip("/").count("/") < depth])

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **_options: Any) -> None:
        content = bytes(value)
        if mode == "create" and await self._exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        await self._in_thread(self.write, path, io.BytesIO(content), len(content))

    async def _put_file(self, lpath: str | os.PathLike[str], rpath: str, **_options: Any) -> None:
        await self._in_thread(self._put, lpath, rpath)

    def _put(self, source: str | os.PathLike[str], path: str) -> None:
        if not Path(source).is_dir():  # of directories fsspec asks as well
            with Path(source).open("rb") as file:
                self.write(path, file, os.fstat(file.fileno()).st_size)

    async def _get_file(self, rpath: str, lpath: str | os.PathLike[str], **_options: Any) -> None:
        await self._in_thread(self._brought, rpath, lpath)

    def _brought(self, path: str, target: str | os.PathLike[str]) -> None:
        if self._described(path)["type"] == "directory":
            Path(target).mkdir(parents=True, exist_ok=True)
        else:
            Path(target).write_bytes(self._content(path, None, None))

    async def _rm_file(self, path: str, **_options: Any) -> None:
        await self._in_thread(self._remove_file, path)

    async def _rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None, **_options: Any) -> None:
        for given in [path] if isinstance(path, str) else path:
            is_pattern = not _MAGIC.isdisjoint(given) and not await self._exists(given)
            for one in await self._expand_path(given) if is_pattern else [given]:
                if recursive:
                    await self._in_thread(self._remove_below, one, maxdepth or math.inf)
                else:
                    await self._in_thread(self._remove_file, one)

    async def _cp_file(self, path1: str, path2: str, **_options: Any) -> None:
        if (await self._info(path1))["type"] == "file":  # directories come with their files
            await self._pipe_file(path2, await self._cat_file(path1))

    def mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **options: Any) -> None:
        """Move files, as fsspec does; one that is moved to its own place stays."""
        if self._strip_protocol(path1) != self._strip_protocol(path2):
            super().mv(path1, path2, recursive=recursive, maxdepth=maxdepth, **options)

    async def _mkdir(self, path: str, **_options: Any) -> None:
        """Do nothing: directories come with their files."""

    async def _makedirs(self, path: str, **_options: Any) -> None:
        """Do nothing, as above."""

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> BinaryIO:
        if mode in ("rb", "br"):
            return io.BytesIO(self._content(path, None, None))
        if mode not in ("wb", "bw", "xb", "bx", "ab", "ba"):
            raise UnsupportedValueError(f"mode = {brief(mode)}: give 'rb', 'wb', 'xb' or 'ab'")
        is_there = ("x" in mode or "a" in mode) and self.exists(path)
        if is_there and "x" in mode:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._key(path)
        file = _NewFile(self._encoded(path), partial(self.write, path), self._record)
        if is_there:
            file.write(self._content(path, None, None))
        return file  # type: ignore[return-value]


class _NewFile(io.BufferedIOBase):
    """A file that is stored when it is closed; not if the block that wrote it raised, or it was forgotten."""

    def __init__(self, name: str, store: Any, record: Record | WorkerRecord) -> None:
        self.member = decode_path(name)
        self._store = store
        self._record = record
        record.opened(self)
        self._content = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed with this

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._content.write(data)

    def read(self, size: int | None = -1, /) -> bytes:
        return self._content.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._content.seek(offset, whence)
        return self._content.tell()

    def tell(self) -> int:
        return self._content.tell()

    def truncate(self, size: int | None = None, /) -> int:
        self._content.truncate(size)
        return self._content.tell()

    def discard(self) -> None:
        """Close it, and store nothing."""
        self._record.closed(self)
        self._content.close()
        super().close()

    def close(self) -> None:
        if not self.closed:
            size = self._content.seek(0, os.SEEK_END) or self._content.tell()
            self._content.seek(0)
            try:
                self._store(self._content, size)
            finally:
                self.discard()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if not self.closed:
            self._record.lost(self)
            self.discard()


def _file(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "size": size, "type": "file"}
