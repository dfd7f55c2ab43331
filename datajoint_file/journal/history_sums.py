"""SQL sums of a history: files that rows no longer name, and that are kept until their retention is over."""

from __future__ import annotations

from datajoint.errors import MissingTableError

from datajoint_file.journal.history_table import CHECKING, KEPT, HistoryTable
from datajoint_file.journal.second_connection import SecondConnection

_KEPT = "path IS NOT NULL AND state IN (%s, %s) AND COALESCE(metadata, '') NOT LIKE '%%\"linked\":%%'"
"""The entries whose bytes are in the store. In JSON a quote within a name is escaped, so no name looks like that."""

_STATES = (KEPT, CHECKING)


def history_sums(second: SecondConnection, schema: str, table_name: str = "") -> list[tuple[str, str, int, int]]:
    """Return table, attribute, files and bytes that only the history of *schema* has, or that of one table in it.

    An object counts once for an attribute. What a row of the same attribute names again does not count; whether one of
    another attribute does is not asked.
    """
    history = HistoryTable(second, schema).table
    of_table, args = (" AND table_name = %s", (table_name,)) if table_name else ("", ())
    sql = f"SELECT DISTINCT table_name, attribute FROM {history} WHERE {_KEPT}{of_table}"
    try:
        found = second.query(sql, (*_STATES, *args))
    except MissingTableError:  # nothing was ever removed from this schema
        return []
    there = second.dialect.columns(second.query, schema, sorted({table for table, _ in found})) if found else {}
    sums = []
    for table, attribute in found:
        is_there = any(column.name == attribute and column.is_file for column in there.get(table, ()))
        sums.append((table, attribute, *_sum(second, schema, table, attribute, is_there=is_there)))
    return sums


def _sum(second: SecondConnection, schema: str, table: str, attribute: str, *, is_there: bool) -> tuple[int, int]:
    dialect, history = second.dialect, HistoryTable(second, schema).table
    entries = f"FROM {history} WHERE {_KEPT} AND table_name = %s AND attribute = %s"
    kept = f"SELECT path, MAX(size) AS size {entries} GROUP BY path"
    args = (*_STATES, table, attribute)
    if not is_there:
        ((files, size),) = second.query(f"SELECT COUNT(*), SUM(size) FROM ({kept}) AS kept", args)
    else:
        path = dialect.path(dialect.quoted(attribute))
        rows = f"{dialect.quoted(schema, table)} WHERE {path} IN (SELECT path {entries})"
        joined = f"({kept}) AS kept LEFT JOIN (SELECT DISTINCT {path} AS path FROM {rows}) AS named"
        sql = f"SELECT COUNT(*), SUM(kept.size) FROM {joined} ON named.path = kept.path WHERE named.path IS NULL"
        ((files, size),) = second.query(sql, (*args, *args))
    return int(files), int(size or 0)
