"""What a rule reads from a path is what was written into it; what could be read otherwise is refused."""

from __future__ import annotations

import contextlib
import string
import unicodedata
import uuid
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.errors import PathMismatchError, RuleError
from datajoint_file.intake.rules import Rule

TYPES = {
    "subject_id": "int32",
    "small": "int8",
    "count": "uint8",
    "day": "date",
    "start": "datetime",
    "clock": "time",
    "side": "enum('L','R','LR')",
    "name": "varchar(6)",
    "dose": "decimal(6,2)",
    "gain": "float64",
    "is_good": "bool",
    "uid": "uuid",
    "trace": "bytes",
}
WORDS = st.text(string.ascii_letters + "éß漢 +$^()[]", min_size=1, max_size=6).map(
    lambda text: unicodedata.normalize("NFC", text)[:6]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "subject_id": st.integers(0, 2**31 - 1),
    "subject_id:05d": st.integers(0, 2**31 - 1),
    "small:-d": st.integers(-128, 127),
    "count:+d": st.integers(0, 255),
    "day": st.dates(date(1900, 1, 1)),
    "day:%d.%m.%Y": st.dates(date(1900, 1, 1)),
    "start:%Y-%m-%dT%H-%M-%S": st.datetimes(datetime(1900, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    "clock:%H%M%S": st.times().map(lambda moment: moment.replace(microsecond=0)),
    "side": st.sampled_from(["L", "R", "LR"]),
    "name": WORDS,
    "dose:.2f": st.decimals(0, 9999, places=2),
    "gain:.1f": st.integers(0, 10_000).map(lambda tenths: tenths / 10),
    "is_good:d": st.booleans(),
    "uid": st.uuids(),
}


@st.composite
def written(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """Return a rule, a path that it was written into, and the values."""
    chosen = draw(
        st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5, unique_by=lambda one: one.split(":")[0])
    )
    values = {one.partition(":")[0]: draw(VALUES[one]) for one in chosen}
    rule = "".join(f"{draw(st.sampled_from(['run#', '/x#', '{{a}}#']))}{{{one}}}#" for one in chosen)
    rule = rule.replace("is_good:d", "is_good").lstrip("/")
    return rule, rule.format(**{**values, **{n: int(v) for n, v in values.items() if n == "is_good"}}), values


@given(written())
def test_what_is_written_into_a_rule_is_read_back(case: tuple[str, str, dict[str, Any]]) -> None:
    rule, path, values = case
    found = Rule(rule, TYPES).match(path)
    assert found == values
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in values.items()}
    assert Rule(f"**/{rule}.[ab]*", TYPES).match(f"some/where/{path}.b 1") == values


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_is_too_odd(rule: str, path: str) -> None:
    with contextlib.suppress(RuleError, PathMismatchError):
        Rule(rule, TYPES).match(path)


@pytest.mark.parametrize(
    ("rule", "path", "values"),
    [
        ("subject{subject_id}/session*/*.dat", "subject007/session 1/a.dat", {"subject_id": 7}),
        ("run{subject_id}*.dat", "run12.dat", {"subject_id": 12}),
        ("*{subject_id}.dat", "a12.dat", {"subject_id": 12}),
        ("{subject_id}{side}.dat", "12LR.dat", {"subject_id": 12, "side": "LR"}),
        ("{name}/{name}_1.dat", "ab/ab_1.dat", {"name": "ab"}),
        ("{subject_id}/s{subject_id:03d}", "7/s007", {"subject_id": 7}),
        ("{day}_*.dat", "20250131_left.dat", {"day": date(2025, 1, 31)}),
        ("{start}.dat", "20250131T101500.dat", {"start": datetime(2025, 1, 31, 10, 15)}),
        ("{clock}.dat", "10:15.dat", {"clock": time(10, 15)}),
        ("{day:%Y/%m/%d}/x", "2025/01/31/x", {"day": date(2025, 1, 31)}),
        ("{dose}*", "1.5mg", {"dose": Decimal("1.50")}),
        ("{uid}", "00000000000000000000000000000001", {"uid": uuid.UUID(int=1)}),
        ("Ko\u0308ln/{name}", "K\u00f6ln/e\u0301", {"name": "\u00e9"}),
        ("a[*]{small}[!a-c]", "a*5d", {"small": 5}),
        ("x{small}?/**", "x5y/z/u.dat", {"small": 5}),
        ("{{{small}}}", "{1}", {"small": 1}),
    ],
)
def test_a_path_is_read_as_people_mean_it(rule: str, path: str, values: dict[str, Any]) -> None:
    assert Rule(rule, TYPES).match(path) == values


@pytest.mark.parametrize(
    ("rule", "path", "said"),
    [
        ("subject{subject_id}/*", "subjectX/a", "subject_id = 'X' is no value of type int32"),
        ("{small}.dat", "128.dat", "small = '128' is no value of type int8"),
        ("{small}.dat", "-1.dat", "small = '-1' is no value of type int8"),
        ("{count:+d}.dat", "+256.dat", "no value of type uint8"),
        ("{subject_id}.dat", "\u0663.dat", "is no value of type int32"),
        ("{day:%Y%m%d}.dat", "20250230.dat", "day = '20250230' is no value of type date"),
        ("{side}.dat", "M.dat", "no value of type enum"),
        ("{name}.dat", "toolong.dat", "no value of type varchar(6)"),
        ("{small:03d}.dat", "7.dat", "small = '7' is not written as {small:03d}"),
        ("{small}_{small}", "1_2", "small has two values: 1 and 2"),
        ("{name}_*.dat", "a_b_1.dat", "in several ways: name=a; or name=a_b"),
    ],
)
def test_a_value_that_is_none_is_told(rule: str, path: str, said: str) -> None:
    with pytest.raises(PathMismatchError) as caught:
        Rule(rule, TYPES).match(path)
    assert said in str(caught.value)


@pytest.mark.parametrize("path", ["subject1/a.txt", "subject1.dat", "subject1/b/a.dat", "Subject1/a.dat", ""])
def test_what_has_another_form_does_not_match(path: str) -> None:
    assert Rule("subject{subject_id}/*.dat", TYPES).match(path) is None


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("subject{subjct_id}", "no attribute 'subjct_id'; did you mean 'subject_id'?"),
        ("/data/{small}", "'' is empty"),
        ("a/../{small}", "'..' is empty or has a meaning"),
        ("a**/{small}", "whole directories"),
        ("{small", "expected '}'"),
        ("{}", "not the name of an attribute"),
        ("{small!r}", "plain format specification"),
        ("{name:.3}", "cannot be read back from this format"),
        ("{small:x}", "cannot be read back from this format"),
        ("{day:%c}", "%c cannot be read back"),
        ("{trace}", "cannot be read from a path"),
        ("//", "nothing but slashes"),
        ("a\0{small}", "NUL"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(rule: str, said: str) -> None:
    with pytest.raises(RuleError) as caught:
        Rule(rule, TYPES)
    assert said in str(caught.value)


def test_patterns_say_what_a_value_looks_like() -> None:
    rule = Rule("{name}_*.dat", TYPES, {"name": "[a-z]_[a-z]"})
    assert rule.match("a_b_1.dat") == {"name": "a_b"}
    with pytest.raises(PathMismatchError, match="does not look like"):
        rule.match("A_b.dat")
    for patterns, said in (({"nme": "a"}, "no such"), ({"name": "("}, "no regular"), ({"name": "(a)"}, "groups")):
        with pytest.raises(RuleError, match=said):
            Rule("{name}", TYPES, patterns)


def test_without_types_a_format_says_which() -> None:
    rule = Rule("{a}-{b:03d}-{c:%Y%m%d}-{d:.1f}-{e:%Y%m%d %H%M}")
    found = rule.match("x-007-20250131-1.5-20250131 1015")
    assert found == {"a": "x", "b": 7, "c": date(2025, 1, 31), "d": 1.5, "e": datetime(2025, 1, 31, 10, 15)}
