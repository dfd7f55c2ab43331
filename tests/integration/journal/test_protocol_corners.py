"""Corners of the writers' protocol: whatever fails in between, each object has a row or an intent, and no row lies."""

from __future__ import annotations

import datetime
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import datajoint as dj
import pymysql
import pytest
from datajoint.errors import LostConnectionError

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import JournalWarning, LeaseLostError, RowVanishedError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.insert import uploads
from datajoint_file.journal import intent_table as intents_module
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.testing import Fault, FaultyBackend
from tests.integration.collector.collecting import Area, connect_to, make_older
from tests.integration.collector.conftest import area_of
from tests.integration.journal.test_journal import (
    end_leases,
    insert_and_roll_back,
    intents,
    kill_session,
    open_intents,
    paths,
    wait_until_free,
)
from tests.integration.journal.test_outcomes import before_statement
from tests.projects import COLLECTED, DATABASES, Store, connect, unique

mysql_only = pytest.mark.parametrize("database", ["mysql"], indirect=True)
postgresql_only = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
over_areas = pytest.mark.parametrize("area", COLLECTED, ids=DATABASES, indirect=True)

PATIENCE_SECONDS = 60.0
"""What takes longer is not going to happen."""

PURGE_SECONDS = 1.2
"""InnoDB takes deleted rows out of its indexes in the background, after which searches lock the gaps they leave."""

SNAPSHOT = "this transaction looks at a snapshot"


def declare(schema: dj.Schema) -> Any:
    definition = "id : int32\n---\nraw : file\nextra = null : file"
    return schema(type("Recording", (dj.Manual,), {"definition": definition}))


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return declare(schema)


@pytest.fixture
def other(database: Any, table: Any) -> Iterator[Any]:
    """A connection to the same database that has no pipeline."""
    made = connect(database)
    yield made.connection
    made.connection.close()


@pytest.fixture
def theirs(database: Any, table: Any, store: Store) -> Iterator[Any]:
    """The same table, as another writer has it."""
    second = connect(database)
    datajoint_file.configure(store.configuration(), connection=second)
    yield declare(second.Schema(table.database))
    second.connection.close()


@pytest.fixture
def counted(table: Any) -> FaultyBackend:
    """The table's store, which counts what is sent to it, and fails as told."""
    return faulty(table)


@pytest.fixture
def area(request: pytest.FixtureRequest) -> Iterator[Area]:
    """A part of a server that the collector sees alone."""
    yield from area_of(request.getfixturevalue(request.param), sees_all=True)


@pytest.fixture
def swept(area: Area, store: Store) -> Iterator[Any]:
    """The table in such a part."""
    instance = connect_to(area)
    datajoint_file.configure(store.configuration(), connection=instance)
    yield declare(instance.Schema(area.schema()))
    instance.connection.close()


@pytest.fixture
def sweeper(area: Area, swept: Any, store: Store) -> Iterator[Any]:
    """The same table, as another writer or a collector has it."""
    instance = connect_to(area)
    datajoint_file.configure(store.configuration(), connection=instance)
    yield declare(instance.Schema(swept.database))
    instance.connection.close()


