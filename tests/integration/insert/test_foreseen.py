"""Large inserts that cannot succeed: refused before a byte is sent, as the database would; never one that can."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from datajoint.errors import DuplicateError, IntegrityError

from datajoint_file.insert.statement import LARGE_BYTES
from tests.projects import Store, connect, over_mysql, over_postgresql
from tests.tables import recording_of


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A directory of so many bytes that the database is asked first; a disk holds none of them."""
    path = tmp_path / "movie"
    path.mkdir()
    for name in ("a.bin", "b.bin"):
        (path / name).touch()
        os.truncate(path / name, LARGE_BYTES // 2)
    return path


def child_of(schema: dj.Schema, definition: str, *parents: Any) -> Any:
    made = type("Recording", (dj.Manual,), {"definition": definition})
    return schema(made, context={parent.__name__: parent for parent in parents})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.dat"
    path.write_bytes(b"spikes")
    return path


def test_row_that_is_there_is_refused_before_a_byte_is_sent(table: Any, store: Store, large: Path, small: Path) -> None:
    table.insert1({"id": 1, "raw": small})
    before = store.object_keys()
    with pytest.raises(DuplicateError, match=r"Recording\.raw \(id=1\), row 1: the table has a row.*nothing was sent"):
        table.insert([{"id": 2, "raw": large}, {"id": 1, "raw": small}])
    with pytest.raises(DuplicateError, match="twice, in rows 0 and 2; nothing was sent"):
        table.insert([{"id": 3, "raw": large}, {"id": 4, "raw": small}, {"id": 3, "raw": small}])
    with table.connection.transaction:
        table.insert1({"id": 5, "raw": small})
        with pytest.raises(DuplicateError, match="nothing was sent"):
            table.insert1({"id": 1, "raw": large})
        (table & {"id": 1}).delete_quick()
        table.insert1({"id": 1, "raw": large})
    assert len(store.object_keys()) == len(before) + 4
    assert len(table()) == 2
    table.insert([{"id": 1, "raw": large}, {"id": 6, "raw": large}], skip_duplicates=True)
    table.insert1({"id": 1, "raw": large}, replace=True)
    assert len(table()) == 3


def test_row_without_its_parent_is_refused_before_a_byte_is_sent(schema: dj.Schema, store: Store, large: Path) -> None:
    session = recording_of(schema, "subject : varchar(20)\nday : date", "Session")
    rig = recording_of(schema, "rig : int32\n---\ntag : int32", "Rig")
    definition = "-> Session.proj(animal='subject')\n---\n-> [nullable] Rig\n-> [nullable] Rig.proj(spare='rig')"
    child = child_of(schema, f"{definition}\nraw : file", session, rig)
    session.insert1({"subject": "O'Hara%", "day": "2024-01-31"})
    rig.insert1({"rig": 1, "tag": 1})
    key = {"animal": "O'Hara%", "day": "2024-01-31"}
    for more, told in (
        ({"day": "2024-02-01"}, r"Session, to which the table refers, has no row \(subject=O'Hara%, day=2024-02-01\)"),
        ({"rig": 2}, r"Rig, .* has no row \(rig=2\); nothing was sent"),
        ({"rig": 1, "spare": 3}, r"Rig, .* has no row \(rig=3\)"),
    ):
        for options in ({}, {"skip_duplicates": True}, {"replace": True}):
            with pytest.raises(IntegrityError, match=told):
                child.insert1({**key, "raw": large, **more}, **options)
    assert store.object_keys() == []
    with schema.connection.transaction:
        rig.insert1({"rig": 4, "tag": 2})
        child.insert1({**key, "rig": 4, "spare": None, "raw": large})
    assert len(child()) == 1


def test_make_of_populate_is_refused_as_well(schema: dj.Schema, store: Store, large: Path) -> None:
    session = recording_of(schema, "id : int32", "Session")
    session.insert1({"id": 1})

    def make(self: Any, key: dict[str, Any]) -> None:
        self.insert1({**key, "id": 2, "raw": large})

    definition = {"definition": "-> Session\n---\nraw : file", "make": make}
    computed = schema(type("Computed", (dj.Computed,), definition), context={"Session": session})
    with pytest.raises(IntegrityError, match="nothing was sent"):
        computed.populate()
    assert store.object_keys() == []


def test_only_keys_that_the_database_takes_for_equal_are_duplicates(
    schema: dj.Schema, large: Path, small: Path
) -> None:
    table = recording_of(schema, "name : varchar(20)\n---\nraw : file")
    table.insert1({"name": "5", "raw": small})
    for name in ("5abc", "a", "A", "ä", "b"):
        try:
            table.insert1({"name": name, "raw": small})
        except DuplicateError:
            with pytest.raises(DuplicateError, match="nothing was sent"):
                table.insert1({"name": name, "raw": large})
        else:
            (table & {"name": name}).delete_quick()
            table.insert1({"name": name, "raw": large})


@over_mysql
def test_what_a_transaction_does_not_see_yet_is_no_reason(
    schema: dj.Schema, database: Any, large: Path, small: Path
) -> None:
    session = recording_of(schema, "id : int32", "Session")
    child = child_of(schema, "-> Session\n---\nraw : file", session)
    session.insert([{"id": 1}])
    child.insert1({"id": 1, "raw": small})
    other = connect(database).connection
    schema.connection.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    strict = schema.connection.query("SHOW SESSION VARIABLES LIKE 'innodb_snapshot_isolation'").fetchall()
    if strict:
        schema.connection.query("SET SESSION innodb_snapshot_isolation = OFF")
    with schema.connection.transaction:
        assert len(child()) == 1
        other.query(f"INSERT INTO {session.full_table_name} VALUES (2)")
        other.query(f"DELETE FROM {child.full_table_name}")
        child.insert([{"id": 1, "raw": large}, {"id": 2, "raw": large}])
    other.close()
    assert len(child()) == 2


@pytest.mark.parametrize("is_gone", [False, True])
def test_foreign_key_that_is_no_more_is_no_reason(schema: dj.Schema, large: Path, *, is_gone: bool) -> None:
    session = recording_of(schema, "id : int32", "Session")
    child = child_of(schema, "-> Session\n---\nraw : file", session)
    assert child().parents()  # DataJoint remembers them
    connection = schema.connection
    ((name,),) = connection.query(
        "SELECT constraint_name FROM information_schema.table_constraints "
        "WHERE constraint_type = 'FOREIGN KEY' AND table_schema = %s",
        (schema.database,),
    )
    connection.query(f"ALTER TABLE {child.full_table_name} DROP CONSTRAINT {connection.adapter.quote_identifier(name)}")
    if is_gone:
        connection.query(f"DROP TABLE {session.full_table_name}")
    with connection.transaction:
        child.insert1({"id": 1, "raw": large})
    assert len(child()) == 1


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("datetime", datetime(2024, 1, 2, 10, 11, 12, 345678)),
        ("datetime", "2024-01-02 10:11:12.3456"),
        ("datetime", datetime(2024, 1, 2, 10, 11, 12)),
        ("date", date(2024, 1, 2)),
        ("varchar(3)", "abc  "),
        ("char(5)", "abc"),
        ("enum('a', 'b')", "b"),
    ],
)
def test_value_that_the_database_stores_otherwise_finds_its_parent(
    schema: dj.Schema, large: Path, small: Path, declared: str, value: object
) -> None:
    parent = recording_of(schema, f"at : {declared}", "Session")
    child = child_of(schema, "-> Session\nid : int32\n---\nraw : file", parent)
    parent.insert1({"at": value})
    for number, path in enumerate((small, large)):
        child.insert1({"at": value, "id": number, "raw": path})
    assert len(child()) == 2


