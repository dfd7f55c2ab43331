"""Lost connections: what drivers say then, and how to go on.

DataJoint translates what MySQL's driver says; what PostgreSQL's says without an error code comes through as it is, and
its connection stays dead. Whether a transaction was committed is not answered here, but in `commit_outcome`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from datajoint.errors import LostConnectionError

_LOST_MYSQL = frozenset({0, 2006, 2013, 2014, 2055, 1053, 1927, 3169, 4031})
"""Codes of PyMySQL and its servers for a connection that is gone, shut down, killed, or timed out."""

_LOST_POSTGRESQL = ("08", "57P")
"""Classes of SQLSTATE: connection exceptions, and the server's going away (but not a cancelled query, 57014)."""


def is_lost(error: BaseException, driver: Any) -> bool:
    """Tell whether *error* means that the connection is gone.

    Parameters
    ----------
    error : BaseException
        What a statement raised, translated by DataJoint or not.
    driver : object
        The driver's connection that it was sent by.
    """
    if isinstance(error, LostConnectionError):
        return True
    if hasattr(error, "pgcode"):
        code = error.pgcode
        return bool(getattr(driver, "closed", 0)) or (code is not None and code.startswith(_LOST_POSTGRESQL))
    code = error.args[0] if error.args else None
    kind = type(error).__module__.partition(".")[0]
    return kind == "pymysql" and (code in _LOST_MYSQL or not getattr(driver, "open", True))


def is_dead(connection: Any) -> bool:
    """Tell, without asking the server, whether a connection of DataJoint's is known to be closed."""
    driver = connection._conn
    return bool(driver.closed) if connection.adapter.backend == "postgresql" else not driver.open


def mend(connection: Any) -> None:
    """Connect again, if the connection is dead. Its transaction is over: the server rolls back what it loses."""
    if is_dead(connection):
        connection._in_transaction = False
        connection.connect()


def sever(connection: Any) -> None:
    """Close a connection that was interrupted between a statement and its reply: the next would get this one's.

    The server rolls back. DataJoint finds the connection lost when it next uses it, and says so in a transaction.
    """
    driver = connection._conn
    with suppress(Exception):
        driver.close() if connection.adapter.backend == "postgresql" else driver._force_close()


def abandon(connection: Any) -> None:
    """Give a connection up together with its transaction, and connect again if that is possible."""
    sever(connection)
    with suppress(Exception):
        mend(connection)
