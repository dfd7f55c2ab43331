"""`Pipeline`, a project's store with its rules: keys, metadata, and that only verified bytes leave.

The smart layer over a dumb backend. It knows nothing of DataJoint: cells come in, metadata goes out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.cache import cache_of
from datajoint_file.cache.entries import Cache
from datajoint_file.concurrency.progress import Advance, OnlyOnce, progress_bar
from datajoint_file.config import Settings
from datajoint_file.config.paths import expanded
from datajoint_file.config.settings import StorageSettings
from datajoint_file.config.urls import file_path
from datajoint_file.errors import (
    DestinationError,
    DestinationExistsError,
    FileChangedError,
    LeaseLostError,
    MetadataError,
    ObjectExistsError,
    ObjectNotFoundError,
    SizeMismatchError,
    SourceError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
    UnknownProjectError,
    VerificationError,
    printable,
    reason_of,
)
from datajoint_file.model import media_types
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import check_derived_name
from datajoint_file.model.object_keys import (
    REGISTRY,
    Cell,
    is_candidate,
    new_write_id,
    object_key,
    prefix_of,
    proof_key,
)
from datajoint_file.model.verify_policy import VerifyPolicy, check_policy
from datajoint_file.model.wording import RIGHT_PLACE
from datajoint_file.pipeline.cached_files import open_cached, take_cached
from datajoint_file.pipeline.checked_reads import fetch_as
from datajoint_file.pipeline.directory_upload import check_members
from datajoint_file.pipeline.linking import CHANGED, gone, opened_root, recorded
from datajoint_file.pipeline.manifests import manifest_of
from datajoint_file.pipeline.open_stores import clock, note_opened
from datajoint_file.pipeline.receipts import Receipts
from datajoint_file.pipeline.stored_ref import Readable
from datajoint_file.storage import StorageBackend, open_backend, place_of
from datajoint_file.storage.backend import ContentHeaders, Reader, UploadGroup
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.storage.roots import require_anything
from datajoint_file.storage.tuning import MEMORY_BYTES
from datajoint_file.storage.wrappers import LoggedBackend, logger
from datajoint_file.transfer.atomic_write import atomic_write, finish
from datajoint_file.transfer.directories import LocalTree
from datajoint_file.transfer.fetch import Write, fetch
from datajoint_file.transfer.hashing import (
    HashingReader,
    VerifyingReader,
    drain,
    hash_file,
    require_size,
    require_whole,
)
from datajoint_file.transfer.sources import Source


@dataclass(frozen=True, slots=True)
class Upload:
    """What is going to be stored where: decided, not yet done."""

    key: str  # of the object; no other write will ever have it
    cell: Cell
    source: Source
    name: str  # the original one, to be recorded
    mime_type: str  # empty if the first bytes are to tell
    write_id: str  # what is unique in the key
    is_contested: bool = False  # others may be storing under the same key
    link: str = ""  # where it stays, if it is not stored


_ANY_WRITE_ID = new_write_id()

_LARGE_AT_ONCE = 4

_DOUBTFUL = (StorageError, StorageUnavailableError)
"""What can come of an upload though the store has done it."""


class Pipeline:
    """The storage of one project, as its settings say.

    Opening stores is put off until a verb needs one. Safe to use from several threads and after a fork.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.digest = settings.digest
        self._backends: dict[str, StorageBackend] = {}
        self._identities: dict[tuple[str, str], str] = {}
        self.receipts = Receipts()
        self.hashed = Receipts()  # what was read and found to be what it should be
        self.last_used = 0  # by the clock of `open_stores`

    def __repr__(self) -> str:
        return f"Pipeline({self.project!r}, {self.settings.storage.location!r})"

    @property
    def project(self) -> str:
        """The project's name, which begins the key of each of its objects."""
        return self.settings.project.name

    @property
    def backend(self) -> StorageBackend:
        """The store that new objects go to."""
        return self.backend_of(self.project)

    @cached_property
    def cache(self) -> Cache:
        """What this machine keeps of stored files."""
        return cache_of(self.settings)

    @property
    def workers(self) -> int:
        """How many files to store or fetch at a time."""
        return self.settings.storage.workers or self.backend.capabilities.workers

    def workers_for(self, sizes: Sequence[int]) -> int:
        """Return how many files of these sizes to send at a time: few large ones, as each has several parts under way.

        They could not all have a share of the memory, and the C library keeps some for each thread that had.
        """
        mean = max(1, sum(sizes) // max(1, len(sizes)))
        return min(self.workers, max(_LARGE_AT_ONCE, MEMORY_BYTES // mean))

    @property
    def is_open(self) -> bool:
        """Whether it has stores open."""
        return bool(self._backends)

    def close(self) -> None:
        """Let go of the stores, once nobody is at work in them. The next verb opens them again."""
        self._backends = {}

    def check(self, source: Source, cell: Cell) -> str:
        """Raise if *source* could not be named for *cell*. Reads nothing of it; a directory is listed.

        What is returned is what the key of the object will begin with, for `plan`.

        Raises
        ------
        ConfigurationError
            If a key value does not suit the partition pattern.
        InvalidKeyError
            If the object key, or that of a member, would be too long.
        SourceError, UnsafeNameError
            If something in a directory cannot be stored.
        """
        prefix = prefix_of(self.project, self.settings.object_storage.partition_pattern, cell)
        key = source.link.rstrip("/") or object_key(prefix, source.name or cell.attribute, _ANY_WRITE_ID)
        if isinstance(source.tree, LocalTree) and source.tree.contains(self.local_path(self.project)):
            raise SourceError("the directory contains the project's own store: give what is to be stored of it")
        if source.tree is not None:
            check_members(key, source.tree.listing)
        return prefix

    def local_path(self, key: str) -> str:
        """Return the path of an object, or of the project's directory, on this machine; nothing, of a bucket."""
        if not self.backend.capabilities.is_mounted:
            return ""
        path = Path(file_path(self.backend.url(f"{self.project}/x")))
        return str(path.parent / key.partition("/")[2])

    def plan(self, source: Source, cell: Cell, prefix: str = "") -> Upload:
        """Decide under which key and name *source* is going to be stored; *prefix* is from `check`, if that was asked.

        Reads at most the first bytes of the source, where it has no name: its media type gives one a suffix.
        """
        mime_type = source.mime_type or media_types.of_name(source.name)
        if source.link and source.tree is None:
            return Upload(source.link, cell, source, source.name, mime_type, "", link=source.link)
        if not mime_type and not source.name:
            mime_type = media_types.of_content(source.head())
        name = source.name or f"{cell.attribute}{media_types.suffix_for(mime_type)}"
        write_id = new_write_id()
        key = object_key(prefix or self.check(source, cell), name, write_id)
        key += "/" if source.tree is not None else ""
        return Upload(key, cell, source, name, mime_type, write_id, link=source.link)

    def ingest(
        self, upload: Upload, advance: Advance = lambda _: None, group: UploadGroup | None = None
    ) -> FileMetadata:
        """Store the bytes of *upload* and return what the row is to record.

        The source is read once, and *advance* told how much of it; the hash is of the bytes that were sent. The object
        is there once the *group* is published; at once if there is none. If anything fails there is no object.

        Raises
        ------
        SourceError
            If the source cannot be read, or changes meanwhile.
        VerificationError
            If the source is a stored file whose bytes are not those of its row.
        StorageError
            If the store fails.
        """
        source = upload.source
        if upload.link:
            return recorded(self, upload, advance)
        if source.copy_of and self.backend.capabilities.copies:
            return self._copied(upload, advance)
        with source.open() as bare:
            reader = _reader(source, bare, advance)
            media_type = partial(_media_type, upload, reader)
            headers = ContentHeaders(media_type, upload.name, is_contested=upload.is_contested)
            try:
                stored = (group or self.backend).upload(upload.key, reader, source.size, headers)
            except StorageError as error:
                if not self._prove_stored(upload, reader, error):
                    raise
                stored = reader.size
        if stored != reader.size:
            message = f"{upload.key}: {reader.size} bytes were sent, and the store has {stored}"
            raise StorageError(message).of(upload.key)
        described = _description(upload, reader)
        self.receipts.keep(described, reader.receipt)
        return described

    def _copied(self, upload: Upload, advance: Advance) -> FileMetadata:
        """Have the store make a copy, and look at it. Nothing is sent; what nobody vouches for is read once."""
        source, size = upload.source, self.backend.stat(upload.source.copy_of).size
        media_type = upload.mime_type or None
        copy = FileMetadata(upload.key, size, source.hash or "", upload.name, _now(), media_type, title=source.title)
        if size == source.size:
            if not source.is_known:
                self.verify(replace(copy, path=source.copy_of), advance=advance)
            headers = ContentHeaders(upload.mime_type, upload.name, is_contested=upload.is_contested)
            try:
                self.backend.copy(source.copy_of, upload.key, headers)
            except StorageError as error:
                if not (self._may_be_stored(error) and self._is_stored(copy, error)):
                    raise
            size = self.backend.stat(upload.key).size
        if size != source.size:
            raise SizeMismatchError(f"{source.copy_of}: expected {source.size} bytes, found {size}. {_CORRUPT}")
        advance(size)
        return copy

    def _prove_stored(self, upload: Upload, reader: HashingReader, error: StorageError) -> bool:
        """Read whether the object is there, byte by byte as it was sent, although *error* says that it is not.

        The answer may have been lost, and what was sent again been refused; executors may do work twice. What is
        under the key is compared, and flushed, whoever has stored it.
        """
        is_whole = reader.is_at_end or reader.size == upload.source.size
        if not (is_whole or isinstance(error, ObjectExistsError)) or not self._may_be_stored(error):
            return False
        drain(reader)
        return self._is_stored(_description(upload, reader), error)

    def _may_be_stored(self, error: StorageError) -> bool:
        """Tell whether the store may have the object although it, or the way to it, says *error*."""
        has_answers = not self.backend.capabilities.is_mounted  # that can be lost
        return isinstance(error, ObjectExistsError) or (has_answers and type(error) in _DOUBTFUL)

    def _is_stored(self, described: FileMetadata, error: StorageError) -> bool:
        """Tell whether the object is there, which is read, although *error* says that it is not."""
        try:
            self.verify(described, progress=False)
            self.backend.settle(described.path)
        except (StorageError, VerificationError):
            return False
        logger.info("%s: is stored, though the store's answer was: %s", described.path, error)
        return True

    def difference(self, metadata: FileMetadata) -> str:
        """Say how the object differs from what *metadata* says, as far as a look tells; nothing if it does not.

        Of a directory the manifest is looked at, which is the last that is stored and the first that is deleted.
        """
        try:
            if metadata.is_directory:
                manifest_of(self, metadata, is_kept=False)
                return ""
            size = self.backend.stat(metadata.path).size
        except ObjectNotFoundError:
            return "is not there"
        except (VerificationError, MetadataError) as error:
            return f"is another one ({error})"
        return "" if size == metadata.size else f"has {size} bytes there, expected {metadata.size}"

    def require_stored(self, metadata: FileMetadata) -> None:
        """Raise `LeaseLostError` unless the store has what *metadata* says."""
        if found := self.difference(metadata):
            raise LeaseLostError(
                f"the staged file {self.url(metadata)} {found}: it was given up, or staged into another "
                "store (compare the datajoint.toml of both sides). Stage it again"
            )

    def open(self, metadata: FileMetadata, **options: Any) -> BinaryIO:
        """Open a stored file: binary, seekable, fetching what is read. What is read is *not* verified.

        If the cache has it, it is opened there. The options are ``block_size``, ``cache_type`` and ``cache_options`` as
        fsspec has them, for the store.

        Raises
        ------
        ObjectNotFoundError
            If the object is gone.
        SizeMismatchError
            If it has not the recorded size.
        """
        if (cached := open_cached(self, metadata)) is not None:
            return cached
        with self._blamed(metadata):
            file = self.backend_for(metadata).open(metadata.path, **options)
        found = file.seek(0, os.SEEK_END)
        if found != metadata.size:
            file.close()
            with self._blamed(metadata):
                require_size(metadata.size, found)
        file.seek(0)
        return file

    def read(self, metadata: FileMetadata, verify: str | None = None) -> bytes:
        """Return the bytes of a stored file, all in memory, verified as `policy` says."""
        pieces: dict[int, bytes] = {}

        def keep(position: int, chunk: bytes | memoryview) -> None:
            pieces[position] = bytes(chunk)

        self.pass_on(metadata, keep, verify)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces[position] for position in sorted(pieces))

    def read_part(self, metadata: FileMetadata, start: int, stop: int) -> bytes:
        """Return the bytes of a stored file from *start* to before *stop*, which it has. They are *not* verified."""
        with self._blamed(metadata):
            content = bytes(self.backend_for(metadata).read(metadata.path, start, stop))
            require_whole(start, stop, len(content))
        return content

    def look(self, metadata: FileMetadata) -> None:
        """Raise unless the object is there and has the recorded size, as `open` does; a request to a bucket."""
        with self._blamed(metadata):
            require_size(metadata.size, self.backend_for(metadata).stat(metadata.path).size)

    def pass_on(
        self, metadata: FileMetadata, write: Write, verify: str | None = None, *, is_cached: bool = True
    ) -> None:
        """Hand the bytes of a stored file to *write*; see `fetch`. What is known of them then, `policy` says.

        Unless it *is_cached*, they come from the store, whatever the cache has.
        """
        with self._blamed(metadata):
            self._fetch(metadata, write, lambda _: None, verify=verify, is_cached=is_cached)

    def policy(self, verify: str | None = None) -> VerifyPolicy:
        """Return how much a read checks: as *verify* says, else as the configuration does."""
        return self.settings.object_storage.verify if verify is None else check_policy(verify)

    def _fetch(
        self,
        metadata: FileMetadata,
        write: Write,
        advance: Advance,
        target: Draft | None = None,
        *,
        verify: str | None = None,
        is_cached: bool = True,
    ) -> None:
        policy = self.policy(verify)
        told = OnlyOnce(advance, metadata.size)
        if not (is_cached and take_cached(self, metadata, write, told, target, policy)):
            fetch_as(policy, self.backend_for(metadata), self.hashed, metadata, write, told, target)

    def verify(self, metadata: FileMetadata, progress: bool | None = None, advance: Advance | None = None) -> None:
        """Read a stored file to its end and raise unless its bytes are those recorded; see `FileRef.verify`.

        With *advance*, no progress is shown: it is told how many bytes come.
        """
        bar = progress_bar(f"verifying {metadata.original_name}", metadata.size, progress if advance is None else False)
        with bar as shown, self._blamed(metadata):
            fetch(self.backend_for(metadata), metadata, lambda *_: None, advance or shown)

    def download(
        self,
        metadata: FileMetadata,
        destination: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: bool | None = None,
        advance: Advance | None = None,
        finish: Callable[[Draft], object] = finish,
        verify: str | None = None,
        is_cached: bool = True,
    ) -> Path:
        """Write the verified bytes of a stored file to *destination* and return the file's path.

        See `FileRef.download`, which is this. With *advance*, no progress is shown: it is told how many bytes come.
        Unless it *is_cached*, they come from the store, whatever the cache has.
        *finish* flushes the file and gives it its name; that may be put off, see `datajoint_file.storage.disk.drafts`.
        """
        self.policy(verify)  # which may be none
        target = _target(destination, metadata.original_name)
        if _is_there(target, metadata, overwrite=overwrite):
            return target
        show = progress if advance is None else False
        bar = progress_bar(f"downloading {metadata.original_name}", metadata.size, show)
        with bar as shown, atomic_write(target, finish, replaces=overwrite) as new:
            self.fill(new, metadata, advance or shown, verify, is_cached=is_cached)
        return target

    def fill(
        self,
        new: Draft,
        metadata: FileMetadata,
        advance: Advance,
        verify: str | None = None,
        *,
        is_cached: bool = True,
    ) -> None:
        """Write the bytes of a stored file to a new one, verified as `policy` says; *advance* is told how many come."""
        with self._blamed(metadata):
            self._fetch(metadata, new.write, advance, new, verify=verify, is_cached=is_cached)

    def exists(self, metadata: FileMetadata) -> bool:
        """Tell whether the object is in the store; raise if the store cannot be asked, or is not the one of the row."""
        if self.backend_for(metadata).exists(proof_key(metadata.path)):
            return True
        self.require_present(metadata)
        return False

    def url(self, metadata: FileMetadata) -> str:
        """Return the object's address without credentials."""
        slash = "/" if metadata.is_directory else ""
        return f"{self.home_of(metadata).url((metadata.linked or metadata.path).rstrip('/'))}{slash}"

    def backend_of(self, project: str) -> StorageBackend:
        """Return the store that has the objects of *project*: this one's, or one that is only read.

        Raises
        ------
        UnknownProjectError
            If the configuration does not say where they are.
        """
        return self._used(project, self._opened)

    def backend_at(self, link: str) -> StorageBackend:
        """Return the root that something linked lies below, which is only read.

        Raises
        ------
        UnknownRootError
            If the configuration does not say where it is.
        """
        name = link.partition("/")[0]
        return self._used(f"{name}:", lambda _: opened_root(self.settings, name))

    def backend_for(self, metadata: FileMetadata) -> StorageBackend:
        """Return what has the object, or the manifest, that *metadata* describes: a store; of a link its root."""
        return self.backend_at(metadata.linked) if metadata.is_link else self.backend_of(metadata.project)

    def home_of(self, metadata: FileMetadata) -> StorageBackend:
        """Return where the bytes are: those of a file, or of a directory's members."""
        return self.backend_at(metadata.linked) if metadata.linked else self.backend_of(metadata.project)

    def _used(self, name: str, opened: Callable[[str], StorageBackend]) -> StorageBackend:
        self.last_used = next(clock)
        backend = self._backends.get(name)
        if backend is None:
            backend = self._backends.setdefault(name, opened(name))
            note_opened(self)
        return LoggedBackend(backend) if logger.isEnabledFor(logging.DEBUG) else backend

    def identity_of(self, metadata: FileMetadata) -> str:
        """Return what tells the store or root of a file from all others: a digest of where it is. No secret is in it.

        Raises
        ------
        UnknownProjectError, UnknownRootError
            If the configuration does not say where it is.
        """
        name = metadata.linked.partition("/")[0] or metadata.project
        kind = "root" if metadata.linked else "project"
        found = self._identities.get((kind, name))
        if found is None:
            url = self.home_of(metadata).url(f"{name}/x")
            storage = self.settings.places[name] if metadata.linked else self._storage_of(name)
            place = json.dumps([kind, url, place_of(storage, self.settings.directory)])
            self._identities[kind, name] = found = hashlib.sha256(place.encode()).hexdigest()
        return found

    def _storage_of(self, project: str) -> StorageSettings:
        return self.settings.storage if project == self.project else self.settings.projects[project]

    def backend_for_marks(self, project: str) -> StorageBackend:
        """Return the store of *project* for telling it which schemas name its objects, and for nothing else.

        Of other projects it is opened anew, for reading only is how `backend_of` has theirs.
        """
        return self.backend if project == self.project else self._opened(project, read_only=False)

    def _opened(self, project: str, *, read_only: bool = True) -> StorageBackend:
        directory = self.settings.directory
        if project == self.project:
            return open_backend(self.settings.storage, project, directory)
        if project not in self.settings.projects:
            raise UnknownProjectError(
                f"the file belongs to the project {project!r}, and this pipeline is {self.project!r}: say where the "
                f"other one's objects are in a table [projects.{project}] of datajoint.toml, written like [storage]"
            )
        return open_backend(self.settings.projects[project], project, directory, read_only=read_only)

    @contextmanager
    def _blamed(self, metadata: FileMetadata) -> Iterator[None]:
        """Say which stored file it was that is not what it should be."""
        try:
            yield
        except VerificationError as error:
            kind, why = (FileChangedError, CHANGED) if metadata.is_link else (type(error), _CORRUPT)
            raise kind(f"{metadata.path}: {error}. {why}") from error
        except ObjectNotFoundError as error:
            self.require_present(metadata)
            if metadata.is_link:
                raise ObjectNotFoundError(f"{metadata.path}: {gone(self.url(metadata))}").of(metadata.path) from error
            raise

    def require_present(self, metadata: FileMetadata) -> None:
        """Raise `StorageUnavailableError` if the store has nothing of the project: then it is not the one of the row.

        To be asked where an object is not there. A store that may not be listed counts as the right one.
        """
        if metadata.is_link:
            with suppress(StorageAccessError):
                require_anything(self.backend_for(metadata), metadata.linked)
            return
        project = metadata.project
        try:
            listed = self.backend_of(project).list(project)
            if any(is_candidate(project, found.key) or f"/{REGISTRY}/" in found.key for found in listed):
                return
        except StorageAccessError:
            return
        storage = self._storage_of(project)
        raise StorageUnavailableError(
            f"{storage.location} has no object of the project {project} and no mark of any schema, and a row names "
            f"{metadata.path}: {RIGHT_PLACE}"
        ).of(metadata.path)


def _description(upload: Upload, reader: HashingReader) -> FileMetadata:
    """Return what the row is to record of *upload*, whose bytes went through *reader*."""
    media_type, title = _media_type(upload, reader), upload.source.title
    return FileMetadata(upload.key, reader.size, reader.hash, upload.name, _now(), media_type, title=title)


def _media_type(upload: Upload, reader: HashingReader) -> str:
    return upload.mime_type or media_types.of_content(reader.head)


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _reader(source: Source, bare: Reader, advance: Advance) -> HashingReader:
    """Return the reader of what is sent: one that checks, if the source is a stored file."""
    if source.hash is None or source.size is None:
        return HashingReader(bare, advance)
    return VerifyingReader(bare, source.size, source.hash, advance)


_CORRUPT = (
    "The object in the store is not the file that was inserted: it was damaged, cut short or replaced. "
    "No byte of it was handed out; restore it from a backup, or insert the file again"
)


def destination_path(given: str | os.PathLike[str]) -> Path:
    """Return the path that somebody means by *given*: a leading ``~`` is his home.

    A `DestinationError` is raised if no path can be like that, or the file system's encoding lacks its characters.
    """
    if isinstance(given, Readable):  # which has a path here: that of the object
        raise DestinationError(f"{given!r} is stored, and is not written to: give a path of this machine")
    path = Path(expanded(os.fspath(given)))
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise DestinationError(f"{printable(str(path))} cannot be written: {reason_of(error)}") from error
    if b"\0" in encoded:
        raise DestinationError(f"{printable(str(path))} cannot be written: a path has no null byte")
    return path


def _target(destination: str | os.PathLike[str], name: str) -> Path:
    """Return the file to write: *destination*, or *name* in it if it is, or looks like, a directory."""
    path = destination_path(destination)
    mode = _mode_of(path)
    if stat.S_ISDIR(mode) or os.fspath(destination).endswith((os.sep, os.altsep or os.sep)):
        path = destination_path(path / check_derived_name(name))
        mode = _mode_of(path)
    if mode and not stat.S_ISREG(mode):  # a device must not be replaced by a file, even if the user may
        kind = "a directory" if stat.S_ISDIR(mode) else "a FIFO, socket or device"
        raise DestinationError(f"{printable(str(path))} is {kind}; give a file's path, or another directory")
    return path


def _mode_of(path: Path) -> int:
    """Return the mode of what *path* leads to; 0 if nothing is there, or it cannot be looked at."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _is_there(target: Path, metadata: FileMetadata, *, overwrite: bool) -> bool:
    """Tell whether an equal file is at *target*; refuse a different one unless it may be replaced."""
    if not os.path.lexists(target):
        return False
    if _is_equal(target, metadata):
        return True
    if overwrite:
        return False
    hint = "" if target.name == metadata.original_name else " (to mean a directory, end it in / or make it first)"
    raise DestinationExistsError(
        f"{printable(str(target))} exists and differs from {printable(metadata.original_name)} ({metadata.size} bytes, "
        f"{metadata.hash}); it was left as it is. Pass overwrite=True to replace it, or give another destination{hint}"
    )


def _is_equal(target: Path, metadata: FileMetadata) -> bool:
    try:
        return target.is_file() and target.stat().st_size == metadata.size and hash_file(target) == metadata.hash
    except OSError as error:
        raise DestinationError(
            f"{printable(str(target))} exists and cannot be compared with {printable(metadata.original_name)}: "
            f"{error.strerror or error}; it was left as it is. Give another destination"
        ) from error
