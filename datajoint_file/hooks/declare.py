"""Declaration rewriting: ``raw_data : file`` becomes ``raw_data : <file>``, what cannot work is refused before any DDL.

One hook on the function that turns a definition into SQL, for ``declare`` and ``alter`` alike; another on the one that
compares two definitions, where an attribute that has values may not become a ``file``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from datajoint.declare import is_foreign_key
from datajoint.table import Table

from datajoint_file.errors import ConfigurationNotFoundError, DeclarationError
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import settings_for
from datajoint_file.hooks.tables import table_name

_FILE_LINE = re.compile(
    r"""
    (?P<head> (?P<name>[a-z_][a-z0-9_]*) \s*
        (?: = \s* (?P<default> "[^"]*" | '[^']*' | [^:"'#]*? ) \s* )? : \s* )
    (?: file (?P<suffix> @\S* )? | < \s* file \s* (?P<coded> @[^>]* )? > )
    (?P<tail> \s* (?:\#.*)? )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SEPARATOR = re.compile(r"\s*\n\s*")
_RENAMED = re.compile(r"\s*#\s*(?::[^:]*:)?\s*{\s*(\w+)\s*}.*")
"""A comment that begins with the name that an attribute had before, as ``alter`` wants it."""


def prepare_declare(
    original: Callable[..., tuple[Any, ...]], definition: str, context: Any, adapter: Any, **kwargs: Any
) -> tuple[Any, ...]:
    """Let DataJoint parse a definition in which every ``file`` is spelled ``<file>``.

    Raises
    ------
    DeclarationError
        If a ``file`` attribute is in the primary key, has a default other than ``null``, names a store, or if the
        pipeline partitions by an attribute that is not in the table's primary key.
    """
    rewritten, attributes = rewrite(definition)
    parsed = original(rewritten if attributes else definition, context, adapter, **kwargs)
    if attributes:
        _check_partition(parsed, attributes[0], adapter)
    return parsed


def alter(original: Callable[..., Any], definition: str, *args: Any, **kwargs: Any) -> Any:
    """Let DataJoint compare two definitions, unless what has values of another type is to become a ``file``.

    DataJoint would accept that, and its own collector then take the only copy of an attachment for waste.

    Raises
    ------
    DeclarationError
        If such an attribute has a value in any row. No statement has changed anything.
    """
    table = _altered()
    if table is not None:
        for name, former in _file_attributes(definition).items():
            _check_not_filled(table, name, former)
    return original(definition, *args, **kwargs)


def _altered() -> Any:
    """Return the table whose ``alter`` is at work: it says to nobody which one that is."""
    frame, code = sys._getframe(), inspect.unwrap(Table.alter).__code__
    while frame.f_code is not code and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_locals.get("self") if frame.f_code is code else None


def _check_not_filled(table: Any, name: str, former: str) -> None:
    heading = table.heading
    if former not in heading.names or former in file_attributes(heading):
        return
    where = f"{table_name(table)}.{former}"
    column = table.adapter.quote_identifier(former)
    query = f"SELECT 1 FROM {table.full_table_name} WHERE {column} IS NOT NULL LIMIT 1"
    if table.connection.query(query).fetchall():
        raise DeclarationError(
            f"{where} has values of the type {heading[former].original_type or heading[former].type}, which are no "
            f"stored files: as a `file` attribute it would lose them. Nothing was altered. Add a new attribute "
            f'("new_{name} = null : file"), put the files in with update1, row by row, and drop {former} then'
        )


def has_file_attributes(definition: str) -> bool:
    """Tell whether *definition* declares a ``file`` attribute."""
    return bool(rewrite(definition)[1])


def _file_attributes(definition: str) -> dict[str, str]:
    """Return the ``file`` attributes of *definition*, each with the name it had before, which is mostly the same."""
    found = (_FILE_LINE.fullmatch(line) for line in _SEPARATOR.split(rewrite(definition)[0]))
    matches = [match for match in found if match]
    renamed = {match["name"]: _RENAMED.fullmatch(match["tail"]) for match in matches}
    return {name: former[1] if former else name for name, former in renamed.items()}


def rewrite(definition: str) -> tuple[str, list[str]]:
    r"""Return *definition* with ``file`` spelled ``<file>``, and the names of its ``file`` attributes.

    Examples
    --------
    >>> rewrite("id : int32\n---\nraw = null : file  # the recording")
    ('id : int32\n---\nraw = null : <file>  # the recording', ['raw'])
    """
    lines, names, in_key = [], [], True
    for line in _SEPARATOR.split(definition.strip()):
        in_key = in_key and not line.startswith("---")
        found = None if line.startswith(("---", "#")) or is_foreign_key(line) else _FILE_LINE.fullmatch(line)
        if found:
            line = f"{found['head']}<file>{found['tail']}"
            _check_line(found, line, in_key=in_key)
            names.append(found["name"])
        lines.append(line)
    return "\n".join(lines), names


def _check_line(found: re.Match[str], rewritten: str, *, in_key: bool) -> None:
    what, default = f'"{found[0]}": a `file` attribute', found["default"]
    if (found["suffix"] or found["coded"]) is not None:
        raise DeclarationError(
            f'{what} names no store, storage belongs to the pipeline (datajoint.toml); declare "{rewritten}"'
        )
    if in_key:
        raise DeclarationError(f"{what} cannot be part of the primary key; move it below the --- line")
    if default is not None and default.strip().lower() != "null":
        raise DeclarationError(f'{what} has no default but null; declare "{found["name"]} = null : file"')


def _check_partition(parsed: tuple[Any, ...], attribute: str, adapter: Any) -> None:
    """Refuse a partition by an attribute that the table has outside its primary key: rows of one key could disagree."""
    primary_key, attribute_sql = parsed[1], parsed[2]
    try:
        pattern = settings_for(adapter).object_storage.partition_pattern
    except ConfigurationNotFoundError:
        return  # a table may be declared before its pipeline is configured; inserts check again
    columns = {re.split(r"[`\"\s]+", sql.strip().lstrip('`"'))[0] for sql in attribute_sql}
    refuse_partition(pattern.placeholders & (columns - set(primary_key)), pattern.text, attribute)


def refuse_partition(outside: set[str] | frozenset[str], pattern: str, attribute: str) -> None:
    """Raise if *outside*, the partition attributes that a table has outside its primary key, are any."""
    if outside:
        raise DeclarationError(
            f'[object_storage] partition_pattern = "{pattern}" names {", ".join(sorted(outside))}, which this table '
            f"has outside its primary key: the `file` attribute {attribute} can be partitioned by primary-key "
            "attributes only. Move the attribute into the key, or change the pattern"
        )
