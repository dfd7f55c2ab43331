"""fsspec filesystem over a stored directory: read-only, asynchronous, verified; for zarr, xarray, Dask, pandas.

What it has is what the manifest says. Bytes are read by the pipeline, in threads of its own, so that any event loop
will do, and a process that has been forked.
"""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, BinaryIO, NoReturn

from fsspec.asyn import AsyncFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.core import has_magic
from fsspec.implementations.local import make_path_posix
from fsspec.registry import register_implementation
from fsspec.utils import glob_translate

from datajoint_file.concurrency.threads import LastingPool, Stop, run_all
from datajoint_file.errors import DataJointFileError, MemberNotFoundError, StorageError, brief
from datajoint_file.model.manifest import Manifest, Member, decode_path, encode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.checked_reads import VERIFIED_BYTES, read_range, read_small
from datajoint_file.pipeline.lookup import pipeline_named
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.pipeline.near_names import near
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.disk.drafts import Batch
from datajoint_file.transfer.arriving_directory import arriving
from datajoint_file.transfer.existing_directory import move_tree


def glob_matcher(pattern: str) -> Callable[[str], Any]:
    """Return what tells whether a path matches a glob: ``*`` stops at a slash, ``**`` is any number of directories."""
    return re.compile(glob_translate(pattern)).match


