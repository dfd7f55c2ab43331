"""Context of one run: whose database and store, whether they belong together, and what is set aside.

What it would do is found out in `make_plan`, and done in `execute_plan`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import datajoint as dj

from datajoint_file.collector import server_facts
from datajoint_file.collector.book_tables import BATCH, IntentBook, QuarantineBook
from datajoint_file.collector.evidence import batches
from datajoint_file.collector.plan import Quarantined, Refusal, refuse
from datajoint_file.collector.preflight import Verdict, judge
from datajoint_file.collector.snapshot import Snapshot
from datajoint_file.collector.workers import Helpers
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.schema_registry import identity_of
from datajoint_file.journal.second_connection import SideConnection
from datajoint_file.journal.store_marks import MarkStore
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.journal.worker_address import address_of
from datajoint_file.model.key_parsing import is_candidate
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import StorageBackend


@dataclass(frozen=True)
class Run:
    """One collector: the database, the store, and what its user has said.

    Parameters
    ----------
    connection : datajoint.Connection
        Whose database it is. Only asked how to reach the server, and whether it is in a transaction.
    pipeline : Pipeline
        Whose store it is.
    grace : timedelta
        How long objects must have been unused.
    take_over : bool
        This database is the one that counts, whatever the marks say.
    dropped : collection of str
        Schemas that are gone for good.
    progress : bool or None
        Whether to show progress bars.
    executor : concurrent.futures.Executor or None
        Whose workers look for objects and delete them.
    """

    connection: Any
    pipeline: Pipeline
    grace: timedelta = timedelta(days=7)
    take_over: bool = False
    dropped: Collection[str] = ()
    progress: bool | None = None
    executor: Executor | None = None
    side: SideConnection = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "side", SideConnection(self.connection))  # not the writers': it is locked for long

    @property
    def project(self) -> str:
        """The project."""
        return self.pipeline.project

    @property
    def backend(self) -> StorageBackend:
        """The project's store."""
        return self.pipeline.backend

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

    @property
    def grace_seconds(self) -> float:
        """The grace as a number."""
        return self.grace.total_seconds()

    def intent_books(self, tables: server_facts.OwnTables) -> list[IntentBook]:
        """Return the tables of intents."""
        return [IntentBook(self.side, schema, self.project, self.grace_seconds) for schema in tables.intents]

    def quarantine_books(self, tables: server_facts.OwnTables) -> list[QuarantineBook]:
        """Return the tables of objects in quarantine."""
        return [QuarantineBook(self.side, schema, self.project) for schema in tables.quarantine]


def run_for(connection: Any, **options: Any) -> Run:
    """Return the collector for a connection of DataJoint's, or what has one; for the default connection if None."""
    connection = dj.conn() if connection is None else getattr(connection, "connection", connection)
    return Run(connection, pipeline_of(connection), **options)


def preflight(run: Run, snapshot: Snapshot) -> tuple[Verdict, server_facts.OwnTables]:
    """Decide whether this database may judge about the project's objects. Marks are read before the database."""
    if has_transaction(run.connection):
        raise refuse(_IN_TRANSACTION)
    if server_facts.is_replica(snapshot):
        raise refuse(_REPLICA)
    marks, bad = run.mark_store.read()
    identity = identity_of(run.side)
    tables = server_facts.own_tables(snapshot)
    marked = {mark.registration.schema for mark in marks if mark.registration.identity == identity}
    states = server_facts.schema_states(snapshot, identity, run.project, tables, marked)
    verdict = judge(
        identity,
        run.project,
        marks,
        bad,
        states,
        key_of=run.mark_store.key_of,
        has_objects=lambda: has_objects(run),
        take_over=run.take_over,
        dropped=run.dropped,
    )
    return verdict, tables


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


def has_objects(run: Run) -> bool:
    """Tell whether the project has any object; the listing is not read further than the first."""
    return any(is_candidate(run.project, found.key) for found in run.backend.list(run.project))


def quarantined(run: Run) -> Iterator[Quarantined]:
    """Give what is set aside. See `datajoint_file.gc.quarantined`."""
    with Snapshot(run.connection) as snapshot:
        tables = server_facts.own_tables(snapshot)
    for book in run.quarantine_books(tables):
        for key, size, moment in book.listing():
            yield Quarantined(key, size, moment, moment + run.grace)


def restore(run: Run, keys: Sequence[str]) -> tuple[str, ...]:
    """Take objects out of quarantine. See `datajoint_file.gc.restore`."""
    with Snapshot(run.connection) as snapshot:
        tables = server_facts.own_tables(snapshot)
    found: list[str] = []
    for book in run.quarantine_books(tables):
        for part in batches(keys, BATCH):
            found += book.take_out(part)
    return tuple(found)
