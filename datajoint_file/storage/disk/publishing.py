"""Upload group of a disk: objects are written beside their names, flushed together, and named by link.

How that is done is told in `disk.drafts`; which file has which key, and how files are read, in `disk.backend`.
Paths are text here: a hundred thousand files are stored in one go.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

from datajoint_file.errors import StorageError
from datajoint_file.storage.backend import CHUNK_SIZE, NO_HEADERS, ContentHeaders, Reader, Receipt, hashed, receipt_of
from datajoint_file.storage.disk.drafts import NO_LINKS, Batch, Draft, flush_within
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE, can_copy
from datajoint_file.storage.disk.posix import tag_of
from datajoint_file.storage.disk.walk import Directory, KeptDirectory, Within
from datajoint_file.storage.shared import PARTIAL_PREFIX

_ATTEMPTS = 10


class LocalGroup(Batch):
    """Uploads to one directory that are flushed together. `StorageBackend.group` says what its verbs promise.

    *named* gives the path of a key below *root*, or refuses it. The directory that objects of one table share is kept
    open from one to the next.
    """

    def __init__(
        self,
        root: str,
        flushes: bool,
        named: Callable[[str], str],
        translated: Callable[[str], AbstractContextManager[None]],
        require_root: Callable[[], None],
    ) -> None:
        super().__init__(flushes=flushes)
        self._named = named
        self._translated = translated
        self._require_root = require_root
        self._places = _Places(root)

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Write one object under another name, beside its own. It appears with `publish`, or when enough wait."""
        path = self._named(key)
        with self._translated(key):
            draft = self._create(path, partial(self._translated, key), receipt_of(reader))
        try:
            written = self._write(draft, reader, size)
        except BaseException:
            draft.remove()
            raise
        self.add(draft)
        return written

    def publish(self) -> None:
        """Flush all files and give each its name; raise the first error, after all of that."""
        try:
            super().publish()
        finally:
            self._places.shared.close()

    def discard(self) -> None:
        """Remove the files that have not their names yet."""
        try:
            super().discard()
        finally:
            self._places.shared.close()

    def link(self, directory: int, name: str, key: str) -> bool:
        """Give the file *name* of an open directory the name of an object as well; tell whether that is possible."""
        path = self._named(key)
        shared, own = self._places.split(os.path.dirname(path))
        with self._translated(key):
            parent = self._places.shared.get(shared, self._make_shared)
            if _make(parent, own) and self._flushes:
                flush_within(parent.descriptor)
            try:
                with self._places.within(os.path.dirname(path)) as target:
                    os.link(
                        name, os.path.basename(path), src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False
                    )
                    if self._flushes:
                        flush_within(target)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                return False
        return True

    def _create(self, path: str, translated: Callable[[], AbstractContextManager[None]], receipt: Receipt) -> Draft:
        """Return a new file in the directory of *path*, which is made if need be.

        Whoever deletes the last object of a directory removes it too, also at this moment: then it is made again.
        """
        directory = os.path.dirname(path)
        shared, own = self._places.split(directory)
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
                parent = self._places.shared.get(shared, self._make_shared)
                return _ObjectDraft(
                    path,
                    f"{directory}/{PARTIAL_PREFIX}{secrets.token_hex(8)}",
                    translated,
                    places=self._places,
                    mode=0o444,  # nobody may write but who has it open
                    flushes=self._flushes,
                    directories=(directory, os.path.dirname(directory)) if _make(parent, own) else (directory,),
                    receipt=receipt,
                )
            self._places.shared.close()
        self._require_root()
        raise StorageError(f"{directory} cannot be made: a file is in its place, or another process keeps removing it")

    def _make_shared(self, parent: int, name: str) -> None:
        """Create a directory and flush its entry at once: others count on it from now on."""
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
        if self._flushes:
            flush_within(parent)

    def _write(self, draft: Draft, reader: Reader, size: int | None) -> int:
        """Write all of *reader*; its errors come through."""
        known = hashed(reader) if (size or 0) > COPY_ABOVE and can_copy() else None
        written = 0
        if known is not None and known.descriptor is not None:
            written = draft.copy(known.descriptor, known)
        while chunk := reader.read(CHUNK_SIZE):
            draft.write(written, chunk)
            written += len(chunk)
        return written


def _make(parent: Directory, own: str) -> bool:
    """Create an object's own directory; tell whether it was not there."""
    try:
        if own:
            os.mkdir(own, dir_fd=parent.descriptor)
    except FileExistsError:
        return False
    return bool(own)


class _ObjectDraft(Draft):
    """An object that has not its own name yet. Its own directory goes with it.

    Once it has its name it stays: others go on with the upload of a directory, and count on what is there.
    """

    may_go = False

    def __init__(self, path: str, *args: Any, places: _Places, receipt: Receipt, **options: Any) -> None:
        self._places = places
        self._directory = os.path.dirname(path)
        super().__init__(path, *args, within=partial(places.within, self._directory), **options)
        self._receipt = receipt

    def close(self) -> None:
        """Let go of the file. Naming it has been the last thing to change its times."""
        with suppress(OSError):
            self._receipt.tag = tag_of(os.fstat(self.descriptor))
        super().close()

    def remove(self) -> None:
        """Remove what an upload left, and nothing else."""
        super().remove()
        self._places.remove_if_empty(self._directory)


class _Places:
    """The directories of a group: those that objects share, the last of which stays open, and one of each object."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.shared = KeptDirectory(root)

    def split(self, directory: str) -> tuple[str, str]:
        """Return the shared directory that *directory* is in, below the root, and its own name; none of the root's."""
        shared, _, own = directory[len(self._root) :].strip("/").rpartition("/")
        return shared, own

    def within(self, directory: str) -> Within:
        """Open an object's own directory."""
        shared, own = self.split(directory)
        parent = self.shared.get(shared)
        return Within(parent.descriptor, own or ".")

    def remove_if_empty(self, directory: str) -> None:
        """Remove an object's own directory, which no other write shares. Parents stay: others may be adding to them."""
        shared, own = self.split(directory)
        with suppress(OSError):
            parent = self.shared.get(shared)
            if own:
                os.rmdir(own, dir_fd=parent.descriptor)
