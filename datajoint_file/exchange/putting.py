"""Insertion of rows of an export, with what is said of them: their tags, and who once inserted their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datajoint_file.exchange.about import About
from datajoint_file.exchange.tables import Rows
from datajoint_file.exchange.values import Written
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.source_table import Call
from datajoint_file.journal.sources import note_sources, sources_given
from datajoint_file.journal.transactions import own_transaction
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.sql.tag_table import TagTable


@dataclass(slots=True)
class Judged:
    """Some rows of an export, without those that are left out, and what is said of them."""

    new: list[Written] = field(default_factory=list)
    present: list[Written] = field(default_factory=list)
    about: list[tuple[Written, About]] = field(default_factory=list)  # of new rows; of present ones, if it is a tag


def put(rows: Rows, values: Sequence[Any], judged: Judged, tags: TagTable | None, importer: Mapping[str, Any]) -> None:
    """Insert the new rows, by what an insert takes for them, and put tags on those that are there: one transaction."""
    if not judged.about:
        if values:
            rows.table.insert(values)
        return
    with own_transaction(rows.table.connection):
        if values:
            with sources_given():
                rows.table.insert(values)
            _note_sources(rows, judged, importer)
        if tags:
            rows.put_tags(tags, ((key, tag) for key, about in judged.about for tag in about.tags))


def _note_sources(rows: Rows, judged: Judged, importer: Mapping[str, Any]) -> None:
    """Note who inserted the files of new rows, as the export says; of those that it says nothing of, the importer."""
    connection, schema, names = rows.table.connection, rows.table.database, rows.description.files
    if not names or not pipeline_of(connection, schema).settings.provenance.enabled:
        return
    said = {rows.key_of(key): about.provenance for key, about in judged.about}
    calls: dict[str, tuple[Call | None, list[FileMetadata]]] = {}
    for row in rows.under(judged.new):
        known = said.get(rows.key_of(row), {})
        for name in names:
            if row[name] is not None:
                call = known[name].as_call(importer) if name in known else None
                calls.setdefault(repr(call), (call, []))[1].append(row[name])
    for call, files in calls.values():
        note_sources(connection, schema, files, call)
