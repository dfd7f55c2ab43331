"""The journal of intents: who owns an object until its row is committed.

A file's intent is noted before its first byte is sent, and deleted in the transaction that inserts its row. So it is
gone when the row can be seen; it is there and locked while that transaction is open, wherever that ends; and it is
there and free when the transaction was rolled back, or its process died. No other proof is ever needed, or taken.

This is the writers' side. They delete no objects; what is left behind is adopted by a retry, or reclaimed by the
collector.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from datajoint.errors import AccessError, MissingTableError

from datajoint_file.errors import DataJointFileError, JournalWarning, LeaseLostError
from datajoint_file.host.attached import Attached
from datajoint_file.host.intents import BEGUN, STORED, Intent, Intents, parts
from datajoint_file.host.side import Rows, side_of
from datajoint_file.keys import is_made_for, key_digest
from datajoint_file.metadata import FileMetadata
from datajoint_file.pipeline import Upload

LEASE_SECONDS = 120.0
"""How long an intent is its writer's alone while bytes move; renewed meanwhile."""

STORED_LEASE_SECONDS = 10.0
"""How long after that: it covers the gap to the claim, which locks it. Other processes adopt it afterwards."""

_SNAPSHOT_LEVELS = ("repeatable read", "serializable")


@dataclass(frozen=True, slots=True)
class Write:
    """One file on its way into one row: what its intent is found by. Picklable.

    Parameters
    ----------
    schema : str
        The schema, whose table ``~file_intent`` has the intent.
    number : int
        The number of the intent there.
    write_id : str
        What is unique in the object's key.
    holder : str
        Who may claim it, as the writer knows it: when another has taken over, the claim finds nothing.
    """

    schema: str
    number: int
    write_id: str
    holder: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that an earlier insert into the same place has left behind.

    Parameters
    ----------
    number : int
        The number of its intent.
    write_id : str
        What is unique in its key.
    metadata : FileMetadata
        What its row would have recorded.
    """

    number: int
    write_id: str
    metadata: FileMetadata


class Journal:
    """The intents of one schema, as a writer on one connection of DataJoint's uses them.

    Parameters
    ----------
    connection : datajoint.Connection
        The user's connection, which claims.
    schema : str
        The schema.
    """

    def __init__(self, connection: Any, schema: str) -> None:
        self.connection = connection
        self.schema = schema
        self.intents = Intents(side_of(connection), schema)
        self._owner = _owners.of(connection)

    def begin(self, table_name: str, uploads: Sequence[Upload]) -> Entries:
        """Note what is going to be stored, before the first byte is.

        One round trip for 5,000 files. Where the table cannot be made or used, a `JournalWarning` says what is lost.
        """
        entries = Entries(self, f"{self._owner.name()}-{next(self._owner.counter)}")
        for start in range(0, len(uploads), 5_000):
            some = uploads[start : start + 5_000]
            if not self._try(lambda some=some: entries.begin(table_name, some)):  # type: ignore[misc]
                break
        return entries

    def ensure(self) -> bool:
        """Make the table, unless it is there. Tell whether it is; a `JournalWarning` says why not."""
        return self._try(self.intents.create)

    def _try(self, action: Callable[[], object]) -> bool:
        try:
            try:
                action()
            except MissingTableError:
                self.intents.create()
                action()
        except (AccessError, PermissionError) as error:
            warnings.warn(_NO_JOURNAL.format(schema=self.schema, reason=error.args[0]), JournalWarning, stacklevel=8)
            return False
        return True


class Entries:
    """The intents of one statement.

    Parameters
    ----------
    journal : Journal
        Where they are.
    holder : str
        A name that no other statement has.
    """

    def __init__(self, journal: Journal, holder: str) -> None:
        self.holder = holder
        self._journal = journal
        self._intents = journal.intents
        self._noted: dict[str, tuple[int, Intent]] = {}
        self._stored: dict[tuple[str, str], list[Stored]] = {}
        self._finished: dict[int, FileMetadata] = {}
        self._lock = threading.Lock()
        self._ready: dict[str, tuple[Write, Intent]] = {}

    def begin(self, table_name: str, uploads: Sequence[Upload]) -> None:
        """Insert the intents of *uploads*, and learn what was stored for their places before."""
        intents = [_intent_of(upload, table_name) for upload in uploads]
        numbers, stored = self._intents.begin(intents, self.holder, LEASE_SECONDS)
        for number, intent in zip(numbers, intents, strict=True):
            self._noted[intent.path] = (number, intent)
        self._remember(stored)

    def _remember(self, stored: Rows) -> None:
        for number, attribute, digest, write_id, metadata in stored:
            try:
                described = FileMetadata.from_json(json.loads(metadata))
            except (DataJointFileError, ValueError, TypeError):
                continue  # not written by us, or by a newer version: nothing to build on
            if not is_made_for(described.path, described.project, digest, write_id):
                continue
            self._stored.setdefault((attribute, digest), []).append(Stored(int(number), write_id, described))

    def adopt(self, upload: Upload, accept: Callable[[FileMetadata], FileMetadata | None]) -> FileMetadata | None:
        """Take over an object that an earlier insert left for the same place, if *accept* finds it to be the same file.

        Parameters
        ----------
        upload : Upload
            What would have to be sent otherwise.
        accept : callable
            Given what is stored; returns what the row is to record, or None.
        """
        place = (upload.place.attribute, key_digest(upload.place.key))
        for stored in self._stored.pop(place, ()):
            if self._intents.take_over(stored.number, self.holder, LEASE_SECONDS):
                metadata = accept(stored.metadata)
                if metadata is not None:
                    self._replace(upload, stored, metadata)
                    return metadata
        return None

    def _replace(self, upload: Upload, stored: Stored, metadata: FileMetadata) -> None:
        """Let an adopted object stand for *upload*, of which nothing will be stored."""
        unused, intent = self._noted.pop(upload.key)
        sql, args = self._intents.delete_sql([unused], [self.holder])
        self._intents.side.execute(sql, args)
        adopted = replace(intent, write_id=stored.write_id, path=metadata.path)
        self._noted[metadata.path] = (stored.number, adopted)
        self.finished(metadata)

    def finished(self, metadata: FileMetadata) -> None:
        """Take note that an object is complete. From any thread; sent to the database by `flush`."""
        with self._lock:
            number, _ = self._noted.get(metadata.path, (None, None))
            if number is not None:
                self._finished[number] = metadata

    def flush(self) -> None:
        """Tell the database what is complete, so that it can be adopted should this process die."""
        with self._lock:
            finished, self._finished = self._finished, {}
        for numbers in parts(list(finished)):
            rows = {number: finished[number].to_json() for number in numbers}
            self._intents.store(rows, self.holder, STORED_LEASE_SECONDS)
        for number, intent in list(self._noted.values()):
            if number in finished:
                self._settle(number, intent, finished[number])

    def _settle(self, number: int, intent: Intent, metadata: FileMetadata) -> None:
        row = json.dumps(metadata.to_json())
        stored = replace(intent, size=metadata.size, state=STORED, metadata=row)
        self._ready[intent.path] = (Write(self._intents.schema, number, intent.write_id, self.holder), stored)

    def try_to_flush(self) -> None:
        """Flush, if the database can be reached: for a retry. It is called when something has failed already."""
        with suppress(Exception):
            self.flush()

    def renew(self) -> None:
        """Keep the leases of all that is not complete, or not yet claimed."""
        self._intents.renew([number for number, _ in self._noted.values()], self.holder, LEASE_SECONDS)

    def add(self, write: Write, metadata: FileMetadata, table_name: str, attribute: str, digest: str) -> None:
        """Include an object that was staged before this statement."""
        size, row = metadata.size, json.dumps(metadata.to_json())
        stored = Intent(write.write_id, metadata.path, table_name, attribute, digest, size, STORED, row)
        self._ready[metadata.path] = (write, stored)

    def write_of(self, path: str) -> Write | None:
        """Return how the intent of the object *path* is found; None if there is none."""
        write, _ = self._ready.get(path, (None, None))
        return write

    def claim(self) -> tuple[Write, ...]:
        """Delete the intents in the user's transaction, which is open, and which inserts their rows next.

        Raises
        ------
        LeaseLostError
            If not all of them were there and ours: their objects may be gone. No row may be inserted then.
        """
        writes = [write for write, _ in self._ready.values()]
        held = {write.number: write for write in writes}
        for numbers in parts(list(held)):
            missing = self._claimed(numbers, sorted({held[number].holder for number in numbers}))
            if missing:
                self._refuse({held[number].write_id for number in missing}, len(writes))
        return tuple(writes)

    def _claimed(self, numbers: Sequence[int], holders: Sequence[str]) -> list[int]:
        """Delete *numbers* and return those that could not be."""
        connection = self._journal.connection
        sql, args = self._intents.delete_sql(numbers, holders)
        cursor = connection.query(sql, args, reconnect=False)
        if self._intents.is_mysql:
            complete = cursor.rowcount == len(numbers)
            # What was deleted just now is still there for others, until the transaction ends.
            return [] if complete else sorted(set(numbers) - self._intents.held(numbers, holders)) or list(numbers)
        missing = set(numbers) - {int(row[0]) for row in cursor.fetchall()}
        if missing and _isolation_of(connection) in _SNAPSHOT_LEVELS:
            return self._claimed_outside(sorted(missing), holders)
        return sorted(missing)

    def _claimed_outside(self, numbers: Sequence[int], holders: Sequence[str]) -> list[int]:
        """Delete intents for good, which the user's transaction cannot see: it began to look before they were made."""
        sql, args = self._intents.delete_sql(numbers, holders)
        deleted = {int(row[0]) for row in self._intents.side.query(sql, args)}
        warnings.warn(_SNAPSHOT.format(schema=self._journal.schema), JournalWarning, stacklevel=8)
        return sorted(set(numbers) - deleted)

    def _refuse(self, lost: set[str], count: int) -> None:
        self.give_back({path for path, (write, _) in self._ready.items() if write.write_id in lost})
        shown = ", ".join(sorted(lost)[:3]) + (", …" if len(lost) > 3 else "")
        raise LeaseLostError(
            f"{len(lost)} of {count} uploaded files ({shown}) are not this insert's any more: it was suspended for "
            "long and the collector has given them up, or another insert of the same rows has taken them over. No row "
            "was inserted. Insert again: what is still stored is not sent again"
        )

    def give_back(self, kept: Iterable[str]) -> None:
        """Insert the intents again, in the user's transaction, of all objects but *kept*: no row names them.

        Raises
        ------
        DataJointError
            What the database says.
        """
        kept = set(kept)
        back = [intent for path, (_, intent) in self._ready.items() if path not in kept]
        for start in range(0, len(back), 5_000):
            sql, args = self._intents.insert_sql(back[start : start + 5_000], self.holder, 0.0)
            self._journal.connection.query(sql, args, reconnect=False)


def _intent_of(upload: Upload, table_name: str) -> Intent:
    place = upload.place
    digest = key_digest(place.key)
    return Intent(upload.write_id, upload.key, table_name, place.attribute, digest, upload.source.size, BEGUN)


def _isolation_of(connection: Any) -> str:
    return str(connection.query("SHOW transaction_isolation", reconnect=False).fetchone()[0])


class _Owner:
    """What tells the statements of one connection in one process from those of all others."""

    def __init__(self, connection: Any) -> None:
        self.counter = itertools.count(1)
        self._names: dict[int, str] = {}

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
    "schema {schema}: this transaction is REPEATABLE READ or SERIALIZABLE and had begun to read before its files were "
    "stored. The insert is as safe, but should the transaction be rolled back, its files are sent again by a retry, "
    "and only `datajoint-file gc --scan` finds them. Insert files first, or stage them before the transaction "
    "(datajoint_file.stage)"
)