class ThreadedFileSystem(AsyncFileSystem):  # type: ignore[misc] # fsspec has no types
    """What both filesystems have in common: verbs that run in threads; paths without slashes at their ends."""

    async_impl = True
    mirror_sync_methods = True
    cachable = False  # fsspec would keep each for ever
    root_marker = ""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path)).strip("/")

    def _encoded(self, path: str) -> str:
        """Return what the store calls a path within the directory."""
        stripped = self._strip_protocol(path)
        return encode_path(stripped) if stripped else ""

    def _described(self, path: str) -> dict[str, Any]:
        raise NotImplementedError

    def _listed(self, path: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _content(self, path: str, start: int | None, end: int | None) -> bytes:
        raise NotImplementedError

    async def _info(self, path: str, **_options: Any) -> dict[str, Any]:
        described: dict[str, Any] = await self._in_thread(self._described, path)
        return described

    async def _ls(self, path: str, detail: bool = True, **_options: Any) -> Any:
        found = await self._in_thread(self._listed, path)
        if path.startswith("/"):  # zarr takes off what it has asked for
            found = [{**entry, "name": f"/{entry['name']}"} for entry in found]
        return found if detail else [entry["name"] for entry in found]

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_options: Any) -> bytes:
        content: bytes = await self._in_thread(self._content, path, start, end)
        return content

    async def _in_thread(self, act: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(_pool(os.getpid()), act, *args)


def registered(kind: type[DirectoryFileSystem]) -> type[DirectoryFileSystem]:
    """Decorate a filesystem that fsspec is to know by its protocol."""
    register_implementation(kind.protocol, kind, clobber=True)
    return kind


@registered
class DirectoryFileSystem(ThreadedFileSystem):
    """The files of one stored directory; made by `DirectoryRef.fs`.

    A file that is read whole, at once, is verified, and so is all of one of up to 16 MiB. A range of a larger one is
    *not*, nor is what `open` gives of it: it is what the store gives. A member that the store has lost, or whose bytes
    are others, is an error that zarr does not take for a chunk of fill values.

    Parameters
    ----------
    row : str
        The row's JSON, as text.
    pipeline : str
        The name of the pipeline that reads it.
    below : str
        The part of it that is meant, as the store calls it; all of it, if empty.
    """

    protocol = "datajoint+directory"
    _is_listed = True  # what it has is in a manifest

    def __init__(self, row: str, pipeline: str, below: str = "", **options: Any) -> None:
        super().__init__(row, pipeline, below, **options)
        self._row = row
        self._name = pipeline
        self._below = below

    @property
    def given(self) -> dict[str, str]:
        """What it is made with: texts, and no secret."""
        return {"row": self._row, "pipeline": self._name, "below": self._below}

    @cached_property
    def metadata(self) -> FileMetadata:
        """What the row records of the directory."""
        return FileMetadata.from_json(json.loads(self._row))

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return type(self).__name__, self.metadata.hash, self._below

    @property
    def fsid(self) -> str:
        """What is equal for equal directories."""
        return f"datajoint-file-{self.metadata.hash}-{self._below}"

    @property
    def _pipeline(self) -> Pipeline:
        return pipeline_named(self._name, self.metadata.project)

    @property
    def _manifest(self) -> Manifest:
        return manifest_of(self._pipeline, self.metadata)

    def _find_member(self, path: str) -> Member | None:
        return self._manifest.find(self._encoded(path))

    def _encoded(self, path: str) -> str:
        try:
            return "/".join(filter(None, (self._below, super()._encoded(path))))
        except DataJointFileError as error:  # nothing is called so
            raise self._absent(path) from error

    def _absent(self, path: str) -> MemberNotFoundError:
        return MemberNotFoundError(errno.ENOENT, f"{brief(path)} is not in the directory {self.metadata.original_name}")

    def _member(self, path: str) -> Member:
        with _present():
            found = self._find_member(path)
        if found is None:
            if self._is_directory(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            raise self._absent(path)
        return found

    def _metadata_of(self, path: str) -> FileMetadata:
        return member_metadata(self.metadata, self._member(path))

    def _is_directory(self, path: str) -> bool:
        name = self._encoded(path)
        with _present():
            return self._manifest.is_directory(name)

    def _described(self, path: str) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if self._is_directory(path):
            return {"name": name, "size": 0, "type": "directory"}
        return described(name, self._member(path))

    def _listed(self, path: str) -> list[dict[str, Any]]:
        if not self._is_directory(path):
            return [described(self._strip_protocol(path), self._member(path))]
        directory, above, found = self._encoded(path), self._strip_protocol(path), []
        for name, is_directory in self._manifest.children(directory):
            inner = f"{directory}/{name}" if directory else name
            member = None if is_directory else self._manifest.find(inner)
            decoded = "/".join(filter(None, (above, decode_path(name))))
            entry = {"name": decoded, "size": 0, "type": "directory"} if member is None else described(decoded, member)
            found.append(entry)
        return found

    async def _find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **options: Any) -> Any:
        """Find files as fsspec does: of all at any depth the manifest is gone through once."""
        if maxdepth is not None or withdirs:
            return await super()._find(path, maxdepth, withdirs, **options)
        return await self._in_thread(self._found, path, options.get("detail"))

    def _found(self, path: str, is_detailed: object) -> Any:
        """Return the files at or below a path, sorted, and what there is to say of them; none, if it is not there."""
        try:
            members = self._members(path)
        except MemberNotFoundError:
            members = {}
        names = sorted(members)
        return {name: described(name, members[name]) for name in names} if is_detailed else names

    def _members(self, path: str) -> dict[str, Member]:
        """Return the files at or below a path, by what they are called here."""
        if not self._is_directory(path):
            return {self._strip_protocol(path): self._member(path)}
        start = len(self._below) + 1 if self._below else 0
        with _present():
            members = self._manifest.below(self._encoded(path))
            return {_decoded(member.name[start:]): member for member in members}

    def _content(self, path: str, start: int | None, end: int | None) -> bytes:
        metadata = self._metadata_of(path)
        with _present():
            return read_range(self._pipeline, metadata, start, end, is_listed=self._is_listed)

    async def _get(
        self, rpath: Any, lpath: Any, recursive: bool = False, callback: Any = DEFAULT_CALLBACK, **options: Any
    ) -> None:
        """Bring files as fsspec does. What is more than one comes to a new directory first, as a download does."""
        if isinstance(lpath, list) or not (recursive or isinstance(rpath, list) or has_magic(rpath)):
            await super()._get(rpath, lpath, recursive=recursive, callback=callback, **options)
            return
        path = make_path_posix(os.fspath(lpath))
        target, planned = Path(path), dict[str, str]()
        is_there = target.is_dir()  # fsspec looks, and so do downloads; what it is in may be others'
        with TemporaryDirectory(prefix="datajoint-file-") as private:  # fsspec makes directories, by path
            base = Path(private, "planned")
            if is_there:
                base.mkdir()
            given = f"{base}{'/' if path.endswith('/') else ''}"
            await super()._get(rpath, given, recursive=recursive, planned=planned, **options)
        found = {name[len(str(base)) :].strip("/"): one for name, one in planned.items()}
        callback.set_size(len(found))
        if "" in found and not self._is_directory(found[""]):
            await self._in_thread(self._brought, found[""], target)
        elif found:
            await self._in_thread(partial(self._get_all, found, target, is_inside=is_there, callback=callback))

    def _get_all(self, found: Mapping[str, str], target: Path, *, is_inside: bool, callback: Any) -> None:
        """Bring what is found to where it goes, below *target*."""
        lock = Lock()
        tree: dict[str, list[str]] = {}

        def bring(path: str, below: str) -> None:
            metadata = member_metadata(self.metadata, self._member(path))
            with _present(), new.file(below, arrivals.add) as file:
                self._pipeline.reads.fill(file, metadata, lambda _: None)
            with lock:
                callback.relative_update(1)

        with arriving(target, is_inside=is_inside) as new:
            jobs = []
            for below, path in found.items():
                if self._is_directory(path):
                    new.make(below)
                    tree.setdefault(below, [])
                else:
                    above, _, name = below.rpartition("/")
                    tree.setdefault(above, []).append(name)
                    jobs.append(partial(bring, path, below))
            with Batch() as arrivals:
                run_all(jobs, self._pipeline.workers, Stop())
            move_tree(new, target, tree)

    async def _get_file(
        self,
        rpath: str,
        lpath: str | os.PathLike[str],
        planned: dict[str, str] | None = None,
        **_options: Any,
    ) -> None:
        if planned is None:
            await self._in_thread(self._brought, rpath, lpath)
        else:
            planned[os.fspath(lpath)] = rpath

    def _brought(self, path: str, target: str | os.PathLike[str]) -> None:
        if self._is_directory(path):
            Path(target).mkdir(parents=True, exist_ok=True)
            return
        metadata = self._metadata_of(path)
        with _present():
            self._pipeline.download(metadata, target, overwrite=True, progress=False)

    def _open(self, path: str, mode: str = "rb", **_options: Any) -> BinaryIO:
        """Open a member: a small one verified, in memory; a larger one as `FileRef.open` does."""
        if mode not in ("rb", "br"):
            _refuse()
        try:
            metadata = self._metadata_of(path)
        except MemberNotFoundError as error:  # of a person, not of zarr, which asks for chunks that nobody has written
            raise MemberNotFoundError(error.errno, f"{error.strerror}; {self._near(path)}") from error
        with _present():
            if metadata.size <= VERIFIED_BYTES:
                return io.BytesIO(read_small(self._pipeline, metadata))
            return self._pipeline.open(metadata)

    def read_text(
        self, path: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """Return all text of a file, as fsspec does, verified."""
        return io.TextIOWrapper(io.BytesIO(self.cat_file(path)), encoding, errors, newline).read()

    def _near(self, path: str) -> str:
        """Say what is called nearly so."""
        return near(self._manifest, self._below, self._strip_protocol(path))

    async def _rm_file(self, path: str, **_options: Any) -> None:
        _refuse()

    async def _pipe_file(self, path: str, value: bytes, **_options: Any) -> None:
        _refuse()

    async def _put_file(self, lpath: str, rpath: str, **_options: Any) -> None:
        _refuse()

    async def _cp_file(self, path1: str, path2: str, **_options: Any) -> None:
        _refuse()

    async def _mkdir(self, path: str, **_options: Any) -> None:
        _refuse()

    async def _makedirs(self, path: str, **_options: Any) -> None:
        _refuse()

    async def _rm(self, path: str, **_options: Any) -> None:
        _refuse()


def described(name: str, member: Member) -> dict[str, Any]:
    """Return what fsspec is told of a file."""
    return {"name": name, "size": member.size, "type": "file", "sha256": member.digest}


def _decoded(name: str) -> str:
    """Return the path that the store calls *name*, which a manifest has, and so was checked."""
    return decode_path(name) if "%" in name else name


def _refuse() -> NoReturn:
    raise OSError(errno.EROFS, "what is stored is never changed: insert another one")


@contextmanager
def _present() -> Iterator[None]:
    """Keep "not found" for what the manifest lacks: zarr would read what the store has lost as fill values.

    It also takes an error for an empty file whose text speaks of what is "not satisfiable".
    """
    try:
        yield
    except MemberNotFoundError:
        raise
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise StorageError(f"{error}; it is one of the files that were inserted") from error
    except OSError as error:
        if "not satisfiable" not in str(error):
            raise
        raise StorageError(str(error).replace("not satisfiable", "beyond its end")) from error


_THREADS = 32


@cache
def _pool(_process: int) -> LastingPool:
    """Return the threads of a process; a child made by fork has none of its parent's."""
    return LastingPool(_THREADS, thread_name_prefix="datajoint-file read")