@pytest.fixture
def pinged(table: Any, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set whenever the user's connection has been looked after, which happens all the time while bytes move."""
    monkeypatch.setattr(uploads, "TICK_SECONDS", 0.01)
    done, adapter = threading.Event(), table().connection.adapter
    ping = adapter.ping

    def watched(driver: Any) -> Any:
        try:
            return ping(driver)
        finally:
            done.set()

    monkeypatch.setattr(adapter, "ping", watched)
    return done


def faulty(table: Any, *faults: Fault) -> FaultyBackend:
    pipeline = pipeline_of(table().connection)
    ensure_marked(pipeline, table().connection, table.database)  # its marks are not payload
    backend = FaultyBackend(pipeline.backend, *faults)
    pipeline.stores._backends[pipeline.project] = backend
    return backend


def until(event: threading.Event) -> Callable[[str], None]:
    """Return what lets an upload take until *event* happens from now on."""

    def wait(key: str) -> None:
        event.clear()
        assert event.wait(PATIENCE_SECONDS)

    return wait


def poll(is_done: Callable[[], object]) -> None:
    for _ in range(6000):
        if is_done():
            return
        threading.Event().wait(PATIENCE_SECONDS / 6000)
    raise AssertionError("it does not come about")


def journal(table: Any) -> str:
    return str(table().connection.adapter.make_full_table_name(table.database, "~file_intent"))


def noted_objects(table: Any, connection: Any) -> list[str]:
    return [path for (path,) in open_intents(table, "path", connection)]


def repeatable_read(connection: Any) -> None:
    connection.query("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def has_session(connection: Any, number: int) -> bool:
    listed = {
        "mysql": "SELECT 1 FROM information_schema.processlist WHERE id = %s",
        "postgresql": "SELECT 1 FROM pg_stat_activity WHERE pid = %s",
    }
    return connection.query(listed[connection.adapter.backend], (number,)).fetchone() is not None


def end_session(connection: Any, number: int) -> None:
    """End a session at the server, as an administrator or a restart would."""
    end = "SELECT pg_terminate_backend(%s)" if connection.adapter.backend == "postgresql" else "KILL %s"
    connection.query(end, (number,))
    poll(lambda: not has_session(connection, number))


def second_session(table: Any) -> int:
    """The server's number of the connection that the journal is written on."""
    second = second_connection_of(table().connection)
    sql = "SELECT pg_backend_pid()" if second.dialect.backend == "postgresql" else "SELECT CONNECTION_ID()"
    return int(second.query(sql)[0][0])


def end_second_session(table: Any, other: Any) -> None:
    end_session(other, second_session(table))


def leave_second_session_idle(table: Any, other: Any) -> None:
    """Let the server close it for idleness."""
    number, second = second_session(table), second_connection_of(table().connection)
    is_postgresql = second.dialect.backend == "postgresql"
    second.execute(f"SET SESSION {'idle_session_timeout = 1000' if is_postgresql else 'wait_timeout = 1'}")
    poll(lambda: not has_session(other, number))


def fail_to_note_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Fail when it is first tried, and when it is tried again; the event says that it has."""
    store, failed, calls = intents_module.Intents.store, threading.Event(), iter(range(1000))

    def failing(self: Any, rows: Any, *args: Any) -> Any:
        if rows and (call := next(calls)) < 2:
            if call == 1:
                failed.set()
            raise LostConnectionError("injected")
        return store(self, rows, *args)

    monkeypatch.setattr(uploads, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(uploads, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(intents_module.Intents, "store", failing)
    return failed


@postgresql_only
def test_repeatable_read_survives_the_ping_of_a_slow_upload(
    table: Any, counted: FaultyBackend, pinged: threading.Event
) -> None:
    connection = table().connection
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    repeatable_read(connection)
    counted.faults.append(Fault("upload", call=2, action=until(pinged)))
    with connection.transaction, pytest.warns(JournalWarning, match=SNAPSHOT):
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert len(table()) == 2


@postgresql_only
def test_repeatable_read_that_has_read_can_adopt(table: Any, counted: FaultyBackend) -> None:
    insert_and_roll_back(table, [{"id": 1, "raw": ("a.dat", b"recording")}])
    repeatable_read(table().connection)
    with table().connection.transaction:
        assert len(table()) == 0
        with pytest.warns(JournalWarning, match=SNAPSHOT):
            table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    assert counted.uploaded_bytes == len(b"recording")
    assert table.fetch1("raw").read() == b"recording"
    assert open_intents(table) == []


@postgresql_only
def test_a_warning_that_is_an_error_loses_no_intent(table: Any, other: Any) -> None:
    connection = table().connection
    repeatable_read(connection)
    with warnings.catch_warnings(), connection.transaction:
        warnings.simplefilter("error", JournalWarning)
        assert len(table()) == 0
        with pytest.raises(JournalWarning):
            table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert len(table()) == 0
    assert intents(table, "state", other) == [("stored",)]


def isolate_snapshots(connection: Any) -> bool:
    """Let MariaDB refuse to change what was changed since a transaction began to read. MySQL does not know that."""
    is_mariadb = "MariaDB" in connection.query("SELECT @@version").fetchone()[0]
    if is_mariadb:
        connection.query("SET SESSION innodb_snapshot_isolation = ON")
    return is_mariadb


@mysql_only
def test_an_insert_into_a_snapshot_of_mariadb_is_committed_with_its_transaction(table: Any, theirs: Any) -> None:
    connection = theirs().connection
    is_warned = isolate_snapshots(connection)
    with connection.transaction:
        assert len(theirs()) == 0
        connection.query(f"INSERT INTO {table().full_table_name} (id, raw) VALUES (7, '{{}}')")
        with pytest.warns(JournalWarning, match=SNAPSHOT) if is_warned else nullcontext():
            theirs.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert set(table.to_arrays("id")) == {1, 7}
    assert intents(table) == []


@mysql_only
def test_an_insert_that_a_snapshot_of_mariadb_refuses_is_refused_with_its_transaction(table: Any, other: Any) -> None:
    """The server ends the whole transaction, earlier rows and all, when it was told to refuse after the first file."""
    connection = table().connection
    table.insert1({"id": 0, "raw": ("a.dat", b"0")})
    is_refused = isolate_snapshots(connection)
    with pytest.raises(pymysql.err.OperationalError, match="1020") if is_refused else nullcontext():
        with connection.transaction:
            assert len(table()) == 1
            connection.query(f"INSERT INTO {table().full_table_name} (id, raw) VALUES (7, '{{}}')")
            table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    found = {row[0] for row in other.query(f"SELECT id FROM {table().full_table_name}").fetchall()}
    assert found == ({0} if is_refused else {0, 1, 7})


@pytest.fixture
def ballast(other: Any) -> Iterator[str]:
    """A table whose changes make a transaction the heavier one: InnoDB ends the other at a deadlock."""
    name = unique("schema")
    other.query(f"CREATE DATABASE {name}")
    other.query(f"CREATE TABLE {name}.heavy (number INT PRIMARY KEY)")
    yield f"{name}.heavy"
    other.query("ROLLBACK")
    other.query(f"DROP DATABASE {name}")


@mysql_only
def test_a_deadlock_leaves_one_intent(table: Any, other: Any, ballast: str, mysql: Any) -> None:
    connection, full_name = table().connection, table().full_table_name
    table.insert([{"id": 10, "raw": ("a.dat", b"x")}])
    lock_ten = f"UPDATE {full_name} SET extra = NULL WHERE id = 10"
    opponent = threading.Thread(target=other.query, args=(lock_ten,))
    with connection.transaction:
        connection.query(lock_ten)
        other.query("BEGIN")
        other.query(f"INSERT INTO {ballast} VALUES {','.join(f'({number})' for number in range(3000))}")
        other.query(f"INSERT INTO {full_name} (id, raw) VALUES (1, '{{}}')")
        opponent.start()
        wait_until_waiting(mysql)
        with pytest.raises(pymysql.err.OperationalError, match="Deadlock"):
            table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    opponent.join()
    assert len(noted_objects(table, other)) == 1


@mysql_only
def test_a_transaction_that_is_over_brings_back_only_what_its_claim_has_deleted(table: Any, other: Any) -> None:
    """The server ends it, and the collector condemns one of two files, just before they are claimed."""
    connection = table().connection

    def end() -> None:
        connection._conn.rollback()
        other.query(f"UPDATE {journal(table)} SET state = 'condemned' ORDER BY number LIMIT 1")

    with pytest.raises(LostConnectionError, match="rolled the transaction back"), connection.transaction:
        before_statement(connection, "DELETE", end)
        table.insert([{"id": 1, "raw": ("a.dat", b"1")}, {"id": 2, "raw": ("b.dat", b"2")}])
    assert sorted(intents(table, "state", other)) == [("condemned",), ("stored",)]


def wait_until_waiting(server: Any) -> None:
    """Wait until a transaction waits for a lock."""
    observer = connect(server).connection
    sql = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE %s"
    poll(lambda: observer.query(sql, ("UPDATE %extra = NULL WHERE id = 10",)).fetchone())
    observer.close()


@postgresql_only
def test_a_replaced_row_that_vanishes_is_inserted(table: Any, other: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"old")})
    own = table().connection
    before_statement(own, "INSERT", lambda: other.query(f"DELETE FROM {table().full_table_name}"))
    table.insert1({"id": 1, "raw": ("a.dat", b"new")}, replace=True)
    assert table.fetch1("raw").read() == b"new"
    assert intents(table) == []


def test_a_lost_lease_doubles_no_intent(
    table: Any, counted: FaultyBackend, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several statements claim, of which one finds that it has lost."""
    monkeypatch.setattr(intents_module, "MAX_ROWS", 1)
    lose = lambda key: other.query(f"DELETE FROM {journal(table)} WHERE path = '{key}'")  # noqa: E731
    counted.faults.append(Fault("upload", call=2, action=lose))
    with table().connection.transaction, pytest.raises(LeaseLostError):
        table.insert([{"id": id_, "raw": ("a.dat", b"1")} for id_ in range(4)])
    found = noted_objects(table, other)
    assert len(found) == len(set(found)) == 3


@mysql_only
def test_a_retry_after_a_lost_lease_does_not_wait_for_its_own_transaction(table: Any, theirs: Any) -> None:
    mine = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    end_leases(table)
    theirs.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    threading.Event().wait(PURGE_SECONDS)
    with table().connection.transaction:
        with pytest.raises(LeaseLostError):
            table.insert1({"id": 1, "raw": mine})
        theirs.insert1({"id": 3, "raw": ("b.dat", b"others")})
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert len(table()) == 3


@mysql_only
def test_a_staged_file_that_is_used_again_does_not_cost_the_others_their_intents(table: Any, other: Any) -> None:
    one = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"1"))
    two = datajoint_file.stage(table, {"id": 2}, "raw", ("a.dat", b"2"))
    with table().connection.transaction:
        table.insert1({"id": 1, "raw": one})
        with pytest.raises(LeaseLostError):
            table.insert([{"id": 2, "raw": two}, {"id": 1, "raw": one}], replace=True)
    assert paths(table) == {one.path}
    assert noted_objects(table, other) == [two.path]


