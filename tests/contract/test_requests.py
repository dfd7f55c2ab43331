"""Requests that run in another thread stop when the one who waits for them is interrupted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.asyn import get_loop

from datajoint_file.storage.remote.requests import run

PATIENCE_SECONDS = 60


class InterruptingLoop:
    """An event loop; an interrupt comes when something was handed over to it, before or after."""

    def __init__(self, loop: Any, moment: str) -> None:
        self.loop = loop
        self.interrupts = [moment]

    def call_soon_threadsafe(self, callback: Callable[..., Any], *arguments: Any) -> Any:
        moment = self.interrupts.pop() if self.interrupts else ""
        if moment == "before":
            self.loop.call_soon_threadsafe(self.loop.call_later, 0.01, callback, *arguments)
        else:
            self.loop.call_soon_threadsafe(callback, *arguments)
        if moment == "after":
            assert begun.wait(PATIENCE_SECONDS)
        if moment:
            raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loop, name)


begun = threading.Event()
ended = threading.Event()


async def request() -> str:
    begun.set()
    try:
        await asyncio.sleep(3600)
    finally:
        ended.set()
    return "sent"


@pytest.fixture(autouse=True)
def fresh_events() -> None:
    begun.clear()
    ended.clear()


def test_answer_is_given_back() -> None:
    async def answer() -> int:
        return 7

    assert run(SimpleNamespace(loop=get_loop()), answer()) == 7


def test_request_that_was_begun_while_it_was_handed_over_is_cancelled() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(SimpleNamespace(loop=InterruptingLoop(get_loop(), "after")), request())
    assert ended.wait(PATIENCE_SECONDS)


def test_request_that_was_not_begun_never_begins() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(SimpleNamespace(loop=InterruptingLoop(get_loop(), "before")), request())
    waited = threading.Event()
    get_loop().call_soon_threadsafe(get_loop().call_later, 0.1, waited.set)
    assert waited.wait(PATIENCE_SECONDS)
    assert not begun.is_set()
