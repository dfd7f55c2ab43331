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


Origin = tuple[str, str, str]
"""The table that an attribute of a query comes from, what the table calls it, as people write them, and its schema."""


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
    query: Any
    schema: str = ""  # whose table it is; empty if it is none, but a join or the like

    @property
    def order(self) -> tuple[int, str]:
        """What subjects are sorted by."""
        return self.index, self.name

    def rows(self, after: Key | None) -> Iterator[QueryRow]:
        """Give the rows behind *after* that have files."""
        return (QueryRow(self, raw) for raw in self.listing.rows(after))

    def rows_where(self, condition: str, after: Key | None = None) -> Iterator[QueryRow]:
        """Give those for which an SQL condition holds."""
        return (QueryRow(self, raw) for raw in self._where(condition).rows(after))

    def count_where(self, condition: str, after: Key | None = None) -> int:
        """Return how many values the ``file`` attributes have in these."""
        return self._where(condition).count(after)

    def _where(self, condition: str) -> Listing:
        return Listing(self.query & condition, self.listing.names)


class QueryRow:
    """One row: a `ListedRow`."""

    __slots__ = ("raw_key", "round", "subject", "values")

    def __init__(self, subject: Subject, raw: RawRow) -> None:
        self.subject = subject
        self.raw_key = raw.key
        self.round: dict[str, Any] = {}  # what tells in a position to which round of several runs it belongs
        self.values = tuple(
            _value(origin, name, text)
            for origin, name, text in zip(subject.origins, subject.listing.names, raw.texts, strict=True)
            if text is not None
        )

    @property
    def pipeline(self) -> Pipeline:
        """Where its objects are."""
        return self.subject.pipeline

    @property
    def connection(self) -> Any:
        """Where the row is."""
        return self.subject.listing.connection

    def key(self) -> dict[str, Any]:
        """Return its primary key."""
        return self.subject.listing.named(self.raw_key)

    def position(self) -> str:
        """Return where a later run goes on after this row."""
        return position_text(self.subject.index, self.subject.name, self.raw_key, **self.round)

    def still_names(self, value: FileValue) -> bool:
        """Ask the database whether the row is there yet and still names the object of *value*."""
        raw = self.subject.listing.again(self.raw_key)
        if raw is None:
            return False
        text = raw.texts[self.subject.listing.names.index(value.name)]
        return (
            text is not None
            and _value((value.table, value.attribute, value.schema), value.name, text).path == value.path
        )


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
    table, attribute, schema = origin
    return FileValue(table, attribute, name, path, metadata, fault, schema)


def subjects_of(subjects: Any) -> list[Subject]:
    """Return the subjects that `verify` was given, in the order in which they are checked.

    Raises
    ------
    UnsupportedValueError
        If something is neither a query nor a schema, or a query has no ``file`` attribute.
    ConfigurationError
        If the pipeline's configuration is missing or wrong.
    """
    listed = list(subjects) if isinstance(subjects, list | tuple) else [subjects]
    found = [subject for index, one in enumerate(listed) for subject in _subjects_in(index, one)]
    return sorted(found, key=lambda subject: subject.order)


def _subjects_in(index: int, given: Any) -> Iterator[Subject]:
    for query in queries_of(given):
        yield _subject(index, query, is_table_of_schema=is_schema(given))


def queries_of(given: Any) -> Iterator[Any]:
    """Give the tables with ``file`` attributes of a schema, or the query, or table, that was given.

    Raises
    ------
    TypeError
        If it is neither a query nor a schema.
    ValueError
        If a query has no ``file`` attribute.
    """
    if is_schema(given):
        schema = given.schema if isinstance(given, VirtualModule) else given
        yield from (table for table in tables_of(schema.connection, schema.database) if file_attributes(table.heading))
    else:
        yield query_of(given)


def is_schema(given: Any) -> bool:
    """Tell whether what was given is a schema, and not a query."""
    return isinstance(given, VirtualModule | _Schema)


def _subject(index: int, query: Any, *, is_table_of_schema: bool = False) -> Subject:
    names = file_attributes(query.heading)
    origins = tuple(origin_of(query, name) for name in names)
    title = ", ".join(sorted({table for table, *_ in origins}))
    name = f"{query.database}.{query.table_name}" if is_table_of_schema else title
    schema = query.database if isinstance(query, Table) else ""
    listing = Listing(query, names)
    return Subject(index, name, title, is_table_of_schema, listing, origins, pipeline_of(query), query, schema)


def origin_of(query: Any, name: str) -> Origin:
    """Look through joins and projections for the table that has the attribute; its schema is empty if there is none."""
    original = query.heading[name].original_name
    if isinstance(query, Table):
        return table_name(query), original, query.database
    for support in query.support:
        inner = FreeTable(query.connection, support) if isinstance(support, str) else support
        if original in file_attributes(inner.heading):
            return origin_of(inner, original)
    return "query", name, ""


def position_text(index: int, name: str, key: Key | None, **round_: Any) -> str:
    """Return the text that says: go on in this subject behind *key*, or at its beginning."""
    return json.dumps({"part": index, "table": name, "key": None if key is None else key_to_json(key), **round_})
