"""What rows refer to, everywhere on the server: found, read to the end in one snapshot, or refused."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.collector import references
from datajoint_file.collector.snapshot import Snapshot
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.hooks.tables import table_name
from tests.projects import Store

from .collecting import Area, collect, connect_to, insert, is_mysql, let_grace_pass, objects, own, path_of, scan


def referenced_everywhere(connection: Any, project: str) -> dict[str, str]:
    with Snapshot(connection) as snapshot, snapshot.snapshot():
        found = references.references(snapshot, project)
        return {key: str(attribute) for attribute, keys, _ in found for key in keys}


def fill_by_sql(connection: Any, table: Any, project: str, count: int) -> None:
    """Insert rows without objects."""
    document = {"size": 1, "hash": "sha256:" + "0" * 64, "original_name": "x", "timestamp": "2025-01-15T10:30:00Z"}
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        values = [(n, json.dumps({"path": f"{project}/s/objects/T-raw/{n}/x", **document})) for n in numbers]
        sql = f"INSERT INTO {table().full_table_name} VALUES {', '.join(['(%s, %s)'] * len(values))}"
        connection.query(sql, tuple(value for row in values for value in row))


def test_every_schema_is_found_with_parts_and_hidden_from_no_class(
    connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    expected = {}
    for number in range(2):
        schema = pipeline.Schema(database.schema())

        @schema
        class Session(dj.Manual):
            definition = """
            session : int32
            ---
            notes = null : file   # a comment: with <file>
            """

            class Trace(dj.Part):
                definition = """
                -> master
                ---
                raw : <file>
                params = null : json
                """

        Session.insert1({"session": number, "notes": ("n.txt", b"n")})
        Session.Trace.insert1({"session": number, "raw": ("t.bin", b"t")})
        for one, name in ((Session, "notes"), (Session.Trace, "raw")):
            expected[str(one.fetch1(name).path)] = f"{table_name(one)}.{name}"
    assert referenced_everywhere(connection, store.project) == expected


def test_streams_more_rows_than_one_page(table: Any, connection: Any, store: Store) -> None:
    fill_by_sql(connection, table, store.project, 12_001)
    assert len(referenced_everywhere(connection, store.project)) == 12_001


def test_rows_of_other_projects_are_left_out(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    assert referenced_everywhere(connection, store.project[:-1]) == {}


def test_rows_of_one_moment_are_read(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    with Snapshot(connection) as snapshot, snapshot.snapshot():
        list(references.references(snapshot, store.project))
        insert(table, 2)
        assert len(list(references.references(snapshot, store.project))) == 1
    assert len(referenced_everywhere(connection, store.project)) == 2


def test_connection_lost_in_the_middle_is_refused(table: Any, connection: Any, database: Area, store: Store) -> None:
    fill_by_sql(connection, table, store.project, 12_001)
    with Snapshot(connection) as snapshot, snapshot.snapshot():
        found = references.references(snapshot, store.project)
        next(found)
        end_session(database, snapshot)
        with pytest.raises(CollectionRefusedError, match=r"Recording\.raw cannot be read completely"):
            list(found)


def end_session(database: Area, snapshot: Snapshot) -> None:
    with connect_to(database).connection as other:
        if database.backend == "mysql":
            other.query(f"KILL {snapshot._driver.thread_id()}")
        else:
            other.query(f"SELECT pg_terminate_backend({snapshot._driver.info.backend_pid})")


def test_names_with_odd_characters_are_read(table: Any, connection: Any, database: Area, store: Store) -> None:
    insert(table, 1)
    cursor = connection._conn.cursor()  # DataJoint would format the statements
    quote = "`" if is_mysql(connection) else '"'
    odd = f"{quote}50% of {quote * 2}them; --{quote}"
    schema = f"{quote}{table.database}{quote}"
    if is_mysql(connection):
        cursor.execute(f"CREATE TABLE {schema}.{odd} ({odd} JSON COMMENT ':<file>:')")
    else:
        cursor.execute(f"CREATE TABLE {schema}.{odd} ({odd} JSONB)")
        cursor.execute(f"COMMENT ON COLUMN {schema}.{odd}.{odd} IS ':<file>:'")
    cursor.execute(f"INSERT INTO {schema}.{odd} SELECT raw FROM {schema}.{quote}recording{quote}")
    path = path_of(table, 1)
    table.delete()
    assert list(referenced_everywhere(connection, store.project)) == [path]
    with Snapshot(connection) as snapshot:
        assert references.schemas_using(snapshot, store.project) == {table.database}


def test_json_of_a_schema_that_is_not_registered_is_read_as_well(
    connection: Any, pipeline: dj.Instance, database: Area, store: Store
) -> None:
    other = pipeline.Schema(database.schema())
    name = own(connection, other.database, "notes")
    connection.query(f"CREATE TABLE {name} (id INT PRIMARY KEY, note JSON)")
    key = f"{store.project}/s/objects/T-raw/{'a' * 16}-{'a' * 26}/x"
    note = [{"url": f"s3://{store.project}/{key}"}, f"more in {store.project}/notes/today"]  # which is no object's key
    connection.query(f"INSERT INTO {name} VALUES (1, %s)", (json.dumps(note),))
    found = referenced_everywhere(connection, store.project)
    assert found == dict.fromkeys((key, f"{store.project}/{key}"), f"{other.database}.Notes.note")
    plan = scan(connection)
    assert (plan.missing_count, plan.refusals) == (0, ())  # a note does not say that there was such an object


COPIES = {
    "mysql": ("(copied TEXT) AS SELECT raw", "(copied MEDIUMTEXT) AS SELECT raw", "AS SELECT JSON_ARRAYAGG(raw)"),
    "postgresql": ("AS SELECT raw::text", "AS SELECT array_agg(raw)", "AS SELECT (array_agg(recording))[1]"),
}
"""Tables whose attribute holds a file's row as text, in an array, or as part of a whole row."""


