"""Upload thread: bytes move in it while the caller keeps connection and leases alive.

Only the caller's thread uses the user's connection, as its drivers want it. An interrupt stops the uploads and waits
for that, so that nothing is published behind its back; whatever is, all the same, has an intent.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import DataJointFileError
from datajoint_file.hooks.names import table_name
from datajoint_file.insert.upload_jobs import Slot, Storing
from datajoint_file.journal.connection_loss import abandon, sever
from datajoint_file.journal.journal import LEASE_SECONDS, Entries
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.pipeline import Pipeline, Upload
from datajoint_file.storage.budget import transfers

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.7
"""How often the caller looks after the connections. Servers close idle ones after a second at the earliest."""

FLUSH_SECONDS = 5.0
"""What is complete is told to the database so often, should this process die before the last file is."""


def store_all(
    table: Any, pipeline: Pipeline, entries: Entries, uploads: Mapping[Slot, Upload], row_count: int
) -> dict[Slot, FileMetadata]:
    """Store *uploads*, or adopt what an earlier insert left, and return what their rows are to record.

    Raises
    ------
    StorageError, SourceError, VerificationError
        If one cannot be stored; it says which, and what became of the others.
    """
    stop = Stop()
    with _progress(table, uploads) as advance:
        storing = Storing(pipeline, entries, uploads, row_count, _stopping(stop, advance))
        try:
            run_in_thread(
                lambda: run_all(storing.jobs(), workers_for(pipeline, uploads), stop),
                stop,
                Care(table.connection, entries),
            )
        except DataJointFileError as error:
            entries.try_to_flush()
            raise storing.explained(error) from error
        except BaseException:
            entries.try_to_flush()
            raise
    entries.flush()
    return storing.stored


def workers_for(pipeline: Pipeline, uploads: Mapping[Slot, Upload]) -> int:
    """Return how many files to send at a time. Of large ones a few: each has several parts under way.

    They could not all have a share of the memory, and the C library keeps some for each thread that had.
    """
    sizes = [upload.source.size or 0 for upload in uploads.values()]
    mean = max(1, sum(sizes) // len(sizes))
    return min(pipeline.workers, max(_LARGE_AT_ONCE, transfers().limit // mean))


_LARGE_AT_ONCE = 4


@contextmanager
def _progress(table: Any, uploads: Mapping[Slot, Upload]) -> Iterator[Advance]:
    sizes = [upload.source.size for upload in uploads.values()]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    what = f"{len(uploads)} files" if len(uploads) > 1 else next(iter(uploads.values())).name
    with progress_bar(f"storing {what} of {table_name(table)}", total) as advance:
        yield advance


class Care:
    """What the caller does while it waits. No failure of it ends the upload: the claim finds out what was lost."""

    def __init__(self, connection: Any, entries: Entries) -> None:
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


def _stopping(stop: Stop, advance: Advance) -> Advance:
    """Return *advance* for several threads, which ends their work when it is to stop."""
    lock = threading.Lock()

    def watched(count: int) -> None:
        stop.check()
        with lock:
            advance(count)

    return watched


def run_in_thread(work: Callable[[], None], stop: Stop, care: Callable[[], None]) -> None:
    """Do *work* in a thread and wait for it, calling *care* again and again.

    What interrupts the waiting sets *stop*, waits until the work has noticed, and goes on.
    """
    errors: list[BaseException] = []
    done = threading.Event()  # an interrupted Thread.join takes the thread for finished

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)
        finally:
            done.set()

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="datajoint-file upload", daemon=True).start()
    try:
        while not done.wait(TICK_SECONDS):
            care()
    except BaseException:
        stop.set()
        done.wait()
        raise
    if errors:
        raise errors[0]
