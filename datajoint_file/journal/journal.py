"""Journal of intents: who owns an object until its row is committed.

A file's intent is noted before its first byte is sent, and deleted in the transaction that inserts its row. So it is
gone when the row can be seen; it is there and locked while that transaction is open, wherever that ends; and it is
there and free when the transaction was rolled back, or its process died. That it is not there proves nothing by itself.

This is the writers' side. They delete no objects; what is left behind is adopted by a retry, or reclaimed by the
collector.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from datajoint.errors import AccessError, LostConnectionError, MissingTableError

from datajoint_file.config.bindings import Attached
from datajoint_file.errors import DataJointFileError, JournalWarning, LeaseLostError, warn
from datajoint_file.journal.intent_table import SHARING, STORED, Intent, Intents, batches
from datajoint_file.journal.schema_registry import forget
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.sources import forget_sources
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import (
    Cell,
    is_directory,
    is_made_for,
    is_of_schema,
    key_digest,
    new_write_id,
    project_of,
)
from datajoint_file.model.wording import ROLLED_BACK
from datajoint_file.pipeline.upload import Upload
from datajoint_file.sql import Condition, Rows

LEASE_SECONDS = 120.0
"""How long an intent is its writer's alone while bytes move; renewed meanwhile."""

STORED_LEASE_SECONDS = 10.0
"""How long after that: it covers the gap to the claim, which locks it. Other processes adopt it afterwards."""


@dataclass(frozen=True, slots=True)
class LeftObject:
    """An object that an earlier insert into the same cell has left."""

    number: int  # of its intent
    write_id: str
    path: str
    metadata: FileMetadata | None  # what its row would have recorded; None of a directory that is not complete


@dataclass(frozen=True, slots=True)
class Write:
    """One file on its way into one row: what its intent is found by. Picklable."""

    schema: str  # whose table ``~file_intent`` has the intent
    number: int  # of the intent there; 0 if there is none, or none that tells what became of the row
    write_id: str  # what is unique in the object's key
    holder: str  # who may claim it, as the writer knows it: when another has taken over, the claim finds nothing
    table_name: str  # as the database calls it
    attribute: str
    path: str
    is_shared: bool = False  # others name the object as well: that rows do proves nothing


class Journal:
    """The intents of one schema, as a writer on one connection of DataJoint's uses them."""

    def __init__(self, connection: Any, schema: str) -> None:
        self.connection = connection  # the user's, which claims
        self.schema = schema
        self.intents = Intents(second_connection_of(connection), schema)
        self.owner = _owners.of(connection)

    def begin(self, table_name: str, uploads: Sequence[Upload]) -> JournalEntries:
        """Note what is going to be stored, before the first byte is.

        One round trip for 5,000 files. Where the table cannot be made or used, a `JournalWarning` says what is lost.
        Of what stays where it is nothing is noted: there is nothing to reclaim.
        """
        return self._begun([_intent_of(upload, table_name) for upload in uploads])

    def share(self, table_name: str, wanted: Sequence[tuple[Cell, FileMetadata]]) -> list[JournalEntry]:
        """Note that rows are going to name objects which others have stored, before it is looked whether they may."""
        entries = self._begun([_sharing(cell, metadata, table_name) for cell, metadata in wanted]).all
        for entry, (_, metadata) in zip(entries, wanted, strict=True):
            entry.metadata, entry.is_told = metadata, True
        return entries

    def give_up(self, entries: Sequence[JournalEntry]) -> None:
        """Forget what was going to be shared and is not. The objects are left alone."""
        with suppress(Exception):  # the collector forgets it later
            for some in batches(entries):
                sql, args = self.intents.delete_sql([entry.number for entry in some], [some[0].holder])
                self.intents.second.execute(sql, args)

    def _begun(self, intents: Sequence[Intent]) -> JournalEntries:
        if self.owner.has_strict_snapshots is None:
            self.owner.has_strict_snapshots = self.intents.dialect.has_strict_snapshots(self.connection)
        holder = f"{self.owner.name()}-{next(self.owner.counter)}"  # no other statement has it
        entries = JournalEntries(self, holder, [JournalEntry(intent, 0, holder) for intent in intents])
        for entry in entries.all:
            entry.is_told = not entry.intent.write_id
        noted = [entry for entry in entries.all if entry.intent.write_id]
        for some in self.intents.statements(noted, lambda entry: entry.intent.weight):
            if not self._try(lambda some=some: entries.begin(some)):  # type: ignore[misc]
                break
        return entries

    def ensure(self) -> bool:
        """Make the table, unless it is there. Tell whether it is; a `JournalWarning` says why not."""
        forget(self.connection, self.schema)
        return self._try(self.intents.require_rights)  # to make it again, PostgreSQL takes its owner

    def _try(self, action: Callable[[], object]) -> bool:
        """Do *action*, having looked once whether this user may; the table is made if it is not there."""
        try:
            try:
                if self.schema not in self.owner.usable:
                    self.intents.require_rights()
                action()
            except MissingTableError:
                forget(self.connection, self.schema)  # the whole schema may have been made anew
                forget_sources(self.connection, self.schema)
                self.intents.create()
                action()
        except (AccessError, PermissionError) as error:
            reason = " ".join(str(part) for part in error.args[:2]).strip()
            warn(_NO_JOURNAL.format(schema=self.schema, reason=reason), JournalWarning)
            return False
        self.owner.usable.add(self.schema)
        return True


