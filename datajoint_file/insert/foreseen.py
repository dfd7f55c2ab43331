"""Pre-flight check of a large INSERT: asks the database before the upload what it would refuse after it.

The database compares, never Python, and only values that it stores as they are given. Where the user has a transaction,
that is asked of what seems hopeless alone, since a read may lock, and settle what it sees for the rest of its time.
Where anything is in doubt, the rows are sent.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import numpy as np
from datajoint.errors import DuplicateError, IntegrityError

from datajoint_file.hooks.tables import Row, declared_type, table_name
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.model.key_values import is_missing, key_value, kind_of
from datajoint_file.model.object_keys import key_text
from datajoint_file.sql import dialect_of, is_lost

logger = logging.getLogger(__name__)

_KEYS_PER_QUERY = 200

_LOOKED_AT = 10
"""So many of the rows that seem hopeless are looked at again: one suffices."""

_TEXT = re.compile(r"(?:var)?char\((\d+)\)")

_MOMENTS = {
    "datetime": re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII),
    "date": re.compile(r"\d{4}-\d\d-\d\d", re.ASCII),
}
"""What a moment looks like of which nothing is lost. The time zone of a session changes others."""

Values = tuple[tuple[str, Any], ...]
"""Columns and their values: equal ones are the same bytes of the same statement."""


def refuse_hopeless(table: Any, rows: Sequence[Row], where: Callable[[Row], str], *, is_new: bool) -> None:
    """Raise as the database would, if one of *rows* cannot be inserted: by its key, if all have to be new, or a parent.

    Raises
    ------
    DuplicateError
        If a primary key is in the table already, or twice among *rows*.
    IntegrityError
        If the row that a foreign key refers to is not there.
    """
    connection = table.connection
    is_open, driver = has_transaction(connection), connection._conn
    try:
        questions = _Questions(table, rows, where, is_open=is_open)
        with questions.undisturbed():
            found = (questions.duplicate() if is_new else None) or questions.orphan()
    except Exception as error:
        if is_open and is_lost(error, driver):  # with it the transaction, which must not go on as another one
            raise
        logger.debug("%s: not known whether the rows can be inserted: %s", table_name(table), error)
        return
    if found is not None:
        raise found


class _Questions:
    """What is asked about the rows of one statement."""

    def __init__(self, table: Any, rows: Sequence[Row], where: Callable[[Row], str], *, is_open: bool) -> None:
        self._table = table
        self._rows = rows
        self._where = where
        self._connection = table.connection
        self._dialect = dialect_of(table.connection)
        self._is_open = is_open

    def duplicate(self) -> Any:
        """Return the error of a row that is there already, or twice in the statement."""
        own = {name: name for name in self._table.primary_key}
        first: dict[Values, Row] = {}
        for row in self._rows:
            values = self._values(row, own)
            other = first.setdefault(values, row) if values else row
            if other is not row and self._is_plain(self._table):
                same = f"the statement has this primary key twice, in rows {other.index} and {row.index}"
                return DuplicateError(f"{self._where(row)}: {same}; {_NOTHING}. Give each row a key of its own")
        name = self._table.full_table_name
        suspects = [values for values, is_there in self._present(name, list(first)) if is_there]
        for values in suspects[:_LOOKED_AT]:
            if self._is_plain(self._table) and (not self._is_open or self._is_within(name, values)):
                return DuplicateError(
                    f"{self._where(first[values])}: the table has a row of this primary key already; {_NOTHING}. "
                    "Insert with skip_duplicates=True to leave that row as it is, with replace=True to replace it, or "
                    "change its files with update1"
                )
        return None

    def orphan(self) -> Any:
        """Return the error of a row whose parent is not there."""
        for parent, columns in self._parents():
            first: dict[Values, Row] = {}
            for row in self._rows:
                if values := self._values(row, columns):
                    first.setdefault(values, row)
            other = parent.full_table_name
            suspects = [values for values, is_there in self._present(other, list(first)) if not is_there]
            for values in suspects[:_LOOKED_AT]:
                is_gone = self._is_elsewhere(other, values) is False
                if is_gone and not self._is_within(other, values) and self._is_enforced(parent, columns):
                    key = key_text(
                        (name, value.hex() if isinstance(value, bytes) else str(value)) for name, value in values
                    )
                    return IntegrityError(
                        f"{self._where(first[values])}: {table_name(parent)}, to which the table refers, has no row "
                        f"({key}); {_NOTHING}. Insert that row first, or refer to one that is there"
                    )
        return None

    def _parents(self) -> list[tuple[Any, dict[str, str]]]:
        """Return what the table refers to, and by which of its attributes to which of the other's."""
        found = self._table.parents(as_objects=True, foreign_key_info=True)
        own = self._table.full_table_name  # a parent may be in the same statement
        return [(parent, props["attr_map"]) for parent, props in found if parent.full_table_name != own]

    def _is_enforced(self, parent: Any, columns: dict[str, str]) -> bool:
        """Tell whether the foreign key is still there, and the database sees to it: DataJoint remembers old ones."""
        self._connection.dependencies.load(force=True)
        names = [(other.full_table_name, current) for other, current in self._parents()]
        return (parent.full_table_name, columns) in names and self._is_plain(self._table) and self._is_plain(parent)

    def _is_plain(self, table: Any) -> bool:
        return self._dialect.is_plain(self._query, table.database, table.table_name)

    def _values(self, row: Row, columns: dict[str, str]) -> Values | None:
        """Return what the columns of a key are going to be; None of what is not given, NULL, or not known for sure."""
        values = []
        for attribute, column in columns.items():
            value = _literal(self._table.heading[attribute], row.values.get(attribute))
            if value is None:
                return None
            values.append((column, value))
        return tuple(values)

    def _present(self, name: str, keys: Sequence[Values]) -> Iterator[tuple[Values, bool]]:
        """Tell of each key whether the table *name* has a row of it, as all see it by now."""
        query = second_connection_of(self._connection).query if self._is_open else self._query
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start : start + _KEYS_PER_QUERY]
            asked = ", ".join(f"EXISTS (SELECT 1 FROM {name} WHERE {self._condition(values)})" for values in some)
            (answers,) = query(f"SELECT {asked}", [value for values in some for _, value in values])
            yield from zip(some, map(bool, answers), strict=True)

    def _is_within(self, name: str, values: Values) -> bool:
        """Tell whether the user sees a row: what his transaction has inserted or deleted, others do not know."""
        ((found,),) = self._query(
            f"SELECT EXISTS (SELECT 1 FROM {name} WHERE {self._condition(values)})", [value for _, value in values]
        )
        return bool(found)

    def _is_elsewhere(self, name: str, values: Values) -> bool | None:
        """Tell whether others see a row, or have it locked; None if that cannot be said. No lock is left."""
        sql = f"SELECT 1 FROM {name} WHERE {self._condition(values)} LIMIT 1 {self._dialect.share_now}"
        try:
            return bool(second_connection_of(self._connection).query(sql, [value for _, value in values]))
        except Exception as error:  # noqa: BLE001 - also without the right to lock
            return True if self._dialect.is_timeout(error) else None

    def _condition(self, values: Values) -> str:
        return " AND ".join(f"{self._dialect.quoted(column)} = %s" for column, _ in values)

    def _query(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(self._run(sql, args).fetchall())

    def _run(self, sql: str, args: Sequence[Any] = ()) -> Any:
        return self._connection.query(sql, args, reconnect=False if self._is_open else None)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Keep the user's transaction usable where a question has failed."""
        if not self._is_open:
            yield
            return
        self._run("SAVEPOINT datajoint_file")
        try:
            yield
        finally:
            self._run("ROLLBACK TO SAVEPOINT datajoint_file")
            self._run("RELEASE SAVEPOINT datajoint_file")


_NOTHING = "nothing was sent, and no row was inserted"


def _literal(attribute: Any, given: Any) -> Any:
    """Return what the database can compare with an attribute exactly as if it were inserted; None if that is unsure."""
    declared = declared_type(attribute).strip()
    kind = kind_of(declared)
    if is_missing(given) or attribute.codec:
        return None
    if kind in ("int", "uuid"):
        value = key_value(attribute.name, declared, given).value
        return value if kind == "int" else value.bytes
    text = str(given) if type(given) in (str, np.str_, date, datetime) else ""
    return text if _is_stored_as_it_is(declared, text) else None


def _is_stored_as_it_is(declared: str, text: str) -> bool:
    """Tell whether a database keeps a text whole: it cuts fractions of a second and what is too long, drops spaces."""
    type_ = declared.lower()
    if limited := _TEXT.fullmatch(type_):
        return len(text) <= int(limited[1]) and text == text.rstrip()
    if type_.startswith("enum"):
        return f"'{text}'" in declared or f'"{text}"' in declared
    pattern = _MOMENTS.get(type_.partition("(")[0])
    return pattern is not None and pattern.fullmatch(text) is not None
