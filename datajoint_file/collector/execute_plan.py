"""Execution of a plan: marks brought up to date, clocks compared, then objects deleted and set aside.

Everything that a plan rests on and that may have changed is looked at again; what is deleted is, under a lock, in
`reclaim`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from datajoint_file.collector import references, server_facts
from datajoint_file.collector.collection import Collection
from datajoint_file.collector.evidence import NOTHING, Amount, Evidence, ObjectRecord
from datajoint_file.collector.make_plan import unfinished_uploads
from datajoint_file.collector.plan import Collected, Plan, Refusal, refuse
from datajoint_file.collector.preflight import Verdict
from datajoint_file.collector.reclaim import Tally, reclaim
from datajoint_file.collector.server_facts import OwnTables
from datajoint_file.collector.snapshot import Snapshot, steadily
from datajoint_file.collector.tables import BATCH, QuarantineTable
from datajoint_file.collector.workers import Helpers
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import StorageError
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.schema_registry import RegistryTable, identity_of, refresh
from datajoint_file.journal.store_marks import Identity
from datajoint_file.storage.tuning import MAX_SKEW

MAX_PLAN_AGE = timedelta(hours=1)
"""An older plan is not carried out: too much may have changed."""


def execute_plan(made: Plan, collection: Collection, *, force: bool) -> Collected:
    """Carry out a plan. See `datajoint_file.gc.execute`."""
    refusals = made.standing_refusals(force=force)
    if refusals:
        raise refuse(*refusals)
    with Snapshot(collection.connection) as snapshot:
        try:
            identity = identity_of(collection.second)
            _check_plan(made, collection, identity, server_facts.clock(snapshot))
            verdict, _ = collection.preflight(snapshot, identity)
            if verdict.refusals:
                raise refuse(*verdict.refusals)
            problems, marks = _registered(collection, snapshot, made, verdict, identity)
            helpers = collection.helpers(marks) if marks else None
            tables = server_facts.own_tables(snapshot)
            return _Execution(collection, snapshot, made, tables, problems, helpers).all()
        finally:
            collection.second.close()


def _check_plan(made: Plan, collection: Collection, identity: Identity, moment: datetime) -> None:
    """Refuse a plan that is another database's, or too old."""
    if (made.project, made.database) != (collection.project, str(identity)):
        reason = (
            f"the plan was made for the project {made.project!r} and the database {made.database}, and the "
            f"connection is for {collection.project!r} and {identity}"
        )
        raise refuse(Refusal("other-plan", reason, "Give the connection that the plan was made with"))
    if not timedelta(0) <= moment - made.made_at <= MAX_PLAN_AGE:
        reason = f"the plan was made at {made.made_at} and it is {moment} now, by the database's clock"
        raise refuse(Refusal("old-plan", reason, "Make a new plan: it is carried out within an hour"))


def _registered(
    collection: Collection, snapshot: Snapshot, made: Plan, verdict: Verdict, identity: Identity
) -> tuple[list[str], tuple[str, ...]]:
    """Bring the marks up to date, and compare the clocks by new ones. Nothing is deleted by it but marks.

    Returns which schemas could not be marked, and the keys of the new marks, which no copy of the store can have.
    """
    schemas = {*verdict.schemas, *made.schemas}
    if collection.take_over:
        schemas |= steadily(lambda: references.schemas_using(snapshot, collection.project))
    if not schemas and (verdict.forget or collection.has_objects()):
        raise refuse(_NO_SCHEMA)
    for key in verdict.forget:
        collection.mark_store.remove(key)
    marks: list[str] = []
    found = [_bump(collection, snapshot, identity, schema, marks) for schema in sorted(schemas)]
    problems = [problem for problem in found if problem]
    if problems and len(problems) == len(schemas):
        reason = f"no schema could be marked as in use, so that clocks could not be compared: {problems[0]}"
        way_on = "Run the collector as a user who may write to one of the schemas"
        raise refuse(Refusal("unmarked", reason, way_on))
    return problems, tuple(marks)


_NO_SCHEMA = Refusal(
    "no-schema",
    "no schema of this database refers to the project's objects, so that there is no place to note what is set aside",
    "Store a file in one of its schemas first; to give up the whole project, delete its directory or prefix by hand",
)


def _bump(collection: Collection, snapshot: Snapshot, identity: Identity, schema: str, marks: list[str]) -> str:
    """Begin a new epoch of a schema, add its mark to *marks*, return what hindered it; refuse if clocks disagree."""
    registry = RegistryTable(collection.second, schema, collection.project)
    try:
        registry.prepare()
        mark = refresh(registry, collection.mark_store, identity, collection.mark_store.names(), bump=True)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - most often a right that this user has not got
        return f"{schema} could not be marked as in use: {error}"
    if mark is None:
        raise refuse(Refusal("restored", f"{schema}: the store knows epochs that the database does not", "Plan again"))
    marks.append(collection.mark_store.key_of(mark))
    stat = collection.backend.stat(marks[-1])
    if stat.modified is not None:
        database = server_facts.clock(snapshot).replace(tzinfo=timezone.utc)
        if abs(stat.modified - database) > MAX_SKEW:
            told = f"{stat.modified:%Y-%m-%d %H:%M:%S}, the database {database:%Y-%m-%d %H:%M:%S} (UTC)"
            way_on = "Set the clock that is wrong; graces would be measured by it"
            raise refuse(Refusal("clock", f"the store says that it is {told}", way_on))
    return ""


