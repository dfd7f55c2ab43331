"""Restriction by what was fetched: rows, lists, frames and records that hold references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import FileRef
from datajoint_file.errors import MetadataError, UnsafePathError, UnsupportedValueError


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw = null : file
        video = null : file
        """

    @schema
    class Note(dj.Manual):
        definition = """
        k : int32
        ---
        raw = null : varchar(200)
        """

    Recording.insert(
        [
            {"k": 1, "raw": ("50% it's.dat", b"a"), "video": ("v.mp4", b"v")},
            {"k": 2, "raw": ("b.dat", b"b"), "video": None},
            {"k": 3, "raw": None, "video": None},
        ]
    )
    Recording.Note = Note
    return Recording


def keys(query: Any) -> list[int]:
    return sorted(query.to_arrays("k").tolist())


ROWS: dict[str, Callable[[Any], Any]] = {
    "a row": lambda query: query.to_dicts()[0],
    "fetch1": lambda query: query.fetch1(),
    "a row of iteration": lambda query: next(iter(query)),
    "a list": lambda query: query.to_dicts(),
    "a generator": lambda query: (row for row in query.to_dicts()),
    "a frame": lambda query: query.to_pandas(),
    "records": lambda query: query.to_arrays(),
    "a record": lambda query: query.to_arrays()[0],
    "and": lambda query: dj.AndList([query.to_dicts()[0], "k < 10"]),
    "not not": lambda query: dj.Not(dj.Not(query.to_dicts()[0])),
    "without the key": lambda query: {"raw": query.fetch1("raw")},
    "with other attributes": lambda query: {**query.fetch1(), "other": query.fetch1("raw")},
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_row_that_was_fetched_restricts_to_itself(table: Any, rows: Callable[[Any], Any]) -> None:
    first = table & "k = 1"
    assert keys(table & rows(first)) == [1]
    is_null_compared = rows is ROWS["without the key"]
    assert keys(table - rows(first)) == ([2] if is_null_compared else [2, 3])  # null is neither equal nor different
    assert len(table.proj(other="raw") & {"other": first.fetch1("raw")}) == 1


def test_rows_that_were_fetched_restrict_to_themselves(table: Any) -> None:
    rows = table.to_dicts()
    assert keys(table & rows) == [1, 2, 3]
    assert keys(table & rows[1:]) == [2, 3]
    assert keys(table - rows[1:]) == [1]
    assert keys(table & table.to_pandas()) == [1, 2, 3]
    assert all(row in table() for row in rows)


def test_row_whose_file_has_changed_since_is_not_found(table: Any) -> None:
    row = (table & "k = 1").fetch1()
    table.update1({"k": 1, "raw": ("a.dat", b"a")})
    assert not table & row
    assert keys(table & {"k": 1, "video": row["video"]}) == [1]


def test_row_that_was_fetched_is_deleted_and_no_other(table: Any) -> None:
    (table & (table & "k = 1").fetch1()).delete(prompt=False)
    assert keys(table()) == [2, 3]


def test_attribute_that_the_query_has_not_is_ignored_as_datajoint_does(table: Any) -> None:
    assert keys(table.proj() & (table & "k = 1").fetch1()) == [1]


def test_reference_is_not_compared_with_what_is_no_file(table: Any) -> None:
    with pytest.raises(UnsupportedValueError, match=r"Note\.raw is no `file` attribute.*restrict by the key"):
        table.Note & (table & "k = 1").fetch1()


def test_what_is_no_reference_is_not_compared_with_a_file_in_silence(table: Any) -> None:
    for value in ("b.dat", Path("b.dat"), {"original_name": "b.dat"}, 3):
        for condition in ({"raw": value}, {"k": 2, "raw": value}, dj.Not({"raw": value})):
            with pytest.raises(UnsupportedValueError, match=r"Recording\.raw is a file.*where\('raw', name='run1"):
                table & condition
        with pytest.raises(dj.DataJointError, match="Invalid restriction type"):  # what DataJoint makes of a TypeError
            table & [{"k": 2, "raw": value}]
    assert keys(table & {"raw.original_name": "b.dat"}) == [2]
    assert keys(table & {"raw": None}) == [3]
    assert keys(table.Note & {"raw": "b.dat"}) == []


def test_reference_that_says_sql_is_refused(table: Any) -> None:
    ref = (table & "k = 1").fetch1("raw")
    hostile = datajoint_file.FileRef.from_row({**ref.to_dict(), "path": "lab/x' OR 'x'='x"}, ref.pipeline)
    with pytest.raises(MetadataError, match="path = "):
        table & {"raw": hostile}


def test_reference_made_by_hand_that_says_sql_is_refused(table: Any) -> None:
    ref = (table & "k = 1").fetch1("raw")
    hostile = FileRef(replace(ref.metadata, path="x' OR '1'='1"), ref.pipeline)
    with pytest.raises(UnsafePathError, match="path = "):
        table & {"raw": hostile}


@pytest.mark.parametrize("condition", [lambda row: row, dj.Not, lambda row: dj.Not(dj.Not(row))])
def test_a_delete_by_a_row_takes_its_children_and_no_others(schema: dj.Schema, condition: Callable[[Any], Any]) -> None:
    """The child has an attribute of the same name, which is another file."""

    @schema
    class Session(dj.Manual):
        definition = "k : int32\n---\nraw : file"

    @schema
    class Scan(dj.Manual):
        definition = "-> Session\n---\nraw : file"

    Session.insert([{"k": k, "raw": ("a.dat", b"session")} for k in range(3)])
    Scan.insert([{"k": k, "raw": ("a.dat", b"scan")} for k in range(3)])
    chosen = Session & condition((Session & "k = 2").fetch1())
    left = keys(Session - chosen.proj())
    chosen.delete(prompt=False)
    assert keys(Session()) == keys(Scan()) == left