def test_a_file_of_another_content_does_not_take_a_staged_one_away(table: Any, theirs: Any) -> None:
    mine = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    end_leases(table)
    datajoint_file.stage(theirs, {"id": 1}, "raw", ("b.dat", b"another"))
    table.insert1({"id": 1, "raw": mine})
    assert paths(table) == {mine.path}


@mysql_only
@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("datetime", datetime.datetime(2024, 1, 1, 12, 0, 0, 700_000)),
        ("float32", 0.1),
        ("decimal(5,2)", "1.234"),
        ("date", datetime.datetime(2024, 1, 1, 12)),
    ],
    ids=str,
)
def test_a_key_that_the_database_rounds_leaves_no_intent(schema: Any, type_: str, value: Any) -> None:
    @schema
    class Rounded(dj.Manual):
        definition = f"moment : {type_}\n---\nraw : file"

    Rounded.insert([{"moment": value, "raw": ("a.dat", b"1")}], skip_duplicates=True)
    assert len(Rounded()) == 1
    assert intents(Rounded) == []


def test_with_autocommit_off_the_users_rollback_takes_the_row_back(table: Any) -> None:
    connection = table().connection
    table.insert1({"id": 0, "raw": ("a.dat", b"1")})
    if connection.adapter.backend == "postgresql":
        connection._conn.autocommit = False
    else:
        connection.query("SET autocommit = 0")
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    connection.query("ROLLBACK")
    assert list(table.to_arrays("id")) == [0]
    connection.query("ROLLBACK")


