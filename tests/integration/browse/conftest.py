"""The pages as a browser asks for them: past the network, and from a process of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

import datajoint_file
from datajoint_file.browse.archive import Archive
from datajoint_file.browse.guard import HOST, Guard
from datajoint_file.browse.pages import application
from datajoint_file.browse.server import server_of
from tests.projects import Store, connect


@pytest.fixture
def archive(database: Any, store: Store) -> Iterator[Archive]:
    """What there is in the database, seen through connections of its own."""

    def opened() -> Any:
        instance = connect(database)
        datajoint_file.configure(store.configuration(), connection=instance)
        return instance.connection

    made = Archive(opened)
    yield made
    made.close()


@contextmanager
def running(app_of: Callable[[Guard], ASGIApp]) -> Iterator[tuple[str, Guard]]:
    """Give the address of a server, and its guard."""
    with socket.create_server((HOST, 0)) as listening:
        guard = Guard(listening.getsockname()[1])
        server = server_of(app_of(guard))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield guard.address().partition("/enter")[0], guard
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def served(archive: Archive) -> Iterator[tuple[str, Guard]]:
    """The address of a server of the pages, and its guard."""
    with running(lambda guard: guard.around(application(archive))) as address:
        yield address


@pytest.fixture
def guard(served: tuple[str, Guard]) -> Guard:
    return served[1]


@pytest.fixture
def outside(served: tuple[str, Guard]) -> Iterator[httpx.Client]:
    """A browser that has not come in yet."""
    with httpx.Client(base_url=served[0], timeout=60) as client:
        yield client


@pytest.fixture
def site(outside: httpx.Client, guard: Guard) -> httpx.Client:
    """A browser that has."""
    assert outside.get(guard.address()).status_code == 200
    return outside
