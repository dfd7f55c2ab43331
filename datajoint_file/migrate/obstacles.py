"""What keeps an attribute as a whole from being migrated: keys, indexes, references, lengths of names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datajoint_file.hooks.tables import class_name
from datajoint_file.migrate.external import HIDDEN
from datajoint_file.migrate.names import Names
from datajoint_file.sql import dialect_of

_LONGEST_NAME = 63


def obstacles(table: Any, names: Names) -> Iterator[str]:
    """Give what is in the way. Nothing of it is a matter of single rows."""
    name, heading = names.name, table.heading
    if names.stage in ("swapped", "over"):
        return
    if heading[name].in_key:
        yield f"{name} is part of the primary key, which a `file` cannot be: give the table a key without it"
    if name in _unique(table):
        yield f"{name} is part of a unique index, which a `file` cannot be: drop that first"
    for other, attributes in _references(table).items():
        if name in attributes and HIDDEN not in other:
            yield f"{name} is part of a foreign key to or from {other}: it cannot become a `file`"
    yield from _in_names(heading, names)


def _unique(table: Any) -> set[str]:
    def query(sql: str, args: Any) -> Any:
        return table.connection.query(sql, args).fetchall()

    return dialect_of(table.connection).unique_attributes(query, table.database, table.table_name)


def _in_names(heading: Any, names: Names) -> Iterator[str]:
    for wanted in (names.beside, names.kept):
        if len(wanted) > _LONGEST_NAME:
            yield f"{wanted} is longer than the {_LONGEST_NAME} characters of a name: rename {names.name} first"
    if names.kept in heading.names:
        yield f"the table has an attribute {names.kept}, and that name is needed: rename it first"


def _references(table: Any) -> dict[str, set[str]]:
    """Return the attributes of the table that foreign keys name, by the other table."""
    connection, full_name = table.connection, table.full_table_name
    graph = connection.dependencies
    graph.load()
    split = connection.adapter.split_full_table_name
    found: dict[str, set[str]] = {}

    def note(other: str, attributes: Any) -> None:
        schema, name = split(other)
        found.setdefault(f"{schema}.{class_name(name)}", set()).update(attributes)

    for parent, properties in graph.parents(full_name):
        note(parent, properties["attr_map"])
    for child, properties in graph.children(full_name):
        note(child, properties["attr_map"].values())
    return {other: attributes - set(table.primary_key) for other, attributes in found.items()}
