"""Execution of a plan: marks brought up to date, clocks compared, then objects condemned and deleted.

Nothing is deleted by the plan: its evidence is gathered anew, after everybody can see which objects are asked about.
The order, of which each step is committed before the next::

    check     the entries that an earlier run has stamped: from now on nobody can share their objects
    judge     in one snapshot: every row, every intent, every entry that names them
    condemn   what nobody claims, for good
    delete    the objects; then note that they are gone
    stamp     entries whose retention is over, of what nobody claims: a later run begins with them

Wherever this is cut short, the next run goes on: what is condemned is deleted, what is only checked is asked about
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from datajoint_file.collector import references, server_facts
from datajoint_file.collector.books import BATCH, HistoryBook, IntentBook
from datajoint_file.collector.collection import Collection
from datajoint_file.collector.evidence import NOTHING, Amount, Evidence, ObjectRecord
from datajoint_file.collector.make_plan import judged, unfinished_uploads
from datajoint_file.collector.plan import Collected, Plan, Refusal, refuse
from datajoint_file.collector.preflight import Verdict
from datajoint_file.collector.snapshot import CHANGED, Snapshot, refusing, steadily
from datajoint_file.collector.workers import Deleted, Helpers, delete_object
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import CollectionRefusedError, DataJointFileError, ObjectNotFoundError, StorageError
from datajoint_file.journal.history import ensure_history
from datajoint_file.journal.intent_table import batches
from datajoint_file.journal.schema_registry import RegistryTable, identity_of, refresh
from datajoint_file.journal.store_marks import Identity
from datajoint_file.model.object_keys import new_write_id, schema_named_by
from datajoint_file.storage.tuning import MAX_SKEW

_HOPELESS = 20
"""After so many failures in a row the store, or the right to delete, is what fails."""

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
            verdict = steadily(lambda: collection.preflight(snapshot, identity))
            if verdict.refusals:
                raise refuse(*verdict.refusals)
            note = server_facts.oldest_transaction(snapshot)[1]
            problems, marks = _register(collection, snapshot, made, verdict, identity)
            helpers = collection.helpers(marks) if marks else None
            return _Execution(collection, snapshot, made, [*problems, *([note] if note else ())], helpers).run_all()
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


def _register(
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
    "no schema of this database refers to the project's objects, so that there is no place to note anything about them",
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
    try:
        stat = collection.backend.stat(marks[-1])
    except ObjectNotFoundError as error:
        raise refuse(Refusal(CHANGED, "another collector has begun", "Wait for its end, and try again")) from error
    if stat.modified is not None:
        database = server_facts.clock(snapshot)
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
    notes: list[str]
    helpers: Helpers | None
    run: str = field(default_factory=new_write_id)
    failures: list[tuple[str, str]] = field(default_factory=list)
    discarded: Amount = NOTHING
    _failed_in_a_row: int = 0
    _untried: int = 0

    def __post_init__(self) -> None:
        tables = server_facts.own_tables(self.snapshot)
        self.intents = {book.schema: book for book in self.collection.intent_books(tables)}
        self.histories = {book.schema: book for book in self.collection.history_books(tables)}

    def run_all(self) -> Collected:
        """Do everything. What may refuse comes before anything is deleted."""
        is_noting = self.made.with_unknown and self.made.is_complete and bool(self.made.unknown)
        homes = self._homes() if is_noting else {}
        try:
            candidates, has_work = self._mark_for_check()
            evidence = judged(self.collection, self.snapshot, self.run) if has_work else Evidence()
            reclaimed, purged = self._delete_all("reclaim", evidence), self._delete_all("purge", evidence)
            if self._untried:
                self.notes.append(f"stopped after {_HOPELESS} failures in a row")
            expired = self._stamp_expired(evidence)
        finally:
            for book in self.histories.values():
                with suppress(Exception):  # the next run asks about them again
                    book.release(self.run)
        noted = self._note_unknown(homes) if homes else NOTHING
        if self.made.is_scan:
            try:
                self._discard()
            except CollectionRefusedError as error:
                self.notes.append(f"the remains of uploads were left: {error}")
        self._tidy()
        spared = candidates - reclaimed.count - purged.count - len(self.failures) - self._untried
        return Collected(
            reclaimed, purged, expired, noted, self.discarded, max(spared, 0), tuple(self.failures), tuple(self.notes)
        )

    def _mark_for_check(self) -> tuple[int, bool]:
        """Say which entries this run asks about; return how many objects may go, and whether rows have to be read."""
        evidence = judged(self.collection, self.snapshot, with_rows=False)
        count = evidence.amount("reclaim").count
        for some in _batches(evidence, "purge"):
            for home, numbers in evidence.numbers("entry", [one.key for one in some]).items():
                self.histories[home].check(numbers, self.run)
            count += len(some)
        for book in self.histories.values():
            with suppress(Exception):  # a right that this user has not got there: they stay as they are
                book.release_young()
        return count, count > 0 or bool(evidence.amount("expire"))

    def _stamp_expired(self, evidence: Evidence) -> Amount:
        """Note of which objects the retention is over and nobody claims them: a later run deletes them."""
        expired = NOTHING
        for some in _batches(evidence, "expire"):
            stamped = set()
            for home, numbers in evidence.numbers("entry", [one.key for one in some], "expired").items():
                stamped |= {numbers[number] for number in self.histories[home].stamp(numbers)}
            expired += _amount(one for one in some if one.key in stamped)
        return expired

    def _delete_all(self, action: str, evidence: Evidence) -> Amount:
        """Condemn and delete what nobody claims, a few objects at a time."""
        done = NOTHING
        with progress_bar(f"deleting ({action})", evidence.amount(action).count, self.collection.progress) as advance:
            for some in _batches(evidence, action):
                if self._failed_in_a_row >= _HOPELESS:
                    self._untried += len(some)
                    continue
                done += self._delete({one.key: one.size for one in some}, evidence)
                advance(len(some))
        return done

    def _delete(self, sizes: dict[str, int], evidence: Evidence) -> Amount:
        """Delete those of some objects of which every note could be condemned. Two collectors count each once."""
        notes: list[tuple[IntentBook | HistoryBook, dict[int, str]]] = [
            *((self.intents[home], some) for home, some in evidence.numbers("intent", sizes).items()),
            *((self.histories[home], some) for home, some in evidence.numbers("entry", sizes).items()),
        ]
        free, counted = set(sizes), set[str]()
        for book, some in notes:
            free -= {some[number] for number in some.keys() - set(book.condemn(some, self.run))}
        gone = {result.key for result in self._results(sorted(free)) if self._record(result)}
        for book, some in notes:
            counted |= {some[number] for number in book.mark_deleted(n for n, key in some.items() if key in gone)}
        return _amount(ObjectRecord(key, sizes[key], "") for key in counted)

    def _results(self, keys: Sequence[str]) -> Iterator[Deleted]:
        """Delete condemned objects by their exact keys."""
        if self.helpers is not None and self.helpers.may_delete:
            yield from self.helpers.delete(keys)
            return
        for key in keys:
            if self._failed_in_a_row < _HOPELESS:
                yield delete_object(self.collection.backend, self.collection.project, key)

    def _record(self, result: Deleted) -> bool:
        self.discarded += result.discarded
        self._failed_in_a_row = self._failed_in_a_row + 1 if result.problem else 0
        if result.problem:
            self.failures.append((result.key, result.problem))
        return not result.problem

    def _note_unknown(self, homes: Mapping[str, HistoryBook]) -> Amount:
        """Note the unknown objects of the plan's listing for deletion."""
        evidence, done = self.made.evidence or Evidence(), NOTHING
        for some in _batches(evidence, "unknown"):
            for schema, book in homes.items():
                here = [one for one in some if schema_named_by(one.key) == schema]
                done += _amount(book.add_unknown(here, self.run) if here else ())
        return done

    def _homes(self) -> dict[str, HistoryBook]:
        """Return the history of each schema that unknown objects name; of one that is gone, the first there may be."""
        with refusing("the list of all schemas"):
            there = self.snapshot.dialect.readable_schemas(self.snapshot.try_query)
        evidence = self.made.evidence or Evidence()
        named = sorted({schema_named_by(one.key) for one in evidence.items("unknown")})
        return {schema: self._home([schema] if schema in there else self.made.schemas) for schema in named}

    def _home(self, schemas: Sequence[str]) -> HistoryBook:
        """Return the history of the first of *schemas* that may have one."""
        for schema in sorted(schemas, key=lambda schema: schema not in self.histories):
            if ensure_history(self.collection.connection, schema):
                return HistoryBook(self.collection.second, schema, self.collection.project, self.collection.graces)
        where = f"schema {schemas[0]}" if len(schemas) == 1 else "any schema"
        reason = f"what is to be deleted cannot be noted in a history of {where}"
        way_on = "Run the collector as a user who may create a table there"
        raise refuse(Refusal("no-home", reason, way_on))

    def _discard(self) -> None:
        """Remove the remains of uploads."""
        evidence, moment = judged(self.collection, self.snapshot, with_rows=False), server_facts.clock(self.snapshot)
        for upload in unfinished_uploads(self.collection, evidence, moment):
            try:
                self.collection.backend.discard(upload)
            except DataJointFileError as error:  # also a name that no upload of ours has
                self.failures.append((upload.key, str(error)))
            else:
                self.discarded += Amount(1, upload.size or 0)

    def _tidy(self) -> None:
        books: list[IntentBook | HistoryBook] = [*self.intents.values(), *self.histories.values()]
        for book in books:
            with suppress(Exception):  # the next run does it
                book.tidy()


def _batches(evidence: Evidence, name: str) -> Iterator[list[ObjectRecord]]:
    return batches(evidence.items(name), BATCH)


def _amount(items: Iterable[ObjectRecord]) -> Amount:
    return sum((Amount(1, item.size) for item in items), NOTHING)
