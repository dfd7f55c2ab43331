"""Reverse look-up: which rows, of all schemas, have a file of this content, hash, path or URL.

No store is asked. What could not be looked at is said in the answer: that something was not found there is no evidence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

from datajoint.errors import LostConnectionError
from datajoint.schemas import VirtualModule
from datajoint.table import FreeTable

from datajoint_file.collector.references import Attribute
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import QueryError, brief_traceback, server_message
from datajoint_file.hooks.connections import connection_of, name_of, pipeline_of
from datajoint_file.hooks.row_listing import Listing, RawRow, key_column, raw_row
from datajoint_file.journal.history_table import TABLE, UNKNOWN, HistoryTable
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted, format_size, nearest
from datajoint_file.pipeline.directoryref import DirectoryRef, ref_of
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.query.wanted import Wanted, by_content, by_hash, by_path
from datajoint_file.sql import Column, Rows
from datajoint_file.sql.columns import is_file_comment
from datajoint_file.undo.versions import Version, version_of


@dataclass(frozen=True, slots=True)
class Found:
    """A row that has the file.

    Parameters
    ----------
    table : str
        Its table, ``schema.Recording``.
    attribute : str
        The ``file`` attribute.
    key : mapping
        Its primary key.
    ref : FileRef or DirectoryRef
        What the attribute holds. Reads like any other.
    member : str
        The path within that, if it is a directory, and a path in it was looked for: ``ref / member``. Whether the
        directory has such a file was not asked.
    """

    table: str
    attribute: str
    key: Mapping[str, Any]
    ref: FileRef | DirectoryRef
    member: str = ""

    def __str__(self) -> str:
        key = key_text((name, str(value)) for name, value in self.key.items())
        inner = f", {self.member} in it" if self.member else ""
        return f"{self.table}.{self.attribute} ({key}): {self.ref.name}, {format_size(self.ref.size)}{inner}"


@dataclass(frozen=True, slots=True)
class Earlier:
    """A row that had the file, and has it no more.

    Parameters
    ----------
    table : str
        Its table.
    version : Version
        The file, and when, why and by whom it was taken away, as `datajoint_file.history` gives it.
    """

    table: str
    version: Version

    def __str__(self) -> str:
        return f"{self.table}, until {self.version}"


@dataclass(frozen=True, slots=True)
class FindReport(Sequence[Found]):
    """The rows that have what was looked for: a sequence, true if there are any.

    Parameters
    ----------
    wanted : str
        What was looked for, as people read it.
    found : tuple of Found
        The rows.
    earlier : tuple of Earlier
        If there are none: the rows that had it, as far as the history goes back, newest first.
    schemas : tuple of str
        The schemas with ``file`` attributes that were looked at.
    unread : tuple of str
        What could not be looked at, and why: there it may be.
    hides_schemas : bool
        Whether the server tells this user only of schemas that he has rights on: it may be in others.
    """

    wanted: str
    found: tuple[Found, ...]
    earlier: tuple[Earlier, ...]
    schemas: tuple[str, ...]
    unread: tuple[str, ...]
    hides_schemas: bool

    @overload
    def __getitem__(self, index: int) -> Found: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Found]: ...
    def __getitem__(self, index: int | slice) -> Found | Sequence[Found]:
        return self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        where = f"{counted(len(self.schemas), 'schema')} with files ({', '.join(self.schemas)})"
        lines = list(map(str, self.found)) or [f"No row of {where} has {self.wanted}."]
        lines += [f"There was one: {one}" for one in self.earlier]
        lines += [f"Not looked at: {one}" for one in self.unread]
        if self.hides_schemas:
            lines.append("Not looked at: schemas that this user is not told of, if there are any")
        return "\n".join(lines)


@brief_traceback
def find(
    *,
    hash: str | None = None,  # noqa: A002 - as rows call it
    file: Any = None,
    path: str | os.PathLike[str] | None = None,
    schemas: Any = None,
    connection: Any = None,
    progress: bool | None = None,
) -> FindReport:
    """Say whether a file is stored already, and in which rows: by its hash, its content, or where it is.

    All schemas that the user of the connection may read are searched, of whatever project. No store is asked, and no
    row of a transaction that is still open is seen, also of one's own. A table without an index (`index`) is read as a
    whole: some seconds for a million rows.

    Files within directories have no hash in the database: they are found by path or URL, not by hash or content.

    Parameters
    ----------
    hash : str, optional
        The hash, or its first 8 digits or more, with or without ``sha256:``.
    file : path, stream, bytes with a name, Directory, FileRef, …, optional
        What an insert would take: it is read, once, and the hash that it would get is looked for; of a directory that
        of its list of files.
    path : str or os.PathLike, optional
        An object key; or the URL of an object, or its path on this machine if the store is a disk; likewise of a file
        in a stored directory; or the path or URL of the original of a link.
    schemas : str, Schema, or several of them, optional
        Where to look; everywhere, if not given.
    connection : datajoint.Connection, or what has one, optional
        Whose database; DataJoint's default connection if not given.
    progress : bool or None
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

    Returns
    -------
    FindReport
        The rows, and what could not be looked at. If there are none, also which rows had it before.

    Raises
    ------
    QueryError
        If not one of *hash*, *file* and *path* is given, it is malformed, or there is no schema of a name.
    ConfigurationError
        If *path* is that of a file, and there is no configuration of the connection, or none that knows it.
    SourceError
        If *file* cannot be read.

    Examples
    --------
    >>> found = datajoint_file.find(file="run1.dat")  # doctest: +SKIP
    >>> if found:  # doctest: +SKIP
    ...     print(found[0].table, found[0].key)
    """
    if sum(one is not None for one in (hash, file, path)) != 1:
        raise QueryError("give one of hash=, file= and path=: find(file='run1.dat')")
    given = _listed(schemas)
    connection = connection_of(next((one for one in given if not isinstance(one, str)), None) or connection)
    if hash is not None:
        wanted = by_hash(hash)
    elif path is not None:
        wanted = by_path(path, lambda: pipeline_of(connection))
    else:
        wanted = by_content(file, progress)
    with _searching(connection, wanted) as search:
        return search.report([_name_of(one) for one in given], progress)


def _listed(schemas: Any) -> list[Any]:
    is_one = isinstance(schemas, str) or not isinstance(schemas, Iterable)
    return [] if schemas is None else [schemas] if is_one else list(schemas)


def _name_of(schema: Any) -> str:
    schema = schema.schema if isinstance(schema, VirtualModule) else schema
    name = schema if isinstance(schema, str) else getattr(schema, "database", None)
    if not isinstance(name, str):
        raise QueryError(f"schemas: {schema!r} is no schema, nor the name of one")
    return name


@contextmanager
def _searching(connection: Any, wanted: Wanted) -> Iterator[_Search]:
    """Search on a connection of its own: an error would end the user's transaction, and others wait for the second."""
    second = SecondConnection(connection)
    try:
        yield _Search(connection, second, wanted)
    finally:
        second.close()


