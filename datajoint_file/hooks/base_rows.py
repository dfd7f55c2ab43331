"""Rows of one table that a query is made of: how the query calls the attributes of that table's primary key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datajoint.expression import QueryExpression
from datajoint.table import FreeTable, Table

from datajoint_file.errors import QueryError, brief
from datajoint_file.hooks.tables import table_name
from datajoint_file.sql import dialect_of


@dataclass(frozen=True, slots=True)
class BaseRows:
    """The rows of *table* that belong to the rows of a query."""

    query: Any
    table: Any  # without restrictions
    names: Mapping[str, str]  # of the attributes of its primary key, in the query

    @property
    def may_lack(self) -> bool:
        """Whether rows of the query may belong to none: those of a left join."""
        return not set(self.names.values()) <= set(self.query.primary_key)


def as_query(query: Any) -> Any:
    """Return a query as an instance; a class of a table is the whole of it.

    Raises
    ------
    QueryError
        If it is none.
    """
    if isinstance(query, type) and issubclass(query, QueryExpression):
        return query()
    if isinstance(query, QueryExpression):
        return query
    raise QueryError(f"{brief(query)} is no query: give a table, or rows of it, such as Recording & key")


def base_rows(query: Any, of: Any = None, *, advice: str) -> BaseRows:
    """Return which rows of a table those of *query* belong to: of the only one it is made of, or of the table *of*.

    Raises
    ------
    QueryError
        If it is made of several tables, or lacks a part of the primary key; with an *advice* what to do.
    """
    found = list(_tables(query))
    name = as_query(of).full_table_name if of is not None else found[0] if len(set(found)) == 1 else ""
    if found.count(name) != 1:
        tables = ", ".join(table_name(FreeTable(query.connection, one)) for one in dict.fromkeys(found))
        raise QueryError(f"the query is made of {tables or 'no table'}; {advice}")
    table = FreeTable(query.connection, name)
    key = (query.original_heading if isinstance(query, Table) else table.heading).primary_key  # known, of a table
    names = _names(query, name, key)
    missing = [attribute for attribute in key if attribute not in names]
    if missing:
        raise QueryError(f"the query has lost {', '.join(missing)} of the primary key of {table_name(table)}; {advice}")
    return BaseRows(query, table, names)


def _tables(query: Any) -> Iterator[str]:
    for part in query.support:
        if isinstance(part, str):
            yield part
        else:
            yield from _tables(part)


def _names(query: Any, table: str, key: list[str]) -> dict[str, str]:
    """Return what *query* calls the attributes of a key, as far as it has them, through all its projections."""
    inner: dict[str, str] = {}
    for part in query.support:
        if not isinstance(part, str):
            inner |= _names(part, table, key)
        elif part == table:
            inner |= {name: name for name in key}
    marks = f"`{dialect_of(query.connection).quote}"  # around renamed ones; in quotes of another kind is text
    attributes = query.heading.attributes.items()
    now = {(attribute.attribute_expression or name).strip(marks): name for name, attribute in attributes}
    return {name: now[called] for name, called in inner.items() if called in now}
