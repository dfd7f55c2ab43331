"""What was replaced or deleted is listed, read and put back, on real databases; objects are looked at on disk."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import ObjectNotFoundError, UnsupportedValueError
from tests.projects import Store

from .conftest import KEY, rows

NOW = timedelta(minutes=5)


def history_of(schema: dj.Schema) -> str:
    return str(schema.connection.adapter.make_full_table_name(schema.database, "~file_history"))


def test_replaced_files_are_versions_newest_first(lab: Any, schema: dj.Schema) -> None:
    where = lab.Recording & KEY & "number = 1"
    for content in (b"second", b"third"):
        lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", content)})
    versions = datajoint_file.history(where, "raw")
    assert [version.file.read() for version in versions] == [b"second", b"1"]
    assert {version.why for version in versions} == {"update"}
    assert all(version.who for version in versions)
    assert all(abs(datetime.now(timezone.utc) - version.at) < NOW for version in versions)
    assert versions[0].key == {**KEY, "number": 1}
    assert datajoint_file.history(lab.Recording & "number = 2") == []
    assert "update by" in str(versions[0])


def test_rows_that_are_gone_have_versions_by_their_key(lab: Any) -> None:
    lab.Session.delete(prompt=False)
    everything = datajoint_file.history(lab.Recording)
    assert {version.file.read() for version in everything} == {b"0", b"1", b"2", b"x"}
    (one,) = datajoint_file.history(lab.Recording, "raw", key={**KEY, "number": 1})
    assert one.file.read() == b"1"
    assert datajoint_file.history(lab.Recording, "raw", key={"number": 1}) == [one]
    assert len({version.event for version in everything}) == 1


def test_deleted_session_comes_back_with_all_that_went_with_it(lab: Any, store: Store) -> None:
    before, objects = [rows(table) for table in lab.tables], store.object_keys()
    lab.Session.delete(prompt=False)
    done = datajoint_file.undelete(lab.Session, since=NOW)
    assert done, str(done)
    assert list(done.restored.values()) == [1, 3, 3]
    assert [rows(table) for table in lab.tables] == before
    assert store.object_keys() == objects  # nothing was copied
    assert (lab.Recording & "number = 2").fetch1("extra").read() == b"x"


def test_undelete_reports_rows_whose_key_is_taken_with_their_files(lab: Any) -> None:
    lab.Session.delete(prompt=False)
    assert datajoint_file.undelete(lab.Session, since=NOW)
    again = datajoint_file.undelete(lab.Session, since=NOW)
    assert not again
    assert again.restored == {}
    assert len(again.problems) == 7
    assert {len(problem.files) for problem in again.problems} == {0, 1, 2}
    assert "a row with this key" in again.problems[0].reason


def test_undelete_reports_rows_whose_parents_are_gone(lab: Any, schema: dj.Schema) -> None:
    (lab.Recording & "number = 1").delete(prompt=False)
    schema.connection.query(f"DELETE FROM {(lab.Recording.Trace)().full_table_name}")
    schema.connection.query(f"DELETE FROM {lab.Recording().full_table_name}")
    schema.connection.query(f"DELETE FROM {lab.Session().full_table_name}")
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert done.restored == {}
    reasons = {problem.table.partition(".")[2]: problem.reason for problem in done.problems}
    assert "depends on is not there" in reasons["Recording"]
    assert [file.read() for file in done.problems[0].files]


def test_undelete_of_some_rows_only(lab: Any) -> None:
    lab.Recording.delete(prompt=False)
    done = datajoint_file.undelete(lab.Recording, since=NOW, key={"number": 1})
    assert sorted(done.restored.values()) == [1, 1]
    assert lab.Recording().to_arrays("number").tolist() == [1]


def test_rows_of_a_dropped_table_come_back_when_it_is_declared_again(lab: Any, schema: dj.Schema) -> None:
    before = rows(lab.Recording)
    lab.Recording.drop(prompt=False)
    gone = datajoint_file.undelete(lab.Session, since=NOW)
    assert not gone
    definitions = {
        "definition": lab.Recording.definition,
        "Trace": type("Trace", (dj.Part,), {"definition": lab.Recording.Trace.definition}),
    }
    again = schema(type("Recording", (dj.Manual,), definitions), context={"Session": lab.Session})
    assert datajoint_file.undelete(again, since=NOW)
    assert rows(again) == before


def test_large_values_are_said_to_be_lost(schema: dj.Schema) -> None:
    @schema
    class Movie(dj.Manual):
        definition = "movie : int32\n---\nraw : file\nframes : <blob>"

    Movie.insert1({"movie": 1, "raw": ("a.dat", b"a"), "frames": __import__("numpy").random.bytes(2**21)})
    Movie.delete(prompt=False)
    (problem,) = datajoint_file.undelete(Movie, since=NOW).problems
    assert "frames: too large" in problem.reason
    assert problem.files[0].read() == b"a"


def test_attribute_that_is_gone_is_left_out_and_told(schema: dj.Schema) -> None:
    @schema
    class Movie(dj.Manual):
        definition = "movie : int32\n---\nraw : file\nnote = null : varchar(20)"

    Movie.insert1({"movie": 1, "raw": ("a.dat", b"a"), "note": "mine"})
    Movie.delete(prompt=False)
    Movie.definition = "movie : int32\n---\nraw : file"
    Movie().alter(prompt=False)
    done = datajoint_file.undelete(Movie, since=NOW)
    assert done
    assert "no attribute note" in done.notes[0]


def test_revert_puts_an_earlier_file_back_and_can_be_reverted(lab: Any, store: Store) -> None:
    where = lab.Recording & KEY & "number = 1"
    lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", b"wrong")})
    objects = store.object_keys()
    assert datajoint_file.revert(where, "raw").read() == b"1"
    assert where.fetch1("raw").read() == b"1"
    assert datajoint_file.revert(where, "raw", datajoint_file.history(where, "raw")[0]).read() == b"wrong"
    assert store.object_keys() == objects


@pytest.mark.parametrize(
    ("attribute", "version", "restriction"),
    [("raw", 9, "number = 1"), ("raw", 0, "number = 1"), ("raw", 1, "number < 9"), ("settings", 1, "number = 1")],
)
def test_revert_to_what_there_is_not_is_refused(lab: Any, attribute: str, version: int, restriction: str) -> None:
    lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", b"new")})
    with pytest.raises(UnsupportedValueError):
        datajoint_file.revert(lab.Recording & restriction, attribute, version)
    assert (lab.Recording & "number = 1").fetch1("raw").read() == b"new"


def test_revert_to_a_purged_version_is_refused(lab: Any, schema: dj.Schema) -> None:
    lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", b"new")})
    schema.connection.query(f"UPDATE {history_of(schema)} SET state = 'purged'")
    where = lab.Recording & KEY & "number = 1"
    assert datajoint_file.history(where, "raw")[0].is_purged
    with pytest.raises(ObjectNotFoundError, match="retention was over; nothing was changed"):
        datajoint_file.revert(where, "raw")
    assert where.fetch1("raw").read() == b"new"


def test_undelete_in_a_transaction_and_without_a_moment_is_refused(lab: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="which deletion"):
        datajoint_file.undelete(lab.Session)
    with lab.Session().connection.transaction, pytest.raises(dj.DataJointError, match="transactions of its own"):
        datajoint_file.undelete(lab.Session, since=NOW)


def test_purged_files_keep_their_row_away(lab: Any, schema: dj.Schema) -> None:
    lab.Recording.delete(prompt=False)
    schema.connection.query(f"UPDATE {history_of(schema)} SET state = 'purged' WHERE attribute = 'extra'")
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert done.restored[f"{schema.database}.Recording"] == 1
    assert "extra: the bytes were deleted" in done.problems[0].reason


def test_object_that_the_collector_asks_about_is_not_shared(lab: Any, schema: dj.Schema) -> None:
    lab.Recording.delete(prompt=False)
    schema.connection.query(f"UPDATE {history_of(schema)} SET state = 'checking', run = 'x' WHERE attribute = 'raw'")
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert done.restored == {}
    assert any("about to be deleted" in problem.reason for problem in done.problems)
