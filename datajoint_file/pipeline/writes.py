"""Upload of one value: its bytes hashed on the way, and proven to be there where the answer was lost.

What is stored where is decided in `upload`; a directory's members come one by one, from `directory_upload`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    SizeMismatchError,
    StorageError,
    StorageUnavailableError,
    VerificationError,
)
from datajoint_file.model import media_types
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.linking import recorded
from datajoint_file.pipeline.reads import CORRUPT, Reads
from datajoint_file.pipeline.receipts import Receipts
from datajoint_file.pipeline.stores import Stores
from datajoint_file.pipeline.upload import Upload
from datajoint_file.storage.backend import ContentHeaders, Reader, UploadGroup
from datajoint_file.storage.wrappers import logger
from datajoint_file.transfer.hashing import HashingReader, VerifyingReader, drain
from datajoint_file.transfer.sources import Source

_DOUBTFUL = (StorageError, StorageUnavailableError)
"""What can come of an upload though the store has done it."""


class Writes:
    """Uploads into a project's store."""

    def __init__(self, stores: Stores, reads: Reads) -> None:
        self._stores = stores
        self._reads = reads
        self.receipts = Receipts()

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
            return recorded(self._stores, upload, advance)
        if source.copy_of and (copied := self._copied(upload, advance)):
            return copied
        if source.address and (taken := self._taken(upload, advance)):
            return taken
        with source.open() as bare:
            reader = _reader(source, bare, advance)
            media_type = partial(_media_type, upload, reader)
            headers = ContentHeaders(media_type, upload.name, is_contested=upload.is_contested)
            try:
                stored = (group or self._stores.own).upload(upload.key, reader, source.size, headers)
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

    def _taken(self, upload: Upload, advance: Advance) -> FileMetadata | None:
        """Have the store take what is beside it, if it can, and read the original for its hash; both must agree."""
        source = upload.source
        headers = ContentHeaders(upload.mime_type, upload.name, is_contested=upload.is_contested)
        is_new = True
        try:
            if source.size is None or not self._stores.own.take(source.address, source.size, upload.key, headers):
                return None
        except ObjectExistsError:  # of a directory that is stored for the second time
            is_new = False
        with source.open() as bare:
            reader = _reader(source, bare, advance)
            drain(reader)
        described, size = _description(upload, reader), self._stores.own.stat(upload.key).size
        if size != reader.size:
            raise SizeMismatchError(f"{source.address}: read {reader.size} bytes, and the store has taken {size}")
        if not is_new:
            self._reads.verify(described, progress=False)
        return described

    def _copied(self, upload: Upload, advance: Advance) -> FileMetadata | None:
        """Have the store make a copy, if it can; what only its mirror has is to be read there, and sent."""
        if not self._stores.own.capabilities.copies:
            return None
        try:
            return self._copy(upload, advance)
        except ObjectNotFoundError:
            if self._stores.mirror(self._stores.project) is None:
                raise
            return None

    def _copy(self, upload: Upload, advance: Advance) -> FileMetadata:
        """Have the store make a copy, and look at it. Nothing is sent; what nobody vouches for is read once."""
        source, size = upload.source, self._stores.own.stat(upload.source.copy_of).size
        media_type = upload.mime_type or None
        copy = FileMetadata(upload.key, size, source.hash or "", upload.name, _now(), media_type, title=source.title)
        if size == source.size:
            if not source.is_known:
                self._reads.verify(replace(copy, path=source.copy_of), advance=advance)
            headers = ContentHeaders(upload.mime_type, upload.name, is_contested=upload.is_contested)
            try:
                self._stores.own.copy(source.copy_of, upload.key, headers)
            except StorageError as error:
                if not (self._may_be_stored(error) and self._is_stored(copy, error)):
                    raise
            size = self._stores.own.stat(upload.key).size
        if size != source.size:
            raise SizeMismatchError(f"{source.copy_of}: expected {source.size} bytes, found {size}. {CORRUPT}")
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
        has_answers = not self._stores.own.capabilities.is_mounted  # that can be lost
        return isinstance(error, ObjectExistsError) or (has_answers and type(error) in _DOUBTFUL)

    def _is_stored(self, described: FileMetadata, error: StorageError) -> bool:
        """Tell whether the object is there, which is read, although *error* says that it is not."""
        try:
            self._reads.verify(described, progress=False)
            self._stores.own.settle(described.path)
        except (StorageError, VerificationError):
            return False
        logger.info("%s: is stored, though the store's answer was: %s", described.path, error)
        return True


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
