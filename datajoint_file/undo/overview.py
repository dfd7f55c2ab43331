"""Overview of a history: which tables of a schema have lost files or rows, and which deletions took rows of a table.

The files themselves are for `versions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from datajoint.errors import MissingTableError

from datajoint_file.hooks.tables import class_name
from datajoint_file.journal.history_table import UNKNOWN, HistoryTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.sql.columns import cell_sql
from datajoint_file.undo.versions import columns_of, entries_of, table_of

OF_ROWS = "why IN ('delete', 'drop')"
"""The SQL of whether an entry is of a row that went, and not of a value of one that stayed."""


@dataclass(frozen=True, slots=True)
class TableHistory:
    """What the history of a schema has of one table."""

    name: str  # as people write it
    table_name: str  # as the database calls it
    files: int  # that cells have lost, each once, also those that are back
    rows: int  # that were deleted, with what they held, each time, also those that are back
    newest: datetime  # when the last of them was taken away
    is_dropped: bool
    event: str  # of what was taken away last


def tables_in_history(connection: Any, schema: str) -> list[TableHistory]:
    """Return the tables that files, or rows, were taken out of, also those that are dropped, by name."""
    second = second_connection_of(connection)
    history_table = HistoryTable(second, schema).table
    moment = second.dialect.utc("at")
    count_files = "COUNT(DISTINCT CASE WHEN path IS NOT NULL THEN CONCAT(cell, attribute, '/', path) END)"
    count_rows = f"COUNT(CASE WHEN {OF_ROWS} AND row_text IS NOT NULL THEN 1 END)"
    source = f"{history_table} WHERE why <> '{UNKNOWN}' GROUP BY table_name"
    try:
        found = second.query(f"SELECT table_name, {count_files}, {count_rows}, MAX(number) FROM {source}")
    except MissingTableError:  # nothing was ever removed from this schema
        return []
    there = second.dialect.columns(second.query, schema, [name for name, *_ in found]) if found else {}
    histories = []
    for name, files, rows, number in found:
        ((at, event),) = second.query(f"SELECT {moment}, event FROM {history_table} WHERE number = %s", [number])
        newest, shown = at.replace(tzinfo=timezone.utc), f"{schema}.{class_name(name)}"
        histories.append(TableHistory(shown, name, int(files), int(rows), newest, name not in there, event))
    return sorted((one for one in histories if one.files or one.rows), key=lambda one: one.name)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What one deletion took out of one table."""

    at: datetime  # aware, in UTC
    who: str
    why: str
    event: str
    rows: int
    back: int  # rows that are there again, or others under their keys


def deletions(query: Any, *, key: Mapping[str, Any] | None = None) -> list[Deletion]:
    """Return the deletions that took rows without any file, of which `history` gives nothing, newest first.

    Rows and *key* are as for `history`; counted are all rows that went, also those with a file.
    """
    table = table_of(query)
    entries = entries_of(table, columns_of(table), OF_ROWS, key)
    cells: dict[str, set[str]] = {}
    for entry in entries:
        cells.setdefault(entry.event, set()).add(entry.cell)
    first = {entry.event: entry for entry in entries if entry.path is None}
    there = _there(table) if first else set()
    return [
        Deletion(one.at, one.who, one.why, event, len(cells[event]), len(cells[event] & there))
        for event, one in first.items()
    ]


def _there(table: Any) -> set[str]:
    """Return the cells of deleted rows under whose keys there are rows now."""
    columns, second = columns_of(table), second_connection_of(table.connection)
    if not columns:
        return set()
    cell, name = cell_sql(second.dialect, columns), second.dialect.quoted(table.database, table.table_name)
    deleted = f"SELECT cell FROM {HistoryTable(second, table.database).table} WHERE table_name = %s AND {OF_ROWS}"
    sql = f"SELECT {cell} FROM {name.replace('%', '%%')} WHERE {cell} IN ({deleted})"
    return {found for (found,) in second.query(sql, [table.table_name])}
