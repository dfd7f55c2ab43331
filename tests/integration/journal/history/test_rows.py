"""Rows as text: nothing is lost of any type, whatever the session's settings, and what is too large is said to be."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import datajoint as dj
import numpy as np
import pytest

import datajoint_file
from datajoint_file.journal import history_table
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.sql import MySQL
from datajoint_file.sql.columns import NotKept, read_row
from tests.tables import recording_of

from .conftest import Entries

NOW = timedelta(minutes=5)

TYPES = """
id : int32
f32 : float32
moment : datetime(6)
name : varchar(40)
---
raw : file
i8 : int8
i64 : int64
f64 : float64
flag : bool
code : char(3)
who = null : uuid
day : date
price : decimal(9,3)
kind : enum('a', 'bc')
doc = null : json
data = null : bytes
blob = null : <blob>
"""

ROWS: list[dict[str, Any]] = [
    {
        "id": number,
        "f32": value,
        "moment": f"2021-02-03 04:05:06.{number:06}",
        "name": "é\"'%s \n\t√",
        "raw": ("a.dat", b"a"),
        "i8": -128,
        "i64": -(2**63) + number,
        "f64": np.nextafter(value, 2) if value else -0.0,
        "flag": number % 2 == 1,
        "code": "x ",
        "who": None if number else uuid.UUID("12345678-1234-5678-1234-567812345678"),
        "day": "0999-01-02",
        "price": "-123456.789",
        "kind": "bc",
        "doc": None if number else {"a": [1.5, "ü\"'"], "b": None},
        "data": bytes(range(256)),
        "blob": np.arange(5.0) if number else None,
    }
    for number, value in enumerate([1.2345678, 1e-30, 0.0, 16777216.0, -3.3e38])
]

SETTINGS = {
    "mysql": ["SET time_zone = '+09:00'", "SET sql_mode = CONCAT(@@sql_mode, ',PAD_CHAR_TO_FULL_LENGTH')"],
    "postgresql": [
        "SET DateStyle = 'German'",
        "SET extra_float_digits = -10",
        "SET bytea_output = 'escape'",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET IntervalStyle = 'iso_8601'",
    ],
}
RESET = {
    "mysql": ["SET time_zone = DEFAULT", "SET sql_mode = DEFAULT"],
    "postgresql": ["RESET ALL"],
}


def raw_rows(table: Any, more: str = "") -> list[Any]:
    """All of the rows as the driver gives them, floats with all their digits."""
    exact = "f32 + 0e0" if table().connection.adapter.backend == "mysql" else "f32::float8"
    return list(
        table().connection.query(f"SELECT *, {exact} {more} FROM {table.full_table_name} ORDER BY id").fetchall()
    )


def test_rows_of_every_type_come_back_as_they_were_whatever_the_session_is_set_to(schema: dj.Schema) -> None:
    table, query = recording_of(schema, TYPES), schema.connection.query
    backend = schema.connection.adapter.backend
    if backend == "mysql":
        query(f"ALTER TABLE {table.full_table_name} ADD bits BIT(12), ADD stamp TIMESTAMP(3) NULL, ADD took TIME(6)")
        query(f"ALTER TABLE {table.full_table_name} ADD shape GEOMETRY")
        more = "UPDATE {} SET bits = 0b101010101010, stamp = '2021-03-28 02:30:00.125', took = '-12:34:56.000007', "
        more += "shape = ST_GeomFromText('POINT(1 2)')"
    else:
        query(f"ALTER TABLE {table.full_table_name} ADD stamp TIMESTAMPTZ, ADD took INTERVAL, ADD list INTEGER[]")
        query(f"ALTER TABLE {table.full_table_name} ADD moments TIMESTAMPTZ[], ADD shape PATH")
        more = "UPDATE {} SET stamp = '2021-03-28 02:30:00.125+00', took = '-1 mon 2 days 03:04:05.000006', "
        more += "list = ARRAY[1, NULL, 3], moments = "
        more += "ARRAY['2021-03-28 02:30:00.125+00'::timestamptz, NULL], shape = '((1,2),(3,4))', "
        more += "who = '12345678-1234-5678-1234-567812345678'"
    table.insert(row if backend == "mysql" else {**row, "who": None} for row in ROWS)  # DataJoint sends bytes for it
    query(more.format(table.full_table_name))
    before = raw_rows(table)
    for setting in SETTINGS[backend]:
        query(setting)
    table.delete_quick()
    for setting in RESET[backend]:
        query(setting)
    done = datajoint_file.undelete(table, since=NOW)
    assert done, str(done)
    assert raw_rows(table) == before


def test_values_above_a_mebibyte_are_not_kept_and_their_size_is(schema: dj.Schema, entries: Entries) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : file\nsmall : bytes\nlarge : bytes")
    table.insert1({"id": 1, "raw": ("a.dat", b"a"), "small": b"s" * 2**20, "large": b"l" * (2**20 + 1)})
    table.delete_quick()
    row = read_row(entries("row_text")[0][0])
    assert row["small"] == ("base64", b"s" * 2**20)
    assert row["large"] == ("base64", NotKept(2**20 + 1))


def test_rows_with_many_large_values_are_deleted_and_keep_what_is_small(schema: dj.Schema, entries: Entries) -> None:
    attributes = "\n".join(f"b{number} : bytes" for number in range(9))
    table = recording_of(schema, f"id : int32\n---\nraw : file\n{attributes}\nnote : varchar(20)")
    rows = [{"id": 1, "size": 1000}, {"id": 2, "size": 2**20}]
    for row in rows:
        values = {f"b{number}": b"x" * row["size"] for number in range(9)}
        table.insert1({"id": row["id"], "raw": ("a.dat", b"a"), "note": "n", **values})
    table.delete_quick()
    small, large = (read_row(text) for (text,) in entries("row_text"))
    assert len(table()) == 0
    assert {small[f"b{n}"] for n in range(9)} == {("base64", b"x" * 1000)}
    assert {large[f"b{n}"] for n in range(9)} == {("base64", NotKept(2**20))}
    assert large["note"] == ("text", "n")
    assert {size for (size,) in entries("size")} == {1}  # of the files


def test_text_that_grows_when_it_is_written_down_breaks_no_delete(schema: dj.Schema, entries: Entries) -> None:
    """A control character takes six: three such texts are more than a server accepts as one value."""
    is_mysql = schema.connection.adapter.backend == "mysql"
    table = recording_of(schema)
    query, names = schema.connection.query, ["t1", "t2", "t3"]
    for name in names:
        query(f"ALTER TABLE {table.full_table_name} ADD {name} {'LONGTEXT' if is_mysql else 'TEXT'}")
    table.insert1({"id": 1, "raw": ("a.dat", b"a")})
    one = "REPEAT(CHAR(1), 1048576)" if is_mysql else "REPEAT(CHR(1), 1048576)"
    query(f"UPDATE {table.full_table_name} SET {', '.join(f'{name} = {one}' for name in names)}")
    table.delete_quick()
    assert len(table()) == 0
    row = read_row(entries("row_text", "row_text IS NOT NULL")[0][0])
    assert row["id"] == ("text", "1")
    assert all(row[name][1] in ("\1" * 2**20, NotKept(2**20)) for name in names)


def test_table_of_many_attributes_with_long_names(schema: dj.Schema, entries: Entries) -> None:
    names = [f"a{number:02}_{'x' * 59}" for number in range(60)]
    table = recording_of(schema, "id : int32\n---\nraw : file\n" + "\n".join(f"{name} : int32" for name in names))
    table.insert1({"id": 1, "raw": ("a.dat", b"a"), **{name: index for index, name in enumerate(names)}})
    table.delete_quick()
    row = read_row(entries("row_text")[0][0])
    assert [row[name] for name in names] == [("text", str(index)) for index in range(60)]
    assert datajoint_file.undelete(table, since=NOW)
    assert table.fetch1(names[59]) == 59


def test_float_in_a_key_keeps_all_its_digits(schema: dj.Schema) -> None:
    table = recording_of(schema, "f32 : float32\nid : int32\n---\nraw : file")
    values = [1.2345678, 16777216.0, 1e-30]
    table.insert({"f32": value, "id": 1, "raw": ("a.dat", b"a")} for value in values)
    table.delete_quick()
    keys = {np.float32(version.key["f32"]) for version in datajoint_file.history(table, "raw")}
    assert keys == set(map(np.float32, values))


def test_row_that_is_more_than_the_server_takes_as_one_value_is_deleted_all_the_same(
    schema: dj.Schema, entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    if schema.connection.adapter.backend == "postgresql":
        pytest.skip("the server knows no such limit")
    monkeypatch.setattr(MySQL, "max_result", "1000000")  # @@max_allowed_packet is the same for all who test here
    table = recording_of(schema, "id : int32\n---\nraw : file\ndata : bytes")
    table.insert({"id": n, "raw": ("a.dat", b"a"), "data": b"d" * 400_000 * n} for n in (1, 2))
    table.delete_quick()
    first, second = (read_row(text)["data"][1] for (text,) in entries("row_text"))
    assert {first, second} == {b"d" * 400_000, NotKept(800_000)}


CLOCKS_GO_BACK = """
REPLACE INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (77, 'N');
REPLACE INTO mysql.time_zone_transition_type VALUES (77, 0, 7200, 1, 'CEST'), (77, 1, 3600, 0, 'CET');
REPLACE INTO mysql.time_zone_transition VALUES (77, 1679792400, 0), (77, 1698541200, 1);
REPLACE INTO mysql.time_zone_name VALUES ('Test/Berlin', 77)
"""


def test_moments_of_the_hour_that_comes_twice_come_back_as_they_were(schema: dj.Schema) -> None:
    query = schema.connection.query
    if schema.connection.adapter.backend == "postgresql":
        pytest.skip("moments are written with their offset there")
    for statement in CLOCKS_GO_BACK.split(";"):
        query(statement)
    table = recording_of(schema, "id : int32\n---\nstamp : timestamp\nraw : file")
    query("SET time_zone = '+00:00'")
    table.insert({"id": n, "stamp": f"2023-10-29 0{n}:30:00", "raw": ("a.dat", b"a")} for n in range(3))
    before = raw_rows_in_order(table)
    query("SET time_zone = 'Test/Berlin'")
    table.delete_quick()
    assert datajoint_file.undelete(table, since=NOW)
    assert query("SELECT @@time_zone").fetchone()[0] == "Test/Berlin"
    query("SET time_zone = '+00:00'")
    assert raw_rows_in_order(table) == before


def raw_rows_in_order(table: Any) -> list[Any]:
    return list(table().connection.query(f"SELECT * FROM {table.full_table_name} ORDER BY id").fetchall())


def test_what_is_kept_is_read_page_by_page(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_table, "_PAGE", 4)
    (table & "id < 4").delete()
    found, number = list[tuple[str, str, str]](), 0
    books = history_table.HistoryTable(second_connection_of(table.connection), table.database)
    earlier, later = (datetime.now(timezone.utc) + sign * timedelta(hours=1) for sign in (-1, 1))
    assert not books.kept_files(0, later)
    while page := books.kept_files(number, earlier):
        assert len(page) <= 4
        number = page[-1][0]
        found += [(name, attribute, json.loads(text)["path"]) for _, _, name, attribute, text in page]
    assert len(found) == 6
    assert {name for _, name, _ in found} == {"raw", "extra"}
