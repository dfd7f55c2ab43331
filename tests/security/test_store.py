"""Attacks by somebody who can write to the store: damaged, swapped and planted objects, links, bait."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.errors import (
    DataJointFileError,
    HashMismatchError,
    ObjectExistsError,
    ObjectNotFoundError,
    SizeMismatchError,
    StorageError,
    UnsafePathError,
    VerificationError,
)
from datajoint_file.model.key_values import key_value
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.lookup import pipeline_named
from datajoint_file.transfer.sources import as_source
from tests.security.attacks import attack, attacks
from tests.security.conftest import OUTSIDE, Arena, on_disk

CONTENT = bytes(range(256)) * 4096


@pytest.mark.parametrize(
    ("damaged", "error"),
    [
        attack(23, b"\xff" + CONTENT[1:], HashMismatchError, name="first byte"),
        attack(23, CONTENT[:-1] + b"\0", HashMismatchError, name="last byte"),
        attack(23, CONTENT[::-1], HashMismatchError, name="other bytes of the same size"),
        attack(24, CONTENT[:-1], SizeMismatchError, name="cut short"),
        attack(24, CONTENT + b"\0", SizeMismatchError, name="one byte more"),
        attack(24, CONTENT * 8, SizeMismatchError, name="much more"),
        attack(24, b"", SizeMismatchError, name="nothing"),
    ],
)
def test_bytes_that_are_not_those_of_the_row_are_never_handed_out(
    arena: Arena, damaged: bytes, error: type[Exception], tmp_path: Path
) -> None:
    ref = arena.fetch(arena.insert(("x.bin", CONTENT)))
    kept = tmp_path / "kept.bin"
    kept.write_bytes(b"what was here before")
    arena.store.damage(ref.path, damaged)
    for use in (ref.read, ref.verify, lambda: ref.download(tmp_path), lambda: ref.download(kept, overwrite=True)):
        with pytest.raises(error):
            use()
    assert [path.name for path in tmp_path.iterdir()] == ["kept.bin"]
    assert kept.read_bytes() == b"what was here before"
    rows = arena.row_keys()
    with pytest.raises(VerificationError):
        arena.insert(ref)
    assert arena.row_keys() == rows
    if error is SizeMismatchError:
        with pytest.raises(error):
            ref.open()
    arena.check_unharmed()


@attacks(23)
def test_two_objects_that_changed_places_are_found_out(arena: Arena) -> None:
    one, two = (arena.fetch(arena.insert(("x.bin", content))) for content in (b"one", b"two"))
    first, second = arena.content(one.path), arena.content(two.path)
    arena.store.damage(one.path, second)
    arena.store.damage(two.path, first)
    for ref in (one, two):
        with pytest.raises(HashMismatchError):
            ref.read()
    arena.check_unharmed()


@attacks(26)
def test_object_that_waits_under_our_key_is_not_replaced(arena: Arena) -> None:
    pipeline = pipeline_named(arena.fetch(1).pipeline, arena.store.project)
    cell = Cell(arena.table.database, "Recording", "raw", (key_value("k", "int32", 1),))
    upload = pipeline.plan(as_source(("x.bin", CONTENT)), cell)
    bait = pipeline.plan(as_source(("x.bin", b"bait")), cell)
    pipeline.ingest(bait)
    with pytest.raises(ObjectExistsError):
        pipeline.ingest(replace(upload, key=bait.key))
    assert arena.content(bait.key) == b"bait"
    arena.check_unharmed()


def planted(arena: Arena) -> tuple[Any, Path]:
    """Insert a file, and return its reference and where its bytes are."""
    ref = arena.fetch(arena.insert(("x.bin", OUTSIDE)))
    return ref, arena.local_path(ref.path)


@on_disk
@attacks(25)
@pytest.mark.parametrize("up", [0, 1, 2, 3, 4], ids=["object", "its directory", "table", "objects", "schema"])
def test_link_in_the_store_is_not_followed_when_reading(arena: Arena, up: int, tmp_path: Path) -> None:
    ref, path = planted(arena)
    link = path if up == 0 else path.parents[up - 1]
    elsewhere = tmp_path / "elsewhere"
    link.rename(elsewhere)
    link.symlink_to(elsewhere)
    try:
        uses = (ref.read, ref.open, ref.verify, lambda: ref.download(tmp_path / "taken"))
        for use in uses:
            with pytest.raises((UnsafePathError, ObjectNotFoundError)):
                use()
        assert not (tmp_path / "taken").exists()
        if up:
            with pytest.raises(UnsafePathError):
                ref.exists()
    finally:
        link.unlink()
        shutil.move(elsewhere, link)
    assert ref.read() == OUTSIDE
    arena.check_unharmed()


@on_disk
@attacks(25)
@pytest.mark.parametrize("up", [2, 3, 4], ids=["table", "objects", "schema"])
def test_link_in_the_store_is_not_followed_when_writing(arena: Arena, up: int, tmp_path: Path) -> None:
    _, path = planted(arena)
    link = path.parents[up - 1]
    set_aside = link.with_name("set-aside")
    link.rename(set_aside)
    link.symlink_to(tmp_path)
    rows = arena.row_keys()
    try:
        with pytest.raises(UnsafePathError, match="symbolic link"):
            arena.insert(("y.bin", b"y"))
    finally:
        link.unlink()
        set_aside.rename(link)
    assert list(tmp_path.iterdir()) == []
    assert arena.row_keys() == rows
    arena.check_unharmed()


@on_disk
@attacks(25, 16)
@pytest.mark.parametrize("kind", ["fifo", "directory", "link to a device"])
def test_what_is_no_file_in_an_objects_place_is_not_opened(arena: Arena, kind: str, tmp_path: Path) -> None:
    ref, path = planted(arena)
    path.unlink()
    makers: dict[str, Any] = {
        "fifo": os.mkfifo,
        "directory": os.mkdir,
        "link to a device": lambda p: p.symlink_to("/dev/zero"),
    }
    makers[kind](path)
    for use in (ref.read, ref.open, ref.verify, lambda: ref.download(tmp_path / "taken")):
        with pytest.raises(StorageError):
            use()
    assert not (tmp_path / "taken").exists()
    assert not ref.exists()
    (path.rmdir if kind == "directory" else path.unlink)()
    arena.check_unharmed()


@on_disk
@attacks(25)
def test_objects_on_a_disk_cannot_be_written_by_their_owner_by_mistake(arena: Arena) -> None:
    _, path = planted(arena)
    assert path.stat().st_mode & 0o222 == 0


@attacks(20, 26)
def test_row_may_share_an_object_but_not_change_what_it_is(arena: Arena, tmp_path: Path) -> None:
    ref = arena.fetch(arena.insert(("secret.bin", b"of somebody else")))
    guess = arena.fetch(arena.plant(arena.sound_row(path=ref.path, size=ref.size)))
    for use in (guess.read, guess.verify, lambda: guess.download(tmp_path)):
        with pytest.raises(HashMismatchError):
            use()
    with pytest.raises(DataJointFileError):
        arena.insert(guess)
    assert list(tmp_path.iterdir()) == []
    arena.check_unharmed()
