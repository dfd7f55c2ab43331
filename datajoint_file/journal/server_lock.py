"""Advisory lock on a database server: a connection of its own holds it, and it ends with that, however that ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from typing import Any

from datajoint_file.journal.second_connection import SecondConnection

_WAIT_SECONDS = 0.5
"""Between two attempts: who waits can be interrupted, and others are not kept from the server."""

Waiting = Callable[[], AbstractContextManager[Any]]
"""What is shown while somebody else has the lock."""


@contextmanager
def server_lock(connection: Any, purpose: str, names: Iterable[str], waiting: Waiting) -> Iterator[None]:
    """Be the only one on this server who is at a *purpose* with any of *names*; wait for others, as *waiting* shows.

    A lock is lost with its connection: after hours on some servers, and behind a pooler of transactions at once. So
    whoever holds one is nearly always alone, but cannot be sure of it.
    """
    own = SecondConnection(connection)
    try:
        for name in sorted({name.lower() for name in names}):  # in one order for all, or two wait for each other
            digest = sha256(f"{purpose}\n{name}".encode()).digest()
            _take(own, int.from_bytes(digest[:8], "big", signed=True), waiting)
        yield
    finally:
        own.close()


def _take(own: SecondConnection, number: int, waiting: Waiting) -> None:
    def is_taken() -> bool:
        return bool(own.query(own.dialect.take_lock, (number,))[0][0])

    if not is_taken():
        with waiting():
            while not is_taken():
                time.sleep(_WAIT_SECONDS)
