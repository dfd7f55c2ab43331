"""Write records of a directory that is being made: kept by the process that makes it, noted in the store by any other.

Notes of workers are checkpoints beside the directory, each of what one of them has written since its last. None is
believed for its own sake: it says what an object is that has the noted tag now.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from multiprocessing.util import Finalize
from typing import Protocol
from weakref import WeakSet, WeakValueDictionary

from datajoint_file.errors import UnsupportedValueError, brief
from datajoint_file.model.object_keys import manifest_key, project_of
from datajoint_file.pipeline.checkpoints import Noted, store_note
from datajoint_file.pipeline.lookup import pipeline_named

logger = logging.getLogger(__name__)

NOTED_FILES = 1_000
NOTED_BYTES = 64 * 2**20
NOTED_SECONDS = 2.0
"""After so many files, or bytes, or so long after the first of them, a worker notes what it has written."""


class NewFile(Protocol):
    """A file that is stored when it is closed."""

    member: str  # its path in the directory

    def discard(self) -> None:
        """Close it, and store nothing."""
        ...


class Record:
    """What this process has written of a directory that it makes, and the files of it that are open."""

    def __init__(self) -> None:
        self.members: dict[str, Noted] = {}
        self._open: WeakSet[NewFile] = WeakSet()
        self._lost: set[str] = set()

    def has(self, name: str) -> bool:
        """Tell whether a member was written by this process."""
        return name in self.members

    def add(self, noted: Noted) -> None:
        """Take note of a member that has been written, whole."""
        self.members[noted.name] = noted
        self._lost.discard(noted.name)

    def forget(self, name: str) -> None:
        """Take note that a member is going to be removed."""
        self.members.pop(name, None)
        self._lost.discard(name)

    def opened(self, file: NewFile) -> None:
        """Take note of a file that will be stored when it is closed."""
        self._open.add(file)

    def closed(self, file: NewFile) -> None:
        """Take note that it was stored, or that whoever wrote it was told that it was not."""
        self._open.discard(file)

    def lost(self, file: NewFile) -> None:
        """Take note of a file that nobody has any more, and that was not closed."""
        self._lost.add(file.member)

    def require_closed(self) -> None:
        """Raise if a file was opened to be written, and not closed: nobody knows whether it has all its bytes."""
        left = sorted({*self._lost, *(file.member for file in list(self._open))})
        if left:
            more = f", and {len(left) - 1} more" if len(left) > 1 else ""
            raise UnsupportedValueError(
                f"its member {brief(left[0], 200)}{more} was opened to be written and not closed before the block "
                "ended: the directory is not complete, and there is nothing to insert. Write it by `with new.open(…)`, "
                "or close it"
            )

    def end(self) -> None:
        """Give up the files that are open: nothing is written any more."""
        for file in list(self._open):
            file.discard()


class WorkerRecord:
    """What this process has written of a directory that another one makes, until it is noted there.

    Nothing but what waits to be noted keeps one alive, so that a worker of many directories does not grow.
    """

    def __init__(self, directory: str, pipeline: str) -> None:
        self._directory = directory
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._waiting: dict[str, Noted] = {}
        self._bytes = 0
        self._at_exit: list[Finalize[None]] = []

    def has(self, _name: str) -> bool:
        """Tell whether it is known that a member is there: others may have removed it."""
        return False

    def add(self, noted: Noted) -> None:
        """Take note of a member that has been written, and tell others if it is time."""
        with self._lock:
            is_first = not self._waiting
            if is_first:  # what a pool ends in good order says all that it knows
                self._at_exit.append(Finalize(None, self.note, exitpriority=10))
            self._waiting[noted.name] = noted
            self._bytes += noted.size
            is_time = len(self._waiting) >= NOTED_FILES or self._bytes >= NOTED_BYTES
        if is_time:
            self.note()
        elif is_first:
            timer = threading.Timer(NOTED_SECONDS, self.note)
            timer.daemon = True
            timer.start()

    def forget(self, name: str) -> None:
        """Take note that a member is going to be removed."""
        with self._lock:
            self._waiting.pop(name, None)

    def note(self) -> None:
        """Tell others what was written: what is not noted, they read back."""
        with self._lock:
            some, self._waiting, self._bytes = list(self._waiting.values()), {}, 0
            at_exit, self._at_exit = self._at_exit, []
        with suppress(Exception):  # a store that fails, or a process that ends
            pipeline = pipeline_named(self._pipeline, project_of(self._directory))
            if some and not pipeline.backend.exists(manifest_key(self._directory)):
                store_note(pipeline, self._directory, some)
        for one in at_exit:
            one.cancel()

    def opened(self, file: NewFile) -> None:
        """Nothing is known here of the end of the block."""

    def closed(self, file: NewFile) -> None:
        """As above."""

    def lost(self, file: NewFile) -> None:
        """Say so: who ends the directory does not know of it."""
        logger.warning("%s was opened to be written and never closed: it is not stored", brief(file.member, 200))


_records: dict[tuple[int, str], Record] = {}
"""By process and key of a directory, while it is made there. A child made by fork is a worker."""


_worker_records: WeakValueDictionary[tuple[int, str, str], WorkerRecord] = WeakValueDictionary()
"""By process, key of a directory, and pipeline, while it is in use: two of one directory would do no harm."""


def begin_record(directory: str) -> Record:
    """Return the record of a directory, which this process makes."""
    return _records.setdefault((os.getpid(), directory), Record())


def end_record(directory: str) -> None:
    """Forget it: the directory is ended, or given up."""
    record = _records.pop((os.getpid(), directory), None)
    if record is not None:
        record.end()


def record_of(directory: str, pipeline: str) -> Record | WorkerRecord:
    """Return where this process takes note of what it writes."""
    process = os.getpid()
    return _records.get((process, directory)) or _worker_records.setdefault(
        (process, directory, pipeline), WorkerRecord(directory, pipeline)
    )
