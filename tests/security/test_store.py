"""Attacks by somebody who can write to the store: damaged, swapped and planted objects, links, bait."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
from datajoint_file.storage.backend import UnfinishedUpload
from datajoint_file.storage.disk.backend import LocalBackend
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
    if error is SizeMismatchError:
        with pytest.raises(VerificationError):
            arena.insert(ref)
        assert arena.row_keys() == rows
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


# a directory that somebody exchanges for a link, at whatever moment


_KEY = "lab/s/objects/T-raw/{}/rec.dat"


@pytest.fixture
def place(tmp_path: Path) -> tuple[LocalBackend, Path, Path]:
    """A store, the directory in it that a table's objects share, and a directory outside."""
    (tmp_path / "store").mkdir()
    (tmp_path / "outside").mkdir()
    return LocalBackend(tmp_path / "store", "lab", "none"), tmp_path / "store/s/objects/T-raw", tmp_path / "outside"


@attacks(52)
@pytest.mark.parametrize("durability", ["none", "full"])
def test_directory_exchanged_between_uploads_of_a_group_redirects_none(
    place: tuple[LocalBackend, Path, Path], durability: Any
) -> None:
    backend, shared, outside = place
    group = LocalBackend(backend.root, "lab", durability).group()
    for own in ("k1", "k3"):
        group.upload(_KEY.format(own), io.BytesIO(b"one"), 3)
    shared.rename(shared.with_name("gone"))
    shared.symlink_to(outside)
    with pytest.raises(UnsafePathError, match="symbolic link"):
        group.upload(_KEY.format("k2"), io.BytesIO(b"two"), 3)
    with suppress(DataJointFileError):
        group.publish()
    assert list(outside.iterdir()) == []


@attacks(52)
def test_directory_exchanged_before_the_name_is_given_redirects_nothing(
    place: tuple[LocalBackend, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, shared, outside = place
    (outside / "k1").mkdir()
    group = backend.group()
    monkeypatch.setattr(group, "_flushes", True)
    monkeypatch.setattr("datajoint_file.storage.disk.syncfs.has_journal", lambda _: True)
    group.upload(_KEY.format("k1"), io.BytesIO(b"one"), 3)
    partial = next((shared / "k1").iterdir()).name
    (outside / "k1" / partial).write_bytes(b"bait")
    shared.rename(shared.with_name("gone"))
    shared.symlink_to(outside)
    with pytest.raises(DataJointFileError):
        group.publish()
    assert [path.name for path in outside.rglob("*") if path.is_file()] == [partial]
    assert (outside / "k1" / partial).read_bytes() == b"bait"


@attacks(52)
@pytest.mark.parametrize("verb", ["upload", "delete", "discard", "open", "stat", "list", "unfinished"])
@pytest.mark.parametrize("up", [0, 1, 3], ids=["own directory", "table", "schema"])
def test_directory_that_is_exchanged_all_the_time_leads_nowhere_else(
    place: tuple[LocalBackend, Path, Path], verb: str, up: int
) -> None:
    backend, shared, outside = place
    real = shared / "k1"
    real.mkdir(parents=True)
    target = (real, *real.parents)[up]
    bait = outside / real.relative_to(target)
    bait.mkdir(parents=True, exist_ok=True)
    link = target.with_name("aside")
    link.symlink_to(outside)
    unfinished = UnfinishedUpload("lab/s/objects/T-raw/k1", "~partial-0123", None, 3)
    verbs: dict[str, Callable[[], object]] = {
        "upload": lambda: backend.upload(_KEY.format("k1"), io.BytesIO(b"new"), 3),
        "delete": lambda: backend.delete(_KEY.format("k1")),
        "discard": lambda: backend.discard(unfinished),
        "open": lambda: _read(backend),
        "stat": lambda: backend.stat(_KEY.format("k1")).size,
        "list": lambda: [found.size for found in backend.list()],
        "unfinished": lambda: [found.size for found in backend.unfinished()],
    }
    theirs = b"theirs, which nobody may read or remove"
    (bait / "rec.dat").write_bytes(theirs)
    (bait / "~partial-0123").write_bytes(theirs)
    if verb == "upload":
        (bait / "rec.dat").unlink()
    before = {path.relative_to(outside) for path in outside.rglob("*")}
    exchange, stop = ctypes.CDLL(None).renameat2, threading.Event()

    def exchange_all_the_time() -> None:
        while not stop.is_set():
            exchange(-100, os.fsencode(target), -100, os.fsencode(link), 2)  # RENAME_EXCHANGE

    thread = threading.Thread(target=exchange_all_the_time)
    thread.start()
    try:
        end = time.monotonic() + 0.25
        while time.monotonic() < end:
            with suppress(DataJointFileError):
                given = verbs[verb]()
                assert given not in (len(theirs), theirs)
                assert not (isinstance(given, list) and len(theirs) in given)
            if verb in ("delete", "discard", "upload"):
                assert {path.relative_to(outside) for path in outside.rglob("*")} == before
    finally:
        stop.set()
        thread.join()


def _read(backend: LocalBackend) -> bytes:
    with backend.open(_KEY.format("k1")) as file:
        return file.read()
