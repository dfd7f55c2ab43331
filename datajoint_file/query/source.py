"""Source of a file: who inserted it, when, where, and by which program, as it was noted in the insert's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from datajoint.errors import AccessError
from datajoint.table import Table

from datajoint_file.errors import QueryError, brief, brief_traceback, printable
from datajoint_file.hooks.base_rows import as_query
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import class_name, table_name
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.source_table import Call, Run, SourceTable, object_id
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import key_text, schema_named_by
from datajoint_file.pipeline.stored_ref import StoredRef

_HIDDEN = ("_job_start_time", "_job_duration", "_job_version", "_prov")
"""What DataJoint itself notes of a row, if its settings say so: ``jobs.add_job_metadata``, ``provenance.capture``."""


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """Where a file comes from, as far as it was noted; what is not known is None.

    Parameters
    ----------
    file : FileRef or DirectoryRef
        The file.
    at : datetime
        When it was inserted, by the database's clock, aware, in UTC.
    who : str
        The database's user.
    user, host : str or None
        The user and the machine, as the operating system calls them.
    program : str or None
        The path of the script or notebook (a home is ``~``), ``python -m package``, or the name that
        `datajoint_file.program` has given.
    version : str or None
        Of the program, from `datajoint_file.program`; else of DataJoint's ``jobs.version_method``.
    commit : str or None
        The git commit that was checked out around the program when the process first inserted a file.
    is_dirty : bool or None
        Whether files that git tracks differed from that commit; None also if git did not say so in time.
    package : str or None
        The version of datajoint-file.
    table : str or None
        Whose ``make`` inserted it, as people write it; None outside of ``populate``.
    key : dict
        The key that this ``make`` was called with.
    imported : dict
        Of what `import_` has inserted: when that was, and by whom, as ``at``, ``user`` and ``host``. Then all of the
        above is what the export says, and whoever has written that.
    datajoint : dict
        What DataJoint itself has noted of the row, where its settings say so: ``job_start_time``, ``job_duration``,
        ``job_version``, ``prov``.
    """

    file: Any
    at: datetime
    who: str
    user: str | None = None
    host: str | None = None
    program: str | None = None
    version: str | None = None
    commit: str | None = None
    is_dirty: bool | None = None
    package: str | None = None
    table: str | None = None
    key: Mapping[str, Any] = field(default_factory=dict)
    imported: Mapping[str, Any] = field(default_factory=dict)
    datajoint: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        person = f"{self.user or '?'}@{self.host or '?'}"
        said = {
            "inserted": f"{self.at:%Y-%m-%d %H:%M:%S} UTC by {person}, database user {self.who}",
            "program": self._said_program(),
            "make": self.table and f"{self.table} ({key_text((k, str(v)) for k, v in self.key.items())})",
            "datajoint": key_text((name, str(value)) for name, value in self.datajoint.items()),
            "package": self.package and f"datajoint-file {self.package}",
            "imported": self._said_import(),
        }
        lines = (f"  {what:<10}{printable(text)}" for what, text in said.items() if text)
        return "\n".join([printable(self.file.name), *lines])

    __repr__ = __str__

    def _said_import(self) -> str:
        if not self.imported:
            return ""
        said = {name: self.imported.get(name) or "?" for name in ("at", "user", "host")}
        return "{at} by {user}@{host}; the lines above are what the export says".format_map(said)

    def _said_program(self) -> str:
        dirty = {True: ", changed", False: "", None: ", changed or not"}[self.is_dirty]
        return ", ".join(
            part
            for part in (
                self.program or "",
                self.version and f"version {self.version}",
                self.commit and f"commit {self.commit[:10]}{dirty}",
            )
            if part
        )


@brief_traceback
def source(query: Any, attribute: str | None = None) -> Source | None:
    """Return where the file of one row comes from; None if the row has none, or nothing was noted of it.

    Nothing is noted where ``[provenance] enabled = false``, or where the user who inserted it may not make the table
    ``~file_source``. What was stored in one row and is named by another as well, a copy, has the source of the first.

    Parameters
    ----------
    query : datajoint.Table
        One row: ``Recording & key``.
    attribute : str, optional
        The ``file`` attribute, if the table has several.

    Raises
    ------
    QueryError
        If *query* is not one row of a table, or *attribute* none of its ``file`` attributes.
    datajoint.errors.AccessError
        If this user may not read ``~file_source``.

    Examples
    --------
    >>> datajoint_file.source(Recording & key, "raw_data")  # doctest: +SKIP
    recording.dat
      inserted  2026-01-15 10:30:00 UTC by anna@rig3, database user anna@%
      program   ~/analysis/ingest.py, commit 1f0c2d9a51
      package   datajoint-file 0.1.0
    """
    query = as_query(query)
    if not isinstance(query, Table):
        raise QueryError("give one row of a table: source(Recording & key)")
    name = _attribute(query, attribute)
    rows = query.proj(name).to_dicts(limit=2)
    if len(rows) != 1:
        found = "several rows" if rows else "no row"
        raise QueryError(f"{table_name(query)}: there is {found}, and a source is of one: source(Recording & key)")
    ref = rows[0][name]
    if ref is None:
        return None
    second = second_connection_of(query.connection)
    call = next(iter(Calls(query.connection, query.database).of([ref.metadata], second.query).values()), None)
    return None if call is None else source_of(ref, call, _noted_by_datajoint(query))


def _attribute(query: Any, attribute: str | None) -> str:
    names = file_attributes(query.heading)
    if attribute is None and len(names) == 1:
        return names[0]
    if attribute not in names:
        known = f"it has {', '.join(names)}" if names else "it has none"
        raise QueryError(f"{table_name(query)}: {brief(attribute)} is no `file` attribute of it; {known}")
    return attribute


class Calls:
    """Calls that have inserted files of rows of one schema, as they are noted there, and in schemas that keys name."""

    def __init__(self, connection: Any, schema: str) -> None:
        self._second, self._schema = second_connection_of(connection), schema
        self._tables: dict[str, SourceTable | None] = {}

    def of(self, files: Iterable[FileMetadata], run: Run) -> dict[str, Call]:
        """Return the calls by `object_id`: from the schema of the rows, or from that which the object key names.

        Rows may be copies of another schema's, and that another server's. *run* sends queries.

        Raises
        ------
        datajoint.errors.AccessError
            If this user may not read what is noted.
        """
        asked = {object_id(one): schema_named_by(one.path) for one in files}
        calls = self._calls(self._schema, asked, run)
        for schema in sorted({named for one, named in asked.items() if named and one not in calls} - {self._schema}):
            calls |= self._calls(schema, (one for one, named in asked.items() if named == schema), run)
        return calls

    def _calls(self, schema: str, objects: Iterable[str], run: Run) -> dict[str, Call]:
        """Ask on the second connection first, where a right that is lacking ends nobody's transaction."""
        if schema not in self._tables:
            table = SourceTable(self._second, schema)
            self._tables[schema] = table if table.is_plain() else None
            if self._tables[schema] is not None:
                self._second.query(f"SELECT event FROM {table.table} WHERE 1 = 0")
        known = self._tables[schema]
        return known.calls(objects, run) if known is not None else {}


