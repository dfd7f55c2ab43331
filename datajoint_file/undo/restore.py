"""Undo of updates and deletions: an earlier file put back into its row, deleted rows put back into their tables.

No bytes move: what is put back names the object that it had, which the history proves ours.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import compress
from typing import Any

from datajoint.errors import (
    AccessError,
    DataJointError,
    DuplicateError,
    IntegrityError,
    LostConnectionError,
    MissingAttributeError,
    MissingTableError,
)
from datajoint.table import FreeTable

from datajoint_file.errors import (
    DataJointFileError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    UnsupportedValueError,
    brief,
    brief_traceback,
    driver_message,
)
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.tables import class_name, table_name
from datajoint_file.insert.rights import require_right
from datajoint_file.journal.history_table import PURGED, HistoryEntry, HistoryTable
from datajoint_file.journal.history_table import TABLE as HISTORY
from datajoint_file.journal.intent_table import TABLE as INTENTS
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.journal import Journal
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.sharing import share
from datajoint_file.journal.transactions import claims_of, has_transaction, own_transaction
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell, key_text
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.manifests import difference
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.sql import Column, is_lost
from datajoint_file.sql.columns import Kind, NotKept, Value, read_row, read_schemas
from datajoint_file.startup import on_one_line
from datajoint_file.undo.events import events_of, no_event, past, require_event
from datajoint_file.undo.own_session import OwnSession
from datajoint_file.undo.present_rows import PresentRows, TableId, Written
from datajoint_file.undo.versions import (
    Version,
    has_values,
    history,
    key_in,
    local_time,
    require_key,
    table_of,
    values_in_database,
    version_of,
)

_ROWS_AT_ONCE, _BYTES_AT_ONCE = 500, 2**20

_OF_SOME_ROWS = (DuplicateError, IntegrityError, MissingAttributeError, ObjectNotFoundError)
"""Errors of a batch that others of its rows may do without."""


@brief_traceback
def revert(query: Any, attribute: str, version: Version | int = 1) -> Any:
    """Put an earlier file back into a row, as an update. What it holds now becomes a version in its turn.

    The row names the object that it had: no bytes are sent.

    Parameters
    ----------
    query : datajoint.Table
        One row of a table: ``Recording & key``.
    attribute : str
        Which ``file`` attribute.
    version : Version or int
        Which, from `history`; or how many versions back, its `Version.number`.

    Returns
    -------
    FileRef or DirectoryRef
        What the row holds now.

    Raises
    ------
    UnsupportedValueError
        If *query* is not one row, or *version* none of this attribute of it. Nothing was changed.
    ObjectNotFoundError
        If the collector has deleted the bytes of that version. Nothing was changed.

    Examples
    --------
    >>> datajoint_file.revert(Recording & {"subject_id": 1}, "raw_data")  # doctest: +SKIP
    """
    table = table_of(query)
    keys = table.keys()
    if not keys:
        way_on = f"if it is gone, `datajoint-file history {table_name(table)}` shows the event by which it comes back"
        raise UnsupportedValueError(f"{table_name(table)}: there is no such row; {way_on}")
    if len(keys) != 1:
        raise UnsupportedValueError(f"{table_name(table)}: {len(keys)} rows are selected; give the key of one")
    versions = history(FreeTable(table.connection, table.full_table_name), attribute, key=keys[0])
    where = f"{table_name(table)}.{attribute} ({key_text((name, str(value)) for name, value in keys[0].items())})"
    if isinstance(version, int) and not isinstance(version, bool):
        if not 1 <= version <= len(versions):
            count = f"it has {counted(len(versions), 'earlier file')}; 1 is the newest" if versions else "nor any other"
            raise UnsupportedValueError(f"{where}: there is no version {version}, {count}")
        version = versions[version - 1]
    if version not in versions:
        raise UnsupportedValueError(f"{where}: {brief(version)} is no version of it; see datajoint_file.history")
    if version.is_purged:
        raise ObjectNotFoundError(
            f"{where}: the bytes of the version of {local_time(version.at)} were deleted when their retention was "
            "over; nothing was changed. Restore them from a backup, or raise [object_storage] retention for the future"
        )
    unrestricted = FreeTable(table.connection, table.full_table_name)
    unrestricted.update1({**keys[0], attribute: version.file})
    now: Any = (unrestricted & keys[0]).fetch1(attribute)
    return now


@dataclass(frozen=True, slots=True)
class NotRestored:
    """A row that was not put back.

    Parameters
    ----------
    table : str
        ``schema.Table``.
    key : str
        Its primary key, as text.
    reason : str
        Why.
    files : tuple of FileRef or DirectoryRef
        The files that it had, as far as the history keeps them. The store has not been asked.
    """

    table: str
    key: str
    reason: str
    files: tuple[Any, ...] = ()

    def __str__(self) -> str:
        files = f"{counted(len(self.files), 'file')} of it, to be read through datajoint_file.history"
        kept = f"; the history keeps {files} until the retention is over" if self.files else ""
        return on_one_line(f"{self.table} ({self.key}): {self.reason}{kept}")


@dataclass(frozen=True, slots=True)
class Undeleted:
    """What `undelete` has done. True if all rows are back, and there were some.

    Parameters
    ----------
    restored : mapping of str to int
        How many rows of which table.
    problems : tuple of NotRestored
        The rows that were not put back, and why.
    notes : tuple of str
        What is not as it was in rows that were.
    present : mapping of str to int
        How many rows of which table were there already, as they were: nothing was to be done for them.
    """

    restored: Mapping[str, int]
    problems: tuple[NotRestored, ...] = ()
    notes: tuple[str, ...] = ()
    present: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.restored or self.present) and not self.problems

    def __str__(self) -> str:
        said = [*(self.lines() or ["nothing was put back"]), *map(str, self.problems), *self.notes]
        return "\n".join(map(on_one_line, said))

    def lines(self) -> list[str]:
        """Say how many rows of which table were put back, and how many were there already."""
        done = [f"{counted(count, 'row')} of {table}" for table, count in self.restored.items()]
        return [*done, *(f"{counted(n, 'row')} of {table}: there already" for table, n in self.present.items())]


@brief_traceback
def undelete(
    table: Any,
    *,
    since: datetime | timedelta | str | None = None,
    event: str | None = None,
    key: Mapping[str, Any] | None = None,
) -> Undeleted:
    """Put back rows that were deleted from a table, with all that went with them; parents first.

    Known are the rows of every deletion that took files with it. A row of which a value was not kept, or whose key is
    taken by another one, is left out and reported, with its files, and so are rows that depended on it; one that is
    back already is counted, so that it may be run again. No bytes move. Rows are put back in transactions of its own,
    some hundred at a time: what is put back stays if a later row fails.

    Parameters
    ----------
    table : datajoint.Table
        From which rows were deleted, or that was dropped and is declared again.
    since : datetime, timedelta or str, optional
        Every deletion from it since then: a moment (a naive one is in this machine's time zone), or how long ago; or a
        text of either, such as ``"2 h"`` or ``"2026-11-27 10:30"``.
    event : str, optional
        Only what was removed together, from `Version.event` or ``datajoint-file history``.
    key : mapping, optional
        Only rows that have these values, of all tables; and those of the same deletion that they depend on.

    Raises
    ------
    AccessError
        If this user may not insert into one of the tables of which rows are gone. Nothing was put back.
    UnsupportedValueError
        If not one of *since* and *event* is given, *since* is to come, *event* is no deletion from this table, or *key*
        names what no table has, or has a value that an attribute cannot have. Nothing was put back.
    DataJointError
        If the connection is in a transaction.
    LostConnectionError, OutcomeUnknownError
        If the connection was lost on the way. The message says what was put back before.

    Examples
    --------
    >>> print(datajoint_file.undelete(Session, since=timedelta(hours=1)))  # doctest: +SKIP
    1 row of lab.Session
    12 rows of lab.Recording
    """
    table = table_of(table)
    if table.restriction or table._top is not None:
        raise UnsupportedValueError(f"{table_name(table)}: what is gone is in no query; give key=… to say which rows")
    require_key(key)
    if (since is None) == (event is None):
        raise UnsupportedValueError("say which deletion is meant: since=… or event=…, and not both")
    since = None if since is None else past(since)
    if has_transaction(table.connection):
        raise DataJointError("undelete has transactions of its own: commit this one or roll it back first")
    try:
        if event is not None:
            require_event(table, event)
        events = events_of(table, since, event)
    except MissingTableError:
        if event is not None:
            raise no_event(table, event) from None
        return Undeleted({}, notes=(f"nothing is noted for schema {table.database}: it has no `{HISTORY}`",))
    return _Restoration(table).all(table.database, events, key or {})


@dataclass
class _Deleted:
    """One row that was deleted."""

    entry: HistoryEntry  # the one that has the row
    files: dict[str, HistoryEntry] = field(default_factory=dict)  # by attribute
    values: dict[str, Value] = field(default_factory=dict)
    kinds: dict[str, Any] = field(default_factory=dict)

    @property
    def written(self) -> Written:
        """Its values with their kinds."""
        return {name: (self.kinds[name], value) for name, value in self.values.items()}


class _Restoration:
    """Rows of several deletions, on their way back."""

    def __init__(self, table: Any) -> None:
        self._connection = table.connection
        self._second = second_connection_of(table.connection)
        self._dialect = self._second.dialect
        self._own = OwnSession(table.connection)
        self._rows = PresentRows(table.connection)
        self._restored: dict[str, int] = {}
        self._present: dict[str, int] = {}
        self._problems: list[NotRestored] = []
        self._others: dict[TableId, list[_Deleted]] = {}  # that are other rows now, under the same key
        self._notes: dict[str, None] = {}

    def all(self, home: str, events: Sequence[str], key: Mapping[str, Any]) -> Undeleted:
        """Put back what was removed in *events* of the schema *home*, of rows that have the values of *key*."""
        found = self._deleted(home, events) if events else {}
        all_columns = {
            (schema, table): self._dialect.columns(self._second.query, schema, [table]).get(table, [])
            for schema, table in found
        }
        order = self._parents_first(found)
        wanted = self._wanted(found, all_columns, key, order) if key and found else found
        for name in order:
            try:
                self._require_rights(name, all_columns[name], wanted[name])
            except AccessError:
                if self._are_any_gone(name, all_columns[name], wanted[name]):
                    raise
        for schema, table in order:
            rows, columns = wanted[schema, table], all_columns[schema, table]
            if not columns:
                self._report(rows, columns, "there is no such table any more; declare it again first")
                continue
            for some in batches(rows, _ROWS_AT_ONCE, _size, _BYTES_AT_ONCE):
                absent = self._of_the_same((schema, table), columns, list(self._absent((schema, table), columns, some)))
                if sound := [row for row in absent if self._judge(row, columns)]:
                    self._restore(schema, table, columns, sound)
        return Undeleted(dict(self._restored), tuple(self._problems), tuple(self._notes), dict(self._present))

    def _require_rights(self, name: TableId, columns: Sequence[Column], rows: Sequence[_Deleted]) -> None:
        """Raise unless this user may insert these rows, and note that they are going to name their files."""
        if rows and columns:  # else it may have any name
            free = [
                FreeTable(self._connection, self._connection.adapter.make_full_table_name(name[0], table))
                for table in (name[1], INTENTS)
            ]
            require_right(free[0], "insert", [column.name for column in columns if not column.is_generated])
            if any(row.files for row in rows):
                require_right(free[1], "insert", ["write_id"])

    def _are_any_gone(self, name: TableId, columns: Sequence[Column], rows: Sequence[_Deleted]) -> bool:
        some = batches(rows, _ROWS_AT_ONCE, _size, _BYTES_AT_ONCE)
        return any(None in self._rows.under_keys(name, columns, [row.written for row in part]) for part in some)

    def _absent(self, name: TableId, columns: Sequence[Column], rows: Sequence[_Deleted]) -> Iterator[_Deleted]:
        """Give the rows of which there is none with this key; count those that are there, report what has their key."""
        there = self._rows.under_keys(name, columns, [row.written for row in rows])
        for row, now in zip(rows, there, strict=True):
            if now is None:
                yield row
            elif others := sorted(of for of, value in row.written.items() if value != now.get(of, value)):
                self._others.setdefault(name, []).append(row)
                self._report([row], columns, f"a row with this key is there, and has another {', '.join(others)}")
            else:
                self._count(self._present, name, 1)

    def _of_the_same(self, name: TableId, columns: Sequence[Column], rows: list[_Deleted]) -> list[_Deleted]:
        """Return the rows of which what they depended on is the same still; report the others."""
        for parent, names in self._rows.parents(name):
            others = {
                tuple(row.values.get(theirs) for theirs in names.values()) for row in self._others.get(parent, [])
            }
            is_astray = [tuple(row.values.get(ours) for ours in names) in others for row in rows]
            if astray := list(compress(rows, is_astray)):
                shown = f"{parent[0]}.{class_name(parent[1])}"
                self._others.setdefault(name, []).extend(astray)
                self._report(astray, columns, f"the row of {shown} that it depended on is another one now")
                rows = [row for row, is_so in zip(rows, is_astray, strict=True) if not is_so]
        return rows

    def _count(self, of: dict[str, int], name: TableId, number: int) -> None:
        shown = f"{name[0]}.{class_name(name[1])}"
        of[shown] = of.get(shown, 0) + number

    def _wanted(
        self,
        found: Mapping[tuple[str, str], list[_Deleted]],
        all_columns: Mapping[tuple[str, str], Sequence[Column]],
        key: Mapping[str, Any],
        order: Sequence[TableId],
    ) -> dict[TableId, list[_Deleted]]:
        """Return the rows that have the values of *key*, and those that they depend on.

        Refuse *key* if no table has an attribute that it names.
        """
        known = {column.name for columns in all_columns.values() for column in columns}
        known.update(name for rows in found.values() for row in rows for name in row.values)
        if unknown := sorted(key.keys() - known):
            raise UnsupportedValueError(
                f"key: no table of this deletion has an attribute {', '.join(unknown)}; nothing was put back"
            )
        wanted = {}
        for table, rows in found.items():
            values = [row.values for row in rows]
            written: dict[str, Collection[Any]] = {name: (value,) for name, value in key.items()}
            written |= values_in_database(self._own, all_columns[table], key, values)
            wanted[table] = [row for row in rows if has_values(row.values, written)]
        for table in reversed(order):
            for parent, names in self._rows.parents(table):
                needed = {tuple(row.values.get(ours) for ours in names) for row in wanted[table]}
                chosen = set(map(id, wanted.get(parent, [])))
                wanted[parent] = [
                    row
                    for row in found.get(parent, [])
                    if id(row) in chosen or tuple(row.values.get(theirs) for theirs in names.values()) in needed
                ]
        return wanted

    def _deleted(self, home: str, events: Sequence[str]) -> dict[tuple[str, str], list[_Deleted]]:
        """Return the rows by schema and table; of what was deleted repeatedly, the last.

        Of other schemas those only that took part, as *home* has noted: anybody can write an event into his history.
        """
        rows: dict[tuple[str, str, str], _Deleted] = {}
        entries = {home: HistoryTable(self._second, home).entries("event IN %s", [tuple(events)])}
        others = {name for entry in entries[home] for name in read_schemas(entry.row_text or "")} - {home}
        if others:
            books = {schema for schema, _ in self._dialect.tables_named(self._second.query, (HISTORY,))}
            entries |= {schema: self._entries(schema, events) for schema in sorted(others & books)}
        for schema, some in entries.items():
            for entry in some:  # newest first
                row = rows.setdefault((schema, entry.table_name, entry.cell), _Deleted(entry))
                if entry.event == row.entry.event and entry.attribute and entry.path:
                    row.files[entry.attribute] = entry
                if row.entry.row_text is None and entry.event == row.entry.event:
                    row.entry = entry
        found: dict[tuple[str, str], list[_Deleted]] = {}
        for (schema, table, _), row in rows.items():
            with suppress(ValueError, RecursionError):
                for name, (kind, value) in read_row(row.entry.row_text or "{}").items():
                    row.values[name], row.kinds[name] = value, kind
            found.setdefault((schema, table), []).append(row)
        return found

    def _entries(self, schema: str, events: Sequence[str]) -> list[HistoryEntry]:
        try:
            return HistoryTable(self._second, schema).entries("event IN %s", [tuple(events)])
        except AccessError:
            self._notes[f"the history of schema {schema} could not be read: grant this user SELECT on it"] = None
        except MissingTableError:
            pass  # dropped since it was listed
        except Exception as error:  # it is another's: whatever it is, it hinders nobody
            if is_lost(error, None):
                raise
            self._notes[f"the history of schema {schema} could not be read: {_reason(error)}"] = None
        return []

    def _parents_first(self, found: Iterable[TableId]) -> list[TableId]:
        dependencies, adapter = self._connection.dependencies, self._connection.adapter
        dependencies.load_all_downstream()
        order = {name: place for place, name in enumerate(dependencies.topo_sort())}
        return sorted(found, key=lambda name: order.get(adapter.make_full_table_name(*name), -1))

    def _judge(self, row: _Deleted, columns: Sequence[Column]) -> bool:
        """Tell whether a row can be put back as it was, and report it if not."""
        lost = [name for name, value in row.values.items() if isinstance(value, NotKept)]
        purged = [name for name, entry in row.files.items() if entry.state == PURGED]
        if not row.values:
            self._report([row], columns, "its values are not kept any more")
        elif lost:
            self._report([row], columns, f"{', '.join(lost)}: too large to be kept in the history")
        elif purged:
            self._report([row], columns, f"{', '.join(purged)}: the bytes were deleted when their retention was over")
        elif damaged := [name for name, entry in row.files.items() if _metadata(entry) is None]:
            self._report([row], columns, f"{', '.join(damaged)}: what the history has of it describes no file")
        else:
            gone = row.values.keys() - {column.name for column in columns}
            if gone:
                where = f"{row.entry.schema}.{class_name(row.entry.table_name)}"
                self._notes[f"{where} has no attribute {', '.join(sorted(gone))} any more: it was left out"] = None
            return True
        return False

    def _restore(self, schema: str, table: str, columns: Sequence[Column], rows: Sequence[_Deleted]) -> None:
        """Put rows back, together; one by one if some cannot be, to find out which."""
        driver = self._connection._conn
        try:
            self._insert(schema, table, columns, rows)
        except OutcomeUnknownError as error:  # nobody knows whether they are there: a second try would say "taken"
            raise error.within(f"{self._so_far()}; then {counted(len(rows), 'row')} of {schema}.{table}") from error
        except Exception as error:
            if is_lost(error, driver):
                told = f"{self._so_far()}; then: {driver_message(error)}. Run it again: rows that are back are counted"
                raise LostConnectionError(told) from error
            is_drivers = type(error).__module__.partition(".")[0] == type(driver).__module__.partition(".")[0]
            is_of_some = isinstance(error, _OF_SOME_ROWS) or (is_drivers and not self._dialect.is_timeout(error))
            if is_of_some and len(rows) > 1:
                for row in rows:
                    self._restore(schema, table, columns, [row])
            elif is_drivers or isinstance(error, DataJointError):
                self._report(rows, columns, self._reason(error, (schema, table), rows[0]))
            else:
                raise
        else:
            self._count(self._restored, (schema, table), len(rows))

    def _reason(self, error: Exception, name: TableId, row: _Deleted) -> str:
        lacking = self._rows.lacking(name, row.written) if isinstance(error, IntegrityError) else ""
        return lacking or _reason(error)

    def _so_far(self) -> str:
        done = ", ".join(f"{counted(count, 'row')} of {table}" for table, count in self._restored.items())
        return f"undelete has put back {done or 'nothing'} before the connection was lost"

    def _insert(self, schema: str, table: str, columns: Sequence[Column], rows: Sequence[_Deleted]) -> None:
        journal, files = Journal(self._connection, schema), dict(_files(rows))
        entries = journal.begin(table, [])
        if files:
            pipeline = pipeline_of(self._connection, schema)
            ensure_marked(pipeline, self._connection, schema)
            shared = share(journal, pipeline, table, files)
            if len(shared.claims) < len(files):
                journal.give_up(list(shared.claims.values()))
                index, missing = next((one, value) for one, (_, value) in files.items() if one not in shared.claims)
                raise ObjectNotFoundError(_why_not(pipeline, missing, is_known=index in shared.known))
            entries.all.extend(shared.claims.values())
        try:
            with own_transaction(self._connection):
                claims_of(self._connection).add(entries.claim(is_own=True))
                for values, sql, args in self._statements(schema, table, columns, rows):
                    with self._dialect.reading_back(self._query, values):
                        self._connection.query(sql, args, reconnect=False)
        except Exception:
            journal.give_up([entry for entry in entries.all if entry.number])
            raise

    def _query(self, sql: str, args: Sequence[Any] = ()) -> Any:
        return self._connection.query(sql, args, reconnect=False).fetchall()

    def _statements(
        self, schema: str, table: str, columns: Sequence[Column], rows: Sequence[_Deleted]
    ) -> Iterator[tuple[list[tuple[Column, Kind]], str, list[Any]]]:
        """Give the INSERTs of rows, of those together that have the same attributes, and what these are."""
        writable = {column.name: column for column in columns if not column.is_generated}
        groups: dict[tuple[tuple[str, Any], ...], list[_Deleted]] = {}
        for row in rows:
            names = tuple((name, row.kinds[name]) for name in row.values if name in writable)
            groups.setdefault(names, []).append(row)
        for names, some in groups.items():
            value = f"({', '.join(self._dialect.read_back(kind) for _, kind in names)})"
            target = self._dialect.quoted(schema, table).replace("%", "%%")
            attributes = ", ".join(self._dialect.named(writable[name]) for name, _ in names)
            what = f"{target} ({attributes}) {self._dialect.overriding}"
            sql = f"INSERT INTO {what}VALUES {', '.join([value] * len(some))}"
            kinds = [(writable[name], kind) for name, kind in names]
            yield kinds, sql, [row.values[name] for row in some for name, _ in names]

    def _report(self, rows: Iterable[_Deleted], columns: Sequence[Column], reason: str) -> None:
        for row in rows:
            files = [_ref(entry, self._connection) for entry in row.files.values() if entry.state != PURGED]
            key = key_in(row.entry, list(columns))
            shown = key_text((name, str(value)) for name, value in key.items())
            table = f"{row.entry.schema}.{class_name(row.entry.table_name)}"
            self._problems.append(NotRestored(table, shown, reason, tuple(file for file in files if file)))


def _why_not(pipeline: Pipeline, metadata: FileMetadata, *, is_known: bool) -> str:
    """Say why an object cannot be named by a row again, and what to do."""
    path = metadata.path
    if metadata.project != pipeline.project:
        return (
            f"{path} is of the project {metadata.project}, and rows are put back with files of "
            f"{pipeline.project} only: insert the row again with the file, which is copied then"
        )
    if not is_known:
        return f"{path}: others describe it otherwise; find out with `datajoint-file verify` who is right"
    found = difference(pipeline, metadata)
    if not found:
        return (
            f"{path}: the collector asks who uses it, or is about to delete it; download it now, and insert the row "
            "again with it"
        )
    way_back = _FROM_BACKUP if pipeline.second is None else f"by `datajoint-file mirror`, or {_FROM_BACKUP}"
    return f"{path}: in the store it {found}: bring it back {way_back}"


_FROM_BACKUP = "from a backup, or the bucket's versions, then run it again"


def _size(row: _Deleted) -> int:
    return sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row.values.values())


def _files(rows: Sequence[_Deleted]) -> Iterator[tuple[tuple[int, str], tuple[Cell, FileMetadata]]]:
    for index, row in enumerate(rows):
        key = (KeyValue("cell", "str", row.entry.cell),)
        for attribute, entry in row.files.items():
            metadata = _metadata(entry)
            if metadata and not metadata.is_link:  # of which nothing is stored
                yield (index, attribute), (Cell(entry.schema, entry.table_name, attribute, key), metadata)


def _metadata(entry: HistoryEntry) -> FileMetadata | None:
    """Return what an entry has of its file; None if that is damaged."""
    with suppress(DataJointFileError, ValueError, TypeError, RecursionError):
        return FileMetadata.from_json(json.loads(entry.metadata or ""))
    return None


def _ref(entry: HistoryEntry, connection: Any) -> Any:
    version = version_of(entry, [], connection)
    return version.file if version else None


def _reason(error: Exception) -> str:
    if isinstance(error, DuplicateError):
        return "a row with this key, or with another unique value of it, is there"
    if isinstance(error, IntegrityError):
        return f"the row that it depends on is not there ({driver_message(error)})"
    if isinstance(error, AccessError):  # of which the last argument is the statement, if that
        return " ".join(str(part) for part in error.args[:2])
    return driver_message(error)
