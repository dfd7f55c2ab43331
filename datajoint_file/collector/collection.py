"""Collection context: whose database and store, whether they belong together, and what is noted there.

What a collection would do is found out in `make_plan`, and done in `execute_plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from datajoint_file.collector import server_facts
from datajoint_file.collector.books import BATCH, Graces, HistoryBook, IntentBook
from datajoint_file.collector.plan import Refusal, refuse
from datajoint_file.collector.preflight import Verdict, judge, refuse_nested
from datajoint_file.collector.server_facts import OwnTables
from datajoint_file.collector.snapshot import Snapshot
from datajoint_file.collector.workers import Helpers
from datajoint_file.hooks.connections import connection_of, pipeline_of
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.journal.store_marks import Identity, MarkStore
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.journal.worker_address import address_of
from datajoint_file.model.object_keys import is_candidate
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import StorageBackend


@dataclass(frozen=True)
class Collection:
    """One run of the collector: the database, the store, and what its user has asked for."""

    connection: Any  # only asked how to reach the server, and whether it is in a transaction
    pipeline: Pipeline
    grace: timedelta = timedelta(days=7)
    take_over: bool = False  # this database is the one that counts, whatever the marks say
    dropped: Sequence[str] = ()  # schemas that are gone for good
    progress: bool | None = None
    executor: Executor | None = None  # whose workers look for objects and delete them
    second: SecondConnection = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "second", SecondConnection(self.connection))  # not the writers': it is locked for long

    @property
    def project(self) -> str:
        """The project."""
        return self.pipeline.project

    @property
    def graces(self) -> Graces:
        """How long what nobody needs is kept."""
        return Graces(self.grace.total_seconds(), self.pipeline.settings.object_storage.retention.total_seconds())

    @property
    def backend(self) -> StorageBackend:
        """The project's store."""
        return self.pipeline.stores.both

    @property
    def mark_store(self) -> MarkStore:
        """The project's marks."""
        return MarkStore(self.backend, self.project)

    def helpers(self, marks: tuple[str, ...] = ()) -> Helpers | None:
        """Return the workers of the executor, who compare *marks*, by default those that there are."""
        if self.executor is None:
            return None
        address = address_of(self.pipeline, self.connection)
        return Helpers(self.executor, replace(address, marks=marks) if marks else address)

    def intent_books(self, tables: OwnTables) -> list[IntentBook]:
        """Return the intents of all schemas."""
        return [IntentBook(self.second, schema, self.project, self.graces) for schema in tables.intents]

    def history_books(self, tables: OwnTables) -> list[HistoryBook]:
        """Return the histories of all schemas."""
        return [HistoryBook(self.second, schema, self.project, self.graces) for schema in tables.history]

    def has_objects(self) -> bool:
        """Tell whether the project has any object; the listing is not read further than the first."""
        return any(is_candidate(self.project, found.key) for found in self.backend.list(self.project))

    def preflight(self, snapshot: Snapshot, identity: Identity) -> Verdict:
        """Decide whether this database may judge about the project's objects. Marks are read before the database."""
        if has_transaction(self.connection):
            raise refuse(_IN_TRANSACTION)
        if server_facts.is_replica(snapshot):
            raise refuse(_REPLICA)
        server_facts.require_sight(snapshot)
        refuse_nested(self.project, self.mark_store.above())
        marks, bad = self.mark_store.read()
        tables = server_facts.own_tables(snapshot)
        marked = {mark.registration.schema for mark in marks if mark.registration.identity == identity}
        return judge(
            identity,
            self.project,
            marks,
            bad,
            server_facts.schema_states(snapshot, self.project, tables, marked),
            key_of=self.mark_store.key_of,
            has_objects=self.has_objects,
            take_over=self.take_over,
            dropped=self.dropped,
        )

    def spare(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Forget that unknown objects are to be deleted. See `datajoint_file.gc.spare`."""
        with Snapshot(self.connection) as snapshot:
            books = self.history_books(server_facts.own_tables(snapshot))
        return tuple(key for book in books for some in batches(keys, BATCH) for key in book.spare(some))


def collection_for(subject: Any, **options: Any) -> Collection:
    """Return the collection for a connection of DataJoint's, or what has one; for the default connection if None."""
    connection = connection_of(subject)
    return Collection(connection, pipeline_of(connection if subject is None else subject), **options)


_IN_TRANSACTION = Refusal(
    "transaction",
    "the connection is in a transaction: it may see, and hold, what others do not",
    "Commit it or roll it back first, or use another connection",
)
_REPLICA = Refusal(
    "replica",
    "this server is a replica, or read-only: what was written last may not have come here",
    "Run the collector on the primary server",
)