@dataclass
class _Execution:
    """A plan being carried out."""

    collection: Collection
    snapshot: Snapshot
    made: Plan
    tables: OwnTables
    notes: list[str]
    helpers: Helpers | None

    def all(self) -> Collected:
        """Do everything, in the order that leaves least behind if it is cut short."""
        swept, purged = self._sweep(), self._tally()
        released, quarantined, discarded = NOTHING, NOTHING, swept.discarded
        if self.made.is_scan:
            released, quarantined = self._release(), self._quarantine()
            self._purge(purged)
            discarded += self._discard(purged)
        for table in self.collection.intent_tables(self.tables):
            with suppress(Exception):  # tidying
                table.remove_tombstones()
        return Collected(
            reclaimed=swept.deleted,
            quarantined=quarantined,
            purged=purged.deleted,
            released=released,
            discarded=discarded,
            spared=swept.spared + purged.spared,
            failures=(*swept.failures, *purged.failures),
            notes=(*swept.notes, *purged.notes, *dict.fromkeys(self.notes)),
        )

    def _tally(self, *, with_remains: bool = False) -> Tally:
        return Tally(self.collection.project, self.collection.backend, with_remains, self.helpers)

    def _referenced(self, keys: Sequence[str]) -> set[str]:
        return steadily(lambda: references.referenced(self.snapshot, self.collection.project, self.made.schemas, keys))

    def _sweep(self) -> Tally:
        """Reclaim uploads that were given up: their intents prove that no row refers to them."""
        tally = self._tally(with_remains=True)
        total = self.made.reclaim.count
        with progress_bar("reclaiming abandoned uploads", total, self.collection.progress) as advance:
            for table in self.collection.intent_tables(self.tables):
                reclaim(table, table.batches(), self._referenced, tally, advance)
        return tally

    @property
    def _evidence(self) -> Evidence:
        return self.made.evidence or Evidence()

    def _release(self) -> Amount:
        """Take what is referenced again out of quarantine, and forget what is not there any more."""
        if self.made.is_complete:
            self._take_out("gone")
        return self._take_out("release")

    def _take_out(self, name: str) -> Amount:
        done = NOTHING
        for home, items in self._by_home(name):
            taken = set(self._quarantine_in(home).take_out([item.key for item in items]))
            done += _amount(item for item in items if item.key in taken)
        return done

    def _quarantine(self) -> Amount:
        """Set aside what nothing refers to."""
        if not self.made.quarantine:
            return NOTHING
        table, done = self._home(), NOTHING
        with progress_bar("setting aside", self.made.quarantine.count, self.collection.progress) as advance:
            for items in batches(self._evidence.items("quarantine"), BATCH):
                done += _amount(table.add(items))
                advance(len(items))
        return done

    def _home(self) -> QuarantineTable:
        """Return the table for what is set aside: the one there is, or one in the first schema that may have it."""
        error: Exception | None = None
        there = [schema for schema in self.made.schemas if schema in self.tables.quarantine]
        for schema in (*there, *self.made.schemas):
            table = QuarantineTable(self.collection.second, schema, self.collection.project)
            try:
                table.create()
            except Exception as failure:  # noqa: BLE001 - a right that this user has not got in that schema
                error = error or failure
            else:
                return table
        reason = f"there is no schema in which to note what is set aside: {error or 'none uses the project'}"
        way_on = "Run the collector as a user who may create a table in one of the schemas"
        raise refuse(Refusal("no-home", reason, way_on))

    def _purge(self, tally: Tally) -> None:
        """Delete what was set aside longer ago than the grace and is still unused."""
        if not self.made.purge:
            return
        with progress_bar("deleting", self.made.purge.count, self.collection.progress) as advance:
            for home, items in self._by_home("purge"):
                age = max(self.collection.grace.total_seconds(), self._oldest_transaction())
                table = self._quarantine_in(home, age)
                reclaim(table, [table.numbers_of([item.key for item in items])], self._referenced, tally, advance)

    def _oldest_transaction(self) -> float:
        """Return its age: a younger object in quarantine may have a reference that nobody else sees yet."""
        seconds, note = server_facts.oldest_transaction(self.snapshot)
        if note:
            self.notes.append(note)
        return seconds

    def _by_home(self, name: str) -> Iterator[tuple[str, list[ObjectRecord]]]:
        for items in batches(self._evidence.items(name), BATCH):
            for home in sorted({item.home for item in items}):
                yield home, [item for item in items if item.home == home]

    def _quarantine_in(self, home: str, minimal_age_seconds: float = float("inf")) -> QuarantineTable:
        return QuarantineTable(self.collection.second, home, self.collection.project, minimal_age_seconds)

    def _discard(self, tally: Tally) -> Amount:
        """Remove the remains of uploads."""
        done = NOTHING
        for upload in unfinished_uploads(self.collection, self.snapshot, server_facts.clock(self.snapshot)):
            try:
                self.collection.backend.discard(upload)
            except StorageError as error:
                tally.failures.append((upload.key, str(error)))
            else:
                done = done.plus(upload.size or 0)
        return done


def _amount(items: Iterable[ObjectRecord]) -> Amount:
    return sum((Amount(1, item.size) for item in items), NOTHING)
