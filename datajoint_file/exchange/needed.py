"""Keys of rows that a slice needs, in a file on the disk: each once, however many rows depend on it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

_AT_ONCE = 500


class NeededKeys:
    """Keys by table. Nothing is found by its name: the file vanishes with the block that uses it."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a temporary file, as soon as it is large

    def __enter__(self) -> NeededKeys:
        self._database.execute("CREATE TABLE needed (of TEXT, key TEXT, PRIMARY KEY (of, key)) WITHOUT ROWID")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, table: str, keys: Iterable[dict[str, Any]]) -> None:
        """Note keys of a table, as an export has their values."""
        texts = ((table, json.dumps(key, sort_keys=True)) for key in keys)
        self._database.executemany("INSERT OR IGNORE INTO needed VALUES (?, ?)", texts)

    def of(self, table: str) -> Iterator[list[dict[str, Any]]]:
        """Give the keys of a table, some at a time."""
        found = self._database.execute("SELECT key FROM needed WHERE of = ? ORDER BY key", (table,))
        while some := [json.loads(text) for (text,) in islice(found, _AT_ONCE)]:
            yield some
