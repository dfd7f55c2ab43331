"""`import_`: a slice that somebody has exported, put into this server's tables and this project's store.

All of it is checked before anything is declared or inserted. Rows that are there already and are equal are passed over,
so that a second call goes on where the first was interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any, Literal

from datajoint.errors import DataJointError, DuplicateError
from datajoint.schemas import _Schema, list_schemas
from datajoint.table import FreeTable

from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.errors import ExchangeError, UnknownRootError, brief, brief_traceback, server_message
from datajoint_file.exchange.about import About, ReceivedStatements
from datajoint_file.exchange.description import (
    Description,
    ExportedTable,
    TableDescription,
    differences,
    read_description,
)
from datajoint_file.exchange.putting import Judged, put
from datajoint_file.exchange.received import Received, ReceivedFile
from datajoint_file.exchange.tables import Rows, declare, describe, load_upstream, value_for
from datajoint_file.exchange.values import Written, require_exact
from datajoint_file.hooks.base_rows import base_rows
from datajoint_file.hooks.connections import connection_of, pipeline_of
from datajoint_file.hooks.tables import class_name
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.running_program import person
from datajoint_file.journal.server_lock import server_lock
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.model.metadata import format_timestamp
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.destinations import destination_path
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.query.tags import require_tag_table
from datajoint_file.sql.tag_table import TagTable
from datajoint_file.startup import on_one_line
from datajoint_file.verification.examine import examine

_ROWS_AT_ONCE, _BYTES_AT_ONCE = 500, 2**24
_SYSTEM = ("mysql", "sys", "performance_schema", "information_schema", "pg_catalog")

OnConflict = Literal["raise", "skip"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What `import_` has done. True if all rows are there.

    Parameters
    ----------
    inserted, present : mapping of str to int
        How many rows of which table were inserted; how many were there already, and equal.
    conflicts : tuple of str
        The rows that were left out because others are there under their keys.
    notes : tuple of str
        What the export says is not in it.
    """

    inserted: Mapping[str, int]
    present: Mapping[str, int] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.conflicts

    def __str__(self) -> str:
        done = [f"{counted(count, 'row')} of {table}" for table, count in self.inserted.items()]
        done += [f"{counted(count, 'row')} of {table}: there already" for table, count in self.present.items()]
        return "\n".join(map(on_one_line, (*(done or ["nothing was inserted"]), *self.conflicts, *self.notes)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {"ok": bool(self), **asdict(self)}


@brief_traceback
def import_(
    source: str | os.PathLike[str],
    *,
    schemas: Mapping[str, str] | None = None,
    prefix: str = "",
    on_conflict: OnConflict = "raise",
    connection: Any = None,
    progress: bool | None = None,
) -> Imported:
    """Put what `export` has written into the tables of this server, and its files into this project's store.

    The tables are declared from the export's description, of which nothing is run; one that is there already is used
    if it can hold the rows. Everything is compared with its checksum before anything is declared or inserted; then
    rows go in by this package's insert, parents first, some hundred in a transaction: bytes first, row second. After
    an interruption call it again. Two imports into the same schema go one after the other.

    A file gets a new path and time of storing. What else its row says is as it was, and so are bytes and hash. Rows get
    the tags that they had, also those that are there already and equal; of files that are inserted, `source` tells what
    the export says of who inserted them, and that it was imported.

    Parameters
    ----------
    source : path
        The directory: a bag or an RO-Crate that `export` has written. It is only read.
    schemas : mapping of str to str, optional
        What schemas of the export are to be called here.
    prefix : str
        What the names of all others are to begin with here.
    on_conflict : {"raise", "skip"}
        What to do about rows whose key is taken by another row: nothing of the export is inserted, or they are left
        out and told. Rows that depend on these are inserted, as the key is there.
    connection : datajoint.Connection, or what has one, optional
        Into which server; DataJoint's default connection if not given.
    progress : bool, optional
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

    Returns
    -------
    Imported
        What was inserted, and what was there.

    Raises
    ------
    ExchangeError
        If the export is damaged or malformed, a table that is there differs, a row that is there does, or this server
        cannot hold a value. Nothing was inserted. Or if others insert rows under the same keys meanwhile.
    UnknownRootError
        If a link was kept whose root is unknown here. Nothing was inserted.
    DataJointError
        If the connection is in a transaction.
    StorageError, QuotaExceededError
        If the store fails or has no room. The rows before are there.

    Examples
    --------
    >>> print(datajoint_file.import_("slice/", prefix="shared_"))  # doctest: +SKIP
    1 row of shared_lab.Subject
    3 rows of shared_lab.Recording
    """
    if on_conflict not in ("raise", "skip"):
        raise ValueError(f"on_conflict = {brief(on_conflict)}: allowed are 'raise', 'skip'")
    connection = connection_of(connection)
    if has_transaction(connection):
        raise DataJointError("import_ has transactions of its own: commit this one or roll it back first")
    received = Received(destination_path(source).absolute())
    description = read_description(received.description())
    work = _Import(connection, received, description, _names(description, schemas or {}, prefix), on_conflict)
    with progress_bar("checking", None, progress) as advance:
        work.check(advance)
    waiting = partial(progress_bar, "waiting for another import", None, progress)
    with server_lock(connection, "import", work.schemas, waiting):
        work.check_tables()
        work.declare()
        total = sum(table.rows for table in description.tables)
        with progress_bar("importing", total, progress, unit=" rows") as advance:
            return work.insert(advance)


def _names(description: Description, schemas: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return what the tables of the export are called here."""
    known = {table.schema_name for table in description.tables}
    if unknown := sorted(schemas.keys() - known):
        raise ValueError(f"schemas: the export has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    called = {name: schemas.get(name, f"{prefix}{name}") for name in known}
    if len(set(called.values())) < len(called):
        raise ValueError("schemas: two schemas of the export would be one here")
    if system := sorted(name for name in called.values() if name.lower() in _SYSTEM):
        raise ExchangeError(
            f"{system[0]} is the server's own: give its schema another name, by schemas={{…}} or prefix=…"
        )
    return {table.full_name: f"{called[table.schema_name]}.{table.name}" for table in description.tables}


class _Import:
    """An import on its way."""

    def __init__(
        self,
        connection: Any,
        received: Received,
        description: Description,
        names: Mapping[str, str],
        on_conflict: OnConflict,
    ) -> None:
        self._connection = connection
        self._received = received
        self._description = description
        self._names = names
        self._on_conflict = on_conflict
        self._is_mysql = connection.adapter.backend == "mysql"
        self._there: set[str] = set()
        self._tagged: dict[str, TagTable | None] = {}  # tables of which rows have tags in the export
        self._importer = {"at": format_timestamp(datetime.now(timezone.utc)), **person()}
        self._conflicts: list[str] = []

    @property
    def schemas(self) -> list[str]:
        """What the schemas of the export are called here, those of parents first."""
        return list(dict.fromkeys(name.partition(".")[0] for name in self._names.values()))

    def check(self, advance: Advance) -> None:
        """Raise unless all bytes are what the export says, and all rows are rows of their tables."""
        self._received.check_about([table.full_name for table in self._description.tables])
        for table in self._description.tables:
            self._received.check_rows(table.full_name, table.size, table.sha256)
            count, statements = 0, self._received.about(table.full_name)
            for where, row in self._received.rows(table.full_name):
                self._check_row(table, where, row, advance)
                self._check_about(table, where, row, statements.of(self._key(table, row)))
                count += 1
            statements.end()
            if count != table.rows:
                raise ExchangeError(f"{table.full_name} has {counted(count, 'row')}, and should have {table.rows}")

    def check_tables(self) -> None:
        """Raise unless tables that are there can hold the rows, and no other rows are there under their keys."""
        self._there = set(self._existing())
        load_upstream(self._connection, {self._names[name].partition(".")[0] for name in self._there})
        for table in self._tables_there():
            found = differences(describe(self._table(table)), table, self._names)
            if found:
                raise ExchangeError(
                    f"{self._title(table)} is there, and is another table: {'; '.join(found[:10])}. Nothing was "
                    "inserted: give another name for its schema, by schemas={…} or prefix=…"
                )
        if self._on_conflict == "raise":
            for table in self._tables_there():
                for _ in self._judged(table, self._rows(table), ReceivedStatements(iter(()))):
                    pass

    def declare(self) -> None:
        """Declare the schemas and tables that are not there."""
        for schema in self.schemas:
            _Schema(schema, connection=self._connection, create_schema=True, create_tables=False)
        for table in self._description.tables:
            if table.full_name not in self._there:
                declare(self._connection, table, self._names)
            if table.full_name in self._tagged:
                self._tagged[table.full_name] = require_tag_table(base_rows(self._table(table), advice=""))

    def insert(self, advance: Advance) -> Imported:
        """Insert the rows that are not there."""
        inserted, present = dict[str, int](), dict[str, int]()
        self._conflicts = []
        for table in self._description.tables:
            title, rows = self._title(table), self._rows(table)
            for judged in self._judged(table, rows, self._received.about(table.full_name)):
                values = [self._inserted(rows, row) for row in judged.new]
                try:
                    put(rows, values, judged, self._tagged.get(table.full_name), self._importer)
                except DuplicateError as error:
                    raise ExchangeError(
                        f"{title}: while its rows were imported somebody else has inserted some of them, or others "
                        f"under their keys ({server_message(error)}). What was imported before is there. Call it again"
                    ) from error
                if judged.new:
                    inserted[title] = inserted.get(title, 0) + len(judged.new)
                if judged.present:
                    present[title] = present.get(title, 0) + len(judged.present)
                advance(len(judged.new) + len(judged.present))
        return Imported(inserted, present, tuple(self._conflicts), tuple(self._description.notes))

    def _check_about(self, table: ExportedTable, where: str, row: Written, about: About | None) -> None:
        if about is None:
            return
        if odd := [name for name in about.provenance if name not in table.files or row[name] is None]:
            raise ExchangeError(f"{where}: {brief(odd[0])} is said to come from somewhere, and is no file")
        if about.tags:
            self._tagged.setdefault(table.full_name, None)

    def _check_row(self, table: ExportedTable, where: str, row: Written, advance: Advance) -> None:
        types = table.types
        if row.keys() != types.keys():
            odd = ", ".join(sorted(map(brief, row.keys() ^ types.keys())))
            raise ExchangeError(f"{where}: it should have {', '.join(types)}, and no others; {odd:.200} are odd")
        for one in table.attributes:
            value = row[one.name]
            if value is None:
                if not one.nullable:
                    raise ExchangeError(f"{where}: {one.name} is null, and must not be")
            elif one.type == "<file>":
                try:
                    file = self._received.file(value)
                    self._check_link(file)
                    self._received.check_file(file, advance)
                except (ExchangeError, UnknownRootError) as error:
                    raise error.within(f"{where}, {one.name}") from error
            else:
                try:
                    value_for(one.type, value, is_mysql=self._is_mysql)
                    require_exact(one.type, value)
                except ValueError as error:
                    raise ExchangeError(f"{where}: {one.name}: {error}; nothing was inserted") from error

    def _check_link(self, file: ReceivedFile) -> None:
        if file.place:
            return
        pipeline = pipeline_of(self._connection)
        pipeline.stores.of_root(file.metadata.linked)
        if problem := examine(pipeline, file.metadata, "size", lambda _: None):
            told = f"{problem.kind}: expected {problem.expected}, found {problem.found}"
            raise ExchangeError(f"the link {file.metadata.linked} cannot be kept: {told}. Nothing was inserted")

    def _existing(self) -> Iterator[str]:
        adapter, known = self._connection.adapter, set(list_schemas(self._connection))
        there: dict[str, set[str]] = {}
        for full_name, name in self._names.items():
            schema, _, table = name.partition(".")
            if schema in known:
                if schema not in there:
                    _Schema(schema, connection=self._connection, create_schema=False, create_tables=False)
                    found = self._connection.query(adapter.list_tables_sql(schema)).fetchall()
                    there[schema] = {row[0] for row in found}
                if table in there[schema]:
                    yield full_name

    def _tables_there(self) -> Iterator[ExportedTable]:
        return (table for table in self._description.tables if table.full_name in self._there)

    def _table(self, table: TableDescription) -> FreeTable:
        schema, _, name = self._names[table.full_name].partition(".")
        return FreeTable(self._connection, self._connection.adapter.make_full_table_name(schema, name))

    def _title(self, table: TableDescription) -> str:
        schema, _, name = self._names[table.full_name].partition(".")
        return f"{schema}.{class_name(name)}"

    def _rows(self, table: TableDescription) -> Rows:
        return Rows(self._table(table), table)

    def _judged(self, table: ExportedTable, rows: Rows, statements: ReceivedStatements) -> Iterator[Judged]:
        """Give the rows, some at a time: which are to be inserted, and which are there already."""
        found = ((row, statements.of(self._key(table, row))) for _, row in self._received.rows(table.full_name))
        for some in batches(found, _ROWS_AT_ONCE, _size, _BYTES_AT_ONCE):
            there = {rows.key_of(row): row for row in rows.under([self._key(table, row) for row, _ in some])}
            judged = Judged()
            for row, about in some:
                key, other = self._key(table, row), there.get(rows.key_of(row))
                if other is None:
                    judged.new.append(row)
                elif differing := rows.differing(other, self._compared(table, row)):
                    self._conflict(table, row, differing)
                    continue
                else:
                    judged.present.append(row)
                if about and (other is None or about.tags):
                    judged.about.append((key, about))
            yield judged

    def _conflict(self, table: ExportedTable, row: Written, differing: Sequence[str]) -> None:
        key = key_text((name, str(row[name])) for name in table.primary_key)
        told = f"{self._title(table)} ({key}) is there, and has another {', '.join(differing)}"
        if self._on_conflict == "raise":
            raise ExchangeError(f"{told}. Nothing was inserted: give on_conflict='skip' to leave out such rows")
        self._conflicts.append(f"{told}; it was left as it is")

    def _key(self, table: TableDescription, row: Written) -> Written:
        return {name: row[name] for name in table.primary_key}

    def _compared(self, table: TableDescription, row: Written) -> Written:
        return {**row, **{name: row[name] and self._received.file(row[name]).metadata for name in table.files}}

    def _inserted(self, rows: Rows, row: Written) -> Written:
        return {
            name: self._file(row[name]) if type_ == "<file>" else rows.value(name, row[name])
            for name, type_ in rows.types.items()
        }

    def _file(self, entry: Any) -> object:
        if entry is None:
            return None
        file = self._received.file(entry)
        return self._received.value(file) if file.place else FileRef(file.metadata, "")


def _size(one: tuple[Written, About | None]) -> int:
    row, about = one
    return sum(len(value) if isinstance(value, str) else 8 for value in row.values()) + (about.size if about else 0)
