"""Records of what a process has written into a directory that is being made: in its memory, until end or checkpoint.

Who makes the directory keeps its record to the end. Any other process, a worker, writes a checkpoint beside the
directory (`checkpoints`) of what it has written since its last: what the members are, and that they have been there.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from multiprocessing.util import Finalize
from typing import Protocol
from weakref import WeakSet, WeakValueDictionary

from datajoint_file.errors import StorageError, UnsupportedValueError, WorkerError, brief
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.object_keys import project_of
from datajoint_file.pipeline.checkpoints import REMOVED, UNKNOWN, CheckpointLine, next_name, write_checkpoint
from datajoint_file.pipeline.fence import WAIT_SECONDS, Fence, ended
from datajoint_file.pipeline.lookup import pipeline_named
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import ObjectStat

logger = logging.getLogger(__name__)

WORKER_FILES = 1_000
WORKER_BYTES = 64 * 2**20
WORKER_SECONDS = 2.0
"""After so many files, or bytes, or so long after the first of them, a worker writes a checkpoint."""


class Change(Enum):
    """What becomes of members."""

    ADD = auto()  # an upload never replaces what is there
    REPLACE = auto()
    REMOVE = auto()


class NewFile(Protocol):
    """A file that is stored when it is closed."""

    member: str  # its path in the directory

    def discard(self) -> None:
        """Close it, and store nothing."""
        ...


class Record:
    """What this process has written of a directory that it makes, and the files of it that are open.

    Parameters
    ----------
    directory : str
        The key of the directory.
    """

    def __init__(self, directory: str) -> None:
        self.members: dict[str, CheckpointLine] = {}
        self.removed: set[str] = set()
        self.begun: set[str] = set()  # were there, and may be no more
        self._directory = directory
        self._open: WeakSet[NewFile] = WeakSet()
        self._lost: set[str] = set()
        self._changing: Counter[str] = Counter()
        self._condition = threading.Condition()
        self._is_ended = False

    def has(self, name: str) -> bool:
        """Tell whether a member was written by this process."""
        return name in self.members

    def lines(self, name: str) -> list[CheckpointLine]:
        """Return what is known here of a member."""
        return [self.members[name]] if name in self.members else []

    def begin(self, name: str) -> None:
        """Record that a member which is there, whoever has written it, gives way to another."""
        self.begun.add(name)

    def is_own(self, name: str, found: ObjectStat) -> bool:
        """Tell whether a member was written by this process, and is *found* as it was then."""
        return name in self.members and self.members[name].tag == found.tag

    @contextmanager
    def changing(self, names: Sequence[str], change: Change) -> Iterator[None]:
        """Keep the end of the directory waiting while members are changed by a thread.

        Raises
        ------
        ReadOnlyStorageError
            If the end has begun; nothing is to be changed then.
        """
        with self._condition:
            if self._is_ended:
                raise ended(self._directory)
            self._changing.update(names)
        try:
            yield
        finally:
            with self._condition:
                self._changing -= Counter(names)
                self._condition.notify_all()
            if change is Change.REMOVE:
                self._forget(names)

    def _forget(self, names: Sequence[str]) -> None:
        self.removed.update(names)
        self.begun.difference_update(names)
        self._lost.difference_update(names)
        for name in names:
            self.members.pop(name, None)

    def add(self, line: CheckpointLine) -> None:
        """Record a member that has been written, whole."""
        self.members[line.name] = line
        self.removed.discard(line.name)
        self.begun.discard(line.name)
        self._lost.discard(line.name)

    def stop(self) -> None:
        """Let no thread change anything any more, and wait for those that are about it.

        Raises
        ------
        WorkerError
            If one of them does not come to an end.
        """
        with self._condition:
            self._is_ended = True
            if not self._condition.wait_for(lambda: not self._changing, WAIT_SECONDS):
                name = brief(decode_path(min(self._changing)), 200)
                raise WorkerError(
                    f"its member {name} is still being written, or removed, by another thread of this process: there "
                    "is nothing to insert. Let the block wait for its threads"
                )

    def opened(self, file: NewFile) -> None:
        """Record a file that will be stored when it is closed."""
        self._open.add(file)

    def closed(self, file: NewFile) -> None:
        """Record that it was stored, or that whoever wrote it was told that it was not."""
        self._open.discard(file)

    def lost(self, file: NewFile) -> None:
        """Record a file that nobody has any more, and that was not closed."""
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
        self._is_ended = True
        for file in list(self._open):
            file.discard()


class WorkerRecord:
    """What this process has written of a directory that another one makes, until that is in a checkpoint.

    Nothing but what waits for that keeps one alive, so that a worker of many directories does not grow.
    """

    def __init__(self, directory: str, pipeline: str) -> None:
        self._directory = directory
        self._name = pipeline
        self._lock = threading.Lock()
        self._waiting: dict[str, CheckpointLine] = {}
        self._bytes = 0
        self._open_until = 0.0  # so long nobody asks again before a new member
        self._at_exit: list[Finalize[None]] = []

    @property
    def _pipeline(self) -> Pipeline:
        return pipeline_named(self._name, project_of(self._directory))

    def has(self, _name: str) -> bool:
        """Tell whether it is known that a member is there: others may have removed it."""
        return False

    def lines(self, name: str) -> list[CheckpointLine]:
        """Return what is known here of a member: what waits for a checkpoint."""
        return [line for line in [self._waiting.get(name)] if line]

    def begin(self, _name: str) -> None:
        """Do nothing: that it was there is said when it fails, by `_alone`."""

    @contextmanager
    def changing(self, names: Sequence[str], change: Change) -> Iterator[None]:
        """Change members if the end of the directory has not begun, and keep it waiting meanwhile.

        A new member does not: what is there already is never replaced by one. Whether it came in time is seen when it
        is stored.

        Raises
        ------
        ReadOnlyStorageError
            If the end has begun; nothing is to be changed then, or the new member may be missing.
        """
        fence = Fence(self._pipeline, self._directory)
        if change is not Change.ADD and names:
            with self._alone(fence, names, change):
                yield
            return
        if time.monotonic() >= self._open_until:
            fence.require_open()
        yield
        if names:
            fence.require_open(names[0])
            self._open_until = time.monotonic() + WORKER_SECONDS

    @contextmanager
    def _alone(self, fence: Fence, names: Sequence[str], change: Change) -> Iterator[None]:
        """Keep the end waiting. If it cannot be said what became of the members, it waits in vain."""
        said = REMOVED if change is Change.REMOVE else UNKNOWN
        mark = fence.enter(names[0])
        try:
            yield
        except BaseException:
            with suppress(StorageError):
                self._say(names, said)
                fence.leave(mark)
            raise
        if change is Change.REMOVE:
            self._say(names, said)
        fence.leave(mark)

    def _say(self, names: Sequence[str], said: str) -> None:
        """Write at once what has become of members; what they were is of no interest any more."""
        parts = [names[first : first + WORKER_FILES] for first in range(0, len(names), WORKER_FILES)]
        with self._lock:
            for name in names:
                self._waiting.pop(name, None)
            called = [next_name() for _ in parts]
        for name, part in zip(called, parts, strict=True):
            lines = [CheckpointLine(member, said) for member in part]
            write_checkpoint(self._pipeline, self._directory, lines, name)

    def add(self, line: CheckpointLine) -> None:
        """Record a member that has been written, and write a checkpoint if it is time."""
        with self._lock:
            is_first = not self._waiting
            if is_first:  # what a pool ends in good order says all that it knows
                self._at_exit.append(Finalize(None, self.checkpoint, exitpriority=10))
            self._waiting[line.name] = line
            self._bytes += line.size
            is_time = len(self._waiting) >= WORKER_FILES or self._bytes >= WORKER_BYTES
        if is_time:
            self.checkpoint()
        elif is_first:
            timer = threading.Timer(WORKER_SECONDS, self.checkpoint)
            timer.daemon = True
            timer.start()

    def checkpoint(self) -> None:
        """Write what waits: what is in no checkpoint is read back at the end."""
        with self._lock:
            some, self._waiting, self._bytes = list(self._waiting.values()), {}, 0
            at_exit, self._at_exit, name = self._at_exit, [], next_name()
        with suppress(Exception):  # a store that fails, or a process that ends
            if some:
                Fence(self._pipeline, self._directory).require_open()
                write_checkpoint(self._pipeline, self._directory, some, name)
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
    return _records.setdefault((os.getpid(), directory), Record(directory))


def end_record(directory: str) -> None:
    """Forget it: the directory is ended, or given up."""
    record = _records.pop((os.getpid(), directory), None)
    if record is not None:
        record.end()


def record_of(directory: str, pipeline: str) -> Record | WorkerRecord:
    """Return where this process records what it writes."""
    process = os.getpid()
    return _records.get((process, directory)) or _worker_records.setdefault(
        (process, directory, pipeline), WorkerRecord(directory, pipeline)
    )
