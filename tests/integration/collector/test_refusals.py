"""What makes the collector refuse: a database that is not the one, rows it cannot read or understand, wrong clocks."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file import gc
from datajoint_file.errors import CollectionRefusedError, ConfigurationError, JournalWarning
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal import schema_registry
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.store_marks import Identity, Mark, Registration
from datajoint_file.storage.backend import ObjectStat
from datajoint_file.storage.shared import DelegatingBackend
from tests.projects import Store, over_local_and_s3, unique

from .collecting import (
    PASSWORD,
    Area,
    collect,
    connected,
    declare,
    drop_by_sql,
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
    registry_of,
    scan,
    set_raw_json,
)

over_mysql = pytest.mark.parametrize("database", ["own_mysql"], ids=["mysql"], indirect=True)
over_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def refused(connection: Any, store: Store, kind: str, **options: Any) -> gc.Plan:
    """Look, with and without a scan, and try to execute: every time for that one reason, and nothing is deleted."""
    before = objects(store)
    for is_scan in (False, True):
        plan = gc.plan(connection, scan=is_scan, **options)
        assert kinds(plan) == {kind}
        with pytest.raises(CollectionRefusedError):
            gc.execute(plan, force=True)
    assert objects(store) == before
    return plan


def make_due(table: Any) -> None:
    """Have one object in use and one that any run that is not refused would delete."""
    insert(table, 1, 2)
    (table & {"recording_id": 2}).delete()
    collect(table().connection)
    let_grace_pass(table().connection, table.database)


# ---- rows ----


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("null", "unreadable-row"),
        ("[]", "unreadable-row"),
        ('"lab/x/objects/a.dat"', "unreadable-row"),
        ("{}", "unreadable-row"),
        ('{"path": null}', "unreadable-row"),
        ('{"path": 7}', "unreadable-row"),
        ('{"path": "../../etc/passwd"}', "unreadable-row"),
        ('{"path": "lab/s/objects/T-a/x/a.dat", "format": 2}', "unreadable-row"),
        ('{"path": "lab/s/objects/T-a/x/a/", "format": 2}', "unreadable-row"),
        ('{"path": "lab/s/objects/T-a/x/a.dat", "format": 3}', "newer-format"),
        ('{"path": "lab/s/objects/T-a/x/a.dat", "format": "x"}', "newer-format"),
    ],
)
def test_row_that_cannot_be_understood_is_refused(
    table: Any, connection: Any, store: Store, value: str, kind: str
) -> None:
    make_due(table)
    set_raw_json(table, 1, value)
    plan = scan(connection)
    assert kinds(plan) == {kind}
    assert "Recording.raw" in plan.refusals[0].reason
    with pytest.raises(CollectionRefusedError):
        gc.execute(plan, force=True)
    assert len(objects(store)) == 2


@pytest.mark.parametrize("value", ["null", "[]", '"lab/x"', "{}", '{"path": null}'])
def test_row_that_names_nothing_stops_a_plan_made_before(table: Any, connection: Any, store: Store, value: str) -> None:
    make_due(table)
    plan = scan(connection)
    set_raw_json(table, 1, value)
    with pytest.raises(CollectionRefusedError, match=r"Recording\.raw"):
        gc.execute(plan)
    assert len(objects(store)) == 2


@over_mysql
def test_broken_json_is_refused(table: Any, connection: Any, store: Store) -> None:
    """As MariaDB holds it in a table that was made by a query."""
    make_due(table)
    other = own(connection, table.database, "copied")
    execute_sql(connection, f"CREATE TABLE {other} (id INT PRIMARY KEY, f LONGTEXT COMMENT ':<file>:')")
    connection.query(f"INSERT INTO {other} VALUES (1, '{{\"path\": ')")
    assert kinds(scan(connection)) == {"unreadable-row"}
    assert len(objects(store)) == 2
    execute_sql(connection, f"DROP TABLE {other}")


@over_postgresql
def test_row_level_security_does_not_hide_references(
    table: Any, connection: Any, user: Callable[..., Any], store: Store
) -> None:
    make_due(table)
    name = own(connection, table.database, "recording")
    execute_sql(connection, f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
    with user(table.database) as restricted:
        plan = refused(restricted, store, "hidden-schemas")
        assert f"{table.database}.recording" in plan.refusals[0].reason
    assert len(objects(store)) == 2


# ---- rights ----


@pytest.fixture
def user(database: Area, connection: Any, store: Store) -> Iterator[Callable[..., Any]]:
    """Make a user who may use some schemas and knows of no others; a context with a connection of his."""
    name = unique("gcuser")

    def make(*schemas: str, rights: str = "PROCESS") -> Any:
        if is_mysql(connection):
            database.admin.execute(f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'")
            if rights:
                database.admin.execute(f"GRANT {rights} ON *.* TO {name}@'%'")
            for schema in schemas:
                database.admin.execute(f"GRANT ALL PRIVILEGES ON `{schema}`.* TO {name}@'%'")
        else:
            database.admin.execute(f"CREATE USER {name} PASSWORD '{PASSWORD}'")
            if rights:
                database.admin.execute(f"GRANT pg_read_all_stats TO {name}")
            for schema in schemas:
                connection.query(f'GRANT ALL ON SCHEMA "{schema}" TO {name}')
                connection.query(f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO {name}')
        return connected(database, store, name, PASSWORD)

    yield make
    if is_mysql(connection):
        database.admin.execute(f"DROP USER IF EXISTS {name}@'%'")
    else:
        connection.query(
            f"DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{name}') "
            f"THEN DROP OWNED BY {name}; DROP USER {name}; END IF; END $$"
        )


@over_local_and_s3
def test_user_who_cannot_read_a_schema_is_refused(
    table: Any, connection: Any, pipeline: dj.Instance, database: Area, store: Store, user: Callable[..., Any]
) -> None:
    make_due(table)
    hidden = pipeline.Schema(database.schema())
    insert(declare(hidden, "Hidden"), 7)
    with user(table.database) as restricted:
        plan = refused(restricted, store, "hidden-schemas")
        assert ("GRANT SELECT, PROCESS ON *.* TO" if is_mysql(connection) else hidden.database) in str(plan.refusals[0])
    assert len(objects(store)) == 3


def test_user_who_cannot_read_a_schema_that_nobody_registered_is_refused(
    table: Any, connection: Any, schema: dj.Schema, database: Area, store: Store, user: Callable[..., Any]
) -> None:
    """Rows may have been copied there by other programs."""
    make_due(table)
    copied = database.schema()
    execute_sql(connection, f"CREATE SCHEMA {connection.adapter.quote_identifier(copied)}")
    name, source = own(connection, copied, "copied"), table().full_table_name
    execute_sql(connection, f"CREATE TABLE {name} AS SELECT * FROM {source}")
    if not is_mysql(connection):
        execute_sql(connection, f"COMMENT ON COLUMN {name}.raw IS ':<file>:'")
    with user(table.database) as restricted:
        refused(restricted, store, "hidden-schemas")
    execute_sql(connection, f"DROP TABLE {name}")


def test_user_who_cannot_see_transactions_of_others_is_refused(
    table: Any, connection: Any, database: Area, store: Store, user: Callable[..., Any]
) -> None:
    """One of them may have copied a reference to what was deleted since."""
    make_due(table)
    with user(table.database, rights="SELECT" if is_mysql(connection) else "") as restricted:
        plan = refused(restricted, store, "hidden-transactions")
        assert "PROCESS" in plan.refusals[0].way_on or "pg_read_all_stats TO" in plan.refusals[0].way_on


@over_mysql
def test_grant_that_takes_the_place_of_a_wider_one_is_noticed(
    table: Any, connection: Any, database: Area, store: Store, user: Callable[..., Any]
) -> None:
    """MySQL looks at the narrowest grant on schemas alone: what a wider one allows does not hold there."""
    make_due(table)
    hidden = database.schema()
    database.admin.execute(f"CREATE DATABASE `{hidden}`")
    with user(table.database) as restricted:
        name = restricted.conn_info["user"]
        database.admin.execute(f"GRANT SELECT ON `%`.* TO {name}@'%'")
        assert scan(restricted).refusals == ()
        database.admin.execute(f"GRANT INSERT ON `{hidden}`.* TO {name}@'%'")
    with connected(database, store, name, PASSWORD) as restricted:
        refused(restricted, store, "hidden-schemas")


@over_mysql
def test_schema_taken_from_a_user_is_noticed(
    table: Any, connection: Any, database: Area, store: Store, user: Callable[..., Any]
) -> None:
    if "MariaDB" in connection.query("SELECT VERSION()").fetchone()[0]:
        pytest.skip("there are no partial revokes")
    make_due(table)
    hidden = database.schema()
    database.admin.execute(f"CREATE DATABASE `{hidden}`")
    with user(table.database, rights="SELECT, PROCESS") as restricted:
        name = restricted.conn_info["user"]
        database.admin.execute("SET GLOBAL partial_revokes = ON")
        try:
            database.admin.execute(f"REVOKE SELECT ON `{hidden}`.* FROM {name}@'%'")
            refused(restricted, store, "hidden-schemas")
        finally:
            database.admin.execute(f"DROP USER {name}@'%'")
            database.admin.execute("SET GLOBAL partial_revokes = OFF")


@over_mysql  # PostgreSQL has to be configured for them
def test_prepared_transaction_holds_back_deletion(table: Any, connection: Any, database: Area, store: Store) -> None:
    make_due(table)
    database.admin.execute("XA START 'gc-test'")
    database.admin.execute(f"INSERT INTO {table().full_table_name} (recording_id) VALUES (77)")
    database.admin.execute("XA END 'gc-test'")
    database.admin.execute("XA PREPARE 'gc-test'")
    try:
        done = collect(connection)
    finally:
        database.admin.execute("XA ROLLBACK 'gc-test'")
    assert done.purged.count == 0
    assert "1 prepared transaction not ended yet" in " ".join(done.notes)
    assert collect(connection).purged.count == 1


def test_user_of_one_table_is_refused(
    table: Any, connection: Any, schema: dj.Schema, database: Area, store: Store, user: Callable[..., Any]
) -> None:
    """A user may see one table of a schema and not know that there are others."""
    make_due(table)
    declare(schema, "Hidden")
    with user() as restricted:
        name = restricted.conn_info["user"]
        grantee, grant = (f"{name}@'%'", database.admin.execute) if is_mysql(connection) else (name, connection.query)
        if not is_mysql(connection):
            connection.query(f'GRANT USAGE ON SCHEMA "{schema.database}" TO {name}')
        for visible in ("recording", "~file_registry", "~file_intent", "~file_history"):
            grant(f"GRANT ALL ON {own(connection, schema.database, visible)} TO {grantee}")
        plan = scan(restricted)
        assert kinds(plan) == {"hidden-schemas"}
    assert len(objects(store)) == 2


@over_local_and_s3
def test_schema_that_is_not_there_is_refused_until_it_is_named(
    table: Any, connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    make_due(table)
    gone = pipeline.Schema(database.schema())
    insert(declare(gone, "Gone"), 7)
    drop_by_sql(connection, gone.database)
    plan = refused(connection, store, "gone")
    assert f"--dropped {gone.database}" in plan.refusals[0].way_on
    refused(connection, store, "gone", take_over=True)
    assert collect(connection, dropped=[gone.database]).purged.count == 1
    assert scan(connection).refusals == ()


@over_postgresql
def test_schema_that_was_renamed_is_recognised(table: Any, connection: Any, database: Area, store: Store) -> None:
    make_due(table)
    name, renamed = table.database, database.schema()
    execute_sql(connection, f'ALTER SCHEMA "{name}" RENAME TO "{renamed}"')
    plan = refused(connection, store, "gone")
    assert f"{renamed} has its id" in plan.refusals[0].reason
    execute_sql(connection, f'ALTER SCHEMA "{renamed}" RENAME TO "{name}"')


@over_local_and_s3
def test_schema_that_was_dropped_and_noted_is_no_reason_to_refuse(
    table: Any, connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    make_due(table)
    gone = pipeline.Schema(database.schema())
    insert(declare(gone, "Gone"), 7)
    dropped = schema_registry.dropping(connection, gone.database)
    drop_by_sql(connection, gone.database)
    dropped.note()
    plan = scan(connection)
    assert (plan.refusals, plan.purge.count) == ((), 1)
    assert f"{gone.database} was dropped" in " ".join(plan.notes)
    collect(connection, dropped=[gone.database])
    assert not any("was dropped" in note for note in scan(connection).notes)


def test_schema_that_was_dropped_and_noted_may_be_made_again_at_once(
    table: Any, connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    make_due(table)
    again = pipeline.Schema(database.schema())
    insert(declare(again, "Again"), 7)
    dropped = schema_registry.dropping(connection, again.database)
    drop_by_sql(connection, again.database)
    dropped.note()
    insert(declare(pipeline.Schema(again.database), "Again"), 8)
    plan = scan(connection)
    assert plan.refusals == ()
    assert any(mark.registration.schema == again.database and not mark.is_dropped for mark in all_marks(connection))


def test_schema_that_is_there_and_noted_as_dropped_is_refused(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    """A copy of the database has dropped its own, or this one was restored afterwards."""
    make_due(table)
    schema_registry.dropping(connection, table.database).note()
    plan = refused(connection, store, "restored")
    assert "was dropped" in plan.refusals[0].reason
    with pytest.warns(JournalWarning, match="was it restored, or copied"):
        insert(table, 3)
    gone = [mark for mark in all_marks(connection) if mark.is_dropped]
    assert max(mark.epoch for mark in all_marks(connection)) > gone[0].epoch  # so the copy does not take it for dropped
    collect(connection, take_over=True)
    assert scan(connection).refusals == ()


def test_schema_that_was_written_to_after_the_books_were_read_is_not_noted_as_dropped(
    table: Any, connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    make_due(table)
    gone = pipeline.Schema(database.schema())
    insert(declare(gone, "Gone"), 7)
    dropped = schema_registry.dropping(connection, gone.database)
    make_older(connection, gone.database, "~file_registry", "bumped_at")
    schema_registry.forget(connection, gone.database)
    schema_registry.ensure_marked(pipeline_of(connection), connection, gone.database)
    drop_by_sql(connection, gone.database)
    dropped.note()
    refused(connection, store, "gone")


# ---- other databases ----


def all_marks(connection: Any) -> list[Mark]:
    return registry_of(connection).read()[0]


def forge(connection: Any, **changes: Any) -> Mark:
    """Add a mark like the one there is, as another database would have written it."""
    registry = registry_of(connection)
    (mark,), _ = registry.read()
    server = changes.pop("server", mark.registration.identity.server)
    who = replace(mark.registration, identity=replace(mark.registration.identity, server=server))
    forged = replace(mark, registration=who, **changes)
    registry.write(forged)
    return forged


def forget_marks(connection: Any, but: Mark | None = None) -> None:
    registry = registry_of(connection)
    for mark in registry.read()[0]:
        if mark != but:
            registry.remove(registry.key_of(mark))


@over_local_and_s3
def test_clone_of_a_database_is_refused(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    original = forge(connection, server="mysql original-server")
    forget_marks(connection, but=original)
    plan = refused(connection, store, "clone")
    assert "mysql original-server" in plan.refusals[0].reason
    assert "--take-over" in plan.refusals[0].way_on


def test_clone_that_is_written_to_is_refused_as_well(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    forge(connection, server="mysql original-server")
    refused(connection, store, "other-database")


def test_database_that_takes_over_may_collect(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    original = forge(connection, server="mysql original-server")
    forget_marks(connection, but=original)
    plan = scan(connection, take_over=True)
    assert plan.refusals == ()
    assert len(marks(store)) == 1
    assert gc.execute(plan).purged.count == 1
    assert [mark.registration.identity.server for mark in registry_of(connection).read()[0]] != [
        "mysql original-server"
    ]
    assert scan(connection).refusals == ()


def test_project_of_two_servers_is_refused_on_both(mysql_area: Area, postgresql_area: Area, store: Store) -> None:
    with connected(mysql_area, store) as first, connected(postgresql_area, store) as second:
        make_due(declare(dj.Schema(mysql_area.schema(), connection=first)))
        insert(declare(dj.Schema(postgresql_area.schema(), connection=second)), 1)
        for connection in (first, second):
            refused(connection, store, "other-database")


@over_local_and_s3
def test_restored_dump_is_refused(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    dump = rows_of(connection, table.database, "~file_registry")
    insert(table, 3)
    collect(connection)  # begins a new epoch
    lost = path_of(table, 3)
    execute_sql(connection, f"DELETE FROM {own(connection, table.database, 'recording')} WHERE recording_id = 3")
    replace_rows(connection, table.database, "~file_registry", dump)
    plan = refused(connection, store, "restored")
    assert "older dump" in plan.refusals[0].reason
    assert lost in objects(store)


def test_restored_dump_is_not_forgotten_when_epochs_catch_up(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    dump = rows_of(connection, table.database, "~file_registry")
    collect(connection)
    replace_rows(connection, table.database, "~file_registry", dump)
    name = own(connection, table.database, "~file_registry")
    for _ in range(3):
        epoch = connection.query(f"SELECT MAX(epoch) FROM {name}").fetchone()[0]
        connection.query(
            f"INSERT INTO {name} SELECT project, epoch + 1, schema_id, %s, bumped_at, is_marked FROM {name} "
            f"WHERE epoch = {epoch}",
            (secrets.token_hex(16),),
        )
    refused(connection, store, "restored")
    assert collect(connection, take_over=True)
    assert scan(connection).refusals == ()


def test_run_that_is_refused_leaves_a_mark_by_which_the_other_history_refuses_too(
    table: Any, connection: Any, store: Store
) -> None:
    """A copy of the server's files collects, and the original, which stores nothing meanwhile, is only collected."""
    insert(table, 1)
    original = rows_of(connection, table.database, "~file_registry")
    collect(connection)
    copy = rows_of(connection, table.database, "~file_registry")
    replace_rows(connection, table.database, "~file_registry", original)
    refused(connection, store, "restored")
    refused(connection, store, "restored")
    assert len(marks(store)) == 2
    replace_rows(connection, table.database, "~file_registry", copy)
    refused(connection, store, "restored")
    assert collect(connection, take_over=True)
    assert scan(connection).refusals == ()


