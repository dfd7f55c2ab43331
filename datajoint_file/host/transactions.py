"""Transactions around inserts with files: whether one is open, and one of their own where none is.

How a transaction ended is not this module's business: an end that was reported proves little.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MYSQL_IN_TRANSACTION = 1
"""``SERVER_STATUS_IN_TRANS`` of the MySQL protocol."""

_POSTGRESQL_IDLE = 0
"""``PQTRANS_IDLE`` of libpq."""


def has_transaction(connection: Any) -> bool:
    """Tell whether *connection* is in a transaction, also in one that was opened with SQL of the user's own.

    DataJoint knows only those it opened itself; opening another one would commit the user's.
    """
    if connection._in_transaction:
        return True
    driver = connection._conn
    if connection.adapter.backend == "postgresql":
        return bool(driver.get_transaction_status() != _POSTGRESQL_IDLE)
    return bool(driver.server_status & _MYSQL_IN_TRANSACTION)


@contextmanager
def own_transaction(connection: Any) -> Iterator[None]:
    """Run a statement in a transaction of its own.

    Outside a transaction DataJoint sends an INSERT again when the server's reply is lost, and reports a duplicate for
    the row that the first one inserted.
    """
    with connection.transaction:
        yield
