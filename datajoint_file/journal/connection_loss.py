"""Lost connections: what drivers say then, and how to go on.

DataJoint translates what MySQL's driver says; what PostgreSQL's says without an error code comes through as it is, and
its connection stays dead. Whether a transaction was committed is not answered here, but in `commit_outcome`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from datajoint.errors import LostConnectionError

from datajoint_file.journal import dialects
from datajoint_file.journal.dialects import dialect_of


def is_lost(error: BaseException, driver: Any) -> bool:
    """Tell whether *error* means that the connection is gone.

    Parameters
    ----------
    error : BaseException
        What a statement raised, translated by DataJoint or not.
    driver : object
        The driver's connection that it was sent by.
    """
    return isinstance(error, LostConnectionError) or dialects.is_lost(error, driver)


def is_dead(connection: Any) -> bool:
    """Tell, without asking the server, whether a connection of DataJoint's is known to be closed."""
    return dialect_of(connection).is_closed(connection._conn)


def mend(connection: Any) -> None:
    """Connect again, if the connection is dead. Its transaction is over: the server rolls back what it loses."""
    if is_dead(connection):
        connection._in_transaction = False
        connection.connect()


def sever(connection: Any) -> None:
    """Close a connection that was interrupted between a statement and its reply: the next would get this one's.

    The server rolls back. DataJoint finds the connection lost when it next uses it, and says so in a transaction.
    """
    with suppress(Exception):
        dialect_of(connection).sever(connection._conn)


def abandon(connection: Any) -> None:
    """Give a connection up together with its transaction, and connect again if that is possible."""
    sever(connection)
    with suppress(Exception):
        mend(connection)
