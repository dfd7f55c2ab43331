"""`usage`: sums of files and bytes, from SQL alone, one pass over each table.

What comes of them is a value of `used`. No store is asked, unless for what is unknown in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import datajoint as dj
from datajoint.table import Table

from datajoint_file.collector.collection import collection_for
from datajoint_file.collector.make_plan import make_plan
from datajoint_file.errors import UnsupportedValueError, brief, brief_traceback
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import connection_of
from datajoint_file.hooks.row_listing import decoded
from datajoint_file.hooks.tables import class_name
from datajoint_file.hooks.targets import targets_named
from datajoint_file.journal.history_sums import history_sums
from datajoint_file.journal.schema_registry import TABLE
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.wording import nearest
from datajoint_file.query.used import Usage, UsageRow
from datajoint_file.sql import dialect_of
from datajoint_file.sql.file_sums import COUNT, file_sums, read_sums
from datajoint_file.verification.subjects import Origin, is_schema, origin_of, queries_of

_PLACES = ("schema", "table", "attribute")
_WORDS = (*_PLACES, "month")

Sums = tuple[int, int, int, int]
"""Files and bytes that are stored, files and bytes that are linked."""


@brief_traceback
def usage(*subjects: Any, by: str | Sequence[str] = "table", unknown: bool = False) -> Usage:
    """Add up files and bytes by group, in the database.

    What is linked takes no room of ours, and is counted apart, and so is what only the history has, until its retention
    is over. A file counts for each row that names it: where rows share an object, as after a `FileRef` was inserted, it
    counts for each of them, and in the history once.

    Parameters
    ----------
    subjects : schema, table or query
        What to look at; all schemas of DataJoint's default connection that have stored files if nothing is given.
    by : str or sequence of str
        ``"schema"``, ``"table"``, ``"attribute"``, ``"month"`` (in which a file was stored), or an attribute of the
        key or the table, such as ``"subject_id"``; or several of them: ``("subject_id", "month")``. An attribute that
        has one of the four names cannot be had.
    unknown : bool
        Look also for objects in the store that nothing tells of: the collector's scan, which lists the whole project
        and takes its rights.

    Returns
    -------
    Usage
        True numbers at the moment of each statement; one statement a table, or one a ``file`` attribute by month.

    Raises
    ------
    UnsupportedValueError
        If nothing that was given has an attribute of *by*.
    TypeError, ValueError
        If something is neither a schema nor a query, or has no ``file`` attribute.

    Examples
    --------
    >>> print(datajoint_file.usage(schema, by="subject_id"))  # doctest: +SKIP
    subject_id  files    size
    1              12  1.2 TB
    2               3  0.3 TB
    total          15  1.5 TB
    """
    groups = (by,) if isinstance(by, str) else tuple(by)
    if not groups or len(set(groups)) < len(groups):
        raise UnsupportedValueError(f"by = {brief(by)}: name one or several things to group by, each once")
    given = list(subjects) or _all_schemas()
    queries = [query for one in given for query in queries_of(one)]
    _check_groups(groups, queries)
    sums = _Sums(groups)
    for query in queries:
        sums.add_rows(query)
    for one in given:
        sums.add_history(one)
    found = _unknown(given[0]) if unknown and given else None
    return sums.usage(found)


def _all_schemas() -> list[Any]:
    """Return the schemas of the default connection that have stored files."""
    connection = dj.conn()
    found = dialect_of(connection).tables_named(second_connection_of(connection).query, (TABLE,))
    return targets_named(sorted(schema for schema, _ in found), connection)


def _check_groups(groups: tuple[str, ...], queries: Sequence[Any]) -> None:
    names = {name for query in queries for name in query.heading.names}
    known = sorted(names.difference(*(file_attributes(query.heading) for query in queries)))
    for name in groups:
        if queries and name not in (*_WORDS, *known):
            there = nearest(name, [*_WORDS, *known])
            raise UnsupportedValueError(f"by = {brief(name)}: nothing that was given has this attribute{there}")


class _Sums:
    """The sums of one call, by group."""

    def __init__(self, by: tuple[str, ...]) -> None:
        self._by = by
        self._rows: dict[tuple[Any, ...], Sums] = {}
        self._history: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._has_history = True
        self._is_by_place = set(by) <= set(_PLACES)

    def add_rows(self, query: Any) -> None:
        for found in _found(query, self._by):
            group = tuple(found.places.get(name) if name in _PLACES else found.values.get(name) for name in self._by)
            before = self._rows.get(group, (0, 0, 0, 0))
            self._rows[group] = tuple(a + b for a, b in zip(before, found.sums, strict=True))  # type: ignore[assignment]

    def add_history(self, given: Any) -> None:
        """Add what the history of a schema or a whole table has."""
        table = given() if isinstance(given, type) else given
        if not is_schema(given) and not (isinstance(table, Table) and not table.restriction):
            self._has_history = False
            return
        schema = getattr(given, "schema", given).database if is_schema(given) else table.database
        name = "" if is_schema(given) else table.table_name
        second = second_connection_of(connection_of(given))
        for table_name, attribute, files, size in history_sums(second, schema, name):
            places = _places((f"{schema}.{class_name(table_name)}", attribute, schema))
            group = tuple(places.get(name) for name in self._by) if self._is_by_place else ()
            before = self._history.get(group, (0, 0))
            self._history[group] = before[0] + files, before[1] + size

    def usage(self, unknown: tuple[int, int, tuple[str, ...]] | None) -> Usage:
        """Return what was added up."""
        groups = {*self._rows, *(self._history if self._is_by_place else ())}
        rows = tuple(self._row(group) for group in sorted(groups, key=_order))
        sums = tuple(map(sum, zip(*self._rows.values(), strict=True))) or (0, 0, 0, 0)
        kept = tuple(map(sum, zip(*self._history.values(), strict=True))) or (0, 0)
        total = UsageRow((), *sums, *(kept if self._has_history else ()))
        files, size, notes = unknown or (None, None, ())
        return Usage(self._by, rows, total, files, size, notes)

    def _row(self, group: tuple[Any, ...]) -> UsageRow:
        kept = self._history.get(group, (0, 0)) if self._has_history and self._is_by_place else ()
        return UsageRow(group, *self._rows.get(group, (0, 0, 0, 0)), *kept)


@dataclass(frozen=True, slots=True)
class _Found:
    """One row of the database's answer, for one ``file`` attribute."""

    places: dict[str, str]
    values: dict[str, Any]
    sums: Sums