@dataclass(eq=False, slots=True)
class JournalEntry:
    """One file of a statement: its intent, and how far it has come."""

    intent: Intent  # as the database has it, or would if there were a journal
    number: int  # of the intent; 0 if there is none
    holder: str  # who may claim it
    metadata: FileMetadata | None = None  # what the row is to record, once the object is complete
    is_told: bool = False  # the intent says that the object is complete; what is not told is not claimed
    is_claimed: bool = False  # the intent was deleted in the user's transaction


class JournalEntries:
    """The intents of one statement, one for each upload, in their order; what is added follows."""

    def __init__(self, journal: Journal, holder: str, all: list[JournalEntry]) -> None:  # noqa: A002
        self.all = all
        self._holder = holder
        self._journal = journal
        self._intents = journal.intents
        self._left: dict[tuple[str, str], list[LeftObject]] = {}
        self._begun: dict[tuple[str, str], list[LeftObject]] = {}

    def begin(self, some: Sequence[JournalEntry]) -> None:
        """Insert the intents of *some*, and learn what was stored for their cells before."""
        numbers, stored = self._intents.begin([entry.intent for entry in some], self._holder, LEASE_SECONDS)
        for number, entry in zip(numbers, some, strict=True):
            entry.number = number
        self._remember(stored)

    def _remember(self, stored: Rows) -> None:
        for number, attribute, digest, write_id, text in stored:
            try:
                described = None if text.endswith("/") else FileMetadata.from_json(json.loads(text))
            except (DataJointFileError, ValueError, TypeError):
                continue  # not written by us, or by a newer version: nothing to build on
            path = described.path if described else text
            is_ours = is_of_schema(path, self._intents.schema)  # else copied by a dump, or forged
            if is_ours and is_made_for(path, project_of(path), digest, write_id):
                left = LeftObject(int(number), write_id, path, described)
                self._left.setdefault((attribute, digest), []).append(left)

    def adopt(self, entry: JournalEntry, alike: Callable[[Sequence[FileMetadata]], Iterable[FileMetadata]]) -> bool:
        """Take over an object that an earlier insert left for the same cell, if it is the same file.

        *alike* is given what is said to be stored, and gives, one after the other, what the row could record.
        """
        cell = entry.intent.attribute, entry.intent.key_digest
        some = self._left.pop(cell, [])
        if not some:
            return False
        self._begun[cell] = [one for one in some if one.metadata is None]
        left = {one.path: one for one in some if one.metadata is not None}
        for metadata in alike([one.metadata for one in left.values() if one.metadata is not None]):
            if self._take_over(entry, left[metadata.path], metadata):
                entry.metadata = metadata
                return True
        return False

    def begun(self, entry: JournalEntry) -> list[LeftObject]:
        """Return the directories that were begun for the same cell, and are not complete; asked after `adopt`."""
        return self._begun.pop((entry.intent.attribute, entry.intent.key_digest), [])

    def resume(self, entry: JournalEntry, left: LeftObject) -> bool:
        """Take over a directory that was begun, of which the members are going to be completed."""
        intent = replace(entry.intent, write_id=left.write_id, path=left.path)
        with self._table_required():
            if not self._intents.take_over(left.number, entry.number, intent, entry.holder, LEASE_SECONDS):
                return False
        entry.intent = intent
        return True

    def let_go(self) -> None:
        """Let others go on with the directories that are not complete: nobody is at them any more."""
        numbers = [
            one.number for one in self.all if one.number and one.metadata is None and is_directory(one.intent.path)
        ]
        self._intents.renew(numbers, self._holder, 0.0)

    def _take_over(self, entry: JournalEntry, left: LeftObject, metadata: FileMetadata) -> bool:
        """Let the intent of *entry*, of which nothing has been stored, be about the object that is stored."""
        row = json.dumps(metadata.to_json())
        path, size = metadata.path, metadata.size
        intent = replace(entry.intent, write_id=left.write_id, path=path, size=size, state=STORED, metadata=row)
        with self._table_required():
            if not self._intents.take_over(left.number, entry.number, intent, entry.holder, LEASE_SECONDS):
                return False
        entry.intent = intent
        return True

    def flush(self, lease_seconds: float = LEASE_SECONDS) -> None:
        """Tell the database which objects are complete, so that they can be adopted should this process die.

        What cannot be told is told the next time. `end_uploads` shortens the leases.
        """
        complete = [entry for entry in self.all if entry.metadata is not None and not entry.is_told]
        rows = {entry: json.dumps(cast("FileMetadata", entry.metadata).to_json()) for entry in complete}
        for some in self._intents.statements(complete, lambda entry: 100 + 2 * len(rows[entry])):
            self._store({entry.number: rows[entry] for entry in some if entry.number}, lease_seconds)
            for entry in some:
                row = rows[entry]
                old, size = entry.intent, cast("FileMetadata", entry.metadata).size
                cell = old.table_name, old.attribute, old.key_digest
                entry.intent, entry.is_told = Intent(old.write_id, old.path, *cell, size, STORED, row), True

    def _store(self, rows: dict[int, str], lease_seconds: float) -> None:
        try:
            self._intents.store(rows, self._holder, lease_seconds)
        except LostConnectionError:  # saying it twice does no harm
            self._intents.store(rows, self._holder, lease_seconds)

    def end_uploads(self) -> None:
        """Tell what is complete, now that no more bytes move; from here the leases cover the gap to the claim."""
        earlier = [entry.number for entry in self.all if entry.is_told and entry.number]
        with self._table_required():
            self.flush(STORED_LEASE_SECONDS)
            with suppress(LostConnectionError):  # a lease that stays long harms nobody
                self._intents.renew(earlier, self._holder, STORED_LEASE_SECONDS)

    @contextmanager
    def _table_required(self) -> Iterator[None]:
        """Say which files are concerned, if the table is not there any more."""
        try:
            yield
        except MissingTableError as error:
            first, count = self.all[0].intent, len(self.all)
            shown = f"{first.path}, …" if count > 1 else first.path
            raise LeaseLostError(
                f"the table `~file_intent` of schema {self._intents.schema} was dropped while it noted {count} "
                f"file{'s' * (count > 1)} of {first.table_name} ({shown}) that had no rows yet. No row was inserted. "
                "Insert, or stage again: the table is made anew, and all is sent again. `datajoint-file gc --scan` "
                "finds what is left of this"
            ) from error

    def renew(self) -> None:
        """Keep the leases of all that is not yet claimed."""
        numbers = [entry.number for entry in self.all if entry.number and not self._is_staged(entry)]
        self._intents.renew(numbers, self._holder, LEASE_SECONDS)

    def are_held(self) -> bool:
        """Tell whether all intents that are not claimed are there still, and ours: else the collector may have been."""
        numbers = [entry.number for entry in self.all if entry.number and not entry.is_claimed]
        return self._intents.held(numbers, [self._holder]) == set(numbers)

    def add(self, write: Write, metadata: FileMetadata, table_name: str, digest: str) -> None:
        """Include an object that was staged before this statement."""
        cell, row = (table_name, write.attribute, digest), json.dumps(metadata.to_json())
        intent = Intent(write.write_id, metadata.path, *cell, metadata.size, STORED, row)
        self.all.append(JournalEntry(intent, write.number, write.holder, metadata, is_told=True))

    def own_files(self) -> list[FileMetadata]:
        """Return what rows are going to name and no other row has named: not what is shared."""
        return [one.metadata for one in self.all if one.metadata is not None and one.intent.state != SHARING]

    def write_of(self, entry: JournalEntry, *, is_known: bool = True) -> Write:
        """Return what the intent of *entry* is found by; without a number if it is not to tell what became of it."""
        intent = entry.intent
        table, number = intent.table_name, entry.number if is_known else 0
        is_shared = intent.state == SHARING
        where = table, intent.attribute, intent.path
        return Write(self._intents.schema, number, intent.write_id, entry.holder, *where, is_shared=is_shared)

    def claim(self, *, is_own: bool, claimed: Iterable[Write] = ()) -> tuple[Write, ...]:
        """Delete the intents in the transaction that is open, and which inserts their rows next.

        It has just been opened for this and has read nothing yet (*is_own*), or has *claimed* others before.

        Raises
        ------
        LeaseLostError
            If not all of them were there and ours: their objects may be gone. No row may be inserted then.
        """
        noted = {entry.number: entry for entry in self.all if entry.is_told and entry.number}
        before = {write.number for write in claimed if write.schema == self._intents.schema}
        unseen: set[int] = set()
        for numbers in batches(list(noted)):
            holders = sorted({noted[number].holder for number in numbers})
            with self._table_required():
                missing, outside = self._claimed(numbers, holders, before, is_own=is_own)
            for number in set(numbers) - missing:
                noted[number].is_claimed = True
            if missing:
                self._refuse([noted[number].intent.write_id for number in missing], len(noted))
            unseen |= outside
        told = (entry for entry in self.all if entry.is_told and entry.intent.write_id)  # of a link nobody can be asked
        return tuple(self.write_of(entry, is_known=entry.number not in unseen) for entry in told)

    def _claimed(
        self, numbers: Sequence[int], holders: Sequence[str], before: set[int], *, is_own: bool
    ) -> tuple[set[int], set[int]]:
        """Delete *numbers* and return those that could not be, and those that were, but not in the transaction."""
        connection, dialect = self._journal.connection, self._intents.dialect
        if not is_own and self._journal.owner.has_strict_snapshots:
            return self._claimed_outside(set(numbers), holders)
        sql, args = self._intents.delete_sql(numbers, holders, only_read_committed=not is_own)
        cursor = connection.query(sql, args, reconnect=False)
        claimed = dialect.claimed(cursor)
        self._require_transaction(set(numbers), claimed, cursor.rowcount)
        if claimed is None:
            # What was deleted just now is still there for others, until the transaction ends.
            claimed = set(numbers) if cursor.rowcount == len(numbers) else self._intents.held(numbers, holders) - before
        missing = set(numbers) - claimed
        is_behind = bool(missing) and not is_own and dialect.is_behind(connection)
        return self._claimed_outside(missing, holders) if is_behind else (missing, set())

    def _require_transaction(self, numbers: set[int], claimed: set[int] | None, count: int) -> None:
        """Raise if there is no transaction after all: servers end one at a deadlock, and some say so but once.

        The *count* of *numbers* that were deleted are then deleted for good: they are inserted again. Where it cannot
        be told which these were, none is, for another may have inserted its row, or deletes the object.
        """
        if self._intents.dialect.is_in_transaction(self._journal.connection._conn):
            return
        if claimed is None:
            gone = numbers - self._intents.present(sorted(numbers))
            claimed = gone if len(gone) == count else set()
        for sql, args in self._insertions([entry for entry in self.all if entry.number in claimed]):
            self._intents.second.execute(sql, args)
        raise LostConnectionError(ROLLED_BACK)

    def _claimed_outside(self, numbers: set[int], holders: Sequence[str]) -> tuple[set[int], set[int]]:
        """Delete intents for good that the user's transaction cannot: it looks at a time before they were made."""
        warn(_SNAPSHOT.format(schema=self._journal.schema), JournalWarning)
        held = self._intents.held(sorted(numbers), holders)
        if held:
            sql, args = self._intents.delete_sql(sorted(held), holders)
            if self._intents.second.execute(sql, args) != len(held):
                return numbers, set()
        return numbers - held, held

    def _refuse(self, lost: Sequence[str], count: int) -> None:
        self.give_back(())
        shown = ", ".join(sorted(lost)[:3]) + (", …" if len(lost) > 3 else "")
        raise LeaseLostError(
            f"{len(lost)} of {count} uploaded files ({shown}) are not this insert's any more: it was suspended for "
            "long and the collector has given them up, another insert of the same rows has taken them over, or they "
            "were inserted before. No row was inserted. Insert again: what is still stored is not sent again"
        )

    def give_back(self, kept: Iterable[str]) -> list[Write]:
        """Insert the claimed intents again, in the user's transaction, of all objects but *kept*: no row names them.

        Where the transaction is over, they are there already. Doing it again does nothing.

        Returns what was staged: there after a commit as after a rollback, it does not tell them apart any more.
        """
        kept = set(kept)
        back = {entry.number: entry for entry in self.all if entry.is_claimed and entry.intent.path not in kept}
        for entry in back.values():
            entry.is_claimed = False
        query = self._journal.connection.query
        for numbers in batches(list(back)):
            sql, args = self._intents.visible_sql(numbers)
            visible = {int(row[0]) for row in query(sql, args, reconnect=False).fetchall()}
            for sql, args in self._insertions([back[number] for number in numbers if number not in visible]):
                query(sql, args, reconnect=False)
        return [self.write_of(entry) for entry in back.values() if self._is_staged(entry)]

    def _insertions(self, entries: Sequence[JournalEntry]) -> Iterator[Condition]:
        """Give the statements that insert claimed intents again, for whoever comes first.

        Under new numbers: that the old one is gone tells that the transaction was committed. But what was staged is
        inserted by who knows its number and holder, and no other.
        """
        own = [entry.intent for entry in entries if not self._is_staged(entry)]
        for some in self._intents.statements(own, lambda intent: intent.weight):
            yield self._intents.insert_sql(some, self._holder, 0.0)
        staged = [(entry.number, entry.intent, entry.holder) for entry in entries if self._is_staged(entry)]
        for numbered in self._intents.statements(staged, lambda item: item[1].weight):
            yield self._intents.restore_sql(numbered)

    def _is_staged(self, entry: JournalEntry) -> bool:
        return entry.holder != self._holder


