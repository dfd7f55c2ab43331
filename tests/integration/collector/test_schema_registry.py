"""Schemas that say in the store that they use it: once, by epochs, and whatever else happens to the insert."""

from __future__ import annotations

import json
import threading
import warnings
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import JournalWarning, StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal import schema_registry
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.testing import Fault, FaultyBackend, fail
from tests.projects import Store, over_all_stores, over_local_and_s3, unique
from tests.unit.conftest import call_in_child

from .collecting import PASSWORD, Area, connect_to, connected, declare, insert, is_mysql, make_older, marks, own, scan


def forget() -> None:
    """What another process has not got."""
    schema_registry._registered.clear()


def register(connection: Any, schema: str) -> None:
    schema_registry.ensure_marked(pipeline_of(connection), connection, schema)


def rows(connection: Any, schema: str) -> list[Any]:
    name = own(connection, schema, "~file_registry")
    return list(connection.query(f"SELECT epoch, schema_id, token FROM {name} ORDER BY epoch").fetchall())


@over_all_stores
def test_first_insert_marks_the_schema_in_the_store(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1, 2)
    (key,) = marks(store)
    ((epoch, schema_id, token),) = rows(connection, table.database)
    mark = json.loads(store.content(key))
    assert (mark["schema"], mark["epoch"], mark["schema_id"], mark["token"]) == (table.database, 1, schema_id, token)
    assert epoch == 1
    assert mark["server"].startswith(("mysql ", "mariadb", "postgresql "))


def test_servers_identity_has_what_a_copy_changes_and_no_id_that_two_servers_share(mysql_area: Area) -> None:
    with closing(connect_to(mysql_area).connection) as connection:
        place = connection.query("SELECT @@hostname, CAST(@@port AS CHAR), @@datadir").fetchone()
        uids = connection.query("SHOW VARIABLES LIKE 'server_uid'").fetchall()  # MariaDB's: of hardware and port
        identity = schema_registry.identity_of(second_connection_of(connection))
    assert (identity.host, identity.port, identity.directory) == place
    assert not any(uid in str(identity) for _, uid in uids)


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_again_within_ten_minutes_asks_nobody(table: Any, connection: Any, database: Area, store: Store) -> None:
    register(connection, table.database)
    pipeline = pipeline_of(connection)
    backend = FaultyBackend(pipeline.backend, Fault(None, action=fail, lasting=True))
    pipeline.stores._backends[pipeline.project] = backend
    register(connection, table.database)
    assert backend.calls.total() == 0


def test_other_process_finds_it_done(table: Any, connection: Any, store: Store) -> None:
    register(connection, table.database)
    before = marks(store)
    forget()
    pipeline = pipeline_of(connection)
    backend = FaultyBackend(pipeline.backend)
    pipeline.stores._backends[pipeline.project] = backend
    register(connection, table.database)
    assert (marks(store), dict(backend.calls)) == (before, {"list": 1})


def test_new_epoch_takes_the_place_of_one_that_is_ten_minutes_old(table: Any, connection: Any, store: Store) -> None:
    register(connection, table.database)
    (before,) = marks(store)
    make_older(connection, table.database, "~file_registry", "bumped_at", by=timedelta(minutes=11))
    forget()
    register(connection, table.database)
    (after,) = marks(store)
    assert after != before
    assert [row[0] for row in rows(connection, table.database)] == [1, 2]
    assert scan(connection).refusals == ()


def test_old_epochs_are_forgotten_after_a_month(table: Any, connection: Any) -> None:
    register(connection, table.database)
    for days in (20, 20):
        make_older(connection, table.database, "~file_registry", "bumped_at", by=timedelta(days=days))
        forget()
        register(connection, table.database)
    assert [row[0] for row in rows(connection, table.database)] == [2, 3]


def test_writer_who_may_not_delete_objects_leaves_old_marks_and_the_collector_understands(
    table: Any, connection: Any, store: Store
) -> None:
    register(connection, table.database)
    pipeline = pipeline_of(connection)
    pipeline.stores._backends[pipeline.project] = FaultyBackend(pipeline.backend, Fault("delete", lasting=True))
    for _ in range(2):
        make_older(connection, table.database, "~file_registry", "bumped_at", by=timedelta(days=40))
        forget()
        register(connection, table.database)
    assert len(marks(store)) == 3
    assert [row[0] for row in rows(connection, table.database)] == [1, 2, 3]
    assert scan(connection).refusals == ()


