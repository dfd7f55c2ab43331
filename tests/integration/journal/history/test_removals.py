"""What a removal writes down: exactly the references and rows that go, with their transaction, and nothing else."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import datajoint as dj
import psycopg2
import pytest
from datajoint.errors import DataJointError, LostConnectionError

from datajoint_file.errors import JournalWarning, UnsupportedValueError
from tests.projects import connect
from tests.tables import recording_of

from .conftest import Entries, held

REFUSED = (DataJointError, psycopg2.Error)
"""What a refused foreign key is: DataJoint translates not all errors of PostgreSQL."""

RESTRICTIONS: dict[str, Callable[[Any], Any]] = {
    "condition": lambda table: table & "id < 2",
    "percent": lambda table: table & "name LIKE '50%%2'",
    "key": lambda table: table & {"name": "50%d 'o' \"q\" 3"},
    "any of": lambda table: table & [{"id": 1}, {"id": 4}, "id = 5"],
    "all of": lambda table: table & dj.AndList(["id > 1", "id < 3"]),
    "minus": lambda table: table - (table & "id > 1").proj(),
    "semijoin": lambda table: table & (table & "id = 4").proj(),
    "json": lambda table: table & "extra IS NULL",
    "nothing": lambda table: table & "id > 100",
    "all": lambda table: table(),
}


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_delete_writes_down_exactly_the_rows_that_go(table: Any, entries: Entries, name: str) -> None:
    before = held(table)
    RESTRICTIONS[name](table).delete_quick()
    after = held(table)
    assert [entry for entry in entries() if entry[2]] == sorted(set(before) - set(after), key=str)
    left = {row["id"] for row in table.to_dicts()}
    rows = [json.loads(text) for (text,) in entries("row_text", "row_text IS NOT NULL")]
    assert sorted(row["text id"] for row in rows) == [str(n) for n in range(6) if n not in left]
    assert {row["text name"] for row in rows} == {f"50%d 'o' \"q\" {n}" for n in range(6) if n not in left}
    assert len(entries("event", "row_text IS NOT NULL")) == len(rows)
    assert len(set(entries("event, who, why, state"))) == (1 if rows else 0)


def test_nothing_is_written_when_the_server_has_ended_the_transaction(table: Any, entries: Entries) -> None:
    """As at a deadlock that somebody has not passed on: all that follows would be committed by itself."""
    connection, before = table().connection, held(table)

    def delete_after_a_rollback() -> None:
        with connection.transaction:
            connection._conn.cursor().execute("ROLLBACK")
            table.delete_quick()

    with pytest.raises(LostConnectionError, match="rolled the transaction back"):
        delete_after_a_rollback()
    assert (held(table), entries(where="path IS NOT NULL")) == (before, [])


def test_free_table_and_count_are_the_same(table: Any, entries: Entries) -> None:
    before = held(table)
    free = dj.FreeTable(table().connection, table().full_table_name)
    assert (free & "id < 3").delete_quick(get_count=True) == 3
    assert len(table()) == 3
    assert entries(where="path IS NOT NULL") == sorted(set(before) - set(held(table)), key=str)


@pytest.fixture
def lab(schema: dj.Schema) -> dict[str, Any]:
    """A parent without files, a child with some, its part, and a grandchild without."""

    @schema
    class Session(dj.Manual):
        definition = "session : int32\n---\nnote : varchar(20)"

    @schema
    class Recording(dj.Manual):
        definition = "-> Session\nid : int32\n---\nraw : file"

        class Trace(dj.Part):
            definition = "-> master\ntrace : int32\n---\nsamples : <blob>"

    @schema
    class Score(dj.Manual):
        definition = "-> Recording\n---\nscore : float64"

    for session in range(2):
        Session.insert1({"session": session, "note": "n"})
        for number in range(2):
            key = {"session": session, "id": number}
            Recording.insert1({**key, "raw": ("a.dat", b"%d" % number)})
            Recording.Trace.insert1({**key, "trace": 1, "samples": [1, 2]})
            Score.insert1({**key, "score": 0.5})
    return {"Session": Session, "Recording": Recording, "Trace": Recording.Trace, "Score": Score}


def test_cascade_is_one_event_with_the_rows_of_all_its_tables(lab: dict[str, Any], entries: Entries) -> None:
    gone = held(lab["Recording"], "session = 0")
    (lab["Session"] & "session = 0").delete(prompt=False)
    assert entries(where="path IS NOT NULL") == gone
    assert len(set(entries("event"))) == 1
    counts = Counter(name for (name,) in entries("table_name", "row_text IS NOT NULL"))
    assert counts == {"session": 1, "recording": 2, "recording__trace": 2, "score": 2}
    assert [len(lab[name]()) for name in lab] == [1, 2, 2, 2]


def test_cascade_costs_the_same_statements_however_many_rows(lab: dict[str, Any], schema: dj.Schema) -> None:
    def deleted(restriction: str) -> int:
        seen: list[str] = []
        original = schema.connection.query

        def query(sql: str, *args: Any, **options: Any) -> Any:
            seen.append(sql)
            return original(sql, *args, **options)

        schema.connection.query = query
        try:
            (lab["Session"] & restriction).delete(prompt=False)
        finally:
            del schema.connection.query
        return len([sql for sql in seen if "INSERT INTO" in sql and "~file_history" in sql])

    lab["Recording"].insert({"session": 0, "id": n, "raw": ("a.dat", b"a")} for n in range(2, 60))
    assert deleted("session = 1") == deleted("session = 0") == 4


def test_schema_without_files_keeps_no_history(schema: dj.Schema) -> None:
    plain = schema(type("Plain", (dj.Manual,), {"definition": "id : int32\n---\nx : int32"}))
    plain.insert1({"id": 1, "x": 1})
    plain.delete(prompt=False)
    plain.drop(prompt=False)
    sql = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = %s AND table_name = '~file_history'"
    assert schema.connection.query(sql, (schema.database,)).fetchone()[0] == 0


class Interruption(Exception):
    """Ends a transaction."""


def test_what_does_not_go_is_not_written_down(
    lab: dict[str, Any], schema: dj.Schema, entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(lab["Recording"])
    with pytest.raises(Interruption), schema.connection.transaction:
        (lab["Session"] & "session = 0").delete(prompt=False)
        assert entries("number")
        raise Interruption
    assert entries() == []
    with pytest.raises(REFUSED):
        (lab["Recording"] & "session = 0").delete_quick()
    assert entries() == []
    schema.connection.query("START TRANSACTION")
    schema.connection.query("SAVEPOINT here")
    (lab["Score"]()).delete_quick()
    lab["Trace"].delete_quick()
    lab["Recording"].delete_quick()
    schema.connection.query("ROLLBACK TO SAVEPOINT here")
    schema.connection.query("COMMIT")
    assert (entries(), held(lab["Recording"])) == ([], before)
    monkeypatch.setattr("datajoint.table.user_choice", lambda *args, **options: "no")
    lab["Session"].delete(prompt=True)
    assert (entries(), held(lab["Recording"])) == ([], before)


def test_refused_delete_leaves_the_users_transaction_usable(
    lab: dict[str, Any], schema: dj.Schema, entries: Entries
) -> None:
    if schema.connection.adapter.backend == "postgresql":
        pytest.skip("a refusal spoils the transaction there")
    with schema.connection.transaction:
        lab["Session"].insert1({"session": 7, "note": "n"})
        with pytest.raises(REFUSED):
            lab["Recording"].delete_quick()
        lab["Session"].insert1({"session": 8, "note": "n"})
    assert entries() == []
    assert len(lab["Session"]()) == 4


def test_update_writes_down_what_the_row_held(table: Any, entries: Entries) -> None:
    ((_, _, old),) = [found for found in held(table, "id = 1") if found[1] == "raw"]
    ((_, _, extra),) = [found for found in held(table, "id = 1") if found[1] == "extra"]
    key = {"id": 1, "name": "50%d 'o' \"q\" 1"}
    table.update1({**key, "rank": 5})
    assert entries() == []
    table.update1({**key, "raw": ("n.dat", b"new")})
    assert entries("attribute, path, why, size") == [("raw", old, "update", 1)]
    table.update1({**key, "extra": None})
    assert entries("attribute, path")[0] == ("extra", extra)
    (row,) = [json.loads(text) for (text,) in entries("row_text", "attribute = 'extra'")]
    assert (row["text id"], row["text rank"], json.loads(row["text extra"])["path"]) == ("1", "5", extra)
    table.update1({**key, "extra": ("e.dat", b"e")})
    assert len(entries()) == 2
    with pytest.raises(Interruption), table().connection.transaction:
        table.update1({**key, "raw": ("n.dat", b"newer")})
        raise Interruption
    assert len(entries()) == 2
    with pytest.raises(DataJointError):
        table.update1({**key, "raw": None})
    assert len(entries()) == 2


def test_replace_writes_down_what_the_rows_held(table: Any, entries: Entries) -> None:
    gone = held(table, "id in (1, 2)")
    rows = [{"id": n, "name": f"50%d 'o' \"q\" {n}", "raw": ("r.dat", b"r")} for n in (1, 2, 9)]
    table.insert(rows, replace=True)
    assert entries() == gone
    assert set(entries("why")) == {("replace",)}


def test_replace_by_another_unique_key_writes_down_what_it_removes(schema: dj.Schema, entries: Entries) -> None:
    if schema.connection.adapter.backend == "postgresql":
        pytest.skip("rows are found by their primary key and updated there")
    table = recording_of(schema, "id : int32\n---\nraw : file\nu : int32\nd = 5 : int32")
    schema.connection.query(f"ALTER TABLE {table.full_table_name} ADD UNIQUE (u, d)")
    table.insert({"id": n, "raw": ("a.dat", b"%d" % n), "u": n} for n in range(3))
    gone = held(table, "id in (0, 1)")
    table.insert1({"id": 0, "raw": ("r.dat", b"r"), "u": 1}, replace=True)  # d has its default
    assert (entries(), len(table())) == (gone, 2)


INEXACT = {
    "f32": ("f32 : float32", 1.2345678, 1.2345678),
    "zero": ("f64 : float64", 0.0, -0.0),
    "cost": ("cost : decimal(6,2)", "12.35", "12.3456"),
    "moment": ("moment : datetime", "2024-01-01 00:00:01", "2024-01-01 00:00:01.2"),
    "missing": ("n = 3 : int32", 3, math.nan),
    "nothing": ("n = 3 : int32", 3, ""),
    "flag": ("flag : bool", True, True),
}


@pytest.mark.parametrize("name", INEXACT)
def test_replace_writes_down_rows_whose_key_the_database_makes_of_another_value(
    schema: dj.Schema, entries: Entries, name: str
) -> None:
    if schema.connection.adapter.backend == "postgresql":
        pytest.skip("rows that are there are updated, by their primary key")
    definition, before, after = INEXACT[name]
    attribute = definition.split(" ")[0]
    table = recording_of(schema, f"id : int32\n---\n{definition}\nraw : file\nunique index ({attribute})")
    table.insert1({"id": 1, attribute: before, "raw": ("a.dat", b"a")})
    table.insert1({"id": 2, attribute: after, "raw": ("b.dat", b"b")}, replace=True)
    assert len(table()) == 1
    assert entries("why, attribute") == [("replace", "raw")]


def test_replace_by_a_key_that_the_database_computes_is_refused(schema: dj.Schema, entries: Entries) -> None:
    if schema.connection.adapter.backend == "postgresql":
        pytest.skip("rows that are there are updated, by their primary key")
    table = recording_of(schema, "id : int32\n---\nat = CURRENT_TIMESTAMP : datetime\nraw : file\nunique index (at)")
    table.insert1({"id": 1, "raw": ("a.dat", b"a")})
    with pytest.raises(UnsupportedValueError, match="Give that value"):
        table.insert1({"id": 1, "raw": ("b.dat", b"b")}, replace=True)
    assert table().fetch1("raw").read() == b"a"
    table.insert1({"id": 1, "at": "2024-01-01", "raw": ("b.dat", b"b")}, replace=True)
    assert entries("why") == [("replace",)]


def test_dropped_tables_are_written_down(lab: dict[str, Any], entries: Entries) -> None:
    gone = held(lab["Recording"])
    lab["Session"].drop(prompt=False)
    assert entries(where="path IS NOT NULL") == gone
    assert set(entries("table_name, why", "path IS NULL")) == {
        (name, "drop") for name in ("session", "recording__trace", "score")
    }
    assert len(set(entries("event"))) == 1


def test_refused_drop_leaves_no_entry(lab: dict[str, Any], entries: Entries) -> None:
    before = held(lab["Recording"])
    with pytest.raises(REFUSED):
        dj.FreeTable(lab["Recording"]().connection, lab["Recording"].full_table_name).drop_quick()
    assert (entries(), held(lab["Recording"])) == ([], before)


def test_drop_in_a_transaction_is_refused_where_it_would_commit_it(table: Any, schema: dj.Schema) -> None:
    if schema.connection.adapter.backend == "postgresql":
        pytest.skip("a table that was dropped comes back by a rollback")
    with pytest.raises(DataJointError, match="would commit it"), schema.connection.transaction:
        table().drop_quick()
    assert len(table()) == 6


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ("raw : file\nrank = 0 : int32", ["extra"]),
        ("raw : file\nextra = null : file  # a comment\nrank = 0 : int32", []),
        ("raw : file\nextra = null : file\nrank = 0 : int32\nmore = null : int32", []),
    ],
    ids=["dropped", "comment", "added"],
)
def test_alter_writes_down_what_the_attribute_held(table: Any, entries: Entries, changed: str, lost: list[str]) -> None:
    gone = [found for found in held(table) if found[1] in lost]
    table.definition = f"id : int32\nname : varchar(30)\n---\n{changed}"
    table().alter(prompt=False)
    assert entries() == gone
    assert set(entries("why")) == ({("alter",)} if lost else set())


def test_user_who_may_not_make_the_table_deletes_and_is_warned(
    table: Any, schema: dj.Schema, database: Any, request: pytest.FixtureRequest
) -> None:
    connection = schema.connection
    is_mysql = connection.adapter.backend == "mysql"
    connection.query(f"DROP TABLE {connection.adapter.make_full_table_name(schema.database, '~file_history')}")
    user = f"limited_{schema.database[-8:]}"
    if is_mysql:
        connection.query(f"CREATE USER {user}@'%%' IDENTIFIED BY '{database.password}'")
        connection.query(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{schema.database}`.* TO {user}@'%%'")
        request.addfinalizer(lambda: connection.query(f"DROP USER {user}@'%%'"))
    else:
        connection.query(f"CREATE USER {user} PASSWORD 'not-checked'")
        connection.query(f'GRANT USAGE ON SCHEMA "{schema.database}" TO {user}')
        connection.query(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema.database}" TO {user}')
        request.addfinalizer(lambda: connection.query(f"DROP OWNED BY {user}; DROP USER {user}"))
    limited = connect(replace(database, user=user))
    try:
        free = dj.FreeTable(limited.connection, table.full_table_name)
        with pytest.warns(JournalWarning, match="cannot be made or used") as caught:
            (free & "id < 2").delete_quick()
        assert len([one for one in caught if issubclass(one.category, JournalWarning)]) == 1
    finally:
        limited.connection.close()
    assert len(table()) == 4


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_user_who_may_not_lock_tables_drops_and_is_warned_once(
    lab: dict[str, Any], schema: dj.Schema, entries: Entries, database: Any, request: pytest.FixtureRequest
) -> None:
    connection, user = schema.connection, f"limited_{schema.database[-8:]}"
    gone = held(lab["Recording"])
    connection.query(f"CREATE USER {user}@'%%' IDENTIFIED BY '{database.password}'")
    request.addfinalizer(lambda: connection.query(f"DROP USER {user}@'%%'"))
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"
    connection.query(f"GRANT {rights} ON `{schema.database}`.* TO {user}@'%%'")
    limited = connect(replace(database, user=user))
    try:
        limited.Schema(schema.database, create_schema=False)  # of which dependencies are loaded
        with pytest.warns(JournalWarning, match="LOCK TABLES") as caught:
            dj.FreeTable(limited.connection, lab["Session"].full_table_name).drop(prompt=False)
        assert len([one for one in caught if issubclass(one.category, JournalWarning)]) == 1
    finally:
        limited.connection.close()
    assert entries(where="path IS NOT NULL") == gone