def _intent_of(upload: Upload, table_name: str) -> Intent:
    cell = table_name, upload.cell.attribute, key_digest(upload.cell.key)
    return Intent(upload.write_id, upload.key, *cell, upload.source.size)


def _sharing(cell: Cell, metadata: FileMetadata, table_name: str) -> Intent:
    """Return the intent of a row that shares an object: with a write id of its own, for the object has another's."""
    where, text = (table_name, cell.attribute, key_digest(cell.key)), json.dumps(metadata.to_json())
    return Intent(new_write_id(), metadata.path, *where, metadata.size, SHARING, text)


class _Owner:
    """What tells the statements of one connection in one process from those of all others."""

    def __init__(self, connection: Any) -> None:
        self.counter = itertools.count(1)
        self._names: dict[int, str] = {}
        self.usable: set[str] = set()  # the schemas whose journal this user is known to have the rights for
        self.has_strict_snapshots: bool | None = None  # of the user's transactions; None before it was asked

    def name(self) -> str:
        """Return 32 hexadecimal characters; a child process has others than its parent."""
        return self._names.setdefault(os.getpid(), secrets.token_hex(16))


_owners = Attached(_Owner)

_NO_JOURNAL = (
    "the table `~file_intent` of schema {schema} cannot be made or used ({reason}): files are inserted without being "
    "noted down first. Inserts are as safe, but a retry after a rollback sends its bytes again, and only "
    "`datajoint-file gc --scan` finds what failed inserts leave. Let the owner of the schema insert one file, or "
    "grant CREATE there"
)
_SNAPSHOT = (
    "schema {schema}: this transaction looks at a snapshot (REPEATABLE READ, SERIALIZABLE) that may be older than its "
    "files. The insert is as safe, but should the transaction be rolled back, its files are sent again by a retry, "
    "and only `datajoint-file gc --scan` finds them. READ COMMITTED, PostgreSQL's default, does not lose that"
)
