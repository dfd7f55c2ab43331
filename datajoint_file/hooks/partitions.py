"""Partition diagnostics: placeholders of the pattern that no table's primary key has, which silently partition nothing.

A part that one table's key lacks and another's has is left out on purpose.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

from datajoint_file.errors import ConfigurationError, PartitionWarning, warn
from datajoint_file.hooks.connections import settings_for
from datajoint_file.model.partition import PartitionPattern

_KEYS = """
    SELECT DISTINCT k.table_name, k.column_name FROM information_schema.table_constraints t
    JOIN information_schema.key_column_usage k ON k.constraint_schema = t.constraint_schema
    AND k.constraint_name = t.constraint_name AND k.table_schema = t.table_schema AND k.table_name = t.table_name
    WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_schema = %s
"""


def warn_of_unknown_placeholders(connection: Any, schema: str) -> None:
    """Warn if the pattern of the connection's pipeline names what no table of *schema* has in its primary key."""
    try:
        pattern = settings_for(connection.adapter).object_storage.partition_pattern
    except ConfigurationError:
        return  # whoever stores a file is told
    if fault := unknown_placeholders(pattern, primary_keys(connection, schema)):
        told = "objects are stored without that part, and stay where they are when the pattern is corrected"
        warn(f"schema {schema}: {fault}; {told}", PartitionWarning)


def primary_keys(connection: Any, schema: str) -> set[str]:
    """Return the attributes that are in the primary key of some table of *schema*."""
    rows = connection.query(_KEYS, (schema,)).fetchall() if schema else []
    return {attribute for table, attribute in rows if not table.startswith("~")}


def unknown_placeholders(pattern: PartitionPattern, known: Collection[str]) -> str:
    """Say which placeholders are none of the attributes *known*; nothing if all are, or none is known.

    Examples
    --------
    >>> unknown_placeholders(PartitionPattern("subject{subjct_id}"), {"subject_id"})  # doctest: +ELLIPSIS
    '[object_storage] partition_pattern = "subject{subjct_id}": no table has subjct_id in its primary key...'
    """
    unknown = sorted(pattern.placeholders - set(known))
    if not unknown or not known:
        return ""
    near = [found[0] for name in unknown if (found := difflib.get_close_matches(name, known, 1, 0.6))]
    hints = "".join(f" (did you mean {name}?)" for name in near)
    what = f'[object_storage] partition_pattern = "{pattern.text}"'
    return f"{what}: no table has {', '.join(unknown)} in its primary key{hints}"
