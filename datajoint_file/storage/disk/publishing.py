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
from datajoint_file.storage.disk.drafts import Batch, Draft, flush_directory
from datajoint_file.storage.disk.kernel_copy import COPY_ABOVE, can_copy
from datajoint_file.storage.disk.posix import tag_of
from datajoint_file.storage.shared import PARTIAL_PREFIX

_ATTEMPTS = 10


class LocalGroup(Batch):
    """Uploads to one directory that are flushed together. `StorageBackend.group` says what its verbs promise.

    *path_of* gives the path of a key, or refuses it. It may remember, in the set that it is given, the directories that
    it has found to be no links: for as long as this group lasts, and no longer.
    """

    def __init__(
        self,
        root: str,
        flushes: bool,
        path_of: Callable[[str, set[str]], str],
        translated: Callable[[str], AbstractContextManager[None]],
        require_root: Callable[[], None],
    ) -> None:
        super().__init__(flushes=flushes)
        self._root = root
        self._path_of = path_of
        self._translated = translated
        self._require_root = require_root
        self._plain: set[str] = set()

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        """Write one object under another name, beside its own. It appears with `publish`, or when enough wait."""
        path = self._path_of(key, self._plain)
        with self._translated(key):
            draft = self._create(path, partial(self._translated, key), receipt_of(reader))
        try:
            written = self._write(draft, reader, size)
        except BaseException:
            draft.remove()
            raise
        self.add(draft)
        return written

    def _create(self, path: str, translated: Callable[[], AbstractContextManager[None]], receipt: Receipt) -> Draft:
        """Return a new file in the directory of *path*, which is made if need be.

        Whoever deletes the last object of a directory removes it too, also at this moment: then it is made again.
        """
        directory = os.path.dirname(path)
        for _ in range(_ATTEMPTS):
            with suppress(FileNotFoundError, FileExistsError, NotADirectoryError):
                return _ObjectDraft(
                    path,
                    f"{directory}/{PARTIAL_PREFIX}{secrets.token_hex(8)}",
                    translated,
                    mode=0o444,  # nobody may write but who has it open
                    flushes=self._flushes,
                    directories=(directory, *self._make(directory)),
                    root=self._root,
                    receipt=receipt,
                )
        self._require_root()
        raise StorageError(f"{directory} cannot be made: a file is in its place, or another process keeps removing it")

    def _make(self, directory: str) -> list[str]:
        """Create an object's own directory below directories that others may use. Return where, if it was not there."""
        parent = os.path.dirname(directory)
        try:
            os.mkdir(directory)
        except FileExistsError:
            return []
        except FileNotFoundError:
            self._make_shared(parent)
            with suppress(FileExistsError):
                os.mkdir(directory)
        return [parent]

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


class _ObjectDraft(Draft):
    """An object that has not its own name yet. Its own directory goes with it."""

    def __init__(self, *args: Any, root: str, receipt: Receipt, **options: Any) -> None:
        super().__init__(*args, **options)
        self._root = root
        self._receipt = receipt

    def close(self) -> None:
        """Let go of the file. Naming it has been the last thing to change its times."""
        with suppress(OSError):
            self._receipt.tag = tag_of(os.fstat(self.descriptor))
        super().close()

    def remove(self) -> None:
        """Remove what an upload left, and nothing else."""
        super().remove()
        remove_if_empty(self.directories[0], self._root)


def remove_if_empty(directory: str, root: str) -> None:
    """Remove an object's own directory, which no other write shares. Parents stay: others may be adding to them."""
    if directory != root:
        with suppress(OSError):
            os.rmdir(directory)
