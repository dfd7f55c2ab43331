"""Thread pool: so many jobs at a time, begun in their order, all stopped when one fails.

What a job does is its own business, and so is noticing that it is to stop.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from typing import Any

from datajoint_file.concurrency.descriptors import affordable
from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import brief


class Stopped(BaseException):
    """Ends work that nobody waits for any more. No handler of errors catches it."""


class Stop(threading.Event):
    """Tells work that nobody waits for it any more: in the process that made it, where it can be told.

    What is pickled to another process is a copy that is never set: there, work that has begun is done to its end.
    """

    def __reduce__(self) -> tuple[type[Stop], tuple[()]]:
        return Stop, ()

    def check(self) -> None:
        """End the work that asks by `Stopped`, if it is to stop."""
        if self.is_set():
            raise Stopped

    def watched(self, advance: Advance) -> Advance:
        """Return *advance*, which ends the work that calls it when that is to stop."""

        def watching(count: int) -> None:
            self.check()
            advance(count)

        return watching


def check_workers(workers: int | None) -> int | None:
    """Return *workers*, as users give it, if it is a number of files to work on at a time, else raise `ValueError`."""
    if workers is not None and not is_count(workers, at_least=1):
        raise ValueError(f"workers = {brief(workers)}: give the number of files to work on at a time, 1 or more")
    return workers


def is_count(value: object, at_least: int) -> bool:
    """Tell whether *value* is a whole number, of so many *at_least*."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


FOREVER = threading.TIMEOUT_MAX / 2
"""A time limit for waits that have none, so that an interrupt ends them.

A wait without a limit is a system call that is begun again after the signal wherever a library has asked for that: to
import Polars is enough.
"""

_SECONDS_TO_NOTICE = 0.5


def run_all(jobs: Iterable[Callable[[], object]], workers: int, stop: Stop) -> None:
    """Run *jobs*, up to *workers* at a time, and wait for all that were begun. Context variables are the caller's.

    Jobs are taken as they are begun, a few ahead: those of an iterator need not be in memory all at a time.

    There are as many workers as there are file descriptors for; with one, or one job, all is done in this thread.
    Else that only waits: so an interrupt reaches it at once, and what is done in the main thread, where it must be
    possible to interrupt it, costs more.

    When a job fails, or others set *stop*, no further job is begun. Those under way end by `Stopped` if they look. What
    the first job that failed has raised is raised.
    """
    waiting = iter(jobs)
    first = list(islice(waiting, workers))
    run = _WorkQueue(chain(first, waiting), stop)
    try:
        started = sum(run.start() for _ in range(affordable(len(first)))) if len(first) > 1 else 0
        if not started:
            run.work()
        run.wait()
    except BaseException:  # interrupted while starting or waiting
        stop.set()
        run.wait()
        raise
    if run.errors:
        raise next((error for error in run.errors if not isinstance(error, Stopped)), run.errors[0])


class LastingPool(ThreadPoolExecutor):
    """A thread pool that outlives the main thread: after that, where Python's own refuse, it works in the caller's."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Have *function* called by a thread; by this one, if the main thread has ended."""
        try:
            return super().submit(function, *args, **options)
        except RuntimeError:
            if threading.main_thread().is_alive():
                raise
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **options))
        except BaseException as error:  # noqa: BLE001 - raised again by who asks for the result
            future.set_exception(error)
        return future


class _WorkQueue:
    """Jobs that several threads take one after the other."""

    def __init__(self, jobs: Iterable[Callable[[], object]], stop: Stop) -> None:
        self.errors: list[BaseException] = []
        self._waiting = iter(jobs)
        self._stop = stop
        self._lock = threading.Lock()
        self.others: list[threading.Event] = []  # each set when its thread has ended

    def start(self, name: str = "datajoint-file worker") -> bool:
        """Work in another thread, with the caller's context variables. Tell whether there is one.

        What is waited for is an event: an interrupted ``Thread.join`` takes a running thread for one that has finished.
        """
        done, context = threading.Event(), contextvars.copy_context()

        def work() -> None:
            try:
                context.run(self.work)
            finally:
                done.set()

        thread = threading.Thread(target=work, name=name, daemon=True)
        try:
            with suppress(RuntimeError):  # no more threads can be had: those that there are do the work
                thread.start()
        finally:
            if thread.ident is not None:
                self.others.append(done)
        return thread.ident is not None

    def wait(self) -> None:
        """Wait for the other threads. An interrupt just before a lock is waited for is seen only when that ends."""
        for done in self.others:
            while not done.wait(_SECONDS_TO_NOTICE):
                pass

    def work(self) -> None:
        """Do one job after the other until there is none, or one has failed."""
        try:
            while job := self._next():
                job()
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            self.errors.append(error)
            self._stop.set()

    def _next(self) -> Callable[[], object] | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._waiting, None)


def run_beside(work: Callable[[], object], stop: Stop, care: Callable[[], object], tick_seconds: float) -> None:
    """Do *work* in a thread and wait for it, calling *care* every so often. Context variables are the caller's.

    What interrupts the waiting sets *stop*, waits until the work has noticed, and goes on. What the work has raised is
    raised.
    """
    run = _WorkQueue([work], Stop())
    try:
        is_begun = run.start("datajoint-file upload")
        while is_begun and not run.others[0].wait(tick_seconds):
            care()
    except BaseException:
        stop.set()
        run.wait()
        raise
    if not is_begun:
        raise RuntimeError("can't start new thread")
    if run.errors:
        raise run.errors[0]
