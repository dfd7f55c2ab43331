"""Uploads that were given up: reclaimed by their intents alone, and none that anybody may still want."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint.errors import MissingTableError
from datajoint_file.collector.tables import AbandonedIntents

from datajoint_file import gc
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.testing import Fault, FaultyBackend, GeneratedReader, kill
from tests.projects import Store, over_local_and_s3

from .collecting import (
    Area,
    collect,
    connect_to,
    connected,
    insert,
    let_grace_pass,
    make_older,
    objects,
    own,
    path_of,
    raw_json,
    scan,
)


class Interruption(Exception):
    """Ends a transaction."""


def give_up(table: Any, *keys: int) -> None:
    """Upload in a transaction that is rolled back."""
    with pytest.raises(Interruption), table().connection.transaction:
        insert(table, *keys)
        raise Interruption


def expire(table: Any) -> None:
    make_older(table().connection, table.database, "~file_intent", "lease_until")


def intents(table: Any, attributes: str = "state") -> list[Any]:
    name = own(table().connection, table.database, "~file_intent")
    return list(table().connection.query(f"SELECT {attributes} FROM {name} ORDER BY number").fetchall())


def sweep(connection: Any, **options: Any) -> gc.Collected:
    return gc.execute(gc.plan(connection, **options))


@over_local_and_s3
def test_abandoned_upload_is_deleted_without_a_listing(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    give_up(table, 2, 3)
    expire(table)
    pipeline = pipeline_of(connection)
    backend = FaultyBackend(pipeline.backend)
    pipeline._backends[pipeline.project] = backend
    plan = gc.plan(connection)
    assert plan.reclaim.count == 2
    assert {entry.action for entry in plan.entries()} == {"reclaim"}
    assert gc.execute(plan).reclaimed.count == 2
    assert objects(store) == {path_of(table, 1)}
    assert intents(table) == [("reclaimed",), ("reclaimed",)]
    assert {key for verb, key in backend.history if verb == "list" and "~registry" not in key} == set()
    assert not gc.plan(connection)


def test_live_lease_and_young_ones_are_left(table: Any, connection: Any, store: Store) -> None:
    give_up(table, 1)
    make_older(connection, table.database, "~file_intent", "lease_until", by=timedelta(days=6, hours=23))
    assert sweep(connection).reclaimed.count == 0
    assert sweep(connection, grace=timedelta(days=1)).reclaimed.count == 1


def test_open_transaction_keeps_its_uploads(table: Any, connection: Any, database: Area, store: Store) -> None:
    with connection.transaction:
        insert(table, 1)
        with connected(database, store) as other:
            done = collect(other)
            assert (done.reclaimed.count, done.quarantined.count, len(objects(store))) == (0, 0, 1)
    assert objects(store) == {path_of(table, 1)}


def test_locked_intent_is_spared_however_old(table: Any, connection: Any, database: Area, store: Store) -> None:
    give_up(table, 1, 2)
    expire(table)
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


def collect_until(connection: Any, is_done: Callable[[gc.Collected], bool]) -> bool:
    """A server takes a moment to notice that a client is gone."""
    return any(is_done(sweep(connection)) for _ in range(50))


def test_intent_of_a_committed_row_is_never_reclaimed(table: Any, connection: Any, store: Store) -> None:
    """As after a dump in which the tables are not of one moment."""
    insert(table, 1)
    path = path_of(table, 1)
    give_up(table, 2)
    expire(table)
    name = own(connection, table.database, "~file_intent")
    connection.query(f"UPDATE {name} SET path = %s, write_id = %s", (path, path.split("/")[-2][-26:]))
    done = sweep(connection)
    assert (done.reclaimed.count, done.spared) == (0, 1)
    assert "a row refers to it" in done.notes[0]
    assert path in objects(store)


@pytest.mark.parametrize(
    "path",
    ["{project}/README.md", "{project}/../x", "other/s/objects/T-a/{unit}/x", "{project}/s/objects/T-a/{unit}/x"],
)
def test_forged_intent_deletes_nothing(table: Any, connection: Any, store: Store, path: str) -> None:
    insert(table, 1)
    give_up(table, 2)
    expire(table)
    before = objects(store)
    name = own(connection, table.database, "~file_intent")
    forged = path.format(project=store.project, unit="a" * 16 + "-" + "a" * 26)
    connection.query(f"UPDATE {name} SET path = %s", (forged,))
    assert sweep(connection).reclaimed.count == 0
    assert objects(store) == before


def test_retry_takes_an_upload_back_before_it_is_reclaimed(table: Any, connection: Any, store: Store) -> None:
    give_up(table, 1)
    expire(table)
    plan = gc.plan(connection)
    insert(table, 1)
    assert gc.execute(plan).reclaimed.count == 0
    assert objects(store) == {path_of(table, 1)}


def test_tombstones_are_buried_after_a_month(table: Any, connection: Any) -> None:
    give_up(table, 1)
    expire(table)
    sweep(connection)
    make_older(connection, table.database, "~file_intent", "lease_until", by=timedelta(days=29))
    sweep(connection)
    assert intents(table) == [("reclaimed",)]
    make_older(connection, table.database, "~file_intent", "lease_until", by=timedelta(days=2))
    sweep(connection)
    assert intents(table) == []


def test_reclaimed_intent_does_not_protect_an_object_from_the_scan(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    row = raw_json(table, 1)
    give_up(table, 2)
    name = own(connection, table.database, "~file_intent")
    table.delete()
    connection.query(f"UPDATE {name} SET path = %s, state = 'reclaimed'", (row["path"],))
    assert scan(connection).quarantine.count == 2  # also the upload that has lost its intent


def test_upload_in_flight_is_not_set_aside(table: Any, connection: Any, store: Store) -> None:
    give_up(table, 1)
    assert scan(connection).quarantine.count == 0
    assert len(objects(store)) == 1


def fill(table: Any) -> None:
    """Leave something for every part of a run: two to reclaim, two to delete, two to set aside, one in use."""
    insert(table, 1, 2, 3, 4, 5)
    (table & "recording_id in (2, 3)").delete()
    collect(table().connection)
    let_grace_pass(table().connection, table.database)
    (table & "recording_id in (4, 5)").delete()
    give_up(table, 6, 7)
    expire(table)


def run_in_child(step: int, database: Area, store: Store, *, at_sql: bool) -> int:
    """Run the collector in a child that is killed at a step; return the signal that ended it, or 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    try:
        with connected(database, store) as connection:
            if at_sql:
                kill_at_statement(step)
            else:
                pipeline = pipeline_of(connection)
                fault = Fault(None, call=step // 2 + 1, moment="after" if step % 2 else "before", action=kill)
                pipeline._backends[store.project] = FaultyBackend(pipeline.backend, fault)
            collect(connection)
    finally:
        os._exit(0)


def kill_at_statement(step: int) -> None:
    """End this process before or after its n-th writing statement."""
    execute, count = SecondConnection.execute, iter(range(10_000))

    def counted(self: SecondConnection, sql: str, args: Any = ()) -> int:
        number = next(count)
        if number == step // 2 and step % 2 == 0:
            kill("")
        result = execute(self, sql, args)
        if number == step // 2:
            kill("")
        return result

    SecondConnection.execute = counted  # type: ignore[method-assign] # of a child process that ends here


@pytest.mark.parametrize("at_sql", [False, True], ids=["store", "database"])
def test_run_killed_anywhere_is_finished_by_the_next(
    table: Any, connection: Any, database: Area, store: Store, at_sql: bool
) -> None:
    for step in range(100):
        fill(table)
        used = path_of(table, 1)
        killed = run_in_child(step, database, store, at_sql=at_sql)
        assert used in objects(store), step
        assert collect_until_clean(connection), step
        assert len(objects(store)) == 3, step  # in use, and set aside: each object once, and no other
        table.delete()
        collect(connection)
        let_grace_pass(connection, table.database)
        collect(connection)
        assert objects(store) == set(), step
        if not killed:
            break
    assert not killed
    assert step >= 10


def collect_until_clean(connection: Any) -> bool:
    """What is left of a killed process may be locked for a moment."""
    for _ in range(50):
        collect(connection)
        plan = scan(connection)
        if not (plan.reclaim or plan.purge):
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
    assert sum(done.purged.count for done in results) == 2
    assert len(list(gc.quarantined(connection))) == 2
    assert len(objects(store)) == 3


def test_remains_of_uploads_are_discarded_after_the_grace(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    remains = Path(store.table["path"]) / path_of(table, 1).partition("/")[2]
    partial = remains.parent / "~partial-0123456789abcdef"
    partial.write_bytes(b"half")
    assert scan(connection).unfinished.count == 0
    os.utime(partial, (1_700_000_000, 1_700_000_000))
    plan = scan(connection)
    assert (plan.unfinished.count, plan.unfinished.size) == (1, 4)
    assert gc.execute(plan).discarded.count == 1
    assert not partial.exists()
    assert objects(store) == {path_of(table, 1)}


@over_local_and_s3
def test_remains_of_an_abandoned_upload_are_discarded_without_a_scan(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    """As a process leaves them that is killed while it uploads a large file."""
    insert(table, 2)  # registers the schema: the next upload is that of a file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        with connected(database, store) as its_connection:
            pipeline = pipeline_of(its_connection)
            fault = Fault("upload", moment="during", after_bytes=40 * 2**20, action=kill)
            pipeline._backends[store.project] = FaultyBackend(pipeline.backend, fault)
            rows = {"recording_id": 1, "raw": ("1.dat", GeneratedReader(48 * 2**20))}
            dj.FreeTable(its_connection, table().full_table_name).insert1(rows)
        os._exit(0)
    os.waitpid(child, 0)
    backend = pipeline_of(connection).backend
    assert len(list(backend.unfinished(store.project))) == 1
    expire(table)
    done = sweep(connection)
    assert (done.reclaimed.count, done.discarded.count) == (1, 1)
    assert list(backend.unfinished(store.project)) == []


def test_schema_that_is_dropped_while_the_collector_looks_has_no_intents(table: Any, connection: Any) -> None:
    insert(table, 1)
    gone = AbandonedIntents(second_connection_of(connection), f"{table.database}_gone", "p", 0.0)
    assert list(gone.abandoned()) == []
    with pytest.raises(MissingTableError):
        gone.in_flight()
