"""The tables every subject is tried on, declared on one connection after the other, and their rows by raw SQL.

They are the same for all subjects but for the type of their attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import datajoint as dj

from tests.torture.bare import Database, as_json

KEYS = {
    "Recording": ("subject", "session"),
    "Trace": ("subject", "session", "trace"),
    "Backup": ("subject", "session"),
    "Spectrum": ("subject", "session"),
    "Summary": ("subject", "session"),
    "Archive": ("subject", "session"),
}
ATTRIBUTES = {
    "Recording": ("data", "notes"),
    "Trace": ("data",),
    "Backup": ("data", "notes"),
    "Spectrum": ("data",),
    "Summary": ("data",),
    "Archive": ("data", "notes"),
}
_NAMES = {
    "Recording": "recording",
    "Trace": "recording__trace",
    "Backup": "backup",
    "Spectrum": "__spectrum",
    "Summary": "__summary",
    "Archive": "archive",
}
_CHILDREN_FIRST = ("Trace", "Spectrum", "Summary", "Backup", "Archive", "Recording")

_SESSION = """
subject : int32
session : int32
---
data : {attribute}
notes = null : {attribute}
"""


@dataclass
class Tables:
    """The tables as one connection has them.

    Attributes
    ----------
    computed : callable
        What ``make`` inserts for a key: ``computed(table, key)``.
    """

    by_name: dict[str, Any]
    computed: Callable[[Any, dict[str, int]], Any]

    def __getitem__(self, name: str) -> Any:
        return self.by_name[name]


def declare(main: Any, other: Any, attribute: str) -> Tables:
    """Declare the tables in two schemas of one connection."""
    tables = Tables({}, lambda table, key: None)
    session = _SESSION.format(attribute=attribute)

    class Recording(dj.Manual):  # type: ignore[misc]
        definition = session

        class Trace(dj.Part):  # type: ignore[misc]
            definition = f"-> master\ntrace : int32\n---\ndata : {attribute}"

    class Backup(dj.Manual):  # type: ignore[misc]
        definition = session

    class Archive(dj.Manual):  # type: ignore[misc]
        definition = session

    class Spectrum(dj.Computed):  # type: ignore[misc]
        definition = f"-> Recording\n---\ndata : {attribute}"

        def make(self, key: dict[str, int]) -> None:
            self.insert1({**key, "data": tables.computed(self, key)})

    class Summary(dj.Computed):  # type: ignore[misc]
        definition = f"-> Recording\n---\ndata : {attribute}"

        def make_fetch(self, key: dict[str, int]) -> tuple[Any, ...]:
            return (len(Recording() & key),)

        def make_compute(self, key: dict[str, int], count: int) -> tuple[Any, ...]:
            return (tables.computed(self, key),)

        def make_insert(self, key: dict[str, int], value: Any) -> None:
            self.insert1({**key, "data": value})

    context = {"Recording": Recording}
    for table in (Recording, Backup, Spectrum, Summary):
        tables.by_name[table.__name__] = main(table, context=context)
    tables.by_name["Trace"] = Recording.Trace
    tables.by_name["Archive"] = other(Archive, context=context)
    for table in tables.by_name.values():
        # Looked at once, before anything goes wrong: DataJoint passes over a connection that is lost while it reads the
        # lineage of attributes, and refuses to join that table from then on, in this process.
        _ = table().heading.attributes
    return tables


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row as the database has it: raw JSON of each file attribute, None for NULL."""

    table: str
    key: tuple[int, ...]
    values: dict[str, Any]


class RawTables:
    """The same tables by SQL of one's own.

    Parameters
    ----------
    database : Database
        The other door.
    main, other : str
        The two schemas.
    """

    def __init__(self, database: Database, main: str, other: str) -> None:
        self.database = database
        self.schemas = (main, other)
        self._query = " UNION ALL ".join(self._select(name) for name in KEYS)

    def name(self, table: str) -> str:
        return self.database.quoted(self.schemas[table == "Archive"], _NAMES[table])

    def _select(self, table: str) -> str:
        null = "CAST(NULL AS jsonb)" if self.database.is_postgresql else "NULL"
        columns = [*KEYS[table], *(["0"] if len(KEYS[table]) == 2 else []), "data"]
        columns.append("notes" if "notes" in ATTRIBUTES[table] else null)
        return f"SELECT '{table}', {', '.join(columns)} FROM {self.name(table)}"

    def rows(self) -> Iterator[StoredRow]:
        """Return all committed rows."""
        for table, subject, session, trace, *values in self.database.run(self._query):
            key = (subject, session, trace)[: len(KEYS[table])]
            yield StoredRow(table, key, dict(zip(ATTRIBUTES[table], map(as_json, values), strict=False)))

    def hidden_tables(self) -> list[tuple[str, str]]:
        """Return the tables that the package keeps for itself: schema and name."""
        found = ((schema, name) for schema in self.schemas for name in self.database.tables(schema))
        return [(schema, name) for schema, name in found if name.startswith("~file")]

    def clear(self, hidden: list[tuple[str, str]]) -> None:
        """Delete all rows."""
        names = [self.name(table) for table in _CHILDREN_FIRST] + [self.database.quoted(*pair) for pair in hidden]
        self.database.run("; ".join(f"DELETE FROM {name}" for name in names))
