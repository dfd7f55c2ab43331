"""Lookup of rows by object key: the question that no index answers, and that keys cannot.

A database rounds and pads keys, so that what was inserted is not always found under the key it was given; its path is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datajoint_file.journal.dialects import Dialect, dialect_of
from datajoint_file.journal.second_connection import SecondConnection

_PATHS_PER_QUERY = 400


def paths_among(second: SecondConnection, schema: str, table: str, attribute: str, paths: Sequence[str]) -> set[str]:
    """Return those of *paths* that rows of a table name, as everybody can see."""
    sql, found = _select(second.dialect, second.dialect.quoted(schema, table), attribute), set[str]()
    for start in range(0, len(paths), _PATHS_PER_QUERY):
        found |= {row[0] for row in second.query(sql, (tuple(paths[start : start + _PATHS_PER_QUERY]),))}
    return found


def own_paths_among(table: Any, attribute: str, paths: Sequence[str]) -> set[str]:
    """Return those of *paths* that rows of *table* name, as its own connection sees it, in its transaction."""
    sql, found = _select(dialect_of(table.connection), table.full_table_name, attribute), set[str]()
    for start in range(0, len(paths), _PATHS_PER_QUERY):
        some = tuple(paths[start : start + _PATHS_PER_QUERY])
        found |= {row[0] for row in table.connection.query(sql, (some,), reconnect=False).fetchall()}
    return found


def _select(dialect: Dialect, table: str, attribute: str) -> str:
    """Return the query for those of some object keys (a parameter) that rows of *table* (quoted) name."""
    path = dialect.path(dialect.quoted(attribute))
    return f"SELECT {path} FROM {table} WHERE {path} IN %s"
