"""Paged listing of the rows of a query with ``file`` attributes, in the order of their key, with their raw JSON.

DataJoint's own fetch fails as a whole if one row's JSON is bad, and holds all rows in memory. Each page is a query of
its own, so that hours may pass between two: no cursor is kept open on a connection that belongs to the user.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from datajoint.codecs import decode_attribute
from datajoint.expression import QueryExpression

from datajoint_file.errors import DataJointError, UnsupportedValueError, brief, driver_message
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import query_name
from datajoint_file.sql import dialect_of

PAGE_ROWS = 2_000

Key = tuple[Any, ...]
"""Values of a primary key as the database gives and takes them."""

_FLOATS = ("float", "double", "real")


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as it is in the database."""

    key: Key
    texts: tuple[str | None, ...]  # the JSON of its ``file`` attributes


class Listing:
    """The rows of a query, of which only the primary key and the ``file`` attributes *names* are read."""

    def __init__(self, query: Any, names: tuple[str, ...]) -> None:
        self.connection = query.connection
        self.names = names
        self.primary_key = tuple(query.primary_key)
        self._attributes = [query.heading[name] for name in self.primary_key]
        self._dialect = dialect_of(self.connection)
        self._source: str = query.proj(*names).make_subquery().from_clause()

    def rows(self, after: Key | None = None, *, skip: int = 0, limit: int = sys.maxsize) -> Iterator[RawRow]:
        """Give all rows, or those behind the key *after*; of these *limit* at most, when *skip* have been passed over.

        What is inserted or deleted meanwhile may be given or not.
        """
        if skip > PAGE_ROWS and self.primary_key:
            behind = self._key_of(after, skip - 1)
            if behind is None:
                return
            after, skip = behind, 0
        while limit > 0:
            wanted = min(limit, PAGE_ROWS)
            page = self._page(after, wanted, skip)
            yield from page
            if len(page) < wanted or not self.primary_key:
                return
            after, skip, limit = page[-1].key, 0, limit - len(page)

    def again(self, key: Key) -> RawRow | None:
        """Return the row of *key* as it is now; None if it is gone."""
        condition = " AND ".join(f"{self._quoted(name)} = %s" for name in self.primary_key) or "TRUE"
        found = self._select(condition, list(key), "LIMIT 1")
        return found[0] if found else None

    def count(self, after: Key | None = None) -> int:
        """Return how many values the ``file`` attributes have in all rows, or in those behind *after*."""
        counts = " + ".join(f"count({self._quoted(name)})" for name in self.names)
        condition, values = self._behind(after)
        query = f"SELECT {counts} FROM {self._source} WHERE {condition}"
        return int(self._answer(query, values)[0][0])

    def counts(self, *, skip: int = 0, limit: int = sys.maxsize) -> list[int]:
        """Return how many files each ``file`` attribute has, by one statement; JSON's null is none.

        Of all rows, or of some, if all that there are have a file: which ones these are is not said.
        """
        columns = [
            f"COUNT(CASE WHEN NOT {self._dialect.is_absent(name)} THEN 1 END)" for name in map(self._quoted, self.names)
        ]
        query = f"SELECT {', '.join(columns)} FROM {self._windowed(skip, limit, is_ordered=False)}"
        return [int(count) for count in self._answer(query, [])[0]]

    def size(self, *, skip: int = 0, limit: int = sys.maxsize) -> int:
        """Return how many bytes they have together, of all rows or of so many in the order of their key."""
        sums = [
            f"COALESCE(SUM({self._dialect.whole_number(name, 'size')}), 0)" for name in map(self._quoted, self.names)
        ]
        return int(self._answer(f"SELECT {' + '.join(sums)} FROM {self._windowed(skip, limit)}", [])[0][0])

    def _windowed(self, skip: int, limit: int, *, is_ordered: bool = True) -> str:
        """Return what to select of so many rows from; how many there are does not depend on their order."""
        if not skip and limit == sys.maxsize:
            return self._source
        columns, window = ", ".join(map(self._quoted, self.names)), self._window(limit, skip, is_ordered=is_ordered)
        return f"(SELECT {columns} FROM {self._source} {window}) AS datajoint_file_window"

    def named(self, key: Key) -> dict[str, Any]:
        """Return *key* by attribute, its values as DataJoint's fetch gives them."""
        pairs = zip(self._attributes, key, strict=True)
        return {attribute.name: decoded(attribute, value, self.connection) for attribute, value in pairs}

    def _page(self, after: Key | None, rows: int, skip: int) -> list[RawRow]:
        if self.primary_key:
            return self._select(*self._behind(after), self._window(rows, skip))
        return self._select(*self._behind(after), "")[skip : skip + rows]

    def _key_of(self, after: Key | None, skip: int) -> Key | None:
        """Return the key of the row that comes behind so many: keys alone are sorted in less time and space."""
        condition, values = self._behind(after)
        keys = ", ".join(key_column(self._quoted(attribute.name), attribute.type) for attribute in self._attributes)
        query = f"SELECT {keys} FROM {self._source} WHERE {condition} {self._window(1, skip)}"
        found = self._answer(query, values)
        return raw_row(found[0], len(self._attributes)).key if found else None

    def _window(self, rows: int, skip: int, *, is_ordered: bool = True) -> str:
        """Return the end of a statement that selects so many rows in the order of their key."""
        order = ", ".join(map(self._quoted, self.primary_key if is_ordered else ()))
        return f"{f'ORDER BY {order} ' if order else ''}LIMIT {rows}{f' OFFSET {skip}' if skip else ''}"

    def _select(self, condition: str, values: list[Any], ending: str) -> list[RawRow]:
        keys = [key_column(self._quoted(attribute.name), attribute.type) for attribute in self._attributes]
        columns = [*keys, *map(self._dialect.as_text, map(self._quoted, self.names))]
        query = f"SELECT {', '.join(columns)} FROM {self._source} WHERE {condition} {ending}"
        count = len(self.primary_key)
        rows = self._answer(query, values)
        return [raw_row(row, count) for row in rows]

    def _answer(self, query: str, values: list[Any]) -> Any:
        try:
            return self.connection.query(query, values).fetchall()
        except DataJointError:
            raise
        except Exception as error:  # of the driver, also when DataJoint connects again in vain
            raise DataJointError(f"the database did not answer this: {driver_message(error)}") from error

    def _behind(self, after: Key | None) -> tuple[str, list[Any]]:
        """Return the condition that a row comes after *after*."""
        if after is None:
            return "TRUE", []
        if not self.primary_key:
            return "FALSE", []
        return self._dialect.after([(self._quoted(each.name), each.type) for each in self._attributes], after)

    def _quoted(self, name: str) -> str:
        return self._dialect.quoted(name)


