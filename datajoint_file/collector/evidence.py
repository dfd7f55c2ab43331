"""Sets of evidence of a run: intents, history entries, references, listed objects, and what follows from them.

Kept in a temporary SQLite file, so that a million objects need no more memory than a thousand. It judges nothing but by
its views, which say in SQL what may be deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NoReturn

from datajoint_file.journal.intent_table import batches
from datajoint_file.model.object_keys import proof_key, write_id_of

_BATCH = 5_000

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;  -- KiB

CREATE TABLE object (key TEXT PRIMARY KEY, size INTEGER NOT NULL, is_ours INTEGER NOT NULL, stored REAL)
    WITHOUT ROWID;
CREATE TABLE reference (key TEXT PRIMARY KEY, origin TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE mention (write_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE intent (key TEXT, home TEXT, number INTEGER, size INTEGER NOT NULL, due INTEGER NOT NULL,
    PRIMARY KEY (key, home, number)) WITHOUT ROWID;
CREATE TABLE entry (key TEXT, home TEXT, number INTEGER, size INTEGER NOT NULL, expired INTEGER NOT NULL,
    due INTEGER NOT NULL, cell TEXT NOT NULL, is_final INTEGER NOT NULL, is_own INTEGER NOT NULL,
    PRIMARY KEY (key, home, number)) WITHOUT ROWID;

CREATE VIEW live AS SELECT key, size, home FROM intent WHERE NOT due;
CREATE VIEW removed AS SELECT key, MAX(size) AS size, MIN(home) AS home, MIN(expired) AS expired, MIN(due) AS due,
    MAX(is_own) AS is_own, MIN(cell LIKE '..%') AS is_unknown FROM entry
    WHERE key NOT IN (SELECT key FROM reference) AND key NOT IN (SELECT key FROM live)
    GROUP BY key;

CREATE VIEW reclaim AS SELECT key, MAX(size) AS size, MIN(home) AS home FROM intent
    WHERE due AND key NOT IN (SELECT key FROM reference) AND key NOT IN (SELECT key FROM live)
    AND key NOT IN (SELECT key FROM entry WHERE NOT due) AND key NOT IN (SELECT key FROM purge) GROUP BY key;
CREATE VIEW purge AS SELECT key, size, home FROM removed WHERE due AND is_own;
CREATE VIEW expire AS SELECT key, size, home FROM removed WHERE expired AND NOT due AND is_own;
CREATE VIEW wait AS SELECT key, size, home FROM removed WHERE NOT expired AND NOT due AND NOT is_unknown;
CREATE VIEW noted AS SELECT key, size, home FROM removed WHERE NOT expired AND NOT due AND is_unknown;

CREATE VIEW listed AS SELECT key, size, '' AS home FROM object WHERE is_ours;
CREATE VIEW "foreign" AS SELECT key, size, '' AS home FROM object WHERE NOT is_ours;
CREATE VIEW referenced AS SELECT key, 0 AS size, origin AS home FROM reference;
CREATE VIEW unknown AS SELECT key, size, '' AS home FROM object WHERE is_ours AND key NOT IN (SELECT key FROM reference)
    AND key NOT IN (SELECT key FROM intent) AND key NOT IN (SELECT key FROM entry WHERE is_own OR NOT expired)
    AND key NOT IN (SELECT proof_key(key) FROM (SELECT key FROM reference UNION ALL SELECT key FROM intent UNION ALL
        SELECT key FROM entry WHERE is_own OR NOT expired) WHERE key LIKE '%/');
CREATE VIEW missing AS SELECT * FROM referenced WHERE home <> '' AND proof_key(key) NOT IN (SELECT key FROM object);
"""

_TAKE_MENTIONS = """
INSERT OR IGNORE INTO reference SELECT key, '' FROM
    (SELECT key FROM entry UNION SELECT key FROM intent UNION SELECT key FROM object WHERE is_ours)
    WHERE write_id_of(key) IN (SELECT write_id FROM mention)
"""
_KEEP_VERSIONS = """
WITH latest AS (SELECT home, cell, key, MAX(number) AS number FROM entry
    WHERE NOT is_final AND key NOT IN (SELECT key FROM reference) GROUP BY home, cell, key),
ranked AS (SELECT key, ROW_NUMBER() OVER (PARTITION BY home, cell ORDER BY number DESC) AS place FROM latest)
UPDATE entry SET expired = 0, due = 0 WHERE NOT is_final AND key IN (SELECT key FROM ranked WHERE place <= ?)
"""


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

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.count + other.count, self.size + other.size)


