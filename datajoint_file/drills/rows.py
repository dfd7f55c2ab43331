"""Rows of a database as a drill reads them: tables with their counts, values of ``file`` attributes, unexpired history.

They are untrusted: a table that cannot be read is told, and the others are read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datajoint.errors import MissingTableError
from datajoint.table import FreeTable

from datajoint_file.errors import driver_message, printable
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.row_listing import Listing
from datajoint_file.hooks.tables import class_name, table_name
from datajoint_file.journal.history_table import TABLE as HISTORY
from datajoint_file.journal.history_table import HistoryTable
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.sql.columns import is_file_comment
from datajoint_file.verification.subjects import Subject, origin_of
from datajoint_file.verification.verification import FileValue


@dataclass(frozen=True, slots=True)
class Unread:
    """A table that cannot be read, or its ``file`` attributes."""

    schema: str
    table: str  # with its schema, as people call it
    why: str


class Database:
    """What one connection sees. *pipeline* has the objects that its rows name."""

    def __init__(self, connection: Any, pipeline: Pipeline) -> None:
        self._connection = connection
        self._second: SecondConnection = second_connection_of(connection)
        self._pipeline = pipeline
        self.unread: list[Unread] = []
        self.tables = sorted(self._second.dialect.tables(self._second.query))

    @property
    def schemas(self) -> list[str]:
        """The schemas that have tables."""
        return sorted({schema for schema, _ in self.tables})

    @property
    def hides_schemas(self) -> bool:
        """Whether there may be schemas that this user does not see."""
        return self._second.dialect.hides_schemas(self._second.query)

    def counts(self, schemas: Collection[str]) -> Iterator[tuple[str, str, int]]:
        """Give schema, table as people call it, and number of rows; those of DataJoint and of ours left out."""
        for schema, name in self.tables:
            if name.startswith("~") or schema not in schemas:
                continue
            try:
                sql = f"SELECT COUNT(*) FROM {self._second.dialect.quoted(schema, name)}"
                yield schema, class_name(name), int(self._second.query(sql)[0][0])
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this table
                self._note(schema, f"{schema}.{class_name(name)}", error)

    def subjects(self) -> Iterator[Subject]:
        """Give the tables that have ``file`` attributes."""
        found = self._second.dialect.attributes(self._second.query)
        tables = {
            (schema, table): None
            for schema, table, name, comment, _ in found
            if name is not None and is_file_comment(comment) and not table.startswith("~")
        }
        for number, (schema, name) in enumerate(tables):
            called = f"{schema}.{class_name(name)}"
            try:
                yield self._subject(number, schema, name)
            except Exception as error:  # noqa: BLE001
                self._note(schema, called, error)

    def _subject(self, number: int, schema: str, name: str) -> Subject:
        table = FreeTable(self._connection, self._connection.adapter.make_full_table_name(schema, name))
        called, names = table_name(table), file_attributes(table.heading)
        origins = tuple(origin_of(table, name) for name in names)
        return Subject(number, called, called, True, Listing(table, names), origins, self._pipeline, table, schema)

    def rows(self, subject: Subject) -> Iterator[Any]:
        """Give the rows of a table that can be read."""
        try:
            yield from subject.rows(None)
        except Exception as error:  # noqa: BLE001 - of the driver, of DataJoint, or of a row that nobody foresaw
            self._note(subject.schema, subject.title, error)

    def history(self, since: datetime) -> Iterator[HistoryRow]:
        """Give the entries of history whose references went *since* a moment, and whose bytes are kept."""
        for schema, name in self.tables:
            if name == HISTORY:
                try:
                    yield from self._history(schema, since)
                except Exception as error:  # noqa: BLE001
                    self._note(schema, f"{schema}.{HISTORY}", error)

    def _history(self, schema: str, since: datetime) -> Iterator[HistoryRow]:
        entries, number = HistoryTable(self._second, schema), 0
        while page := entries.kept_files(number, since):
            for number, event, table, attribute, text in page:  # noqa: B007 - the last number is where to go on
                yield HistoryRow(self._pipeline, schema, str(event), str(table), str(attribute), str(text))

    def _note(self, schema: str, table: str, error: Exception) -> None:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        if not (isinstance(error, MissingTableError) or self._second.dialect.is_gone(cause)):  # dropped meanwhile
            self.unread.append(Unread(schema, printable(table), printable(driver_message(cause))))


class HistoryRow:
    """An entry of history, as a `ListedRow` of which one value is to be checked."""

    __slots__ = ("_event", "pipeline", "values")

    def __init__(self, pipeline: Pipeline, schema: str, event: str, table: str, attribute: str, text: str) -> None:
        self.pipeline = pipeline
        self._event = event
        metadata: FileMetadata | None = None
        fault = ""
        try:
            metadata = FileMetadata.from_json(json.loads(text))
        except (ValueError, RecursionError) as error:
            fault = printable(str(error))[:500]
        called = f"{schema}.{class_name(table)} (history)"
        path = metadata.path if metadata else ""
        self.values = (FileValue(called, attribute, attribute, path, metadata, fault, schema),)

    def key(self) -> dict[str, Any]:
        """Return what tells it from others."""
        return {"event": self._event}

    def position(self) -> str:
        """Return nothing: nobody goes on here."""
        return ""

    def still_names(self, value: FileValue) -> bool:
        """Tell that it does: nobody else is at the database of a drill."""
        return True
