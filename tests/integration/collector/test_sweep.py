"""Uploads that were given up: reclaimed by their intents alone, and none that anybody may still want."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.sql import PostgreSQL
from datajoint_file.testing import Fault, GeneratedReader, kill
from tests.projects import COLLECTED, Store, in_turn, over_local_and_s3

from .collecting import (
    Area,
    collect,
    connect_to,
    connected,
    declare,
    execute_sql,
    faulty,
    give_up,
    history,
    in_child,
    insert,
    intents,
    kill_at_statement,
    let_grace_pass,
    make_older,
    objects,
    own,
    path_of,
    scan,
    sweep,
)


@over_local_and_s3
def test_abandoned_upload_is_deleted_without_a_listing(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    give_up(table, 2, 3)
    backend = faulty(connection)
    plan = gc.plan(connection)
    assert plan.reclaim.count == 2
    assert {entry.action for entry in plan.entries()} == {"reclaim"}
    assert gc.execute(plan).reclaimed.count == 2
    assert objects(store) == {path_of(table, 1)}
    assert intents(table) == [("reclaimed",), ("reclaimed",)]
    assert {key for verb, key in backend.history if verb == "list" and "~registry" not in key} == set()
    assert not gc.plan(connection)


def test_live_lease_and_young_ones_are_left(table: Any, connection: Any, store: Store) -> None:
    give_up(table, 1, by=timedelta(days=6, hours=23))
    assert sweep(connection).reclaimed.count == 0
    assert sweep(connection, grace=timedelta(days=1)).reclaimed.count == 1


def test_open_transaction_keeps_its_uploads(table: Any, connection: Any, database: Area, store: Store) -> None:
    with connection.transaction:
        insert(table, 1)
        with connected(database, store) as other:
            done = collect(other, unknown=True)
            assert (done.reclaimed.count, done.noted.count, len(objects(store))) == (0, 0, 1)
    assert objects(store) == {path_of(table, 1)}


def test_locked_intent_is_spared_however_old(table: Any, connection: Any, database: Area, store: Store) -> None:
    give_up(table, 1, 2)
    name = own(connection, table.database, "~file_intent")
    plan = gc.plan(connection)
    with closing(connect_to(database).connection) as other:
        other.query("START TRANSACTION")
        first = intents(table, "number")[0][0]
        other.query(f"SELECT 1 FROM {name} WHERE number = {first} FOR UPDATE")
        done = gc.execute(plan)
        assert (done.reclaimed.count, done.spared) == (1, 1)
    assert len(objects(store)) == 1
    assert collect_until(connection, lambda done: done.reclaimed.count == 1)
    assert objects(store) == set()


def test_run_that_another_one_overtakes_is_refused_and_deletes_nothing(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    insert(table, 1)
    give_up(table, 2)
    plan, before = gc.plan(connection), objects(store)
    with connected(database, store) as other:
        runs = iter([sweep])

        def overtake(key: str) -> None:
            if "/~registry/" in key and (run := next(runs, None)):
                run(other)

        faulty(connection, Fault("stat", action=overtake, lasting=True))
        with pytest.raises(CollectionRefusedError, match="another collector has begun"):
            gc.execute(plan)
    assert len(before - objects(store)) == 1  # what the other one was to delete
    assert objects(store) == {path_of(table, 1)}


def collect_until(connection: Any, is_done: Callable[[gc.Collected], bool]) -> bool:
    """A server takes a moment to notice that a client is gone."""
    return any(is_done(sweep(connection)) for _ in range(50))


def test_intent_of_a_committed_row_is_never_reclaimed(table: Any, connection: Any, store: Store) -> None:
    """As after a dump in which the tables are not of one moment."""
    insert(table, 1)
    path = path_of(table, 1)
    give_up(table, 2)
    name = own(connection, table.database, "~file_intent")
    connection.query(f"UPDATE {name} SET path = %s, write_id = %s", (path, path.split("/")[-2][-26:]))
    done = sweep(connection)
    assert (done.reclaimed.count, intents(table)) == (0, [("stored",)])
    assert path in objects(store)


@pytest.mark.parametrize(
    "path",
    ["{project}/README.md", "{project}/../x", "other/s/objects/T-a/{unit}/x", "{project}/s/objects/T-a/{unit}/x"],
)
def test_forged_intent_deletes_nothing(table: Any, connection: Any, store: Store, path: str) -> None:
    insert(table, 1)
    give_up(table, 2)
    before = objects(store)
    name = own(connection, table.database, "~file_intent")
    forged = path.format(project=store.project, unit="a" * 16 + "-" + "a" * 26)
    connection.query(f"UPDATE {name} SET path = %s", (forged,))
    assert sweep(connection).reclaimed.count == 0
    assert objects(store) == before


def test_stale_copy_of_an_intent_in_another_schema_gives_up_nothing(
    table: Any, connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    staged = datajoint_file.stage(table, {"recording_id": 1}, "raw", ("1.dat", b"spikes"))
    copy = pipeline.Schema(database.schema()).database
    declare(dj.Schema(copy, connection=connection), "Copy")
    name = own(connection, copy, "~file_intent")
    connection.query(f"INSERT INTO {name} SELECT * FROM {own(connection, table.database, '~file_intent')}")
    make_older(connection, copy, "~file_intent", "lease_until")
    assert sweep(connection).reclaimed.count == 0
    table.insert1({"recording_id": 1, "raw": staged})
    assert sweep(connection).reclaimed.count == 0
    assert (table & {"recording_id": 1}).fetch1("raw").read() == b"spikes"


def test_retry_takes_an_upload_back_before_it_is_reclaimed(table: Any, connection: Any, store: Store) -> None:
    give_up(table, 1)
    plan = gc.plan(connection)
    insert(table, 1)
    assert gc.execute(plan).reclaimed.count == 0
    assert objects(store) == {path_of(table, 1)}


def test_tombstones_are_buried_after_a_month(table: Any, connection: Any) -> None:
    give_up(table, 1)
    sweep(connection)
    make_older(connection, table.database, "~file_intent", "lease_until", by=timedelta(days=29))
    sweep(connection)
    assert intents(table) == [("reclaimed",)]
    make_older(connection, table.database, "~file_intent", "lease_until", by=timedelta(days=2))
    sweep(connection)
    assert intents(table) == []


def test_reclaimed_intent_does_not_hide_an_object_from_the_scan(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    give_up(table, 2)
    name = own(connection, table.database, "~file_intent")
    connection.query(f"UPDATE {name} SET path = %s, state = 'reclaimed'", (path_of(table, 1),))
    connection.query(f"DELETE FROM {table().full_table_name}")
    assert scan(connection).unknown.count == 2  # also the upload that has lost its intent


def test_upload_in_flight_is_not_unknown(table: Any, connection: Any, store: Store) -> None:
    give_up(table, 1, by=timedelta(0))
    plan = scan(connection)
    assert (plan.listed.count, plan.unknown.count, plan.reclaim.count) == (1, 0, 0)


def fill(table: Any) -> None:
    """Leave something for every part of a run: two to purge, one that has expired, two to reclaim, one in use."""
    table.insert([{"recording_id": key, "raw": (f"{key}.dat", b"spikes")} for key in range(1, 5)])
    (table & "recording_id in (2, 3)").delete_quick()
    let_grace_pass(table().connection, table.database)
    (table & "recording_id = 4").delete_quick()
    name = own(table().connection, table.database, "~file_history")
    expired = "(SELECT since FROM (SELECT MIN(at) AS since FROM {name} WHERE state <> 'purged') AS first)"
    execute_sql(table().connection, f"UPDATE {name} SET at = {expired.format(name=name)} WHERE due_at IS NULL")
    give_up(table, 8, 9)


def run_in_child(step: int, database: Area, store: Store, *, at_sql: bool) -> int:
    """Run the collector in a child that is killed before a step; return the signal that ended it, or 0."""

    def run() -> None:
        with connected(database, store) as connection:
            if at_sql:
                kill_at_statement(step)
            else:
                faulty(connection, Fault(None, call=step + 1, action=kill))
            sweep(connection)

    return in_child(run)


@pytest.mark.parametrize(
    ("database", "at_sql"),
    in_turn([False, True], [[database] for database in COLLECTED]),
    indirect=["database"],
    ids=str,
)
def test_run_killed_anywhere_is_finished_by_the_next(
    table: Any, connection: Any, database: Area, store: Store, at_sql: bool
) -> None:
    for step in range(100):
        fill(table)
        used = {path_of(table, 1)}
        killed = run_in_child(step, database, store, at_sql=at_sql)
        assert used < objects(store) or not killed, step
        assert collect_until_clean(connection), step
        assert history(table)[-3:-1] == [("purged",), ("purged",)], step
        let_grace_pass(connection, table.database)
        sweep(connection)
        assert objects(store) == used, step
        assert ({*history(table)}, {*intents(table)}) == ({("purged",)}, {("reclaimed",)}), step
        execute_sql(connection, f"DELETE FROM {table().full_table_name}")
        store.remove(*used)
        if not killed:
            break
    assert not killed
    assert step >= 10


def collect_until_clean(connection: Any) -> bool:
    """What is left of a killed process may be locked for a moment."""
    for _ in range(50):
        done = sweep(connection)
        plan = gc.plan(connection)
        if not (plan.reclaim or done.reclaimed or done.purged):
            return True
    return False


@over_local_and_s3
def test_two_collectors_at_once_do_everything_once(table: Any, connection: Any, database: Area, store: Store) -> None:
    fill(table)
    others = [connected(database, store) for _ in range(2)]
    barrier, results, errors = threading.Barrier(2), [], []

    def run(one: Any) -> None:
        try:
            with one as its_connection:
                plan = scan(its_connection)
                barrier.wait()
                results.append(gc.execute(plan))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [done.failures for done in results] == [(), ()]
    assert sum(done.reclaimed.count for done in results) == 2
    purged = [state for (state,) in history(table)].count("purged")
    assert sum(done.purged.count for done in results) == purged  # none, if each was in the other's way
    assert len(objects(store)) == 4 - purged
    let_grace_pass(connection, table.database)
    assert purged + sweep(connection).purged.count == 3
    assert len(objects(store)) == 1


def test_remains_of_uploads_are_discarded_after_the_grace(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    remains = Path(store.table["path"]) / path_of(table, 1).partition("/")[2]
    partial = remains.parent / "~partial-0123456789abcdef"
    foreign = remains.parent / "~partial-of another program"
    for file in (foreign, partial):
        file.write_bytes(b"half")
    assert scan(connection).unfinished.count == 0
    for file in (foreign, partial):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    plan = scan(connection)
    assert (plan.unfinished.count, plan.unfinished.size) == (2, 8)
    done = gc.execute(plan)
    assert (done.discarded.count, len(done.failures)) == (1, 1)
    assert (foreign.exists(), partial.exists()) == (True, False)
    foreign.unlink()
    assert objects(store) == {path_of(table, 1)}


@over_local_and_s3
def test_remains_of_an_abandoned_upload_are_discarded_without_a_scan(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    """As a process leaves them that is killed while it uploads a large file."""
    insert(table, 2)  # registers the schema: the next upload is that of a file

    def upload() -> None:
        with connected(database, store) as its_connection:
            faulty(its_connection, Fault("upload", moment="during", after_bytes=40 * 2**20, action=kill))
            rows = {"recording_id": 1, "raw": ("1.dat", GeneratedReader(48 * 2**20))}
            dj.FreeTable(its_connection, table().full_table_name).insert1(rows)

    in_child(upload)
    backend = pipeline_of(connection).backend
    assert len(list(backend.unfinished(store.project))) == 1
    make_older(connection, table.database, "~file_intent", "lease_until")
    done = sweep(connection)
    assert (done.reclaimed.count, done.discarded.count) == (1, 1)
    assert list(backend.unfinished(store.project)) == []


OWNERS_CODE = {
    "trigger": "CREATE TRIGGER t BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {schema}.fired()",
    "rule": "CREATE RULE r AS ON UPDATE TO {table} DO ALSO SELECT {schema}.ran()",
    "policy": "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "check": "ALTER TABLE {table} ADD CHECK ({schema}.ran())",
    "index of an expression": "CREATE INDEX ON {table} (({schema}.ran()))",
    "index of some rows": "CREATE INDEX ON {table} (number) WHERE {schema}.ran()",
    "default": "ALTER TABLE {table} ALTER number SET DEFAULT {schema}.counted()",
    "computed": "ALTER TABLE {table} ADD made BOOLEAN GENERATED ALWAYS AS ({schema}.ran()) STORED",
    "domain": "ALTER TABLE {table} ALTER state TYPE {schema}.checked",
    "child": "CREATE TABLE {schema}.child () INHERITS ({table})",
    "view": "DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1 AS number",
}


@pytest.mark.parametrize("name", ["nothing", *OWNERS_CODE])
def test_own_table_that_runs_its_owners_code_is_left_out(postgresql_area: Area, name: str) -> None:
    schema = postgresql_area.schema()
    table = f'{schema}."~file_history"'
    dialect = PostgreSQL()
    with closing(connect_to(postgresql_area).connection) as connection:
        for statement in (
            f"CREATE SCHEMA {schema}",
            f"CREATE FUNCTION {schema}.ran() RETURNS BOOLEAN IMMUTABLE LANGUAGE SQL AS 'SELECT TRUE'",
            f"CREATE FUNCTION {schema}.counted() RETURNS BIGINT LANGUAGE SQL AS 'SELECT 1::BIGINT'",
            f"CREATE FUNCTION {schema}.fired() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            f"CREATE DOMAIN {schema}.checked AS TEXT CHECK ({schema}.ran())",
            f"CREATE TABLE {table} (number BIGINT, state TEXT)",
            *OWNERS_CODE.get(name, "SELECT 1").format(table=table, schema=schema).split("; "),
        ):
            connection.query(statement)
        found = dialect.tables_named(lambda sql, args: connection.query(sql, args).fetchall(), ["~file_history"])
    assert found == ([(schema, "~file_history")] if name == "nothing" else [])
