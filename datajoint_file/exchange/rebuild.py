"""`rebuild`: rows of a database that is lost, written again from what the store keeps beside their objects.

Nothing is stored or changed: a row names the object that it had. What the store does not know is said.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from datajoint.errors import DataJointError, LostConnectionError
from datajoint.table import FreeTable

from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import (
    DataJointFileError,
    MetadataError,
    OutcomeUnknownError,
    StorageUnavailableError,
    UnsupportedValueError,
    brief,
    brief_traceback,
    driver_message,
)
from datajoint_file.exchange.tables import load_upstream
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import connection_of, pipeline_of
from datajoint_file.hooks.row_listing import key_from_json
from datajoint_file.hooks.tables import Row, TableKeys, table_name, tables_of
from datajoint_file.insert.staged import Staged
from datajoint_file.journal.journal import Journal, JournalEntry, Write
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import MIGRATED
from datajoint_file.model.object_keys import Cell, is_made_for, key_digest, key_text, write_id_of
from datajoint_file.model.sidecar import Sidecar
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.sidecars import sidecars_of
from datajoint_file.startup import on_one_line
from datajoint_file.verification.examine import examine

_ROWS_AT_ONCE = 100

Level = Literal["content", "size"]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild` has done. True if all rows are there that the store knows of.

    Parameters
    ----------
    inserted, present : mapping of str to int
        How many rows of which table were written; how many were there already, and were left as they are.
    problems : tuple of str
        The rows that could not be written, and why.
    notes : tuple of str
        What the store could not know.
    is_dry : bool
        Whether it was only looked: then the rows of ``inserted`` are still to be written.
    """

    inserted: Mapping[str, int]
    present: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_dry: bool = False

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        todo = ": would be written" if self.is_dry else ""
        done = [f"{counted(count, 'row')} of {table}{todo}" for table, count in self.inserted.items()]
        done += [f"{counted(count, 'row')} of {table}: there already" for table, count in self.present.items()]
        return "\n".join(map(on_one_line, (*(done or ["nothing was written"]), *self.problems, *self.notes)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {"ok": bool(self), **asdict(self)}


@brief_traceback
def rebuild(*subjects: Any, level: Level = "content", dry_run: bool = False, progress: bool | None = None) -> Rebuilt:
    """Write rows again that a lost database had, from what the store keeps beside their objects.

    That is there of files inserted with ``[object_storage] self_describing = true``. Declare the tables first, by the
    code that has declared them before. Rows that are there are never changed. Of each object it is read whether it
    has the bytes that were inserted. A row that was deleted comes back if its object was still kept; a value that
    was changed without inserting a file is what it was when one was inserted. Rows of tables without files are not in
    the store: put these back first.

    Parameters
    ----------
    *subjects : schema or table
        Which rows; of a schema, those of all its tables, parents first.
    level : {"content", "size"}
        Whether all bytes of the objects are read, or their sizes asked.
    dry_run : bool
        Only look.
    progress : bool, optional
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

    Returns
    -------
    Rebuilt
        What was written, what could not be, and what the store does not know.

    Raises
    ------
    UnsupportedValueError
        If something is no schema or table.
    DataJointError
        If the connection is in a transaction.
    StorageError
        If the store cannot be listed or read.
    LostConnectionError, OutcomeUnknownError
        If the connection was lost. Call it again.

    Examples
    --------
    >>> print(datajoint_file.rebuild(schema))  # doctest: +SKIP
    12 rows of lab.Recording
    """
    if level not in ("content", "size"):
        raise ValueError(f"level = {brief(level)}: allowed are 'content', 'size'")
    tables = list(_tables(subjects))
    if not tables:
        return Rebuilt({}, notes=("there is no table with files: declare the tables first",))
    connection = tables[0].connection
    if has_transaction(connection):
        raise DataJointError("rebuild has transactions of its own: commit this one or roll it back first")
    with _SidecarsByRow() as sidecars, progress_bar("rebuilding", None, progress, unit=" rows") as advance:
        work = _Rebuild(tables, sidecars, level, dry_run=dry_run)
        work.read()
        for table in work.tables:
            for some in sidecars.rows(table):
                work.restore(table, some)
                advance(len(some))
        return work.report()


def _tables(subjects: Iterable[Any]) -> Iterator[Any]:
    for subject in subjects:
        connection = connection_of(subject)
        if hasattr(subject, "full_table_name"):
            name = (subject() if isinstance(subject, type) else subject).full_table_name
            yield FreeTable(connection, name)
        elif database := getattr(getattr(subject, "schema", subject), "database", ""):
            yield from (one for one in tables_of(connection, database) if file_attributes(one.heading))
        else:
            raise UnsupportedValueError(f"{brief(subject)} is neither a schema nor a table")


class _SidecarsByRow:
    """The sidecars that were read, by row, in a file on the disk that vanishes with the block."""

    def __enter__(self) -> _SidecarsByRow:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE one (place TEXT, row TEXT, moment TEXT, key TEXT, text BLOB)")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, sidecar: Sidecar) -> None:
        """Note a sidecar."""
        row, moment = json.dumps(sidecar.key, sort_keys=True), sidecar.written.isoformat(timespec="microseconds")
        place, path = f"{sidecar.schema}.{sidecar.table}", sidecar.file.path
        self._database.execute("INSERT INTO one VALUES (?, ?, ?, ?, ?)", (place, row, moment, path, sidecar.to_bytes()))

    def rows(self, table: Any) -> Iterator[list[list[Sidecar]]]:
        """Give the rows of a table, some at a time, each as its sidecars, the oldest first."""
        place, row, some = f"{table.database}.{table.table_name}", "", list[list[Sidecar]]()
        sql = "SELECT row, text FROM one WHERE place = ? ORDER BY row, moment, key"
        for found, text in self._database.execute(sql, (place,)):
            if found != row:
                if len(some) == _ROWS_AT_ONCE:
                    yield some
                    some = []
                some.append([])
                row = found
            some[-1].append(Sidecar.from_bytes(text))
        if some:
            yield some


@dataclass
class _Known:
    """What is known of a row."""

    values: dict[str, Any]
    files: dict[str, FileMetadata]


class _Rebuild:
    def __init__(self, tables: list[Any], sidecars: _SidecarsByRow, level: Level, *, dry_run: bool) -> None:
        self._sidecars = sidecars
        self._level = level
        self._is_dry = dry_run
        graph = load_upstream(tables[0].connection, {table.database for table in tables})
        order = {name: place for place, name in enumerate(graph.topo_sort())}
        self.tables = sorted(tables, key=lambda table: order.get(table.full_table_name, -1))
        self._inserted: dict[str, int] = {}
        self._present: dict[str, int] = {}
        self._problems: list[str] = []
        self._unknown: dict[str, set[str]] = {}

    def read(self) -> None:
        """Read the sidecars of all projects that the schemas store into."""
        wanted = {(table.database, table.table_name) for table in self.tables}
        pipelines = {one.project: one for one in (pipeline_of(table) for table in self.tables)}
        for pipeline in pipelines.values():
            for key, found in sidecars_of(pipeline):
                if isinstance(found, MetadataError):
                    self._problems.append(f"{key} was passed over: {found}")
                elif (found.schema, found.table) in wanted:
                    self._sidecars.add(found)

    def restore(self, table: Any, some: list[list[Sidecar]]) -> None:
        """Insert those rows that are not there, together; one by one if some cannot be."""
        keys, known = TableKeys(table, table_name(table)), dict[int, _Known]()
        for index, sidecars in enumerate(some):
            try:
                known[index] = _known(table, sidecars)
            except (DataJointFileError, ValueError) as error:
                self._problem(table, sidecars[-1].key, str(error))
        rows = [Row(index, one.values) for index, one in known.items()]
        present = keys.present(rows)
        self._count(self._present, table, len(present))
        new = [row for row in rows if row.index not in present]
        pipeline = pipeline_of(table)
        sound = [row for row in new if self._is_sound(table, pipeline, keys, row, known[row.index])]
        if sound and not self._is_dry:
            self._insert(table, pipeline, keys, sound, known)
        elif sound:
            self._count(self._inserted, table, len(sound))

    def report(self) -> Rebuilt:
        """Return what was done."""
        notes = [
            f"{table}: the store does not know {', '.join(sorted(names))}"
            for table, names in self._unknown.items()
            if names
        ]
        if not (self._inserted or self._present or self._problems):
            notes.append("the store describes no row of these tables: [object_storage] self_describing was not on")
        return Rebuilt(self._inserted, self._present, tuple(self._problems), tuple(notes), self._is_dry)

    def _is_sound(self, table: Any, pipeline: Pipeline, keys: TableKeys, row: Row, known: _Known) -> bool:
        """Tell whether a row can be written as it was, and note why not."""
        try:
            digest = key_digest(keys.of(row))
            for name, file in known.files.items():
                if not is_made_for(file.path, pipeline.project, digest):
                    raise MetadataError(f"{name}: {file.path} is no object of this row")
                if problem := examine(pipeline, file, self._level, lambda _: None):
                    told = f"{name}: {file.path}: {problem.kind}: expected {problem.expected}, found {problem.found}"
                    raise (StorageUnavailableError if problem.is_unreachable else MetadataError)(told)
        except StorageUnavailableError:  # of which a row can say nothing
            raise
        except DataJointFileError as error:
            self._problem(table, row.values, str(error))
            return False
        given = known.values.keys() | known.files.keys()
        absent = {name: one for name, one in table.heading.attributes.items() if name not in given}
        self._unknown.setdefault(table_name(table), set()).update(absent)
        needed = [name for name, one in absent.items() if not one.nullable and one.default is None]
        if needed:
            told = f"the store does not know {', '.join(needed)}, which must not be null: insert the row by hand"
            self._problem(table, row.values, told)
        return not needed

    def _insert(
        self, table: Any, pipeline: Pipeline, keys: TableKeys, rows: list[Row], known: Mapping[int, _Known]
    ) -> None:
        journal, schema, title = Journal(table.connection, table.database), table.database, table_name(table)
        cells = {
            (row.index, name): (Cell(schema, title.partition(".")[2], name, keys.of(row)), file)
            for row in rows
            for name, file in known[row.index].files.items()
        }
        ensure_marked(pipeline, table.connection, schema)
        entries = dict(zip(cells, journal.share(table.table_name, list(cells.values())), strict=True))
        ready = [
            row.values
            | {
                name: Staged(file, title, name, key_digest(keys.of(row)), _write(entries[row.index, name], schema))
                for name, file in known[row.index].files.items()
            }
            for row in rows
        ]
        try:
            for group in _alike(ready):
                table.insert(group)
        except (OutcomeUnknownError, LostConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - DataJoint's, or the driver's: it is told
            journal.give_up([entry for entry in entries.values() if entry.number])
            if len(rows) > 1:
                for row in rows:
                    if row.index not in keys.present([row]):
                        self._insert(table, pipeline, keys, [row], known)
                    else:
                        self._count(self._inserted, table, 1)
                return
            self._problem(table, rows[0].values, driver_message(error))
        else:
            self._count(self._inserted, table, len(rows))

    def _problem(self, table: Any, key: Mapping[str, Any], told: str) -> None:
        shown = key_text((name, str(key[name])) for name in table.primary_key if name in key)
        self._problems.append(f"{table_name(table)} ({shown}): {told}")

    def _count(self, of: dict[str, int], table: Any, count: int) -> None:
        if count:
            of[table_name(table)] = of.get(table_name(table), 0) + count


def _known(table: Any, sidecars: list[Sidecar]) -> _Known:
    """Return what sidecars say of their row, the newest last. They may be anybody's."""
    found = _Known(_read(sidecars[-1].key), {})
    files, attributes = file_attributes(table.heading), table.heading.attributes
    for one in sidecars:
        attribute = one.attribute if one.attribute in files else one.attribute.removesuffix(MIGRATED)
        if attribute not in files:
            raise MetadataError(f"{one.attribute} is no `file` attribute of the table")
        values = _read(one.values)
        for name in values.keys() & attributes.keys():  # of which a codec would make what it likes: read a path, say
            if values[name] is not None and attributes[name].codec is not None:
                del values[name]
        for name in values.keys() & set(files):  # that the row had none there, then
            found.files.pop(name, None)
        found.values |= values
        found.files[attribute] = one.file
    if odd := sorted((found.values.keys() - set(table.heading.names)) | (set(table.primary_key) - found.values.keys())):
        raise MetadataError(f"{', '.join(odd)}: the table that is declared has another key, or no such attribute")
    if odd := [name for name, value in found.values.items() if isinstance(value, dict)]:
        raise MetadataError(f"{', '.join(odd)}: it has a value that no insert describes")
    return found


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(values, key_from_json(list(values.values())), strict=True))


def _write(entry: JournalEntry, schema: str) -> Write:
    """Return by what a row names an object that is there: the note is not that of its upload, which is forgotten."""
    intent = entry.intent
    where = intent.table_name, intent.attribute, intent.path
    return Write(schema, entry.number, write_id_of(intent.path), entry.holder, *where, is_shared=True)


def _alike(rows: Iterable[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Return rows in groups that have the same attributes, as one insert takes them."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(sorted(row)), []).append(row)
    return groups.values()
