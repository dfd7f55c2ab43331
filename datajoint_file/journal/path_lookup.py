"""Lookup of rows by object key: the question that no index answers, and that keys cannot.

A database rounds and pads keys, so that what was inserted is not always found under the key it was given; its path is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datajoint_file.journal.second_connection import SideConnection, quoted

_PATHS_PER_QUERY = 400


def path_sql(backend: str, attribute: str) -> str:
    """Return the SQL of the object key in a `file` attribute."""
    name = quoted(backend, attribute)
    return f"({name}::jsonb ->> 'path')" if backend == "postgresql" else f"JSON_UNQUOTE(JSON_EXTRACT({name}, '$.path'))"


def select_sql(backend: str, table: str, attribute: str) -> str:
    """Return the query for those of some object keys (a parameter) that rows of *table* (quoted) name."""
    path = path_sql(backend, attribute)
    return f"SELECT {path} FROM {table} WHERE {path} IN %s"


def paths_among(side: SideConnection, schema: str, table: str, attribute: str, paths: Sequence[str]) -> set[str]:
    """Return those of *paths* that rows of a table name, as everybody can see."""
    sql, found = select_sql(side.backend, side.table(schema, table), attribute), set[str]()
    for start in range(0, len(paths), _PATHS_PER_QUERY):
        found |= {row[0] for row in side.query(sql, (tuple(paths[start : start + _PATHS_PER_QUERY]),))}
    return found


def own_paths_among(table: Any, attribute: str, paths: Sequence[str]) -> set[str]:
    """Return those of *paths* that rows of *table* name, as its own connection sees it, in its transaction."""
    sql, found = select_sql(table.connection.adapter.backend, table.full_table_name, attribute), set[str]()
    for start in range(0, len(paths), _PATHS_PER_QUERY):
        some = tuple(paths[start : start + _PATHS_PER_QUERY])
        found |= {row[0] for row in table.connection.query(sql, (some,), reconnect=False).fetchall()}
    return found
