"""The journal of intents: what it says while, before and after a row is inserted, and that a retry sends nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint.errors import DuplicateError, LostConnectionError

import datajoint_file
from datajoint_file.errors import JournalWarning, LeaseLostError, StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.insert import uploads
from datajoint_file.journal.intent_table import Intents
from datajoint_file.journal.schema_registry import ensure_marked
from datajoint_file.sql import dialect_of
from datajoint_file.testing import Fault, FaultyBackend, GeneratedReader, SlowReader
from tests.projects import DATABASES, Store, connect, over_all_stores, over_local_and_s3, unique


def intents(table: Any, columns: str = "state", connection: Any = None) -> list[Any]:
    """What everybody can see in the journal, by SQL of our own on a connection of our own."""
    connection = connection or table().connection
    name = connection.adapter.make_full_table_name(table().database, "~file_intent")
    return list(connection.query(f"SELECT {columns} FROM {name} ORDER BY number").fetchall())


def open_intents(table: Any, columns: str = "state", connection: Any = None) -> list[Any]:
    """The same without tombstones, which say that an object was adopted, or deleted."""
    rows = intents(table, f"state, {columns}", connection)
    return [row[1:] for row in rows if row[0] != "reclaimed"]


def paths(table: Any) -> set[str]:
    quote = table().adapter.quote_identifier
    cursor = table().connection.query(f"SELECT {quote('raw')}, {quote('extra')} FROM {table().full_table_name}")
    values = [value for row in cursor.fetchall() for value in row if value is not None]
    return {(json.loads(value) if isinstance(value, str) else value)["path"] for value in values}


@pytest.fixture
def counted(table: Any) -> FaultyBackend:
    """The table's store, which counts what is sent to it, and fails as told."""
    pipeline = pipeline_of(table().connection)
    ensure_marked(pipeline, table().connection, table().database)  # its marks are not payload
    backend = FaultyBackend(pipeline.backend)
    pipeline.stores._backends[pipeline.project] = backend
    return backend


class Interruption(Exception):
    """Ends a transaction."""


def insert_and_roll_back(table: Any, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(Interruption), table().connection.transaction:
        table.insert(rows)
        raise Interruption


@pytest.fixture
def other(database: Any, table: Any) -> Iterator[Any]:
    """A second user's connection to the same database."""
    made = connect(database)
    yield made.connection
    made.connection.close()


# ---- what the journal says ----


def test_an_intent_is_there_while_bytes_move_and_gone_with_the_row(table: Any, other: Any, counted: Any) -> None:
    seen = []
    look = lambda key: seen.append(intents(table, "state, path", other))  # noqa: E731
    counted.faults += [Fault("upload", action=look), Fault("upload", moment="after", action=look)]

    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})

    (path,) = paths(table)
    assert seen == [[("begun", path)], [("begun", path)]]
    assert intents(table) == []


def test_others_see_the_intent_until_the_transaction_ends(table: Any, other: Any) -> None:
    with table().connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
        assert intents(table, "state", other) == [("stored",)]
        assert intents(table) == []
    assert intents(table, "state", other) == []


@over_local_and_s3
def test_an_insert_takes_four_statements_more_than_without_files(table: Any, monkeypatch: Any) -> None:
    table.insert1({"id": 0, "raw": ("a.dat", b"the first one makes the connection")})
    statements: list[str] = []
    adapter = table().connection.adapter
    get_cursor = type(adapter).get_cursor

    def watched(self: Any, driver: Any, as_dict: bool = False) -> Any:
        statements.append("")
        return get_cursor(self, driver, as_dict=as_dict)

    monkeypatch.setattr(type(adapter), "get_cursor", watched)
    with table().connection.transaction:
        statements.clear()
        table.insert({"id": id_, "raw": ("a.dat", b"1"), "extra": ("b.dat", b"2")} for id_ in range(1, 51))
        count = len(statements)

    assert count == 4 + 1, "begin, stored, claim, source; and DataJoint's own INSERT"


def test_nothing_is_noted_when_a_value_is_refused(table: Any) -> None:
    with pytest.raises(TypeError):
        table.insert([{"id": 1, "raw": ("a", b"1")}, {"id": 2, "raw": 12}])
    assert intents(table) == []


# ---- adoption ----


