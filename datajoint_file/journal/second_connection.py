"""Second database connection beside the user's: autocommit, and only ours.

It is opened when it is first needed, in each process anew, and again when it was lost while nobody used it.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, NoReturn

from datajoint.connection import translate_query_error
from datajoint.errors import LostConnectionError, MissingTableError

from datajoint_file.config.bindings import Attached
from datajoint_file.errors import StatementTooLargeError
from datajoint_file.sql import Rows, dialect_of, is_lost

IDLE_SECONDS = 5.0
"""After so long the connection is tried before it is used: servers close those that are idle."""

LOCK_WAIT_SECONDS = 5.0
"""What waits longer for a lock fails. Nothing here has a reason to wait for anybody's transaction."""

_ATTEMPTS = 3


class SecondConnection:
    """A second connection to the server, database and user of one of DataJoint's, which is asked for nothing else.

    Safe to use from several threads, one statement after the other; a child process opens its own.
    """

    def __init__(self, connection: Any) -> None:
        self.adapter = connection.adapter
        self.dialect = dialect_of(connection)
        self.connect = _connector(connection)
        self._sessions: dict[int, _Session] = {}

    def __repr__(self) -> str:
        return f"SecondConnection({self.dialect.title})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a connection to a database is not pickled: connect again in the other process")

    def execute(self, sql: str, args: Sequence[Any] = ()) -> int:
        """Run one statement and return how many rows it concerned."""
        with self._cursor(sql, args) as cursor:
            return int(cursor.rowcount)

    def create(self, sql: str) -> None:
        """Run one statement that makes what is not there yet; again, if another was at it in the same moment."""
        for _ in range(_ATTEMPTS):
            try:
                self.execute(sql)
            except Exception as error:
                if not self.dialect.is_made_by_another(error.__cause__ or error):
                    raise
            else:
                return
        self.execute(sql)

    def query(self, sql: str, args: Sequence[Any] = ()) -> Rows:
        """Run one statement and return the rows that it gives."""
        with self._cursor(sql, args) as cursor:
            return list(cursor.fetchall())

    def query_many(self, sql: str, args: Sequence[Any] = ()) -> list[Rows]:
        """Run statements, sent together, and return their results, as far as the driver gives them."""
        with self._cursor(sql, args) as cursor:
            return self.dialect.results(cursor)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the statements of the block in one transaction; an error rolls it back."""
        session = self._session()
        with session.lock:
            self.execute(self.adapter.start_transaction_sql())
            session.has_transaction = True
            try:
                yield
                self.execute(self.adapter.commit_sql())
            except BaseException:
                with suppress(Exception):  # also of a COMMIT that was refused: the next statement would be, too
                    self.execute(self.adapter.rollback_sql())
                raise
            finally:
                session.has_transaction = False

    @cached_property
    def size_limit(self) -> int | None:
        """How many bytes the server takes in one statement; None if there is no limit to speak of. Asked once."""
        variable = self.dialect.size_limit
        return int(self.query(f"SELECT @@{variable}")[0][0]) if variable else None

    def close(self) -> None:
        """Close this process's connection; the next statement opens another."""
        session = self._sessions.pop(os.getpid(), None)
        if session is not None and session.driver is not None:
            with suppress(Exception):
                session.driver.close()

    @contextmanager
    def _cursor(self, sql: str, args: Sequence[Any]) -> Iterator[Any]:
        session = self._session()
        with session.lock:
            cursor = self.adapter.get_cursor(self._driver(session))
            try:
                cursor.execute(sql, args or None)
                yield cursor
            except Exception as error:
                translated = translate_query_error(error, sql, self.adapter)
                is_too_large = self.dialect.is_too_large(error)
                if is_too_large or is_lost(error, session.driver) or is_lost(translated, session.driver):
                    self._forget(session)
                    if is_too_large or self._is_beyond_limit(sql, args):
                        raise StatementTooLargeError(
                            f"the server takes no statement as large as one that is needed here: {error}. Have an "
                            f"administrator raise {self.dialect.size_limit}, to 1 MiB at least"
                        ) from error
                    raise LostConnectionError(f"the second connection to the database was lost: {error}") from error
                if self.dialect.is_gone(error):  # DataJoint knows tables that are gone, not schemas
                    raise MissingTableError(*map(str, error.args)) from error
                if translated is error:
                    raise  # an error that were its own cause would have no end for who walks along them
                raise translated from error
            except BaseException:
                self._forget(session)  # interrupted between a question and its answer: the next would get this one
                raise
            finally:
                with suppress(Exception):
                    cursor.close()
            session.used = time.monotonic()

    def _is_beyond_limit(self, sql: str, args: Sequence[Any]) -> bool:
        """Tell whether the server has hung up for that: it seldom comes to saying why."""
        size = len(sql) + sum(len(value) for value in args if isinstance(value, str))
        with suppress(Exception):
            return size > (self.size_limit or size)
        return False

    def _session(self) -> _Session:
        """Return this process's session. Those of a parent stay where they are: closing them would say goodbye."""
        return self._sessions.get(os.getpid()) or self._sessions.setdefault(os.getpid(), _Session())

    def _driver(self, session: _Session) -> Any:
        if session.has_transaction:
            if session.driver is None:
                raise LostConnectionError("the second connection to the database was lost during a transaction")
            return session.driver
        is_idle = session.driver is not None and time.monotonic() - session.used > IDLE_SECONDS
        if is_idle and not self.adapter.ping(session.driver):
            self._forget(session)
        if session.driver is None:
            session.driver = self.connect()
            session.used = time.monotonic()
        return session.driver

    def _forget(self, session: _Session) -> None:
        driver, session.driver = session.driver, None
        with suppress(Exception):
            self.dialect.sever(driver)


class _Session:
    """The driver's connection of one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.driver: Any = None
        self.used = 0.0
        self.has_transaction = False


def second_connection_of(connection: Any) -> SecondConnection:
    """Return the second connection that belongs to *connection*. It is opened by the first statement."""
    return _second_connections.of(connection)


def _connector(connection: Any) -> Callable[[], Any]:
    """Return what opens another connection like *connection*. A function, for its secrets show in no listing."""
    adapter, dialect, info = connection.adapter, dialect_of(connection), connection.conn_info
    charset = connection._config["connection.charset"]
    use_tls = info.get("ssl") if dialect.is_encrypted(connection._conn) else False
    database = {"dbname": info["database_name"]} if info.get("database_name") else {}

    def connect() -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*deprecated.*")  # of arguments that DataJoint gives to PyMySQL
            driver = adapter.connect(
                host=info["host"],
                port=info["port"],
                user=info["user"],
                password=info["passwd"],
                charset=charset,
                use_tls=use_tls,
                **database,
            )
        dialect.prepare(driver, LOCK_WAIT_SECONDS)
        return driver

    return connect


_second_connections = Attached(SecondConnection)
