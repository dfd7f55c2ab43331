"""Table names as people write them, made of the names that the database has.

So a `FreeTable` and a class give one name, and keys of objects do not depend on which of them was at hand.
"""

from __future__ import annotations

from typing import Any

from datajoint.table import Table
from datajoint.utils import to_camel_case


def table_name(table: Any) -> str:
    """Return the name of a table as people write it: ``schema.Recording``, ``schema.Recording.Trace`` for a part."""
    return f"{table.database}.{class_name(table.table_name)}"


def query_name(query: Any) -> str:
    """Return the name of a table, restricted or not, as people write it; nothing, of another query."""
    return table_name(query) if isinstance(query, Table) else ""


def class_name(name: str) -> str:
    """Return the name of the class of the table that the database calls *name*.

    Examples
    --------
    >>> class_name("__filtered_trace"), class_name("recording__trace"), class_name("#method")
    ('FilteredTrace', 'Recording.Trace', 'Method')
    """
    return ".".join(to_camel_case(part) for part in name.lstrip("#~_").split("__"))
