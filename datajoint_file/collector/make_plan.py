"""Planner of the collector: notes in a database, and perhaps a store's listing, read and judged. Nothing is changed.

A candidate is what somebody noted: an upload that was given up, or an object that left its row and whose retention is
over. Then all claims on it are looked at, in one snapshot: rows of every schema, intents, other entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from datajoint_file.collector import references, server_facts
from datajoint_file.collector.collection import Collection
from datajoint_file.collector.evidence import Amount, Evidence
from datajoint_file.collector.plan import Kept, Missing, Plan, Refusal, brake, check_grace, refusals_of, refuse
from datajoint_file.collector.snapshot import Snapshot, refusing, steadily
from datajoint_file.collector.workers import look_for
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.journal.history_table import UNKNOWN
from datajoint_file.journal.schema_registry import identity_of
from datajoint_file.journal.store_marks import INSIDE, PLACES
from datajoint_file.model.object_keys import REGISTRY, is_candidate, is_sidecar, value_key
from datajoint_file.model.wording import counted
from datajoint_file.storage.backend import UnfinishedUpload
from datajoint_file.storage.tuning import MAX_SKEW

_MISSING_LOOKED_AT = 20_000
_MISSING_NAMED = 100

_OF_BOOKS = ("reclaim", "purge", "expire", "wait", "noted")
"""The sets of evidence that what is noted in the database makes."""


def make_plan(collection: Collection, *, scan: bool, unknown: bool, allow_short_grace: bool) -> Plan:
    """Gather the evidence and say what `execute` would do. Nothing is changed. See `datajoint_file.gc.plan`."""
    check_grace(collection.grace, allow_short=allow_short_grace)
    with Snapshot(collection.connection) as snapshot:
        made = Plan(
            collection.project,
            collection.grace,
            scan or unknown,
            unknown,
            server_facts.clock(snapshot),
            take_over=collection.take_over,
            dropped=tuple(collection.dropped),
            evidence=Evidence(),
        )
        try:
            made = replace(made, database=str(identity := identity_of(collection.second)))
            verdict = steadily(lambda: collection.preflight(snapshot, identity))
            made = replace(made, notes=verdict.notes, schemas=verdict.schemas, refusals=verdict.refusals)
            return made if verdict.refusals else _looked(collection, snapshot, made)
        except CollectionRefusedError as error:
            return replace(made, refusals=(*made.refusals, *refusals_of(error)))
        finally:
            collection.second.close()


def read_books(collection: Collection, snapshot: Snapshot, evidence: Evidence, run: str = "") -> None:
    """Read what is noted of the project's objects. An entry may go now if *run* asks about it, or was stamped in time.

    In time: before every transaction that is open now began. An older one may still copy a reference that nobody sees.
    """
    (oldest, _), tables = server_facts.oldest_transaction(snapshot), server_facts.own_tables(snapshot)
    with refusing("what is noted of the project's objects"):
        schemas = set(snapshot.dialect.readable_schemas(snapshot.try_query))
        for intents in collection.intent_books(tables):
            evidence.add_intents(intents.read(snapshot))
        for book in collection.history_books(tables):
            due = book.checked_by(run) if run else book.stamped_before(oldest)
            evidence.add_entries(book.read(snapshot, due=due, oldest=oldest, schemas=schemas))


def read_references(collection: Collection, snapshot: Snapshot, evidence: Evidence) -> set[str]:
    """Read the references of every row of every schema; return the schemas that have some."""
    found = set[str]()
    with progress_bar("reading references", None, collection.progress) as advance:

        def named() -> Iterator[tuple[str, str]]:
            for attribute, keys, write_ids in references.references(snapshot, collection.project):
                advance(1)
                found.update([attribute.schema] if keys else ())
                evidence.add_mentions(write_ids)
                yield from ((key, str(attribute) if attribute.is_declared else "") for key in keys)

        evidence.add_references(named())
    evidence.close_references(collection.pipeline.settings.object_storage.versions)
    return found


def judged(collection: Collection, snapshot: Snapshot, run: str = "", *, with_rows: bool = True) -> Evidence:
    """Return the evidence of one moment. Rows are not read if nothing depends on them."""

    def read() -> Evidence:
        evidence = Evidence()
        with snapshot.snapshot():
            read_books(collection, snapshot, evidence, run)
            if with_rows and any(evidence.amount(name) for name in _OF_BOOKS):
                read_references(collection, snapshot, evidence)
        return evidence

    return steadily(read)


def kept_objects(collection: Collection) -> Iterator[Kept]:
    """Give what the history keeps, and no row has. See `datajoint_file.gc.kept`."""
    retention, seen = collection.pipeline.settings.object_storage.retention, set[str]()
    with Snapshot(collection.connection) as snapshot:
        evidence, moment = judged(collection, snapshot), server_facts.clock(snapshot)
        books = collection.history_books(server_facts.own_tables(snapshot))
    for book in books:
        for key, size, why, event, since in book.kept():
            if key not in seen and evidence.has("removed", key):
                seen.add(key)
                until = since + (collection.grace if why == UNKNOWN else retention)
                is_version = until < moment and evidence.has("wait", key)
                yield Kept(key, size, why, since, None if is_version else until, event)


def _looked(collection: Collection, snapshot: Snapshot, made: Plan) -> Plan:
    note = server_facts.oldest_transaction(snapshot)[1]
    made = replace(made, notes=(*made.notes, *([note] if note else ())))
    if made.is_scan:
        return _scanned(collection, snapshot, made)
    made = _counted(made, judged(collection, snapshot))
    removed = made.wait + made.noted + made.expire + made.purge
    return _braked(made, made.purge.count, made.references + removed.count)


def _counted(made: Plan, evidence: Evidence) -> Plan:
    amounts: dict[str, Any] = {name: evidence.amount(name) for name in _OF_BOOKS}
    return replace(made, **amounts, references=evidence.amount("referenced").count, evidence=evidence)


def _braked(made: Plan, count: int, known: int) -> Plan:
    stop = brake(count, known)
    return replace(made, refusals=(stop,)) if stop else made


def _scanned(collection: Collection, snapshot: Snapshot, made: Plan) -> Plan:
    """Look at what is stored as well. Listed first: what comes later has its intent or its row when they are read."""
    began = made.made_at - MAX_SKEW  # at the earliest, by the store's clock
    evidence = Evidence()
    _list(collection, evidence)

    def read() -> set[str]:
        evidence.forget_notes()  # of an attempt before
        with snapshot.snapshot():
            read_books(collection, snapshot, evidence)
            return read_references(collection, snapshot, evidence)

    schemas = steadily(read)
    left_out = _look_for_missing(collection, evidence, began)
    remains = unfinished_uploads(collection, evidence, made.made_at)
    made = replace(
        _counted(made, evidence),
        schemas=tuple(sorted({*made.schemas, *schemas})),
        unknown=evidence.amount("unknown"),
        listed=evidence.amount("listed"),
        foreign=evidence.amount("foreign"),
        unfinished=Amount(len(remains), sum(upload.size or 0 for upload in remains)),
        missing_count=evidence.amount("missing").count,
        missing=tuple(Missing(item.key, item.home) for item in islice(evidence.items("missing"), _MISSING_NAMED)),
    )
    made = _withheld(made, left_out)
    noted = made.unknown.count if made.with_unknown and made.is_complete else 0
    return _braked(made, made.purge.count + noted, made.listed.count)


def _list(collection: Collection, evidence: Evidence) -> None:
    marks = f"{collection.project}/{REGISTRY}/"
    with progress_bar("listing objects", None, collection.progress) as advance:

        def found() -> Iterator[tuple[str, int, bool, float | None]]:
            for stat in collection.backend.list(collection.project):
                advance(1)
                if not (stat.key.startswith(marks) or is_sidecar(stat.key)):  # which goes with its object
                    _refuse_inner_project(stat.key)
                    stored = None if stat.modified is None else stat.modified.timestamp()
                    yield value_key(stat.key), stat.size, is_candidate(collection.project, stat.key), stored

        evidence.add_objects(found())


def _refuse_inner_project(key: str) -> None:
    """Refuse if *key* is a mark further down: what is there is of a project whose rows do not begin with this one."""
    inner, is_mark, _ = key.partition(f"/{REGISTRY}/")
    if is_mark:
        raise refuse(Refusal("nested", INSIDE.format(inner=inner), PLACES))


def _look_for_missing(collection: Collection, evidence: Evidence, began: datetime) -> str:
    """Look again for objects that rows refer to and that were not listed: they may be younger than the listing.

    Returns an object that was there and was left out of the listing, if there is one.
    """
    left_out, missing = "", 0
    keys = [item.key for item in islice(evidence.items("missing"), _MISSING_LOOKED_AT)]
    helpers = collection.helpers() if keys else None
    looks = helpers.look(keys) if helpers else ((key, look_for(collection.backend, key)) for key in keys)
    with closing(looks) as results:
        for key, found in results:
            if found is None:
                missing += 1
                if missing >= _MISSING_NAMED:
                    break
                continue
            evidence.forget_reference(key)
            if found.modified is None or found.modified < began:
                left_out = left_out or key
    return left_out


def _withheld(made: Plan, left_out: str) -> Plan:
    """Return the plan, in which no unknown object is deleted if the listing cannot be trusted."""
    found = []
    if left_out:
        found.append(f"the listing left out {left_out}, which is there")
    if made.missing_count:
        found.append(f"rows refer to {counted(made.missing_count, 'object')} not in the store")
    notes = (f"{one}: no unknown object is deleted" for one in found)
    return replace(made, is_complete=not found, notes=(*made.notes, *notes))


def unfinished_uploads(collection: Collection, evidence: Evidence, moment: datetime) -> list[UnfinishedUpload]:
    """Return the remains of uploads that began longer ago than the grace, and that no intent speaks for."""
    if not collection.backend.capabilities.lists_unfinished:
        return []
    in_flight = [item.key for item in evidence.items("live")]
    limit = moment - collection.grace
    return [
        upload
        for upload in collection.backend.unfinished(collection.project)
        if upload.started is not None
        and upload.started < limit
        and not any(upload.may_become(key) for key in in_flight)
    ]
