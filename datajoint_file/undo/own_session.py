"""Queries on the user's own connection: where values and restrictions mean what they do in his session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datajoint_file.journal.transactions import has_transaction
from datajoint_file.sql import Rows, dialect_of

_SAVEPOINT = "datajoint_file_query"


class OwnSession:
    """The session of a connection of DataJoint's: its time zone, variables, temporary tables, open transaction."""

    def __init__(self, connection: Any) -> None:
        self.dialect = dialect_of(connection)
        self._connection = connection

    def query(self, sql: str, args: Sequence[Any] = ()) -> Rows:
        """Return the rows of a query. One that fails leaves the user's transaction as it was."""
        if not has_transaction(self._connection):
            return list(self._connection.query(sql, tuple(args)).fetchall())
        self._run(f"SAVEPOINT {_SAVEPOINT}")
        try:
            found = list(self._run(sql, tuple(args)).fetchall())
        except Exception:
            self._run(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
            raise
        self._run(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        return found

    def _run(self, sql: str, args: Sequence[Any] = ()) -> Any:
        return self._connection.query(sql, args, reconnect=False)