def test_copies_of_any_type_that_can_hold_a_file_are_read(
    table: Any, connection: Any, database: Area, store: Store
) -> None:
    insert(table, 1)
    recording = own(connection, table.database, "recording")
    for number, copy in enumerate(COPIES[database.backend]):
        name = own(connection, table.database, f"copy{number}")
        connection.query(f"CREATE TABLE {name} {copy} AS copied FROM {recording}")
    with Snapshot(connection) as snapshot, snapshot.snapshot():
        found = {str(attribute) for attribute, keys, _ in references.references(snapshot, store.project) if keys}
    assert found == {f"{table.database}.{name}" for name in ("Recording.raw", *(f"Copy{n}.copied" for n in range(3)))}


MENTIONS = {
    "json": (
        """{"log": "used files:\\n%s\\nand more"}""",
        """{"log": "used:\\t%s\\t"}""",
        """{"log": "It is in %s."}""",
        """{"log": "It is in _%s_."}""",
    ),
    "text": ("The file is %s.\n", "see _%s_ please", "files=%s,", "https://s3/%%2F%s~"),
}
"""Values of JSON and text in which a key stands as people write it."""


@pytest.mark.parametrize("type_", MENTIONS)
def test_object_that_a_text_mentions_in_any_form_is_in_use(
    table: Any, connection: Any, store: Store, type_: str
) -> None:
    name = own(connection, table.database, "notes")
    connection.query(f"CREATE TABLE {name} (id INT PRIMARY KEY, note {type_})")
    for number, form in enumerate(MENTIONS[type_]):
        insert(table, number)
        connection.query(f"INSERT INTO {name} VALUES (%s, %s)", (number, form % path_of(table, number)))
    insert(table, 9)
    table.delete()
    let_grace_pass(connection, table.database)
    assert collect(connection, force=True).purged.count == 1
    assert len(objects(store)) == len(MENTIONS[type_])


def test_views_are_no_rows_of_their_own(table: Any, connection: Any, store: Store) -> None:
    insert(table, 1)
    name = own(connection, table.database, "seen")
    connection.query(f"CREATE VIEW {name} AS SELECT * FROM {own(connection, table.database, 'recording')}")
    assert len(referenced_everywhere(connection, store.project)) == 1
    connection.query(f"DROP VIEW {name}")


@pytest.mark.parametrize("database", ["own_mysql"], ids=["mysql"], indirect=True)
def test_who_reads_what_is_being_renamed_is_told_to_try_again(instance: dj.Instance, database: Area) -> None:
    """The renaming has the first table, and waits for the second, which was read: both would wait for ever."""
    connection = instance.connection
    schema = instance.Schema(database.schema()).database
    first, second, new, newer = (
        connection.adapter.make_full_table_name(schema, name) for name in ("a", "b", "new_a", "new_b")
    )
    for name in (first, second):
        connection.query(f"CREATE TABLE {name} (number INTEGER)")
    waiting = "SELECT 1 FROM information_schema.processlist WHERE state = 'Waiting for table metadata lock'"
    rename = f"RENAME TABLE {first} TO {new}, {second} TO {newer}"
    with Snapshot(connection) as snapshot, closing(connect_to(database).connection) as other:
        renaming = threading.Thread(target=other.query, args=(rename,))
        with pytest.raises(CollectionRefusedError, match=r"refused \[changed\]"), snapshot.snapshot():
            snapshot.query(f"SELECT 1 FROM {second}")
            renaming.start()
            while not snapshot.query(waiting):
                renaming.join(0.05)
            snapshot.query(f"SELECT 1 FROM {first}")
        renaming.join()
