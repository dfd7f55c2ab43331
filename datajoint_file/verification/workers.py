"""Verification workers: threads of this process, or tasks for the workers of an executor.

What one object's examination is stands in `examine`; which objects, and what follows, in `verification`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from datajoint_file.concurrency.descriptors import affordable
from datajoint_file.concurrency.executors import RAMP, Delegation, runs_here
from datajoint_file.concurrency.progress import Advance
from datajoint_file.concurrency.threads import LastingPool, Stop
from datajoint_file.errors import StorageError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.verification.check_object import Level, Problem
from datajoint_file.verification.examine import examine

UNREACHABLE_LIMIT = 10
"""After so many objects in a row about which the store could not be asked, a run stops: it is the store, not they."""

TASK_FILES = 100
"""Objects of one task to a worker, at most: what is under way at a time must be remembered by the caller."""

TASK_BYTES = 256 * 2**20
"""Bytes to read for one task, at most, unless one object has more: no worker is at one for long."""


class Meter:
    """Counts bytes for all workers, tells *advance* one call at a time, and stops them when the run is given up."""

    def __init__(self, advance: Advance) -> None:
        self.bytes = 0
        self.stop = Stop()
        self._advance = advance
        self._lock = threading.Lock()

    def advance(self, count: int) -> None:
        """Count, or end the worker that calls."""
        self.stop.check()
        with self._lock:
            self.bytes += count
            self._advance(count)


Examined = tuple[Any, Problem | None]
"""What `begin` was given to know an object by, and what is wrong with it."""


class Threads:
    """Objects examined by threads of this process: so many *workers*, if there are file descriptors for them."""

    def __init__(self, level: Level, workers: int, meter: Meter) -> None:
        self._level = level
        self._workers = affordable(workers)
        self._meter = meter
        self._pool = LastingPool(self._workers, thread_name_prefix="verify")
        self._tickets: dict[Future[Problem | None], Any] = {}

    @property
    def is_full(self) -> bool:
        """Whether one should wait before another is begun: each thread has one object and another to go on with."""
        return len(self._tickets) >= 2 * self._workers

    def begin(self, ticket: Any, pipeline: Pipeline, metadata: FileMetadata) -> None:
        """Have an object examined."""
        future = self._pool.submit(examine, pipeline, metadata, self._level, self._meter.advance)
        self._tickets[future] = ticket

    def flush(self) -> None:
        """See to it that all that was begun is under way, as no other comes for now: it is."""

    def wait(self, timeout: float) -> Iterator[Examined]:
        """Wait for the next objects, at most *timeout* seconds; give them as they were begun."""
        done, _ = wait(self._tickets, timeout=timeout, return_when=FIRST_COMPLETED)
        for future in [future for future in self._tickets if future in done]:
            yield self._tickets.pop(future), future.result()

    def close(self) -> None:
        """Stop the threads and wait for them."""
        self._meter.stop.set()
        self._pool.shutdown(cancel_futures=True)


@dataclass(slots=True)
class VerificationTask:
    """A task to a worker: objects of one pipeline."""

    address: PipelineAddress
    level: Level
    threads: int  # objects to examine at a time, in a process of its own
    stop: Stop
    files: list[FileMetadata] = field(default_factory=list)
    size: int = 0  # bytes to read


class Delegated:
    """Objects examined by the workers of an executor, *threads* at a time by each in a process of its own."""

    def __init__(
        self,
        executor: Executor,
        address_of: Callable[[Pipeline], PipelineAddress],
        level: Level,
        threads: int,
        meter: Meter,
    ) -> None:
        self._address_of = address_of
        self._level: Level = level
        self._threads = 1 if runs_here(executor) else threads
        self._meter = meter
        self._delegation: Delegation[VerificationTask, list[tuple[Problem | None, int]]]
        self._delegation = Delegation(executor, examine_all)
        self._open: dict[int, VerificationTask] = {}
        self._tickets: dict[int, list[Any]] = {}
        self._begun = 0

    @property
    def is_full(self) -> bool:
        """Whether enough tasks are under way."""
        return self._delegation.is_full

    def begin(self, ticket: Any, pipeline: Pipeline, metadata: FileMetadata) -> None:
        """Have an object examined, with others: a task is sent when it is worth it."""
        task = self._open.get(id(pipeline))
        if task is None:
            task = VerificationTask(self._address_of(pipeline), self._level, self._threads, self._meter.stop)
            self._open[id(pipeline)] = task
        task.files.append(metadata)
        task.size += metadata.size if self._level == "content" else 0
        self._tickets.setdefault(id(task), []).append(ticket)
        if len(task.files) >= min(TASK_FILES, 1 + self._begun // RAMP) or task.size >= TASK_BYTES:
            self._send(self._open.pop(id(pipeline)))

    def _send(self, task: VerificationTask) -> None:
        self._begun += 1
        self._delegation.begin(task)

    def flush(self) -> None:
        """Send what is left, however little it is."""
        while self._open:
            self._send(self._open.popitem()[1])

    def wait(self, timeout: float) -> Iterator[Examined]:
        """Wait for the next tasks. One that ends early, since its worker found no store, is given as far as it came.

        Raises
        ------
        WorkerError
            If a worker has died.
        ConfigurationError
            If a worker has no configuration of the pipeline, or one with another store.
        """
        if not self._delegation:
            self.flush()
        failure: Exception | None = None
        for task, outcome in self._delegation.finished(timeout):
            tickets = self._tickets.pop(id(task))
            if outcome.error is not None:
                failure = failure or outcome.error
                continue
            for ticket, (problem, size) in zip(tickets, outcome.result(), strict=False):
                self._meter.advance(size)
                yield ticket, problem
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Take back what no worker has begun; stop threads of this process."""
        self._meter.stop.set()
        self._delegation.cancel()


Examination = Threads | Delegated
"""Objects being examined."""


def examine_all(task: VerificationTask) -> list[tuple[Problem | None, int]]:
    """Examine the objects of a task, wherever this is called; return what is wrong with each, and the bytes read.

    It ends after as many unreachable objects in a row as end a run.

    Raises
    ------
    ConfigurationError
        If this process has no configuration of the pipeline, or one with another store.
    """
    try:
        pipeline = task.address.same_store()
    except StorageError:  # it does not answer: what its objects say of that is what is wanted
        pipeline = task.address.pipeline()
    if task.threads == 1:
        return list(_reachable(_examined(pipeline, task, metadata) for metadata in task.files))
    pool = LastingPool(min(task.threads, len(task.files)), thread_name_prefix="verify")
    try:
        return list(_reachable(pool.map(lambda metadata: _examined(pipeline, task, metadata), task.files)))
    finally:
        pool.shutdown(cancel_futures=True)


def _examined(pipeline: Pipeline, task: VerificationTask, metadata: FileMetadata) -> tuple[Problem | None, int]:
    size = 0

    def advance(count: int) -> None:
        nonlocal size
        task.stop.check()
        size += count

    return examine(pipeline, metadata, task.level, advance), size


def _reachable(results: Iterator[tuple[Problem | None, int]]) -> Iterator[tuple[Problem | None, int]]:
    """Give *results* up to the last of so many unreachable objects in a row that nobody would ask for more."""
    in_a_row = 0
    for problem, size in results:
        yield problem, size
        in_a_row = in_a_row + 1 if problem is not None and problem.is_unreachable else 0
        if in_a_row >= UNREACHABLE_LIMIT:
            return
