"""Sets of evidence of a scan: listed objects, intents, references, quarantine, and what follows from them.

Kept in a temporary SQLite file, so that a million objects need no more memory than a thousand. It judges nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from datajoint_file.journal.intent_table import batches

_BATCH = 5_000

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;  -- KiB

CREATE TABLE object (key TEXT PRIMARY KEY, size INTEGER NOT NULL, is_ours INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE reference (key TEXT PRIMARY KEY, origin TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE intent (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE abandoned (key TEXT PRIMARY KEY, size INTEGER NOT NULL, home TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE quarantined (key TEXT PRIMARY KEY, size INTEGER NOT NULL, home TEXT NOT NULL, due INTEGER NOT NULL)
    WITHOUT ROWID;

CREATE VIEW listed AS SELECT key, size, '' AS home FROM object WHERE is_ours;
CREATE VIEW "foreign" AS SELECT key, size, '' AS home FROM object WHERE NOT is_ours;
CREATE VIEW referenced AS SELECT key, 0 AS size, origin AS home FROM reference;
CREATE VIEW unused AS SELECT key, size FROM object
    WHERE is_ours AND key NOT IN (SELECT key FROM reference) AND key NOT IN (SELECT key FROM intent);
CREATE VIEW quarantine AS SELECT key, size, '' AS home FROM unused WHERE key NOT IN (SELECT key FROM quarantined);
CREATE VIEW purge AS SELECT unused.key AS key, unused.size AS size, home
    FROM quarantined JOIN unused ON unused.key = quarantined.key WHERE due;
CREATE VIEW waiting AS SELECT unused.key AS key, unused.size AS size, home
    FROM quarantined JOIN unused ON unused.key = quarantined.key WHERE NOT due;
CREATE VIEW "release" AS SELECT key, size, home FROM quarantined
    WHERE key IN (SELECT key FROM reference) OR key IN (SELECT key FROM intent);
CREATE VIEW gone AS SELECT key, size, home FROM quarantined
    WHERE key NOT IN (SELECT key FROM reference) AND key NOT IN (SELECT key FROM intent)
    AND key NOT IN (SELECT key FROM object);
CREATE VIEW missing AS SELECT * FROM referenced WHERE key NOT IN (SELECT key FROM object);
"""

_SET_ASIDE = "INSERT INTO quarantined VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET due = min(due, excluded.due)"


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of objects and their bytes.

    Parameters
    ----------
    count : int
        How many.
    size : int
        Bytes of all of them as stored, where known.
    """

    count: int = 0
    size: int = 0

    def __bool__(self) -> bool:
        return self.count > 0

    def plus(self, size: int) -> Amount:
        """Return the amount with one more object."""
        return Amount(self.count + 1, self.size + size)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.count + other.count, self.size + other.size)


NOTHING = Amount()


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One member of a set."""

    key: str
    size: int  # bytes as stored, or as expected; 0 where unknown
    home: str  # the schema in whose table it is noted; of a missing object, the attribute that refers to it


class Evidence:
    """Sets of object keys on disk. One thread at a time; removed when closed, or when nobody holds it any more."""

    def __init__(self) -> None:
        # No name: a file that SQLite makes when memory does not do, and that is gone with the connection.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def close(self) -> None:
        """Remove the file."""
        self._database.close()

    def __del__(self) -> None:
        if "_database" in self.__dict__:  # else it could not be made
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a plan of the collector holds in the process that made it, where its evidence is, and is neither pickled "
            "nor copied: execute it there, or plan again in the other process; plan.to_dict() gives its numbers"
        )

    def add_objects(self, found: Iterable[tuple[str, int, bool]]) -> None:
        """Add what was listed: keys, sizes, and whether it is an object that an insert has made."""
        self._add("INSERT OR REPLACE INTO object VALUES (?, ?, ?)", found)

    def add_references(self, found: Iterable[tuple[str, str]]) -> None:
        """Add referenced keys, and which attribute refers to them."""
        self._add("INSERT OR IGNORE INTO reference VALUES (?, ?)", found)

    def add_intents(self, keys: Iterable[str]) -> None:
        """Add keys that an upload, or a transaction that has not committed, still owns."""
        self._add("INSERT OR IGNORE INTO intent VALUES (?)", ((key,) for key in keys))

    def add_abandoned(self, items: Iterable[ObjectRecord]) -> None:
        """Add intents whose lease ended longer ago than the grace."""
        self._add("INSERT OR IGNORE INTO abandoned VALUES (?, ?, ?)", ((i.key, i.size, i.home) for i in items))

    def add_quarantined(self, items: Iterable[tuple[ObjectRecord, bool]]) -> None:
        """Add objects in quarantine, and whether their grace is over. Known twice, the later one counts."""
        self._add(_SET_ASIDE, ((item.key, item.size, item.home, due) for item, due in items))

    def items(self, name: str) -> Iterator[ObjectRecord]:
        """Give the members of a set, sorted by key.

        ``abandoned`` (intents to reclaim), ``quarantine`` (unreferenced, not yet set aside), ``waiting`` and ``purge``
        (set aside, the grace running or over), ``release`` (set aside and referenced again), ``gone`` (set aside, not
        in the store), ``missing`` (referenced, not in the store); ``listed`` (made by an insert), ``foreign`` (all else
        that was listed), ``referenced``.
        """
        for row in self._database.execute(f'SELECT key, size, home FROM "{name}" ORDER BY key'):
            yield ObjectRecord(*row)

    def amount(self, name: str) -> Amount:
        """Count a set."""
        count, size = self._database.execute(f'SELECT COUNT(*), SUM(size) FROM "{name}"').fetchone()
        return Amount(count, size or 0)

    def forget_reference(self, key: str) -> None:
        """Take a reference out: its object turned out to be newer than the listing."""
        self._database.execute("DELETE FROM reference WHERE key = ?", (key,))

    def _add(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        for batch in batches(rows, _BATCH):
            self._database.executemany(sql, batch)
