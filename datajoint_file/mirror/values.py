"""Stored values of a project: what waits for a row, what rows name and what histories keep, as it was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from datajoint.errors import MissingTableError

from datajoint_file.hooks.targets import targets_named
from datajoint_file.journal.history_table import HistoryTable
from datajoint_file.journal.intent_table import Intents
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.sql import Rows
from datajoint_file.verification.findings import where_of
from datajoint_file.verification.own_schemas import schemas_of_pipeline
from datajoint_file.verification.subjects import QueryRow, is_schema, subjects_of
from datajoint_file.verification.verification import FileValue

Fault = tuple[str, str]
"""Where a value is that cannot be used, and why."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One value: what was recorded of it, and the row that names it; none, if it is staged, or a history keeps it."""

    metadata: FileMetadata
    value: FileValue | None = None
    row: QueryRow | None = None

    @property
    def where(self) -> str:
        """Table, attribute and primary key of its row, on one line."""
        return "" if self.value is None or self.row is None else where_of(self.value, self.row.key())


def values_of(connection: Any, project: str, names: Sequence[str] = ()) -> Iterator[Stored | Fault]:
    """Give what is stored of *project*: all, or that of some schemas and tables; several times where rows share it.

    What was staged for schemas first, then rows of tables, then what was removed from rows of schemas and is kept yet:
    so that what goes on from one to the next meanwhile is met. A page at a time.

    Raises
    ------
    LookupError
        If there is no schema or table of a name, or none has files of the project.
    DataJointError
        If the database does not answer.
    """
    targets = targets_named(names or schemas_of_pipeline(connection), connection)
    schemas = tuple(dict.fromkeys(target.database for target in targets if is_schema(target)))
    second = second_connection_of(connection)
    for schema in schemas:
        with suppress(MissingTableError):  # it has no journal
            yield from _kept(Intents(second, schema).stored, project)
    for target in targets:
        yield from _of_rows(target, project)
    for schema in schemas:
        with suppress(MissingTableError):  # nothing was ever removed from it
            yield from _kept(HistoryTable(second, schema).kept_files, project)


def _of_rows(target: Any, project: str) -> Iterator[Stored | Fault]:
    for subject in subjects_of(target):
        for row in subject.rows(None):
            for value in row.values:
                if value.metadata is None:
                    yield where_of(value, row.key()), value.fault
                elif _is_stored(value.metadata, project):
                    yield Stored(value.metadata, value, row)


def _kept(page_after: Callable[[int], Rows], project: str) -> Iterator[Stored]:
    """Give what pages of a number and metadata name. What cannot be understood, nobody could make a row of either."""
    last = 0
    while page := page_after(last):
        for last, *_, text in page:  # noqa: B007 - the last number is where to go on
            with suppress(ValueError, RecursionError):
                metadata = FileMetadata.from_json(json.loads(text))
                if _is_stored(metadata, project):
                    yield Stored(metadata)


def _is_stored(metadata: FileMetadata, project: str) -> bool:
    """Tell whether something of a value is stored in the project; of a linked directory its manifest is."""
    return metadata.project == project and not metadata.is_link
