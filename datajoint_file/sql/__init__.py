"""SQL dialects: one module for each database server, and `Dialect`, which is all that differs between them.

A further server takes one module more, and its place in `DIALECTS`. Nothing outside asks which server it is.
"""

from __future__ import annotations

from typing import Any

from datajoint.errors import LostConnectionError, MissingTableError

from datajoint_file.sql.columns import Column
from datajoint_file.sql.dialect import Condition, Dialect, Presence, Query, Rights, Rows, Unseen, Version
from datajoint_file.sql.mariadb import MariaDB
from datajoint_file.sql.mysql import MySQL
from datajoint_file.sql.postgresql import PostgreSQL

DIALECTS: tuple[Dialect, ...] = (MariaDB(), MySQL(), PostgreSQL())
"""All that there are; the first that a server speaks is taken."""

__all__ = [
    "DIALECTS",
    "Column",
    "Condition",
    "Dialect",
    "MariaDB",
    "MySQL",
    "PostgreSQL",
    "Presence",
    "Query",
    "Rights",
    "Rows",
    "Unseen",
    "Version",
    "dialect_of",
    "is_changed",
    "is_deadlock",
    "is_lost",
]


def dialect_of(connection: Any) -> Dialect:
    """Return the dialect of the server that a connection of DataJoint's is connected to. The server is not asked.

    Raises
    ------
    NotImplementedError
        If DataJoint can connect to a server that this package does not know.
    """
    backend = str(connection.adapter.backend)
    for dialect in DIALECTS:
        if dialect.backend == backend and dialect.is_spoken_by(connection._conn):
            return dialect
    raise NotImplementedError(
        f"datajoint_file has no dialect for {backend!r}, only for {', '.join(dialect.title for dialect in DIALECTS)}"
    )


def is_lost(error: BaseException, driver: Any) -> bool:
    """Tell whether *error*, translated by DataJoint or not, means that *driver*, a driver's connection, is gone."""
    return isinstance(error, LostConnectionError) or any(dialect.is_lost(error, driver) for dialect in DIALECTS)


def is_changed(error: BaseException) -> bool:
    """Tell whether *error*, of whichever driver, says that something was altered or dropped since it was listed."""
    return isinstance(error, MissingTableError) or any(dialect.is_changed(error) for dialect in DIALECTS)


def is_deadlock(error: BaseException) -> bool:
    """Tell whether *error*, of whichever driver, says that somebody changes what is read, and waits for the reader."""
    return any(dialect.is_deadlock(error) for dialect in DIALECTS)