@over_all_stores
def test_a_retry_after_a_rollback_sends_no_bytes(table: Any, store: Store, counted: FaultyBackend) -> None:
    rows = [
        {"id": 1, "raw": ("a.dat", b"a" * 1000), "extra": ("b.dat", b"b")},
        {"id": 2, "raw": ("a.dat", b"c"), "extra": None},
    ]
    insert_and_roll_back(table, rows)
    before = store.object_keys()
    sent = counted.uploaded_bytes

    table.insert(rows)

    assert (counted.uploaded_bytes, sent) == (sent, 1002)
    assert store.object_keys() == before == sorted(paths(table))
    assert (table & {"id": 1}).fetch1("raw").read() == b"a" * 1000
    assert open_intents(table) == []


@pytest.mark.parametrize("kind", ["path", "stream", "reference"])
def test_every_kind_of_source_that_can_be_read_again_is_adopted(
    table: Any, counted: FaultyBackend, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(b"recording")
    table.insert1({"id": 0, "raw": path})
    value: Any = {
        "path": path,
        "stream": ("a.dat", io.BytesIO(b"recording")),
        "reference": (table & {"id": 0}).fetch1("raw"),
    }[kind]
    insert_and_roll_back(table, [{"id": 1, "raw": value}])
    sent = counted.uploaded_bytes
    if kind == "stream":
        value[1].seek(0)

    table.insert1({"id": 1, "raw": value})

    assert counted.uploaded_bytes == sent
    assert (table & {"id": 1}).fetch1("raw").read() == b"recording"


@over_local_and_s3
def test_64_mebibytes_are_sent_once(table: Any, counted: FaultyBackend, tmp_path: Path) -> None:
    path = tmp_path / "large.dat"
    with path.open("wb") as file:
        file.truncate(64 * 2**20)
    insert_and_roll_back(table, [{"id": 1, "raw": path}])
    table.insert1({"id": 1, "raw": path})
    assert counted.uploaded_bytes == 64 * 2**20


@pytest.mark.parametrize(
    "changed", [("a.dat", b"recordinG"), ("b.dat", b"recording"), ("a.dat", b"longer than before")], ids=str
)
def test_another_file_is_not_taken_for_the_one_that_is_stored(
    table: Any, counted: FaultyBackend, changed: tuple[str, bytes]
) -> None:
    insert_and_roll_back(table, [{"id": 1, "raw": ("a.dat", b"recording")}])
    table.insert1({"id": 1, "raw": changed})
    ref = (table & {"id": 1}).fetch1("raw")
    assert (ref.original_name, ref.read()) == changed
    assert counted.uploaded_bytes == len(b"recording") + len(changed[1])


def test_the_same_file_for_another_row_or_attribute_is_not_adopted(table: Any, counted: FaultyBackend) -> None:
    insert_and_roll_back(table, [{"id": 1, "raw": ("a.dat", b"recording")}])
    table.insert1({"id": 2, "raw": ("a.dat", b"recording"), "extra": ("a.dat", b"recording")})
    assert counted.uploaded_bytes == 3 * len(b"recording")


@over_local_and_s3
def test_an_object_that_is_gone_is_not_adopted(table: Any, store: Store) -> None:
    insert_and_roll_back(table, [{"id": 1, "raw": ("a.dat", b"recording")}])
    (key,) = store.object_keys()
    store.remove(key)
    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    assert (table & {"id": 1}).fetch1("raw").read() == b"recording"


def test_an_object_of_an_open_transaction_is_not_adopted(table: Any, store: Store, database: Any) -> None:
    second = connect(database)
    datajoint_file.configure(store.configuration(), connection=second)
    theirs = dj.FreeTable(second.connection, table().full_table_name)
    insert_and_roll_back(table, [{"id": 1, "raw": ("a.dat", b"recording")}])
    with table().connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
        staged = datajoint_file.stage(theirs, {"id": 1}, "raw", ("a.dat", b"recording"))
    (path,) = paths(table)
    assert staged.path != path
    second.connection.close()


def test_another_process_adopts_when_the_lease_is_over(table: Any, store: Store, database: Any) -> None:
    insert_and_roll_back(table, [{"id": 1, "raw": ("a.dat", b"recording")}])
    second = connect(database)
    datajoint_file.configure(store.configuration(), connection=second)
    theirs = dj.FreeTable(second.connection, table().full_table_name)

    early = datajoint_file.stage(theirs, {"id": 1}, "raw", ("a.dat", b"recording"))
    end_leases(table)
    late = datajoint_file.stage(theirs, {"id": 1}, "raw", ("a.dat", b"recording"))

    assert early.path in store.object_keys()
    assert late.path in store.object_keys()
    assert len(store.object_keys()) == 2
    second.connection.close()


@pytest.mark.parametrize("database", DATABASES, indirect=True)
def test_no_other_process_takes_what_waits_for_files_of_the_same_insert(
    table: Any, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Complete files are told at once; their leases are long until the last one is complete, and short then."""
    monkeypatch.setattr(uploads, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(uploads, "FLUSH_SECONDS", 0.0)
    ends_within = f"lease_until < {dialect_of(other).from_now % 60}"
    seen: list[Any] = []

    def look() -> None:
        while ("stored", 0) not in seen:
            seen.extend(intents(table, f"state, CASE WHEN {ends_within} THEN 1 ELSE 0 END", other))

    slow = SlowReader(io.BytesIO(b"2"), look)
    datajoint_file.stage(table, [{"id": 1}, {"id": 2}], "raw", [("a.dat", b"1"), ("b.dat", slow)], workers=2)
    assert intents(table, f"state, CASE WHEN {ends_within} THEN 1 ELSE 0 END", other) == [("stored", 1)] * 2


def end_leases(table: Any) -> None:
    """Let an hour pass, for the journal."""
    connection = table().connection
    name = connection.adapter.make_full_table_name(table().database, "~file_intent")
    connection.query(f"UPDATE {name} SET lease_until = lease_until - INTERVAL '1' HOUR")


def test_a_killed_process_leaves_what_its_successor_adopts(table: Any, store: Store, database: Any) -> None:
    child = os.fork()
    if child == 0:
        own = connect(database)
        datajoint_file.configure(store.configuration(), connection=own)
        theirs = dj.FreeTable(own.connection, table().full_table_name)
        own.connection.start_transaction()
        theirs.insert1({"id": 1, "raw": ("a.dat", b"recording")})
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (key,) = store.object_keys()
    wait_until_free(table)
    end_leases(table)

    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})

    assert store.object_keys() == [key] == list(paths(table))


def wait_until_free(table: Any) -> None:
    """Wait until the server has noticed that the writer is dead."""
    connection = table().connection
    name = connection.adapter.make_full_table_name(table().database, "~file_intent")
    for _ in range(1000):
        if connection.query(f"SELECT number FROM {name} FOR UPDATE SKIP LOCKED").fetchall():
            return
        connection.query(
            "SELECT pg_sleep(0.01)" if connection.adapter.backend == "postgresql" else "SELECT SLEEP(0.01)"
        )
    raise AssertionError("the server keeps the dead writer's locks")


@over_local_and_s3
def test_files_stored_before_the_one_that_failed_are_not_sent_again(
    table: Any, store: Store, counted: FaultyBackend
) -> None:
    counted.faults.append(Fault("upload", call=3))
    rows = [{"id": id_, "raw": ("a.dat", bytes([id_]) * 10)} for id_ in range(4)]
    with pytest.raises(StorageUnavailableError, match=r"row \d: no row was written(; \d other file|: )"):
        table.insert(rows)

    table.insert(rows)

    assert counted.uploaded_bytes == 40
    assert store.object_keys() == sorted(paths(table))


# ---- who may claim ----


def test_an_upload_that_was_given_up_inserts_no_row(table: Any, counted: FaultyBackend, other: Any) -> None:
    name = other.adapter.make_full_table_name(table().database, "~file_intent")
    counted.faults.append(Fault("upload", action=lambda key: other.query(f"DELETE FROM {name}")))
    with pytest.raises(LeaseLostError, match=r"1 of 1 uploaded files .* No row was inserted"):
        table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    assert len(table()) == 0


def test_two_that_adopt_the_same_object_do_not_both_get_it(table: Any, store: Store, database: Any) -> None:
    mine = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"recording"))
    end_leases(table)
    second = connect(database)
    datajoint_file.configure(store.configuration(), connection=second)
    theirs = dj.FreeTable(second.connection, table().full_table_name)
    adopted = datajoint_file.stage(theirs, {"id": 1}, "raw", ("a.dat", b"recording"))
    assert adopted.path == mine.path

    with pytest.raises(LeaseLostError):
        table.insert1({"id": 1, "raw": mine})
    theirs.insert1({"id": 1, "raw": adopted})

    assert paths(table) == {mine.path}
    second.connection.close()


def test_a_lost_lease_in_the_users_transaction_leaves_the_other_intents(
    table: Any, counted: FaultyBackend, other: Any
) -> None:
    name = other.adapter.make_full_table_name(table().database, "~file_intent")
    counted.faults.append(
        Fault("upload", call=2, action=lambda key: other.query(f"DELETE FROM {name} WHERE path = '{key}'"))
    )
    with table().connection.transaction:
        with pytest.raises(LeaseLostError):
            table.insert([{"id": 1, "raw": ("a.dat", b"1")}, {"id": 2, "raw": ("a.dat", b"2")}])
    assert intents(table) == [("stored",)]


# ---- failures of the row ----


@over_local_and_s3
def test_a_duplicate_row_leaves_an_intent_for_its_file(table: Any, store: Store) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"first")})
    with pytest.raises(DuplicateError):
        table.insert1({"id": 1, "raw": ("a.dat", b"second")})
    assert intents(table) == [("stored",)]
    assert len(store.object_keys()) == 2
    assert (table & {"id": 1}).fetch1("raw").read() == b"first"


def test_a_duplicate_row_in_a_transaction_that_goes_on_leaves_an_intent(mysql: Any, store: Store) -> None:
    """Only MySQL lets a transaction go on after a failed statement."""
    instance = connect(mysql)
    datajoint_file.configure(store.configuration(), connection=instance)
    schema = instance.Schema(unique("schema"))

    @schema
    class Recording(dj.Manual):
        definition = "id : int32\n---\nraw : file\nextra = null : file"

    Recording.insert1({"id": 1, "raw": ("a.dat", b"first")})
    with instance.connection.transaction:
        with pytest.raises(DuplicateError):
            Recording.insert1({"id": 1, "raw": ("a.dat", b"second")})
        Recording.insert1({"id": 2, "raw": ("a.dat", b"third")})
    assert intents(Recording) == [("stored",)]
    schema.drop(prompt=False)
    instance.connection.close()


def test_a_row_inserted_by_another_meanwhile_is_skipped_and_its_file_noted(
    table: Any, store: Store, database: Any, counted: FaultyBackend
) -> None:
    second = connect(database)
    datajoint_file.configure(store.configuration(), connection=second)
    theirs = dj.FreeTable(second.connection, table().full_table_name)
    counted.faults.append(Fault("upload", action=lambda key: theirs.insert1({"id": 1, "raw": ("x.dat", b"theirs")})))

    table.insert([{"id": 1, "raw": ("a.dat", b"mine")}, {"id": 2, "raw": ("a.dat", b"2")}], skip_duplicates=True)

    assert (table & {"id": 1}).fetch1("raw").read() == b"theirs"
    assert (table & {"id": 2}).fetch1("raw").read() == b"2"
    (left,) = intents(table, "path")
    assert set(store.object_keys()) == paths(table) | set(left)
    second.connection.close()


def test_a_row_deleted_by_another_meanwhile_is_not_updated(table: Any, other: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"old")})
    own = table().connection
    query = own.query

    def deleting(sql: str, *args: Any, **options: Any) -> Any:
        if "~file_history" in sql:  # from then on the row is locked
            other.query(f"DELETE FROM {table().full_table_name}")
        return query(sql, *args, **options)

    own.query = deleting
    try:
        with pytest.raises(dj.DataJointError, match=r"deleted by somebody else|one existing entry"):
            table.update1({"id": 1, "raw": ("a.dat", b"new")})
    finally:
        del own.query
    assert intents(table) == [("stored",)]


def test_the_last_row_of_a_key_wins_and_the_others_files_are_noted(table: Any, store: Store) -> None:
    table.insert([{"id": 1, "raw": ("a.dat", b"1")}, {"id": 1, "raw": ("a.dat", b"2")}], replace=True)
    assert (table & {"id": 1}).fetch1("raw").read() == b"2"
    assert len(intents(table)) == 1
    assert len(store.object_keys()) == 2


# ---- isolation levels, rights, transactions of the user's own ----


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_every_isolation_level_of_postgresql_works(table: Any, store: Store, level: str) -> None:
    connection = table().connection
    connection.query(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    with connection.transaction:
        assert len(table()) == 1
        with pytest.warns(JournalWarning, match="only `datajoint-file gc --scan` finds them"):
            table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert sorted(ref.read() for ref in table.to_arrays("raw")) == [b"1", b"2"]
    assert intents(table) == []


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_every_isolation_level_of_mysql_works(table: Any, level: str) -> None:
    connection = table().connection
    connection.query(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
    with connection.transaction:
        len(table())
        for id_ in range(30):  # many statements in one transaction: none may wait for what another has locked
            table.insert1({"id": id_, "raw": ("a.dat", b"1")})
    assert len(table()) == 30
    assert intents(table) == []


def test_a_long_transaction_stops_nobody_else(table: Any, store: Store, database: Any) -> None:
    second = connect(database)
    datajoint_file.configure(store.configuration(), connection=second)
    theirs = dj.FreeTable(second.connection, table().full_table_name)
    with table().connection.transaction:
        for start in range(0, 60, 20):
            table.insert({"id": start + n, "raw": ("a.dat", b"1")} for n in range(20))
            theirs.insert({"id": 100 + start + n, "raw": ("a.dat", b"2")} for n in range(20))
    assert len(table()) == 120
    second.connection.close()


def test_a_transaction_opened_with_sql_of_the_users_own_is_used(table: Any, store: Store) -> None:
    connection = table().connection
    connection.query("BEGIN")
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    connection.query("ROLLBACK")
    assert len(table()) == 0
    assert intents(table) == [("stored",)]


@pytest.fixture
def restricted(database: Any, table: Any, store: Store) -> Iterator[Any]:
    """The same table for a user who may not create tables."""
    admin, name = table().connection, unique("user")[:30]
    schema = table().database
    drop_journal = admin.adapter.make_full_table_name(schema, "~file_intent")
    admin.query(f"DROP TABLE {drop_journal}")
    if admin.adapter.backend == "postgresql":
        admin.query(f"CREATE USER {name} PASSWORD 'pw'")
        admin.query(f'GRANT USAGE ON SCHEMA "{schema}" TO {name}')
        admin.query(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" TO {name}')
    else:
        admin.query(f"CREATE USER {name} IDENTIFIED BY 'pw'")
        admin.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{schema}`.* TO {name}")
    own = dj.Instance(database.host, name, "pw", port=database.port, use_tls=False, backend=admin.adapter.backend)
    datajoint_file.configure(store.configuration(), connection=own)
    yield dj.FreeTable(own.connection, table().full_table_name)
    own.connection.close()


@pytest.mark.filterwarnings("ignore:.*could not be:datajoint_file.errors.JournalWarning")
def test_without_the_right_to_create_tables_inserts_work_and_say_what_is_lost(restricted: Any, store: Store) -> None:
    with pytest.warns(JournalWarning, match="only `datajoint-file gc --scan` finds what failed inserts leave"):
        restricted.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    with pytest.warns(JournalWarning), pytest.raises(DuplicateError):
        restricted.insert1({"id": 1, "raw": ("a.dat", b"again")})
    with pytest.warns(JournalWarning):
        staged = datajoint_file.stage(restricted, {"id": 2}, "raw", ("b.dat", b"staged"))
    with pytest.warns(JournalWarning):
        restricted.insert1({"id": 2, "raw": staged, "extra": ("c.dat", b"beside it")})
    assert (restricted & {"id": 2}).fetch1("raw").read() == b"staged"


def test_what_was_staged_without_a_journal_is_looked_for(restricted: Any, store: Store) -> None:
    with pytest.warns(JournalWarning):
        staged = datajoint_file.stage(restricted, [{"id": 1}, {"id": 2}], "raw", [("a.dat", b"1"), ("a.dat", b"2")])
    store.remove(staged[1].path)
    with pytest.raises(LeaseLostError, match=r"id=2\), row 1.*is not there"):
        restricted.insert([{"id": 1, "raw": staged[0]}, {"id": 2, "raw": staged[1]}])
    assert len(restricted) == 0


# ---- interrupts, threads, forks ----


@over_local_and_s3
def test_an_interrupted_upload_leaves_an_intent_and_no_object(table: Any, store: Store, counted: FaultyBackend) -> None:
    pieces = iter(range(1000))

    def interrupt() -> None:
        """Send one interrupt, as Ctrl-C does, and give the waiting thread the time to get it."""
        if next(pieces) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.01)

    with pytest.raises(KeyboardInterrupt):
        table.insert1({"id": 1, "raw": ("a.dat", SlowReader(GeneratedReader(900 * 2**20), interrupt))})
    assert next(pieces) < 500
    assert len(table()) == 0
    assert store.object_keys() == []
    assert intents(table) == [("begun",)]

    table.insert1({"id": 1, "raw": ("a.dat", b"again")})
    assert (table & {"id": 1}).fetch1("raw").read() == b"again"


def test_an_interrupt_in_the_transaction_leaves_neither_row_nor_open_transaction(table: Any, other: Any) -> None:
    original = table().connection.query

    def query(sql: str, *args: Any, **options: Any) -> Any:
        cursor = original(sql, *args, **options)
        if sql.startswith("INSERT INTO"):
            raise KeyboardInterrupt
        return cursor

    table().connection.query = query
    try:
        with pytest.raises(KeyboardInterrupt):
            table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    finally:
        del table().connection.query
    assert len(table()) == 0
    assert not table().connection._in_transaction
    assert intents(table, "state", other) == [("stored",)]


def test_a_child_process_uses_connections_of_its_own(table: Any, store: Store, database: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"parent")})
    children = []
    for id_ in (2, 3):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                table().connection.connect()
                table.insert1({"id": id_, "raw": ("a.dat", b"child")})
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    table.insert1({"id": 4, "raw": ("a.dat", b"parent")})
    assert len(table()) == 4
    assert intents(table) == []


# ---- lost connections ----


def kill_session(other: Any, connection: Any) -> None:
    """End the user's session at the server, as an administrator would."""
    identity = connection.adapter.get_connection_id(connection._conn)
    statement = (
        f"SELECT pg_terminate_backend({identity})" if other.adapter.backend == "postgresql" else f"KILL {identity}"
    )
    other.query(statement)


def test_a_session_that_ends_during_the_upload_outside_a_transaction_is_replaced(
    table: Any, other: Any, counted: FaultyBackend
) -> None:
    connection = table().connection
    counted.faults.append(Fault("upload", action=lambda key: kill_session(other, connection)))
    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    assert (table & {"id": 1}).fetch1("raw").read() == b"recording"


def test_a_session_that_ends_in_the_users_transaction_is_a_definite_failure(
    table: Any, other: Any, store: Store, counted: FaultyBackend
) -> None:
    connection = table().connection
    counted.faults.append(Fault("upload", call=2, action=lambda key: kill_session(other, connection)))
    with pytest.raises(LostConnectionError), connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert not connection._in_transaction
    assert len(table()) == 0

    table.insert([{"id": 1, "raw": ("a.dat", b"1")}, {"id": 2, "raw": ("a.dat", b"2")}])
    assert len(table()) == 2


def test_a_second_connection_that_was_lost_while_idle_is_opened_again(table: Any, other: Any, monkeypatch: Any) -> None:
    from datajoint_file.journal import second_connection

    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    second = second_connection.second_connection_of(table().connection)
    (identity,) = second.query(
        "SELECT pg_backend_pid()" if second.dialect.backend == "postgresql" else "SELECT CONNECTION_ID()"
    )[0]
    other.query(
        f"SELECT pg_terminate_backend({identity})" if second.dialect.backend == "postgresql" else f"KILL {identity}"
    )
    monkeypatch.setattr(second_connection, "IDLE_SECONDS", -1.0)
    table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert len(table()) == 2


def test_a_connection_lost_while_leases_are_shortened_fails_no_insert(
    table: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are complete and told; that their leases stay long harms nobody."""

    def lost(*_: Any) -> None:
        raise LostConnectionError("injected")

    monkeypatch.setattr(Intents, "renew", lost)
    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    assert table.fetch1("raw").read() == b"recording"
    assert intents(table) == []