class _Search:
    """One search, in a database."""

    def __init__(self, connection: Any, second: SecondConnection, wanted: Wanted) -> None:
        self._connection = connection
        self._second = second
        self._dialect = second.dialect
        self._wanted = wanted
        self._unread: list[str] = []

    def report(self, schemas: list[str], progress: bool | None) -> FindReport:
        """Look at some schemas, or at all."""
        readable = self._dialect.readable_schemas(self._second.query)
        for schema in schemas or readable:
            self._require_readable(schema, readable)
        attributes = [one for one in self._attributes() if not schemas or one.schema in schemas]
        found, earlier = list(self._found(attributes, progress)), list[Earlier]()
        if not found:
            earlier = sorted(self._earlier(schemas), key=lambda one: one.version.at, reverse=True)
        searched = sorted({attribute.schema for attribute in attributes})
        hides = not schemas and self._dialect.hides_schemas(self._second.query)
        return FindReport(self._wanted.said, tuple(found), tuple(earlier), tuple(searched), tuple(self._unread), hides)

    def _require_readable(self, schema: str, known: list[str]) -> None:
        presence = self._dialect.presence(self._second.query, schema)
        if presence == "gone" and schema not in known:  # else it was dropped this moment
            raise QueryError(f"there is no schema {schema!r} on this server{nearest(schema, known)}")
        if presence == "unreadable":
            self._unread.append(f"{schema}: this user may not read all of it")

    def _attributes(self) -> list[Attribute]:
        found = list[Attribute]()
        for schema, table, name, comment, _ in self._dialect.attributes(self._second.query):
            if name is None:
                self._unread.append(f"{schema}.{table}: it cannot be opened")
            elif is_file_comment(comment):
                found.append(Attribute(schema, table, name, True))
        return sorted(found)

    def _found(self, attributes: list[Attribute], progress: bool | None) -> Iterator[Found]:
        columns: dict[str, dict[str, list[Column]]] = {}
        for schema in sorted({attribute.schema for attribute in attributes}):
            tables = sorted({attribute.table for attribute in attributes if attribute.schema == schema})
            columns[schema] = self._dialect.columns(self._second.query, schema, tables)
        with progress_bar("find", len(attributes), progress, unit=" attributes") as advance:
            for attribute in attributes:
                with self._noting(str(attribute)):
                    rows = self._rows(attribute, columns[attribute.schema].get(attribute.table, []))
                    yield from self._described(attribute, rows)
                advance(1)

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Note what cannot be read, and go on."""
        try:
            yield
        except LostConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - of drivers, which have their own: the answer says so
            self._unread.append(f"{what}: {server_message(error)}")

    def _rows(self, attribute: Attribute, columns: list[Column]) -> list[RawRow]:
        """Return the rows that have it: their keys, and the JSON of the attribute."""
        name, table = self._named(attribute.name), self._named(attribute.schema, attribute.table)
        keys = [key_column(self._dialect.named(column), column.type) for column in columns if column.is_key]
        select = f"SELECT {', '.join([*keys, self._dialect.as_text(name)])} FROM {table} WHERE "
        conditions = self._wanted.conditions(self._dialect, name)
        found = {row: None for text, values in conditions for row in self._whole(f"{select}{text}", values)}
        return [raw_row(row, len(keys)) for row in found]

    def _whole(self, sql: str, values: Sequence[Any]) -> Rows:
        if not self._dialect.whole:
            return self._second.query(sql, values)
        with self._second.transaction():
            self._second.execute(self._dialect.whole)
            return self._second.query(sql, values)

    def _described(self, attribute: Attribute, rows: list[RawRow]) -> Iterator[Found]:
        if not rows:
            return
        full_name = self._connection.adapter.make_full_table_name(attribute.schema, attribute.table)
        listing = Listing(FreeTable(self._connection, full_name), (attribute.name,))
        table, pipeline = str(attribute).removesuffix(f".{attribute.name}"), name_of(self._connection._config)
        for row in rows:
            key = listing.named(row.key)
            with self._noting(f"{attribute} ({key_text((name, str(value)) for name, value in key.items())})"):
                ref = ref_of(json.loads(row.texts[0] or ""), pipeline)
                yield Found(table, attribute.name, key, ref, self._wanted.member_of(ref.metadata))

    def _earlier(self, schemas: list[str]) -> Iterator[Earlier]:
        for schema, _ in self._dialect.tables_named(self._second.query, (TABLE,)):
            if not schemas or schema in schemas:
                with self._noting(f"the history of {schema}"):
                    yield from self._earlier_in(HistoryTable(self._second, schema))

    def _earlier_in(self, history: HistoryTable) -> Iterator[Earlier]:
        if self._wanted.digits:
            condition, values = "metadata LIKE %s", [f"%sha256:{self._wanted.digits}%"]
        else:
            condition, values = self._dialect.by_path(self._wanted.paths)
        entries = history.entries(f"attribute <> '' AND why <> '{UNKNOWN}' AND {condition}", values)
        tables = sorted({entry.table_name for entry in entries})
        columns = self._dialect.columns(self._second.query, history.schema, tables) if tables else {}
        seen = set[tuple[str, str, str, str]]()
        for entry in entries:
            version = version_of(entry, columns.get(entry.table_name, []), self._connection)
            place = (entry.table_name, entry.attribute, entry.cell, entry.path or "")
            if version and place not in seen and self._wanted.is_met_by(version.file.metadata):
                seen.add(place)
                table = str(Attribute(history.schema, entry.table_name, entry.attribute, True))
                yield Earlier(table.removesuffix(f".{entry.attribute}"), version)

    def _named(self, *names: str) -> str:
        return self._dialect.quoted(*names).replace("%", "%%")
