"""The byte budget: bounds, order, sources that are transfers themselves, forks."""

from __future__ import annotations

import multiprocessing
import threading

from datajoint_file.storage.memory_budget import ByteBudget, transfers
from datajoint_file.storage.tuning import MEMORY_BYTES

PATIENCE_SECONDS = 20


def test_no_more_is_given_than_there_is() -> None:
    budget, held, most, lock = ByteBudget(100), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal held, most
        for _ in range(50):
            with budget.take(60, at_least=20) as granted:
                assert 20 <= granted <= 60
                with lock:
                    held += granted
                    most = max(most, held)
                with lock:
                    held -= granted

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert most <= 100


def test_what_needs_more_than_all_gets_all_and_goes_alone() -> None:
    budget = ByteBudget(100)
    with budget.take(1000) as granted:
        assert granted == 100
        waiting = threading.Thread(target=lambda: budget.take(1).__enter__(), daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(PATIENCE_SECONDS)
    assert not waiting.is_alive()


def test_a_large_wish_is_not_passed_by_small_ones() -> None:
    budget, order = ByteBudget(100), []
    first = budget.take(50)
    first.__enter__()

    def wish(size: int) -> None:
        with budget.take(size):
            order.append(size)

    large = threading.Thread(target=wish, args=(100,))
    large.start()
    while not budget._waiting:
        pass
    small = threading.Thread(target=wish, args=(10,))
    small.start()
    small.join(0.05)
    assert order == []
    first.__exit__(None, None, None)
    large.join(PATIENCE_SECONDS)
    small.join(PATIENCE_SECONDS)
    assert order == [100, 10]


def test_a_source_that_is_a_transfer_does_not_wait_for_the_one_that_reads_it() -> None:
    budget = ByteBudget(100)
    with budget.take(100), budget.reading(), budget.take(100) as granted:
        assert granted == 100


def test_the_budget_is_whole_again_after_an_error() -> None:
    budget = ByteBudget(10)
    for _ in range(3):
        try:
            with budget.take(10):
                raise ValueError
        except ValueError:
            pass
    with budget.take(10, at_least=10) as granted:
        assert granted == 10


def _take_all(done: multiprocessing.synchronize.Event) -> None:
    with transfers().take(MEMORY_BYTES):
        done.set()


def test_a_forked_child_has_a_budget_of_its_own() -> None:
    context = multiprocessing.get_context("fork")
    done = context.Event()
    with transfers().take(MEMORY_BYTES):
        child = context.Process(target=_take_all, args=(done,))
        child.start()
        assert done.wait(PATIENCE_SECONDS)
        child.join(PATIENCE_SECONDS)
