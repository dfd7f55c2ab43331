"""Inserts that a row has in both places, and reads that take what the first place has not from the mirror."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import datajoint_file
from datajoint_file.errors import (
    ConfigurationError,
    HashMismatchError,
    ObjectNotFoundError,
    SizeMismatchError,
    StorageUnavailableError,
)
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.pipeline.mirror_note import MirrorNote
from datajoint_file.testing.faults import Fault, FaultyBackend
from tests.integration.mirrors import CONTENT, Make, Places, one_warning, tree
from tests.projects import connect
from tests.tables import recording_of


def test_a_row_means_that_both_places_have_it(places: Make, tmp_path: Path) -> None:
    found = places()
    found.table.insert([{"id": 1, "raw": ("a.dat", CONTENT)}, {"id": 2, "raw": tree(tmp_path)}])
    staged = datajoint_file.stage(found.table, {"id": 3}, "raw", ("c.dat", b"staged"))
    found.table.insert1({"id": 3, "raw": staged})
    with datajoint_file.create(found.table, {"id": 4}, "raw", "new.zarr") as new, new.open("x/y") as file:
        file.write(b"chunk")
    found.table.insert1({"id": 4, "raw": new.value})
    first, mirror = found.both()
    assert mirror == [key for key in first if "~fence" not in key]
    assert len(mirror) == 1 + 7 + 1 + 2
    assert all(found.first.content(key) == found.mirror.content(key) for key in mirror)


@pytest.mark.parametrize("fault", ["missing", "damaged", "cut short"])
def test_what_the_store_has_not_comes_from_the_mirror(places: Make, fault: str, tmp_path: Path) -> None:
    found = places()
    found.table.insert([{"id": 1, "raw": ("a.dat", CONTENT)}, {"id": 2, "raw": tree(tmp_path)}])
    ref, directory = found.table.to_arrays("raw", order_by="id")
    member = next(key for key in found.first.object_keys() if key.endswith("/c/3"))
    manifest = next(key for key in found.first.object_keys() if key.endswith("~manifest"))
    for key in (ref.path, member, manifest):
        if fault == "missing":
            found.first.remove(key)
        else:
            content = found.first.content(key)
            found.first.damage(key, b"?" + content[1:] if fault == "damaged" else content[:-1])
    with one_warning():
        assert ref.read() == CONTENT
        assert ref.read(start=7, stop=14) == b"spikes "
        assert ref.download(tmp_path / "a.dat").read_bytes() == CONTENT
        assert ref.cache().read_bytes() == CONTENT
        assert (directory / "c" / "3").read() == bytes([3]) * 1003
        assert (directory.download(tmp_path / "out") / "c" / "3").read_bytes() == bytes([3]) * 1003
        assert (directory.cache() / "c" / "3").read_bytes() == bytes([3]) * 1003
        if fault != "damaged":  # of which opening it tells nothing, with a mirror or without
            with ref.open() as file:
                assert file.read() == CONTENT
    with pytest.raises((ObjectNotFoundError, HashMismatchError, SizeMismatchError)):
        ref.verify()  # it is the store that is asked about


def test_many_threads_are_told_once(places: Make, database: Any) -> None:
    found = places()
    found.table.insert({"id": number, "raw": ("a.dat", CONTENT)} for number in range(8))
    refs = found.table.to_arrays("raw")
    for key in found.first.object_keys():
        found.first.remove(key)
    with one_warning(), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda ref: ref.read(), refs)) == [CONTENT] * 8
    other = connect(database)
    datajoint_file.configure(found.document, connection=other)
    with warnings.catch_warnings():  # the same pipeline, which has said it
        warnings.simplefilter("error")
        again = recording_of(other.Schema(found.table.database))
        assert (again & "id = 1").fetch1("raw").read() == CONTENT


def test_an_unreachable_store_is_asked_second(places: Make, tmp_path: Path) -> None:
    found = places()
    found.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
    ref = found.table.fetch1("raw")
    shutil.move(found.first.table["path"], tmp_path / "unmounted")
    with one_warning():
        assert [ref.read() for _ in range(3)] == [CONTENT] * 3
    assert ref.exists()


def test_what_only_the_mirror_has_can_be_inserted_again_and_brought_back(places: Make, tmp_path: Path) -> None:
    found = places()
    found.table.insert([{"id": 1, "raw": ("a.dat", CONTENT)}, {"id": 2, "raw": tree(tmp_path)}])
    one, two = found.table.to_arrays("raw")
    lost = found.first.object_keys()
    for key in lost:
        found.first.remove(key)
    with one_warning():
        found.table.insert([{"id": 3, "raw": one}, {"id": 4, "raw": two}])
    assert (found.table & "id = 3").fetch1("raw").read() == CONTENT
    assert found.first.object_keys() == sorted(set(found.mirror.object_keys()) - set(lost))
    (found.table & "id = 1").delete()
    told = datajoint_file.undelete(found.table, since="1h")
    assert "bring it back by `datajoint-file mirror`" in str(told)
    datajoint_file.mirror.run(found.connection, [found.table.database])
    assert datajoint_file.undelete(found.table, since="1h")
    assert (found.table & "id = 1").fetch1("raw").read() == CONTENT


@pytest.mark.parametrize("is_asked_first", [False, True])
def test_what_a_mirror_that_is_away_may_have_is_not_called_missing(places: Make, *, is_asked_first: bool) -> None:
    found = places()
    found.table.insert({"id": number, "raw": ("a.dat", CONTENT)} for number in range(2))
    ref, other = found.table.to_arrays("raw")
    found.first.remove(ref.path)
    stores = pipeline_of(found.connection).stores
    if is_asked_first:
        inner = stores.own
        stores._backends[found.first.project] = FaultyBackend(inner, Fault("stat"))
        with one_warning():
            assert other.exists()
        stores._backends[found.first.project] = inner
    mirror = stores.mirror(found.first.project)
    assert mirror is not None
    faults = [Fault(verb, lasting=True) for verb in ("stat", "open", "read")]
    stores._backends[f"{found.first.project}~"] = FaultyBackend(mirror, *faults)
    for ask in (ref.exists, ref.read, ref.open):
        with pytest.raises(StorageUnavailableError, match="the store has not got it, and its mirror cannot be asked"):
            ask()


def test_what_both_places_have_wrong_is_handed_out_by_neither(places: Make) -> None:
    found = places()
    found.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
    ref = found.table.fetch1("raw")
    found.first.remove(ref.path)
    found.mirror.damage(ref.path, b"?" + CONTENT[1:])
    with pytest.raises(ObjectNotFoundError, match=r"its mirror has not got it either.*expected sha256"):
        ref.read()


def test_bytes_of_two_places_are_never_mixed(places: Make) -> None:
    content = bytes(range(256)) * 20_000  # in several pieces, of which the last is damaged
    found = places()
    found.table.insert1({"id": 1, "raw": ("a.dat", content)})
    ref = found.table.fetch1("raw")
    found.first.damage(ref.path, content[:-1] + b"?")
    with one_warning(re.escape(ref.path)):
        assert ref.read() == content


def test_a_mirror_in_a_bucket(places: Make, s3_storage: dict[str, Any], tmp_path: Path) -> None:
    found = places(s3_storage)
    content = bytes(range(256)) * 80_000
    found.table.insert([{"id": 1, "raw": ("a.dat", content)}, {"id": 2, "raw": tree(tmp_path)}])
    first, mirror = found.both()
    assert first == mirror
    ref, directory = found.table.to_arrays("raw", order_by="id")
    shutil.rmtree(found.first.table["path"])
    with one_warning():
        assert ref.read() == content
        assert (directory.download(tmp_path / "out") / "c" / "3").read_bytes() == bytes([3]) * 1003


def broken_mirror(found: Places, **faults: Any) -> None:
    """Let the mirror of a pipeline fail."""
    pipeline = pipeline_of(found.connection)
    second = pipeline.second
    assert second is not None
    second.stores._backends[second.project] = FaultyBackend(second.backend, *faults["faults"])


def test_an_insert_fails_with_its_mirror(places: Make) -> None:
    found = places()
    broken_mirror(found, faults=[Fault("upload")])
    with pytest.raises(StorageUnavailableError, match=r"\[storage.mirror\].*where it is to be as well.*"):
        found.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
    assert not found.table()
    assert not found.mirror.object_keys()


def test_an_insert_need_not_wait_for_its_mirror(places: Make) -> None:
    found = places(when_down="later")
    shutil.rmtree(found.mirror.table["path"])
    with one_warning():
        found.table.insert({"id": number, "raw": ("a.dat", CONTENT)} for number in range(3))
    assert len(found.table()) == 3


def test_later_means_later(places: Make) -> None:
    found = places(write="later")
    found.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
    assert (len(found.first.object_keys()), found.mirror.all_keys()) == (1, [])


def test_what_arrives_damaged_in_the_store_is_noticed(places: Make) -> None:
    found = places()
    pipeline = pipeline_of(found.connection)

    def damage(key: str) -> None:
        found.first.damage(key, b"?" + CONTENT[1:])

    pipeline.first.stores._backends[pipeline.project] = FaultyBackend(
        pipeline.first.backend, Fault("open", action=damage)
    )
    with pytest.raises(datajoint_file.errors.VerificationError), warnings.catch_warnings():
        found.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
    assert not found.table()
    assert not found.mirror.object_keys()


def test_a_new_mirror_is_told_by_who_has_noted_it_first(places: Make, caplog: pytest.LogCaptureFixture) -> None:
    found = places()
    pipeline = pipeline_of(found.connection)
    assert pipeline.second is not None
    note = MirrorNote(pipeline.second.backend, pipeline.project)
    broken_mirror(found, faults=[Fault("upload", action=lambda _: note.write(pipeline.first.backend))])
    found.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
    assert len(found.mirror.object_keys()) == 1
    assert "is its mirror from now on" not in caplog.text


def test_a_mirror_is_noted_and_no_store_becomes_one(
    places: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = places()
    for number in (1, 2):
        found.table.insert1({"id": number, "raw": ("a.dat", CONTENT)})
    assert caplog.text.count("is its mirror from now on. If it was that before, it is not mounted") == 1
    note = next(key for key in found.mirror.all_keys() if key.endswith("~registry/mirror.json"))
    assert json.loads(found.mirror.content(note))["project"] == found.mirror.project
    (tmp_path / "store2").mkdir()
    other = places(first={"backend": "file", "path": str(tmp_path / "store2")})
    with pytest.raises(ConfigurationError, match="is the mirror of the project"):
        other.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
    (tmp_path / "store3").mkdir()
    third = places(found.first.table, first={"backend": "file", "path": str(tmp_path / "store3")})
    with pytest.raises(ConfigurationError, match="is a store that a project uses by itself"):
        third.table.insert1({"id": 1, "raw": ("a.dat", CONTENT)})
