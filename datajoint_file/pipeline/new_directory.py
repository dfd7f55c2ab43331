"""fsspec filesystem of a directory that is being made: what is written goes straight into the store.

Nobody sees the directory before its manifest is stored, so that a file may be written again, or removed, until then.
What each file is, the process that writes it records (`written`); who comes too late is told so (`fence`). How a
directory is begun and ended is told in `new_tree`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from datajoint_file.errors import (
    MemberNotFoundError,
    ObjectNotFoundError,
    UnsafeNameError,
    UnsupportedValueError,
    VerificationError,
    brief,
)
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.object_keys import MAX_KEY_BYTES, project_of
from datajoint_file.pipeline.checkpoints import CheckpointLine, proven, vouched
from datajoint_file.pipeline.filesystem import ThreadedFileSystem
from datajoint_file.pipeline.lookup import pipeline_named
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.written import Change, Record, WorkerRecord, record_of
from datajoint_file.storage.backend import ContentHeaders, ObjectStat, Reader
from datajoint_file.transfer.hashing import HashingReader, VerifyingReader, copy, require_hash, require_size

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
        stat = self._stat(path)
        first, stop, _ = slice(start, end).indices(stat.size)
        content = bytes(self._pipeline.backend.read(stat.key, first, stop)) if first < stop else b""
        try:
            with _named(path):
                require_size(max(0, stop - first), len(content))
                hash_ = vouched(stat.size, stat.tag, self._record.lines(self._encoded(path)))
                if hash_ and len(content) == stat.size:
                    require_hash(hash_, hashlib.sha256(content).hexdigest())
        except VerificationError:
            if self._stat(path).tag == stat.tag:
                raise
            return self._content(path, start, end)  # it has been written again meanwhile
        return content

    def _copied(self, path: str) -> BinaryIO:
        """Return all of a file, in memory or on the disk, verified as `_content` is."""
        stat, digest, size = self._stat(path), hashlib.sha256(), 0
        file: BinaryIO = io.BytesIO() if stat.size <= _IN_MEMORY else tempfile.TemporaryFile()  # noqa: SIM115
        try:
            with _named(path):
                with closing(self._pipeline.backend.iter_range(stat.key, 0, stat.size)) as chunks:
                    for chunk in chunks:
                        digest.update(chunk)
                        size += file.write(chunk)
                require_size(stat.size, size)
                if hash_ := vouched(stat.size, stat.tag, self._record.lines(self._encoded(path))):
                    require_hash(hash_, digest.hexdigest())
        except BaseException as error:
            file.close()
            if isinstance(error, VerificationError) and self._stat(path).tag != stat.tag:
                return self._copied(path)  # it has been written again meanwhile
            raise
        file.seek(0)
        return file

    def _stat(self, path: str) -> ObjectStat:
        try:
            return self._pipeline.backend.stat(self._written_key(path))
        except ObjectNotFoundError as error:
            raise self._absent(path) from error

    @contextmanager
    def _reader(self, path: str) -> Iterator[tuple[VerifyingReader, int]]:
        """Open a file that is going to be written again: what is not known to be what was written is read twice."""
        stat, lines = self._stat(path), self._record.lines(self._encoded(path))
        hash_, _ = proven(self._pipeline, stat, lines, lambda _: None)
        with _named(path), self._pipeline.backend.open(stat.key) as file:
            yield VerifyingReader(file, stat.size, hash_, lambda _: None), stat.size

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
                record.begin(name)
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
            with self._copied(path) as file, Path(target).open("wb") as new:
                copy(file, new.write)

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

    async def _cp_file(self, path1: str, path2: str, pairs: list[_Pair] | None = None, **_options: Any) -> None:
        """Copy a file, or only say which one where to; directories come with their files."""
        pair = _Pair(self._strip_protocol(path1), self._strip_protocol(path2))
        is_file = (await self._info(path1))["type"] == "file"
        if pairs is not None:
            pairs.append(pair._replace(is_file=is_file))
        elif is_file and pair.source != pair.target:
            await self._in_thread(self._copy_file, *pair[:2])

    def _copy_file(self, source: str, target: str) -> None:
        with self._reader(source) as (reader, size):
            self.write(target, reader, size)

    def mv(self, path1: str, path2: str, recursive: bool = False, maxdepth: int | None = None, **_options: Any) -> None:
        """Move files, as fsspec does; one that is moved to its own place stays.

        A directory cannot be moved into itself, nor a file to where another one is moved from.
        """
        pairs: list[_Pair] = []
        self.copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise", pairs=pairs)
        if not pairs:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path1)
        moved = [pair for pair in pairs if pair.source != pair.target]
        files = {pair.source: pair.target for pair in moved if pair.is_file}
        if any(pair.is_within for pair in moved) or not files.keys().isdisjoint(files.values()):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path1, None, path2)
        self.copy([*files], [*files.values()], on_error="raise")
        self._remove([*files])

    async def _mkdir(self, path: str, **_options: Any) -> None:
        """Do nothing: directories come with their files."""

    async def _makedirs(self, path: str, **_options: Any) -> None:
        """Do nothing, as above."""

    def open(self, path: str, mode: str = "rb", *given: Any, **options: Any) -> Any:
        """Open a file, as fsspec does; as text, when the block raises, it is not stored either."""
        if "b" in mode:
            return super().open(path, mode, *given, **options)
        told = {name: options.pop(name) for name in ("encoding", "errors", "newline") if name in options}
        return _Text(super().open(path, f"{mode.replace('t', '')}b", *given, **options), **told)

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> BinaryIO:
        if mode in ("rb", "br"):
            return self._copied(path)
        if mode not in ("wb", "bw", "xb", "bx", "ab", "ba"):
            raise UnsupportedValueError(f"mode = {brief(mode)}: give 'rb', 'wb', 'xb' or 'ab'")
        is_there = ("x" in mode or "a" in mode) and self.exists(path)
        if is_there and "x" in mode:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self._key(path)
        file = _NewFile(self._encoded(path), partial(self.write, path), self._record)
        if is_there:
            try:
                with self._reader(path) as (reader, _):
                    copy(reader, file.write)
            except BaseException:
                file.discard()
                raise
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


class _Text(io.TextIOWrapper):
    """The text of a file, which is stored, or not, as the file itself."""

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None and isinstance(self.buffer, _NewFile):
            self.buffer.discard()
        self.close()

    def __del__(self) -> None:
        """Close nothing: a file that was forgotten says so."""


class _Pair(NamedTuple):
    """Where a file, or directory, is, and where to it is to be copied."""

    source: str
    target: str
    is_file: bool = True

    @property
    def is_within(self) -> bool:
        return not self.source or self.target.startswith(f"{self.source}/")


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Say which file has not the bytes that were written."""
    try:
        yield
    except VerificationError as error:
        raise error.within(f"{brief(path, 200)} is read otherwise than it was written") from error


def _file(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "size": size, "type": "file"}
