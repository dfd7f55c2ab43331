"""Row selection on a command line: ``lab_ephys.Recording.raw_data subject_id=1``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import table_name
from datajoint_file.hooks.targets import targets_named


def table_with_files(connection: Any, name: str, attribute: str | None) -> tuple[Any, tuple[str, ...]]:
    """Return the table of a name, which may end in that of an attribute, and the `file` attributes that are meant.

    Raises
    ------
    LookupError
        If there is no such schema or table.
    UnsupportedValueError
        If it is a schema, or has no such attribute.
    """
    shorter, _, last = name.rpartition(".")
    try:
        (table,) = targets_named([name], connection)
    except LookupError as error:
        if attribute is not None or "." not in shorter:
            raise
        try:
            (table,), attribute = targets_named([shorter], connection), last
        except LookupError:
            raise error from None
    if not hasattr(table, "heading"):
        raise UnsupportedValueError(f"{name} is a schema: name one of its tables, such as {name}.Recording")
    known = file_attributes(table.heading)
    if not known or attribute not in (None, *known):
        there = f"its `file` attributes are {', '.join(known)}" if known else "it has no `file` attribute"
        raise UnsupportedValueError(f"{table_name(table)}{f'.{attribute}' if attribute else ''}: {there}")
    return table, known if attribute is None else (attribute,)


def restricted(table: Any, key: Mapping[str, str]) -> Any:
    """Return the rows of a table that have these values."""
    if unknown := sorted(key.keys() - set(table.heading.names)):
        raise UnsupportedValueError(f"{table_name(table)} has no {', '.join(unknown)}; it has {table.heading.names}")
    return table & key


def restricted_targets(names: Iterable[str], key: Mapping[str, str], connection: Any) -> list[Any]:
    """Return the schemas and tables of these names, of tables the rows that have these values."""
    targets = targets_named(names, connection)
    if key and not all(hasattr(target, "heading") for target in targets):
        raise UnsupportedValueError("--key is for tables: name them as schema.Table")
    return [restricted(target, key) if key else target for target in targets]
