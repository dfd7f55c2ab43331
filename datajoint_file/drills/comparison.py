"""Comparison of a dump with the live database: what is there by now that the dump lacks.

It goes by the paths in rows, no two of which are equal, so that clocks take no part.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from datajoint_file.concurrency.progress import Advance
from datajoint_file.drills.ledger import Ledger
from datajoint_file.drills.rows import Database, Unread
from datajoint_file.drills.tally import Span


@dataclass(slots=True)
class Since:
    """What the live database has, and the dump does not."""

    rows: dict[tuple[str, str], int] = field(default_factory=dict)  # of each table that matters, all that it has
    lost: dict[str, Span] = field(default_factory=dict)  # by table: files that the dump does not name
    schemas: dict[str, bool] = field(default_factory=dict)  # and whether rows there have files of the project
    unread: list[Unread] = field(default_factory=list)
    is_partial: bool = False  # there may be schemas that this user does not see

    @property
    def total(self) -> Span:
        """All files that would be lost."""
        total = Span()
        for span in self.lost.values():
            total.files += span.files
            total.size += span.size
            total.oldest = min(filter(None, (total.oldest, span.oldest)), default=None)
            total.newest = max(filter(None, (total.newest, span.newest)), default=None)
        return total


def compare(live: Database, ledger: Ledger, project: str, known: Collection[str], advance: Advance) -> Since:
    """Read the live database, and say what a dump, whose rows are in *ledger*, lacks of it.

    Rows are counted in the schemas that are *known* to matter, and in those that have files of the project.
    """
    since = Since()
    since.schemas = dict.fromkeys(live.schemas, False)
    for subject in live.subjects():
        for row in live.rows(subject):
            advance(1)
            for value in row.values:
                metadata = value.metadata
                if metadata is None or (metadata.project != project and not metadata.is_link):
                    continue
                since.schemas[subject.schema] = True
                if not ledger.is_named(metadata.path):
                    since.lost.setdefault(value.table, Span()).add(metadata)
    with_files = {schema for schema, has_files in since.schemas.items() if has_files}
    for schema, table, count in live.counts({*known, *with_files}):
        since.rows[schema, table] = count
    since.unread, since.is_partial = live.unread, live.hides_schemas
    return since
