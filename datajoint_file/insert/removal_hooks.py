"""Removal hooks: delete and drop of tables with ``file`` attributes, and of those around them, keep a history.

The objects stay as they are. Where no table of a cascade has files, all goes straight through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import networkx as nx  # type: ignore[import-untyped]
from datajoint.dependencies import extract_master

from datajoint_file.journal.history import Event, Name
from datajoint_file.journal.schema_registry import dropping
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.sql import dialect_of, is_changed
from datajoint_file.sql.file_indexes import with_its_indexes
from datajoint_file.sql.tag_table import TagTable

_event: ContextVar[Event | None] = ContextVar("removal", default=None)
"""The cascade that is under way."""

_TABLE = re.compile(
    r"(?P<what>DROP|ALTER) TABLE (?P<table>(?P<quote>[`\"])[^`\"]+(?P=quote)\.(?P=quote)[^`\"]+(?P=quote))"
)

_SCHEMA = re.compile(r"DROP (?:DATABASE|SCHEMA) (?:IF EXISTS )?[`\"](?P<name>[^`\"]+)[`\"]")


def delete(original: Callable[..., int], table: Any, *args: Any, **options: Any) -> int:
    """Let DataJoint delete rows and what depends on them: all of it is one event.

    The first event that reaches a schema makes its history, which MySQL does not show to a transaction that has begun
    before: then once more.
    """
    is_open = has_transaction(table.connection)
    try:
        with _cascade(table, "delete"):
            return original(table, *args, **options)
    except Exception as error:
        if is_open or not is_changed(error):
            raise
    with _cascade(table, "delete"):
        return original(table, *args, **options)


def drop(original: Callable[..., None], table: Any, *args: Any, **options: Any) -> None:
    """Let DataJoint drop a table and what depends on it: all of it is one event."""
    with _cascade(table, "drop"):
        return original(table, *args, **options)


def delete_quick(original: Callable[..., int | None], table: Any, get_count: bool = False) -> int | None:
    """Delete the rows of one table, and keep them in its schema's history if there are files among what is deleted."""
    if table._top is not None:
        return original(table, get_count)  # which comes back here, with the rows that are meant
    name = (table.database, table.table_name)
    event = _event_of(table.connection, "delete", name)
    if name not in event.kept:
        return original(table, get_count)
    count = event.delete(*name, table.full_table_name, table.where_clause())
    return count if get_count else None


def execute_ddl(original: Callable[..., Any], connection: Any, query: Any, *args: Any, **options: Any) -> Any:
    """Execute a statement that drops or alters; what a table loses by it is written down first.

    ``Table.alter`` itself cannot be wrapped, for it reads its caller's frame, and only what is executed counts.
    """
    sql = str(query)
    found = _TABLE.match(sql)
    if found is None:
        return _drop_schema(partial(original, connection, query, *args, **options), connection, sql)
    quoted, what = found["table"], found["what"].lower()
    name: Name = connection.adapter.split_full_table_name(quoted)
    tags = _tags_of(connection, name) if what == "drop" else []
    if tags:  # by one statement: none goes without the other
        query = f"DROP TABLE {', '.join([*tags, quoted])}{sql[found.end() :]}"
    event = _event_of(connection, what, name)
    if what == "alter":
        query = with_its_indexes(event.dialect, event.query, *name, sql)
    execute = partial(original, connection, query, *args, **options)
    columns = event.kept.get(name, ())
    files = [column.name for column in columns if column.is_file]
    if what == "alter":
        quote = connection.adapter.quote_identifier
        files = [attribute for attribute in files if quote(attribute) in sql[found.end() :]]
    if not columns or (what == "alter" and not files):
        return execute()
    return event.drop(*name, quoted, files, execute, besides=tags)


def _tags_of(connection: Any, name: Name) -> list[str]:
    """Return the table of tags beside a table, quoted, if there is one: its foreign key would keep the table."""
    table = TagTable(dialect_of(connection), *name)

    def query(sql: str, args: Sequence[Any]) -> Any:
        return connection.query(sql, args).fetchall()

    if not table.is_there(query):
        return []
    is_kept = set(table.dialect.referring(query, *name)) - {table.name}  # the DROP is going to be refused
    return [] if is_kept else [table.table]


def _drop_schema(execute: Callable[[], Any], connection: Any, sql: str) -> Any:
    """Execute a statement; if it drops a schema, tell the stores of its projects, which know it by their marks."""
    found = _SCHEMA.match(sql)
    registered = dropping(connection, found["name"]) if found else None
    result = execute()
    if registered is not None and not has_transaction(connection):  # else it may come back; then --dropped settles it
        registered.note()
    return result


def _event_of(connection: Any, why: str, name: Name) -> Event:
    """Return the cascade that is under way, if it reaches a table; else an event of that table alone."""
    event = _under_way(connection)
    return event if event is not None and name in event.reached else Event(connection, why, lambda: [name])


def _under_way(connection: Any) -> Event | None:
    """Return the cascade of this connection; there may be one of another, of whoever has called."""
    event = _event.get()
    return event if event is not None and event.connection is connection else None


@contextmanager
def _cascade(table: Any, why: str) -> Iterator[None]:
    """Make one event of all that is removed in the block, unless it is part of one."""
    token = _event.set(_under_way(table.connection) or Event(table.connection, why, partial(_reached, table)))
    try:
        yield
    finally:
        _event.reset(token)


def _reached(table: Any) -> Sequence[Name]:
    """Return the tables that a cascade from *table* may reach, by the dependencies that DataJoint has just loaded.

    With the masters of part tables: a deletion may be told to take these as well.
    """
    graph, split = table.connection.dependencies, table.connection.adapter.split_full_table_name
    reached, new = set[str](), {table.full_table_name}
    while new:
        found = {node for name in new if name in graph for node in nx.descendants(graph, name)} | new
        reached |= found
        masters = {extract_master(name) for name in found if not name.isdigit()}
        new = {master for master in masters if master and master in graph} - reached
    return [split(name) for name in reached if not name.isdigit()]
