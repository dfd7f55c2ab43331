"""Rows come back as they were, whatever the settings of the sessions that delete them and put them back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.tables import recording_of

NOW = timedelta(minutes=5)
DEFINITION = "id : int32\n---\nraw : file"

only_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
only_mysql = pytest.mark.parametrize("database", ["mysql"], indirect=True)

ODD = {
    "dated": ("daterange", "[2024-02-03,2024-05-06)"),
    "moments": ("tstzrange", '["2024-02-03 01:00:00+00","2024-05-06 01:00:00+00")'),
    "one_moment": ("timestamptz", "2024-02-03 01:00:00+00"),
    "days": ("date[]", "{2024-02-03}"),
    "span": ("interval", "-1 day -02:03:04"),
    "spans": ("interval[]", "{1 day -02:03:04}"),
    "singles": ("real[]", "{0.1,3.4028235e38}"),
    "price": ("money", "1234.56"),
    "forever": ("timestamp", "infinity"),
    "whole": ("{schema}.named", '("2024-02-03 01:02:03",4)'),
    "alias": ("{schema}.alias", "2024-02-03 01:02:03"),
}
PLAIN = ("DateStyle = 'ISO, YMD'", "IntervalStyle = 'postgres'", "extra_float_digits = 1", "TimeZone = 'UTC'")
OTHER = ("DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'", "extra_float_digits = 0", "TimeZone = 'Etc/GMT-5'")
GERMAN = ("DateStyle = 'German'", "IntervalStyle = 'iso_8601'")


@only_postgresql
def test_values_of_odd_types_do_not_depend_on_the_session(schema: dj.Schema) -> None:
    table, query = recording_of(schema, DEFINITION), schema.connection.query
    query(f"CREATE DOMAIN {schema.database}.alias AS timestamp")
    query(f"CREATE TYPE {schema.database}.named AS (at timestamp, n int)")
    table.insert1({"id": 1, "raw": ("a.dat", b"a")})
    for name, (type_, value) in ODD.items():
        typed = type_.format(schema=schema.database)
        query(f"ALTER TABLE {table().full_table_name} ADD COLUMN {name} {typed} DEFAULT '{value}'")
        query(f"ALTER TABLE {table().full_table_name} ALTER COLUMN {name} DROP DEFAULT")

    def shown() -> Any:
        setting(*PLAIN)
        return query(f"SELECT {', '.join(f'{name}::text' for name in ODD)} FROM {table().full_table_name}").fetchall()

    def setting(*settings: str) -> None:
        query("; ".join(f"SET {one}" for one in settings))

    before = shown()
    setting(*OTHER)
    table.delete(prompt=False)
    assert query("SHOW DateStyle").fetchone()[0] == "SQL, DMY"
    setting(*GERMAN)
    assert datajoint_file.undelete(table, since=NOW)
    assert query("SHOW IntervalStyle").fetchone()[0] == "iso_8601"
    assert shown() == before


@only_postgresql
def test_numbers_that_the_server_gives_always_come_back(schema: dj.Schema) -> None:
    table, query = recording_of(schema, DEFINITION), schema.connection.query
    name = table().full_table_name
    query(f"ALTER TABLE {name} ADD COLUMN n int GENERATED ALWAYS AS IDENTITY (START WITH 7)")
    plain = dj.FreeTable(schema.connection, name)
    plain.insert1({"id": 1, "raw": ("a.dat", b"a")})
    plain.delete(prompt=False)
    assert datajoint_file.undelete(plain, since=NOW)
    assert query(f"SELECT id, n FROM {name}").fetchall() == [(1, 7)]


@only_mysql
def test_key_of_zero_comes_back_as_zero(schema: dj.Schema) -> None:
    table, query = recording_of(schema, "id : int auto_increment\n---\nraw : file"), schema.connection.query
    table.insert1({"id": 5, "raw": ("a.dat", b"a")})
    query(f"UPDATE {table().full_table_name} SET id = 0")
    mode = query("SELECT @@sql_mode").fetchone()
    table.delete(prompt=False)
    assert datajoint_file.undelete(table, since=NOW)
    assert table().to_arrays("id").tolist() == [0]
    assert query("SELECT @@sql_mode").fetchone() == mode


@only_mysql
def test_times_of_an_altered_type_are_what_altering_rows_makes_of_them(schema: dj.Schema) -> None:
    table, query = recording_of(schema, "id : int32\n---\nat : datetime\nraw : file"), schema.connection.query
    query("SET time_zone = '+05:00'")
    table.insert([{"id": n, "at": "2024-01-01 12:00:00", "raw": ("a.dat", b"a")} for n in (1, 2)])
    for type_ in ("timestamp", "datetime"):
        (table & "id = 1").delete(prompt=False)
        query(f"ALTER TABLE {table().full_table_name} MODIFY at {type_}")
        assert datajoint_file.undelete(table, event=datajoint_file.history(table)[0].event)
        first, second = query(f"SELECT at FROM {table().full_table_name} ORDER BY id").fetchall()
        assert first == second


@only_mysql
def test_value_is_not_cut_in_a_session_that_is_not_strict(schema: dj.Schema) -> None:
    table, query = recording_of(schema, "id : int32\n---\nday : date\nraw : file"), schema.connection.query
    query("SET SESSION sql_mode = ''")
    table.insert([{"id": n, "day": "2024-02-03", "raw": ("a.dat", b"a")} for n in (1, 2)])
    query(f"UPDATE {table().full_table_name} SET day = '0000-00-00' WHERE id = 2")
    table.delete(prompt=False)
    assert len(datajoint_file.undelete(table, since=NOW, key={"id": 2}).restored) == 1
    assert query(f"SELECT COUNT(*) FROM {table().full_table_name} WHERE day = '0000-00-00'").fetchone() == (1,)
    query(f"ALTER TABLE {table().full_table_name} MODIFY day varchar(4)")
    done = datajoint_file.undelete(table, since=NOW, key={"id": 1})
    assert (done.restored, len(done.problems)) == ({}, 1)
    assert query("SELECT @@sql_mode").fetchone() == ("",)


def test_row_that_a_trigger_refuses_is_reported_and_the_others_come_back(schema: dj.Schema) -> None:
    table, query, name = recording_of(schema, DEFINITION), schema.connection.query, schema.database
    table.insert([{"id": n, "raw": ("a.dat", b"a")} for n in range(3)])
    table.delete(prompt=False)
    if schema.connection.adapter.backend == "mysql":
        query(
            f"CREATE TRIGGER {name}.no BEFORE INSERT ON {table().full_table_name} FOR EACH ROW "
            "IF NEW.id = 1 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF"
        )
    else:
        query(
            f"CREATE FUNCTION {name}.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 1 THEN "
            "RAISE 'not this one'; END IF; RETURN NEW; END $$"
        )
        query(f"CREATE TRIGGER no BEFORE INSERT ON {table().full_table_name} FOR EACH ROW EXECUTE FUNCTION {name}.no()")
    done = datajoint_file.undelete(table, since=NOW)
    assert list(done.restored.values()) == [2]
    assert [(one.key, "not this one" in one.reason) for one in done.problems] == [("id=1", True)]


@only_postgresql
def test_rows_are_deleted_from_a_table_with_a_rule(schema: dj.Schema) -> None:
    table, query, name = recording_of(schema, DEFINITION), schema.connection.query, schema.database
    query(f"CREATE TABLE {name}.gone (id int)")
    query(f"CREATE RULE note AS ON DELETE TO {table().full_table_name} DO ALSO INSERT INTO {name}.gone VALUES (OLD.id)")
    table.insert([{"id": n, "raw": ("a.dat", b"a")} for n in range(3)])
    (table & "id > 0").delete(prompt=False)
    assert query(f"SELECT id FROM {name}.gone ORDER BY id").fetchall() == [(1,), (2,)]
    assert {version.key["id"] for version in datajoint_file.history(table)} == {1, 2}
    assert datajoint_file.undelete(table, since=NOW).restored == {f"{name}.Recording": 2}
    assert sorted(table().to_arrays("id").tolist()) == [0, 1, 2]
