"""Executor adapter: submits pickled tasks to any `concurrent.futures.Executor` and bounds how many are in flight.

Any `concurrent.futures.Executor` will do: threads, processes (spawned or forked), ``client.get_executor()`` of Dask.
What the work is, the verbs know; where a worker finds their pipeline, `pipeline.address`. Nothing is scheduled here.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from datajoint_file.concurrency.threads import FOREVER, Stop
from datajoint_file.errors import DataJointFileError, WorkerError, brief, printable

IN_FLIGHT = 200
"""Tasks under way at a time: enough for a few hundred workers, and with small tasks little to remember."""

TASK_FILES = 50
TASK_BYTES = 64 * 2**20
"""A task has so many files or bytes at most, unless one file has more."""

RAMP = 4
"""Tasks of each number of items, beginning with one."""

_LENGTH = 500

Item = TypeVar("Item")
Task = TypeVar("Task")
Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=Exception)


@dataclass(frozen=True, slots=True)
class TaskResult(Generic[Result]):
    """What became of a task: what the work returned, or the error that it raised instead."""

    value: Result | None
    error: Exception | None = None

    def result(self) -> Result:
        """Return what the work returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return cast(Result, self.value)


class Delegation(Generic[Task, Result]):
    """Tasks under way on an executor that is somebody else's: it is neither started nor shut down here.

    What is done with one task is a function of a module, for another process finds it by name. For threads nothing is
    pickled. Anything else is taken for another process, and gets the pickled task; what cannot be pickled is refused
    at once.
    """

    def __init__(self, executor: Executor, function: Callable[[Task], Result], *, in_flight: int = IN_FLIGHT) -> None:
        self._executor = check_executor(executor)
        self._function = function
        self._in_flight = in_flight
        self._pending: dict[Future[TaskResult[Result]], Task] = {}
        self._is_refused = False
        self.may_go_on = False  # workers may still be at tasks that were taken back

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        """Whether one should wait before more is begun."""
        return len(self._pending) >= self._in_flight or (self._is_refused and bool(self._pending))

    def begin(self, task: Task) -> None:
        """Hand *task* to the executor. If it takes no work any more, that is the task's outcome."""
        try:
            future = self._submitted(task)
        except Exception as error:  # noqa: BLE001 - broken, shut down, or cannot be pickled: executors have their own
            future = Future()
            future.set_exception(error)
            self._is_refused = True
        self._pending[future] = task

    def _submitted(self, task: Task) -> Future[TaskResult[Result]]:
        if runs_here(self._executor):
            return self._executor.submit(_done, self._function, task)
        parcel = pickle.dumps((self._function, task), protocol=pickle.HIGHEST_PROTOCOL)
        # Dask gives equal work one result; the last argument makes each task one of its own.
        return cast("Future[TaskResult[Result]]", self._executor.submit(_unpacked, parcel, uuid.uuid4().hex))

    def finished(self, timeout: float = FOREVER, *, oldest: bool = False) -> list[tuple[Task, TaskResult[Result]]]:
        """Wait until one task at least is done, or *timeout* seconds have passed; return what is done, oldest first.

        With *oldest*, it waits for the task that was begun first, and returns no other. The error of an outcome is a
        `WorkerError` if a worker has died, or the executor was shut down.
        """
        watched = list(self._pending)[: 1 if oldest else None]
        done, _ = wait(watched, timeout=timeout, return_when=FIRST_COMPLETED)
        return [(self._pending.pop(future), self._outcome(future)) for future in watched if future in done]

    def _outcome(self, future: Future[TaskResult[Result]]) -> TaskResult[Result]:
        try:
            return future.result()
        except DataJointFileError as error:  # a task that would not be pickled, and said why
            return TaskResult(None, error)
        except Exception as error:  # noqa: BLE001 - what the work raises is in its outcome: this is the executor's
            failure = self._failure(error)
            failure.__cause__ = error
            return TaskResult(None, failure)

    def _failure(self, error: Exception) -> WorkerError:
        text = printable(" ".join(f"{type(error).__name__}: {error}".split())[:_LENGTH].strip(": "))
        name = type(self._executor).__name__
        return WorkerError(f"the workers of {name} could not do their work ({text}). {_ADVICE}")

    def rest(self) -> Iterator[tuple[Task, TaskResult[Result]]]:
        """Take back what no worker has begun, wait for the others, and give what became of them."""
        self._take_back()
        wait(self._pending, FOREVER)
        while self._pending:
            future, task = next(iter(self._pending.items()))
            del self._pending[future]
            if isinstance(future.exception(), Exception | None):  # else it has noticed that it was to stop
                yield task, self._outcome(future)

    def cancel(self) -> None:
        """Take back what no worker has begun, and forget the rest. Work in threads of this process is waited for."""
        self._take_back()
        left = list(self._pending)
        self._pending.clear()
        if runs_here(self._executor):
            wait(left, FOREVER)
        self.may_go_on |= not all(future.done() for future in left)

    def _take_back(self) -> None:
        left = {future: task for future, task in self._pending.items() if not future.cancel()}
        if not isinstance(self._executor, ThreadPoolExecutor | ProcessPoolExecutor):
            self.may_go_on |= len(left) < len(self._pending)  # Dask takes back what is under way, which goes on
        self._pending = left


