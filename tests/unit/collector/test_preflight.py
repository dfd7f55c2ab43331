"""Whether a database may judge: marks and schemas in, refusals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from datajoint_file.collector.preflight import SchemaState, Verdict, judge
from datajoint_file.journal.store_marks import BadMark, Identity, Mark, Registration

HERE, THERE = Identity("mysql here"), Identity("postgresql there", "lab")
ID, TOKEN = "0" * 32, "f" * 32


def mark(
    schema: str = "ephys",
    identity: Identity = HERE,
    epoch: int = 3,
    token: str = TOKEN,
    schema_id: str = ID,
    project: str = "lab",
) -> Mark:
    return Mark(Registration(identity, project, schema, schema_id), epoch, token, "2025-01-15T10:30:00Z")


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


def test_dropped_schema_is_noted_and_forgotten_when_told() -> None:
    marks, schemas = [mark(), mark("imaging")], {"ephys": state(), "imaging": state("gone")}
    found = verdict(marks, schemas)
    assert (kinds(found), found.forget, found.schemas) == ([], (), ("ephys",))
    assert "imaging was dropped" in found.notes[0]
    assert verdict(marks, schemas, dropped=["imaging"]).forget == (marks[1].name,)


def test_hidden_schema_is_forgotten_when_told_that_it_was_dropped() -> None:
    marks = [mark(), mark("imaging")]
    found = verdict(marks, {"ephys": state(), "imaging": state("unreadable")}, dropped=["imaging"])
    assert (kinds(found), found.forget) == ([], (marks[1].name,))


def test_dropped_does_not_concern_a_schema_that_is_there() -> None:
    found = verdict([mark()], {"ephys": state()}, dropped=["ephys"])
    assert (kinds(found), found.forget) == ([], ())


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
        verdict([replace(mark(), epoch=4)], {"ephys": state("unreadable")}),
    ]
    for found in cases:
        assert "--" in found.refusals[0].way_on


@pytest.mark.parametrize("take_over", [False, True])
def test_project_that_was_renamed_is_refused_whatever_is_said(take_over: bool) -> None:
    found = verdict([mark(), mark(project="lab2")], {"ephys": state()}, take_over=take_over)
    assert kinds(found) == ["renamed"]
    assert "lab2/" in found.refusals[0].reason
