"""The statements of a connection, numbered; what each kind of fault does to one.

The drivers are real, and so are their errors: a refused statement is one that the server refuses, a lost connection is
a socket that is shut or a reply that `relay` has swallowed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

from tests.torture.relay import Relay
from tests.torture.steps import Steps, kill
from tests.torture.values import Kind

_REFUSED = {
    "mysql": "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'injected fault'",
    "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'injected fault'; END $$",
}
_DEADLOCK = {
    "mysql": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'injected deadlock'",
    "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'injected deadlock' USING ERRCODE = '40P01'; END $$",
}
_SESSION = {
    "mysql": "SET SESSION innodb_lock_wait_timeout = {lock_seconds}",
    "postgresql": "SET lock_timeout = {lock_milliseconds}; SET statement_timeout = 20000",
}


def watch(connection: Any, steps: Steps, relay: Relay, drivers: list[Any]) -> None:
    """Number every statement of a DataJoint connection from its next connecting on, and of others with its adapter.

    The drivers' connections that are made are added to *drivers*.
    """
    adapter = connection.adapter
    connect = type(adapter).connect.__get__(adapter)

    def watched_connect(**options: Any) -> Any:
        kind = steps.take("sql", "connect")
        _before_connecting(kind, steps, relay)
        driver = connect(**options)
        drivers.append(driver)
        _prepare(driver, adapter.backend, 3)
        if kind == "crash-after":
            kill()
        if kind == "error-after":
            raise KeyboardInterrupt
        if kind in ("drop-reply", "drop-reply-lasting"):
            shut(driver)
        return Driver(driver, adapter.backend, steps, relay)

    adapter.connect = watched_connect


def be_quick(connection: Any) -> None:
    """Let a DataJoint connection that is not watched give up at once where it would wait for a lock."""
    adapter = connection.adapter
    connect = type(adapter).connect.__get__(adapter)

    def quick_connect(**options: Any) -> Any:
        driver = connect(**options)
        _prepare(driver, adapter.backend, 0)
        return driver

    adapter.connect = quick_connect
    _prepare(connection._conn, adapter.backend, 0)


def _prepare(driver: Any, backend: str, lock_seconds: int) -> None:
    with closing(driver.cursor()) as cursor:
        milliseconds = max(50, 1000 * lock_seconds)
        cursor.execute(_SESSION[backend].format(lock_seconds=lock_seconds, lock_milliseconds=milliseconds))


def _before_connecting(kind: Kind | None, steps: Steps, relay: Relay) -> None:
    if kind is None:
        return
    if kind == "crash-before":
        kill()
    if kind in ("error-before", "deadlock", "drop-request"):
        raise ConnectionRefusedError("injected fault: nobody listens")
    if kind in ("drop-lasting", "drop-reply-lasting"):
        relay.refuse(refuse=True)
    if kind.startswith("interleave"):
        steps.act()


class Driver:
    """A driver's connection whose cursors are watched; all else is as it was."""

    def __init__(self, driver: Any, backend: str, steps: Steps, relay: Relay) -> None:
        self.__dict__.update(_driver=driver, _watched=(driver, backend, steps, relay))

    def cursor(self, *args: Any, **kwargs: Any) -> Cursor:
        return Cursor(self._driver.cursor(*args, **kwargs), *self._watched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._driver, name, value)


class Cursor:
    """A driver's cursor whose statements are steps."""

    def __init__(self, cursor: Any, driver: Any, backend: str, steps: Steps, relay: Relay) -> None:
        self._cursor = cursor
        self._driver = driver
        self._backend = backend
        self._steps = steps
        self._relay = relay

    def execute(self, query: str, args: Any = None) -> Any:
        kind = self._steps.take("sql", _label(query))
        before = _BEFORE.get(kind) if kind else None
        if before is not None:
            before(self)
        result = self._cursor.execute(query, args)
        if kind == "crash-after":
            kill()
        if kind == "error-after":
            raise KeyboardInterrupt
        return result

    def refuse(self) -> None:
        """Have the server refuse a statement: nothing is done; PostgreSQL's transaction is spoilt, as always."""
        self._cursor.execute(_REFUSED[self._backend])

    def deadlock(self) -> None:
        """Have the server report a deadlock: the whole transaction is rolled back."""
        if self._backend == "mysql":
            self._cursor.execute("ROLLBACK")
        self._cursor.execute(_DEADLOCK[self._backend])

    def shut(self) -> None:
        """Break the connection: the statement does not reach the server."""
        shut(self._driver)

    def shut_for_good(self) -> None:
        """Break the connection; nobody can connect again."""
        self._relay.refuse(refuse=True)
        shut(self._driver)

    def lose_reply(self) -> None:
        """Have the reply of the server lost."""
        with suppress(Exception), _socket(self._driver) as connection:  # it may be lost already
            self._relay.lose_reply(connection.getsockname()[1])

    def lose_reply_for_good(self) -> None:
        """Have the reply of the server lost; nobody can connect again."""
        self._relay.refuse(refuse=True)
        self.lose_reply()

    def act(self) -> None:
        self._steps.act()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *exception: object) -> None:
        self._cursor.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


_BEFORE: dict[Kind, Callable[[Cursor], object]] = {
    "error-before": Cursor.refuse,
    "deadlock": Cursor.deadlock,
    "crash-before": lambda _: kill(),
    "drop-request": Cursor.shut,
    "drop-lasting": Cursor.shut_for_good,
    "drop-reply": Cursor.lose_reply,
    "drop-reply-lasting": Cursor.lose_reply_for_good,
    "interleave-gc": Cursor.act,
    "interleave-gc-now": Cursor.act,
    "interleave-writer": Cursor.act,
    "interleave-twin": Cursor.act,
    "interleave-copy": Cursor.act,
    "interleave-revert": Cursor.act,
    "interleave-read": Cursor.act,
}


def shut(driver: Any) -> None:
    """Shut the socket of a driver's connection, unless it has none any more."""
    with suppress(Exception), _socket(driver) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _socket(driver: Any) -> socket.socket:
    """Return the driver's socket, on a descriptor of its own."""
    number = driver.fileno() if hasattr(driver, "fileno") else driver._sock.fileno()
    return socket.socket(fileno=os.dup(number))


def is_open(driver: Any) -> bool:
    """Tell whether a driver's connection is open, as far as the driver knows."""
    return not driver.closed if hasattr(driver, "closed") else bool(driver.open)


def is_idle(driver: Any) -> bool:
    """Tell whether a driver's connection is open and in no transaction."""
    if not is_open(driver):
        return False
    return driver.get_transaction_status() == 0 if hasattr(driver, "closed") else not driver.server_status & 1


def _label(query: str) -> str:
    """Return the beginning of a statement: enough to recognise it in a schedule."""
    return " ".join(query.split())[:70]