def test_claims_of_a_transaction_in_sql_are_not_those_of_the_next(table: Any, other: Any) -> None:
    """What the first has committed does not say that the second is."""
    connection = table().connection
    connection.query("BEGIN")
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    connection.query("COMMIT")
    connection.query("BEGIN")
    table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    before_statement(connection, "COMMIT", lambda: kill_session(other, connection))
    with pytest.raises(LostConnectionError):
        connection.commit_transaction()


def test_what_was_rolled_back_and_adopted_by_another_is_no_success(table: Any, theirs: Any, other: Any) -> None:
    connection = table().connection

    def lose_all() -> None:
        kill_session(other, connection)
        wait_until_free(theirs)
        end_leases(theirs)
        theirs.insert1({"id": 1, "raw": ("a.dat", b"1")})

    with pytest.raises(LostConnectionError), connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})
        before_statement(connection, "COMMIT", lose_all)
    assert list(theirs.to_arrays("id")) == [1]


def is_uploading() -> bool:
    return any(thread.name == "datajoint-file upload" for thread in threading.enumerate())


@pytest.mark.parametrize("kind", ["transaction", "no transaction"])
def test_an_interrupt_while_bytes_move_is_what_the_caller_sees(
    table: Any, counted: FaultyBackend, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(uploads, "TICK_SECONDS", 0.01)
    interrupted = threading.Event()
    counted.faults.append(Fault("upload", action=lambda key: interrupted.wait(PATIENCE_SECONDS)))
    connection = table().connection
    ping = connection.adapter.ping

    def interrupt(driver: Any) -> Any:
        if is_uploading() and not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        return ping(driver)

    monkeypatch.setattr(connection.adapter, "ping", interrupt)
    with pytest.raises(KeyboardInterrupt), connection.transaction if kind == "transaction" else nullcontext():
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert not connection.in_transaction
    assert len(table()) == 0


def test_an_interrupt_while_the_transaction_is_opened_leaves_none(table: Any, other: Any) -> None:
    connection = table().connection
    query = connection.query

    def interrupted(sql: str, *args: Any, **options: Any) -> Any:
        if sql.upper().startswith(("START", "BEGIN")):
            del connection.query
            query(sql, *args, **options)
            raise KeyboardInterrupt
        return query(sql, *args, **options)

    connection.query = interrupted
    with pytest.raises(KeyboardInterrupt):
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert other.query(f"SELECT id FROM {table().full_table_name}").fetchall() in ([(2,)], ((2,),))


def test_an_error_of_the_row_is_not_told_as_a_lost_connection(
    schema: Any, other: Any, counted: FaultyBackend, pinged: threading.Event
) -> None:
    @schema
    class Short(dj.Manual):
        definition = "id : int32\n---\nlabel : varchar(3)\nraw : file"

    connection = Short().connection
    Short.insert1({"id": 0, "label": "a", "raw": ("a.dat", b"1")})

    def lose(key: str) -> None:
        kill_session(other, connection)
        until(pinged)(key)

    counted.faults.append(Fault("upload", call=2, action=lose))
    with pytest.raises(Exception, match=r"(?i)too long") as caught:
        Short.insert1({"id": 1, "label": "too long", "raw": ("a.dat", b"1")})
    assert not isinstance(caught.value, LostConnectionError)


def test_a_failure_to_note_what_is_stored_loses_no_claim(
    table: Any, counted: FaultyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.insert1({"id": 0, "raw": ("a.dat", b"0")})
    failed = fail_to_note_what_is_stored(monkeypatch)
    counted.faults.append(Fault("upload", call=3, action=lambda key: failed.wait(PATIENCE_SECONDS)))
    table.insert([{"id": id_, "raw": ("a.dat", b"x" * 2**20)} for id_ in (1, 2)])  # large: each goes by itself
    assert failed.is_set()
    assert len(table()) == 3
    assert intents(table) == []


@pytest.mark.parametrize("moment", ["before the insert", "while bytes move"])
@pytest.mark.parametrize("lose", [end_second_session, leave_second_session_idle], ids=["killed", "idle"])
def test_a_second_connection_that_was_lost_just_now_fails_no_insert(
    table: Any, other: Any, counted: FaultyBackend, lose: Callable[[Any, Any], None], moment: str
) -> None:
    table.insert1({"id": 0, "raw": ("a.dat", b"0")})
    if moment == "before the insert":
        lose(table, other)
    else:
        counted.faults.append(Fault("upload", call=2, action=lambda key: lose(table, other)))
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert len(table()) == 2


def test_a_transaction_of_the_second_connection_is_never_continued_on_another(table: Any, other: Any) -> None:
    table.insert1({"id": 0, "raw": ("a.dat", b"0")})
    second = second_connection_of(table().connection)
    with pytest.raises(LostConnectionError), second.transaction():
        end_second_session(table, other)
        second._session().used -= 3600
        second.query("SELECT 1")


@pytest.fixture
def user(table: Any, store: Store, database: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The same table for a user who has not all rights to the journal."""
    admin, name = table().connection, unique("user")[:30]
    quote = admin.adapter.quote_identifier
    table.insert1({"id": 0, "raw": ("a.dat", b"0")})
    if admin.adapter.backend == "postgresql":
        admin.query(f"CREATE USER {name} PASSWORD 'pw'")
        admin.query(f"GRANT USAGE ON SCHEMA {quote(table.database)} TO {name}")
    else:
        admin.query(f"CREATE USER {name} IDENTIFIED BY 'pw'")
    admin.query(f"GRANT SELECT, INSERT ON {table().full_table_name} TO {name}")
    admin.query(f"GRANT {request.param} ON {journal(table)} TO {name}")
    own = dj.Instance(database.host, name, "pw", port=database.port, use_tls=False, backend=admin.adapter.backend)
    datajoint_file.configure(store.configuration(), connection=own)
    yield dj.FreeTable(own.connection, table().full_table_name)
    own.connection.close()
    second_connection_of(own.connection).close()
    if admin.adapter.backend == "postgresql":
        admin.query(f"DROP OWNED BY {name}")
    admin.query(f"DROP USER {name}")


@pytest.mark.parametrize("user", ["SELECT", "INSERT", "SELECT, INSERT", "SELECT, INSERT, UPDATE"], indirect=True)
def test_a_journal_that_the_user_may_not_use_is_as_none(user: Any, table: Any) -> None:
    with pytest.warns(JournalWarning, match="cannot be made or used"):
        user.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert len(table()) == 2
    assert intents(table) == []


def let_a_week_pass(table: Any) -> None:
    make_older(table().connection, table.database, "~file_intent", "lease_until")


def rows_without_object(table: Any) -> list[int]:
    return [row["id"] for row in table.to_dicts() if not row["raw"].exists()]


def sweep(table: Any) -> gc.Collected:
    return gc.execute(gc.plan(table().connection))


@pytest.mark.parametrize("area", ["mysql"], indirect=True)
def test_a_file_whose_row_vanished_has_one_intent_and_is_not_reclaimed_once_adopted(swept: Any, sweeper: Any) -> None:
    swept.insert1({"id": 1, "raw": ("1.dat", b"spikes")})
    connection, other = swept().connection, sweeper().connection
    with connection.transaction:
        before_statement(connection, "INSERT", lambda: other.query(f"DELETE FROM {swept().full_table_name}"))
        with pytest.raises(RowVanishedError):
            swept.update1({"id": 1, "raw": ("1.dat", b"spikes, sorted")})
    assert len(noted_objects(swept, other)) == 1
    let_a_week_pass(swept)
    with connection.transaction:
        swept.insert1({"id": 1, "raw": ("1.dat", b"spikes, sorted")})
        sweep(sweeper)
    assert len(swept()) == 1
    assert rows_without_object(swept) == []


@over_areas
def test_an_upload_suspended_until_it_is_reclaimed_inserts_no_row(
    swept: Any, sweeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its last word to the journal was lost."""
    swept.insert1({"id": 0, "raw": ("0.dat", b"spikes")})
    failed = fail_to_note_what_is_stored(monkeypatch)

    def suspended(key: str) -> None:
        assert failed.wait(PATIENCE_SECONDS)
        poll(lambda: ("stored",) in intents(sweeper))
        let_a_week_pass_for_the_first(sweeper)
        assert sweep(sweeper).reclaimed.count == 1

    faulty(swept, Fault("upload", call=2, action=suspended))
    with pytest.raises(LeaseLostError):
        swept.insert([{"id": id_, "raw": ("a.dat", b"x" * 2**20)} for id_ in (1, 2)])  # large: each goes by itself
    assert rows_without_object(swept) == []


def let_a_week_pass_for_the_first(table: Any) -> None:
    query = table().connection.query
    (first,) = query(f"SELECT MIN(number) FROM {journal(table)}").fetchone()
    query(f"UPDATE {journal(table)} SET lease_until = lease_until - INTERVAL '720' HOUR WHERE number = {first}")


@over_areas
def test_a_collector_whose_session_ends_deletes_nothing_that_is_adopted(area: Area, swept: Any, sweeper: Any) -> None:
    insert_and_roll_back(swept, [{"id": id_, "raw": ("a.dat", b"spikes")} for id_ in (1, 2)])
    let_a_week_pass(swept)

    def end_the_collectors(key: str) -> None:
        for number in sessions_of(area, but=(swept, sweeper)):
            end_session(sweeper().connection, number)
        sweeper.insert([{"id": id_, "raw": ("a.dat", b"spikes")} for id_ in (1, 2)])

    backend = faulty(swept, Fault("delete", call=2, action=end_the_collectors))
    with pytest.raises(LostConnectionError):
        sweep(swept)
    assert backend.calls["delete"] >= 2
    assert len(sweeper()) == 2
    assert rows_without_object(sweeper) == []


def sessions_of(area: Area, but: tuple[Any, ...]) -> list[int]:
    """The sessions of the collector, which are all but those of DataJoint."""
    spared = [table().connection.adapter.get_connection_id(table().connection._conn) for table in but]
    if area.backend == "postgresql":
        area.admin.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (area.database,))
    else:
        area.admin.execute("SELECT id FROM information_schema.processlist WHERE user = %s", (area.user,))
    return [number for (number,) in area.admin.fetchall() if number not in spared]


def test_commit_that_is_refused_ends_the_transaction(schema: dj.Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    second = second_connection_of(schema.connection)
    name = schema.connection.adapter.make_full_table_name(schema.database, "note")
    second.execute(f"CREATE TABLE {name} (number INTEGER)")
    with monkeypatch.context() as refusing:
        refusing.setattr(type(second.adapter), "commit_sql", lambda self: "SELECT of_nothing")
        with pytest.raises(Exception, match="of_nothing"), second.transaction():
            second.execute(f"INSERT INTO {name} VALUES (1)")
    assert second.query(f"SELECT COUNT(*) FROM {name}")[0][0] == 0
    with second.transaction():
        second.execute(f"INSERT INTO {name} VALUES (2)")
    assert [row[0] for row in second.query(f"SELECT number FROM {name}")] == [2]