def decoded(attribute: Any, value: Any, connection: Any) -> Any:
    """Return a value of the database's as DataJoint's fetch gives it."""
    try:
        return decode_attribute(attribute, value, squeeze=False, connection=connection)
    except Exception:  # noqa: BLE001 - what DataJoint cannot read (a UUID of PostgreSQL) is shown as it is
        return value


def key_column(quoted: str, type_: str) -> str:
    """Return the SQL of a quoted attribute of a key that gives its value so exactly that it is found again by it."""
    return f"{quoted} + 0e0" if type_.lower().startswith(_FLOATS) else quoted


def raw_row(row: tuple[Any, ...], count: int) -> RawRow:
    """Return a row of a result, whose first *count* columns are a key as `key_column` gives it."""
    return RawRow(tuple(bytes(one) if isinstance(one, memoryview) else one for one in row[:count]), tuple(row[count:]))


def key_to_json(key: Key) -> list[Any]:
    """Return *key* as JSON holds it: what it has no type for as a pair of a type's name and a text.

    Examples
    --------
    >>> key_to_json((7, "a", date(2025, 1, 15)))
    [7, 'a', ['date', '2025-01-15']]
    """
    return [_value_to_json(value) for value in key]


def key_from_json(values: list[Any]) -> Key:
    """Return the key that `key_to_json` has written.

    Raises
    ------
    ValueError
        If it has not written this.

    Examples
    --------
    >>> key_from_json([7, "a", ["date", "2025-01-15"]])
    (7, 'a', datetime.date(2025, 1, 15))
    """
    try:
        return tuple(_READ[value[0]](value[1]) if isinstance(value, list) else value for value in values)
    except (LookupError, TypeError, ArithmeticError) as error:
        raise ValueError(f"{json.dumps(values)} is not a key") from error


def _value_to_json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, datetime | date | time):
        return [type(value).__name__, value.isoformat()]
    if isinstance(value, timedelta):
        return ["timedelta", value // timedelta(microseconds=1)]
    return ["Decimal" if isinstance(value, Decimal) else "str", str(value)]


_READ: dict[str, Any] = {
    "bytes": bytes.fromhex,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda microseconds: timedelta(microseconds=microseconds),
    "Decimal": Decimal,
    "str": str,
}


def query_of(subject: Any) -> Any:
    """Return *subject*, a table or query, as a query that has ``file`` attributes.

    Raises
    ------
    UnsupportedValueError
        If it is none.
    """
    if inspect.isclass(subject) and issubclass(subject, QueryExpression):
        subject = subject()
    if not isinstance(subject, QueryExpression):
        raise UnsupportedValueError(
            f"{brief(subject)} is neither a table nor a query: give a table, a query with `file` attributes, or, to "
            "verify, a schema or a list of these"
        )
    if not file_attributes(subject.heading):
        name = query_name(subject) or "the query"
        raise UnsupportedValueError(f"{name} has no `file` attribute, only {', '.join(subject.heading.names)}")
    return subject
