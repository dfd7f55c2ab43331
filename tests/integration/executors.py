"""Executors as users have them, and pipelines that their workers can find: for tests of bulk verbs."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.projects import Store

KINDS = ("threads", "spawned", "forked", "dask")


def write_toml(store: Store, directory: Path) -> Path:
    """Write the configuration of a store's project, which workers read."""
    path = directory / "datajoint.toml"
    path.write_text("\n".join(_lines(store.configuration())), encoding="utf-8")
    path.chmod(0o600)
    return path


def _lines(tables: dict[str, Any], within: str = "") -> Iterator[str]:
    for name, value in tables.items():
        if not isinstance(value, dict):
            yield f"{name} = {json.dumps(value)}"
    for name, value in tables.items():
        if isinstance(value, dict):
            yield f"[{within}{name}]"
            yield from _lines(value, f"{within}{name}.")


@contextmanager
def executor_of(kind: str, client: Any = None) -> Iterator[Executor]:
    """Give an executor of a kind, with two workers."""
    if kind == "dask":
        yield client.get_executor()
    elif kind == "threads":
        with ThreadPoolExecutor(2) as threads:
            yield threads
    else:
        context = multiprocessing.get_context("spawn" if kind == "spawned" else "fork")
        with ProcessPoolExecutor(2, mp_context=context) as processes:
            yield processes


class Disturbed(Executor):
    """An executor to which something happens when work is handed to it for the nth time.

    Parameters
    ----------
    executor : Executor
        Who works.
    number : int
        When it happens.
    """

    def __init__(self, executor: Executor, number: int) -> None:
        self._executor = executor
        self._number = number
        self.futures: list[Future[Any]] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(self._executor.submit(function, *args, **kwargs))
        if len(self.futures) == self._number:
            self.happen()
        return self.futures[-1]

    def happen(self) -> None:
        """Interrupt the caller, as Ctrl-C does."""
        signal.raise_signal(signal.SIGINT)


class Inline(Executor):
    """An executor that has done the work when it is handed over, as if in another process; it keeps the results."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.results.append(function(*args, **kwargs))
        future.set_result(self.results[-1])
        return future


class Killed(Disturbed):
    """A process pool, one of whose workers is killed."""

    def happen(self) -> None:
        self.futures[0].result()
        os.kill(next(iter(self._executor._processes)), signal.SIGKILL)  # type: ignore[attr-defined]
        with suppress(BrokenExecutor):
            while self._executor.submit(os.getpid).exception() is None:
                pass  # until the pool has noticed: what comes next finds it broken