def source_of(ref: StoredRef | None, call: Call, noted: Mapping[str, Any]) -> Source:
    """Return what a call has noted as a value; whatever it says, for anybody may have written it."""
    facts = call.facts
    make = facts.get("make")
    make = make if isinstance(make, dict) else {}
    texts = {name: _text(facts.get(name)) for name in ("user", "host", "program", "commit", "package")}
    dirty, key, imported = facts.get("dirty"), make.get("key"), facts.get("imported")
    return Source(
        ref,
        call.at,
        call.who,
        **texts,
        version=_text(facts.get("version")) or _text(make.get("version")),
        is_dirty=dirty if isinstance(dirty, bool) else None,
        table=_people(make.get("table")),
        key=key if isinstance(key, dict) else {},
        imported=imported if isinstance(imported, dict) else {},
        datajoint=noted,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _people(full_name: Any) -> str | None:
    """Return what people call a table, of the full name that DataJoint has noted."""
    schema, _, table = str(full_name or "").replace("`", "").replace('"', "").partition(".")
    return f"{schema}.{class_name(table)}" if table else None


def _noted_by_datajoint(query: Any) -> dict[str, Any]:
    """Return what DataJoint has in hidden attributes of the row, by one query if it has any."""
    hidden = [name for name in _HIDDEN if name in (query.heading._attributes or {})]
    if not hidden:
        return {}
    quoted = ", ".join(map(query.connection.adapter.quote_identifier, hidden))
    with suppress(AccessError):
        row = query.connection.query(f"SELECT {quoted} FROM {query.from_clause()}{query.where_clause()}").fetchone()
        values = dict(zip(hidden, row or (), strict=False))
        return {name[1:]: _loaded(value) for name, value in values.items() if value not in (None, "")}
    return {}


def _loaded(value: Any) -> Any:
    with suppress(ValueError, TypeError):
        return json.loads(value) if isinstance(value, str) and value.startswith("{") else value
    return value