def rows_of(connection: Any, schema: str, table: str) -> list[Any]:
    return list(connection.query(f"SELECT * FROM {own(connection, schema, table)}").fetchall())


def replace_rows(connection: Any, schema: str, table: str, rows: list[Any]) -> None:
    name = own(connection, schema, table)
    connection.query(f"DELETE FROM {name}")
    for row in rows:
        connection.query(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(row))})", tuple(row))


def test_schema_made_again_is_refused_until_its_predecessor_is_declared_dropped(
    table: Any, connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    make_due(table)
    again = pipeline.Schema(database.schema())
    insert(declare(again, "Again"), 7)
    name = again.database
    drop_by_sql(connection, name)
    again = pipeline.Schema(name)
    schema_registry._registered.clear()  # as in another process, or ten minutes later
    insert(declare(again, "Again"), 8)
    refused(connection, store, "recreated")
    assert collect(connection, dropped=[name]).purged.count == 1
    assert scan(connection).refusals == ()


def test_project_that_was_renamed_is_refused(table: Any, connection: Any, database: Area, store: Store) -> None:
    """On a disk the directory stands for the project, whatever its name: old rows do not begin with the new one."""
    make_due(table)
    renamed = Store(store.table, unique("renamed"))
    with connected(database, renamed) as other:
        refused(other, store, "renamed", take_over=True, dropped=[table.database])
        with pytest.raises(
            ConfigurationError, match=f"belongs to the project '{store.project}'.* as '{renamed.project}'"
        ):
            dj.FreeTable(other, table().full_table_name).insert1({"recording_id": 9, "raw": ("9.dat", b"9")})
    assert len(objects(store)) == 2


def test_project_inside_another_one_is_refused_by_the_outer_one(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    """With a prefix, or on a disk, one project can lie where another one's objects begin."""
    insert(table, 1)
    path = Path(store.table["path"]) / "subject1/inner"
    path.mkdir(parents=True)
    insert_before_the_outer_one_is(store, path, database)
    plan = scan(connection)
    assert kinds(plan) == {"nested"}
    assert "subject1/inner/" in str(plan.refusals[0])
    with pytest.raises(CollectionRefusedError):
        gc.execute(plan, force=True)


def insert_before_the_outer_one_is(store: Store, path: Path, database: Area) -> None:
    """Insert into a project at *path*, as if the outer one began afterwards."""
    outer = Path(store.table["path"]) / "~registry"
    outer.rename(aside := outer.with_name("aside"))
    with connected(database, Store({"backend": "file", "path": str(path)}, unique("inner"))) as other:
        insert(declare(dj.Schema(database.schema(), connection=other)), 2)
    aside.rename(outer)


def test_project_inside_another_one_is_refused_at_its_first_insert_and_by_its_collector(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    insert(table, 1)
    path = Path(store.table["path"]) / "students/inner"
    path.mkdir(parents=True)
    inner = Store({"backend": "file", "path": str(path)}, unique("inner"))
    with connected(database, inner) as other:
        with pytest.raises(ConfigurationError, match="lies inside another one") as caught:
            insert(declare(dj.Schema(database.schema(), connection=other)), 2)
        assert store.table["path"] in str(caught.value)
        assert kinds(gc.plan(other)) == {"nested"}
    assert not list(path.iterdir())


# ---- marks ----


def test_project_without_marks_is_refused(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    forget_marks(connection)
    refused(connection, store, "unregistered")
    assert collect(connection, take_over=True).purged.count == 1
    assert len(marks(store)) == 1
    assert scan(connection).refusals == ()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"format": 1}', b'{"format": "1"}', b"{" * 5000])
def test_garbage_among_the_marks_is_refused(table: Any, connection: Any, store: Store, content: bytes) -> None:
    make_due(table)
    put_mark(store, "x.json", content)
    refused(connection, store, "mark")
    assert collect(connection, take_over=True).purged.count == 1
    assert scan(connection).refusals == ()


def test_mark_of_a_newer_version_is_respected(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    put_mark(store, "x.json", b'{"format": 2}')
    plan = refused(connection, store, "mark", take_over=True)
    assert "Upgrade datajoint-file" in plan.refusals[0].way_on


@pytest.mark.parametrize("field", ["server", "database", "project", "schema", "schema_id", "epoch", "token"])
def test_changed_mark_is_refused(table: Any, connection: Any, store: Store, field: str) -> None:
    make_due(table)
    (key,) = marks(store)
    content = json.loads(store.content(key))
    content[field] = content[field] + 1 if field == "epoch" else "changed"
    store.damage(key, json.dumps(content).encode())
    refused(connection, store, "mark")


def put_mark(store: Store, name: str, content: bytes) -> None:
    directory = Path(store.table["path"]) / "~registry"
    directory.mkdir(exist_ok=True)
    (directory / name).write_bytes(content)


# ---- clocks, servers ----


class Skewed(DelegatingBackend):
    """A store whose clock is wrong."""

    by = timedelta()

    def stat(self, key: str) -> ObjectStat:
        found = super().stat(key)
        return replace(found, modified=datetime.now(timezone.utc) + self.by)


@pytest.mark.parametrize("by", [timedelta(days=1), timedelta(days=-1), timedelta(minutes=6)])
def test_wrong_clock_of_the_store_is_refused(table: Any, connection: Any, store: Store, by: timedelta) -> None:
    make_due(table)
    pipeline = pipeline_of(connection)
    backend = Skewed(pipeline.backend)
    backend.by = by
    pipeline.stores._backends[pipeline.project] = backend
    plan = scan(connection)
    with pytest.raises(CollectionRefusedError, match="Set the clock"):
        gc.execute(plan)
    assert len(objects(store)) == 2


def test_replica_is_refused(table: Any, connection: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    make_due(table)
    dialect = type(second_connection_of(connection).dialect)
    monkeypatch.setattr(dialect, "is_replica", f"SELECT NOT ({dialect.is_replica})")  # which a primary denies
    plan = refused(connection, store, "replica")
    assert "primary" in plan.refusals[0].way_on


def test_unknown_schema_named_as_dropped_is_refused(table: Any, connection: Any) -> None:
    insert(table, 1)
    plan = scan(connection, dropped=[f"{table.database}x"])
    assert kinds(plan) == {"not-dropped"}
    assert f"did you mean '{table.database}'?" in plan.refusals[0].reason


def test_present_schema_named_as_dropped_is_not_forgotten(table: Any, connection: Any, store: Store) -> None:
    make_due(table)
    before = set(marks(store))
    refused(connection, store, "not-dropped", dropped=[table.database])
    assert len(marks(store)) == len(before)
    assert scan(connection).refusals == ()


def test_marks_hold_no_secret(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    (key,) = marks(store)
    content = store.content(key)
    assert b"not-checked" not in content
    identity = Identity(*(json.loads(content)[name] for name in ("server", "database", "host", "port", "directory")))
    assert Registration(identity, store.project, table.database, json.loads(content)["schema_id"]).digest in key
