"""Ledger of the values that a run has been through, on disk: what there is of each place, without a copy in memory."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from datajoint_file.model.metadata import FileMetadata
from datajoint_file.verification.mend import Holding


@dataclass(frozen=True, slots=True)
class Sum:
    """What one place has: values, files (with those of directories), size, and a digest over the sorted digests."""

    place: str
    values: int
    files: int
    size: int
    digest: str


def is_alike(one: Sum, other: Sum) -> bool:
    """Tell whether two places have the same."""
    return replace(one, place=other.place) == other


class Ledger:
    """Values, each once: two rows that say different things of one object are two. For one thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE value (number INTEGER PRIMARY KEY, value TEXT UNIQUE, hash TEXT, fine INT)")
        database.execute("CREATE TABLE found (side INT, number INT, files INT, size INT, PRIMARY KEY (number, side))")

    def add(self, metadata: FileMetadata) -> bool:
        """Note a value; tell whether it was not noted yet, or was not fine in both places."""
        row = _value(metadata), metadata.hash
        found = self._database.execute("SELECT fine FROM value WHERE value = ?", row[:1]).fetchone()
        if found is None:
            self._database.execute("INSERT INTO value (value, hash, fine) VALUES (?, ?, 0)", row)
        return found is None or not found[0]

    def settle(self, metadata: FileMetadata, holdings: Sequence[Holding], *, is_fine: bool) -> None:
        """Note what each place was found to have of a value, and whether nothing is left to do about it."""
        (number,) = self._database.execute("SELECT number FROM value WHERE value = ?", (_value(metadata),)).fetchone()
        self._database.execute("UPDATE value SET fine = ? WHERE number = ?", (is_fine, number))
        self._database.execute("DELETE FROM found WHERE number = ?", (number,))
        rows = [(side, number, found.files, found.size) for side, found in enumerate(holdings) if found.is_whole]
        self._database.executemany("INSERT INTO found VALUES (?, ?, ?, ?)", rows)

    def sum(self, side: int, place: str) -> Sum:
        """Return what one place has, the first (0) or the second (1). SQLite sorts on disk what is much."""
        values, files, size = self._database.execute(
            "SELECT COUNT(*), COALESCE(SUM(files), 0), COALESCE(SUM(size), 0) FROM found WHERE side = ?", (side,)
        ).fetchone()
        digest = hashlib.sha256()
        sql = "SELECT hash FROM found JOIN value USING (number) WHERE side = ? ORDER BY hash"
        for (hash_,) in self._database.execute(sql, (side,)):
            digest.update(f"{hash_}\n".encode())
        return Sum(place, values, files, size, f"sha256:{digest.hexdigest()}")


def _value(metadata: FileMetadata) -> str:
    return f"{metadata.path}\n{metadata.hash}\n{metadata.size}"


@contextmanager
def ledger() -> Iterator[Ledger]:
    """Give an empty ledger, which goes with the block."""
    with closing(sqlite3.connect("", isolation_level=None)) as database:  # a temporary file, as soon as it is large
        yield Ledger(database)
