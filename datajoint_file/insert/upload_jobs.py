"""Upload jobs of one statement: which files go side by side, which in turn, which wait for the disk together.

A job stores or adopts and takes note. Threads, connections and leases meanwhile are looked after in `upload_thread`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import DataJointFileError, StorageError
from datajoint_file.journal.journal import Entries
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.pipeline import Pipeline, Upload
from datajoint_file.storage.backend import UploadGroup

Slot = tuple[int, str]
"""A value of a statement: the row's index and the attribute."""

GROUP_SIZE = 128
"""Small files that wait for the disk together: each is open meanwhile."""


class Storing:
    """The files of one statement, on their way to the store.

    Parameters
    ----------
    pipeline : Pipeline
        The project's storage.
    entries : Entries
        Their intents.
    uploads : mapping of (int, str) to Upload
        The files, in the order of the rows.
    row_count : int
        Rows of the statement, for messages.
    advance : callable
        Told how many bytes have been read, from any thread.
    """

    def __init__(
        self, pipeline: Pipeline, entries: Entries, uploads: Mapping[Slot, Upload], row_count: int, advance: Advance
    ) -> None:
        self.stored: dict[Slot, FileMetadata] = {}
        self._pipeline = pipeline
        self._entries = entries
        self._uploads = uploads
        self._row_count = row_count
        self._advance = advance
        self._failed: dict[int, Slot] = {}

    def jobs(self) -> list[Callable[[], None]]:
        """Return what is to be done. What is in no job's way is a job of its own.

        Streams are read one after the other: those that are parts of one file (members of a tar archive) move each
        other's position, and would give wrong bytes.
        """
        limit = self._pipeline.backend.capabilities.group_below
        small, streams, single = list[Slot](), list[Slot](), list[Slot]()
        for slot, upload in self._uploads.items():
            is_small = upload.source.size is not None and upload.source.size < limit
            (streams if upload.source.stream is not None else small if is_small else single).append(slot)
        jobs: list[Callable[[], None]] = [partial(self._store_in_groups, small)] if small else []
        jobs += [partial(self._store_one_by_one, streams)] if streams else []
        store = self._store
        return jobs + [partial(store, slot) for slot in single]

    def explained(self, error: DataJointFileError) -> DataJointFileError:
        """Return *error* with whose value it concerns, and what has become of the others, now that all have ended."""
        slot = self._failed.get(id(error))
        if slot is None:
            return error
        stored = len(self.stored)
        others = "1 other file is" if stored == 1 else f"{stored} other files are"
        left = f"; {others} stored: a retry does not send that again" if stored else ""
        return _about(error, self._uploads[slot].cell, slot[0], self._row_count, left)

    def _store(self, slot: Slot) -> None:
        with self._blamed(slot):
            metadata = self._adopted(slot) or self._pipeline.ingest(self._uploads[slot], self._advance)
        self._take_note(slot, metadata)

    def _store_one_by_one(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            self._store(slot)

    def _store_in_groups(self, slots: Iterable[Slot]) -> None:
        waiting = iter(slots)
        while some := list(islice(waiting, GROUP_SIZE)):
            self._store_together(some)

    def _store_together(self, slots: list[Slot]) -> None:
        """Store some small files, and wait for the disk once. If one fails, those before it are complete."""
        group, sent = self._pipeline.backend.group(), dict[Slot, FileMetadata]()
        try:
            for slot in slots:
                with self._blamed(slot):
                    metadata = self._adopted(slot)
                    if metadata is None:
                        sent[slot] = self._pipeline.ingest(self._uploads[slot], self._advance, group)
                    else:
                        self._take_note(slot, metadata)
        except DataJointFileError:
            with suppress(DataJointFileError):
                self._publish(group, sent)
            raise
        except BaseException:
            group.discard()
            raise
        self._publish(group, sent)

    def _publish(self, group: UploadGroup, sent: Mapping[Slot, FileMetadata]) -> None:
        try:
            group.publish()
        except StorageError as error:
            self._failed[id(error)] = next(
                (slot for slot in sent if self._uploads[slot].key == error.key), next(iter(sent))
            )
            raise
        for slot, metadata in sent.items():
            self._take_note(slot, metadata)

    def _adopted(self, slot: Slot) -> FileMetadata | None:
        upload = self._uploads[slot]
        return self._entries.adopt(upload, lambda stored: self._pipeline.adopted(upload, stored, self._advance))

    def _take_note(self, slot: Slot, metadata: FileMetadata) -> None:
        self.stored[slot] = metadata
        self._entries.finished(metadata)

    def _blamed(self, slot: Slot) -> _Blamed:
        """Remember whose error it is: it is explained when it is known what has become of the others."""
        return _Blamed(self._failed, slot)


class _Blamed:
    __slots__ = ("_failed", "_slot")

    def __init__(self, failed: dict[int, Slot], slot: Slot) -> None:
        self._failed = failed
        self._slot = slot

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, DataJointFileError):
            self._failed[id(error)] = self._slot


class located:  # noqa: N801 - used like a function; a generator would cost every small file some microseconds
    """Say of an error whose value it concerns.

    Parameters
    ----------
    cell : Cell
        The value.
    index : int
        Which row it is of.
    row_count : int
        Of how many.
    """

    __slots__ = ("_cell", "_index", "_row_count")

    def __init__(self, cell: Cell, index: int, row_count: int) -> None:
        self._cell = cell
        self._index = index
        self._row_count = row_count

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, DataJointFileError):
            raise _about(error, self._cell, self._index, self._row_count) from error


def _about(error: DataJointFileError, cell: Cell, index: int, row_count: int, left: str = "") -> DataJointFileError:
    where = f"{cell}, row {index}" if row_count > 1 else str(cell)
    return error.within(f"{where}: no row was written{left}")
