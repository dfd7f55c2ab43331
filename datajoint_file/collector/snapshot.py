"""Database snapshot on a connection of its own: one moment for many tables, rows as they come, nothing hidden.

Whatever goes wrong while evidence is read becomes a refusal to collect. What is read is decided in `references`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pymysql.cursors

from datajoint_file.collector.plan import Refusal, refusals_of, refuse
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.journal.second_connection import Rows, SideConnection

_Result = TypeVar("_Result")

_ROWS_AT_ONCE = 5_000
_PAUSES = (0.0, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)
"""Seconds to wait before each further attempt."""

CHANGED = "changed"
"""The kind of a refusal that a second attempt may do without."""

_CHANGED_MYSQL = {(1412,), (1146,), (1049,), (1054,)}
"""Codes for a table that is younger, in its present form, than the snapshot; and for what is not there any more."""

_CHANGED_POSTGRESQL = {"42P01", "42703", "3F000"}
"""The same: tables, columns and schemas that have gone since they were listed."""

_SETTINGS = {
    "mysql": "SET SESSION time_zone = 'SYSTEM'",
    "postgresql": "SET row_security = off",
}
"""PostgreSQL: policies that hide rows make an error. MySQL: ``NOW()`` is in the zone of ``innodb_trx``."""

_SNAPSHOT = {
    "mysql": (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    "postgresql": ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
}


class Snapshot:
    """A connection for reading, beside the one of the user's code. Close it, or use it as a context.

    Parameters
    ----------
    connection : datajoint.Connection
        Tells how to reach the server.

    Attributes
    ----------
    backend : str
        The dialect: ``mysql`` (MariaDB's as well) or ``postgresql``.
    product : str
        The server: ``mysql``, ``mariadb`` or ``postgresql``.

    Raises
    ------
    CollectionRefusedError
        From every method: if the server cannot be reached, or does not answer as it should.
    """

    def __init__(self, connection: Any) -> None:
        self._side = SideConnection(connection)
        self.backend = self._side.backend
        with evidence("the database"):
            self._driver = self._side._connect()
            self._execute(_SETTINGS[self.backend])
            version = str(self.try_query("SELECT VERSION()")[0][0])
        self.product = "mariadb" if self.is_mysql and "mariadb" in version.lower() else self.backend

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        with suppress(Exception):
            self._driver.close()

    @property
    def is_mysql(self) -> bool:
        """Whether the dialect is MySQL's, which MariaDB shares."""
        return self.backend == "mysql"

    def name(self, *parts: str, formatted: bool = False) -> str:
        """Return a quoted name. Names come from the server and may hold anything.

        Parameters
        ----------
        *parts : str
            Schema and table, or an attribute.
        formatted : bool
            For a statement with parameters, where a percent sign is written twice.
        """
        mark = "`" if self.is_mysql else '"'
        quoted = ".".join(f"{mark}{part.replace(mark, mark * 2)}{mark}" for part in parts)
        return quoted.replace("%", "%%") if formatted else quoted

    def query(self, sql: str, args: Sequence[Any] = (), what: str = "the database") -> Rows:
        """Return the rows of one statement; *what* it reads is named if it fails."""
        with evidence(what):
            return self.try_query(sql, args)

    def try_query(self, sql: str, args: Sequence[Any] = ()) -> Rows:
        """Return the rows of one statement; errors are those of the driver."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql, tuple(args) or None)
            return list(cursor.fetchall())

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all statements of the block see one moment, and change nothing."""
        with evidence("a snapshot of the database"):
            for statement in _SNAPSHOT[self.backend]:
                self._execute(statement)
        try:
            yield
        finally:
            with suppress(Exception):
                self._execute("ROLLBACK")

    def stream(self, sql: str, what: str) -> Iterator[tuple[Any, ...]]:
        """Give the rows of one statement without parameters as they come. PostgreSQL: within a `snapshot` only."""
        pages = self._mysql_pages(sql) if self.is_mysql else self._postgresql_pages(sql)
        while True:
            with evidence(what):
                page = next(pages, [])
            if not page:
                return
            yield from page

    def _mysql_pages(self, sql: str) -> Iterator[Rows]:
        cursor = self._driver.cursor(pymysql.cursors.SSCursor)
        cursor.execute(sql)
        while page := cursor.fetchmany(_ROWS_AT_ONCE):
            yield list(page)
        cursor.close()

    def _postgresql_pages(self, sql: str) -> Iterator[Rows]:
        self._execute(f"DECLARE datajoint_file_scan NO SCROLL CURSOR FOR {sql}")
        while page := self.try_query(f"FETCH {_ROWS_AT_ONCE} FROM datajoint_file_scan"):
            yield page
        self._execute("CLOSE datajoint_file_scan")

    def _execute(self, sql: str) -> None:
        with self._driver.cursor() as cursor:
            cursor.execute(sql)


def steadily(read: Callable[[], _Result]) -> _Result:
    """Return what *read* returns, trying again where tables were declared or dropped while it ran.

    With pauses, some seconds in all: dropping a large schema takes a server its time, and until then it is listed.
    """
    for pause in _PAUSES:
        try:
            return read()
        except CollectionRefusedError as error:
            if any(refusal.kind != CHANGED for refusal in refusals_of(error)):
                raise
        time.sleep(pause)
    return read()


@contextmanager
def evidence(what: str) -> Iterator[None]:
    """Make a refusal of whatever goes wrong while *what* is read: evidence that is not complete is none."""
    try:
        yield
    except CollectionRefusedError:
        raise
    except Exception as error:  # each driver has exceptions of its own
        text = " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__
        if error.args[:1] in _CHANGED_MYSQL or getattr(error, "pgcode", "") in _CHANGED_POSTGRESQL:
            raise refuse(Refusal(CHANGED, f"{what} was declared or altered meanwhile", "Try again")) from error
        way_on = "Run the collector as a user who may read it, or mend what the message says, and try again"
        raise refuse(Refusal("unreadable", f"{what} cannot be read completely: {text}", way_on)) from error
