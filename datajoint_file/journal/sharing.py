"""Sharing of stored objects: a row that is going to name an object which another has, or had, without a byte moving.

Only what this server proves to be ours is shared: an entry of a history or a row, committed, describes the very object.
The intent is noted first, so that a collector at work sees it; then the histories are read, and whoever finds that the
collector has decided about the object leaves it alone; then the object itself is looked at.

That a collector only asks is taken back. Its run condemns what still is as it was when it said that it asks, and all
entries of an object or none of it is deleted: taken back before, that fails; after, this finds that it is condemned.
A run that asks again, or only now, reads the intents after that, and among them this one, or the row.

An entry counts for the objects of its own schema, and for those of a schema that is gone, as for the collector; and for
who shares, the entries of the schema that the row is in. In this order: what a schema says outweighs the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

from datajoint.errors import AccessError, DataJointError, MissingTableError

from datajoint_file.errors import DataJointFileError, StorageError
from datajoint_file.hooks.tables import class_name
from datajoint_file.journal.history_table import CHECKING, KEPT, HistoryTable
from datajoint_file.journal.history_table import TABLE as HISTORY
from datajoint_file.journal.journal import Journal, JournalEntry
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import (
    Cell,
    directory_of,
    is_candidate,
    is_of_schema,
    names_attribute,
    schema_named_by,
)
from datajoint_file.pipeline.manifests import difference, prove_part
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.sql import Column, Rows
from datajoint_file.sql.path_lookup import documents_among

_Index = TypeVar("_Index")


@dataclass(frozen=True, slots=True)
class Shared:
    """What became of stored files that are to be inserted again, by whatever they were asked under."""

    claims: Mapping[Any, JournalEntry]  # on objects that are shared: rows may name them once these are claimed
    known: frozenset[Any]  # what is not shared, and is as it is described all the same


def prove_parts(
    journal: Journal, pipeline: Pipeline, table_name: str, wanted: Mapping[_Index, tuple[Cell, FileMetadata]]
) -> frozenset[_Index]:
    """Return which files of stored directories, and which directories in them, are what they are said to be.

    That says the manifest of a directory which somebody has, or had. They are copied, and no intent is noted for them.
    """
    wholes = {index: (cell, replace(found, path=directory_of(found.path))) for index, (cell, found) in wanted.items()}
    described, contents, _ = _claimed(journal, table_name, wholes) if wanted else (set(), {}, {})
    sure = {found.path: found for found in described if found.is_directory and len(contents[found.path]) == 1}
    proven = set()
    for index, (_, part) in wanted.items():
        with suppress(DataJointFileError):
            if (whole := sure.get(directory_of(part.path))) and prove_part(pipeline, whole, part):
                proven.add(index)
    return frozenset(proven)


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
        return not difference(pipeline, metadata)
    return False


def _proven(
    journal: Journal, table_name: str, asked: Mapping[_Index, tuple[Cell, FileMetadata]]
) -> tuple[set[_Index], set[str]]:
    """Return which of the objects somebody has, or had, as they are described, and the paths that must be left alone.

    Not if others describe the same object otherwise.
    """
    described, contents, barred = _claimed(journal, table_name, asked)
    proven = {
        index for index, (_, metadata) in asked.items() if metadata in described and len(contents[metadata.path]) == 1
    }
    return proven, barred


def _claimed(
    journal: Journal, table_name: str, asked: Mapping[_Index, tuple[Cell, FileMetadata]]
) -> tuple[set[FileMetadata], _Contents, set[str]]:
    """Return how rows and entries describe the objects, what they say is in them, and which must be left alone."""
    second = journal.intents.second
    paths = sorted({metadata.path for _, metadata in asked.values()})
    described, contents, barred = _in_histories(second, journal.schema, paths)
    unproven = [(cell, metadata) for cell, metadata in asked.values() if metadata not in described]
    for name, attribute, some in _homes(second, journal.schema, table_name, unproven):
        with suppress(AccessError, MissingTableError):
            for found in _described(documents_among(second.query, second.dialect, name, attribute, some)):
                described.add(found)
                contents.setdefault(found.path, set()).add((found.size, found.hash))
    return described, contents, barred


_Contents = dict[str, set[tuple[int, str]]]
"""Sizes and hashes that are said of objects, by their paths."""


def _in_histories(
    second: SecondConnection, schema: str, paths: Sequence[str]
) -> tuple[set[FileMetadata], _Contents, set[str]]:
    """Return how entries describe the objects, what they say is in them, and which paths must be left alone."""
    described, contents, is_barred = set[FileMetadata](), _Contents(), dict[str, bool]()
    for books in _books(second, schema, paths):
        said, states = _Contents(), dict[str, bool]()
        for book, some in books.items():
            found = _found(HistoryTable(second, book), some)
            for path, state, _ in found:
                states[path] = states.get(path, False) or state != KEPT
            for one in _described(text for _, _, text in found if text):
                described.add(one)
                said.setdefault(one.path, set()).add((one.size, one.hash))
        contents, is_barred = said | contents, states | is_barred
    return described, contents, {path for path, is_so in is_barred.items() if is_so}


def _books(second: SecondConnection, schema: str, paths: Sequence[str]) -> Sequence[Mapping[str, list[str]]]:
    """Return whose entries count for which objects: those of its own schema, then of *schema*, then of all others."""
    names = [name for name, _ in second.dialect.tables_named(second.query, (HISTORY,))]
    presence = lru_cache(partial(second.dialect.presence, second.query))
    own, here, others = (dict[str, list[str]]() for _ in range(3))
    for path in paths:
        homes = [name for name in names if is_of_schema(path, name)]
        home = schema_named_by(path)  # of a long name only the beginning, which says nothing
        is_gone = not homes and is_of_schema(path, home) and presence(home) == "gone"
        for name in names:
            if name in homes:
                own.setdefault(name, []).append(path)
            elif name == schema or is_gone:
                (here if name == schema else others).setdefault(name, []).append(path)
    return own, here, others


def _found(history: HistoryTable, paths: Sequence[str]) -> Rows:
    """Return path, state and metadata of the entries of some objects, about which no collector asks any more.

    Raises
    ------
    DataJointFileError
        If somebody has the table locked.
    """
    try:
        found = history.by_path(paths)
        if asked := sorted({path for path, state, _ in found if state == CHECKING}):
            with suppress(AccessError):
                history.hold(asked)
            found = history.by_path(paths)
    except DataJointError:  # whose it is not to read, or another thing: it proves nothing
        return []
    except Exception as error:
        if not history.dialect.is_timeout(error):
            raise
        raise DataJointFileError(
            f"the history of schema {history.schema} is locked, so that nobody can tell whether a stored file may be "
            "used again. No row was written. Try again when whoever alters or drops tables there is done"
        ) from error
    return found


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
