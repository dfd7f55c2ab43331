"""Execution of a plan: marks brought up to date, clocks compared, then objects deleted and set aside.

Everything that a plan rests on and that may have changed is looked at again; what is deleted is, under a lock, in
`collector.execution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from datajoint_file.collector import references, server_facts
from datajoint_file.collector.book_tables import BATCH, QuarantineBook
from datajoint_file.collector.evidence import NOTHING, Amount, Evidence, batches
from datajoint_file.collector.make_plan import MAX_SKEW, unfinished_uploads
from datajoint_file.collector.plan import Collected, Plan, Refusal, refuse
from datajoint_file.collector.preflight import Verdict
from datajoint_file.collector.reclaim import Tally, reclaim
from datajoint_file.collector.run import Run, has_objects, preflight
from datajoint_file.collector.snapshot import Snapshot, steadily
from datajoint_file.collector.workers import Helpers
from datajoint_file.concurrency.executors import check_executor
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import StorageError
from datajoint_file.journal.schema_registry import RegistryBook, identity_of, refresh
from datajoint_file.journal.store_marks import Identity

MAX_PLAN_AGE = timedelta(hours=1)
"""An older plan is not carried out: too much may have changed."""


def execute(made: Plan, *, force: bool, progress: bool | None, executor: Executor | None = None) -> Collected:
    """Carry out a plan. See `datajoint_file.gc.execute`."""
    shown = progress if progress is not None else made.run.progress
    run: Run = replace(made.run, progress=shown, executor=None if executor is None else check_executor(executor))
    refusals = made.standing_refusals(force=force)
    if refusals:
        raise refuse(*refusals)
    with Snapshot(run.connection) as snapshot:
        try:
            _check_age(made, server_facts.clock(snapshot))
            verdict, _ = preflight(run, snapshot)
            if verdict.refusals:
                raise refuse(*verdict.refusals)
            problems, marks = _registered(run, snapshot, made, verdict)
            helpers = run.helpers(marks) if marks else None
            return _Execution(run, snapshot, made, server_facts.own_tables(snapshot), problems, helpers).all()
        finally:
            run.side.close()


def _check_age(made: Plan, moment: datetime) -> None:
    if not timedelta(0) <= moment - made.made_at <= MAX_PLAN_AGE:
        raise refuse(
            Refusal(
                "old-plan",
                f"the plan was made at {made.made_at} and it is {moment} now, by the database's clock",
                "Make a new plan: it is carried out within an hour",
            )
        )


def _registered(run: Run, snapshot: Snapshot, made: Plan, verdict: Verdict) -> tuple[list[str], tuple[str, ...]]:
    """Bring the marks up to date, and compare the clocks by new ones.

    Nothing has been deleted so far but marks.

    Returns
    -------
    tuple
        Which schemas could not be marked, and the keys of the new marks, which no copy of the store can have.
    """
    schemas = {*verdict.schemas, *made.schemas}
    if run.take_over:
        schemas |= steadily(lambda: references.schemas_using(snapshot, run.project))
    if not schemas and (verdict.forget or has_objects(run)):
        raise refuse(_NO_SCHEMA)
    for key in verdict.forget:
        run.mark_store.remove(key)
    identity = identity_of(run.side)
    marks: list[str] = []
    problems = [problem for schema in sorted(schemas) if (problem := _bump(run, snapshot, identity, schema, marks))]
    if problems and len(problems) == len(schemas):
        raise refuse(
            Refusal(
                "unmarked",
                f"no schema could be marked as in use, so that clocks could not be compared: {problems[0]}",
                "Run the collector as a user who may write to one of the schemas",
            )
        )
    return problems, tuple(marks)


_NO_SCHEMA = Refusal(
    "no-schema",
    "no schema of this database refers to the project's objects, so that there is no place to note what is set aside",
    "Store a file in one of its schemas first; to give up the whole project, delete its directory or prefix by hand",
)


def _bump(run: Run, snapshot: Snapshot, identity: Identity, schema: str, marks: list[str]) -> str:
    """Begin a new epoch of a schema, add its mark to *marks*, return what hindered it; refuse if clocks disagree."""
    book = RegistryBook(run.side, schema, run.project)
    try:
        book.prepare()
        mark = refresh(book, run.mark_store, identity, bump=True)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - most often a right that this user has not got
        return f"{schema} could not be marked as in use: {error}"
    if mark is None:
        raise refuse(Refusal("restored", f"{schema}: the store knows epochs that the database does not", "Plan again"))
    marks.append(run.mark_store.key_of(mark))
    stat = run.backend.stat(marks[-1])
    if stat.modified is not None:
        _check_clocks(stat.modified, server_facts.clock(snapshot).replace(tzinfo=timezone.utc))
    return ""


def _check_clocks(store: datetime, database: datetime) -> None:
    if abs(store - database) > MAX_SKEW:
        raise refuse(
            Refusal(
                "clock",
                f"the store says that it is {store:%Y-%m-%d %H:%M:%S}, the database {database:%Y-%m-%d %H:%M:%S} (UTC)",
                "Set the clock that is wrong; graces would be measured by it",
            )
        )


class _Execution:
    """A plan being carried out."""

    def __init__(
        self,
        run: Run,
        snapshot: Snapshot,
        made: Plan,
        tables: server_facts.OwnTables,
        notes: Sequence[str],
        helpers: Helpers | None,
    ) -> None:
        self.run = run
        self.snapshot = snapshot
        self.made = made
        self.tables = tables
        self.notes = list(notes)
        self.helpers = helpers

    def all(self) -> Collected:
        """Do everything, in the order that leaves least behind if it is cut short."""
        swept = self._sweep()
        done = Collected(
            reclaimed=swept.deleted,
            discarded=swept.discarded,
            spared=swept.spared,
            failures=tuple(swept.failures),
            notes=tuple(swept.notes),
        )
        if self.made.is_scan:
            done = self._scan_part(done)
        for book in self.run.intent_books(self.tables):
            with suppress(Exception):  # tidying
                book.bury()
        return replace(done, notes=(*done.notes, *dict.fromkeys(self.notes)))

    def _scan_part(self, done: Collected) -> Collected:
        released, quarantined = self._release(), self._quarantine()
        purged = self._purge()
        discarded = self._discard(purged)
        return replace(
            done,
            released=released,
            quarantined=quarantined,
            purged=purged.deleted,
            discarded=done.discarded + discarded,
            spared=done.spared + purged.spared,
            failures=(*done.failures, *purged.failures),
            notes=(*done.notes, *purged.notes),
        )

    def _referenced(self, keys: Sequence[str]) -> set[str]:
        return steadily(lambda: references.referenced(self.snapshot, self.run.project, self.made.schemas, keys))

    def _sweep(self) -> Tally:
        """Reclaim uploads that were given up: their intents prove that no row refers to them."""
        tally = Tally(self.run.project, self.run.backend, with_remains=True, helpers=self.helpers)
        total = self.made.reclaim.count
        with progress_bar("reclaiming abandoned uploads", total, self.run.progress) as advance:
            for book in self.run.intent_books(self.tables):
                reclaim(book, book.batches(), self._referenced, tally, advance)
        return tally

    @property
    def _evidence(self) -> Evidence:
        return self.made.evidence or Evidence()

    def _release(self) -> Amount:
        """Take what is referenced again out of quarantine, and forget what is not there any more."""
        for name in ("gone", "release") if self.made.is_complete else ("release",):
            for home, keys in self._by_home(name):
                book = self._book(home)
                book.close(book.numbers_of(keys))
        return self.made.release

    def _quarantine(self) -> Amount:
        """Set aside what nothing refers to."""
        if not self.made.quarantine:
            return NOTHING
        book = self._home()
        with progress_bar("setting aside", self.made.quarantine.count, self.run.progress) as advance:
            for items in batches(self._evidence.items("quarantine"), BATCH):
                book.add(items)
                advance(len(items))
        return self.made.quarantine

    def _home(self) -> QuarantineBook:
        """Return the book for what is set aside: the one there is, or one in the first schema that may have it."""
        error: Exception | None = None
        there = [schema for schema in self.made.schemas if schema in self.tables.quarantine]
        for schema in (*there, *self.made.schemas):
            book = QuarantineBook(self.run.side, schema, self.run.project)
            try:
                book.create()
            except Exception as failure:  # noqa: BLE001 - a right that this user has not got in that schema
                error = error or failure
            else:
                return book
        raise refuse(
            Refusal(
                "no-home",
                f"there is no schema in which to note what is set aside: {error or 'none uses the project'}",
                "Run the collector as a user who may create a table in one of the schemas",
            )
        )

    def _purge(self) -> Tally:
        """Delete what was set aside longer ago than the grace and is still unused."""
        tally = Tally(self.run.project, self.run.backend, helpers=self.helpers)
        if not self.made.purge:
            return tally
        with progress_bar("deleting", self.made.purge.count, self.run.progress) as advance:
            for home, keys in self._by_home("purge"):
                book = self._book(home)
                oldest = server_facts.oldest_transaction(self.snapshot)
                if oldest.note:
                    self.notes.append(oldest.note)
                book.minimal_age_seconds = max(self.run.grace_seconds, min(oldest.age_seconds, 1e12))
                reclaim(book, [book.numbers_of(keys)], self._referenced, tally, advance)
        return tally

    def _by_home(self, name: str) -> Iterator[tuple[str, list[str]]]:
        for items in batches(self._evidence.items(name), BATCH):
            for home in sorted({item.home for item in items}):
                yield home, [item.key for item in items if item.home == home]

    def _book(self, home: str) -> QuarantineBook:
        return QuarantineBook(self.run.side, home, self.run.project)

    def _discard(self, tally: Tally) -> Amount:
        """Remove the remains of uploads."""
        done = NOTHING
        for upload in unfinished_uploads(self.run, self.tables, server_facts.clock(self.snapshot)):
            try:
                self.run.backend.discard(upload)
            except StorageError as error:
                tally.failures.append((upload.key, str(error)))
            else:
                done = done.plus(upload.size or 0)
        return done
