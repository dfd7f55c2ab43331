"""Work handed to executors: bounded, in order or as it comes, taken back when it is given up, its errors told apart."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from datajoint_file.concurrency.executors import Delegation, TaskResult, check_executor, delegated
from datajoint_file.concurrency.threads import Stop
from datajoint_file.errors import HashMismatchError, WorkerError
from datajoint_file.pipeline.address import PipelineAddress, _succeeds
from datajoint_file.pipeline.pipeline import Pipeline


class Elsewhere(Executor):
    """An executor that does nothing until it is asked to, as if it were another process: all it gets is bytes."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Any, tuple[Any, ...]]] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, function, pickle.loads(pickle.dumps(args))))
        return future

    def work(self) -> None:
        while self.waiting:
            future, function, args = self.waiting.pop()  # the last one first
            if future.set_running_or_notify_cancel():
                future.set_result(pickle.loads(pickle.dumps(function(*args))))


class Strange(Exception):
    """An error that does not survive a pickle."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.lock = threading.Lock()


def double(number: int) -> int:
    return 2 * number


def fail(number: int) -> int:
    raise HashMismatchError("bytes differ") if number else Strange(1, 2)


def test_outcomes_come_in_order_or_as_they_are_done() -> None:
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number:
            first_may_end.set()
        else:
            first_may_end.wait(30)
        return number

    with ThreadPoolExecutor(2) as executor:
        assert [order for order, _ in delegated(executor, work, range(9), in_order=True)] == list(range(9))
        first_may_end.clear()
        assert sorted(order for order, _ in delegated(executor, work, range(9))) == list(range(9))


def test_no_more_orders_are_taken_than_may_be_under_way() -> None:
    taken: list[int] = []

    def orders() -> Iterator[int]:
        for number in range(1_000):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as executor, closing(delegated(executor, double, orders(), in_flight=10)) as outcomes:
        for count, _ in enumerate(outcomes):
            assert len(taken) - count <= 10


def test_what_was_not_begun_is_taken_back() -> None:
    executor = Elsewhere()
    delegation = Delegation(executor, double)
    for number in range(5):
        delegation.begin(number)
    delegation.cancel()
    assert all(future.cancelled() for future, _, _ in executor.waiting)
    assert len(delegation) == 0


def test_who_goes_away_early_stops_the_work() -> None:
    stop = Stop()
    with ThreadPoolExecutor(1) as threads:
        with closing(delegated(threads, double, range(5), in_flight=2, stop=stop)) as outcomes:
            next(outcomes)
        assert stop.is_set()


def test_errors_come_back_as_they_are_or_as_what_can_be_told_of_them() -> None:
    executor = Elsewhere()
    delegation = Delegation(executor, fail)
    delegation.begin(1)
    delegation.begin(0)
    executor.work()
    kinds = [type(outcome.error) for _, outcome in delegation.finished()]
    assert kinds == [HashMismatchError, WorkerError]
    outcome: TaskResult[int] = TaskResult(None, HashMismatchError("bytes differ"))
    with pytest.raises(HashMismatchError, match="bytes differ"):
        outcome.result()


def test_order_that_cannot_be_sent_is_that_orders_failure() -> None:
    executor = Elsewhere()
    delegation: Delegation[Any, Any] = Delegation(executor, double)
    delegation.begin(lambda: None)
    was_full = delegation.is_full  # to go on would be in vain
    ((_, outcome),) = delegation.finished()
    assert isinstance(outcome.error, WorkerError)
    assert (was_full, delegation.is_full, executor.waiting) == (True, False, [])


def test_rest_is_waited_for_and_given() -> None:
    executor = Elsewhere()
    delegation = Delegation(executor, double)
    for number in (1, 2):
        delegation.begin(number)
    executor.waiting[0][0].set_running_or_notify_cancel()
    executor.waiting[0][0].set_result(TaskResult(2))
    assert [(order, outcome.value) for order, outcome in delegation.rest()] == [(1, 2)]
    assert executor.waiting[1][0].cancelled()


def test_stop_that_travels_is_never_set() -> None:
    stop = Stop()
    stop.set()
    assert stop.is_set()
    assert not pickle.loads(pickle.dumps(stop)).is_set()


def test_address_travels_by_name_alone(pipeline: Pipeline) -> None:
    address = PipelineAddress("/x/datajoint.toml", pipeline.project, ("lab/~registry/a-1-b.json",), pipeline)
    assert address.pipeline() is address.same_store() is pipeline
    there = pickle.loads(pickle.dumps(address))
    assert there == address
    assert there.here is None


@pytest.mark.parametrize(
    ("key", "is_successor"),
    [
        ("my-lab/~registry/aa-0000000007-00ff.json", True),
        ("my-lab/~registry/aa-0000000010-11ff.json", True),
        ("my-lab/~registry/aa-0000000007-11ff.json", False),
        ("my-lab/~registry/aa-0000000006-22ff.json", False),
        ("my-lab/~registry/bb-0000000010-11ff.json", False),
        ("my-lab/~registry/other.txt", False),
    ],
)
def test_mark_or_its_successor_proves_a_store(key: str, is_successor: bool) -> None:
    assert _succeeds(key, "my-lab/~registry/aa-0000000007-00ff.json") is is_successor


@pytest.mark.parametrize("given", [4, "threads", object(), ThreadPoolExecutor])
def test_what_is_no_executor_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"no concurrent\.futures\.Executor"):
        check_executor(given)
