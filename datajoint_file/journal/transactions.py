"""Transactions with files: hooks that know what was claimed in one, and one of their own where none is open.

What became of one whose commit was not answered is found out in `commit_outcome`. A connection that is lost to
PostgreSQL stays dead: it is mended here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from datajoint.errors import DataJointError, LostConnectionError

from datajoint_file.config.bindings import Attached
from datajoint_file.errors import OutcomeUnknownError
from datajoint_file.journal.commit_outcome import raise_unless_committed
from datajoint_file.journal.journal import Write
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.wording import ROLLED_BACK
from datajoint_file.sql import Dialect, is_lost


class Claims:
    """The files claimed in the transaction that is open on a connection."""

    def __init__(self, connection: Any) -> None:
        self.writes: tuple[Write, ...] = ()
        self.removals: tuple[tuple[str, str], ...] = ()  # schemas in whose history an event is written
        self.has_more = False  # whether rows with files were written, of which nothing may be noted: links, copies of rows
        self.is_used = False  # whether files have ever been inserted through it; if not, nothing of it concerns us
        self._is_datajoints = False

    def forget(self, *, is_datajoints: bool = False) -> None:
        """Take note that nothing is claimed: DataJoint has begun a transaction, or there is none, or another one."""
        self.writes, self.removals, self.has_more, self._is_datajoints = (), (), False, is_datajoints

    def add(self, writes: tuple[Write, ...]) -> None:
        """Take note of what has been claimed.

        In a transaction that was opened by SQL of the user's own only the last statement's: those before may belong to
        another, which ended unnoticed.
        """
        self.writes = (*self.writes, *writes) if self._is_datajoints else writes

    def add_removal(self, schema: str, event: str) -> None:
        """Take note of an event that the history of a schema has if the transaction is committed."""
        self.is_used = True
        self.removals = (*self.removals, (schema, event)) if self._is_datajoints else ((schema, event),)

    def drop(self, writes: Iterable[Write]) -> None:
        """Take note that intents are there again, under their numbers: whether they are gone tells nothing."""
        dropped = {(write.schema, write.write_id) for write in writes}
        self.writes = tuple(write for write in self.writes if (write.schema, write.write_id) not in dropped)


def claims_of(connection: Any) -> Claims:
    """Return what has been claimed in the transaction of *connection*."""
    return _claims.of(connection)


_claims = Attached(Claims)


def start_transaction(original: Callable[[Any], None], connection: Any) -> None:
    """Let DataJoint start a transaction, in which nothing has been claimed yet."""
    original(connection)
    claims_of(connection).forget(is_datajoints=True)


def commit_transaction(original: Callable[[Any], None], connection: Any) -> None:
    """Let DataJoint commit; where files were inserted and the reply is lost, find out what happened.

    Raises
    ------
    OutcomeUnknownError
        If the server does not tell within five seconds, or nothing was noted that it could be asked.
    LostConnectionError
        If nothing was committed.
    """
    claims = _claims.known(connection)
    writes, removals = (claims.writes, claims.removals) if claims else ((), ())
    if not (writes or removals or (claims and claims.has_more)):
        return original(connection)
    driver, dialect = connection._conn, _dialect_of(connection)
    has_failed = dialect.has_failed(driver)
    connection._in_transaction = True  # or DataJoint would commit again, on a new connection, what was begun in SQL
    try:
        original(connection)
    except Exception as error:
        if not is_lost(error, driver):
            raise
        _recover(connection)
        claims_of(connection).forget()
        raise_unless_committed(writes, removals, connection, error)
    claims_of(connection).forget()
    if has_failed and writes:
        raise DataJointError(
            f"A statement of this transaction had failed, so {dialect.title} has rolled it back: none of its "
            f"{len(writes)} files was inserted. Insert again; what is stored is not sent again"
        )
    return None


def cancel_transaction(original: Callable[[Any], None], connection: Any) -> None:
    """Let DataJoint roll back; where files were inserted and the connection is lost, the server has done it.

    PostgreSQL's connection would stay dead otherwise, and hide the error that the transaction is rolled back for.
    """
    claims = _claims.known(connection)
    if claims is None or not claims.is_used:
        return original(connection)
    claims.forget()
    driver = connection._conn
    try:
        original(connection)
    except Exception as error:
        if not is_lost(error, driver):
            raise
        _recover(connection)
    return None


def _recover(connection: Any) -> None:
    """Connect again, if that is possible; if not, the next statement says so."""
    connection._in_transaction = False
    with suppress(Exception):
        mend(connection)


def has_transaction(connection: Any) -> bool:
    """Tell whether *connection* is in a transaction, also in one that was opened with SQL of the user's own.

    DataJoint knows only those it opened itself; opening another one would commit the user's. Where the user has turned
    autocommit off, the next statement opens one.
    """
    if connection._in_transaction:
        return True
    if is_dead(connection):
        return False
    return not _dialect_of(connection).has_autocommit(connection._conn) or _is_in_transaction(connection)


def require_transaction(connection: Any) -> None:
    """Raise if DataJoint's transaction is none any more: servers end one at a deadlock, and some say so but once.

    What was written then would be committed at once, by itself.
    """
    if connection._in_transaction and not is_dead(connection) and not _is_in_transaction(connection):
        raise LostConnectionError(ROLLED_BACK)


def claims_outside(connection: Any) -> bool:
    """Tell whether a transaction is open that cannot claim what is noted now: it looks at an older moment.

    Such claims are made outside it, for good. An upload is unknown then until its row is there; an object that others
    have had could be deleted meanwhile, and is not to be shared.
    """
    if not has_transaction(connection):
        return False
    dialect = _dialect_of(connection)
    return dialect.has_strict_snapshots(connection) or dialect.is_behind(connection)


def _is_in_transaction(connection: Any) -> bool:
    return _dialect_of(connection).is_in_transaction(connection._conn)


@contextmanager
def transaction_for(connection: Any, *, is_open: bool) -> Iterator[None]:
    """Run a statement in the user's transaction, or in one of its own if none is open.

    Outside a transaction DataJoint sends an INSERT again when the server's reply is lost, and reports a duplicate for
    the row that the first one inserted. In a transaction that the user opened with SQL of his own it would do the
    same, on a new connection: so it is told that there is one.
    """
    with _told_to_datajoint(connection) if is_open else own_transaction(connection):
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
        if connection._in_transaction or is_dead(connection):
            abandon(connection)  # what could not be rolled back ends with its connection
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
    """Commit. If nothing was noted that could be asked, a lost reply leaves unknown what became of it."""
    driver, writes = connection._conn, claims_of(connection).writes
    try:
        connection.commit_transaction()
    except Exception as error:
        if writes or isinstance(error, OutcomeUnknownError) or not is_lost(error, driver):
            raise
        raise_unless_committed((), (), connection, error)


@contextmanager
def _told_to_datajoint(connection: Any) -> Iterator[None]:
    """Let DataJoint know of the transaction that is open."""
    was_told = connection._in_transaction
    connection._in_transaction = True
    try:
        with _unchanged(connection):
            yield
        claims_of(connection).has_more = True
    finally:
        if not was_told:
            connection._in_transaction = False


def is_dead(connection: Any) -> bool:
    """Tell, without asking the server, whether a connection of DataJoint's is known to be closed."""
    return _dialect_of(connection).is_closed(connection._conn)


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
        _dialect_of(connection).sever(connection._conn)


def abandon(connection: Any) -> None:
    """Give a connection up together with its transaction, and connect again if that is possible."""
    sever(connection)
    with suppress(Exception):
        mend(connection)


def _dialect_of(connection: Any) -> Dialect:
    return second_connection_of(connection).dialect
