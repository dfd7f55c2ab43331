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
from datajoint_file.storage.disk.settling import Identity, Settled, flush_file, identity_of
from datajoint_file.storage.disk.walk import Directory, KeptDirectory, Within
from datajoint_file.storage.shared import PARTIAL_PREFIX

_ATTEMPTS = 10


class LocalGroup(Batch):
    """Uploads to one directory that are flushed together. `StorageBackend.group` says what its verbs promise.

    *named* gives the path of a key below *root*, or refuses it. The directory that objects of one table share is kept
    open from one to the next. *settled* knows which of those that are found need no flush.
    """

    def __init__(
        self,
        root: str,
        settled: Settled,
        flushes: bool,
        named: Callable[[str], str],
        translated: Callable[[str], AbstractContextManager[None]],
        require_root: Callable[[], None],
    ) -> None:
        super().__init__(flushes=flushes)
        self._named = named
        self._translated = translated
        self._require_root = require_root
        self._settled = settled
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
        place = os.path.dirname(path)
        shared, own = self._places.split(place)
        with self._translated(key):
            _make(self._shared(shared), own)
            try:
                with self._places.within(place) as target:
                    if self._flushes:  # whose it is may have left that to the system
                        flush_file(directory, name)
                    os.link(
                        name, os.path.basename(path), src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False
                    )
                    if self._flushes:
                        with self._settled.flushing(self._places.below(place)):
                            flush_within(target)
                        self._settled.settle_name(self._places.below(place))
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
                is_new = _make(self._shared(shared), own)
                draft = _ObjectDraft(
                    path,
                    f"{directory}/{PARTIAL_PREFIX}{secrets.token_hex(8)}",
                    translated,
                    places=self._places,
                    mode=0o444,  # nobody may write but who has it open
                    flushes=self._flushes,
                    directories=(directory, os.path.dirname(directory)) if own else (directory,),
                    receipt=receipt,
                    settled=self._settled,
                )
                if not is_new and self._flushes:  # with a file in it, it is not removed any more
                    draft.look_for_name()
                return draft
            self._places.shared.close()
        self._require_root()
        raise StorageError(f"{directory} cannot be made: a file is in its place, or another process keeps removing it")

    def _shared(self, below: str) -> Directory:
        """Return a directory that objects share, made if need be, when its name and those above it are on the disk."""
        found = self._places.shared.get(below, self._make_shared)
        if self._flushes and not found.is_settled:
            self._settled.settle_name(below)
            found.is_settled = True
        return found

    def _make_shared(self, parent: int, name: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
            if self._flushes:
                self._settled.discard(identity_of(name, parent))

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

    def __init__(
        self, path: str, *args: Any, places: _Places, receipt: Receipt, settled: Settled, **options: Any
    ) -> None:
        self._places = places
        self._directory = os.path.dirname(path)
        super().__init__(path, *args, within=partial(places.within, self._directory), **options)
        self._receipt = receipt
        self._settled = settled
        self._found: Identity | None = None

    def look_for_name(self) -> None:
        """Leave out the flush of the name of its directory, which was there, if this process has seen to it before."""
        self._found = identity_of(self._directory)
        if self._settled.has(self._found):
            self.directories = self.directories[:1]

    def fail(self, error: OSError) -> None:
        """Raise what the system has said of a flush, and remember for which directory: it says so once."""
        with self.translated(), self._settled.flushing(self._places.below(self._directory)):
            raise error

    def close(self) -> None:
        """Let go of the file. Naming it has been the last thing to change its times."""
        with suppress(OSError):
            self._receipt.tag = tag_of(os.fstat(self.descriptor))
        self._settled.add(self._found)
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

    def below(self, directory: str) -> str:
        """Return what *directory* is called below the root."""
        return directory[len(self._root) :].strip("/")

    def split(self, directory: str) -> tuple[str, str]:
        """Return the shared directory that *directory* is in, below the root, and its own name; none of the root's."""
        shared, _, own = self.below(directory).rpartition("/")
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
