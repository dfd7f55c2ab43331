"""`Pipeline`, a project's stores, cache and rules under one name: keys, metadata, and that only verified bytes leave.

The smart layer over dumb backends. It knows nothing of DataJoint: cells come in, metadata goes out. What each verb does
is told in `upload`, `writes` and `reads`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.cache.entries import Cache
from datajoint_file.concurrency.progress import Advance
from datajoint_file.config import Settings
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline import upload
from datajoint_file.pipeline.reads import Reads
from datajoint_file.pipeline.stores import Stores
from datajoint_file.pipeline.upload import Upload
from datajoint_file.pipeline.writes import Writes
from datajoint_file.storage import StorageBackend
from datajoint_file.storage.backend import UploadGroup
from datajoint_file.storage.disk.drafts import Draft
from datajoint_file.storage.tuning import MEMORY_BYTES
from datajoint_file.transfer.atomic_write import publish_now
from datajoint_file.transfer.sources import Source

_LARGE_AT_ONCE = 4


class Pipeline:
    """The storage of one project, as its settings say.

    Opening stores is put off until a verb needs one. Safe to use from several threads and after a fork.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.digest = settings.digest
        self.stores = Stores(settings)
        self.reads = Reads(self.stores)
        self.writes = Writes(self.stores, self.reads)

    def __repr__(self) -> str:
        return f"Pipeline({self.project!r}, {self.settings.storage.location!r})"

    @property
    def project(self) -> str:
        """The project's name, which begins the key of each of its objects."""
        return self.settings.project.name

    @property
    def backend(self) -> StorageBackend:
        """The store that new objects go to."""
        return self.stores.own

    @cached_property
    def first(self) -> Pipeline:
        """The same without its mirror: what its store itself has."""
        return self if self.settings.is_single else Pipeline(self.settings.at(self.settings.storage))

    @cached_property
    def second(self) -> Pipeline | None:
        """The same with its mirror in the place of its store, if it has one: what the mirror itself has."""
        mirror = self.settings.storage.mirror
        return None if mirror is None else Pipeline(self.settings.at(mirror))

    @property
    def cache(self) -> Cache:
        """What this machine keeps of stored files."""
        return self.reads.cached.cache

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

    def check(self, source: Source, cell: Cell) -> str:
        """Raise if *source* could not be named for *cell*; see `upload.check`."""
        return upload.check(self.stores, source, cell)

    def plan(self, source: Source, cell: Cell, prefix: str = "") -> Upload:
        """Decide under which key and name *source* is going to be stored; see `upload.plan`."""
        return upload.plan(self.stores, source, cell, prefix)

    def ingest(
        self, upload: Upload, advance: Advance = lambda _: None, group: UploadGroup | None = None
    ) -> FileMetadata:
        """Store the bytes of *upload* and return what the row is to record; see `Writes.ingest`."""
        return self.writes.ingest(upload, advance, group)

    def open(self, metadata: FileMetadata, **options: Any) -> BinaryIO:
        """Open a stored file, whose bytes are not verified; see `Reads.open`."""
        return self.reads.open(metadata, **options)

    def read(self, metadata: FileMetadata, verify: str | None = None) -> bytes:
        """Return the verified bytes of a stored file; see `Reads.read`."""
        return self.reads.read(metadata, verify)

    def verify(self, metadata: FileMetadata, progress: bool | None = None, advance: Advance | None = None) -> None:
        """Raise unless the bytes of a stored file are those recorded; see `Reads.verify`."""
        self.reads.verify(metadata, progress, advance)

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
        """Write the verified bytes of a stored file to *destination*, and return its path; see `Reads.download`."""
        shown = {"progress": progress, "advance": advance}
        how: dict[str, Any] = {"overwrite": overwrite, "finish": finish, "verify": verify, **shown}
        return self.reads.download(metadata, destination, **how)

    def exists(self, metadata: FileMetadata) -> bool:
        """Tell whether an object is in its store; see `Reads.exists`."""
        return self.reads.exists(metadata)

    def url(self, metadata: FileMetadata) -> str:
        """Return the address of a file or directory; see `Stores.url`."""
        return self.stores.url(metadata)
