"""Upload of a directory: its members in any order, by several threads; then its manifest, which makes it whole.

How one member is sent is `Pipeline.ingest`'s business; which threads or workers send them, that of `insert.uploads`.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import DataJointFileError, brief
from datajoint_file.model import manifest, media_types
from datajoint_file.model.manifest import Member, decode_path
from datajoint_file.model.metadata import DIRECTORY_TYPE, FileMetadata
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline.adoption import prove, settled
from datajoint_file.pipeline.checkpoints import Checkpoints, resumable
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.upload import Upload, check_members
from datajoint_file.storage.backend import UploadGroup
from datajoint_file.transfer.directories import Tree
from datajoint_file.transfer.hashing import HashingReader, drain
from datajoint_file.transfer.sources import Source, as_source

BATCH_FILES = 128
BATCH_BYTES = 16 * 2**20
"""Members that one thread sends one after the other: small ones wait together for the disk."""

_DIGEST_BYTES = 32


class DirectoryUpload:
    """One directory that is being stored. Members are named by their place in the listing.

    If *is_resumable*, checkpoints are written for a retry; not if it stays where it is, for then its manifest alone is
    stored.
    """

    def __init__(self, pipeline: Pipeline, upload: Upload, tree: Tree, *, is_resumable: bool = True) -> None:
        self._is_resumable = is_resumable and not upload.link
        self._pipeline = pipeline
        self._upload = upload
        self._tree = tree
        self.listing = tree.listing
        self._sizes = array("Q", self.listing.sizes)
        self._digests = bytearray(_DIGEST_BYTES * len(self.listing.names))
        self._is_stored = bytearray(len(self.listing.names))
        self._left = len(self.listing.names)
        self._lock = threading.Lock()
        self._checkpoints = Checkpoints(pipeline, upload.key)
        self._stored_manifest: FileMetadata | None = None
        self._known_since = datetime.now(timezone.utc).replace(microsecond=0)  # the first of what is linked

    @property
    def key(self) -> str:
        """The key of the directory."""
        return self._upload.key

    def resume(self, advance: Advance) -> bool:
        """Learn what an earlier attempt has stored under this key; False if nothing of it is of use."""
        found = resumable(self._pipeline, self.key, self._tree, self._checkpoints, advance)
        if found is None or not (found.members or found.has_manifest):
            return False
        if not settled(self._pipeline, self.key, manifest_key(self.key)):
            return False
        for member in found.members:
            self.mark_stored(*member)
        return not found.has_manifest or (all(self._is_stored) and self._adopt_manifest(advance))

    def _adopt_manifest(self, advance: Advance) -> bool:
        """Take the manifest that an earlier attempt stored without telling of it; tell whether it is there."""
        listed = self._listed()
        with listed.source.open() as lines:
            reader = HashingReader(lines, advance)
            drain(reader)
        moment = datetime.now(timezone.utc).replace(microsecond=0)
        described = FileMetadata(listed.key, reader.size, reader.hash, listed.name, moment, listed.mime_type)
        if prove(self._pipeline, described, advance):
            self._stored_manifest = described
        return self._stored_manifest is not None

    def has(self, index: int) -> bool:
        """Tell whether a member is stored."""
        return bool(self._is_stored[index])

    def batches(self, workers: int) -> Iterator[range]:
        """Give the members in runs, each for one of so many threads: all have something to do, and few have little."""
        count = len(self.listing.names)
        is_grouped = self._pipeline.backend.capabilities.group_below > 0
        most = BATCH_FILES if is_grouped else min(BATCH_FILES, max(1, count // (4 * workers)))
        start = size = 0
        for index in range(count):
            size += self.listing.sizes[index]
            if index + 1 - start == most or size >= BATCH_BYTES:
                yield range(start, index + 1)
                start, size = index + 1, 0
        if start < count:
            yield range(start, count)

    def member(self, index: int) -> Upload:
        """Return one member, as what is going to be stored."""
        name = self.listing.names[index]
        value: Any = self._tree.value(name)
        with self._named(name):
            source = as_source(value)
        link = f"{self._upload.link}{name}" if self._upload.link else ""
        if self._upload.source.copy_of:
            source = replace(source, copy_of=value.metadata.path, is_known=self._upload.source.is_known)
        if self._upload.source.address:
            source = replace(source, address=f"{self._upload.source.address}/{decode_path(name)}")
        mime_type = source.mime_type or media_types.of_name(source.name)
        member = replace(self._upload, key=link or f"{self._upload.key}{name}", link=link, source=source)
        return replace(member, name=source.name, mime_type=mime_type, is_contested=True)

    def send_all(self) -> None:
        """Store all members, several at a time. Raises as `send` does."""
        jobs = [partial(self.send, some, lambda _: None) for some in self.batches(self._pipeline.workers)]
        run_all(jobs, self._pipeline.workers, Stop())

    def send(self, some: Iterable[int], advance: Advance) -> None:
        """Store some members, unless they are, and wait for the store once.

        Raises
        ------
        SourceError, StorageError
            If one cannot be stored; which others are is not known then.
        """
        group, sent = self._pipeline.backend.group(), list[tuple[int, FileMetadata]]()
        try:
            for index in some:
                if not self.has(index):
                    sent.append((index, self._sent(index, advance, group)))
        except BaseException:
            group.discard()
            raise
        group.publish()
        for index, stored in sent:
            self.mark_stored(index, stored.hash, stored.size)
        self._note_age(stored for _, stored in sent)
        if self._is_resumable:
            self._checkpoints.add([stored for _, stored in sent], [self.listing.names[index] for index, _ in sent])

    def _sent(self, index: int, advance: Advance, group: UploadGroup) -> FileMetadata:
        upload = self.member(index)
        with self._named(self.listing.names[index]):
            return self._pipeline.ingest(upload, advance, group)

    def mark_stored(self, index: int, hash_: str, size: int) -> None:
        """Keep what the manifest is going to say of a member that is stored."""
        start = _DIGEST_BYTES * index
        self._digests[start : start + _DIGEST_BYTES] = bytes.fromhex(hash_.partition(":")[2])
        self._sizes[index] = size
        self._is_stored[index] = 1

    def _note_age(self, some: Iterable[FileMetadata]) -> None:
        with self._lock:
            self._known_since = min([self._known_since, *(one.timestamp for one in some)])

    def take(self, stored: FileMetadata) -> bool:
        """Take over a member that somebody else has stored; tell whether it was the last one."""
        name = stored.path[len(self.key) :]
        self.mark_stored(bisect_left(self.listing.names, name), stored.hash, stored.size)
        self._note_age([stored])
        self._checkpoints.add([stored], [name])
        return self.count_down(1)

    def count_down(self, count: int) -> bool:
        """Count members that have been sent; tell whether they were the last ones. From any thread."""
        with self._lock:
            self._left -= count
            return self._left == 0

    def finish(self) -> FileMetadata:
        """Store the manifest, once all members are, and return what the row is to record.

        Raises
        ------
        InvalidKeyError
            If nobody could read it.
        StorageError
            If it cannot be stored.
        """
        check_members((self._upload.link or self.key)[:-1], self.listing)
        stored = self._stored_manifest or self._pipeline.ingest(self._listed())
        self._checkpoints.remove()
        return replace(
            stored,
            path=self.key,
            size=sum(self._sizes),
            original_name=self._upload.name,
            mime_type=DIRECTORY_TYPE,
            files=len(self.listing.names),
            title=self._upload.source.title,
            linked=self._upload.link,
            timestamp=self._known_since if self._upload.link else stored.timestamp,
        )

    def _listed(self) -> Upload:
        """Return the manifest, as what is going to be stored."""
        listed = replace(
            self._upload, key=manifest_key(self.key), source=self._manifest(), mime_type="text/plain", link=""
        )
        return replace(listed, name=f"{self._upload.name}.sha256", is_contested=True)

    def _manifest(self) -> Source:
        @contextmanager
        def opened() -> Iterator[_Lines]:
            yield _Lines(manifest.lines(self.members(), self.listing.empty))

        return Source(manifest_key(self._upload.key), opened, bytes)

    def members(self) -> Iterator[Member]:
        """Give what the manifest is going to say of the files."""
        for index, name in enumerate(self.listing.names):
            digest = self._digests[_DIGEST_BYTES * index : _DIGEST_BYTES * (index + 1)]
            yield Member(name, self._sizes[index], digest.hex())

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Say of an error which member it is about."""
        try:
            yield
        except DataJointFileError as error:
            raise error.within(f"its member {brief(decode_path(name), 200)}") from error


class _Lines:
    """A reader of text that is made as it is read."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = bytearray()

    def read(self, size: int = -1, /) -> bytes:
        while size < 0 or len(self._rest) < size:
            line = next(self._lines, None)
            if line is None:
                break
            self._rest += line
        size = len(self._rest) if size < 0 else size
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken
