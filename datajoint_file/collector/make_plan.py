"""Planner of the collector: a database and a store are listed, read and judged. Nothing is changed.

The order is the safety: objects are listed first; then intents and references are read in one snapshot. An object that
an upload is about to give a row has an intent then, or its row, or it came after the listing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from itertools import islice

from datajoint_file.collector import references, server_facts
from datajoint_file.collector.collection import Collection
from datajoint_file.collector.evidence import NOTHING, Amount, Evidence
from datajoint_file.collector.plan import Missing, Plan, Refusal, brake, check_grace, refusals_of, refuse
from datajoint_file.collector.server_facts import OwnTables
from datajoint_file.collector.snapshot import Snapshot, refusing, steadily
from datajoint_file.collector.workers import look_for
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.journal.intent_table import RECLAIMED
from datajoint_file.journal.intent_table import TABLE as INTENTS
from datajoint_file.journal.schema_registry import identity_of
from datajoint_file.model.object_keys import REGISTRY, is_candidate
from datajoint_file.model.wording import counted
from datajoint_file.storage.backend import UnfinishedUpload
from datajoint_file.storage.tuning import MAX_SKEW

_MISSING_LOOKED_AT = 20_000
_MISSING_NAMED = 100


def make_plan(collection: Collection, *, scan: bool, allow_short_grace: bool) -> Plan:
    """Gather the evidence and say what `execute` would do. Nothing is changed. See `datajoint_file.gc.plan`."""
    check_grace(collection.grace, allow_short=allow_short_grace)
    with Snapshot(collection.connection) as snapshot:
        made = Plan(
            collection.project,
            collection.grace,
            scan,
            server_facts.clock(snapshot),
            take_over=collection.take_over,
            dropped=tuple(collection.dropped),
            evidence=Evidence(),
        )
        try:
            made = replace(made, database=str(identity := identity_of(collection.second)))
            verdict, tables = collection.preflight(snapshot, identity)
            made = replace(made, notes=verdict.notes, schemas=verdict.schemas, refusals=verdict.refusals)
            return made if verdict.refusals else _looked(collection, snapshot, made, tables)
        except CollectionRefusedError as error:
            return replace(made, refusals=(*made.refusals, *refusals_of(error)))
        finally:
            collection.second.close()


def _looked(collection: Collection, snapshot: Snapshot, made: Plan, tables: OwnTables) -> Plan:
    evidence = made.evidence or Evidence()
    for table in collection.intent_tables(tables):
        evidence.add_abandoned(table.abandoned())
    made = replace(made, reclaim=evidence.amount("abandoned"))
    return _scanned(collection, snapshot, made, tables, evidence) if made.is_scan else made


def _scanned(collection: Collection, snapshot: Snapshot, made: Plan, tables: OwnTables, evidence: Evidence) -> Plan:
    began = made.made_at.replace(tzinfo=timezone.utc) - MAX_SKEW  # at the earliest, by the store's clock
    _list(collection, evidence)
    schemas = steadily(lambda: _read_references(collection, snapshot, made.schemas, evidence))
    for table in collection.quarantine_tables(tables):
        evidence.add_quarantined((record, age > collection.grace) for record, age, _ in table.rows())
    left_out = _look_for_missing(collection, evidence, began)
    remains = unfinished_uploads(collection, snapshot, made.made_at)
    made = replace(
        made,
        schemas=tuple(sorted({*made.schemas, *schemas})),
        quarantine=evidence.amount("quarantine"),
        wait=evidence.amount("waiting"),
        purge=evidence.amount("purge"),
        release=evidence.amount("release"),
        listed=evidence.amount("listed"),
        foreign=evidence.amount("foreign"),
        references=evidence.amount("referenced").count,
        unfinished=Amount(len(remains), sum(upload.size or 0 for upload in remains)),
        missing_count=evidence.amount("missing").count,
        missing=tuple(Missing(item.key, item.home) for item in islice(evidence.items("missing"), _MISSING_NAMED)),
    )
    made = _withheld(made, left_out)
    stop = brake(made.quarantine, made.purge, made.listed)
    return replace(made, refusals=(stop,)) if stop else made


def _list(collection: Collection, evidence: Evidence) -> None:
    marks = f"{collection.project}/{REGISTRY}/"
    with progress_bar("listing objects", None, collection.progress) as advance:

        def found() -> Iterator[tuple[str, int, bool]]:
            for stat in collection.backend.list(collection.project):
                advance(1)
                if not stat.key.startswith(marks):
                    _refuse_inner_project(stat.key)
                    yield stat.key, stat.size, is_candidate(collection.project, stat.key)

        evidence.add_objects(found())


def _refuse_inner_project(key: str) -> None:
    """Refuse if *key* is a mark further down: what is there is of a project whose rows do not begin with this one."""
    inner, is_mark, _ = key.partition(f"/{REGISTRY}/")
    if is_mark:
        reason = f"another project has its objects inside this one's, in {inner}/: they would be taken for unused"
        way_on = "Give each project a place of its own: path, or bucket and prefix, in [storage] of datajoint.toml"
        raise refuse(Refusal("nested", reason, way_on))


def _read_references(
    collection: Collection, snapshot: Snapshot, schemas: Sequence[str], evidence: Evidence
) -> set[str]:
    """Read intents and references in one snapshot; return the schemas that refer to the project."""
    with snapshot.snapshot():
        for schema in server_facts.own_tables(snapshot).intents:  # anew: there may be more of them since the listing
            sql = f"SELECT path FROM {snapshot.name(schema, INTENTS)} WHERE state <> '{RECLAIMED}'"
            evidence.add_intents(path for (path,) in snapshot.stream(sql, f"{schema}.{INTENTS}"))
        found = _add_references(collection, snapshot, schemas, evidence)
    server_facts.require_all(snapshot, found - set(schemas))
    return found


def _add_references(collection: Collection, snapshot: Snapshot, schemas: Sequence[str], evidence: Evidence) -> set[str]:
    found = set()
    with progress_bar("reading references", None, collection.progress) as advance:

        def named() -> Iterator[tuple[str, str]]:
            for key, attribute in references.references(snapshot, collection.project, schemas):
                advance(1)
                found.add(attribute.schema)
                yield key, str(attribute)

        evidence.add_references(named())
    return found


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
    """Return the plan without deletions if the listing cannot be trusted."""
    notes = []
    if left_out:
        notes.append(f"the listing left out {left_out}, which is there: nothing is deleted in this run")
    if made.missing_count:
        notes.append(
            f"rows refer to {counted(made.missing_count, 'object')} not in the store: nothing is deleted in this run"
        )
    if not notes:
        return made
    return replace(made, is_complete=False, wait=made.wait + made.purge, purge=NOTHING, notes=(*made.notes, *notes))


def unfinished_uploads(collection: Collection, snapshot: Snapshot, moment: datetime) -> list[UnfinishedUpload]:
    """Return the remains of uploads that began longer ago than the grace, and that no intent speaks for."""
    if not collection.backend.capabilities.lists_unfinished:
        return []
    in_flight = steadily(lambda: _in_flight(collection, snapshot))
    limit = moment.replace(tzinfo=timezone.utc) - collection.grace
    return [
        upload
        for upload in collection.backend.unfinished(collection.project)
        if upload.started is not None
        and upload.started < limit
        and not any(upload.may_become(key) for key in in_flight)
    ]


def _in_flight(collection: Collection, snapshot: Snapshot) -> list[str]:
    tables = server_facts.own_tables(snapshot)  # anew at each attempt: schemas come and go
    with refusing("the intents of a schema"):
        return [key for table in collection.intent_tables(tables) for key in table.in_flight()]
