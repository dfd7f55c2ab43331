"""Open findings of earlier runs: looked at again before anything else, and kept until they are mended.

Mended is what was found sound at least as closely as it was found bad, what its row names no more, and what has no row.
A table that cannot be seen proves nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from datajoint.table import FreeTable

from datajoint_file.errors import brief
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.row_listing import key_from_json, key_to_json
from datajoint_file.model.wording import counted
from datajoint_file.sql import dialect_of
from datajoint_file.verification.budget import Budget
from datajoint_file.verification.check_object import Level, check_level
from datajoint_file.verification.findings import Finding
from datajoint_file.verification.records import CheckRecorder, levels_from
from datajoint_file.verification.subjects import QueryRow, Subject, subjects_of
from datajoint_file.verification.verification import FileValue, Verification

_WORKERS = 8

Identity = tuple[str, str, str, str]
"""Schema, table and attribute as the database calls them, and the key as JSON."""


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """One finding that has not been mended."""

    schema: str
    table: str  # as the database calls it
    key: list[Any]  # of the row, as `key_to_json` writes it
    level: Level  # at which it was found
    since: str  # when it was found first, by this machine's clock: ISO 8601, UTC
    finding: dict[str, Any]  # as plain values

    @property
    def identity(self) -> Identity:
        """What it is about."""
        return self.schema, self.table, self.finding["attribute"], json.dumps(self.key)


class OpenFindings:
    """All of them, by what they are about; those that were looked at last are last.

    Raises
    ------
    ValueError
        If the documents are not what `to_json` has given.
    """

    def __init__(self, documents: Sequence[dict[str, Any]] = ()) -> None:
        found = [_read(document) for document in documents]
        self._open = {one.identity: one for one in found}
        self._earlier = frozenset(self._open)
        self._seen: set[Identity] = set()

    def __iter__(self) -> Iterator[OpenFinding]:
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    @property
    def mended(self) -> int:
        """How many of those that were open at the beginning are so no more."""
        return len(self._earlier - self._open.keys())

    @property
    def summary(self) -> str:
        """What has become of those that were open at the beginning; empty if none was."""
        left = counted(len(self._earlier) - self.mended, "earlier problem")
        return f"{left} still not mended, {self.mended:,} mended since the last run" if self._earlier else ""

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain values, of which they can be made again."""
        return [asdict(one) for one in self]

    def settle(self, row: QueryRow, value: FileValue, finding: Finding | None, level: Level) -> bool:
        """Take note of what is known of a file now; tell whether that is a finding which was not open before."""
        schema, table = row.subject.query.database, row.subject.query.table_name
        identity = schema, table, value.attribute, json.dumps(key_to_json(row.raw_key))
        known = self._open.get(identity)
        if finding is not None:
            self._seen.add(identity)
            self._open.pop(identity, None)
            since = known.since if known else f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
            key = key_to_json(row.raw_key)
            self._open[identity] = OpenFinding(schema, table, key, level, since, finding.to_dict())
        elif known and (level in levels_from(known.level) or value.path != known.finding["path"]):
            del self._open[identity]
        return finding is not None and known is None

    def not_seen(self) -> list[OpenFinding]:
        """Return those that the run has not come across after it has looked at the open ones again."""
        return [one for one in self if one.identity not in self._seen]

    def look_again(self, connection: Any, budget: Budget, workers: int | None = None) -> Budget:
        """Examine what is open once more, as closely as it was, and forget what is mended; return the budget left.

        What the budget does not suffice for comes first next time.
        """
        groups: dict[tuple[str, str, Level], list[OpenFinding]] = {}
        for one in self:
            groups.setdefault((one.schema, one.table, one.level), []).append(one)
        for (schema, table, level), some in groups.items():
            if not budget.allows(0, 0):
                break
            start = time.monotonic()
            subject = self._subject(connection, schema, table, some)
            read = 0 if subject is None else self._examine(self._rows(subject, some), level, budget, workers)
            budget = budget.less(read, time.monotonic() - start)
        self._seen.clear()
        return budget

    def _examine(self, rows: Iterator[QueryRow], level: Level, budget: Budget, workers: int | None) -> int:
        """Examine, and return how many bytes were read."""
        recorder = CheckRecorder(level)

        def settled(row: QueryRow, value: FileValue, finding: Finding | None) -> None:
            recorder.settled(row, value, finding)
            self.settle(row, value, finding, level)

        verification = Verification(level, workers or _WORKERS, budget, settled=settled)
        try:
            verification.run(rows)
        finally:
            recorder.flush()
        return verification.bytes

    def _subject(self, connection: Any, schema: str, table: str, some: list[OpenFinding]) -> Subject | None:
        """Return the table; None if there is none, or if that is not known."""
        adapter = connection.adapter

        def query(sql: str, args: Any = ()) -> Any:
            """Ask without DataJoint, which translates the errors by which a schema is told to be gone."""
            with closing(adapter.get_cursor(connection._conn)) as cursor:
                cursor.execute(sql, args or None)
                return list(cursor.fetchall())

        presence = dialect_of(connection).presence(query, schema)
        if presence == "unreadable":
            return None
        names = connection.query(adapter.list_tables_sql(schema)).fetchall() if presence == "there" else ()
        if table in {row[0] for row in names}:
            free = FreeTable(connection, adapter.make_full_table_name(schema, table))
            if file_attributes(free.heading):
                return subjects_of(free)[0]
        for one in some:
            del self._open[one.identity]
        return None

    def _rows(self, subject: Subject, some: list[OpenFinding]) -> Iterator[QueryRow]:
        """Give the rows that still name what was found, with this value only."""
        for one in some:
            raw = subject.listing.again(key_from_json(one.key))
            row = None if raw is None else QueryRow(subject, raw)
            values = [v for v in row.values if v.attribute == one.finding["attribute"]] if row else []
            if row and values and values[0].path == one.finding["path"]:
                row.values = tuple(values)
                yield row
            else:
                del self._open[one.identity]


def _read(document: Any) -> OpenFinding:
    try:
        one = OpenFinding(**document)
        Finding(**{name: value for name, value in one.finding.items() if name != "advice"})
        hash((one.identity, one.since[:10], one.finding["advice"], check_level(one.level), key_from_json(one.key)))
    except (TypeError, LookupError, ValueError, AttributeError) as error:
        raise ValueError(f"not a finding: {brief(document)}") from error
    return one
