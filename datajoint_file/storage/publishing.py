"""How files of a disk become objects: written under another name, flushed, linked to their own; one or many at a time.

Many are flushed together: the first flush makes the file system commit its journal, and the others find little left to
do. Which file has which key, and how files are read, is decided in `local`.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from datajoint_file.errors import StorageError
from datajoint_file.storage.backend import CHUNK_SIZE, HashedReader, Reader, hashed
from datajoint_file.storage.copying import COPY_ABOVE, KernelCopy, can_copy, start_writing
from datajoint_file.storage.posix import flush_directory, make_read_only, publish, write_all
from datajoint_file.storage.shared import PARTIAL_PREFIX

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class _Draft:
    """A file that is complete, and has not its own name yet."""

    key: str
    path: Path
    partial: Path
    file: io.FileIO
    status: os.stat_result


class LocalGroup:
    """Uploads to one directory that are flushed together. `StorageBackend.group` says what its verbs promise.

    Parameters
    ----------
    root : Path
        The project's directory.
    flushes : bool
        Whether to wait for the disk.
    path_of : callable
        Gives the path of a key, or refuses it.
    translated : callable
        Gives a context that turns errors of the system into this package's, about a key.
    require_root : callable
        Raises if the project's directory is not there.
    """

    def __init__(
        self,
        root: Path,
        flushes: bool,
        path_of: Callable[[str], Path],
        translated: Callable[[str], AbstractContextManager[None]],
        require_root: Callable[[], None],
    ) -> None:
        self._root = root
        self._flushes = flushes
        self._path_of = path_of
        self._translated = translated
        self._require_root = require_root
        self._drafts: list[_Draft] = []
        self._changed: dict[Path, None] = {}

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        """Write one object under another name, beside its own. It appears with `settle`."""
        path = self._path_of(key)
        with self._translated(key):
            partial, file = self._create(path.parent)
        draft = _Draft(key, path, partial, file, os.fstat(file.fileno()))
        try:
            written = self._write(draft, reader, size)
            with self._translated(key):
                make_read_only(file.fileno())
                if self._flushes and self._drafts:
                    start_writing(file.fileno(), 0, written)  # it is not alone: the disk can begin before `settle`
        except BaseException:
            self._remove(draft)
            raise
        self._drafts.append(draft)
        return written

    def settle(self) -> None:
        """Flush all files, give each its name, and flush the directories."""
        drafts, self._drafts = self._drafts, []
        errors: list[Exception] = []
        try:
            for step in (self._flush, self._publish):
                drafts = [draft for draft in drafts if self._succeeds(step, draft, errors)]
            self._flush_directories(drafts, errors)
        except BaseException:
            for draft in drafts:
                self._remove(draft)
            raise
        finally:
            for draft in drafts:
                draft.file.close()
        if errors:
            raise errors[0]

    def discard(self) -> None:
        """Remove the files that have not their own name yet."""
        drafts, self._drafts = self._drafts, []
        for draft in drafts:
            self._remove(draft)

    def _succeeds(self, step: Callable[[_Draft], None], draft: _Draft, errors: list[Exception]) -> bool:
        """Do *step*; if it fails, remove the draft and note the error: the others are not to suffer."""
        try:
            with self._translated(draft.key):
                step(draft)
        except Exception as error:  # noqa: BLE001 - the first is raised at the end
            errors.append(error)
            self._remove(draft)
            return False
        return True

    def _flush_directories(self, drafts: list[_Draft], errors: list[Exception]) -> None:
        """Flush the directories of new names; what is below one that cannot be flushed is removed."""
        changed, self._changed = self._changed, {}
        if not self._flushes or not drafts:
            return
        for directory in {draft.path.parent: None for draft in drafts} | changed:
            try:
                with self._translated(drafts[0].key):
                    flush_directory(directory)
            except Exception as error:  # noqa: BLE001 - the first is raised at the end
                errors.append(error)
                for draft in drafts:
                    if draft.path.is_relative_to(directory):
                        self._remove(draft)

    def _flush(self, draft: _Draft) -> None:
        if self._flushes:
            os.fsync(draft.file.fileno())

    def _publish(self, draft: _Draft) -> None:
        publish(draft.partial, draft.path)

    def _create(self, directory: Path) -> tuple[Path, io.FileIO]:
        """Open a new file in *directory*, which is made if need be.

        Whoever deletes the last object of a directory removes it too, also at this moment: then it is made again.
        """
        partial = directory / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}"
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
                self._make(directory)
                return partial, io.FileIO(partial, "r+", opener=_open_new)
        self._require_root()
        raise StorageError(f"{directory} cannot be made: a file is in its place, or another process keeps removing it")

    def _make(self, directory: Path) -> None:
        """Create an object's own directory, whose entry `settle` flushes, below directories that others may use."""
        with suppress(FileExistsError):
            try:
                directory.mkdir()
            except FileNotFoundError:
                self._make_shared(directory.parent)
                directory.mkdir()
            self._changed[directory.parent] = None

    def _make_shared(self, directory: Path) -> None:
        """Create *directory* below the root and flush its entry at once: others count on it from now on."""
        self._require_root()
        missing = []
        while not directory.is_dir():
            missing.append(directory)
            directory = directory.parent
        for new in reversed(missing):
            new.mkdir(exist_ok=True)
            if self._flushes:
                flush_directory(new.parent)

    def _write(self, draft: _Draft, reader: Reader, size: int | None) -> int:
        """Write all of *reader*; its errors come through."""
        known = hashed(reader)
        source = known.descriptor if known is not None and (size or 0) > COPY_ABOVE and can_copy() else None
        if known is not None and source is not None:
            with suppress(NotImplementedError):
                return self._copy(draft, known, source)
        return self._read(draft, reader)

    def _copy(self, draft: _Draft, reader: HashedReader, source: int) -> int:
        written = 0
        with closing(KernelCopy(source, draft.file.fileno(), flushes=self._flushes).chunks()) as chunks:
            while True:
                with self._translated(draft.key):
                    chunk = next(chunks, b"")
                reader.copied(chunk)
                if not chunk:
                    return written
                written += len(chunk)

    def _read(self, draft: _Draft, reader: Reader) -> int:
        written = 0
        while chunk := reader.read(CHUNK_SIZE):
            with self._translated(draft.key):
                write_all(draft.file, chunk)
                if self._flushes and len(chunk) == CHUNK_SIZE:
                    start_writing(draft.file.fileno(), written, len(chunk))
            written += len(chunk)
        return written

    def _remove(self, draft: _Draft) -> None:
        """Remove what an upload left, under its final name too if it got that far, and nothing else."""
        draft.file.close()
        with suppress(OSError):
            draft.partial.unlink()
        with suppress(OSError):
            if os.path.samestat(os.lstat(draft.path), draft.status):
                draft.path.unlink()
        remove_if_empty(draft.path.parent, self._root)


def _open_new(path: str, _flags: int) -> int:
    return os.open(path, _CREATE, 0o666)


def remove_if_empty(directory: Path, root: Path) -> None:
    """Remove an object's own directory, which no other write shares. Parents stay: others may be adding to them."""
    if directory != root:
        with suppress(OSError):
            directory.rmdir()
