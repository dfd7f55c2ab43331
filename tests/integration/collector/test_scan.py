"""Objects that no row refers to: set aside, kept for the grace, deleted; and whatever is in use stays."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint_file.collector.tables import AbandonedIntents

import datajoint_file
from datajoint_file import gc
from datajoint_file.collector import snapshot
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.testing import Fault, FaultyBackend
from tests.projects import Store, bare_filesystem, over_local_and_s3

from .collecting import (
    Area,
    collect,
    connect_to,
    connected,
    declare,
    execute_sql,
    insert,
    is_mysql,
    kinds,
    let_grace_pass,
    make_older,
    marks,
    objects,
    own,
    path_of,
    raw_json,
    scan,
    set_raw_json,
)


@pytest.fixture
def other_schema(pipeline: dj.Instance, database: Area) -> dj.Schema:
    return pipeline.Schema(database.schema())


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
    assert collect(instance.connection, force=True).quarantined.count == 1
    let_grace_pass(instance.connection, table.database)
    assert collect(instance.connection, force=True).purged.count == 1
    assert below.object_keys() == [ref.path]
    assert lost not in below.all_keys()


def faulty(connection: Any, *faults: Fault) -> FaultyBackend:
    pipeline = pipeline_of(connection)
    backend = FaultyBackend(pipeline.backend, *faults)
    pipeline._backends[pipeline.project] = backend
    return backend


@over_local_and_s3
def test_deleted_row_loses_its_object_in_the_second_run(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    kept, lost = path_of(table, 1), path_of(table, 2)
    (table & {"recording_id": 2}).delete()
    first = collect(connection)
    assert first.quarantined.count == 1
    assert objects(store) == {kept, lost}
    assert collect(connection).purged.count == 0
    let_grace_pass(connection, table.database)
    last = collect(connection)
    assert (last.purged.count, last.purged.size, last.failures) == (1, 6, ())
    assert objects(store) == {kept}
    assert not scan(connection)


@over_local_and_s3
def test_rolled_back_delete_keeps_the_object(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    with pytest.raises(RuntimeError), connection.transaction:
        table.delete()
        raise RuntimeError
    plan = scan(connection)
    assert (plan.references, plan.quarantine.count) == (1, 0)
    assert not plan
    assert objects(store) == {path_of(table, 1)}


@over_local_and_s3
def test_object_is_shared_with_a_copy_in_another_schema(
    table: Any, connection: Any, store: Store, other_schema: dj.Schema
) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    copies = declare(other_schema, "Copy")
    copies.insert(table)
    table.delete()
    collect(connection)
    assert not scan(connection)
    copies.delete()
    assert collect(connection).quarantined.count == 1
    for schema in (table.database, other_schema.database):
        make_older(connection, schema, "~file_quarantine", "first_seen", missing_ok=True)
    assert collect(connection).purged.count == 1
    assert path not in objects(store)


def test_table_made_by_select_holds_its_objects(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    name = own(connection, table.database, "by_hand")
    execute_sql(connection, f"CREATE TABLE {name} AS SELECT * FROM {own(connection, table.database, 'recording')}")
    table.delete()
    plan = scan(connection)
    assert (plan.references, plan.quarantine.count) == (1, 0)
    execute_sql(connection, f"DROP TABLE {name}")
    assert scan(connection).quarantine.count == 1


def test_undeclared_json_holds_what_it_names(table: Any, connection: Any) -> None:
    insert(table, 1)
    name = own(connection, table.database, "notes")
    execute_sql(connection, f"CREATE TABLE {name} (id INT PRIMARY KEY, note JSON)")
    note = json.dumps({"list": [{"deep": path_of(table, 1)}]})
    connection.query(f"INSERT INTO {name} VALUES (1, %s)", (note,))
    table.delete()
    assert scan(connection).quarantine.count == 0
    execute_sql(connection, f"DROP TABLE {name}")


@over_local_and_s3
def test_other_files_in_the_project_are_never_touched(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    table.delete()
    strangers = ["README.md", "notes/2025/plan.txt", f"{table.database}/objects/Recording-raw/x/a.dat", "objects/a-b/c"]
    for name in strangers:
        put_beside(store, name)
    plan = scan(connection)
    assert (plan.listed.count, plan.foreign.count, plan.quarantine.count) == (1, len(strangers), 1)
    assert len(list(plan.entries())) == 1
    gc.execute(plan)
    let_grace_pass(connection, table.database)
    assert collect(connection).purged.count == 1
    assert objects(store) == {f"{store.project}/{name}" for name in strangers}


def put_beside(store: Store, name: str) -> None:
    if store.is_local:
        path = Path(store.table["path"]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not ours")
    else:
        bare_filesystem(store.table).pipe_file(f"{store.table['bucket']}/{store.project}/{name}", b"not ours")


@over_local_and_s3
def test_missing_object_is_reported_and_stops_deletions(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    lost, due = path_of(table, 1), path_of(table, 2)
    (table & {"recording_id": 2}).delete()
    collect(connection)
    let_grace_pass(connection, table.database)
    store.remove(lost)
    plan = scan(connection)
    assert (plan.missing_count, plan.purge.count, plan.wait.count) == (1, 0, 1)
    assert plan.missing[0] == gc.Missing(lost, f"{table.database}.Recording.raw")
    assert gc.execute(plan).purged.count == 0
    assert objects(store) == {due}


class Forgetful(FaultyBackend):
    """A store whose listing leaves things out."""

    left_out: str = ""

    def list(self, prefix: str = "") -> Iterator[Any]:
        return (stat for stat in super().list(prefix) if not self.left_out or self.left_out not in stat.key)


def test_listing_that_leaves_out_an_object_stops_deletions(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    (table & {"recording_id": 2}).delete()
    collect(connection)
    let_grace_pass(connection, table.database)
    pipeline = pipeline_of(connection)
    backend = Forgetful(pipeline.backend)
    backend.left_out = path_of(table, 1)
    make_file_older(store, path_of(table, 1))
    pipeline._backends[pipeline.project] = backend
    plan = scan(connection)
    assert not plan.is_complete
    assert "left out" in " ".join(plan.notes)
    assert gc.execute(plan).purged.count == 0
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


def test_object_that_is_referenced_again_is_released(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    row = raw_json(table, 1)
    table.delete()
    collect(connection)
    let_grace_pass(connection, table.database)
    insert(table, 2)
    set_raw_json(table, 2, row)
    plan = scan(connection)
    assert (plan.release.count, plan.purge.count, plan.quarantine.count) == (1, 0, 1)
    assert gc.execute(plan).released.count == 1
    assert row["path"] in {str(ref.path) for ref in table.to_arrays("raw")}
    assert [one.key for one in gc.quarantined(connection)] == [next(iter(objects(store) - {row["path"]}))]


def test_plan_that_another_has_carried_out_changes_nothing_and_says_so(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1)
    row = raw_json(table, 1)
    table.delete()
    collect(connection)
    insert(table, 2)
    set_raw_json(table, 2, row)
    plan = scan(connection)
    first, second = gc.execute(plan), gc.execute(plan)
    assert (first.released, first.quarantined) == (plan.release, plan.quarantine) == (gc.Amount(1, 6), gc.Amount(1, 6))
    assert (second.released, second.quarantined) == (gc.Amount(), gc.Amount())
    assert len(list(gc.quarantined(connection))) == 1


def test_row_that_comes_between_plan_and_deletion_saves_its_object(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    row = raw_json(table, 1)
    table.delete()
    collect(connection)
    let_grace_pass(connection, table.database)
    plan = scan(connection)
    assert plan.purge.count == 1
    table.insert1({"recording_id": 2, "raw": None})
    set_raw_json(table, 2, row)
    done = gc.execute(plan)
    assert (done.purged.count, done.spared) == (0, 1)
    assert row["path"] in objects(store)


def test_old_open_transaction_delays_the_deletion(table: Any, connection: Any, database: Area, store: Store) -> None:
    insert(table, 1)
    table.delete()
    with contextlib.closing(connect_to(database).connection) as reader:
        begin_and_read(reader, own(connection, table.database, "recording"))
        collect(connection)  # sets aside later than that transaction began
        options: Any = {"grace": timedelta(0), "allow_short_grace": True}
        assert (collect(connection, **options).purged.count, len(objects(store))) == (0, 1)
    if is_mysql(connection):
        connection.query("SELECT SLEEP(2.2)")  # its clock of transactions has seconds, and what it tells is a bit old
    assert collect(connection, **options).purged.count == 1


def begin_and_read(connection: Any, table: str) -> None:
    connection.query("START TRANSACTION")
    connection.query(f"SELECT COUNT(*) FROM {table}")


def test_many_unused_objects_at_once_need_force(table: Any, connection: Any, store: Store) -> None:
    insert(table, *range(21))
    table.delete()
    plan = scan(connection)
    assert kinds(plan) == {"brake"}
    with pytest.raises(CollectionRefusedError, match="21 objects would be set aside"):
        gc.execute(plan)
    assert gc.execute(plan, force=True).quarantined.count == 21
    let_grace_pass(connection, table.database)
    plan = scan(connection)
    assert kinds(plan) == {"brake"}
    assert len(objects(store)) == 21
    assert gc.execute(plan, force=True).purged.count == 21
    assert objects(store) == set()


def test_restored_object_begins_a_new_grace(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    path = path_of(table, 1)
    table.delete()
    collect(connection)
    let_grace_pass(connection, table.database)
    (found,) = gc.quarantined(connection)
    assert (found.key, found.size, found.due - found.first_seen) == (path, 6, timedelta(days=7))
    plan = scan(connection)
    assert gc.restore([path, "lab/nothing"], connection) == (path,)
    assert list(gc.quarantined(connection)) == []
    assert gc.execute(plan).purged.count == 0
    assert collect(connection).quarantined.count == 1
    assert objects(store) == {path}


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


def test_failing_deletion_leaves_the_object_and_its_row(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    table.delete()
    collect(connection)
    let_grace_pass(connection, table.database)
    plan = scan(connection)
    backend = faulty(connection)
    backend.faults = [Fault("delete", call=call) for call in (2,)]
    done = gc.execute(plan)
    assert not done
    assert done.purged.count + len(done.failures) == 2
    assert len(objects(store)) == len(done.failures) == 1
    assert done.failures[0][0] in objects(store)
    backend.faults = []
    assert collect(connection).purged.count == 1
    assert objects(store) == set()


def test_plan_prints_what_it_would_do(table: Any, connection: Any) -> None:
    insert(table, 1)
    table.delete()
    plan = scan(connection)
    assert "quarantine" in str(plan)
    assert json.loads(json.dumps(plan.to_dict()))["quarantine"] == {"count": 1, "size": 6}
    (entry,) = plan.entries()
    assert (entry.action, entry.size) == ("quarantine", 6)


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
    original = AbandonedIntents.in_flight

    def in_flight(self: Any) -> list[str]:
        if next(dropped, None) is not None:
            self.second.query(f"SELECT path FROM {self.dialect.quoted(self.schema, '~gone')}")
        return original(self)

    monkeypatch.setattr(AbandonedIntents, "in_flight", in_flight)
    monkeypatch.setattr(snapshot, "_PAUSES", (0.0,) * 3)
    plan = gc.plan(connection, scan=True)
    assert [refusal.kind for refusal in plan.refusals] == ([] if times == 1 else [snapshot.CHANGED])
    assert len(objects(store)) == 1
