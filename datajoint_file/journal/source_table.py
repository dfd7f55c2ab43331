"""SQL table ``~file_source`` of a schema: which call inserted which objects, and what is known of that call.

One statement a method, and no decisions. A call has a row of its own, and one for each object; of an object only what
is unique in its key is noted, so that copies of its row have the same source.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from typing import Any, NamedTuple

from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.names import base32
from datajoint_file.model.object_keys import write_id_of
from datajoint_file.sql import Condition

TABLE = "~file_source"

_ATTRIBUTES = """
    event CHAR(26) {ascii} NOT NULL,
    object CHAR(26) {ascii} NOT NULL,
    at {moment} NULL,
    who VARCHAR(128) NULL,
    facts {large_text} NULL,
    PRIMARY KEY (event, object)
"""
_COLUMNS = "event, object, at, who, facts"
_IDS_PER_QUERY = 400

Run = Callable[[str, Sequence[Any]], Iterable[Sequence[Any]]]
"""What runs a query, and returns its rows."""


class Call(NamedTuple):
    """One call that has inserted files."""

    at: datetime  # aware, by the database's clock
    who: str  # the database's user
    facts: Mapping[str, Any]


def object_id(metadata: FileMetadata) -> str:
    """Return the 26 characters by which a file is noted: those of its object key; of a link, of place and moment."""
    written = write_id_of(metadata.path)
    return written or base32(sha256(f"{metadata.path}\n{metadata.timestamp.isoformat()}".encode()).digest()[:16])


class SourceTable:
    """The table of one schema; where methods return SQL, it is for whichever connection its caller runs it on."""

    def __init__(self, second: SecondConnection, schema: str) -> None:
        self.second, self.schema, self.dialect = second, schema, second.dialect
        self.table = self.dialect.quoted(schema, TABLE)

    def create(self) -> None:
        """Create the table, unless it is there."""
        indexes = {"~file_source_object": "object"}
        comment = "who inserted files, and by which program"
        self.second.create(self.dialect.create_table(self.table, _ATTRIBUTES, comment=comment, indexes=indexes))

    def require_rights(self) -> None:
        """Raise `AccessError` unless this user may add entries. Nothing is changed."""
        self.second.execute(
            f"INSERT INTO {self.table} ({_COLUMNS}) SELECT '', '', NULL, NULL, NULL "
            "FROM (SELECT 1 AS one) AS nothing WHERE 1 = 0"
        )

    def is_plain(self) -> bool:
        """Tell whether the table is there and runs nothing else: who looks may have more rights than its owner."""
        return bool(self.dialect.tables_named(self.second.query, [TABLE], self.schema))

    def insertions(
        self, facts: Mapping[str, Any], objects: Sequence[str], by: tuple[datetime, str] | None = None
    ) -> Iterable[Condition]:
        """Give the statements that note a call and its objects: one for 5,000.

        It is made now, by who is connected; or was made once, *by* whom the export of another server says.
        """
        event = base32(time.time_ns().to_bytes(8, "big") + secrets.token_bytes(8))
        call = f"('{event}', '', {self.dialect.now}, LEFT({self.dialect.user}, 128), %s)"
        args = [json.dumps(facts, default=str)]
        if by is not None:
            call = f"('{event}', '', {self.dialect.from_utc}, %s, %s)"
            args = [f"{by[0].astimezone(timezone.utc):%Y-%m-%d %H:%M:%S.%f}", by[1], *args]
        for some in batches(objects):
            rows = ", ".join([call] * bool(args) + [f"('{event}', '{one}', NULL, NULL, NULL)" for one in some])
            yield f"INSERT INTO {self.table.replace('%', '%%')} ({_COLUMNS}) VALUES {rows}", args
            args = []

    def calls(self, objects: Iterable[str], run: Run) -> dict[str, Call]:
        """Return the last call that inserted each object: one before it was rolled back, or its row was there already.

        *run* sends a query, on whichever connection.
        """
        calls, known = dict[str, Call](), dict[tuple[Any, ...], Call]()
        sql = (
            f"SELECT one.object, {self.dialect.utc('made.at')}, made.who, made.facts FROM {self.table} AS one "
            f"JOIN {self.table} AS made ON made.event = one.event AND made.object = '' "
        ).replace("%", "%%")
        for some in batches(objects, _IDS_PER_QUERY):
            for one, at, who, facts in run(f"{sql}WHERE one.object IN %s ORDER BY made.at", (tuple(some),)):
                if (at, who, facts) not in known:
                    known[at, who, facts] = Call(at.replace(tzinfo=timezone.utc), str(who), _read(facts))
                calls[str(one)] = known[at, who, facts]
        return calls

    def forget(self, objects: Iterable[str]) -> None:
        """Delete what is noted of objects that are gone for good, and of calls that have no others.

        By the primary key: on InnoDB a search would keep writers waiting, or wait for them.
        """
        for some in batches(objects, _IDS_PER_QUERY):
            found = self.second.query(f"SELECT event, object FROM {self.table} WHERE object IN %s", (tuple(some),))
            if found:
                events, gone = (tuple(set(column)) for column in zip(*found, strict=True))
                self.second.execute(f"DELETE FROM {self.table} WHERE event IN %s AND object IN %s", (events, gone))
                left = f"SELECT event FROM {self.table} WHERE event IN %s AND object <> ''"
                kept = {event for (event,) in self.second.query(left, (events,))}
                if over := tuple(set(events) - kept):
                    self.second.execute(f"DELETE FROM {self.table} WHERE event IN %s AND object = ''", (over,))


def _read(text: Any) -> Mapping[str, Any]:
    """Return what was noted; nothing of what is no JSON object: whoever may write to the table may write anything."""
    try:
        facts = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