def test_process_that_dies_between_epoch_and_mark_is_made_up_for(table: Any, connection: Any, store: Store) -> None:
    register(connection, table.database)
    make_older(connection, table.database, "~file_registry", "bumped_at", by=timedelta(minutes=11))
    forget()
    pipeline = pipeline_of(connection)
    healthy = pipeline.backend
    pipeline.stores._backends[pipeline.project] = FaultyBackend(healthy, Fault("upload"))
    with pytest.raises(StorageUnavailableError):
        register(connection, table.database)
    assert [row[0] for row in rows(connection, table.database)] == [1, 2]
    pipeline.stores._backends[pipeline.project] = healthy
    assert scan(connection).refusals == ()
    register(connection, table.database)
    (key,) = marks(store)
    assert json.loads(store.content(key))["epoch"] == 2


def test_store_that_fails_fails_the_insert(table: Any, connection: Any) -> None:
    forget()
    pipeline = pipeline_of(connection)
    pipeline.stores._backends[pipeline.project] = FaultyBackend(pipeline.backend, Fault("list", lasting=True))
    with pytest.raises(StorageUnavailableError):
        insert(table, 1)
    assert len(table()) == 0


def test_user_who_may_not_make_tables_is_warned_once_and_the_schema_is_marked(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    name = f"{database.database}_w"[:32]
    if is_mysql(connection):
        database.admin.execute(f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")
        database.admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{table.database}`.* TO {name}@'%'")
    else:
        database.admin.execute(f"CREATE USER {name} PASSWORD '{PASSWORD}'")
        connection.query(f'GRANT USAGE ON SCHEMA "{table.database}" TO {name}')
        connection.query(f'GRANT ALL ON ALL TABLES IN SCHEMA "{table.database}" TO {name}')
    connection.query(f"DROP TABLE IF EXISTS {own(connection, table.database, '~file_registry')}")
    try:
        forget()
        with connected(database, store, name, PASSWORD) as restricted:
            with pytest.warns(JournalWarning, match="could not be made or read"):
                register(restricted, table.database)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                register(restricted, table.database)
        (key,) = marks(store)
        assert json.loads(store.content(key))["schema_id"] == ""
        assert scan(connection).refusals == ()
    finally:
        if is_mysql(connection):
            database.admin.execute(f"DROP USER {name}@'%'")
        else:
            connection.query(f"DROP OWNED BY {name}")
            database.admin.execute(f"DROP USER {name}")


def test_many_at_once_make_one_mark(table: Any, database: Area, connection: Any, store: Store) -> None:
    connection.query(f"DROP TABLE IF EXISTS {own(connection, table.database, '~file_registry')}")
    forget()
    barrier, errors = threading.Barrier(6), []

    def run() -> None:
        try:
            with connected(database, store) as another:
                pipeline = pipeline_of(another)
                barrier.wait()
                schema_registry._register(pipeline, second_connection_of(another), table.database, pipeline.project)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(rows(connection, table.database)) == 1
    assert len(marks(store)) == 1


def test_child_process_registers_by_itself(table: Any, connection: Any, store: Store) -> None:
    register(connection, table.database)

    def in_child() -> int:
        pipeline = pipeline_of(connection)
        backend = FaultyBackend(pipeline.backend)
        pipeline.stores._backends[pipeline.project] = backend
        register(connection, table.database)
        return backend.calls["list"]

    assert call_in_child(in_child) == 1
    assert len(marks(store)) == 1


def test_two_histories_of_one_schema_learn_of_each_other(table: Any, connection: Any, store: Store) -> None:
    """A copy of the server's files, and the original, which goes on: each leaves a mark unknown to the other."""
    register(connection, table.database)
    name = own(connection, table.database, "~file_registry")
    original = rows_with_all(connection, name)
    make_older(connection, table.database, "~file_registry", "bumped_at", by=timedelta(minutes=11))
    forget()
    register(connection, table.database)  # the copy: its mark takes the place of the common one
    copy, (its_mark,) = rows_with_all(connection, name), marks(store)
    put_back(connection, name, original)
    forget()
    with pytest.warns(JournalWarning, match="was it restored, or copied"):
        insert(table, 1)
    assert len(table()) == 1
    assert its_mark in marks(store)
    assert {refusal.kind for refusal in scan(connection).refusals} == {"restored"}
    put_back(connection, name, copy)
    assert {refusal.kind for refusal in scan(connection).refusals} == {"restored"}


def rows_with_all(connection: Any, name: str) -> list[Any]:
    return list(connection.query(f"SELECT * FROM {name}").fetchall())


def put_back(connection: Any, name: str, rows: list[Any]) -> None:
    connection.query(f"DELETE FROM {name}")
    for row in rows:
        connection.query(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(row))})", tuple(row))


def test_marks_do_not_pile_up_while_histories_are_in_conflict(table: Any, connection: Any, store: Store) -> None:
    register(connection, table.database)
    name = own(connection, table.database, "~file_registry")
    connection.query(f"UPDATE {name} SET token = 'another'")
    for _ in range(3):
        make_older(connection, table.database, "~file_registry", "bumped_at", by=timedelta(minutes=11))
        forget()
        with pytest.warns(JournalWarning, match="was it restored, or copied"):
            register(connection, table.database)
    assert len(marks(store)) == 2


@over_local_and_s3
def test_empty_store_of_a_schema_that_had_marks_takes_no_files(table: Any, connection: Any, store: Store) -> None:
    """As the directory below which a disk is not mounted."""
    insert(table, 1)
    for key in store.all_keys():
        store.remove(key)
    if not store.is_local:
        forget()  # a disk is looked at each time
    with pytest.raises(StorageUnavailableError, match="is its disk mounted") as caught:
        insert(table, 2)
    assert "mkdir" not in str(caught.value)
    assert ([key for key in store.all_keys() if "/" in key], len(table())) == ([], 1)
    assert {refusal.kind for refusal in scan(connection).refusals} == {"emptied"}
    gc.execute(gc.plan(connection, take_over=True))
    insert(table, 3)
    assert len(table()) == 2


def test_missing_directory_of_a_schema_that_had_marks_is_not_to_be_made(
    table: Any, connection: Any, store: Store
) -> None:
    insert(table, 1)
    root = Path(store.table["path"])
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StorageUnavailableError, match="is its disk mounted") as caught:
        insert(table, 2)
    assert "mkdir" not in str(caught.value)
    assert not root.exists()


def test_process_that_dies_before_the_first_mark_makes_no_later_refusal(
    table: Any, connection: Any, store: Store
) -> None:
    pipeline = pipeline_of(connection)
    healthy = pipeline.backend
    pipeline.stores._backends[pipeline.project] = FaultyBackend(healthy, Fault("upload"))
    with pytest.raises(StorageUnavailableError):
        register(connection, table.database)
    pipeline.stores._backends[pipeline.project] = healthy
    register(connection, table.database)
    assert len(marks(store)) == 1


def test_schema_dropped_and_declared_again_in_one_process_is_registered_again(
    table: Any, connection: Any, pipeline: Any, store: Store
) -> None:
    """By SQL, of which nobody here is told."""
    insert(table, 1)
    before = marks(store)
    cascade = "" if is_mysql(connection) else " CASCADE"
    second_connection_of(connection).execute(
        f"DROP SCHEMA {connection.adapter.quote_identifier(table.database)}{cascade}"
    )
    again = declare(pipeline.Schema(table.database))
    insert(again, 1)
    assert set(marks(store)) > set(before)
    assert len(rows(connection, table.database)) == 1


def test_copied_rows_register_the_schema_with_every_project_that_they_name(
    table: Any, connection: Any, database: Area, store: Store, tmp_path: Path
) -> None:
    insert(table, 1)
    (tmp_path / "cluster").mkdir()
    cluster = Store({"backend": "file", "path": str(tmp_path / "cluster")}, unique("cluster"))
    instance = connect_to(database)
    datajoint_file.configure(cluster.configuration(projects={store.project: store.table}), connection=instance)
    chosen = declare(instance.Schema(database.schema()), "Chosen")
    chosen.insert(dj.FreeTable(instance.connection, table().full_table_name))
    assert any(json.loads(store.content(key))["schema"] == chosen.database for key in marks(store))
    assert chosen.fetch1("raw").read() == b"spikes"
    instance.connection.close()


def test_copied_rows_of_a_project_that_is_not_configured_are_warned_of(
    table: Any, connection: Any, database: Area, store: Store, tmp_path: Path
) -> None:
    insert(table, 1)
    (tmp_path / "cluster").mkdir()
    cluster = Store({"backend": "file", "path": str(tmp_path / "cluster")}, unique("cluster"))
    instance = connect_to(database)
    datajoint_file.configure(cluster.configuration(), connection=instance)
    chosen = declare(instance.Schema(database.schema()), "Chosen")
    with pytest.warns(JournalWarning, match=store.project):
        chosen.insert(dj.FreeTable(instance.connection, table().full_table_name))
    assert len(chosen()) == 1
    instance.connection.close()


def test_two_projects_in_one_schema_have_histories_of_their_own(table: Any, connection: Any, database: Area) -> None:
    register(connection, table.database)
    name = own(connection, table.database, "~file_registry")
    connection.query(
        f"INSERT INTO {name} SELECT 'elsewhere', epoch, schema_id, 'another', bumped_at, FALSE FROM {name}"
    )
    forget()
    register(connection, table.database)
    assert scan(connection).refusals == ()
