"""Stored files inserted again: shared where this server proves them ours, else copied inside the store."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from functools import partialmethod
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import HashMismatchError, ObjectExistsError
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.obstore.backend import ObstoreS3Backend
from tests.projects import Store, over_local_and_s3
from tests.tables import recording_of


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    made = recording_of(schema)
    made.insert([{"id": n, "raw": ("a.dat", b"%d" % n)} for n in range(3)])
    return made


def own(table: Any, name: str) -> str:
    return str(table().connection.adapter.make_full_table_name(table().database, name))


def intents(table: Any) -> list[Any]:
    return list(table().connection.query(f"SELECT state FROM {own(table, '~file_intent')}").fetchall())


def ref_of(table: Any, key: int) -> FileRef:
    ref: FileRef = (table & {"id": key}).fetch1("raw")
    return ref


@over_local_and_s3
def test_file_of_another_row_is_shared_and_outlives_it(table: Any, store: Store) -> None:
    objects = store.object_keys()
    table.insert1({"id": 9, "raw": ref_of(table, 2)})
    assert store.object_keys() == objects
    assert ref_of(table, 9) == ref_of(table, 2)
    (table & "id = 2").delete(prompt=False)
    assert ref_of(table, 9).read() == b"2"
    assert intents(table) == []


def test_earlier_file_is_shared_by_an_update(table: Any, store: Store) -> None:
    old = ref_of(table, 1)
    table.update1({"id": 1, "raw": ("b.dat", b"new")})
    objects = store.object_keys()
    table.update1({"id": 1, "raw": old})
    assert (ref_of(table, 1), store.object_keys()) == (old, objects)


def test_file_is_shared_with_another_table(table: Any, schema: dj.Schema, store: Store) -> None:
    other, objects = recording_of(schema, name="Other"), store.object_keys()
    other.insert1({"id": 9, "raw": ref_of(table, 2), "extra": ("e.dat", b"e")})
    assert ref_of(other, 9).path == ref_of(table, 2).path
    assert len(store.object_keys()) == len(objects) + 1


def test_insert_that_is_rolled_back_shares_nothing(table: Any) -> None:
    with pytest.raises(RuntimeError), table().connection.transaction:
        table.insert1({"id": 9, "raw": ref_of(table, 2)})
        raise RuntimeError
    assert intents(table) == [("sharing",)]
    table.insert1({"id": 9, "raw": ("a.dat", b"2")})  # which adopts no object of another
    assert ref_of(table, 9).path != ref_of(table, 2).path


@pytest.mark.parametrize("state", ["condemned", "purged"])
def test_what_may_be_deleted_is_copied(table: Any, store: Store, state: str) -> None:
    ref = ref_of(table, 2)
    (table & "id = 2").delete(prompt=False)
    table().connection.query(f"UPDATE {own(table, '~file_history')} SET state = '{state}', run = 'x'")
    table.insert1({"id": 2, "raw": ref})
    assert ref_of(table, 2).path != ref.path
    assert ref_of(table, 2).read() == b"2"
    assert intents(table) == []


def test_what_a_collector_only_asks_about_is_shared(table: Any) -> None:
    ref = ref_of(table, 2)
    (table & "id = 2").delete(prompt=False)
    table().connection.query(f"UPDATE {own(table, '~file_history')} SET state = 'checking', run = 'x'")
    table.insert1({"id": 2, "raw": ref})
    assert ref_of(table, 2).path == ref.path
    assert table().connection.query(f"SELECT state FROM {own(table, '~file_history')}").fetchone() == ("kept",)


def test_reference_that_nothing_proves_is_copied(table: Any, store: Store) -> None:
    ref = ref_of(table, 2)
    described = ref.metadata.to_json()
    forged = FileRef(FileMetadata.from_json({**described, "original_name": "other.dat"}), ref.pipeline)
    table.insert1({"id": 9, "raw": forged})
    assert ref_of(table, 9).path != ref.path
    assert ref_of(table, 9).read() == b"2"


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_bucket_copies_by_itself(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = ref_of(table, 2)
    forged = FileRef(FileMetadata.from_json({**ref.metadata.to_json(), "original_name": "other.dat"}), ref.pipeline)
    monkeypatch.setattr(ObstoreS3Backend, "upload", _refuse)
    table.insert1({"id": 9, "raw": forged})
    monkeypatch.undo()
    copy = ref_of(table, 9)
    assert (copy.path != ref.path, copy.read(), copy.original_name) == (True, b"2", "other.dat")


def test_staged_file_has_an_object_of_its_own(table: Any) -> None:
    staged = datajoint_file.stage(table, {"id": 9}, "raw", ref_of(table, 2))
    assert staged.path != ref_of(table, 2).path
    table.insert1({"id": 9, "raw": staged})
    assert ref_of(table, 9).read() == b"2"


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_part_and_member_of_a_stored_directory_are_copied_by_the_bucket_itself(
    table: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = _directory(table, tmp_path)
    ref.listdir()  # the manifest is read
    upload, moved = ObstoreS3Backend.upload, list[str]()

    def noted(backend: Any, key: str, *arguments: Any, **options: Any) -> Any:
        moved.append(key)
        return upload(backend, key, *arguments, **options)

    for name in ("open", "read", "iter_range"):
        monkeypatch.setattr(ObstoreS3Backend, name, _refuse)
    monkeypatch.setattr(ObstoreS3Backend, "upload", noted)
    table.insert([{"id": 11, "raw": ref / "part"}, {"id": 12, "raw": ref / "part" / "a.dat"}])
    (table & "id = 10").delete(prompt=False)
    table.insert1({"id": 13, "raw": ref / "part" / "deep"})  # which a history names
    monkeypatch.undo()
    part, file, deep = (table & "id > 10").to_arrays("raw", order_by="id")
    assert [key.rpartition("/")[2] for key in moved] == ["~manifest", "~manifest"]
    assert ([one.read() for one in part.files()], file.read(), deep.listdir()) == ([b"a", b"b"], b"a", ["b.dat"])
    assert ref.path not in f"{part.path} {file.path} {deep.path}"
    assert part.listdir("empty") == []
    assert (datajoint_file.verify(table, level="content").checked, intents(table)) == (6, [])


@over_local_and_s3
@pytest.mark.parametrize("stored", [b"a", b"A"])
def test_member_that_another_writer_has_stored_meanwhile_is_taken_if_it_is_equal_and_never_replaced(
    table: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bytes
) -> None:
    ref, keys = _directory(table, tmp_path), list[str]()

    def late(backend: Any, copy: Any, source: str, key: str, *given: Any) -> None:
        if key.endswith("a.dat"):
            keys.append(key)
            backend.upload(key, io.BytesIO(stored), 1)
        copy(backend, source, key, *given)

    for kind in (LocalBackend, ObstoreS3Backend):
        monkeypatch.setattr(kind, "copy", partialmethod(late, kind.copy))
    with nullcontext() if stored == b"a" else pytest.raises(ObjectExistsError, match=r"its member 'a\.dat'"):
        table.insert1({"id": 11, "raw": ref / "part"})
    (key,) = keys
    assert (store.content(key), len(table & "id = 11")) == (stored, stored == b"a")


def test_part_and_member_that_nothing_proves_are_read_before_they_are_copied(
    table: Any, store: Store, tmp_path: Path
) -> None:
    ref = _directory(table, tmp_path)
    for path, content in (("part/a.dat", b"A"), ("part/deep/b.dat", b"B")):
        store.damage(f"{ref.path}{path}", content)
    forged = DirectoryRef(replace(ref.metadata, timestamp=datetime.now(timezone.utc)), ref.pipeline)
    told = FileRef(replace((ref / "part/a.dat").metadata, original_name="other"), ref.pipeline)
    for value in (forged / "part", told):
        with pytest.raises(HashMismatchError):
            table.insert1({"id": 11, "raw": value})
    assert len(table & "id > 10") == 0


def _directory(table: Any, tmp_path: Path) -> DirectoryRef:
    (tmp_path / "run" / "part" / "empty").mkdir(parents=True)
    (tmp_path / "run" / "part" / "deep").mkdir()
    (tmp_path / "run" / "part" / "a.dat").write_bytes(b"a")
    (tmp_path / "run" / "part" / "deep" / "b.dat").write_bytes(b"b")
    table.insert1({"id": 10, "raw": tmp_path / "run"})
    ref: DirectoryRef = (table & "id = 10").fetch1("raw")
    return ref


def _refuse(*arguments: Any, **options: Any) -> Any:
    raise AssertionError("bytes were moved through this machine")
