"""Memory budget of all transfers of a process.

Who holds them, and for how long, is up to the transfers: each takes its share before it reads, and gives it back.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datajoint_file.storage.tuning import MEMORY_BYTES

TRIM_BYTES = 16 * 2**20
"""After so many bytes have been given back, the C library is asked to give them back as well."""


class ByteBudget:
    """A number of bytes, handed out in the order in which they are asked for.

    Examples
    --------
    >>> budget = ByteBudget(100)
    >>> with budget.take(1000, at_least=10) as granted:
    ...     granted
    100
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
        self._reading = threading.local()
        self._returned = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let what this thread asks for meanwhile be given at once: a source that is read may be a transfer itself.

        It would wait for the one that reads it, which has taken all there is.
        """
        before = getattr(self._reading, "is_on", False)
        self._reading.is_on = True
        try:
            yield
        finally:
            self._reading.is_on = before

    @contextmanager
    def take(self, wanted: int, *, at_least: int | None = None) -> Iterator[int]:
        """Give up to *wanted* bytes for the block, waiting until *at_least* as many are free (all that are wanted).

        Nobody is given more than there are: what needs more goes alone.
        """
        if getattr(self._reading, "is_on", False):
            yield min(wanted, self.limit)
            return
        granted = self._granted(min(wanted, self.limit), min(wanted if at_least is None else at_least, self.limit))
        try:
            yield granted
        finally:
            self._give_back(granted)

    @contextmanager
    def more(self, wanted: int) -> Iterator[int]:
        """Give as many of *wanted* bytes as are free now, maybe none: for who has some, and so must not wait.

        If all who go on only with more waited for each other, nobody would go on.
        """
        with self._changed:
            granted = 0 if self._waiting else min(wanted, self._free)
            self._free -= granted
        try:
            yield granted
        finally:
            self._give_back(granted)

    def _give_back(self, granted: int) -> None:
        with self._changed:
            self._free += granted
            self._returned += granted
            is_much = self._returned >= TRIM_BYTES
            if is_much:
                self._returned = 0
            self._changed.notify_all()
        if is_much:
            _trim()

    def _granted(self, wanted: int, at_least: int) -> int:
        me = object()
        with self._changed:
            self._waiting.append(me)  # first come, first served: a large file is not passed for ever by small ones
            try:
                self._changed.wait_for(lambda: self._waiting[0] is me and self._free >= at_least)
                granted = min(wanted, self._free)
                self._free -= granted
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
        return granted


try:
    _malloc_trim: Callable[[int], object] | None = ctypes.CDLL(None).malloc_trim
except (AttributeError, OSError, TypeError):  # not the GNU C library
    _malloc_trim = None


def _trim() -> None:
    """Return freed memory to the system: the C library keeps some for each thread, and there are many."""
    if _malloc_trim is not None:
        _malloc_trim(0)


_budgets: dict[int, ByteBudget] = {}


def transfers() -> ByteBudget:
    """Return the budget of this process. A child has its own: its parent's may have been given out at the fork."""
    process = os.getpid()
    budget = _budgets.get(process)
    return budget or _budgets.setdefault(process, ByteBudget(MEMORY_BYTES))
