"""Attacks by the name of a file, and by the path of a row: refused, or literally what they say and nothing more."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file import File, configure
from datajoint_file.errors import (
    InvalidKeyError,
    MetadataError,
    UnknownProjectError,
    UnsafeNameError,
    UnsafePathError,
)
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import pipeline_named
from tests.projects import Store, connect, unique
from tests.security.attacks import FOREIGN_PATHS, KEPT_NAMES, OUTSIDE_PATHS, REFUSED_NAMES, attacks
from tests.security.conftest import Arena, by_database, by_store, everywhere

VERBS: dict[str, Callable[[FileRef, Path], Any]] = {
    "read": lambda ref, _: ref.read(),
    "open": lambda ref, _: ref.open(),
    "download": lambda ref, directory: ref.download(directory / "taken"),
    "exists": lambda ref, _: ref.exists(),
    "verify": lambda ref, _: ref.verify(),
    "url": lambda ref, _: ref.url,
}


@by_database
@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_name_is_refused_when_inserted_and_nothing_is_stored(arena: Arena, name: str) -> None:
    before, rows = arena.store.object_keys(), arena.row_keys()
    for value in ((name, b"x"), (name, io.BytesIO(b"x")), File(b"x", name=name)):
        with pytest.raises(UnsafeNameError) as caught:
            arena.insert(value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600
    assert arena.store.object_keys() == before
    assert arena.row_keys() == rows
    arena.check_unharmed()


@by_database
@pytest.mark.parametrize("name", [case for case in REFUSED_NAMES if case.values[0]])
def test_name_is_refused_in_a_row(arena: Arena, name: str, tmp_path: Path) -> None:
    text = json.dumps(arena.sound_row(original_name=name))
    try:
        k = arena.plant(text)
    except Exception:  # each driver has errors of its own: NUL and surrogates are no text to some databases
        arena.check_unharmed()
        return
    ref = arena.fetch(k)
    assert repr(ref).isprintable()
    for use in VERBS.values():
        with pytest.raises(MetadataError, match="original_name") as caught:
            use(ref, tmp_path)
    assert str(caught.value).isprintable()
    with pytest.raises(UnsafeNameError):
        arena.forged(original_name=name).download(tmp_path)
    assert list(tmp_path.iterdir()) == []
    arena.check_unharmed()


@everywhere
@attacks(6, 7, 8, 9, 10, 11, 12, 33, 34, 35, 47)
def test_odd_names_are_kept_literally_and_apart(arena: Arena, tmp_path: Path) -> None:
    names = [case.values[0] for case in KEPT_NAMES]
    keys = {name: arena.insert((name, name.encode())) for name in names}
    paths = {arena.stored_json(k)["path"] for k in keys.values()}
    assert len(paths) == len(names)
    assert paths <= set(arena.store.object_keys())
    for name, k in keys.items():
        document = arena.stored_json(k)
        assert document["original_name"] == name
        assert arena.content(document["path"]) == name.encode()
        ref = arena.fetch(k)
        assert ref.read() == name.encode()
        assert ref.exists()
        written = ref.download(tmp_path / str(k))
        assert written.read_bytes() == name.encode()
    arena.check_unharmed()


@everywhere
@attacks(10, 17)
def test_removing_one_object_removes_no_other_that_its_name_could_mean(arena: Arena) -> None:
    names = ["*", "report[1].csv", "report1.csv", "x?", "x*", "xy", "**", "{a,b}", "a"]
    refs = {name: arena.fetch(arena.insert((name, name.encode()))) for name in names}
    backend = pipeline_named(refs["*"].pipeline, arena.store.project).backend
    for gone in ("*", "report[1].csv", "x?", "**", "{a,b}"):
        backend.delete(refs.pop(gone).path)
        assert all(ref.read() == name.encode() for name, ref in refs.items())
    arena.check_unharmed()


@by_store
@pytest.mark.parametrize("path", OUTSIDE_PATHS)
def test_path_of_a_row_that_leaves_the_project_is_refused(arena: Arena, path: str, tmp_path: Path) -> None:
    k = arena.plant(arena.sound_row(path=path.replace("{project}", arena.store.project)))
    ref = arena.fetch(k)
    assert repr(ref).isprintable()
    for use in VERBS.values():
        with pytest.raises(UnsafePathError) as caught:
            use(ref, tmp_path)
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []
    arena.check_unharmed()


@everywhere
@attacks(1, 2, 3, 11, 20, 25)
@pytest.mark.parametrize("verb", VERBS)
def test_reference_made_by_hand_reads_nothing_outside(arena: Arena, verb: str, tmp_path: Path) -> None:
    for case in [*OUTSIDE_PATHS, *FOREIGN_PATHS]:
        ref = arena.forged(path=case.values[0].replace("{project}", arena.store.project))
        with pytest.raises((MetadataError, UnknownProjectError)):
            VERBS[verb](ref, tmp_path)
        assert list(tmp_path.iterdir()) == []
    arena.check_unharmed()


@by_database
@pytest.mark.parametrize("path", FOREIGN_PATHS)
def test_row_of_a_project_nobody_named_is_not_read(arena: Arena, path: str, tmp_path: Path) -> None:
    k = arena.plant(arena.sound_row(path=path.replace("{project}", arena.store.project)))
    ref = arena.fetch(k)
    try:
        _ = ref.path
    except UnsafePathError:
        return
    for verb in VERBS.values():
        with pytest.raises(UnknownProjectError, match=r"\[projects\."):
            verb(ref, tmp_path)
    assert list(tmp_path.iterdir()) == []
    arena.check_unharmed()


@by_database
@attacks(9, 49)
def test_partition_by_hostile_keys_stays_inside_or_is_refused_before_anything_is_sent(
    arena: Arena, tmp_path: Path
) -> None:
    instance = connect(arena.database)
    (tmp_path / "second").mkdir()
    store = Store({**arena.store.table, "path": str(tmp_path / "second")}, unique("project"))
    configure(store.configuration("{label}/" * 5 + "{label}"), connection=instance)
    schema = instance.Schema(unique("schema"))
    definition = "label : varchar(250)\n---\nraw : file"
    table = schema(type("Labelled", (dj.Manual,), {"definition": definition}))
    with pytest.raises(InvalidKeyError, match="1024"):
        table.insert1({"label": "x" * 190, "raw": ("x", b"x")})
    labels = ["..", ".", "a/../../b", "/etc", "#x", "~x", "x ", "a\\b", "é", "x:y", "*", "{label}", "%2e%2e"]
    table.insert([{"label": label, "raw": ("x", label.encode())} for label in labels])
    assert len(table()) == len(labels)
    refs = [(row["label"], row["raw"]) for row in table()]
    assert all(ref.read() == label.encode() and "#" not in ref.path for label, ref in refs)
    assert len({ref.path.split("/")[1] for _, ref in refs}) == len(labels)
    assert sorted(path.name for path in arena.outside.parent.iterdir()) == ["outside.txt", "store"]
    schema.drop(prompt=False)
    instance.connection.close()
