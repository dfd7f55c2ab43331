"""What the store has, compared with what is noted: objects that are missing, and those that nothing speaks of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.collector import snapshot
from datajoint_file.collector.books import IntentBook
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.testing import Fault, FaultyBackend
from tests.projects import Store, bare_filesystem, over_local_and_s3

from .collecting import (
    Area,
    collect,
    connected,
    declare,
    execute_sql,
    faulty,
    history,
    insert,
    kinds,
    let_grace_pass,
    marks,
    objects,
    path_of,
    raw_json,
    scan,
    set_raw_json,
    sweep,
)


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_project_below_a_prefix_is_stored_read_and_collected_there(
    instance: dj.Instance, database: Area, store: Store
) -> None:
    below = Store({**store.table, "prefix": f"{store.project}/ephys"}, "inner")
    datajoint_file.configure(below.configuration(), connection=instance)
    table = declare(instance.Schema(database.schema()))
    insert(table, 1, 2)
    ref = (table & {"recording_id": 1}).fetch1("raw")
    assert ref.path.startswith("inner/")
    assert ref.url == f"s3://{below.root_name}/{ref.path}"
    assert ref.read() == below.content(ref.path) == b"spikes"
    assert len(marks(below)) == 1
    lost = path_of(table, 2)
    (table & {"recording_id": 2}).delete(prompt=False)
    let_grace_pass(instance.connection, table.database)
    assert collect(instance.connection, force=True).purged.count == 1
    assert below.object_keys() == [ref.path]
    assert lost not in below.all_keys()


def remove_by_sql(table: Any, condition: str = "TRUE") -> None:
    """Delete rows past this package, so that nothing is noted of it."""
    execute_sql(table().connection, f"DELETE FROM {table().full_table_name} WHERE {condition}")


@over_local_and_s3
def test_unknown_object_is_reported_and_deleted_only_when_told_to_and_a_grace_later(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1, 2)
    kept, lost = path_of(table, 1), path_of(table, 2)
    remove_by_sql(table, "recording_id = 2")
    plan = scan(connection)
    assert (plan.unknown, bool(plan)) == (gc.Amount(1, 6), False)
    (entry,) = plan.entries()
    assert (entry.action, entry.key, entry.size, entry.stored is not None) == ("unknown", lost, 6, True)
    assert gc.execute(plan).noted.count == 0
    assert history(table, "path, why") == []
    assert collect(connection, unknown=True).noted == gc.Amount(1, 6)
    assert history(table, "path, size, why, state") == [(lost, 6, "unknown", "kept")]
    assert scan(connection).unknown.count == 0
    assert sweep(connection).purged.count == 0
    let_grace_pass(connection, table.database, timedelta(days=6, hours=23))
    assert (sweep(connection).purged.count, len(objects(store))) == (0, 2)
    let_grace_pass(connection, table.database, timedelta(hours=2))
    assert sweep(connection).purged == gc.Amount(1, 6)
    assert objects(store) == {kept}
    assert history(table) == [("purged",)]
    assert not scan(connection, unknown=True)


def test_unknown_object_that_a_row_takes_meanwhile_stays(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    row = raw_json(table, 1)
    remove_by_sql(table)
    collect(connection, unknown=True)
    let_grace_pass(connection, table.database)
    table.insert1({"recording_id": 2, "raw": None})
    set_raw_json(table, 2, row)
    assert (sweep(connection).purged.count, objects(store)) == (0, {row["path"]})


def test_unknown_object_is_spared_by_name(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    remove_by_sql(table)
    collect(connection, unknown=True)
    (found,) = gc.kept(connection)
    assert (found.key, found.size, found.why, found.until - found.since) == (path, 6, "unknown", timedelta(days=7))
    let_grace_pass(connection, table.database)
    plan = gc.plan(connection)
    assert plan.purge.count == 1
    assert gc.spare([path, "lab/nothing"], connection) == (path,)
    assert gc.spare([path], connection) == ()
    assert list(gc.kept(connection)) == []
    assert gc.execute(plan).purged.count == 0
    assert objects(store) == {path}


def test_what_was_removed_from_a_row_is_not_spared_by_name(table: Any, connection: Any) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    table.delete()
    assert gc.spare([path], connection) == ()
    (found,) = gc.kept(connection)
    assert (found.key, found.why, found.until - found.since) == (path, "delete", timedelta(days=30))


def test_unknown_object_is_noted_once(table: Any, connection: Any) -> None:
    insert(table, 1)
    remove_by_sql(table)
    plan = scan(connection, unknown=True)
    first, second = gc.execute(plan), gc.execute(plan)
    assert (first.noted.count, second.noted.count) == (1, 0)
    assert history(table, "why") == [("unknown",)]


def test_object_of_history_is_not_unknown(table: Any, connection: Any) -> None:
    insert(table, 1)
    table.delete()
    plan = scan(connection, unknown=True)
    assert (plan.unknown.count, plan.wait) == (0, gc.Amount(1, 6))
    assert not plan


@over_local_and_s3
def test_other_files_in_the_project_are_never_touched(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    (table & "recording_id = 1").delete()
    remove_by_sql(table)
    strangers = ["README.md", "notes/2025/plan.txt", f"{table.database}/objects/Recording-raw/x/a.dat", "objects/a-b/c"]
    for name in strangers:
        put_beside(store, name)
    plan = scan(connection, unknown=True)
    assert (plan.listed.count, plan.foreign.count, plan.unknown.count, plan.wait.count) == (2, len(strangers), 1, 1)
    assert len(list(plan.entries())) == 2
    gc.execute(plan)
    let_grace_pass(connection, table.database)
    assert collect(connection, unknown=True).purged.count == 2
    assert objects(store) == {f"{store.project}/{name}" for name in strangers}


def put_beside(store: Store, name: str) -> None:
    if store.is_local:
        path = Path(store.table["path"]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not ours")
    else:
        bare_filesystem(store.table).pipe_file(f"{store.table['bucket']}/{store.project}/{name}", b"not ours")


@over_local_and_s3
def test_missing_object_is_reported_and_keeps_unknown_ones_from_being_noted(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1, 2)
    lost, unknown = path_of(table, 1), path_of(table, 2)
    remove_by_sql(table, "recording_id = 2")
    store.remove(lost)
    plan = scan(connection, unknown=True)
    assert (plan.missing_count, plan.unknown.count, plan.is_complete) == (1, 1, False)
    assert plan.missing[0] == gc.Missing(lost, f"{table.database}.Recording.raw")
    assert gc.execute(plan).noted.count == 0
    assert history(table) == []
    assert objects(store) == {unknown}


class Forgetful(FaultyBackend):
    """A store whose listing leaves things out."""

    left_out: str = ""

    def list(self, prefix: str = "") -> Iterator[Any]:
        return (stat for stat in super().list(prefix) if not self.left_out or self.left_out not in stat.key)


def test_listing_that_leaves_out_an_object_keeps_unknown_ones_from_being_noted(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1, 2)
    remove_by_sql(table, "recording_id = 2")
    pipeline = pipeline_of(connection)
    backend = Forgetful(pipeline.backend)
    backend.left_out = path_of(table, 1)
    make_file_older(store, path_of(table, 1))
    pipeline.stores._backends[pipeline.project] = backend
    plan = scan(connection, unknown=True)
    assert (plan.is_complete, plan.unknown.count) == (False, 1)
    assert "left out" in " ".join(plan.notes)
    assert gc.execute(plan).noted.count == 0
    assert len(objects(store)) == 2


def make_file_older(store: Store, key: str) -> None:
    path = Path(store.table["path"]) / key.partition("/")[2]
    os.utime(path, (1_700_000_000, 1_700_000_000))


def test_object_that_came_after_the_listing_is_not_missing(table: Any, connection: Any) -> None:
    insert(table, 1)
    backend = faulty(connection)
    backend.faults = [
        Fault("list", call=2, moment="after", action=lambda key: insert(table, 2))
    ]  # the first: the marks
    plan = scan(connection)
    assert (plan.listed.count, plan.references, plan.missing_count, plan.is_complete) == (1, 1, 0, True)


def test_many_unknown_objects_at_once_need_force(table: Any, connection: Any, store: Store) -> None:
    insert(table, *range(21))
    remove_by_sql(table)
    assert kinds(scan(connection)) == set()
    plan = scan(connection, unknown=True)
    assert kinds(plan) == {"brake"}
    with pytest.raises(CollectionRefusedError, match="21 objects would be deleted"):
        gc.execute(plan)
    assert gc.execute(plan, force=True).noted.count == 21
    assert len(objects(store)) == 21


def test_plan_of_an_hour_ago_is_refused(table: Any, connection: Any) -> None:
    insert(table, 1)
    plan = scan(connection)
    old = replace(plan, made_at=plan.made_at - timedelta(minutes=61))
    with pytest.raises(CollectionRefusedError, match="Make a new plan"):
        gc.execute(old)


def test_plan_for_another_database_is_refused_and_a_plan_takes_the_connection_that_is_given(
    table: Any, connection: Any, store: Store, database: Area
) -> None:
    insert(table, 1)
    plan = scan(connection)
    with connected(database, store) as another:
        assert gc.execute(plan, connection=another)
        with pytest.raises(CollectionRefusedError, match=r"the plan was made for the project .* database elsewhere"):
            gc.execute(replace(plan, database="elsewhere"), connection=another)


@pytest.mark.parametrize("grace", [timedelta(hours=23), timedelta(days=-1)])
def test_short_grace_is_refused(table: Any, connection: Any, grace: timedelta) -> None:
    with pytest.raises(CollectionRefusedError, match=r"24 hours|negative"):
        gc.plan(connection, grace=grace)
    assert gc.plan(connection, grace=timedelta(hours=1), allow_short_grace=True).refusals == ()


def test_open_transaction_of_the_caller_is_refused(table: Any, connection: Any) -> None:
    insert(table, 1)
    with connection.transaction:
        assert kinds(scan(connection)) == {"transaction"}


def test_plan_prints_what_it_would_do(table: Any, connection: Any) -> None:
    insert(table, 1)
    table.delete()
    plan = scan(connection)
    assert "wait" in str(plan)
    assert json.loads(json.dumps(plan.to_dict()))["wait"] == {"count": 1, "size": 6}
    (entry,) = plan.entries()
    assert (entry.action, entry.size) == ("wait", 6)


def test_scan_of_an_empty_project_has_nothing_to_do(schema: dj.Schema) -> None:
    plan = scan(schema.connection)
    assert (bool(plan), plan.refusals) == (False, ())
    assert not gc.execute(plan).failures


@pytest.mark.parametrize("times", [1, 99])
def test_intents_that_are_gone_say_nothing_of_uploads_in_flight(
    table: Any, connection: Any, store: Store, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A schema is dropped between the list of all tables and the look at its intents: once, or every time."""
    insert(table, 1)
    dropped = iter(range(times))
    original = IntentBook.read

    def read(self: Any, snapshot: Any) -> Iterator[tuple[str, str, int, int, bool]]:
        if next(dropped, None) is not None:
            snapshot.query(f"SELECT path FROM {self.dialect.quoted(self.schema, '~gone')}")
        return original(self, snapshot)

    monkeypatch.setattr(IntentBook, "read", read)
    monkeypatch.setattr(snapshot, "_PAUSES", (0.0,) * 3)
    plan = gc.plan(connection, scan=True)
    assert [refusal.kind for refusal in plan.refusals] == ([] if times == 1 else [snapshot.CHANGED])
    assert len(objects(store)) == 1
