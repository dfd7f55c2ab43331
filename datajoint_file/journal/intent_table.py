"""SQL table ``~file_intent`` of a schema: which files are on their way into which rows.

One statement a method, and no decisions: what they mean together is the protocol, in `journal`.

Rows are found by their number only, never by a search that could lock others: on InnoDB a DELETE that scans would stop
every other writer until the user's transaction ends, and numbers that count up keep new rows out of the gaps that page
splits leave locked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.sql import Condition, Rows

TABLE = "~file_intent"

_Item = TypeVar("_Item")

COLUMNS = ("write_id", "path", "table_name", "attribute", "key_digest", "size", "state", "metadata", "holder")

BEGUN, STORED, SHARING, CONDEMNED, RECLAIMED = "begun", "stored", "sharing", "condemned", "reclaimed"
"""The states of an intent. Bytes may be moving; they are complete. A row is going to name an object that another has
stored: who gives that up leaves the object alone. The collector is about to delete the object: nobody can claim or
adopt it any more. It is over, and was never committed: the object is deleted, or another insert has adopted it; such
tombstones are kept for a while, so that *gone* has one meaning."""

_IS_LIVE = f"state IN ('{BEGUN}', '{STORED}', '{SHARING}')"

MAX_ROWS = 5_000
"""Rows of one statement."""

_ALWAYS_TAKEN = 2**18
"""Bytes of a statement for which no server is asked whether it takes them."""

_CASES = 70
"""Numbers of one ``CASE``: about as many as there are groups of them in the largest statement."""

_ATTRIBUTES = """
    number {number},
    write_id CHAR(26) {ascii} NOT NULL,
    path VARCHAR(1024) {ascii} NOT NULL,
    table_name VARCHAR(64) NOT NULL,
    attribute VARCHAR(64) NOT NULL,
    key_digest CHAR(16) {ascii} NOT NULL,
    size BIGINT NULL,
    state VARCHAR(10) {ascii} NOT NULL,
    metadata TEXT NULL,
    holder VARCHAR(64) {ascii} NOT NULL,
    lease_until {moment} NOT NULL,
    begun_at {moment} NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Intent:
    """One row, as it is written."""

    write_id: str  # what is unique in the object's key
    path: str
    table_name: str  # as the database calls it
    attribute: str
    key_digest: str  # stands for the primary key
    size: int | None  # bytes to expect, if known
    state: str = BEGUN  # or `STORED`
    metadata: str | None = None  # the row's JSON, once stored

    @property
    def weight(self) -> int:
        """Bytes of a statement that it takes at most, the quotes of its JSON escaped."""
        return 400 + len(self.path) + 2 * len(self.metadata or "")


