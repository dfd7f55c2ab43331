"""Shutdown of obstore: its threads let go of Python's objects before the interpreter ends.

A thread of Rust that asks for the interpreter's lock while that is being taken down is ended by it, which Rust answers
by aborting the process: all is done by then, but the exit status says otherwise.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Awaitable
from typing import Any

PATIENCE_SECONDS = 2

_held: weakref.WeakSet[Any] = weakref.WeakSet()


async def awaited(answer: Awaitable[Any]) -> Any:
    """Wait for an answer of obstore's, and remember it until nobody holds it any more, which is a little later."""
    _held.add(answer)
    return await answer


@atexit.register
def _shut_down() -> None:
    """Wait until no thread of obstore's holds an answer."""
    end = time.monotonic() + PATIENCE_SECONDS
    while _held and time.monotonic() < end:
        time.sleep(0.001)


if hasattr(os, "register_at_fork"):  # a child has none of those threads
    os.register_at_fork(after_in_child=_held.clear)
