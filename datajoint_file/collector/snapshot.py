"""Database snapshot on a connection of its own: one moment for many tables, rows as they come, nothing hidden.

Whatever goes wrong while evidence is read becomes a refusal to collect. What is read is decided in `references`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from datajoint_file.collector.plan import Refusal, refusals_of, refuse
from datajoint_file.errors import CollectionRefusedError, driver_message
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.model.wording import counted
from datajoint_file.sql import Rows, is_changed, is_deadlock

_Result = TypeVar("_Result")

_ROWS_AT_ONCE = 5_000
_PAUSES = (0.0, 0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)
"""Seconds to wait before each further attempt."""

CHANGED = "changed"
"""The kind of a refusal that a second attempt may do without."""


class Snapshot:
    """A connection for reading, beside the one of the user's code: a context, which closes it.

    Raises
    ------
    CollectionRefusedError
        From every method: if the server cannot be reached, or does not answer as it should.
    """

    def __init__(self, connection: Any) -> None:
        second = SecondConnection(connection)
        self.dialect = second.dialect
        with refusing("the database"):
            self._driver = second.connect()
            self._execute(self.dialect.reading)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(Exception):
            self._driver.close()

    def name(self, *parts: str) -> str:
        """Return a quoted name, of a schema and table or an attribute: from the server, it may hold anything."""
        return self.dialect.quoted(*parts)

    def query(self, sql: str, what: str = "the database") -> Rows:
        """Return the rows of one statement without parameters; *what* it reads is named if it fails."""
        with refusing(what):
            return self.try_query(sql)

    def try_query(self, sql: str, args: Sequence[Any] = ()) -> Rows:
        """Return the rows of one statement; errors are those of the driver."""
        with self._driver.cursor() as cursor:
            cursor.execute(sql, tuple(args) or None)
            return list(cursor.fetchall())

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all statements of the block see one moment, and change nothing."""
        with refusing("a snapshot of the database"):
            for statement in self.dialect.snapshot:
                self._execute(statement)
        try:
            yield
        finally:
            with suppress(Exception):
                self._execute("ROLLBACK")

    def stream(self, columns: str, source: str, what: str) -> Iterator[tuple[Any, ...]]:
        """Give rows of a table as they come, within a `snapshot`; refuse if fewer come than there are."""
        pages, count = self.dialect.pages(self._driver, f"SELECT {columns} FROM {source}", _ROWS_AT_ONCE), 0
        while True:
            with refusing(what):
                page = next(pages, [])
            if not page:
                break
            count += len(page)
            yield from page
        expected = self.query(f"SELECT COUNT(*) FROM {source}", what)[0][0]
        if count != expected:
            reason = f"{what} cannot be read completely: {counted(count, 'row')} came, of {expected}"
            raise refuse(Refusal("unreadable", reason, "Look what the server's log says, and try again"))

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
def refusing(what: str) -> Iterator[None]:
    """Make a refusal of whatever goes wrong while *what* is read: evidence that is not complete is none."""
    try:
        yield
    except CollectionRefusedError:
        raise
    except Exception as error:  # each driver has exceptions of its own
        if is_changed(error) or is_deadlock(error):
            raise refuse(Refusal(CHANGED, f"{what} was declared or altered meanwhile", "Try again")) from error
        way_on = "Run the collector as a user who may read it, or mend what the message says, and try again"
        raise refuse(
            Refusal("unreadable", f"{what} cannot be read completely: {driver_message(error)}", way_on)
        ) from error
