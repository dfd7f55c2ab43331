"""Attacks by the JSON of a row, and by a value that poses as one: typed refusals, and nothing is taken on trust."""

from __future__ import annotations

import copy
import json
import pickle
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from datajoint_file import FileMetadata, FileRef
from datajoint_file.errors import DataJointFileError, MetadataError, SizeMismatchError, UnsupportedValueError
from datajoint_file.hooks.codec import Checked, Ingested
from tests.security.attacks import attack, attacks
from tests.security.conftest import BYSTANDER, Arena, by_database, by_store

HOSTILE_CHANGES = [
    attack(22, {"size": -1}, name="negative size"),
    attack(22, {"size": 2**63}, name="size of 64 bits"),
    attack(22, {"size": 10**400}, name="size of 400 digits"),
    attack(22, {"size": 4.0}, name="size with a point"),
    attack(22, {"size": 1e300}, name="size with an exponent"),
    attack(22, {"size": "4"}, name="size as text"),
    attack(22, {"size": True}, name="size true"),
    attack(22, {"size": None}, name="no size"),
    attack(22, {"path": None}, name="no path"),
    attack(22, {"path": ["a", "b"]}, name="path as list"),
    attack(22, {"path": {"path": "x"}}, name="path as object"),
    attack(22, {"hash": "sha256:00"}, name="short hash"),
    attack(22, {"hash": "md5:" + "0" * 32}, name="weak hash"),
    attack(22, {"hash": "sha256:" + "0" * 63 + "\n"}, name="hash and a line feed"),
    attack(22, {"timestamp": "9999-12-31T23:59:59-14:00"}, name="time after all"),
    attack(22, {"timestamp": "x" * 1_000_000}, name="a million bytes"),
    attack(22, {"original_name": ["x"]}, name="name as list"),
    attack(22, {"format": 2}, name="newer format"),
    attack(22, {"format": "1"}, name="format as text"),
    attack(20, {"linked": True}, name="stored object as a link"),
    attack(20, {"linked": "nas/x/"}, name="file that is linked as a directory"),
    attack(33, {"mime_type": "text/html\nX-Header: y"}, name="header in the media type"),
    attack(33, {"mime_type": "text/html;" + "x" * 300}, name="long media type"),
    attack(33, {"mime_type": "<script>/x"}, name="script as media type"),
]

NO_ROWS: list[Any] = [
    attack(22, "[]", name="list"),
    attack(22, "{}", name="empty object"),
    attack(22, '"/etc/hostname"', name="text"),
    attack(22, "42", name="number"),
    attack(22, "true", name="true"),
    attack(22, '{"path": ' + "[" * 25 + "]" * 25 + "}", name="nested"),
]


def uses_of(ref: FileRef) -> list[Callable[[], Any]]:
    """Return all ways of asking for anything that a row says, or that is behind it."""
    uses: list[Callable[[], Any]] = [
        *(
            partial(getattr, ref, name)
            for name in (*sorted(set(FileMetadata.__dataclass_fields__) - {"files", "whole"}), "metadata", "url")
        ),
        *(ref.read, ref.open, ref.exists, ref.verify, ref.to_dict),
        *(partial(use, ref) for use in (hash, pickle.dumps, copy.copy)),
        partial(ref.download, "/nowhere/at/all/"),
    ]
    return uses


@by_database
@pytest.mark.parametrize("changes", HOSTILE_CHANGES)
def test_row_that_makes_no_sense_is_refused_by_name(arena: Arena, changes: dict[str, Any]) -> None:
    (field,) = changes
    k = arena.plant(arena.sound_row(**changes))
    ref = arena.fetch(k)
    for use in uses_of(ref):
        with pytest.raises(MetadataError, match=field) as caught:
            use()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
    assert repr(ref).isprintable()
    assert field in repr(ref)
    arena.check_unharmed()


@by_database
@attacks(22)
def test_row_that_makes_no_sense_hinders_no_other(arena: Arena) -> None:
    k = arena.plant(arena.sound_row(path="../outside.txt", original_name="\x1b[2J"))
    rows = {row["k"]: row["raw"] for row in arena.table.to_dicts()}
    assert rows[1].read() == BYSTANDER
    assert str(rows).isprintable()
    assert len(arena.table.to_pandas()) == len(rows)
    with pytest.raises(MetadataError, match="path"):
        rows[k].read()


@by_database
@pytest.mark.parametrize("text", NO_ROWS)
def test_row_that_is_no_metadata_is_refused(arena: Arena, text: str) -> None:
    k = arena.plant(text)
    with pytest.raises(ValueError):  # a MetadataError, or what DataJoint says of a text that it takes for JSON
        arena.fetch(k).read()
    arena.check_unharmed()


@by_database
@attacks(22)
def test_last_of_two_equal_fields_is_what_counts(arena: Arena) -> None:
    row = json.dumps(arena.sound_row())
    k = arena.plant(f'{{"path": "../outside.txt", {row[1:]}')
    assert arena.fetch(k).read() == BYSTANDER
    k = arena.plant(f'{row[:-1]}, "path": "../outside.txt"}}')
    with pytest.raises(MetadataError):
        arena.fetch(k).read()


@by_store
@attacks(22)
def test_nothing_is_allocated_by_the_size_that_a_row_claims(arena: Arena) -> None:
    ref = arena.fetch(arena.plant(arena.sound_row(size=2**62)))
    ref.exists()  # what the client itself keeps is not the row's doing
    tracemalloc.start()
    try:
        for use in (ref.read, ref.verify, ref.open):
            with pytest.raises(SizeMismatchError):
                use()
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


@by_store
@attacks(21)
def test_row_cannot_choose_a_store_or_anything_else(arena: Arena) -> None:
    fields = {
        "store": "other",
        "bucket": "other",
        "protocol": "file",
        "endpoint_url": "http://127.0.0.1:9",
        "url": "/x",
    }
    ref = arena.fetch(arena.plant(arena.sound_row(**fields)))
    assert ref.read() == BYSTANDER
    assert not set(fields) & set(ref.to_dict())


@by_store
@attacks(19)
def test_value_that_poses_as_a_row_is_refused(arena: Arena) -> None:
    before, rows = arena.store.object_keys(), arena.row_keys()
    document = arena.sound_row()
    metadata = FileMetadata.from_json(document)
    for posing in (
        document,
        json.dumps(document),
        {"path": "/etc/hostname"},
        metadata,
        Ingested(metadata),
        Checked(document),
    ):
        with pytest.raises((UnsupportedValueError, OSError)) as caught:
            arena.insert(posing)
        assert isinstance(caught.value, DataJointFileError)
        with pytest.raises(DataJointFileError):
            arena.table.update1({"k": 1, "raw": posing})
    assert (arena.store.object_keys(), arena.row_keys()) == (before, rows)
    arena.check_unharmed()


@by_store
@attacks(19, 20)
def test_forged_reference_is_not_copied_into_a_row(arena: Arena) -> None:
    before, rows = arena.store.object_keys(), arena.row_keys()
    forged = [
        arena.forged(path="../outside.txt"),
        arena.forged(path="another/x/y"),
        arena.forged(hash="sha256:" + "0" * 64),
        arena.forged(size=3),
        arena.forged(original_name="../x"),
    ]
    for reference in forged:
        with pytest.raises(DataJointFileError):
            arena.insert(reference)
    assert (arena.store.object_keys(), arena.row_keys()) == (before, rows)
    arena.check_unharmed()
