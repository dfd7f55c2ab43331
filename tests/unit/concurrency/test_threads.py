"""Jobs in threads: order, errors, stopping, interrupts."""

from __future__ import annotations

import contextvars
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from datajoint_file.concurrency.threads import LastingPool, Stop, Stopped, run_all

PATIENCE_SECONDS = 20


def test_all_jobs_are_done_and_begun_in_order() -> None:
    begun: list[int] = []
    run_all([partial(begun.append, number) for number in range(100)], 1, Stop())
    assert begun == list(range(100))


def test_jobs_are_taken_as_they_are_begun() -> None:
    done: list[int] = []

    def jobs() -> Iterator[Callable[[], None]]:
        for number in range(1_000):
            assert number - len(done) <= 4
            yield partial(done.append, number)

    run_all(jobs(), 4, Stop())
    assert sorted(done) == list(range(1_000))


def test_what_jobs_cannot_be_taken_from_is_raised() -> None:
    def jobs() -> Iterator[Callable[[], None]]:
        yield from [lambda: None] * 9
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        run_all(jobs(), 2, Stop())


def test_so_many_run_at_a_time_and_no_more() -> None:
    running, most, lock, together = 0, 0, threading.Lock(), threading.Barrier(4, timeout=PATIENCE_SECONDS)

    def job() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        with lock:
            running -= 1

    run_all([job] * 12, 4, Stop())
    assert most == 4


def test_the_first_error_is_raised_and_no_further_job_is_begun() -> None:
    stop, begun = Stop(), []

    def fail() -> None:
        raise ValueError("of the job")

    def wait_for_stop() -> None:
        begun.append(1)
        assert stop.wait(PATIENCE_SECONDS)
        raise Stopped

    with pytest.raises(ValueError, match="of the job"):
        run_all([wait_for_stop, fail, *[wait_for_stop] * 50], 2, stop)
    assert len(begun) == 1


def test_one_job_runs_in_the_calling_thread() -> None:
    threads: list[threading.Thread] = []
    run_all([lambda: threads.append(threading.current_thread())], 8, Stop())
    assert threads == [threading.current_thread()]


def test_jobs_see_the_context_variables_of_the_caller() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    token = variable.set("caller's")
    seen: list[str] = []
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS)

    def job() -> None:
        together.wait()
        seen.append(variable.get())

    try:
        run_all([job] * 3, 3, Stop())
    finally:
        variable.reset(token)
    assert seen == ["caller's"] * 3


def test_an_interrupt_stops_the_others_and_waits_for_them() -> None:
    stop, both, ended = Stop(), threading.Barrier(2, timeout=PATIENCE_SECONDS), []
    main = threading.main_thread()

    def job() -> None:
        assert threading.current_thread() is not main
        if both.wait() == 0:
            assert main.ident is not None
            signal.pthread_kill(main.ident, signal.SIGINT)
        assert stop.wait(PATIENCE_SECONDS)
        ended.append(1)
        raise Stopped

    with pytest.raises(KeyboardInterrupt):
        run_all([job, job], 2, stop)
    assert ended == [1, 1]


def test_no_job_is_no_work() -> None:
    run_all([], 4, Stop())


def test_a_pool_that_is_shut_down_takes_no_more_work_as_long_as_there_is_a_main_thread() -> None:
    pool = LastingPool(1)
    assert pool.submit(lambda: threading.current_thread()).result() is not threading.current_thread()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)
