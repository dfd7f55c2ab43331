"""What a cell held: in the order in which it did, whatever other rows hold, and whatever zone a session is in."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.tables import recording_of


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(schema, "id : int32\n---\nraw : file")


def put(table: Any, key: int, content: bytes) -> None:
    row = {"id": key, "raw": ("a.dat", content)}
    table.update1(row) if table & {"id": key} else table.insert1(row)


def held(table: Any, **key: Any) -> list[bytes]:
    return [version.file.read() for version in datajoint_file.history(table, "raw", key=key or None)]


def test_file_that_was_held_twice_stands_where_it_went_last(table: Any) -> None:
    put(table, 1, b"A")
    put(table, 1, b"B")
    assert datajoint_file.revert(table & "id = 1", "raw").read() == b"A"
    put(table, 1, b"C")
    assert held(table & "id = 1") == [b"A", b"B"]
    assert datajoint_file.revert(table & "id = 1", "raw").read() == b"A"


def test_file_that_another_row_has_is_still_a_version(table: Any) -> None:
    put(table, 10, b"W")
    put(table, 10, b"X")
    table.insert1({"id": 11, "raw": (table & "id = 10").fetch1("raw")})
    put(table, 10, b"Y")
    assert held(table & "id = 10") == [b"X", b"W"]
    assert datajoint_file.revert(table & "id = 10", "raw").read() == b"X"
    (table & "id = 10").delete(prompt=False)
    assert held(table, id=10) == [b"X", b"Y", b"W"]


@pytest.fixture
def by_moment(schema: dj.Schema) -> Any:
    made = recording_of(schema, "at : timestamp\n---\nraw : file", "Moment")
    if schema.connection.adapter.backend == "postgresql":  # where DataJoint has no name for it
        schema.connection.query(f"ALTER TABLE {made().full_table_name} ALTER at TYPE timestamptz")
    in_zone(schema, 0)
    for hour in ("00", "05"):
        row = {"at": f"2024-01-01 {hour}:00:00"}
        made.insert1({**row, "raw": ("a.dat", b"old of " + hour.encode())})
        made.update1({**row, "raw": ("a.dat", b"new of " + hour.encode())})
    in_zone(schema, 5)  # in which the second is 10:00, and the first what the second was called
    return made


def in_zone(schema: dj.Schema, hours: int) -> None:
    is_mysql = schema.connection.adapter.backend == "mysql"
    schema.connection.query(f"SET time_zone = '+0{hours}:00'" if is_mysql else f"SET TIME ZONE {hours}")


def test_moments_are_those_of_the_users_session(by_moment: Any) -> None:
    key = {"at": "2024-01-01 05:00:00"}
    query = by_moment & key
    assert query.fetch1("raw").read() == b"new of 00"
    assert held(query) == [b"old of 00"]
    assert held(by_moment, **key) == [b"old of 00"]
    assert datajoint_file.revert(query, "raw").read() == b"old of 00"
    assert (by_moment & {"at": "2024-01-01 10:00:00"}).fetch1("raw").read() == b"new of 05"


def test_rows_are_undeleted_by_moments_of_the_users_session(by_moment: Any, schema: dj.Schema) -> None:
    by_moment.delete(prompt=False)
    event = datajoint_file.history(by_moment)[0].event
    assert datajoint_file.undelete(by_moment, event=event, key={"at": "2024-01-01 05:00:00"})
    assert by_moment().fetch1("raw").read() == b"new of 00"
    in_zone(schema, 0)
    assert len(by_moment & {"at": "2024-01-01 00:00:00"}) == 1


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_value_that_a_key_cannot_have_leaves_the_users_transaction_open(table: Any) -> None:
    with table().connection.transaction:
        put(table, 1, b"A")
        with pytest.raises(datajoint_file.errors.UnsupportedValueError):
            datajoint_file.history(table, key={"id": 2**40})
    assert (table & "id = 1").fetch1("raw").read() == b"A"
