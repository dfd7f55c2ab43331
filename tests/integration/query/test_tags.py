"""Tags of rows: their names, their lifetime, what is chosen by them, and what DataJoint makes of their tables."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import datajoint as dj
import pytest
from datajoint.errors import AccessError, DataJointError

import datajoint_file
from datajoint_file.errors import QueryError
from datajoint_file.hooks import installation
from datajoint_file.query.tags import tag, tagged, tags, untag
from tests.projects import over_mysql, over_postgresql, unique


@pytest.fixture
def lab(schema: dj.Schema) -> Any:
    """Subjects with recordings, which have files, parts and results."""

    @schema
    class Subject(dj.Manual):
        definition = "subject : varchar(20)"

    @schema
    class Recording(dj.Manual):
        definition = """
        -> Subject
        recording_id : int32
        ---
        note = "" : varchar(20)
        raw = null : file
        """

        class Trace(dj.Part):
            definition = """
            -> master
            t : int32
            """

    @schema
    class Spikes(dj.Computed):
        definition = "-> Recording"

        def make(self, key: dict[str, Any]) -> None:
            self.insert1(key)

    Subject.insert([{"subject": "Ä"}, {"subject": "b"}])
    Recording.insert([{"subject": s, "recording_id": i, "raw": ("a", b"a")} for s in "Äb" for i in range(3)])
    Recording.Trace.insert([{"subject": "Ä", "recording_id": i, "t": 1} for i in range(3)])
    Spikes.populate()
    return SimpleNamespace(schema=schema, Subject=Subject, Recording=Recording, Spikes=Spikes)


def ids(query: Any) -> list[str]:
    return sorted(f"{row['subject']}{row['recording_id']}" for row in query.proj().to_dicts())


def run(table: Any, sql: str) -> Any:
    return table.connection.query(sql)


def stored(table: Any) -> list[tuple[Any, ...]]:
    """What is in the hidden table of a table, by raw SQL."""
    quoted = table.connection.adapter.make_full_table_name(table.database, f"~tag__{table.table_name}")
    return sorted(map(tuple, run(table, f"SELECT * FROM {quoted}").fetchall()))


def test_tags_are_put_taken_away_counted_and_asked_for(lab: Any) -> None:
    Recording = lab.Recording
    assert tags(Recording) == {}
    assert ids(Recording & tagged("good")) == ids(Recording & tagged()) == []
    assert len(Recording - tagged("good")) == len(Recording & tagged(none_of=["good"])) == 6

    assert datajoint_file.tag(Recording & "recording_id < 2", "good", "sorted", "good") == 8
    assert tag(Recording & "subject = 'b'", "good") == 1
    assert tag(Recording & {"subject": "b"}, "bad") == 3
    assert tag(Recording & "recording_id = 99", "good") == 0
    assert tags(Recording) == {"bad": 3, "good": 5, "sorted": 4}
    assert tags(Recording & {"subject": "b"}) == {"bad": 3, "good": 3, "sorted": 2}
    assert ("Ä", 0, "good") in stored(Recording)

    asked: dict[Any, Iterable[str]] = {
        tagged("good"): ["b0", "b1", "b2", "Ä0", "Ä1"],
        tagged("good", "bad"): ["b0", "b1", "b2"],
        tagged(any_of=["sorted", "bad"]): ["b0", "b1", "b2", "Ä0", "Ä1"],
        tagged("good", none_of=["bad"]): ["Ä0", "Ä1"],
        tagged("good", any_of=["sorted"], none_of=["bad"]): ["Ä0", "Ä1"],
        tagged(none_of=["good"]): ["Ä2"],
        tagged(): ["b0", "b1", "b2", "Ä0", "Ä1"],
        tagged("Good"): [],
    }
    for restriction, expected in asked.items():
        assert ids(Recording & restriction) == expected
        assert ids(Recording - restriction) == sorted(set(ids(Recording)) - set(expected))
    assert ids(Recording & [tagged("sorted"), "recording_id = 2"]) == ["b0", "b1", "b2", "Ä0", "Ä1", "Ä2"]
    assert ids(Recording & dj.AndList([tagged("sorted"), dj.Not(tagged("bad"))])) == ["Ä0", "Ä1"]

    assert untag(Recording & tagged("bad"), "bad", "sorted", "never") == 5
    assert untag(Recording & tagged("bad"), "bad") == 0
    assert tags(Recording) == {"good": 5, "sorted": 2}


def test_joins_projections_and_sums_know_whose_tags_are_meant(lab: Any) -> None:
    Subject, Recording, Trace = lab.Subject, lab.Recording, lab.Recording.Trace
    tag(Recording & "recording_id = 1", "good")
    tag(Subject & {"subject": "b"}, "good")
    renamed = Recording.proj("note", who="subject", which="recording_id")
    assert [(row["who"], row["which"]) for row in (renamed & tagged("good") & "who = 'b'").to_dicts()] == [("b", 1)]
    again = (renamed & "which > 0").proj("note") - tagged("good")
    assert sorted((row["who"], row["which"]) for row in again.to_dicts()) == [("b", 2), ("Ä", 2)]
    assert tag(renamed & "which = 2", "late") == 2
    assert tags(Recording & "recording_id = 2") == {"late": 2}

    assert ids(Subject * Recording & tagged("good", of=Recording)) == ["b1", "Ä1"]
    assert ids(Subject * Recording - tagged("good", of=Subject)) == ["Ä0", "Ä1", "Ä2"]
    assert ids((Recording & tagged("good")) * Subject) == ["b1", "Ä1"]
    assert len(Trace & (Recording & tagged("good"))) == 1
    counted = Subject.aggr(Recording, n="COUNT(recording_id)") & tagged("good", of=Subject)
    assert counted.to_dicts() == [{"subject": "b", "n": 3}]
    assert Subject.aggr(Recording & tagged("good"), n="COUNT(recording_id)").to_arrays("n").tolist() == [1, 1]
    assert ids(Recording & dj.Top(2, order_by="recording_id DESC") & tagged("late")) == ["b2", "Ä2"]
    assert tag(Recording & dj.Top(1, order_by="recording_id, subject DESC"), "first") == 1

    with pytest.raises(QueryError, match=r"made of .*Subject, .*Recording; say whose tags are meant"):
        Subject * Recording & tagged("good")
    with pytest.raises(QueryError, match=r"has lost recording_id of the primary key of .*Recording"):
        dj.U("subject").aggr(Recording, n="COUNT(*)") & tagged("good")
    with pytest.raises(QueryError, match=r"made of .*Subject, .*Recording; tag rows of a table"):
        tag(Subject * Recording, "good")
    with pytest.raises(QueryError, match="is no query"):
        tag({"subject": "b"}, "good")


@pytest.mark.parametrize("name", ['it\'s 50% "done" \\ {x} %s `', "漢字 🧠", "\u00e9", "x" * 64])
def test_a_tag_is_any_printable_text_and_equal_only_to_itself(lab: Any, name: str) -> None:
    Recording = lab.Recording & {"subject": "b"}
    tag(Recording & "recording_id = 1", name)
    tag(Recording & "recording_id = 2", name.swapcase() if name.swapcase() != name else "漢")
    assert ids(Recording & tagged(name)) == ["b1"]
    assert name in tags(Recording)
    (Recording & tagged(name) & "recording_id < 5").delete(prompt=False)  # passes the condition on as text
    assert ids(Recording) == ["b0", "b2"]


def test_names_that_are_no_tags_are_refused(lab: Any) -> None:
    names: tuple[Any, ...] = ("", " good", "good ", "a\nb", "\x00", "x" * 65, None, ["good"], "\ud800", "a\u200b")
    for name in names:
        for use in (tag, untag):
            with pytest.raises(QueryError, match="is no tag"):
                use(lab.Recording, name)
        with pytest.raises(QueryError, match="is no tag"):
            tagged(name)
    with pytest.raises(QueryError, match="at least one"):
        tag(lab.Recording)
    with pytest.raises(QueryError, match="a list of tags"):
        tagged(any_of="good")
    tag(lab.Recording, "e\u0301")
    assert tags(lab.Recording) == {"\u00e9": 6}


def test_tags_live_as_long_as_their_rows(lab: Any) -> None:
    Subject, Recording, Trace = lab.Subject, lab.Recording, lab.Recording.Trace
    for table in (Subject, Recording, Trace, lab.Spikes):
        tag(table, "good")
    Recording.update1({"subject": "b", "recording_id": 0, "raw": ("b", b"b"), "note": "x"})
    assert tags(Recording & {"subject": "b", "recording_id": 0}) == {"good": 1}

    (Recording & {"subject": "Ä", "recording_id": 1}).delete(prompt=False)
    assert [len(stored(table)) for table in (Recording, Trace, lab.Spikes)] == [5, 2, 5]
    Recording.insert1({"subject": "Ä", "recording_id": 1})
    assert tags(Recording & {"subject": "Ä", "recording_id": 1}) == {}
    run(Recording, f"DELETE FROM {lab.Spikes.full_table_name}")
    run(Recording, f"DELETE FROM {Recording.full_table_name} WHERE recording_id = 0 AND subject = 'b'")
    assert [len(stored(table)) for table in (Recording, lab.Spikes)] == [4, 0]
    run(Recording, f"UPDATE {Recording.full_table_name} SET recording_id = 7 WHERE recording_id = 1 AND subject = 'b'")
    assert tags(Recording & {"recording_id": 7}) == {"good": 1}
    Recording.insert1({"subject": "b", "recording_id": 2, "raw": ("c", b"c")}, replace=True)
    assert tags(Recording & {"subject": "b", "recording_id": 2}) == {}
    if Recording.connection.adapter.backend == "mysql":  # DataJoint itself has no replace on PostgreSQL
        Trace.insert1({"subject": "Ä", "recording_id": 2, "t": 1}, replace=True)
        assert tags(Trace) == {"good": 1}
    (Subject & {"subject": "Ä"}).delete(prompt=False)
    assert stored(Subject) == [("b", "good")]
    datajoint_file.undelete(Subject, since="1 hour")
    assert tags(Subject) == {"good": 1}

    with lab.schema.connection.transaction:
        tag(Recording, "again")
        assert tags(Recording)["again"] > 1
        lab.schema.connection.cancel_transaction()
        lab.schema.connection.start_transaction()
    assert "again" not in tags(Recording)


@over_postgresql
def test_the_first_tag_is_put_outside_of_a_transaction_that_uses_the_table(lab: Any) -> None:
    with pytest.raises(DataJointError, match="Put the first tag outside of a transaction"):
        with lab.schema.connection.transaction:
            lab.Recording.insert1({"subject": "b", "recording_id": 9})
            tag(lab.Recording, "good")
    assert tag(lab.Recording, "good") == 6


def test_datajoint_sees_nothing_of_the_tables_of_tags(lab: Any) -> None:
    schema, Recording = lab.schema, lab.Recording

    def seen() -> list[Any]:
        schema.connection.dependencies.load()
        module: dict[str, Any] = {}
        schema.make_classes(module)
        return [
            sorted(schema.list_tables()),
            sorted(dj.Diagram(schema).nodes()),
            Recording().describe(),
            sorted(Recording().children()),
            sorted(name for name in module if name[0].isupper()),
        ]

    before = seen()
    for table in (lab.Subject, Recording, Recording.Trace, lab.Spikes):
        tag(table, "good")
    assert seen() == before
    (Recording & {"subject": "b"}).delete(prompt=False)
    long = schema(type("A" + "b" * 50, (dj.Lookup,), {"definition": "k : int32", "contents": [{"k": 1}]}))
    assert tag(long, "good") == 1
    assert tags(long) == {"good": 1}
    lab.Spikes.drop_quick()
    Recording.Trace.drop_quick()
    Recording().drop(prompt=False)
    long().drop(prompt=False)
    left = [
        name for (name, *_) in run(lab.Subject, schema.connection.adapter.list_tables_sql(schema.database)).fetchall()
    ]
    assert sorted(name for name in left if "tag" in name) == ["~tag__subject"]
    again = schema(type("Recording", (dj.Manual,), {"definition": "k : int32"}))
    again.insert1({"k": 1})
    assert tag(again, "good") == 1
    assert stored(again) == [(1, "good")]


def test_keys_of_every_type_can_have_tags(schema: dj.Schema) -> None:
    is_mysql = schema.connection.adapter.backend == "mysql"  # DataJoint cannot insert a uuid into PostgreSQL
    one: Any = uuid.UUID(int=1) if is_mysql else "1"

    @schema
    class Many(dj.Manual):
        definition = (
            f"one : {'uuid' if is_mysql else 'varchar(9)'}"
            """
        two : enum('a', 'B {x}')
        three : datetime(3)
        four : decimal(5, 2)
        five : char(4)
        six : date
        seven : float64
        eight : bool
        nine : int64
        """
        )

    row = {
        "one": one,
        "two": "B {x}",
        "three": datetime(2025, 1, 1, 1, 1, 1, 5000),
        "four": Decimal("1.20"),
        "five": "Äbcd",
        "six": date(2025, 1, 1),
        "seven": 0.1,
        "eight": True,
        "nine": 2**40,
    }
    Many.insert([row, {**row, "nine": 1}])
    assert tag(Many & "nine > 1", "good") == 1
    assert (Many & tagged("good")).keys() == [row]
    assert (Many - tagged("good")).keys() == [{**row, "nine": 1}]
    assert untag(Many, "good") == 1


@over_mysql
def test_a_datajoint_without_this_package_deletes_and_drops_tagged_rows(
    lab: Any, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    tag(lab.Recording, "good")
    tag(lab.Recording.Trace, "good")
    installation.uninstall()
    request.addfinalizer(installation.install)
    with caplog.at_level(logging.INFO, "datajoint"):
        assert (lab.Recording & {"subject": "Ä", "recording_id": 1}).delete(prompt=False) == 1
        assert [len(stored(table)) for table in (lab.Recording, lab.Recording.Trace)] == [5, 2]
        lab.Subject().drop(prompt=False)


@over_postgresql
def test_who_may_not_take_tags_away_is_told_when_he_replaces_a_row(lab: Any, request: pytest.FixtureRequest) -> None:
    tag(lab.Recording, "good")
    role, schema = unique("colleague"), lab.schema.database
    run(lab.Recording, f'CREATE ROLE "{role}"')
    run(lab.Recording, f'GRANT ALL ON SCHEMA "{schema}" TO "{role}"')
    run(lab.Recording, f'GRANT ALL ON ALL TABLES IN SCHEMA "{schema}" TO "{role}"')
    run(lab.Recording, f'REVOKE ALL ON "{schema}"."~tag__recording" FROM "{role}"')
    request.addfinalizer(lambda: run(lab.Recording, "RESET ROLE"))
    run(lab.Recording, f'SET ROLE "{role}"')
    row = {"subject": "b", "recording_id": 2, "note": "new"}
    with pytest.raises(AccessError, match=r"~tag__recording`.* no row was inserted\. GRANT SELECT, DELETE"):
        lab.Recording.insert1({**row, "raw": ("c", b"c")}, replace=True)
    lab.Recording.update1(row)
    run(lab.Recording, "RESET ROLE")
    assert ("b", 2, "good") in stored(lab.Recording)


@over_postgresql
def test_a_datajoint_without_this_package_deletes_tagged_rows_and_is_told_what_keeps_a_table(
    lab: Any, request: pytest.FixtureRequest
) -> None:
    tag(lab.Recording, "good")
    installation.uninstall()
    request.addfinalizer(installation.install)
    assert (lab.Recording & {"subject": "Ä", "recording_id": 1}).delete(prompt=False) == 1
    assert len(stored(lab.Recording)) == 5
    with pytest.raises(Exception, match="~tag__recording"):
        lab.Subject().drop(prompt=False)
    installation.install()
    lab.Subject().drop(prompt=False)


@over_mysql
def test_text_that_is_called_like_a_key_is_no_key(lab: Any) -> None:
    lab.Subject.insert1({"subject": "subject"})
    named = lab.Subject.proj(label='"subject"')
    assert tag(named & {"subject": "b"}, "good") == 1
    assert (lab.Subject & tagged("good")).keys() == [{"subject": "b"}]
    assert (named & tagged("good")).keys() == [{"subject": "b"}]


def test_tags_stay_where_a_table_cannot_be_dropped(lab: Any) -> None:
    tag(lab.Recording, "good")
    with pytest.raises(Exception, match=r"(?i)foreign key|depend"):
        lab.Recording().drop_quick()
    assert tags(lab.Recording) == {"good": 6}
    lab.Recording().drop(prompt=False)
