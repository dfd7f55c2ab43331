"""Rows that an update or a REPLACE is going to change: found before the transaction, written down in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datajoint import AndList

from datajoint_file.hooks.tables import Row
from datajoint_file.insert.statement import Statement
from datajoint_file.journal.history import Event

_ROWS_PER_STATEMENT = 200


class Replaced:
    """The values that a statement is about to take out of rows: of *attributes*, where the rows are."""

    def __init__(self, statement: Statement, why: str, rows: Sequence[Row]) -> None:
        table, self._attributes = statement.table, statement.attributes
        self._name = (table.database, table.table_name)
        self._full_name = table.full_table_name
        self._event = Event(table.connection, why, lambda: [self._name])
        self._wheres = self._conditions(statement, rows) if self._event.kept else []

    def _conditions(self, statement: Statement, rows: Sequence[Row]) -> list[str]:
        """Return the SQL of which rows are meant, of some at a time."""
        unrestricted, by = statement.keys.unrestricted, [statement.table.primary_key]
        if self._event.removal.why == "replace":
            by += self._event.unique_keys(*self._name)
        quote = statement.table.connection.adapter.quote_identifier
        alike = [one for row in rows for names in by if (one := _alike(row, names, by[0], quote)) is not None]
        return [
            (unrestricted & alike[start : start + _ROWS_PER_STATEMENT]).where_clause()
            for start in range(0, len(alike), _ROWS_PER_STATEMENT)
        ]

    def keep(self) -> None:
        """Write down what the rows hold now, in the transaction that is open; they stay locked."""
        for where in self._wheres:
            self._event.keep_values(*self._name, self._full_name, where, self._attributes)


def _alike(row: Row, names: Sequence[str], primary_key: Sequence[str], quote: Any) -> Any:
    """Return the restriction to what shares a unique key with *row*; what it does not give has its default then."""
    given = {name: row.values[name] for name in names if row.values.get(name) is not None}
    left = [f"{quote(name)} = DEFAULT({quote(name)})" for name in names if name not in given]
    if left and names is primary_key:
        return None  # the database gives it a number that nobody has
    return AndList([given, *left]) if left else given
