"""Which keys may be deleted at all, and which texts hold keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.model.key_values import key_value
from datajoint_file.model.object_keys import Cell, is_candidate, is_of_schema, keys_in, new_object_key, write_id_of
from datajoint_file.model.partition import PartitionPattern

UNIT = "a" * 16 + "-" + "b" * 26


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=30))
def test_every_key_of_an_insert_is_a_candidate(schema: str, table: str, name: str) -> None:
    cell = Cell(schema, table, "raw", (key_value("subject", "varchar(60)", "a/b"),))
    key = new_object_key("lab", PartitionPattern("subject{subject}"), cell, name, "c" * 26)
    assert is_candidate("lab", key)
    assert write_id_of(key) == "c" * 26
    assert is_of_schema(key, schema)
    assert not is_of_schema(key, f"{schema}_copy")
    assert keys_in(f'{{"path": "{key}"}}', "lab") == {key}


@pytest.mark.parametrize(
    "key",
    [
        "",
        "lab",
        "lab/README.md",
        "lab/~registry/x.json",
        f"lab/objects/T-a/{UNIT}/x",
        f"lab/s/objects/T/{UNIT}/x",
        f"lab/s/object/T-a/{UNIT}/x",
        f"lab/s/objects/T-a/{UNIT}",
        f"lab/s/objects/T-a/{UNIT}/",
        f"lab/s/objects/T-a/{UNIT.upper()}/x",
        f"lab/s/objects/T-a/{UNIT}b/x",
        f"lab/s/objects/T-a/{UNIT}/~partial-0123",
        f"lab/../s/objects/T-a/{UNIT}/x",
        f"lab//s/objects/T-a/{UNIT}/x",
        f"/lab/s/objects/T-a/{UNIT}/x",
        f"lab/s/objects/T-a/{UNIT}/x\n",
        f"lab/s/objects/T-a/{UNIT}/a b",
        f"laboratory/s/objects/T-a/{UNIT}/x",
    ],
)
def test_nothing_else_is(key: str) -> None:
    assert not is_candidate("lab", key)
    assert key.startswith("laboratory") or not is_of_schema(key, "s")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", set()),
        ("lab", set()),
        ("laboratory/x", set()),
        ("collab/x", set()),
        ("s3://bucket/lab/x/y.dat", {"lab/x/y.dat"}),
        ('["lab/x", {"a": "lab\\/y"}]', {"lab/x", "lab/y"}),
        ("lab/x lab/y,lab/z", {"lab/x", "lab/y", "lab/z"}),
    ],
)
def test_keys_are_found_in_any_text(text: str, found: set[str]) -> None:
    assert keys_in(text, "lab") == found


def test_a_dot_in_a_project_name_is_a_dot() -> None:
    assert keys_in("laboratory/x l.b/y", "l.b") == {"l.b/y"}