def _found(query: Any, by: tuple[str, ...]) -> Iterator[_Found]:
    """Give the sums of each ``file`` attribute of a query: of all in one pass, unless each has groups of its own."""
    names = file_attributes(query.heading)
    together = [[name] for name in names] if "month" in by else [list(names)]
    for some in together:
        yield from _of_attributes(query, some, by)


def _of_attributes(query: Any, names: list[str], by: tuple[str, ...]) -> Iterator[_Found]:
    dialect, heading = dialect_of(query.connection), query.heading
    keys = [name for name in by if name not in _WORDS and name in heading.names]
    groups = [dialect.quoted(name) for name in keys]
    if "month" in by:
        groups.append(f"LEFT({dialect.text(dialect.quoted(names[0]), 'timestamp')}, 7)")
    source = query.proj(*names, *(name for name in keys if name not in query.primary_key)).make_subquery().from_clause()
    sums = [sql for name in names for sql in file_sums(dialect, dialect.quoted(name))]
    filled = " OR ".join(f"{dialect.quoted(name)} IS NOT NULL" for name in names)
    grouping = f" GROUP BY {', '.join(groups)}" if groups else ""
    sql = f"SELECT {', '.join([*groups, *sums])} FROM {source} WHERE {filled}{grouping}"
    places = [_places(origin_of(query, name)) for name in names]
    for row in query.connection.query(sql).fetchall():
        values = {name: decoded(heading[name], value, query.connection) for name, value in zip(keys, row, strict=False)}
        if "month" in by:
            values["month"] = row[len(keys)]
        for number, place in enumerate(places):
            start = len(groups) + number * COUNT
            found = read_sums(row[start : start + COUNT])
            if any(found):
                yield _Found(place, values, found)


def _places(origin: Origin) -> dict[str, str]:
    table, attribute, schema = origin
    return {"schema": schema or "-", "table": table, "attribute": f"{table}.{attribute}"}


def _order(group: tuple[Any, ...]) -> tuple[Any, ...]:
    """Sort numbers as numbers, and all else as text, what is missing last."""
    return tuple(
        (2, 0, "") if value is None else (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))
        for value in group
    )


def _unknown(given: Any) -> tuple[int, int, tuple[str, ...]]:
    """Return what a scan of the collector finds and nothing tells of, and why that may be wrong."""
    plan = make_plan(collection_for(connection_of(given)), scan=True, unknown=False, allow_short_grace=False)
    doubts = tuple(f"the scan is in doubt: {refusal}" for refusal in plan.refusals)
    return plan.unknown.count, plan.unknown.size, doubts