class Intents:
    """The table of one schema, on the second connection; where methods return SQL, on whichever its caller runs it."""

    def __init__(self, second: SecondConnection, schema: str) -> None:
        self.second = second
        self.schema = schema
        self.dialect = second.dialect
        self.table = self.dialect.quoted(schema, TABLE)
        self._now, self._from_now, self._by_number = self.dialect.now, self.dialect.from_now, self.dialect.by_number
        self._free = f"state = '{STORED}' AND (lease_until < {self._now} OR LEFT(holder, 32) = %s)"
        # Not what `create` makes, of which nobody knows the size yet: its writer may change what is there.
        over = f"lease_until < {self._now}"
        self._is_begun = f"state = '{BEGUN}' AND RIGHT(path, 1) = '/' AND size IS NOT NULL AND {over}"

    def statements(self, items: Sequence[_Item], weight: Callable[[_Item], int]) -> Iterator[list[_Item]]:
        """Give *items*, of which each adds so many bytes, in lists of which the server takes each in one statement."""
        is_small = sum(map(weight, items)) < _ALWAYS_TAKEN
        limit = None if is_small else self.second.size_limit
        yield from batches(items, weight=weight, most=math.inf if limit is None else limit // 2)

    def create(self) -> None:
        """Create the table, unless it is there."""
        indexes = {"~file_intent_cell": "table_name, attribute, key_digest"}
        comment = "files on their way into rows"
        self.second.create(self.dialect.create_table(self.table, _ATTRIBUTES, comment=comment, indexes=indexes))

    def begin(self, intents: Sequence[Intent], holder: str, lease_seconds: float) -> tuple[list[int], Rows]:
        """Insert *intents* and return their numbers, and what has been stored for the same cells before.

        Of that number, attribute, key digest, write id and metadata, where nobody holds it; of a directory that was
        begun, and is not complete, its path in place of metadata.
        """
        arguments: list[Any] = [
            intents[0].table_name,
            tuple({intent.attribute for intent in intents}),
            tuple({intent.key_digest for intent in intents}),
            holder.partition("-")[0],
        ]
        stored = (
            f"SELECT number, attribute, key_digest, write_id, COALESCE(metadata, path) FROM {self.table} "
            f"WHERE table_name = %s AND attribute IN %s AND key_digest IN %s AND ({self._free} OR {self._is_begun})"
        )
        insert, ids = self.insert_sql(intents, holder, lease_seconds), [intent.write_id for intent in intents]
        return self.dialect.insert_and_select(self.second.query_many, insert, (stored, arguments), ids)

    def insert_sql(self, intents: Sequence[Intent], holder: str, lease_seconds: float) -> Condition:
        """Return the statement that inserts *intents*: for this connection, or for the user's."""
        return self._insertion(COLUMNS, [_row(intent, holder, lease_seconds) for intent in intents])

    def restore_sql(self, staged: Sequence[tuple[int, Intent, str]]) -> Condition:
        """Return the statement that inserts intents under the numbers, and for the holders, that they had before."""
        rows = [[number, *_row(intent, holder, 0.0)] for number, intent, holder in staged]
        return self._insertion(("number", *COLUMNS), rows)

    def _insertion(self, columns: Sequence[str], rows: Sequence[list[Any]]) -> Condition:
        values = f"({'%s, ' * len(columns)}{self._from_now}, {self._now})"
        sql = (
            f"INSERT INTO {self.table} ({', '.join(columns)}, lease_until, begun_at) "
            f"VALUES {', '.join([values] * len(rows))}"
        )
        return sql, [value for row in rows for value in row]

    def store(self, metadata: dict[int, str], holder: str, lease_seconds: float) -> int:
        """Note what has been stored under which numbers, as JSON; return how many of them *holder* still held."""
        if not metadata:
            return 0
        condition, numbers = self.dialect.numbered(list(metadata))
        choice, args = _choice(metadata)
        return self.second.execute(
            f"UPDATE {self.table} {self._by_number} SET state = '{STORED}', metadata = {choice}, "
            f"lease_until = {self._from_now} WHERE holder = %s AND {_IS_LIVE} AND {condition}",
            (*args, lease_seconds, holder, *numbers),
        )

    def stored(self, after: int) -> Rows:
        """Return number and metadata of what is stored and waits for its row: a page, from a number on."""
        return self.second.query(
            f"SELECT number, metadata FROM {self.table.replace('%', '%%')} "
            f"WHERE number > %s AND state = '{STORED}' AND metadata IS NOT NULL ORDER BY number LIMIT {MAX_ROWS}",
            (after,),
        )

    def renew(self, numbers: Sequence[int], holder: str, lease_seconds: float) -> None:
        """Make the lease of *numbers* last so many seconds from now."""
        for part in batches(numbers):
            condition, args = self.dialect.numbered(part)
            self.second.execute(
                f"UPDATE {self.table} {self._by_number} SET lease_until = {self._from_now} "
                f"WHERE holder = %s AND {_IS_LIVE} AND {condition}",
                (lease_seconds, holder, *args),
            )

    def take_over(self, old: int, number: int, intent: Intent, holder: str, lease_seconds: float) -> bool:
        """Let *number* be about the object of the intent *old*, unless that is held, or its transaction is open.

        The old one, which has the state of *intent*, becomes a tombstone: whoever had claimed it has not committed, and
        cannot claim it again.
        """
        free_if, args = (self._is_begun, []) if intent.state == BEGUN else (self._free, [holder.partition("-")[0]])
        with suppress(_NotOurs), self.second.transaction():
            free = self.second.query(
                f"SELECT number FROM {self.table} WHERE number = %s AND {free_if} FOR UPDATE SKIP LOCKED", (old, *args)
            )
            if not free:
                return False
            self.second.execute(
                f"UPDATE {self.table} SET state = '{RECLAIMED}', metadata = NULL, lease_until = {self._now} "
                "WHERE number = %s",
                (old,),
            )
            moved = self.second.execute(
                f"UPDATE {self.table} SET write_id = %s, path = %s, size = %s, state = %s, metadata = %s, "
                f"lease_until = {self._from_now} WHERE number = %s AND holder = %s AND state = '{BEGUN}'",
                (
                    *(intent.write_id, intent.path, intent.size, intent.state, intent.metadata),
                    *(lease_seconds, number, holder),
                ),
            )
            if moved != 1:
                raise _NotOurs
            return True
        return False

    def delete_sql(
        self, numbers: Sequence[int], holders: Sequence[str], *, only_read_committed: bool = False
    ) -> Condition:
        """Return the statement that claims *numbers*: it deletes those that one of *holders* holds.

        With *only_read_committed*, none in a transaction that looks at an older snapshot, where that would be an error.
        """
        condition, args = self._held(numbers, holders)
        return self.dialect.claim(self.table, condition, only_read_committed=only_read_committed), args

    def held(self, numbers: Sequence[int], holders: Sequence[str]) -> set[int]:
        """Return those of *numbers* that everybody can see and one of *holders* holds, also if they are locked."""
        condition, args = self._held(numbers, holders)
        return self._numbers(f"SELECT number FROM {self.table} {self._by_number} WHERE {condition}", args)

    def _held(self, numbers: Sequence[int], holders: Sequence[str]) -> Condition:
        condition, args = self.dialect.numbered(numbers)
        return f"holder IN %s AND {_IS_LIVE} AND {condition}", [tuple(holders), *args]

    def visible_sql(self, numbers: Sequence[int]) -> Condition:
        """Return the query for those of *numbers* that a connection sees: on the user's, not those he has claimed."""
        condition, args = self.dialect.numbered(numbers)
        return f"SELECT number FROM {self.table} {self._by_number} WHERE {condition}", args

    def require_rights(self) -> None:
        """Raise `AccessError` unless this user may change and delete intents. Nothing is changed."""
        self.second.execute(f"UPDATE {self.table} SET state = state WHERE number = -1")
        self.second.execute(f"DELETE FROM {self.table} WHERE number = -1")
        self.second.query(f"SELECT number, metadata FROM {self.table} WHERE number = -1")

    def unlocked(self, numbers: Sequence[int]) -> set[int]:
        """Return those of *numbers* that are there and in nobody's open transaction."""
        sql, args = self.visible_sql(numbers)
        return self._numbers(f"{sql} FOR UPDATE SKIP LOCKED", args)

    def present(self, numbers: Sequence[int]) -> set[int]:
        """Return those of *numbers* that are there for everybody to see, locked or not."""
        return self._numbers(*self.visible_sql(numbers))

    def _numbers(self, sql: str, args: Sequence[Any]) -> set[int]:
        return {int(row[0]) for row in self.second.query(sql, args)}


def _row(intent: Intent, holder: str, lease_seconds: float) -> list[Any]:
    """Return the values of `COLUMNS`, and how long the lease lasts."""
    cell = intent.table_name, intent.attribute, intent.key_digest
    return [intent.write_id, intent.path, *cell, intent.size, intent.state, intent.metadata, holder, lease_seconds]


def _choice(texts: dict[int, str]) -> tuple[str, list[Any]]:
    """Return the SQL that gives the text of a row's number. In two steps: servers try the cases of one in turn."""
    numbers = sorted(texts)
    groups = list(batches(numbers, _CASES))
    args: list[Any] = []
    for group in groups:
        args += [group[-1], *(part for number in group for part in (number, texts[number]))]
    cases = [f"WHEN number <= %s THEN CASE number {'WHEN %s THEN %s ' * len(group)}END" for group in groups]
    return f"CASE {' '.join(cases)} END", args


class _NotOurs(Exception):
    """The intent that was to be used has been given up meanwhile."""


def batches(
    items: Iterable[_Item], size: int = 0, weight: Callable[[_Item], int] = lambda _: 0, most: float = math.inf
) -> Iterator[list[_Item]]:
    """Give *items* in lists that one statement can take, or of at most *size*, and of no more *weight* than *most*.

    Examples
    --------
    >>> list(batches(range(5), 2)), list(batches(["long", "a", "b"], weight=len, most=3))
    ([[0, 1], [2, 3], [4]], [['long'], ['a', 'b']])
    """
    batch, total = list[_Item](), 0
    for item in items:
        total += weight(item)
        if batch and (len(batch) == (size or MAX_ROWS) or total > most):
            yield batch
            batch, total = [], weight(item)
        batch.append(item)
    if batch:
        yield batch
