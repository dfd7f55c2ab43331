"""Numbering everything an operation does to a database or a store, and letting a fault happen at one of those steps.

What a fault does to a statement is in `sql`, to a verb of a store in `stores`; here is when.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.torture.values import KINDS, Area, Fault, Kind


class Steps:
    """Counts the steps of the actor under test and says which one meets the fault.

    Steps that other actors take meanwhile (`unwatched`) and those that are a part of another step are not counted.

    Attributes
    ----------
    trace : list of str
        What was done so far, one line a step.
    fired : bool
        Whether the fault has happened.
    lie : callable
        Has a proxy before the store do something to the next answer.
    second : str
        Where the second place of the project is, if it has one: steps there are told apart.
    elapsed : int
        Seconds by which clocks have been moved on since the world was cleared.
    """

    def __init__(self) -> None:
        self.elapsed = 0
        self.second = ""
        self.lie: Callable[[Kind], object] = lambda _: None
        self._lock = threading.RLock()
        self.start(None)

    def start(self, fault: Fault | None, actor: Callable[[], object] = lambda: None, told: int = -1) -> None:
        """Begin a new operation, which is to meet *fault*; *actor* is who runs if it is an interleaving.

        Each step is told to the file descriptor *told* as well, if there is one: it is known after a kill.
        """
        self.fault = fault
        self.actor = actor
        self.trace: list[str] = []
        self.fired = False
        self.is_watching = True
        self.told = told

    def stop(self) -> None:
        """Count nothing any more: the operation is over."""
        self.is_watching = False

    def take(self, area: Area, label: str) -> Kind | None:
        """Count a step and return what goes wrong in it."""
        with self._lock:
            if not self.is_watching:
                return None
            self.trace.append(f"{len(self.trace) + 1} {area} {label}")
            due = self._due(area)
            if self.told >= 0:
                os.write(self.told, f"{self.trace[-1]}\n".encode())
            return due

    def _due(self, area: Area) -> Kind | None:
        if self.fault is None or area not in KINDS[self.fault.kind]:
            return None
        number = len(self.trace)
        is_later = self.fault.kind == "error-lasting" and self.fired and number > self.fault.step
        if number != self.fault.step and not is_later:
            return None
        self.fired = True
        if number == self.fault.step:
            self.trace[-1] += f"   <-- {self.fault.kind}"
        return self.fault.kind

    def act(self) -> None:
        """Let the other actor run to its end."""
        with self.unwatched():
            self.actor()

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Count nothing inside."""
        before, self.is_watching = self.is_watching, False
        try:
            yield
        finally:
            self.is_watching = before


def kill() -> None:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)
