"""Rows that an update or a REPLACE is going to change: found before the transaction, written down in it.

And the tags of those that are replaced: on some servers REPLACE deletes rows, on others it changes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datajoint import AndList

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.hooks.tables import Row, TableKeys
from datajoint_file.insert.statement import Statement
from datajoint_file.journal.history import Event
from datajoint_file.model.key_values import is_missing
from datajoint_file.sql import dialect_of
from datajoint_file.sql.tag_table import TagTable

_ROWS_PER_STATEMENT = 200


class Replaced:
    """The values that a statement is about to take out of rows: of *attributes*, where the rows are."""

    def __init__(self, statement: Statement, why: str, rows: Sequence[Row]) -> None:
        table, self._attributes = statement.table, statement.attributes
        self._name = (table.database, table.table_name)
        self._full_name, self._heading = table.full_table_name, table.heading
        self._event = Event(table.connection, why, lambda: [self._name])
        self._wheres = self._conditions(statement, rows) if self._event.kept else []

    def _conditions(self, statement: Statement, rows: Sequence[Row]) -> list[str]:
        """Return the SQL of which rows are meant, of some at a time."""
        unrestricted, by = statement.keys.unrestricted, [dict.fromkeys(statement.table.primary_key, False)]
        if self._event.removal.why == "replace":
            by += self._event.unique_keys(*self._name)
        alike = [one for row in rows for key in by if (one := self._alike(row, key, is_primary=key is by[0]))]
        return [
            (unrestricted & alike[start : start + _ROWS_PER_STATEMENT]).where_clause()
            for start in range(0, len(alike), _ROWS_PER_STATEMENT)
        ]

    def _alike(self, row: Row, key: Mapping[str, bool], *, is_primary: bool) -> Any:
        """Return the restriction to what shares a unique key with *row*; what it does not give has its default then.

        It may be true of more rows: an entry of what stays is of no account.
        """
        dialect, restrictions = self._event.dialect, list[Any]()
        columns = {column.name: column for column in self._event.kept[self._name]}
        for name, is_computed in key.items():
            value = row.values.get(name)
            if not (is_missing(value) or (value == "" and self._heading[name].numeric)):  # else DataJoint leaves it out
                is_exact = is_primary and self._event.removal.why != "replace"
                restrictions.append((not is_exact and dialect.may_hold(columns[name], _text(value))) or {name: value})
            elif is_computed:
                what = f"a value of {name}" if name else "an expression"
                raise UnsupportedValueError(
                    f"{self._full_name}: REPLACE removes rows by a unique key with {what} that the database computes, "
                    "and which these are cannot be told before. No row was written. "
                    f"{'Give that value' if name else 'Delete the old row'}, or use update1"
                )
            elif is_primary:
                return None  # the database gives it a number that nobody has
            else:
                restrictions.append(f"{dialect.quoted(name)} = DEFAULT({dialect.quoted(name)})")
        return AndList(restrictions)

    def keep(self) -> None:
        """Write down what the rows hold now, in the transaction that is open; they stay locked."""
        for where in self._wheres:
            self._event.keep_values(*self._name, self._full_name, where, self._attributes)


def has_tags(table: Any) -> bool:
    """Ask whether rows of a table may have tags."""
    query, tags = table.connection.query, _tags_of(table)
    return tags.is_there(lambda sql, args: query(sql, args).fetchall())


def tag_removals(table: Any, keys: TableKeys, rows: Sequence[Row]) -> list[str]:
    """Return the statements that take the tags away from the rows in whose place *rows* come."""
    complete = [row for row in rows if keys.is_complete(row)]
    if not (complete and has_tags(table)):
        return []
    tags = _tags_of(table)
    key = ", ".join(map(tags.dialect.quoted, table.primary_key))
    found = keys.queries_for(complete, tuple(table.primary_key))
    return [f"DELETE FROM {tags.table} WHERE ({key}) IN ({one})" for one in found]


def _tags_of(table: Any) -> TagTable:
    return TagTable(dialect_of(table.connection), table.database, table.table_name)


def _text(value: Any) -> str:
    return str(int(value) if isinstance(value, bool | np.bool_) else value)
