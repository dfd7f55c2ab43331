"""What was replaced or deleted is listed, read and put back, on real databases; objects are looked at on disk."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import JournalWarning, ObjectNotFoundError, OutcomeUnknownError, UnsupportedValueError
from datajoint_file.undo.restore import Undeleted, _Restoration
from tests.projects import Store, connect, over_mysql, over_postgresql, unique
from tests.tables import drop_schema, recording_of

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
    assert [version.number for version in versions] == [1, 2]


def test_rows_that_are_gone_have_versions_by_their_key(lab: Any) -> None:
    lab.Session.delete(prompt=False)
    everything = datajoint_file.history(lab.Recording)
    assert {version.file.read() for version in everything} == {b"0", b"1", b"2", b"x"}
    (one,) = datajoint_file.history(lab.Recording, "raw", key={**KEY, "number": 1})
    assert one.file.read() == b"1"
    assert datajoint_file.history(lab.Recording, "raw", key={"number": 1}) == [one]
    assert len({version.event for version in everything}) == 1


def test_parts_of_a_row_do_not_come_back_under_another_row_of_its_key(lab: Any) -> None:
    one = lab.Recording & KEY & "number = 1"
    one.delete(prompt=False)
    lab.Recording.insert1({**KEY, "number": 1, "raw": ("new.dat", b"another")})
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert (done.restored, len(lab.Recording.Trace & one.proj())) == ({}, 0)
    assert [(problem.table.partition(".")[2], problem.reason) for problem in done.problems] == [
        ("Recording", "a row with this key is there, and has another extra, raw, settings"),
        ("Recording.Trace", f"the row of {lab.Recording.database}.Recording that it depended on is another one now"),
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"since": "2 h", "key": "session=1"}, "give a dict"),
        ({"since": "5 m"}, "neither like 90min"),
        ({"since": timedelta(minutes=-1)}, "still to come"),
        ({"since": "2999-01-01"}, "still to come"),
        ({"since": "2 h", "event": "x"}, "and not both"),
    ],
)
def test_what_no_deletion_can_be_is_refused(lab: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedValueError, match=told):
        datajoint_file.undelete(lab.Session, **options)


def test_key_that_is_none_is_refused(lab: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="give a dict"):
        datajoint_file.history(lab.Recording, key="session=1")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedValueError, match="there is no such row; if it is gone"):
        datajoint_file.revert(lab.Recording & "number = 99", "raw")


def test_deleted_session_comes_back_with_all_that_went_with_it(lab: Any, store: Store) -> None:
    before, objects = [rows(table) for table in lab.tables], store.object_keys()
    lab.Session.delete(prompt=False)
    done = datajoint_file.undelete(lab.Session, since=NOW)
    assert done, str(done)
    assert list(done.restored.values()) == [1, 3, 3]
    assert [rows(table) for table in lab.tables] == before
    assert store.object_keys() == objects  # nothing was copied
    assert (lab.Recording & "number = 2").fetch1("extra").read() == b"x"


def test_undelete_again_finds_rows_there_already_and_reports_those_that_differ(lab: Any) -> None:
    lab.Session.delete(prompt=False)
    assert datajoint_file.undelete(lab.Session, since=NOW)
    again = datajoint_file.undelete(lab.Session, since=NOW)
    assert again
    assert (again.restored, again.problems, sum(again.present.values())) == ({}, (), 7)
    assert "Recording: there already" in str(again)
    lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", b"new"), "settings": None})
    third = datajoint_file.undelete(lab.Session, since=NOW)
    (problem,) = third.problems
    assert (bool(third), third.restored, sum(third.present.values())) == (False, {}, 6)
    assert problem.reason == "a row with this key is there, and has another raw, settings"
    told = "; the history keeps 2 files of it, to be read through datajoint_file.history until the retention is over"
    assert str(problem).endswith(told)
    assert {file.read() for file in problem.files} == {b"1", b"x"}


def test_undelete_says_which_parent_is_gone_and_what_puts_it_back(lab: Any) -> None:
    (lab.Recording & "number = 1").delete(prompt=False)
    event = datajoint_file.history(lab.Recording, key={**KEY, "number": 1})[0].event
    lab.Session.delete(prompt=False)
    done = datajoint_file.undelete(lab.Recording, event=event)
    assert done.restored == {}
    reasons = {problem.table.partition(".")[2]: problem.reason for problem in done.problems}
    later = datajoint_file.history(lab.Recording, key={**KEY, "number": 2})[0].event
    name = f"{lab.Session().database}.Session"
    gone = f"{name} (session=ab'c), on which it depends, is not there; put it back first:"
    assert reasons["Recording"].startswith(gone)
    assert f"`datajoint-file restore {name} --event {later} " in reasons["Recording"]
    assert f"{lab.Session().database}.Recording (session=ab'c, number=1)" in reasons["Recording.Trace"]
    assert datajoint_file.undelete(lab.Session, event=later, key=KEY)
    assert datajoint_file.undelete(lab.Recording, event=event)


def test_undelete_of_a_row_brings_the_parents_that_went_with_it(lab: Any) -> None:
    before = rows(lab.Session)
    lab.Session.delete(prompt=False)
    done = datajoint_file.undelete(lab.Recording, since=NOW, key={"number": 1})
    assert (done.problems, sorted(done.restored.values())) == ((), [1, 1, 1])
    assert rows(lab.Session) == before
    assert lab.Recording().to_arrays("number").tolist() == [1]


def test_undelete_reports_rows_whose_parents_are_gone(lab: Any, schema: dj.Schema) -> None:
    (lab.Recording & "number = 1").delete(prompt=False)
    schema.connection.query(f"DELETE FROM {(lab.Recording.Trace)().full_table_name}")
    schema.connection.query(f"DELETE FROM {lab.Recording().full_table_name}")
    schema.connection.query(f"DELETE FROM {lab.Session().full_table_name}")
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert done.restored == {}
    reasons = {problem.table.partition(".")[2]: problem.reason for problem in done.problems}
    assert reasons["Recording"].endswith("on which it depends, is not there; nothing is noted of it: insert it first")
    assert [file.read() for file in done.problems[0].files]


def test_undelete_of_some_rows_only(lab: Any) -> None:
    lab.Recording.delete(prompt=False)
    done = datajoint_file.undelete(lab.Recording, since=NOW, key={"number": 1})
    assert sorted(done.restored.values()) == [1, 1]
    assert lab.Recording().to_arrays("number").tolist() == [1]


def test_rows_of_a_dropped_table_come_back_when_it_is_declared_again(lab: Any, schema: dj.Schema) -> None:
    before = rows(lab.Recording)
    lab.Recording.drop(prompt=False)
    gone = datajoint_file.undelete(lab.Recording, since=NOW)
    assert not gone
    assert "number=" in gone.problems[0].key
    dropped = dj.FreeTable(schema.connection, lab.Recording.full_table_name)
    assert {version.file.read() for version in datajoint_file.history(dropped)} == {b"0", b"1", b"2", b"x"}
    (one,) = datajoint_file.history(dropped, "raw", key={"number": 1})
    assert (one.file.read(), one.why) == (b"1", "drop")
    assert {**KEY, "number": "1"}.items() <= one.key.items()  # which values are the key nobody knows any more
    assert datajoint_file.history(dropped, key={"nothing": 1}) == []
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
    schema.connection.query(f"UPDATE {history_of(schema)} SET state = 'purged', row_text = NULL")
    where = lab.Recording & KEY & "number = 1"
    assert "raw (key not kept)" in str(datajoint_file.history(where, "raw")[0])
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


def test_object_about_which_the_collector_has_decided_is_not_shared(lab: Any, schema: dj.Schema) -> None:
    lab.Recording.delete(prompt=False)
    schema.connection.query(f"UPDATE {history_of(schema)} SET state = 'condemned', run = 'x' WHERE attribute = 'raw'")
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert done.restored == {}
    reasons = [problem.reason for problem in done.problems if "collector" in problem.reason]
    assert len(reasons) == 3
    assert all(reason.endswith("download it now, and insert the row again with it") for reason in reasons)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "in the store it is not there: bring it back from a backup, or the bucket's versions, then run it"),
        (b"22", "in the store it has 2 bytes there, expected 1: bring it back from a backup"),
    ],
)
def test_object_that_is_not_as_it_was_is_told_with_what_to_do(
    lab: Any, store: Store, content: bytes | None, told: str
) -> None:
    path = (lab.Recording & KEY & "number = 1").fetch1("raw").path
    lab.Recording.delete(prompt=False)
    if content is None:
        store.remove(path)
    else:
        store.damage(path, content)
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    (problem,) = (one for one in done.problems if "Trace" not in one.table)
    assert f"{path}: {told}" in problem.reason
    assert len(lab.Recording()) == 2


def test_event_of_no_deletion_from_this_table_is_refused(lab: Any) -> None:
    lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", b"new")})
    update = datajoint_file.history(lab.Recording)[0].event
    (lab.Recording & "number = 2").delete(prompt=False)
    delete = datajoint_file.history(lab.Recording)[0].event
    name = f"{lab.Session.database}.Recording"
    wrong = {
        (lab.Session, "x" * 26): f"no event 'x+' in the history of {lab.Session.database}.Session; `datajoint-file",
        (lab.Session, "ü"): "no event 'ü' in the history",
        (lab.Session, delete): f"it is one of {name}",
        (
            lab.Recording,
            update,
        ): f"the event '{update}' of {name} is no deletion, but of update; use datajoint_file.re",
    }
    for (table, event), told in wrong.items():
        with pytest.raises(UnsupportedValueError, match=told):
            datajoint_file.undelete(table, event=event)
    assert datajoint_file.undelete(lab.Recording, event=delete)


def test_history_of_what_is_no_table_is_refused_with_what_is_one(lab: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="give a table, or rows of one: Recording, Recording & key"):
        datajoint_file.history(lab.Recording * lab.Session)


def test_values_that_an_attribute_does_not_take_any_more_are_reported(schema: dj.Schema) -> None:
    @schema
    class Movie(dj.Manual):
        definition = "movie : int32\n---\nraw : file\nnote : varchar(20)\nrating : int32"

    for movie, note, rating in ((1, "short", 1), (2, "much longer", 1), (3, "short", 70_000)):
        Movie.insert1({"movie": movie, "raw": ("a.dat", b"a"), "note": note, "rating": rating})
    Movie.delete(prompt=False)
    for change in ("note varchar(6)", "rating smallint"):
        is_mysql = schema.connection.adapter.backend == "mysql"
        changed = f"MODIFY {change}" if is_mysql else f"ALTER {change.replace(' ', ' TYPE ')}"
        schema.connection.query(f"ALTER TABLE {Movie().full_table_name} {changed}")
    done = datajoint_file.undelete(Movie, since=NOW)
    assert done.restored == {f"{schema.database}.Movie": 1}
    assert {problem.key: bool(problem.reason) for problem in done.problems} == {"movie=2": True, "movie=3": True}


@pytest.mark.parametrize("is_unknown", [True, False])
def test_connection_lost_on_the_way_is_told_with_what_was_put_back(
    lab: Any, monkeypatch: pytest.MonkeyPatch, is_unknown: bool
) -> None:
    kind = OutcomeUnknownError if is_unknown else dj.errors.LostConnectionError
    insert, tries = _Restoration._insert, list[str]()

    def lose(self: Any, schema: str, table: str, *args: Any) -> None:
        tries.append(table)
        if len(tries) > 1:
            raise kind("lost")
        insert(self, schema, table, *args)

    lab.Session.delete(prompt=False)
    monkeypatch.setattr(_Restoration, "_insert", lose)
    with pytest.raises(kind, match=r"put back 1 row of \w+.Session before"):
        datajoint_file.undelete(lab.Session, since=NOW)
    assert len(tries) == 2
    assert len(lab.Session()) == 1


KEYS = {
    "ident": uuid.UUID(int=5),
    "began": datetime(2020, 1, 2, 3, 4, 5, 120000),
    "cost": "12.3",
    "is_good": True,
    "single": 1.1,
    "day": "2021-02-03",
}


@pytest.fixture
def keyed(schema: dj.Schema) -> Any:
    ident = "uuid" if schema.connection.adapter.backend == "mysql" else "varchar(36)"  # DataJoint cannot insert it

    @schema
    class Movie(dj.Manual):
        definition = f"""
        number : int32
        ident : {ident}
        began : datetime(6)
        cost : decimal(6,2)
        is_good : bool
        day : date
        ---
        single : float32
        raw : file
        """

    convert = uuid.UUID if ident == "uuid" else str
    row = {"number": 1, **KEYS, "ident": convert(str(KEYS["ident"])), "raw": ("a.dat", b"a")}
    other = {
        "ident": convert(str(uuid.UUID(int=6))),
        "began": "2020-01-02",
        "cost": 1,
        "is_good": False,
        "day": "2021-02-04",
    }
    Movie.insert([row, {**row, **other, "number": 0, "single": 2}])
    Movie.delete(prompt=False)
    return Movie


@pytest.mark.parametrize("as_text", [str, lambda value: value])
def test_keys_are_compared_by_value(keyed: Any, as_text: Any) -> None:
    for name, value in KEYS.items():
        key = {name: as_text(value)}
        if name != "single":
            assert {version.key["number"] for version in datajoint_file.history(keyed, key=key)} == {1}, name
        done = datajoint_file.undelete(keyed, since=NOW, key=key)
        assert (list(done.restored.values()), done.problems) == ([1], ()), name
        assert keyed().fetch1("number") == 1
        keyed().delete_quick()
    whole = {"number": 1, **{name: as_text(value) for name, value in KEYS.items() if name != "single"}}
    assert {version.key["number"] for version in datajoint_file.history(keyed, "raw", key=whole)} == {1}


@pytest.mark.parametrize("key", [{"number": 1.4}, {"cost": "12.301"}, {"single": 7}])
def test_values_that_no_row_has_match_none(keyed: Any, key: dict[str, Any]) -> None:
    assert "single" in key or datajoint_file.history(keyed, key=key) == []
    assert datajoint_file.undelete(keyed, since=NOW, key=key) == Undeleted({})


@pytest.mark.parametrize("key", [{"number": "abc"}, {"began": "never"}, {"is_good": "maybe"}])
def test_values_that_an_attribute_cannot_have_are_refused(keyed: Any, key: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedValueError, match=next(iter(key))):
        datajoint_file.history(keyed, key=key)
    with pytest.raises(UnsupportedValueError, match=next(iter(key))):
        datajoint_file.undelete(keyed, since=NOW, key=key)


def test_key_that_names_what_no_table_has_is_refused(lab: Any) -> None:
    lab.Recording.delete(prompt=False)
    with pytest.raises(UnsupportedValueError, match="attribute nunber"):
        datajoint_file.undelete(lab.Recording, since=NOW, key={"nunber": 1})
    assert len(lab.Recording()) == 0


def test_schema_without_a_history_has_none(schema: dj.Schema) -> None:
    @schema
    class Plain(dj.Manual):
        definition = "number : int32"

    assert datajoint_file.history(Plain) == []
    done = datajoint_file.undelete(Plain, since=NOW)
    assert (done.restored, done.problems) == ({}, ())
    assert "nothing is noted" in done.notes[0]


@pytest.fixture
def restricted(schema: dj.Schema, pipeline: dj.Instance, database: Any, store: Store) -> Iterator[Any]:
    """The connection of a user of one schema, who may only add to the history of another, which is given too."""
    other = pipeline.Schema(unique("schema"))
    hidden = recording_of(other)
    hidden.insert1({"id": 1, "raw": ("a.dat", b"a")})
    hidden.delete(prompt=False)
    name, history, query = unique("undo"), history_of(other), pipeline.connection.query
    is_mysql = pipeline.connection.adapter.backend == "mysql"
    if is_mysql:
        query(f"CREATE USER {name}@'%%' IDENTIFIED BY 'not-checked'")
        query(f"GRANT ALL PRIVILEGES ON `{schema.database}`.* TO {name}@'%%'")
        query(f"GRANT INSERT ON {history} TO {name}@'%%'")
    else:
        query(f"CREATE USER {name} PASSWORD 'not-checked'")
        query(f'GRANT ALL ON SCHEMA "{schema.database}" TO {name}; GRANT USAGE ON SCHEMA "{other.database}" TO {name}')
        query(f'ALTER DEFAULT PRIVILEGES IN SCHEMA "{schema.database}" GRANT ALL ON TABLES TO {name}')
        query(f"GRANT INSERT ON {history} TO {name}")
    instance = connect(replace(database, user=name, password="not-checked"))
    datajoint_file.configure(store.configuration(), connection=instance)
    yield instance.connection, other.database
    instance.connection.close()
    other.drop(prompt=False)
    for sql in [f"DROP USER {name}@'%%'"] if is_mysql else [f"DROP OWNED BY {name}", f"DROP USER {name}"]:
        query(sql)


def test_schema_that_is_not_to_be_seen_is_not_gone(
    restricted: Any, lab: Any, schema: dj.Schema, pipeline: dj.Instance
) -> None:
    """Of the objects of one that is gone, what any history says counts."""
    connection, hidden = restricted
    admin = pipeline.connection
    theirs = recording_of(dj.Schema(hidden, connection=admin), name="Theirs")
    theirs.insert1({"id": 1, "raw": ("a.dat", b"theirs")})
    ref = (theirs & "id = 1").fetch1("raw")
    lab.Recording.delete(prompt=False)
    third = dj.Schema(unique("schema"), connection=admin)
    history, is_mysql = history_of(third), admin.adapter.backend == "mysql"
    like = f"LIKE {history_of(schema)}" if is_mysql else f"(LIKE {history_of(schema)} INCLUDING IDENTITY)"
    user = f"{connection.conn_info['user']}@'%%'" if is_mysql else connection.conn_info["user"]
    admin.query(f"CREATE TABLE {history} {like}")
    columns = "at, event, who, why, table_name, attribute, cell, state, path, metadata"
    said = "CURRENT_TIMESTAMP, 'z', 'x', 'delete', 't', 'a', 'c', 'kept'"
    values = (ref.path, json.dumps(ref.metadata.to_json()))
    admin.query(f"INSERT INTO {history} ({columns}) VALUES ({said}, %s, %s)", values)
    admin.query(f"GRANT SELECT, UPDATE ON {history} TO {user}")
    admin.query(f"REVOKE INSERT ON {admin.adapter.make_full_table_name(hidden, '~file_history')} FROM {user}")
    if not is_mysql:
        admin.query(f'GRANT USAGE ON SCHEMA "{third.database}" TO {user}')
    visible = dj.FreeTable(connection, lab.Recording.full_table_name)
    visible.insert1({**KEY, "number": 7, "raw": ref})
    assert (visible & "number = 7").fetch1("raw").path != ref.path
    drop_schema(admin, third.database)


def test_history_of_another_schema_that_may_not_be_read_is_noted(restricted: Any, lab: Any) -> None:
    connection, hidden = restricted
    child = type("Child", (dj.Manual,), {"definition": "-> Recording"})
    child = dj.Schema(hidden, connection=lab.Recording().connection)(child, context={"Recording": lab.Recording})
    child.insert1({**KEY, "number": 1})
    lab.Recording.delete(prompt=False)
    done = datajoint_file.undelete(dj.FreeTable(connection, lab.Recording.full_table_name), since=NOW)
    assert (bool(done), len(lab.Recording())) == (True, 3)
    assert done.notes == (f"the history of schema {hidden} could not be read: grant this user SELECT on it",)


def test_times_are_shown_with_their_offset_and_select_what_they_show(lab: Any) -> None:
    lab.Recording.delete(prompt=False)
    version = datajoint_file.history(lab.Recording)[0]
    shown = datetime.fromisoformat(" ".join(str(version).split(" ")[:2]))
    assert timedelta(0) <= version.at - shown < timedelta(seconds=1)
    assert datajoint_file.undelete(lab.Recording, since=shown)


def test_revert_after_an_undelete_goes_to_another_file(lab: Any) -> None:
    where = lab.Recording & KEY & "number = 1"
    lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", b"wrong")})
    lab.Session.delete(prompt=False)
    assert datajoint_file.undelete(lab.Session, since=NOW)
    assert [version.file.read() for version in datajoint_file.history(where, "raw")] == [b"1"]
    assert datajoint_file.revert(where, "raw").read() == b"1"


def test_revert_of_the_only_row_takes_no_file_of_another(lab: Any) -> None:
    (lab.Recording & "number > 0").delete(prompt=False)
    with pytest.raises(UnsupportedValueError, match="no version 1, nor any other"):
        datajoint_file.revert(lab.Recording, "raw")
    assert lab.Recording().fetch1("raw").read() == b"0"


@pytest.mark.parametrize("query", [lambda lab: lab.Session & KEY, lambda lab: lab.Session & dj.Top(1)])
def test_undelete_of_a_query_is_refused(lab: Any, query: Any) -> None:
    lab.Session.delete(prompt=False)
    with pytest.raises(UnsupportedValueError, match="give key="):
        datajoint_file.undelete(query(lab), since=NOW)


@over_postgresql  # MariaDB's innodb_snapshot_isolation came later than the one here
def test_object_is_not_shared_with_a_transaction_that_looks_at_an_older_moment(lab: Any, store: Store) -> None:
    """It claims outside, for good: nothing would hold the object then."""
    connection = lab.Recording().connection
    lab.Recording.update1({**KEY, "number": 1, "raw": ("r.dat", b"new")})
    objects = len(store.object_keys())
    connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
    connection.query("SELECT 1")
    with pytest.warns(JournalWarning, match="looks at a snapshot"):
        datajoint_file.revert(lab.Recording & KEY & "number = 1", "raw")
    connection.query("COMMIT")
    assert (lab.Recording & "number = 1").fetch1("raw").read() == b"1"
    assert len(store.object_keys()) == objects + 1


@over_mysql  # the text of others is converted on its way only
def test_character_set_of_a_session_changes_nothing(lab: Any, schema: dj.Schema) -> None:
    connection = schema.connection
    row = lab.Session().fetch1()
    lab.Session.insert([{**row, "session": name} for name in ("☃", "☄")])
    before = rows(lab.Session)
    connection.query("SET NAMES latin1")
    (lab.Session & "session <> 'ab'").delete(prompt=False)
    connection.query("SET NAMES utf8mb4")
    assert datajoint_file.undelete(lab.Session, since=NOW)
    assert rows(lab.Session) == before


def test_spellings_of_a_key_that_the_database_takes_for_equal_are_one_cell(schema: dj.Schema) -> None:
    @schema
    class Movie(dj.Manual):
        definition = "name : varchar(20)\nlevel : float64\nsingle : float32\n---\nraw : file"

    is_mysql = schema.connection.adapter.backend == "mysql"
    names = ("Müller", "MULLER ", "muller") if is_mysql else ("Müller",) * 3
    for name, level in zip(names, (0.0, -0.0, 0.0), strict=True):
        Movie.insert1({"name": name, "level": level, "single": 0.1, "raw": ("a.dat", b"a")})
        Movie.delete(prompt=False)
    Movie.insert1({"name": "muller 2", "level": 0, "single": 0.1, "raw": ("a.dat", b"a")})
    Movie.delete(prompt=False)
    cells = schema.connection.query(f"SELECT cell FROM {history_of(schema)} ORDER BY number").fetchall()
    assert [cells.count(cell) for cell in cells] == [3, 3, 3, 1]
    one = {"name": names[1], "level": -0.0, "single": 0.1}
    for key in (one, {"name": names[2]}, {"name": names[1], "level": 0}):
        assert len(datajoint_file.history(Movie, key=key)) == 3, key
    assert len(datajoint_file.history(Movie, key={"single": 0.1})) == 4
    assert datajoint_file.undelete(Movie, since=NOW, key=one).restored == {f"{schema.database}.Movie": 1}


def test_row_of_several_files_stands_with_the_first_that_it_has(schema: dj.Schema) -> None:
    @schema
    class Movie(dj.Manual):
        definition = "movie : int32\n---\na = null : file\nb = null : file\nc = null : file"

    Movie.insert([{"movie": 1, "b": ("b.dat", b"b"), "c": ("c.dat", b"c")}, {"movie": 2, "b": None, "c": None}])
    Movie.delete(prompt=False)
    sql = f"SELECT attribute, path IS NULL FROM {history_of(schema)} WHERE row_text IS NOT NULL ORDER BY attribute"
    assert [(name, bool(is_null)) for name, is_null in schema.connection.query(sql).fetchall()] == [
        ("a", True),
        ("b", False),
    ]
    assert datajoint_file.undelete(Movie, since=NOW).restored == {f"{schema.database}.Movie": 2}


@pytest.mark.parametrize(
    ("column", "damage", "reason"),
    [
        ("metadata", "{}", "raw: what the history has of it describes no file"),
        ("metadata", "not JSON", "raw: what the history has of it describes no file"),
        ("row_text", "x", "its values are not kept any more"),
        ("row_text", '{"double f": "00", "text m": 5}', "its values are not kept any more"),
    ],
)
def test_damaged_entry_bars_no_other(lab: Any, schema: dj.Schema, column: str, damage: str, reason: str) -> None:
    lab.Recording.delete(prompt=False)
    (one,) = datajoint_file.history(lab.Recording, "raw", key={**KEY, "number": 1})
    sql = f"UPDATE {history_of(schema)} SET {column} = %s WHERE path = %s"
    schema.connection.query(sql, (damage, one.file.path))
    left = 2 if column == "metadata" else 3
    assert len(datajoint_file.history(lab.Recording, "raw")) == left
    assert len(datajoint_file.history(lab.Recording, "raw", key={"number": 2})) == 1
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert done.restored[f"{schema.database}.Recording"] == 2
    assert done.problems[0].reason == reason


def test_row_with_a_file_of_another_project_is_reported_with_the_reason(schema: dj.Schema, lab: Any) -> None:
    query, recording = schema.connection.query, lab.Recording().full_table_name
    is_mysql = schema.connection.adapter.backend == "mysql"
    path = "JSON_SET(raw, '$.path', " if is_mysql else "jsonb_set(raw::jsonb, '{path}', to_jsonb("
    old = "JSON_VALUE(raw, '$.path')" if is_mysql else "raw ->> 'path'"
    renamed = f"CONCAT('elsewhere', SUBSTR({old}, 21))"
    query(f"UPDATE {recording} SET raw = {path}{renamed}){'' if is_mysql else ')'} WHERE number = 1")
    lab.Recording.delete(prompt=False)
    done = datajoint_file.undelete(lab.Recording, since=NOW)
    assert done.restored[f"{schema.database}.Recording"] == 2
    assert "is of the project elsewhere" in done.problems[0].reason
