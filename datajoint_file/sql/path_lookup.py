"""Lookup of rows by object key: a question that an index answers only where somebody has made one.

A database rounds and pads keys, so that what was inserted is not always found under the key it was given; its path is.
"""

from __future__ import annotations

from collections.abc import Sequence

from datajoint_file.sql import Column, Dialect, Query, Rows
from datajoint_file.sql.columns import cell_sql

_PATHS_PER_QUERY = 400


def paths_among(query: Query, dialect: Dialect, table: str, attribute: str, paths: Sequence[str]) -> set[str]:
    """Return those of *paths* that rows of *table* (quoted) name, as the connection of *query* sees it."""
    return {
        path for (path,) in _among(query, dialect, table, attribute, paths, dialect.path(dialect.quoted(attribute)))
    }


def documents_among(query: Query, dialect: Dialect, table: str, attribute: str, paths: Sequence[str]) -> list[str]:
    """Return the JSON of rows of *table* that name one of *paths*, likewise."""
    found = _among(query, dialect, table, attribute, paths, dialect.as_text(dialect.quoted(attribute)))
    return [document for (document,) in found]


def cells_among(
    query: Query, dialect: Dialect, table: str, columns: Sequence[Column], attribute: str, paths: Sequence[str]
) -> Rows:
    """Return which cells of *table* name which of *paths*, likewise."""
    what = f"{cell_sql(dialect, columns)}, {dialect.path(dialect.quoted(attribute))}"
    return _among(query, dialect, table, attribute, paths, what)


def _among(query: Query, dialect: Dialect, table: str, attribute: str, paths: Sequence[str], what: str) -> Rows:
    found: Rows = []
    for start in range(0, len(paths), _PATHS_PER_QUERY):
        condition, values = dialect.has_path(dialect.quoted(attribute), paths[start : start + _PATHS_PER_QUERY])
        found += query(f"SELECT {what} FROM {table} WHERE {condition}", values)
    return found
