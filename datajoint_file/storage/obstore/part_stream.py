"""Part stream of a large upload, from the thread that reads to the event loop that sends.

What the parts are of, and what errors mean, is for `backend`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from datajoint_file.concurrency.threads import FOREVER

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 20
"""How long an upload that is given up may take to end by itself; then it is cut off."""


class GivenUp(Exception):
    """Ends an upload whose parts will not all come: what was sent is discarded."""


class PartStream:
    """Parts for one upload, asked for in the event loop and given by another thread, which waits while one waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parts: asyncio.Queue[bytes | GivenUp | None] = asyncio.Queue()
        self._room = threading.Semaphore(1)
        self._upload: Future[Any] | None = None

    def start(self, upload: Callable[[PartStream], Coroutine[Any, Any, Any]]) -> None:
        """Begin what will ask this for parts."""
        self._upload = asyncio.run_coroutine_threadsafe(upload(self), self._loop)
        self._upload.add_done_callback(lambda _: self._room.release())

    def send(self, part: bytes) -> bool:
        """Hand over the next part when the last one was taken; or tell that the upload has ended: it failed."""
        self._room.acquire(timeout=FOREVER)
        if self._upload is None or self._upload.done():
            self._room.release()
            return False
        self._put(part)
        return True

    def finish(self) -> None:
        """Say that there are no more parts, wait for the upload, and raise what it raised."""
        self._put(None)
        if self._upload is not None:
            self._upload.result(FOREVER)

    def give_up(self) -> None:
        """Make sure that what was sent never becomes an object. What the upload raises is of no interest."""
        self._put(GivenUp())
        if self._upload is None:
            return
        try:
            self._upload.exception(PATIENCE_SECONDS)
        except BaseException:  # noqa: BLE001 - the first error is the one to report; another interrupt cuts this short
            if self._upload.cancel():
                logger.warning("an upload was cut off; `unfinished` tells what it has left")

    def _put(self, item: bytes | GivenUp | None) -> None:
        self._loop.call_soon_threadsafe(self._parts.put_nowait, item)

    def __aiter__(self) -> PartStream:
        return self

    async def __anext__(self) -> bytes:
        part = await self._parts.get()
        self._room.release()
        if part is None:
            raise StopAsyncIteration
        if isinstance(part, GivenUp):
            raise part
        return part