@over_mysql
def test_transaction_locks_no_more_than_it_inserts(schema: dj.Schema, database: Any, large: Path) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : file")
    other = connect(database).connection
    other.query("SET SESSION innodb_lock_wait_timeout = 1")
    schema.connection.query("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    with schema.connection.transaction:
        table.insert1({"id": 0, "raw": large})
        other.query(f"INSERT INTO {table.full_table_name} VALUES (5, '{{}}')")
    other.close()
    assert len(table()) == 2


def test_statement_outside_a_transaction_is_asked_at_the_strictest_isolation_as_well_and_leaves_no_lock(
    schema: dj.Schema, store: Store, database: Any, large: Path, small: Path
) -> None:
    session = recording_of(schema, "id : int32", "Session")
    table = child_of(schema, "-> Session\n---\nraw : file", session)
    session.insert1({"id": 1})
    table.insert1({"id": 1, "raw": small})
    is_mysql = schema.connection.adapter.backend == "mysql"
    characteristics = "" if is_mysql else "CHARACTERISTICS AS "
    schema.connection.query(f"SET SESSION {characteristics}TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    before = store.object_keys()
    with pytest.raises(DuplicateError, match="nothing was sent"):
        table.insert1({"id": 1, "raw": large})
    with pytest.raises(IntegrityError, match="nothing was sent"):
        table.insert1({"id": 9, "raw": large})
    assert store.object_keys() == before
    other = connect(database).connection
    other.query("SET SESSION innodb_lock_wait_timeout = 1" if is_mysql else "SET lock_timeout = '1s'")
    other.query(f"DELETE FROM {table.full_table_name}")
    other.query(f"INSERT INTO {session.full_table_name} VALUES (9)")
    other.close()
    table.insert([{"id": 1, "raw": large}, {"id": 9, "raw": large}])
    assert len(table()) == 2


@over_postgresql
def test_question_that_fails_leaves_the_transaction_as_it_was(schema: dj.Schema, large: Path, small: Path) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : file")
    table.insert1({"id": 1, "raw": small})
    schema.connection.query(f'CREATE TABLE "{schema.database}".pg_trigger (nothing int)')  # is none
    with schema.connection.transaction:
        table.insert1({"id": 2, "raw": small})
        (table & {"id": 1}).delete_quick()
        schema.connection.query(f'SET LOCAL search_path = "{schema.database}", pg_catalog')
        table.insert1({"id": 1, "raw": large})
    assert len(table()) == 2


@over_postgresql
def test_rows_of_an_heir_are_no_duplicates(schema: dj.Schema, large: Path, small: Path) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : file")
    table.insert1({"id": 1, "raw": small})
    name, heir = table.full_table_name, f'"{schema.database}".heir'
    schema.connection.query(f"CREATE TABLE {heir} () INHERITS ({name})")
    schema.connection.query(f"WITH gone AS (DELETE FROM ONLY {name} RETURNING *) INSERT INTO {heir} SELECT * FROM gone")
    table.insert1({"id": 1, "raw": large})
    assert schema.connection.query(f"SELECT COUNT(*) FROM {name}").fetchone()[0] == 2