_ADVICE = (
    "A worker was killed (most often for want of memory), the executor was shut down, or workers cannot start: each "
    "needs the same version of datajoint_file, and a script that spawns processes needs `if __name__ == '__main__':`. "
    "What was done before is kept"
)


def delegated(
    executor: Executor,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    in_flight: int = IN_FLIGHT,
    in_order: bool = False,
    stop: Stop | None = None,
) -> Generator[tuple[Task, TaskResult[Result]], None, None]:
    """Have *function* done with each of *tasks*, which are taken as they are needed; give what became of each.

    Tasks are picklable, small and without secrets. What became of them is given as it comes, or with *in_order* in
    their turn; its error is a `WorkerError` if a worker has died, or the executor takes no work.

    To be closed by who does not exhaust it. When it ends, *stop* is set, so that work in threads of this process ends.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(2) as executor:
    ...     [outcome.result() for _, outcome in delegated(executor, abs, [-1, 2, -3], in_order=True)]
    [1, 2, 3]
    """
    delegation = Delegation(executor, function, in_flight=in_flight)
    with ending(delegation, stop):
        for task in tasks:
            delegation.begin(task)
            while delegation.is_full:
                yield from delegation.finished(oldest=in_order)
        while delegation:
            yield from delegation.finished(oldest=in_order)


@contextmanager
def ending(delegation: Delegation[Any, Any], stop: Stop | None = None) -> Iterator[None]:
    """Take back, however the block ends, what is still under way then."""
    try:
        yield
    finally:
        if stop is not None:
            stop.set()
        delegation.cancel()


def runs_here(executor: Executor) -> bool:
    """Tell whether *executor* is known to work in this process, with this process's objects."""
    return isinstance(executor, ThreadPoolExecutor)


def check_executor(executor: object) -> Executor:
    """Return *executor* if it is one, else raise a `TypeError`."""
    if isinstance(executor, Executor):
        return executor
    hint = "; of a Dask client, give client.get_executor()" if hasattr(executor, "get_executor") else ""
    raise TypeError(f"executor = {brief(executor)} is no concurrent.futures.Executor{hint}")


def _unpacked(parcel: bytes, _unique: str) -> TaskResult[Any]:
    """Do what *parcel* says; called in another process."""
    function, task = pickle.loads(parcel)  # noqa: S301 - the executor would unpickle it, had we not pickled it
    outcome = _done(function, task)
    return outcome if outcome.error is None else TaskResult(None, portable(outcome.error))


def _done(function: Callable[[Any], Any], task: Any) -> TaskResult[Any]:
    """Do the work. Its errors are returned, to be told from those of the executor."""
    try:
        return TaskResult(function(task))
    except Exception as error:  # noqa: BLE001 - raised again by whoever asks for the result
        return TaskResult(None, error)


def portable(error: Failure) -> Failure | WorkerError:
    """Return *error*, or what tells of it if it would not survive the way to another process.

    Without what caused it: Dask has causes and tracebacks pickled as well, and those of clients may show credentials.
    """
    error.__cause__ = error.__context__ = error.__traceback__ = None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled just now
    except Exception:  # noqa: BLE001 - foreign exceptions can be anything
        return WorkerError(f"a worker failed with {type(error).__name__}: {printable(str(error)[:_LENGTH])}")
    return error


def grouped(
    items: Iterable[Item], size_of: Callable[[Item], int], *, most: int = TASK_FILES, most_bytes: int = TASK_BYTES
) -> Iterator[tuple[Item, ...]]:
    """Put *items* together to what is worth a task: so many, or so many bytes, unless one has more.

    The first tasks have one item, a few later ones two, and so on: few items are spread over all workers.

    Examples
    --------
    >>> [len(some) for some in grouped(range(20), lambda item: 0, most=3)]
    [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 2]
    """
    some: list[Item] = []
    size = sent = 0
    for item in items:
        some.append(item)
        size += size_of(item)
        if len(some) >= min(most, 1 + sent // RAMP) or size >= most_bytes:
            yield tuple(some)
            some, size, sent = [], 0, sent + 1
    if some:
        yield tuple(some)
