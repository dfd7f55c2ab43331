"""Verified reads of stored files: from the cache, else from their store.

How bytes come, in one request or several, is the business of `transfer.fetch`; reads of ranges, of `checked_reads`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from datajoint_file.concurrency.progress import Advance, OnlyOnce, progress_bar
from datajoint_file.errors import FileChangedError, ObjectNotFoundError, VerificationError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import proof_key
from datajoint_file.model.verify_policy import VerifyPolicy, check_policy
from datajoint_file.pipeline.cached_files import CachedFiles
from datajoint_file.pipeline.destinations import is_there, target_of
from datajoint_file.pipeline.fallback import Fallback
from datajoint_file.pipeline.linking import CHANGED, gone
from datajoint_file.pipeline.receipts import Receipts
from datajoint_file.pipeline.stores import Stores
from datajoint_file.storage import StorageBackend
from datajoint_file.storage.backend import ObjectStat, Receipt
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.storage.tuning import RANGE_SIZE
from datajoint_file.transfer.atomic_write import atomic_write, publish_now
from datajoint_file.transfer.fetch import Write, fetch
from datajoint_file.transfer.hashing import require_size, require_whole

CORRUPT = (
    "The object in the store is not the file that was inserted: it was damaged, cut short or replaced. "
    "No byte of it was handed out; restore it from a backup, or insert the file again"
)

_T = TypeVar("_T")

_MARGIN = timedelta(seconds=5)
"""By so much a clock may be behind, and what is written to a file while it is read be no later than that."""


class Reads:
    """Reads from a project's stores and roots, and from the cache. What is known of the bytes then, `policy` says."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.cached = CachedFiles(stores)
        self._places = Fallback(stores)
        self._hashed = Receipts()  # what was read and found to be what it should be

    def policy(self, verify: str | None = None) -> VerifyPolicy:
        """Return how much a read checks: as *verify* says, else as the configuration does."""
        return self.stores.settings.object_storage.verify if verify is None else check_policy(verify)

    def open(self, metadata: FileMetadata, **options: Any) -> BinaryIO:
        """Open a stored file: binary, seekable, fetching what is read. What is read is *not* verified.

        If the cache has it, it is opened there; of a link see `require_unchanged`. The options are ``block_size``,
        ``cache_type`` and ``cache_options`` as fsspec has them, for the store.

        Raises
        ------
        ObjectNotFoundError
            If the object is gone.
        SizeMismatchError, FileChangedError
            If it has not the recorded size; or is an original that was changed.
        """
        if (cached := self.cached.open(metadata)) is not None:
            return cached
        self.require_unchanged(metadata)

        def opened(backend: StorageBackend) -> BinaryIO:
            file = backend.open(metadata.path, **options)
            found = file.seek(0, os.SEEK_END)
            if found != metadata.size:
                file.close()
                require_size(metadata.size, found)
            file.seek(0)
            return file

        return self.from_either(metadata, opened)

    def read(self, metadata: FileMetadata, verify: str | None = None) -> bytes:
        """Return the bytes of a stored file, all in memory, verified as `policy` says."""
        pieces: dict[int, bytes] = {}

        def keep(position: int, chunk: bytes | memoryview) -> None:
            pieces[position] = bytes(chunk)

        self._take(metadata, keep, lambda _: None, None, verify, pieces.clear)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces[position] for position in sorted(pieces))

    def read_part(self, metadata: FileMetadata, start: int, stop: int) -> bytes:
        """Return the bytes of a stored file from *start* to before *stop*, which it has. They are *not* verified."""

        def part(backend: StorageBackend) -> bytes:
            content = bytes(backend.read(metadata.path, start, stop))
            require_whole(start, stop, len(content))
            return content

        return self.from_either(metadata, part)

    def look(self, metadata: FileMetadata) -> ObjectStat:
        """Raise unless the object is there and has the recorded size, as `open` does; a request to a bucket."""

        def found(backend: StorageBackend) -> ObjectStat:
            stat = backend.stat(metadata.path)
            require_size(metadata.size, stat.size)
            return stat

        return self.from_either(metadata, found)

    def require_unchanged(self, metadata: FileMetadata, verify: str | None = None) -> None:
        """Read a linked original through if it may have been written to since it was linked, before parts are read.

        What it looked like then is remembered: in a process it is read through once, until it is written to again. What
        is stored is left alone, and so is a link where *verify*, or the configuration, asks for the size alone, or
        nothing.

        Raises
        ------
        FileChangedError
            If it is not what was linked, or is written to meanwhile.
        StorageError
            If it is not there, or its root cannot be reached.
        """
        if not metadata.is_link or self.policy(verify) in ("size", "never"):
            return
        found = _tagged(self.look(metadata))
        if found.modified is not None and found.modified < metadata.timestamp - _MARGIN:
            return
        if self._hashed.prove(metadata, found):
            return
        self.verify(metadata)
        if _tagged(self.look(metadata)) != found:
            written = f"{metadata.path} was written to while it was compared with what was linked"
            raise FileChangedError(f"{written}. {CHANGED}")
        self._hashed.keep(metadata, Receipt(found.tag))

    def fill(self, new: Draft, metadata: FileMetadata, advance: Advance, verify: str | None = None) -> None:
        """Write the bytes of a stored file to a new one, verified as `policy` says; *advance* is told how many come."""
        self._take(metadata, new.write, advance, new, verify, new.clear)

    def from_store(
        self,
        metadata: FileMetadata,
        write: Write,
        advance: Advance = lambda _: None,
        target: Draft | None = None,
    ) -> None:
        """Hand all bytes of a stored file on as `fetch` does, verified, whatever the cache has; some perhaps twice."""
        told = OnlyOnce(advance, metadata.size)

        def anew() -> None:
            told.begin_anew()
            if target is not None:
                target.clear()

        self.from_either(metadata, lambda backend: fetch(backend, metadata, write, told, target), anew)

    def from_either(
        self, metadata: FileMetadata, take: Callable[[StorageBackend], _T], anew: Callable[[], object] = lambda: None
    ) -> _T:
        """Return what *take* makes of the store of a file, or of its mirror; see `Fallback.read`."""
        with self._blamed(metadata):
            return self._places.read(metadata, take, anew)

    def verify(self, metadata: FileMetadata, progress: bool | None = None, advance: Advance | None = None) -> None:
        """Read a stored file to its end and raise unless its bytes are those recorded; see `FileRef.verify`.

        What its mirror has does not count. With *advance*, no progress is shown: it is told how many bytes come.
        """
        bar = progress_bar(f"verifying {metadata.original_name}", metadata.size, progress, advance)
        with bar as told, self._blamed(metadata):
            fetch(self.stores.of_object(metadata), metadata, lambda *_: None, told)

    def download(
        self,
        metadata: FileMetadata,
        destination: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: bool | None = None,
        advance: Advance | None = None,
        finish: Callable[[Draft], object] = publish_now,
        verify: str | None = None,
    ) -> Path:
        """Write the verified bytes of a stored file to *destination* and return the file's path.

        See `FileRef.download`, which is this. With *advance*, no progress is shown: it is told how many bytes come.
        *finish* flushes the file and gives it its name; that may be put off, see `datajoint_file.storage.disk.drafts`.
        """
        self.policy(verify)  # which may be none
        target = target_of(destination, metadata.original_name)
        if is_there(target, metadata, overwrite=overwrite):
            return target
        bar = progress_bar(f"downloading {metadata.original_name}", metadata.size, progress, advance)
        with bar as told, atomic_write(target, finish, replaces=overwrite) as new:
            self.fill(new, metadata, told, verify)
        return target

    def exists(self, metadata: FileMetadata) -> bool:
        """Tell whether the object is in the store; raise if the store cannot be asked, or is not the one of the row."""
        try:
            self.from_either(metadata, lambda backend: backend.stat(proof_key(metadata.path)))
        except ObjectNotFoundError:
            return False
        return True

    def _take(
        self,
        metadata: FileMetadata,
        write: Write,
        advance: Advance,
        target: Draft | None,
        verify: str | None,
        clear: Callable[[], object],
    ) -> None:
        policy = self.policy(verify)
        told = OnlyOnce(advance, metadata.size)

        def take(backend: StorageBackend) -> None:
            if policy == "first":
                self._fetch_first(backend, metadata, write, told, target)
            else:
                fetch(backend, metadata, write, told, target, checks=policy)

        def anew() -> None:
            told.begin_anew()
            clear()

        with self._blamed(metadata):
            if not self.cached.take(metadata, write, told, target, policy):
                self._places.read(metadata, take, anew)

    def _fetch_first(
        self, backend: StorageBackend, metadata: FileMetadata, write: Write, advance: Advance, target: Draft | None
    ) -> None:
        """Fetch a stored file, and hash it unless it was hashed before.

        An object counts as hashed while its store gives it the same tag. Where asking for that takes a request, and
        hashing what is small less time, it is hashed again.
        """
        if not backend.capabilities.is_mounted and metadata.size <= RANGE_SIZE:
            fetch(backend, metadata, write, advance, target)
            return
        found = backend.stat(metadata.path)
        if self._hashed.prove(metadata, found):
            fetch(backend, metadata, write, advance, target, checks="size")
            return
        fetch(backend, metadata, write, advance, target)
        if found.tag and found.tag == backend.stat(metadata.path).tag:  # those bytes it was that were hashed
            self._hashed.keep(metadata, Receipt(found.tag))

    @contextmanager
    def _blamed(self, metadata: FileMetadata) -> Iterator[None]:
        """Say which stored file it was that is not what it should be."""
        try:
            yield
        except VerificationError as error:
            kind, why = (FileChangedError, CHANGED) if metadata.is_link else (type(error), CORRUPT)
            raise kind(f"{metadata.path}: {error}. {why}") from error
        except ObjectNotFoundError as error:
            if metadata.is_link:
                raise gone(self.stores, metadata) from error
            self.stores.require_present(metadata)
            raise


def _tagged(found: ObjectStat) -> ObjectStat:
    """Return what a root says of a file, with a tag if it tells when the file was written to."""
    return replace(found, tag=found.tag or (found.modified.isoformat() if found.modified else ""))
