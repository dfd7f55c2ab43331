"""Whether a database may judge: marks and schemas in, refusals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from datajoint_file.collector.preflight import SchemaState, Verdict, judge
from datajoint_file.journal.store_marks import BadMark, Identity, Mark, Registration

HERE = Identity("mysql here", host="lab", port="3306", directory="/var/lib/mysql/")
THERE = Identity("postgresql there", "lab", port="5432")
ID, TOKEN = "0" * 32, "f" * 32


def mark(
    schema: str = "ephys",
    identity: Identity = HERE,
    epoch: int = 3,
    token: str = TOKEN,
    schema_id: str = ID,
    project: str = "lab",
    is_dropped: bool = False,
) -> Mark:
    registration = Registration(identity, project, schema, schema_id)
    return Mark(registration, epoch, token, "2025-01-15T10:30:00Z", is_dropped)


def state(presence: Any = "there", schema_id: str = ID, **epochs: str) -> SchemaState:
    return SchemaState(presence, schema_id, {3: TOKEN} if presence == "there" else {})


def verdict(
    marks: Sequence[Mark], schemas: dict[str, SchemaState], bad: Sequence[BadMark] = (), **options: Any
) -> Verdict:
    options.setdefault("has_objects", lambda: True)
    return judge(HERE, "lab", marks, bad, schemas, key_of=lambda one: one.name, **options)


def kinds(found: Verdict) -> list[str]:
    return [refusal.kind for refusal in found.refusals]


def test_database_that_knows_all_marks_may_judge() -> None:
    found = verdict([mark(), mark("imaging")], {"imaging": state(), "ephys": state()})
    assert found == Verdict((), (), ("ephys", "imaging"), ())


def test_schema_that_lost_its_mark_counts_all_the_same() -> None:
    assert verdict([mark()], {"ephys": state(), "imaging": state()}).schemas == ("ephys", "imaging")


@pytest.mark.parametrize(
    ("marks", "schemas", "kind"),
    [
        ([], {"ephys": state()}, "unregistered"),
        ([mark(identity=THERE)], {}, "clone"),
        ([mark(identity=THERE)], {"ephys": state()}, "clone"),
        ([mark(), mark(identity=THERE)], {"ephys": state()}, "other-database"),
        ([mark(epoch=4)], {"ephys": state()}, "restored"),
        ([mark(token="e" * 32)], {"ephys": state()}, "restored"),
        ([mark(epoch=2)], {"ephys": state()}, "restored"),
        ([mark(schema_id="1" * 32)], {"ephys": state()}, "recreated"),
        ([mark()], {"ephys": SchemaState("there")}, "recreated"),
        ([mark()], {"ephys": state("unreadable")}, "unreadable-schema"),
        ([mark()], {}, "unreadable-schema"),
    ],
)
def test_doubt_is_a_reason_to_refuse(marks: list[Mark], schemas: dict[str, SchemaState], kind: str) -> None:
    assert kinds(verdict(marks, schemas)) == [kind]


def test_project_without_objects_needs_no_mark() -> None:
    assert kinds(verdict([], {}, has_objects=lambda: False)) == []


def test_store_is_listed_only_if_there_is_no_mark() -> None:
    def fail() -> bool:
        raise AssertionError

    assert kinds(verdict([mark()], {"ephys": state()}, has_objects=fail)) == []


def test_taking_over_forgets_other_databases_and_other_histories() -> None:
    others = [mark(identity=THERE), mark(epoch=9, token="e" * 32), mark(schema_id="1" * 32)]
    found = verdict([mark(), *others], {"ephys": state()}, take_over=True)
    assert kinds(found) == []
    assert set(found.forget) == {other.name for other in others}


def test_taking_over_does_not_make_up_for_what_cannot_be_read() -> None:
    assert kinds(verdict([mark()], {"ephys": state("unreadable")}, take_over=True)) == ["unreadable-schema"]


def test_newer_mark_is_respected_even_when_taking_over() -> None:
    bad = [BadMark("lab/~registry/x", "newer", is_newer=True), BadMark("lab/~registry/y", "garbage")]
    found = verdict([mark()], {"ephys": state()}, bad, take_over=True)
    assert (kinds(found), found.forget) == (["mark"], ("lab/~registry/y",))
    assert kinds(verdict([mark()], {"ephys": state()}, bad)) == ["mark", "mark"]


def test_schema_that_is_gone_is_refused_until_it_is_named() -> None:
    marks, schemas = [mark(), mark("imaging")], {"ephys": state(), "imaging": state("gone")}
    assert kinds(verdict(marks, schemas)) == ["gone"]
    assert kinds(verdict(marks, schemas, take_over=True)) == ["gone"]
    found = verdict(marks, schemas, dropped=["imaging"])
    assert (kinds(found), found.forget, found.schemas) == ([], (marks[1].name,), ("ephys",))


def test_mark_of_the_drop_makes_a_note_of_a_schema_that_is_gone() -> None:
    drop = mark("imaging", is_dropped=True)
    for marks in ([drop], [mark("imaging"), drop]):
        found = verdict([mark(), *marks], {"ephys": state(), "imaging": state("gone")})
        assert (kinds(found), found.forget) == ([], ())
        assert "imaging was dropped" in found.notes[0]
        named = verdict([mark(), *marks], {"ephys": state(), "imaging": state("gone")}, dropped=["imaging"])
        assert set(named.forget) == {one.name for one in marks}


@pytest.mark.parametrize(
    "other",
    [
        mark("imaging", epoch=4),
        mark("imaging", token="e" * 32),
        mark("imaging", epoch=2),
        mark("imaging", schema_id="1" * 32),
    ],
)
def test_mark_of_the_drop_does_not_speak_for_another_history(other: Mark) -> None:
    marks = [mark(), mark("imaging", is_dropped=True), other]
    assert kinds(verdict(marks, {"ephys": state(), "imaging": state("gone")})) == ["gone"]


def test_mark_of_the_drop_of_a_schema_that_is_there_is_refused() -> None:
    marks = [mark(), mark(is_dropped=True)]
    assert kinds(verdict(marks, {"ephys": state()})) == ["restored"]
    assert verdict(marks, {"ephys": state()}, take_over=True).forget == (marks[1].name,)


def test_schema_of_another_database_that_was_dropped_there_does_not_matter() -> None:
    marks = [mark(), mark(identity=THERE), mark(identity=THERE, is_dropped=True)]
    assert kinds(verdict(marks, {"ephys": state()})) == []
    assert kinds(verdict(marks[:2], {"ephys": state()})) == ["other-database"]


def test_hidden_schema_is_refused_though_it_is_said_to_be_dropped() -> None:
    found = verdict([mark(), mark("imaging")], {"ephys": state(), "imaging": state("unreadable")}, dropped=["imaging"])
    assert (kinds(found), found.forget) == (["unreadable-schema", "not-dropped"], ())
    assert "hidden from this user" in found.refusals[1].reason


def test_server_of_another_place_is_told_by_what_differs() -> None:
    moved = replace(HERE, host="lab2", port="3307")
    (refusal,) = verdict([mark(identity=moved)], {"ephys": state()}).refusals
    assert refusal.kind == "clone"
    assert "Here is host lab, not lab2; port 3306, not 3307" in refusal.reason
    assert "container" in refusal.way_on


def test_empty_store_of_schemas_that_had_marks_is_refused() -> None:
    schemas = {"ephys": replace(state(), was_marked=True)}
    assert kinds(verdict([], schemas, has_objects=lambda: False)) == ["emptied"]
    assert kinds(verdict([], schemas, has_objects=lambda: False, take_over=True)) == []


def test_schema_that_is_there_or_unknown_is_not_dropped() -> None:
    found = verdict([mark()], {"ephys": state()}, dropped=["ephys"])
    assert (kinds(found), found.forget) == (["not-dropped"], ())
    assert "ephys is there" in found.refusals[0].reason
    (unknown,) = verdict([mark()], {"ephys": state()}, dropped=["ephy"]).refusals
    assert (unknown.kind, "did you mean 'ephys'?" in unknown.reason) == ("not-dropped", True)


def test_what_is_overruled_is_told() -> None:
    refused = verdict([mark(identity=THERE)], {})
    overruled = verdict([mark(identity=THERE)], {}, take_over=True)
    assert overruled.notes == tuple(f"overruled: {refusal.reason}" for refusal in refused.refusals)
    assert verdict([], {}, take_over=True).notes[0].startswith("overruled: the project has objects and no mark")
    (note,) = verdict([mark()], {"ephys": state()}, take_over=True).notes
    assert "nothing to take over" in note
    gone = {"my lab": state("gone")}
    (refusal,) = verdict([mark("my lab")], gone).refusals
    assert (refusal.kind, "use dropped=['my lab'] (--dropped 'my lab')" in refusal.way_on) == ("gone", True)
    (note,) = verdict([mark("my lab")], gone, dropped=["my lab"]).notes
    assert note == f"overruled: {refusal.reason}"


def test_schema_without_a_registry_table_is_taken_as_it_is() -> None:
    bare = mark(schema_id="", token="", epoch=0)
    assert kinds(verdict([bare], {"ephys": SchemaState("there")})) == []
    assert kinds(verdict([bare], {"ephys": state("unreadable")})) == ["unreadable-schema"]


def test_every_refusal_names_the_way_on() -> None:
    cases = [
        verdict([], {}),
        verdict([mark(identity=THERE)], {}),
        verdict([mark(), mark(identity=THERE)], {"ephys": state()}),
        verdict([mark(epoch=4)], {"ephys": state()}),
        verdict([mark()], {"ephys": state("gone")}),
    ]
    for found in cases:
        assert "--" in found.refusals[0].way_on


@pytest.mark.parametrize("take_over", [False, True])
def test_project_that_was_renamed_is_refused_whatever_is_said(take_over: bool) -> None:
    found = verdict([mark(), mark(project="lab2")], {"ephys": state()}, take_over=take_over)
    assert kinds(found) == ["renamed"]
    assert "lab2/" in found.refusals[0].reason
