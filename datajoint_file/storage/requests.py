"""Requests to fsspec's asynchronous filesystems: made in their thread, waited for in the caller's.

What is asked for, and what the errors mean, is for `cloud` and `paging`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


def run(filesystem: Any, request: Coroutine[Any, Any, Answer]) -> Answer:
    """Run *request* on the filesystem's thread and wait for it. An interrupt stops it; fsspec would let it go on."""
    stoppable = _Stoppable(request)
    try:
        return asyncio.run_coroutine_threadsafe(stoppable.run(), filesystem.loop).result()
    except BaseException:
        stoppable.stop(filesystem.loop)
        raise


class _Stoppable(Generic[Answer]):
    """A request that can be stopped at any moment, also by an interrupt that comes while it is being handed over.

    The future that asyncio gives back comes too late for that: the request may have been sent by then.
    """

    def __init__(self, request: Coroutine[Any, Any, Answer]) -> None:
        self._request = request
        self._task: asyncio.Task[Any] | None = None
        self._is_stopped = False

    async def run(self) -> Answer:
        self._task = asyncio.current_task()
        if self._is_stopped:
            self._request.close()
            raise asyncio.CancelledError
        return await self._request

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the request, if it runs; or keep it from running."""
        self._is_stopped = True
        if self._task is not None:
            loop.call_soon_threadsafe(self._task.cancel)