NOTHING = Amount()


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One member of a set."""

    key: str
    size: int  # bytes as stored, or as expected; 0 where unknown
    home: str  # the schema in whose table it is noted; of a missing object, the attribute that refers to it
    stored: datetime | None = None  # when, by the store's clock, if the store was listed


class Evidence:
    """Sets of object keys on disk. One thread at a time; removed when closed, or when nobody holds it any more."""

    def __init__(self) -> None:
        # No name: a file that SQLite makes when memory does not do, and that is gone with the connection.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for function in (write_id_of, proof_key):
            self._database.create_function(function.__name__, 1, function, deterministic=True)
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

    def add_objects(self, found: Iterable[tuple[str, int, bool, float | None]]) -> None:
        """Add what was listed: keys, sizes, whether it is an object that an insert has made, and when it was stored.

        The members of a directory are added under its key, and count as one, stored when the last was.
        """
        known = "size = excluded.size + size * (key LIKE '%/'), stored = MAX(stored, excluded.stored)"
        self._add(f"INSERT INTO object VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET {known}", found)

    def add_references(self, found: Iterable[tuple[str, str]]) -> None:
        """Add referenced keys, and which attribute refers to them; empty where a key is only noted: it may be wrong."""
        known = "ON CONFLICT (key) DO UPDATE SET origin = MAX(origin, excluded.origin)"
        self._add(f"INSERT INTO reference VALUES (?, ?) {known}", found)

    def add_intents(self, found: Iterable[tuple[str, str, int, int, bool]]) -> None:
        """Add intents: key, schema, number, size, and whether its lease ended longer ago than the grace."""
        self._add("INSERT OR IGNORE INTO intent VALUES (?, ?, ?, ?, ?)", found)

    def add_entries(self, found: Iterable[tuple[str, str, int, int, bool, bool, str, bool, bool]]) -> None:
        """Add history entries.

        Key, schema, number, size, whether its retention is over, whether it may go now, which cell had it, whether
        that it goes is decided already, and whether it stands where it makes a candidate: elsewhere it only keeps.
        """
        self._add("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", found)

    def add_mentions(self, write_ids: Iterable[str]) -> None:
        """Add what may be the write ids of objects that some text names."""
        self._add("INSERT OR IGNORE INTO mention VALUES (?)", ((write_id,) for write_id in write_ids))

    def close_references(self, versions: int) -> None:
        """Take what is mentioned for referenced, and keep the last *versions* objects of each cell besides."""
        if self._database.execute("SELECT 1 FROM mention LIMIT 1").fetchone():
            self._database.execute(_TAKE_MENTIONS)
        self._database.execute(_KEEP_VERSIONS, (versions,))

    def items(self, name: str) -> Iterator[ObjectRecord]:
        """Give the members of a set, sorted by key.

        ``reclaim`` (uploads that were given up), ``purge``, ``expire``, ``wait`` (removed from all rows: may go now,
        its retention is over, is not over), ``noted`` (unknown, and kept for the grace); ``unknown`` (listed, nothing
        speaks of it), ``missing`` (referenced, not in the store), ``listed`` (by an insert), ``foreign`` (other files),
        ``referenced``, ``live`` (an intent, not due). What a row names, or a live intent, is in none of the first five.
        """
        sql = f'SELECT some.*, stored FROM "{name}" AS some LEFT JOIN object USING (key) ORDER BY key'
        for key, size, home, stored in self._database.execute(sql):
            moment = None if stored is None else datetime.fromtimestamp(stored, timezone.utc)
            yield ObjectRecord(key, size, home, moment)

    def has(self, name: str, key: str) -> bool:
        """Tell whether an object is in a set; ``removed`` is what entries are about, and no row or upload names."""
        return self._database.execute(f"SELECT 1 FROM {name} WHERE key = ?", (key,)).fetchone() is not None

    def amount(self, name: str) -> Amount:
        """Count a set."""
        count, size = self._database.execute(f'SELECT COUNT(*), SUM(size) FROM "{name}"').fetchone()
        return Amount(count, size or 0)

    def numbers(self, table: str, keys: Iterable[str], condition: str = "due") -> dict[str, dict[int, str]]:
        """Return the keys of the rows about *keys* in ``intent`` or ``entry``, by schema and number."""
        found: dict[str, dict[int, str]] = {}
        sql = f"SELECT home, number FROM {table} WHERE key = ? AND {condition}"
        for key in keys:
            for home, number in self._database.execute(sql, (key,)):
                found.setdefault(home, {})[number] = key
        return found

    def forget_notes(self) -> None:
        """Forget all but what was listed: it is read anew."""
        for table in ("reference", "mention", "intent", "entry"):
            self._database.execute(f"DELETE FROM {table}")

    def forget_reference(self, key: str) -> None:
        """Take a reference out: its object turned out to be newer than the listing."""
        self._database.execute("DELETE FROM reference WHERE key = ?", (key,))

    def _add(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        for batch in batches(rows, _BATCH):
            self._database.executemany(sql, batch)
