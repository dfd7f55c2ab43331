"""Sharing of stored objects: a row that is going to name an object which another has, or had, without a byte moving.

Only what this server proves to be ours is shared: an entry of a history or a row, committed, describes the very object.
The intent is noted first, so that a collector at work sees it; then the histories are read, and whoever finds that the
collector asks about the object, or has decided, leaves it alone; then the object itself is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from datajoint.errors import AccessError, DataJointError, MissingTableError

from datajoint_file.errors import DataJointFileError, StorageError
from datajoint_file.hooks.tables import class_name
from datajoint_file.journal.history_table import KEPT, HistoryTable
from datajoint_file.journal.history_table import TABLE as HISTORY
from datajoint_file.journal.journal import Journal, JournalEntry
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell, is_candidate, names_attribute, schema_named_by
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.sql import Column
from datajoint_file.sql.path_lookup import documents_among

_Index = TypeVar("_Index")


@dataclass(frozen=True, slots=True)
class Shared:
    """What became of stored files that are to be inserted again, by whatever they were asked under."""

    claims: Mapping[Any, JournalEntry]  # on objects that are shared: rows may name them once these are claimed
    known: frozenset[Any]  # what is not shared, and is as it is described all the same


def share(
    journal: Journal, pipeline: Pipeline, table_name: str, wanted: Mapping[_Index, tuple[Cell, FileMetadata]]
) -> Shared:
    """Claim those objects that can be shared."""
    asked = {index: value for index, value in wanted.items() if is_candidate(pipeline.project, value[1].path)}
    if not asked:
        return Shared({}, frozenset())
    entries = dict(zip(asked, journal.share(table_name, list(asked.values())), strict=True))
    noted = {index: entry for index, entry in entries.items() if entry.number}
    claims: dict[_Index, JournalEntry] = {}
    try:
        proven, barred = _proven(journal, table_name, asked)
        for index in proven & noted.keys():
            if asked[index][1].path not in barred and _is_whole(pipeline, asked[index][1]):
                claims[index] = noted[index]
    finally:
        journal.give_up([entry for index, entry in noted.items() if index not in claims])
    return Shared(claims, frozenset(proven - claims.keys()))


def _is_whole(pipeline: Pipeline, metadata: FileMetadata) -> bool:
    with suppress(StorageError, DataJointFileError):
        return pipeline.backend.stat(metadata.path).size == metadata.size
    return False


def _proven(
    journal: Journal, table_name: str, asked: Mapping[_Index, tuple[Cell, FileMetadata]]
) -> tuple[set[_Index], set[str]]:
    """Return which of the objects somebody has, or had, as they are described, and the paths that must be left alone.

    Not if others describe the same object otherwise.
    """
    second = journal.intents.second
    described, barred = _in_histories(second, sorted({metadata.path for _, metadata in asked.values()}))
    unproven = [(cell, metadata) for cell, metadata in asked.values() if metadata not in described]
    for name, attribute, some in _homes(second, journal.schema, table_name, unproven):
        with suppress(AccessError, MissingTableError):
            described |= set(_described(documents_among(second.query, second.dialect, name, attribute, some)))
    contents: dict[str, set[tuple[int, str]]] = {}
    for found in described:
        contents.setdefault(found.path, set()).add((found.size, found.hash))
    proven = {
        index for index, (_, metadata) in asked.items() if metadata in described and len(contents[metadata.path]) == 1
    }
    return proven, barred


def _in_histories(second: SecondConnection, paths: Sequence[str]) -> tuple[set[FileMetadata], set[str]]:
    """Return how entries of all schemas describe the objects, and the paths of those that must be left alone."""
    described, barred = set[FileMetadata](), set[str]()
    for schema, _ in second.dialect.tables_named(second.query, (HISTORY,)):
        with suppress(DataJointError):  # whose it is not to read, or another thing; all of them say what is asked about
            found = HistoryTable(second, schema).by_path(paths)
            barred |= {path for path, state, _ in found if state != KEPT}
            described |= set(_described(text for _, _, text in found if text))
    return described, barred


def _homes(
    second: SecondConnection, schema: str, table_name: str, unproven: Sequence[tuple[Cell, FileMetadata]]
) -> Iterator[tuple[str, str, list[str]]]:
    """Give the tables and attributes, quoted and not, whose rows are asked for some paths: where each was stored for.

    And where it is going to be named. What a row elsewhere names is copied; searching the whole server would cost more.
    """
    wanted: dict[tuple[str, str, str], list[str]] = {}
    for cell, metadata in unproven:
        wanted.setdefault((schema, table_name, cell.attribute), []).append(metadata.path)
    by_schema: dict[str, list[str]] = {}
    for _, metadata in unproven:
        by_schema.setdefault(schema_named_by(metadata.path), []).append(metadata.path)
    for home, paths in by_schema.items():
        columns: dict[str, list[Column]] = {}
        with suppress(AccessError, MissingTableError):  # dropped, or not this user's: it proves nothing
            tables = [name for name, *_ in second.query(second.adapter.list_tables_sql(home))]
            columns = second.dialect.columns(second.query, home, tables) if tables else {}
        for table, some in columns.items():
            for column in some:
                named = [
                    path for path in paths if column.is_file and names_attribute(path, class_name(table), column.name)
                ]
                if named:
                    wanted.setdefault((home, table, column.name), []).extend(named)
    for (home, table, attribute), paths in wanted.items():
        yield second.dialect.quoted(home, table), attribute, sorted(set(paths))


def _described(texts: Any) -> Iterator[FileMetadata]:
    for text in texts:
        with suppress(DataJointFileError, ValueError, TypeError):  # whatever it is, it proves nothing
            yield FileMetadata.from_json(json.loads(text))
