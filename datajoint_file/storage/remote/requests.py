"""Requests to fsspec's asynchronous filesystems: made in their thread, waited for in the caller's.

What is asked for, and what the errors mean, is for `bucket.backend` and `s3_multipart`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from datajoint_file.concurrency.threads import FOREVER, LastingPool

Answer = TypeVar("Answer")


def run(filesystem: Any, request: Coroutine[Any, Any, Answer]) -> Answer:
    """Run *request* on the filesystem's thread and wait for it. An interrupt stops it; fsspec would let it go on."""
    running = Request(filesystem, request)
    try:
        running.begin()
        return running.answer.result(FOREVER)
    except BaseException:
        running.stop()
        raise


class Request(Generic[Answer]):
    """A request that goes on while its caller does other things, and that can be stopped at any moment.

    Also by an interrupt that comes while it is being handed over: what asyncio gives back for such a request comes too
    late for that, it may have been sent by then. `answer` is done when nothing of the request runs any more: with what
    it gave, what it raised, or `CancelledError`.
    """

    def __init__(self, filesystem: Any, request: Coroutine[Any, Any, Answer]) -> None:
        self.answer: Future[Answer] = Future()
        self._loop = filesystem.loop
        self._request = request
        self._task: asyncio.Task[Answer] | None = None
        self._is_stopped = False

    def begin(self) -> None:
        """Hand the request over. Returns at once."""
        self._loop.call_soon_threadsafe(self._begin)

    def stop(self) -> None:
        """Cancel the request, if it runs; or keep it from running. Returns at once; ``answer`` tells when it ends."""
        self._is_stopped = True
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        if not self._is_stopped:
            loop = asyncio.get_running_loop()
            if not threading.main_thread().is_alive():
                loop.set_default_executor(LastingPool())  # which the clients need, and asyncio's own refuses
            self._task = loop.create_task(self._request)
            self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif not self.answer.done():
            self._request.close()
            self.answer.set_exception(asyncio.CancelledError())

    def _end(self, task: asyncio.Task[Answer]) -> None:
        if task.cancelled():
            self.answer.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(task.result())
