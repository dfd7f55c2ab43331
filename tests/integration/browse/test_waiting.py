"""What waits for a database or a store holds nothing else up, and is not done for who has gone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from datajoint_file.browse.address import Address
from datajoint_file.browse.archive import Archive, Item
from datajoint_file.browse.pages import application
from datajoint_file.journal.second_connection import second_connection_of
from tests.integration.browse.conftest import running

MANY = 60
PATIENCE_SECONDS = 30


class _Stuck(Archive):
    """Sums and files come when they are let go."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.free, self.asked = threading.Event(), threading.Semaphore(0)
        self.questions = 0

    def schemas(self) -> dict[str, dict[str, list[str]]]:
        return {"lab": {"Recording": ["raw"]}}

    def names(self, *_: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return ("raw",), ("id",)

    def items(self, _: Address, chosen: Mapping[str, str], __: Any) -> tuple[tuple[Item, ...], bool]:
        if chosen:
            self._wait()
        return (), False

    def sum(self, *_: Any) -> str:
        self._wait()
        return "1 file"

    def item(self, *_: Any) -> Item:
        self._wait()
        raise LookupError("there is no such row")

    def _wait(self) -> None:
        self.questions += 1
        self.asked.release()
        assert self.free.wait(PATIENCE_SECONDS)


@pytest.fixture
def stuck() -> Iterator[_Stuck]:
    made = _Stuck()
    yield made
    made.free.set()


@pytest.fixture
def slow(stuck: _Stuck) -> Iterator[httpx.Client]:
    with running(lambda guard: guard.around(application(stuck))) as (url, guard):
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
            client.get(guard.address())
            yield client
        stuck.free.set()


@pytest.fixture
def leave(slow: httpx.Client) -> Iterator[Callable[[str], None]]:
    """Ask for a page and go on before it has come, as who presses reload."""
    address, opened = urlsplit(str(slow.base_url)), list[socket.socket]()
    cookie = "; ".join(f"{name}={value}" for name, value in slow.cookies.items())

    def asked(url: str) -> None:
        one = socket.create_connection((address.hostname or "", address.port or 0))
        one.sendall(f"GET {url} HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
        opened.append(one)

    yield asked
    for one in opened:
        one.close()


@pytest.mark.parametrize("page", ["sum", "download", "files"])
def test_pages_that_wait_hold_no_other_kind_up(
    slow: httpx.Client, stuck: _Stuck, leave: Callable[[str], None], page: str
) -> None:
    address = Address("lab", "Recording", "raw")
    for _ in range(MANY):
        leave(address.url(page, None if page == "files" else (1,), **({"name": "a"} if page == "files" else {})))
    assert stuck.asked.acquire(timeout=PATIENCE_SECONDS)
    for url in ("/", address.url("files"), "/static/style.css"):
        assert slow.get(url, timeout=PATIENCE_SECONDS).status_code == 200


def test_nothing_is_asked_for_who_has_gone(slow: httpx.Client, stuck: _Stuck) -> None:
    url = Address("lab", "Recording", "raw").url("sum")
    for _ in range(MANY):
        with pytest.raises(httpx.ReadTimeout):
            slow.get(url, timeout=httpx.Timeout(PATIENCE_SECONDS, read=0.02))
    assert stuck.asked.acquire(timeout=PATIENCE_SECONDS)
    stuck.free.set()
    assert slow.get(url).text == "1 file"
    assert stuck.questions < MANY / 2


def test_a_connection_that_was_lost_is_opened_again(site: httpx.Client, archive: Archive, table: Any) -> None:
    is_mysql = table.connection.adapter.backend == "mysql"
    table.insert1({"id": 1, "raw": ("a.dat", b"1"), "extra": None})
    address, second = Address(table.database, "Recording", "raw"), second_connection_of(table.connection)
    urls = (address.url("files"), address.url("sum"), "/search?q=a.dat", address.url("file", (1,)), "/")
    for url in urls:
        assert site.get(url).status_code == 200
        for lane in (archive._pages, archive._searches, archive._sums):
            with lane.connection() as connection:
                number = connection.adapter.get_connection_id(connection._conn)
            second.execute(f"KILL {number}" if is_mysql else f"SELECT pg_terminate_backend({number})")
        assert "a.dat" in site.get(address.url("files")).text
        assert site.get(url).status_code == 200
