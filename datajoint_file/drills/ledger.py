"""Ledger of a drill: what the copy of the store has, and what the dump names, in a temporary SQLite file.

So a million objects need no more memory than a thousand.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path

from datajoint_file.concurrency.progress import Advance
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import MANIFEST, proof_key, value_key
from datajoint_file.model.wording import counted
from datajoint_file.storage.backend import ObjectStat
from datajoint_file.verification.check_object import Problem, missing
from datajoint_file.verification.findings import Kind

_BATCH = 5_000
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -32768;  -- KiB
CREATE TABLE object (key BLOB PRIMARY KEY, size INTEGER NOT NULL, files INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE named (key BLOB PRIMARY KEY) WITHOUT ROWID;
"""


class Ledger:
    """What a copy has by size, a directory's files added up, and which paths the rows of a dump name."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(_TABLES)
        self._waiting: list[tuple[bytes]] = []
        self.objects = 0
        self.bytes = 0
        self.newest: datetime | None = None  # when an object was stored, as far as the copy tells

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add_objects(self, listed: Iterable[ObjectStat], advance: Advance) -> None:
        """Take in what a store lists."""
        listed = iter(listed)
        sql = (
            "INSERT INTO object VALUES (?, ?, 1) "
            "ON CONFLICT (key) DO UPDATE SET size = size + excluded.size, files = files + 1"
        )
        while page := list(islice(listed, _BATCH)):
            self._database.execute("BEGIN")
            self._database.executemany(sql, [(_digest(_whose(found.key)), found.size) for found in page])
            self._database.execute("COMMIT")
            self.objects += len(page)
            self.bytes += sum(found.size for found in page)
            moments = [found.modified for found in page if found.modified is not None]
            self.newest = max([*moments, *([self.newest] if self.newest else [])], default=None)
            advance(len(page))

    def problem_of(self, metadata: FileMetadata) -> Problem | None:
        """Compare a stored value with what was listed: whether it is there, and whether its size is right."""
        if self._object(proof_key(metadata.path)) is None:
            return missing(metadata)
        if metadata.linked:  # of a linked directory the copy has the manifest, and that is there
            return None
        size, files = self._object(metadata.path) or (0, 0)
        expected = (metadata.size, 1 if metadata.files is None else metadata.files)
        if (size, files) == expected:
            return None
        kind: Kind = "size" if size <= metadata.size or metadata.files is None else "extra"
        return Problem(kind, _said(metadata, *expected), _said(metadata, size, files))

    def _object(self, key: str) -> tuple[int, int] | None:
        found = self._database.execute("SELECT size, files FROM object WHERE key = ?", (_digest(key),)).fetchone()
        return None if found is None else (int(found[0]), int(found[1]))

    def name(self, path: str) -> None:
        """Take note that a row of the dump names an object."""
        self._waiting.append((_digest(path),))
        if len(self._waiting) >= _BATCH:
            self._flush()

    def is_named(self, path: str) -> bool:
        """Tell whether a row of the dump names an object."""
        self._flush()
        return bool(self._database.execute("SELECT 1 FROM named WHERE key = ?", (_digest(path),)).fetchone())

    def _flush(self) -> None:
        if self._waiting:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR IGNORE INTO named VALUES (?)", self._waiting)
            self._database.execute("COMMIT")
            self._waiting.clear()


def _whose(key: str) -> str:
    """Return what an object is of. What else is beside a directory does not stand for its manifest."""
    place = value_key(key)
    return key if place.endswith(f"/{MANIFEST}") else place


def _said(metadata: FileMetadata, size: int, files: int) -> str:
    return f"{size} bytes" if metadata.files is None else f"{counted(files, 'file')} of {size} bytes"


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
