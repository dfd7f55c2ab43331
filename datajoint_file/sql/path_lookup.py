"""Lookup of rows by object key: the question that no index answers, and that keys cannot.

A database rounds and pads keys, so that what was inserted is not always found under the key it was given; its path is.
"""

from __future__ import annotations

from collections.abc import Sequence

from datajoint_file.sql import Dialect, Query

_PATHS_PER_QUERY = 400


def paths_among(query: Query, dialect: Dialect, table: str, attribute: str, paths: Sequence[str]) -> set[str]:
    """Return those of *paths* that rows of *table* (quoted) name, as the connection of *query* sees it."""
    return set(_among(query, dialect, table, attribute, paths, dialect.path(dialect.quoted(attribute))))


def documents_among(query: Query, dialect: Dialect, table: str, attribute: str, paths: Sequence[str]) -> list[str]:
    """Return the JSON of rows of *table* that name one of *paths*, likewise."""
    return _among(query, dialect, table, attribute, paths, dialect.as_text(dialect.quoted(attribute)))


def _among(query: Query, dialect: Dialect, table: str, attribute: str, paths: Sequence[str], what: str) -> list[str]:
    sql = f"SELECT {what} FROM {table} WHERE {dialect.path(dialect.quoted(attribute))} IN %s"
    return [
        row[0]
        for start in range(0, len(paths), _PATHS_PER_QUERY)
        for row in query(sql, (tuple(paths[start : start + _PATHS_PER_QUERY]),))
    ]
