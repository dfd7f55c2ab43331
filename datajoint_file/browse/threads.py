"""Daemon threads for the handlers of an asyncio server, of which so many work at a time.

Those of anyio and of executors are waited for when a process ends: a sum of a minute, or a store that hangs, would keep
Ctrl-C from ending this one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any


class Threads:
    """Threads that work for one event loop. Who comes first has one first.

    Parameters
    ----------
    count : int
        How many work at a time. One whom nobody waits for any more is counted until its work is done.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def run(
        self, function: Callable[..., Any], *arguments: Any, unless: Callable[[], Awaitable[bool]] | None = None
    ) -> Any:
        """Return what *function* returns, or raise what it raises, having called it in a thread.

        If *unless* says so when a thread is free, it is not called, and what is returned is None.
        """
        await self._free.acquire()
        try:
            if unless is not None and await unless():
                self._free.release()
                return None
            future = self._start(function, *arguments)
        except BaseException:
            self._free.release()
            raise
        return await future

    def _start(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            self._free.release()
            if not future.done():  # else nobody waits any more
                future.set_result(result) if error is None else future.set_exception(error)

        def work() -> None:
            result, failure = None, None
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                failure = error
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=work, name="datajoint-file browse", daemon=True).start()
        return future

    async def each(self, items: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Give the items of an iterator, each made in a thread, up to the first that is empty."""
        while item := await self.run(next, items, b""):
            yield item
