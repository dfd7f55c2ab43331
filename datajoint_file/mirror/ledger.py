"""Ledger of the values that a run has been through, on disk: what there is of each place, without a copy in memory."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from datajoint_file.model.metadata import FileMetadata


@dataclass(frozen=True, slots=True)
class Sum:
    """What one place has: values, files (with those of directories), size, and a digest over the sorted digests."""

    values: int
    files: int
    size: int
    digest: str


class Ledger:
    """Values by path, each once. For one thread."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE one (path TEXT PRIMARY KEY, hash TEXT, files INT, size INT, fine INT)")

    def add(self, metadata: FileMetadata) -> bool:
        """Note a value; tell whether it was not noted yet, or was not fine in both places."""
        row = (metadata.path, metadata.hash, 1 if metadata.files is None else metadata.files, metadata.size, 0)
        found = self._database.execute("SELECT fine FROM one WHERE path = ?", (metadata.path,)).fetchone()
        if found is None:
            self._database.execute("INSERT INTO one VALUES (?, ?, ?, ?, ?)", row)
        return found is None or not found[0]

    def settle(self, path: str) -> None:
        """Note that both places were found to have a value as its row says."""
        self._database.execute("UPDATE one SET fine = 1 WHERE path = ?", (path,))

    def sum(self) -> Sum:
        """Return what both places have."""
        values, files, size = self._database.execute(
            "SELECT COUNT(*), COALESCE(SUM(files), 0), COALESCE(SUM(size), 0) FROM one WHERE fine"
        ).fetchone()
        digest = hashlib.sha256()
        for (hash_,) in self._database.execute("SELECT hash FROM one WHERE fine ORDER BY hash"):
            digest.update(f"{hash_}\n".encode())
        return Sum(values, files, size, f"sha256:{digest.hexdigest()}")


@contextmanager
def ledger() -> Iterator[Ledger]:
    """Give an empty ledger, which goes with the block."""
    with closing(sqlite3.connect("", isolation_level=None)) as database:  # a temporary file, as soon as it is large
        yield Ledger(database)
