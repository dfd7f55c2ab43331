"""Whose word counts when something is put back: the history's of the object's schema, and of who took part."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import DataJointFileError
from tests.projects import Store, connect, unique
from tests.tables import drop_schema, recording_of

NOW = timedelta(minutes=5)


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    made = recording_of(schema, "id : int32\n---\nraw : file")
    made.insert([{"id": n, "raw": ("a.dat", b"%d" % n)} for n in range(3)])
    return made


@pytest.fixture
def elsewhere(table: Any, schema: dj.Schema) -> Iterator[dj.Schema]:
    """A schema of somebody else, with a history that he has made himself."""
    made = dj.Schema(unique("schema"), connection=schema.connection)
    like = f"(LIKE {own(schema)} INCLUDING IDENTITY)" if is_postgresql(schema) else f"LIKE {own(schema)}"
    (table & "id = 2").delete(prompt=False)
    schema.connection.query(f"CREATE TABLE {own(made)} {like}")
    yield made
    drop_schema(made.connection, made.database)


def is_postgresql(schema: dj.Schema) -> bool:
    return str(schema.connection.adapter.backend) == "postgresql"


def own(schema: dj.Schema, name: str = "~file_history") -> str:
    return str(schema.connection.adapter.make_full_table_name(schema.database, name))


def forge(schema: dj.Schema, **values: Any) -> None:
    moment = "clock_timestamp()" if is_postgresql(schema) else "UTC_TIMESTAMP(6)"
    given = {"who": "x", "why": "delete", "table_name": "evil", "attribute": "", "cell": "x", "state": "kept", **values}
    sql = f"INSERT INTO {own(schema)} (at, {', '.join(given)}) VALUES ({moment}, {', '.join(['%s'] * len(given))})"
    schema.connection.query(sql, tuple(given.values()))


def entry_of(schema: dj.Schema, columns: str) -> Any:
    sql = f"SELECT {columns} FROM {own(schema)} WHERE attribute = 'raw' ORDER BY number DESC LIMIT 1"
    return schema.connection.query(sql).fetchone()


def test_rows_that_another_schema_adds_to_a_deletion_are_not_inserted(
    table: Any, schema: dj.Schema, elsewhere: dj.Schema
) -> None:
    query = schema.connection.query
    query(f"CREATE TABLE {own(elsewhere, 'evil')} (k int primary key)")
    (event,) = entry_of(schema, "event")
    forge(elsewhere, event=event, row_text='{"text k": "1"}')
    done = datajoint_file.undelete(table, since=NOW)
    assert (done.restored, done.problems) == ({f"{schema.database}.Recording": 1}, ())
    assert query(f"SELECT COUNT(*) FROM {own(elsewhere, 'evil')}").fetchone() == (0,)


def test_rows_of_other_schemas_that_went_along_come_back(table: Any, schema: dj.Schema) -> None:
    other = dj.Schema(unique("schema"), connection=schema.connection)
    made = type("Trace", (dj.Manual,), {"definition": "-> Recording\n---\nvalue : int32"})
    traces = other(made, context={"Recording": table})
    traces.insert([{"id": n, "value": n} for n in range(3)])
    try:
        table.delete(prompt=False)
        done = datajoint_file.undelete(table, since=NOW)
        assert (sorted(done.restored.values()), done.problems) == ([3, 3], ())
        table.delete(prompt=False)
        done = datajoint_file.undelete(traces, since=NOW, key={"id": 1})  # whose parent went in another schema
        assert (sorted(done.restored.values()), done.problems) == ([1, 1], ())
        table.delete(prompt=False)
        schema.connection.query(
            f"ALTER TABLE {own(other)} RENAME TO {own(other, 'x') if not is_postgresql(schema) else 'x'}"
        )
        schema.connection.query(f"CREATE TABLE {own(other)} (x int)")
        done = datajoint_file.undelete(table, event=datajoint_file.history(table)[0].event)
        assert f"the history of schema {other.database} could not be read" in done.notes[0]
    finally:
        drop_schema(other.connection, other.database)


FORGERIES: dict[str, dict[str, Any]] = {"condemned": {"state": "condemned"}, "another size": {"size": 99}}


@pytest.mark.parametrize("how", FORGERIES)
def test_entries_of_another_schema_bar_nothing(
    table: Any, schema: dj.Schema, elsewhere: dj.Schema, store: Store, how: str
) -> None:
    path, metadata = entry_of(schema, "path, metadata")
    changed = json.dumps({**json.loads(metadata), **FORGERIES[how]})  # in which a state is of no account
    forge(elsewhere, event="z" * 26, attribute="a", path=path, metadata=changed, **FORGERIES[how])
    objects = store.object_keys()
    assert datajoint_file.undelete(table, since=NOW)
    assert store.object_keys() == objects


def test_own_entry_outweighs_those_of_others_where_the_objects_schema_is_gone(
    table: Any, schema: dj.Schema, elsewhere: dj.Schema, store: Store
) -> None:
    third = dj.Schema(unique("schema"), connection=schema.connection)
    theirs = recording_of(third, "id : int32\n---\nraw : file")
    theirs.insert1({"id": 1, "raw": ("a.dat", b"theirs")})
    table.insert1({"id": 9, "raw": (theirs & "id = 1").fetch1("raw")})
    drop_schema(third.connection, third.database)
    (table & "id = 9").delete(prompt=False)
    path, metadata = entry_of(schema, "path, metadata")
    assert f"/{third.database}/" in path
    forge(elsewhere, event="z" * 26, attribute="a", path=path, metadata=metadata.replace('"size": 6', '"size": 7'))
    forge(elsewhere, event="z" * 26, attribute="a", path=path, metadata=metadata, state="condemned")
    assert datajoint_file.undelete(table, since=NOW, key={"id": 9})
    assert (table & "id = 9").fetch1("raw").read() == b"theirs"


def test_what_a_collector_left_being_asked_about_comes_back(table: Any, schema: dj.Schema) -> None:
    table.delete(prompt=False)
    schema.connection.query(f"UPDATE {own(schema)} SET state = 'checking', run = '{'a' * 26}', due_at = at")
    assert datajoint_file.undelete(table, since=NOW)
    assert entry_of(schema, "state, run, due_at") == ("kept", None, None)


@contextlib.contextmanager
def locked(database: Any, schema: dj.Schema) -> Iterator[None]:
    other = connect(database).connection
    if is_postgresql(schema):
        other.query("BEGIN")
    other.query(
        f"LOCK TABLE{'' if is_postgresql(schema) else 'S'} {own(schema)}{'' if is_postgresql(schema) else ' WRITE'}"
    )
    try:
        yield
    finally:
        other.close()


@pytest.mark.parametrize("how", ["malformed", "locked"])
def test_history_of_another_schema_hinders_nobody(
    table: Any, schema: dj.Schema, elsewhere: dj.Schema, database: Any, how: str
) -> None:
    query = schema.connection.query
    if how == "malformed":
        query(f"DROP TABLE {own(elsewhere)}")
        query(f"CREATE TABLE {own(elsewhere)} (x int)")
    with locked(database, elsewhere) if how == "locked" else contextlib.nullcontext():
        assert datajoint_file.undelete(table, since=NOW)
        ref = (table & "id = 1").fetch1("raw")
        table.insert1({"id": 7, "raw": ref})
    assert (table & "id = 7").fetch1("raw").path == ref.path


def test_own_history_that_is_locked_is_told(
    table: Any, schema: dj.Schema, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datajoint_file.journal.second_connection.LOCK_WAIT_SECONDS", 1.0)
    schema.connection.query("SELECT 1")
    (table & "id = 2").delete(prompt=False)
    second = datajoint_file.journal.second_connection.second_connection_of(schema.connection)
    second.close()
    ref = (table & "id = 1").fetch1("raw")
    with (
        locked(database, schema),
        pytest.raises(DataJointFileError, match=f"history of schema {schema.database}.*again"),
    ):
        table.insert1({"id": 7, "raw": ref})
    assert len(table & "id = 7") == 0


def test_names_that_somebody_forged_run_nothing_on_a_terminal(table: Any, schema: dj.Schema) -> None:
    (table & "id = 2").delete(prompt=False)
    (event,) = entry_of(schema, "event")
    name = "e\x1b[2Jvil\n5 rows of lab.Recording"
    forge(schema, event=event, table_name=name, row_text=json.dumps({"text k": "1\x1b[31m"}))
    told = datajoint_file.undelete(table, since=NOW)
    (problem,) = told.problems
    assert "\\x1b" in str(told)
    assert not any("\x1b" in text or "\n5 rows" in text for text in (str(told), str(problem)))
