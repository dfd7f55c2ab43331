"""Atomic publication of objects: written under another name, flushed, linked to their own; one or many at a time.

Many are flushed together: by one call where the system has one, else the first flush makes the file system commit its
journal, and the others find little left to do. Paths are text here: a hundred thousand files are stored in one go.
Which file has which key, and how files are read, is decided in `disk.backend`.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass

from datajoint_file.errors import StorageError
from datajoint_file.storage.backend import CHUNK_SIZE, NO_HEADERS, ContentHeaders, HashedReader, Reader, hashed
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE, KernelCopy, can_copy, start_writing
from datajoint_file.storage.disk.posix import flush_directory, publish, write_all
from datajoint_file.storage.disk.syncfs import flush_together
from datajoint_file.storage.shared import PARTIAL_PREFIX

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0)
_ATTEMPTS = 10

_WRITE_SOON = 2**17
"""Smaller files are better written together, in the order of the disk."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A file that is complete, and has not its own name yet."""

    key: str
    directory: str
    path: str
    partial: str
    file: io.FileIO
    status: os.stat_result


class LocalGroup:
    """Uploads to one directory that are flushed together. `StorageBackend.group` says what its verbs promise.

    Parameters
    ----------
    root : str
        The project's directory.
    flushes : bool
        Whether to wait for the disk.
    path_of : callable
        Gives the path of a key, or refuses it. It may remember, in the set that it is given, the directories that it
        has found to be no links: for as long as this group lasts, and no longer.
    translated : callable
        Gives a context that turns errors of the system into this package's, about a key.
    require_root : callable
        Raises if the project's directory is not there.
    """

    def __init__(
        self,
        root: str,
        flushes: bool,
        path_of: Callable[[str, set[str]], str],
        translated: Callable[[str], AbstractContextManager[None]],
        require_root: Callable[[], None],
    ) -> None:
        self._root = root
        self._flushes = flushes
        self._path_of = path_of
        self._translated = translated
        self._require_root = require_root
        self._drafts: list[_Draft] = []
        self._changed: dict[str, None] = {}
        self._plain: set[str] = set()
        self._size = 0

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Write one object under another name, beside its own. It appears with `publish`."""
        path = self._path_of(key, self._plain)
        directory = os.path.dirname(path)
        with self._translated(key):
            partial, file = self._create(directory)
        draft = _Draft(key, directory, path, partial, file, os.fstat(file.fileno()))
        try:
            written = self._write(draft, reader, size)
            if self._flushes and self._drafts and written >= _WRITE_SOON:
                start_writing(file.fileno(), 0, written)  # it is not alone: the disk can begin before `publish`
        except BaseException:
            self._remove(draft)
            raise
        self._drafts.append(draft)
        self._size += written
        return written

    def publish(self) -> None:
        """Flush all files, give each its name, and flush the directories."""
        drafts, self._drafts = self._drafts, []
        errors: list[Exception] = []
        try:
            if self._flushes and not self._flush_together(drafts):
                _start_writing(drafts)
                drafts = [draft for draft in drafts if self._succeeds(_flush, draft, errors)]
            drafts = [draft for draft in drafts if self._succeeds(_publish, draft, errors)]
            if self._flushes and not self._flush_together(drafts):
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

    def _flush_together(self, drafts: list[_Draft]) -> bool:
        """Flush all of *drafts*, and the directories they are in, by one call. Tell whether that was done.

        The first of them was opened before a byte of the others was written, and before any was given its name.
        """
        if len({draft.status.st_dev for draft in drafts}) != 1:  # a part of the project may be mounted
            return False
        return flush_together(drafts[0].file.fileno(), len(drafts), self._size)

    def _flush_directories(self, drafts: list[_Draft], errors: list[Exception]) -> None:
        """Flush the directories of new names; what is below one that cannot be flushed is removed."""
        changed, self._changed = self._changed, {}
        if not drafts:
            return
        for directory in {draft.directory: None for draft in drafts} | changed:
            try:
                with self._translated(drafts[0].key):
                    flush_directory(directory)
            except Exception as error:  # noqa: BLE001 - the first is raised at the end
                errors.append(error)
                for draft in drafts:
                    if draft.path.startswith(os.path.join(directory, "")):
                        self._remove(draft)

    def _create(self, directory: str) -> tuple[str, io.FileIO]:
        """Open a new file in *directory*, which is made if need be.

        Whoever deletes the last object of a directory removes it too, also at this moment: then it is made again.
        """
        partial = f"{directory}/{PARTIAL_PREFIX}{secrets.token_hex(8)}"
        for _ in range(_ATTEMPTS):
            try:
                self._make(directory)
                return partial, io.FileIO(partial, "r+", opener=_open_new)
            except (FileNotFoundError, FileExistsError, NotADirectoryError):
                continue
        self._require_root()
        raise StorageError(f"{directory} cannot be made: a file is in its place, or another process keeps removing it")

    def _make(self, directory: str) -> None:
        """Create an object's own directory, whose entry `publish` flushes, below directories that others may use."""
        parent = os.path.dirname(directory)
        try:
            os.mkdir(directory)
        except FileExistsError:
            return
        except FileNotFoundError:
            self._make_shared(parent)
            with suppress(FileExistsError):
                os.mkdir(directory)
        self._changed[parent] = None

    def _make_shared(self, directory: str) -> None:
        """Create *directory* below the root and flush its entry at once: others count on it from now on."""
        self._require_root()
        missing = []
        while not os.path.isdir(directory):
            missing.append(directory)
            directory = os.path.dirname(directory)
        for new in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(new)
            if self._flushes:
                flush_directory(os.path.dirname(new))

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
            os.unlink(draft.partial)
        with suppress(OSError):
            if os.path.samestat(os.lstat(draft.path), draft.status):
                os.unlink(draft.path)
        remove_if_empty(draft.directory, self._root)


def _open_new(path: str, _flags: int) -> int:
    """Create a file that nobody may write but who has it open."""
    return os.open(path, _CREATE, 0o444)


def _start_writing(drafts: list[_Draft]) -> None:
    if len(drafts) > 1:
        for draft in drafts:
            start_writing(draft.file.fileno(), 0, 0)


def _flush(draft: _Draft) -> None:
    os.fsync(draft.file.fileno())


def _publish(draft: _Draft) -> None:
    publish(draft.partial, draft.path)


def remove_if_empty(directory: str, root: str) -> None:
    """Remove an object's own directory, which no other write shares. Parents stay: others may be adding to them."""
    if directory != root:
        with suppress(OSError):
            os.rmdir(directory)
