"""Uploads of one statement: bytes move in other threads while the caller keeps connection and leases alive.

Only the caller's thread uses the user's connection, as its drivers want it. An interrupt stops the uploads and waits
for that, so that nothing is published behind its back; whatever is, all the same, has an intent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, cast

from datajoint_file.concurrency.executors import Delegation, TaskResult, check_executor, ending
from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop, run_all, run_beside
from datajoint_file.errors import DataJointFileError, StorageError
from datajoint_file.insert.upload_tasks import Delivered, UploadTask, carry_out, tasks
from datajoint_file.journal.journal import LEASE_SECONDS, JournalEntries, JournalEntry
from datajoint_file.journal.transactions import abandon, has_transaction, sever
from datajoint_file.journal.worker_address import address_of
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import value_key
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.adoption import alike
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.mirroring import batches_of, is_mirrored_at_once, store_in_mirror
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.upload import Upload
from datajoint_file.storage.backend import UploadGroup
from datajoint_file.transfer.directories import Tree

logger = logging.getLogger(__name__)

GROUP_SIZE = 128
"""Small files that wait for the disk together: each is open meanwhile."""

TICK_SECONDS = 0.7
"""How often the caller looks after the connections. Servers close idle ones after a second at the earliest."""

CARRIED_BYTES = 64 * 2**20
"""Bytes given in memory that are under way to workers at a time, unless one value has more."""

POLL_SECONDS = 0.2
"""How often it is looked whether the caller was interrupted."""

FLUSH_SECONDS = 5.0
"""What is complete is told to the database so often, should this process die before the last file is."""


Planned = tuple[JournalEntry, Upload]
"""A file and what is to become of it."""


class UploadFailed(Exception):
    """One upload of several has failed; its cause is why."""

    def __init__(self, entry: JournalEntry) -> None:
        super().__init__(entry)
        self.entry = entry


@contextmanager
def failing(entry: JournalEntry) -> Iterator[None]:
    """Say of an error that it is about the file of *entry*."""
    try:
        yield
    except DataJointFileError as error:
        raise UploadFailed(entry) from error


def store_all(uploads: Uploads, connection: Any, table: str, workers: int | None, executor: Executor | None) -> None:
    """Store *uploads*, or adopt what an earlier insert left. The ``metadata`` of their entries is set then.

    Raises
    ------
    UploadFailed
        If one cannot be stored; all others have ended.
    """
    with uploads.shown(table):
        work: Callable[[], None] = partial(uploads.run, workers or uploads.pipeline.workers_for(uploads.sizes))
        delegated = None
        if executor is not None:
            delegated = DelegatedUploads(uploads, executor, partial(address_of, uploads.pipeline, connection))
            work = delegated.run

        def in_both_places() -> None:
            work()
            uploads.mirror(workers)

        try:
            run_beside(in_both_places, uploads.stop, Care(connection, uploads.entries), TICK_SECONDS)
        except BaseException:
            with suppress(Exception):  # it is for a retry; what has failed is the error to tell
                uploads.entries.end_uploads()
                if delegated is None or not delegated.may_go_on:
                    uploads.entries.let_go()
            raise
    uploads.entries.end_uploads()


class Uploads:
    """The uploads of one statement."""

    def __init__(self, pipeline: Pipeline, entries: JournalEntries, planned: list[Planned]) -> None:
        self.pipeline = pipeline
        self.entries = entries
        self.planned = planned
        self.stop = Stop()
        self._lock = threading.Lock()
        self.show: Advance = lambda _: None

    @property
    def sizes(self) -> list[int]:
        """The sizes of the files, as far as they are known: also of those in directories."""
        trees = [upload.source.tree for _, upload in self.planned if upload.source.tree is not None]
        single = [upload.source.size or 0 for _, upload in self.planned if upload.source.tree is None]
        return single + [size for tree in trees for size in tree.listing.sizes]

    @contextmanager
    def shown(self, table: str) -> Iterator[None]:
        """Show how far it has come, in a progress bar."""
        several = len(self.planned) > 1
        what = f"{len(self.planned)} files" if several else self.planned[0][1].name
        is_known = all(upload.source.size is not None for _, upload in self.planned)
        with progress_bar(f"storing {what} of {table}", sum(self.sizes) if is_known else None) as self.show:
            yield

    def advance(self, count: int) -> None:
        """Take note of so many bytes that have been read. From any thread, whose work ends if it is to stop."""
        self.stop.check()
        with self._lock:
            self.show(count)

    def run(self, workers: int) -> None:
        """Store all files, so many at a time: directories first, once it is known what was left of each."""
        directories = [planned for planned in self.planned if planned[1].source.tree is not None]
        begun: list[tuple[JournalEntry, DirectoryUpload]] = []

        def begin(entry: JournalEntry, upload: Upload) -> None:
            if (directory := self.begun(entry, upload)) is not None:
                begun.append((entry, directory))

        run_all([partial(begin, *planned) for planned in directories], workers, self.stop)
        jobs = [job for entry, directory in begun for job in self._member_jobs(entry, directory, workers)]
        run_all([*jobs, *self.jobs()], workers, self.stop)

    def begun(self, entry: JournalEntry, upload: Upload) -> DirectoryUpload | None:
        """Return the upload of a directory, with what an earlier attempt has left of it; None if that is all."""
        tree = cast("Tree", upload.source.tree)
        with failing(entry):
            if upload.link:
                return DirectoryUpload(self.pipeline, upload, tree)
            if self.adopt(entry, upload):
                return None
            for left in self.entries.begun(entry):
                directory = DirectoryUpload(self.pipeline, replace(upload, key=left.path, write_id=left.write_id), tree)
                if directory.resume(self.advance) and self.entries.resume(entry, left):
                    return directory
            return DirectoryUpload(self.pipeline, upload, tree)

    def _member_jobs(self, entry: JournalEntry, directory: DirectoryUpload, workers: int) -> list[Callable[[], None]]:
        """Return the jobs that store a directory; the last one to end stores the manifest."""

        def send(some: range) -> None:
            with failing(entry):
                directory.send(some, self.advance)
                if directory.count_down(len(some)):
                    entry.metadata = directory.finish()

        return [partial(send, some) for some in [*directory.batches(workers)] or [range(0)]]

    def jobs(self) -> list[Callable[[], None]]:
        """Return what is to be done for single files. What is in no job's way is a job of its own.

        Streams are read one after the other: those that are parts of one file (members of a tar archive) move each
        other's position, and would give wrong bytes.
        """
        limit = self.pipeline.backend.capabilities.group_below
        small, streams, single = list[Planned](), list[Planned](), list[Planned]()
        for entry, upload in self.planned:
            if upload.source.tree is not None:
                continue
            is_small = upload.source.size is not None and upload.source.size < limit
            (streams if upload.source.stream is not None else small if is_small else single).append((entry, upload))
        jobs: list[Callable[[], None]] = [partial(self._store_in_groups, small)] if small else []
        jobs += [partial(self._store_one_by_one, streams)] if streams else []
        return jobs + [partial(self._store, *planned) for planned in single]

    def adopt(self, entry: JournalEntry, upload: Upload) -> bool:
        """Adopt what an earlier attempt has left of *upload*, if it has, and tell so."""
        return not upload.link and self.entries.adopt(
            entry, lambda left: alike(self.pipeline, upload, left, self.advance)
        )

    def _store(self, entry: JournalEntry, upload: Upload) -> None:
        with failing(entry):
            if not self.adopt(entry, upload):
                entry.metadata = self.pipeline.ingest(upload, self.advance)

    def mirror(self, workers: int | None) -> None:
        """Store all in the mirror as well, if rows are to mean that it has them: as many at a time as suits either."""
        if (second := self.pipeline.second) is None or not is_mirrored_at_once(self.pipeline):
            return
        by_path = {entry.metadata.path: entry for entry, _ in self.planned if entry.metadata is not None}
        stored = (entry.metadata for entry in by_path.values() if entry.metadata is not None)

        def mirror(some: list[FileMetadata]) -> None:
            try:
                store_in_mirror(self.pipeline, some, self.stop.watched(lambda _: None))
            except DataJointFileError as error:
                failed = by_path.get(getattr(error, "key", ""), by_path[some[0].path])
                raise UploadFailed(failed) from error

        workers = workers or max(side.workers_for(self.sizes) for side in (self.pipeline, second))
        run_all([partial(mirror, some) for some in batches_of(second, stored)], workers, self.stop)

    def _store_one_by_one(self, some: Iterable[Planned]) -> None:
        for entry, upload in some:
            self._store(entry, upload)

    def _store_in_groups(self, small: Iterable[Planned]) -> None:
        waiting = iter(small)
        while some := list(islice(waiting, GROUP_SIZE)):
            self._store_together(some)

    def _store_together(self, some: Iterable[Planned]) -> None:
        """Store some small files, and wait for the disk once. If one fails, those before it are complete."""
        group, sent = self.pipeline.backend.group(), list[tuple[JournalEntry, FileMetadata]]()
        try:
            for entry, upload in some:
                with failing(entry):
                    if not self.adopt(entry, upload):
                        sent.append((entry, self.pipeline.ingest(upload, self.advance, group)))
        except UploadFailed:
            with suppress(UploadFailed):
                _publish(group, sent)
            raise
        except BaseException:
            group.discard()
            raise
        _publish(group, sent)


def _publish(group: UploadGroup, sent: Sequence[tuple[JournalEntry, FileMetadata]]) -> None:
    try:
        group.publish()
    except StorageError as error:
        failed = next((entry for entry, metadata in sent if metadata.path == error.key), sent[0][0])
        raise UploadFailed(failed) from error
    for entry, metadata in sent:
        entry.metadata = metadata


class DelegatedUploads:
    """Uploads that the workers of an executor carry out."""

    def __init__(self, uploads: Uploads, executor: Executor, address: Callable[[], PipelineAddress]) -> None:
        self._uploads = uploads
        self._address = address
        self._delegation: Delegation[UploadTask, Delivered] = Delegation(check_executor(executor), carry_out)
        self._carried = 0
        self._entries = {upload.key: entry for entry, upload in uploads.planned}
        self._directories: dict[str, DirectoryUpload] = {}

    @property
    def may_go_on(self) -> bool:
        """Whether workers of other processes may still be at tasks, after an interrupt."""
        return self._delegation.may_go_on

    def run(self) -> None:
        """Store all files. If one fails, the tasks that workers have begun are waited for, for the sake of a retry."""
        with ending(self._delegation, self._uploads.stop):
            try:
                for task in tasks(self._address(), self._uploads.stop, self._to_send()):
                    self._wait_for_room(task.carried)
                    self._carried += task.carried
                    self._delegation.begin(task)
                while self._delegation:
                    self._take_results()
            except (UploadFailed, DataJointFileError):
                self._uploads.stop.set()
                for task, result in self._delegation.rest():
                    with suppress(UploadFailed):  # the first failure is the one that is told
                        self._take(task, result)
                raise

    def _to_send(self) -> Iterator[Upload]:
        for entry, upload in self._uploads.planned:
            if upload.source.tree is not None:
                yield from self._members(entry, upload)
            elif not self._uploads.adopt(entry, upload):
                yield upload

    def _members(self, entry: JournalEntry, upload: Upload) -> Iterator[Upload]:
        directory = self._uploads.begun(entry, upload)
        if directory is None:
            return
        self._directories[directory.key] = directory
        self._entries[directory.key] = entry
        with failing(entry):
            missing = [index for index in range(len(directory.listing.names)) if not directory.has(index)]
            if directory.count_down(len(directory.listing.names) - len(missing)):
                entry.metadata = directory.finish()
            for index in missing:
                yield directory.member(index)

    def _wait_for_room(self, carried: int) -> None:
        while self._delegation.is_full or (self._delegation and self._carried + carried > CARRIED_BYTES):
            self._take_results()

    def _take_results(self) -> None:
        self._uploads.advance(0)
        for task, result in self._delegation.finished(POLL_SECONDS):
            self._carried -= task.carried
            self._take(task, result)

    def _take(self, task: UploadTask, result: TaskResult[Delivered]) -> None:
        entries = [self._entries[value_key(upload.key)] for upload in task.uploads]
        with failing(entries[0]):
            delivered = result.result()
        for entry, upload, metadata in zip(entries, task.uploads, delivered.stored, strict=False):
            if (directory := self._directories.get(value_key(upload.key))) is None:
                entry.metadata = metadata
            elif directory.take(metadata):
                with failing(entry):
                    entry.metadata = directory.finish()
            self._uploads.show(metadata.size)
        if delivered.error is not None:
            raise UploadFailed(entries[len(delivered.stored)]) from delivered.error


class Care:
    """What the caller does while it waits. No failure of it ends the upload: the claim finds out what was lost."""

    def __init__(self, connection: Any, entries: JournalEntries) -> None:
        self._connection = connection
        self._entries = entries
        self._gives_up = sever if has_transaction(connection) else abandon
        self._renewed = self._flushed = time.monotonic()

    def __call__(self) -> None:
        """Ping the user's connection; now and then renew the leases, and tell what is complete."""
        try:
            self._connection.adapter.ping(self._connection._conn)
        except BaseException:
            self._gives_up(self._connection)  # interrupted between the question and its answer
            raise
        moment = time.monotonic()
        try:
            if moment - self._renewed > LEASE_SECONDS / 6:
                self._renewed = moment
                self._entries.renew()
            if moment - self._flushed > FLUSH_SECONDS:
                self._flushed = moment
                self._entries.flush()
        except Exception:
            logger.warning("the leases of uploads could not be renewed; trying again", exc_info=True)
