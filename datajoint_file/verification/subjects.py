"""Subjects of a verification: the queries and tables whose rows are listed and can be looked up again.

How rows are read from the database is the business of `row_listing`; what is done with them, of `verify`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datajoint.schemas import VirtualModule, _Schema
from datajoint.table import FreeTable, Table

from datajoint_file.errors import brief, printable
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.row_listing import Key, Listing, RawRow, key_to_json, query_of
from datajoint_file.hooks.tables import table_name, tables_of
from datajoint_file.model.metadata import FileMetadata, path_in
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.verification.verification import FileValue

_FAULT_LENGTH = 500


Origin = tuple[str, str]
"""The table that an attribute of a query comes from, and what the table calls it, as people write them."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One query of a run: as it was given, or one table of a schema."""

    index: int  # which of the given subjects it belongs to
    name: str  # with `index`, what a position names it by
    title: str  # what people call it
    is_table_of_schema: bool  # which can come and go between runs
    listing: Listing
    origins: tuple[Origin, ...]  # of the attributes of the listing
    pipeline: Pipeline

    @property
    def order(self) -> tuple[int, str]:
        """What subjects are sorted by."""
        return self.index, self.name

    def rows(self, after: Key | None) -> Iterator[QueryRow]:
        """Give the rows behind *after* that have files."""
        return (QueryRow(self, raw) for raw in self.listing.rows(after))


class QueryRow:
    """One row: a `ListedRow`."""

    __slots__ = ("_raw_key", "_subject", "values")

    def __init__(self, subject: Subject, raw: RawRow) -> None:
        self._subject = subject
        self._raw_key = raw.key
        self.values = tuple(
            _value(origin, name, text)
            for origin, name, text in zip(subject.origins, subject.listing.names, raw.texts, strict=True)
            if text is not None
        )

    @property
    def pipeline(self) -> Pipeline:
        """Where its objects are."""
        return self._subject.pipeline

    def key(self) -> dict[str, Any]:
        """Return its primary key."""
        return self._subject.listing.named(self._raw_key)

    def position(self) -> str:
        """Return where a later run goes on after this row."""
        return position_text(self._subject.index, self._subject.name, self._raw_key)

    def still_names(self, value: FileValue) -> bool:
        """Ask the database whether the row is there yet and still names the object of *value*."""
        raw = self._subject.listing.again(self._raw_key)
        if raw is None:
            return False
        text = raw.texts[self._subject.listing.names.index(value.name)]
        return text is not None and _value((value.table, value.attribute), value.name, text).path == value.path


def _value(origin: Origin, name: str, text: str) -> FileValue:
    """Read the JSON of a row, whatever it is."""
    path, fault = "", ""
    metadata: FileMetadata | None = None
    try:
        document = json.loads(text)
        named = path_in(document) or ""
        path = named if len(named) <= 1024 and named.isprintable() else brief(named, 200)
        metadata = FileMetadata.from_json(document)
    except (ValueError, RecursionError) as error:
        fault = printable(str(error) or type(error).__name__)[:_FAULT_LENGTH]
    return FileValue(*origin, name, path, metadata, fault)


def subjects_of(subjects: Any) -> list[Subject]:
    """Return the subjects that `verify` was given, in the order in which they are checked.

    Raises
    ------
    TypeError
        If something is neither a query nor a schema.
    ValueError
        If a query has no ``file`` attribute.
    ConfigurationError
        If the pipeline's configuration is missing or wrong.
    """
    listed = list(subjects) if isinstance(subjects, list | tuple) else [subjects]
    found = [subject for index, one in enumerate(listed) for subject in _subjects_in(index, one)]
    return sorted(found, key=lambda subject: subject.order)


def _subjects_in(index: int, given: Any) -> Iterator[Subject]:
    if isinstance(given, VirtualModule):
        given = given.schema
    if isinstance(given, _Schema):
        for table in tables_of(given.connection, given.database):
            if file_attributes(table.heading):
                yield _subject(index, table, is_table_of_schema=True)
    else:
        yield _subject(index, query_of(given))


def _subject(index: int, query: Any, *, is_table_of_schema: bool = False) -> Subject:
    names = file_attributes(query.heading)
    origins = tuple(_origin(query, name) for name in names)
    title = ", ".join(sorted({table for table, _ in origins}))
    name = f"{query.database}.{query.table_name}" if is_table_of_schema else title
    return Subject(index, name, title, is_table_of_schema, Listing(query, names), origins, pipeline_of(query))


def _origin(query: Any, name: str) -> Origin:
    """Look through joins and projections for the table that has the attribute."""
    original = query.heading[name].original_name
    if isinstance(query, Table):
        return table_name(query), original
    for support in query.support:
        inner = FreeTable(query.connection, support) if isinstance(support, str) else support
        if original in file_attributes(inner.heading):
            return _origin(inner, original)
    return "query", name


def position_text(index: int, name: str, key: Key | None) -> str:
    """Return the text that says: go on in this subject behind *key*, or at its beginning."""
    return json.dumps({"part": index, "table": name, "key": None if key is None else key_to_json(key)})
