"""Transactions around inserts with files: whether one is open, and one of their own where none is.

What became of one whose commit was not answered is found out in `commit_outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from datajoint.errors import LostConnectionError

from datajoint_file.errors import OutcomeUnknownError
from datajoint_file.journal.commit_outcome import claims_of
from datajoint_file.journal.connection_loss import abandon, is_dead, is_lost, mend
from datajoint_file.journal.dialects import dialect_of


def has_transaction(connection: Any) -> bool:
    """Tell whether *connection* is in a transaction, also in one that was opened with SQL of the user's own.

    DataJoint knows only those it opened itself; opening another one would commit the user's. Where the user has turned
    autocommit off, the next statement opens one.
    """
    if connection._in_transaction:
        return True
    if is_dead(connection):
        return False
    return not dialect_of(connection).has_autocommit(connection._conn) or _is_in_transaction(connection)


def _is_in_transaction(connection: Any) -> bool:
    return dialect_of(connection).is_in_transaction(connection._conn)


@contextmanager
def transaction_for(connection: Any, *, is_open: bool) -> Iterator[None]:
    """Run a statement in the user's transaction, or in one of its own if none is open.

    Outside a transaction DataJoint sends an INSERT again when the server's reply is lost, and reports a duplicate for
    the row that the first one inserted. In a transaction that the user opened with SQL of his own it would do the
    same, on a new connection: so it is told that there is one.
    """
    with _known(connection) if is_open else own_transaction(connection):
        yield


@contextmanager
def own_transaction(connection: Any) -> Iterator[None]:
    """Run a statement in a transaction of its own. An error rolls it back, and is never hidden by that."""
    try:
        _start(connection)
        with _unchanged(connection):
            yield
        _commit(connection)
    except Exception:
        with suppress(Exception):
            connection.cancel_transaction()
        _leave(connection)
        raise
    except BaseException:
        abandon(connection)  # interrupted, perhaps between a statement and its reply
        raise


def _start(connection: Any) -> None:
    """Start a transaction, on a new connection if the old one was lost while nobody used it."""
    mend(connection)
    driver = connection._conn
    try:
        connection.start_transaction()
    except Exception as error:
        if not is_lost(error, driver):
            raise
        mend(connection)
        connection.start_transaction()


@contextmanager
def _unchanged(connection: Any) -> Iterator[None]:
    """Raise at the end of the block if the connection was lost in it: DataJoint connects anew, and may overlook it."""
    driver = connection._conn
    yield
    if connection._conn is not driver or not _is_in_transaction(connection):
        raise LostConnectionError(
            "The connection was lost in the middle of a transaction, or the server has ended it: nothing of it was "
            "inserted. Begin it again; what is stored is not sent again"
        )


def _commit(connection: Any) -> None:
    """Commit. What has no intents to ask leaves it open what became of it, should the reply be lost."""
    driver, writes = connection._conn, claims_of(connection).writes
    try:
        connection.commit_transaction()
    except Exception as error:
        if writes or not is_lost(error, driver):
            raise
        raise OutcomeUnknownError(
            "The connection was lost during a commit: the rows may have been inserted or not; look whether they are "
            "there before you insert them again"
        ) from error


def _leave(connection: Any) -> None:
    """Make sure that no transaction is left behind: one that could not be rolled back ends with its connection."""
    if connection._in_transaction or is_dead(connection):
        abandon(connection)


@contextmanager
def _known(connection: Any) -> Iterator[None]:
    """Let DataJoint know of the transaction that is open."""
    known = connection._in_transaction
    connection._in_transaction = True
    try:
        with _unchanged(connection):
            yield
    finally:
        if not known:
            connection._in_transaction = False
