"""Marks: written, read back, and not believed when they have been changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.errors import MetadataError, StorageError
from datajoint_file.journal.store_marks import BadMark, Identity, Mark, MarkStore, Registration
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.testing import Fault, FaultyBackend

MARK = Mark(
    Registration(Identity("mysql a", "b"), "lab", "lab_ephys", "0" * 32), 7, "f" * 32, "2025-01-15T10:30:00.000000Z"
)


def test_mark_comes_back_as_it_was_written(root: Path) -> None:
    registry = MarkStore(LocalBackend(root, "lab"), "lab")
    registry.write(MARK)
    assert registry.read() == ([MARK], [])
    (name,) = registry.names()
    assert (name.registration, name.epoch, name.token) == (MARK.registration.digest, 7, "f" * 32)
    assert name.key == registry.key_of(MARK) == f"lab/~registry/{MARK.name}"


@pytest.mark.parametrize(
    "other",
    [
        Registration(Identity("mysql x", "b"), "lab", "lab_ephys", "0" * 32),
        Registration(Identity("mysql a", "x"), "lab", "lab_ephys", "0" * 32),
        Registration(Identity("mysql a", "b"), "x", "lab_ephys", "0" * 32),
        Registration(Identity("mysql a", "b"), "lab", "x", "0" * 32),
        Registration(Identity("mysql a", "b"), "lab", "lab_ephys", "1" * 32),
    ],
)
def test_different_registrations_have_different_names(other: Registration) -> None:
    assert other.digest != MARK.registration.digest


@given(
    st.sampled_from(["server", "database", "project", "schema", "schema_id", "token", "epoch"]),
    st.one_of(st.text(), st.integers()),
)
def test_changed_mark_is_no_mark(field: str, value: Any) -> None:
    row = {**MARK.to_json(), field: value}
    if row == MARK.to_json():
        return
    with pytest.raises(MetadataError):
        Mark.from_json(json.dumps(row).encode(), MARK.name)


@given(st.binary(max_size=200))
def test_garbage_is_no_mark(content: bytes) -> None:
    with pytest.raises(MetadataError):
        Mark.from_json(content, MARK.name)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_other_json_is_no_mark(value: Any) -> None:
    with pytest.raises(MetadataError):
        Mark.from_json(json.dumps(value).encode(), MARK.name)


def test_garbage_is_told_and_marks_of_newer_versions_are_known(root: Path) -> None:
    (root / "~registry").mkdir()
    (root / "~registry" / "a.json").write_text("{")
    (root / "~registry" / "b.json").write_text('{"format": 2}')
    marks, bad = MarkStore(LocalBackend(root, "lab"), "lab").read()
    assert marks == []
    found = {one.key: one.is_newer for one in bad}
    assert found == {"lab/~registry/a.json": False, "lab/~registry/b.json": True}
    assert isinstance(bad[0], BadMark)


def test_deeply_nested_json_is_garbage(root: Path) -> None:
    (root / "~registry").mkdir()
    (root / "~registry" / "a.json").write_text("[" * 60_000)
    _, bad = MarkStore(LocalBackend(root, "lab"), "lab").read()
    assert len(bad) == 1


def test_nothing_but_marks_can_be_removed(root: Path) -> None:
    registry = MarkStore(LocalBackend(root, "lab"), "lab")
    for key in ("lab/x", "lab/~registry", "lab/~registry2/x", "other/~registry/x"):
        with pytest.raises(ValueError, match="not the key of a mark"):
            registry.remove(key)


def test_mark_that_is_replaced_while_it_is_read_is_read_again(root: Path) -> None:
    inner = LocalBackend(root, "lab")
    MarkStore(inner, "lab").write(MARK)
    newer = replace(MARK, epoch=8, token="e" * 32)

    def replace_it(key: str) -> None:
        MarkStore(inner, "lab").write(newer)
        inner.delete(f"lab/~registry/{MARK.name}")

    backend = FaultyBackend(inner, Fault("open", action=replace_it))
    assert MarkStore(backend, "lab").read() == ([newer], [])


def test_store_whose_marks_keep_vanishing_is_not_trusted(root: Path) -> None:
    inner = LocalBackend(root, "lab")

    class Lying(FaultyBackend):
        def list(self, prefix: str = "") -> Any:
            yield from inner.list(prefix)
            yield inner.stat(f"lab/~registry/{MARK.name}").__class__("lab/~registry/gone.json", 1, None)

    MarkStore(inner, "lab").write(MARK)
    with pytest.raises(StorageError, match="vanish"):
        MarkStore(Lying(inner), "lab").read()
