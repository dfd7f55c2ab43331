"""Each kind of old attribute becomes files: the bytes in the store are those that there were, under their names."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
from datajoint import blob

from datajoint_file import Migration
from tests.integration.migrate.conftest import put_old, s3_of_datajoint
from tests.projects import over_mysql
from tests.tables import recording_of

NAMES = ("a%s 'b' \"c\".dat", "Zürich 東京.bin", "plain.txt")


def files_in(directory: Path) -> list[Path]:
    directory.mkdir(exist_ok=True)
    for number, name in enumerate(NAMES):
        (directory / name).write_bytes(b"%d " % number * (number * 5_000 + 1))
    return [directory / name for name in NAMES]


def moved(table: Any, columns: Any, **options: Any) -> Any:
    migration = Migration(table, "raw", **options)
    plan = migration.plan()
    assert plan, plan
    assert migration.stage == "new"
    assert (ran := migration.run()), ran
    assert ran.rows == plan.rows
    assert ran.size == plan.size
    assert (checked := migration.check()), checked
    assert checked.rows == ran.rows
    return columns(table)


def test_paths_and_null(schema: dj.Schema, tmp_path: Path, columns: Any) -> None:
    table = recording_of(schema, "id : int32\n---\nraw = null : varchar(400)  # where it is")
    files = files_in(tmp_path / "nas")
    table.insert([*({"id": number, "raw": str(path)} for number, path in enumerate(files)), {"id": 9, "raw": None}])
    seen = moved(table, columns)
    assert seen.contents("raw__file") == {number: path.read_bytes() for number, path in enumerate(files)} | {9: None}
    assert seen.names("raw__file") == dict(enumerate(NAMES))
    assert seen.values("raw")[0] == str(files[0]), "the old value is as it was"
    assert table().describe().count("# where it is") == 2


def test_paths_below_a_root(schema: dj.Schema, tmp_path: Path, columns: Any) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : varchar(400)")
    files = files_in(tmp_path / "nas")
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "nas" / "way_out").symlink_to(tmp_path / "secret")
    table.insert([{"id": 0, "raw": NAMES[0]}, {"id": 1, "raw": str(files[1])}])
    bad = ["../secret", "way_out", str(tmp_path / "secret"), "gone.dat", "", "s3://bucket/key"]
    table.insert({"id": 10 + number, "raw": path} for number, path in enumerate(bad))
    migration = Migration(table, "raw", root=tmp_path / "nas")
    assert [one.key for one in migration.plan().problems] == [f"id={10 + number}" for number in range(6)]
    report = migration.run()
    assert report.rows == 2
    told = "\n".join(map(str, report.problems))
    assert told.count("is outside") == 3
    assert "gone.dat does not exist" in told
    assert "is a URL" in told
    assert len(migration.check().problems) == 6
    assert not migration.finish()
    assert columns(table).contents("raw__file") == {0: files[0].read_bytes(), 1: files[1].read_bytes()} | {
        10 + number: None for number in range(6)
    }


def test_attachments(schema: dj.Schema, old_store: Path, tmp_path: Path, columns: Any) -> None:
    files = files_in(tmp_path / "given")
    for kind, name in (("<attach>", "Inside"), ("<attach@main>", "Outside")):
        table = recording_of(schema, f"id : int32\n---\nraw : {kind}", name)
        put_old(table, {number: str(path) for number, path in enumerate(files)})
        seen = moved(table, columns)
        assert seen.contents("raw__file") == {number: path.read_bytes() for number, path in enumerate(files)}
        assert seen.names("raw__file") == dict(enumerate(NAMES))


def test_filepaths(schema: dj.Schema, old_store: Path, columns: Any) -> None:
    files = files_in(old_store / "rig")
    folder = old_store / "rig" / "session"
    (folder / "deep").mkdir(parents=True)
    (folder / "a b.dat").write_bytes(b"1")
    (folder / "deep" / "ü.dat").write_bytes(b"22")
    table = recording_of(schema, "id : int32\n---\nraw : <filepath@main>")
    table.insert({"id": number, "raw": f"rig/{path.name}"} for number, path in enumerate(files))
    table.insert1({"id": 7, "raw": "rig/session"})
    seen = moved(table, columns)
    assert seen.names("raw__file") == dict(enumerate(NAMES)) | {7: "session"}
    directory = (table & "id = 7").fetch1("raw__file")
    assert [file.read() for file in directory.files()] == [b"1", b"22"]
    whole = seen.values("raw__file")
    assert seen.store.content(f"{whole[7]['path']}deep/%C3%BC.dat") == b"22"
    assert seen.store.content(whole[0]["path"]) == files[0].read_bytes()


def test_blobs_as_they_are_and_as_arrays(schema: dj.Schema, old_store: Path, columns: Any) -> None:
    arrays = {1: np.arange(1_000.0), 2: np.zeros((3, 4), "int16")}
    for kind, name in (("<blob>", "Inside"), ("<blob@main>", "Outside")):
        table = recording_of(schema, f"id : int32\n---\nraw : {kind}", name)
        put_old(table, arrays)
        migration = Migration(table, "raw", suffix=".npy")
        assert (ran := migration.run()), ran
        assert migration.check()
        assert columns(table).names("raw__file") == {1: "raw.npy", 2: "raw.npy"}
        for key, content in columns(table).contents("raw__file").items():
            np.testing.assert_array_equal(np.load(io.BytesIO(content)), arrays[key])
    table = recording_of(schema, "id : int32\n---\nraw : <blob@main>", "Bare")
    put_old(table, arrays)
    seen = moved(table, columns)
    assert seen.names("raw__file") == {1: "raw.blob", 2: "raw.blob"}
    assert {key: blob.pack(array, compress=True) for key, array in arrays.items()} == seen.contents("raw__file")


def test_hashed_bytes_and_those_that_were_damaged(schema: dj.Schema, old_store: Path, columns: Any) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : <hash@main>")
    put_old(table, {1: b"%PDF-1.4 x", 2: b"two", 3: b"three"})
    Path(old_store, columns(table).values("raw")[2]["path"]).write_bytes(b"tow")
    Path(old_store, columns(table).values("raw")[3]["path"]).unlink()
    migration = Migration(table, "raw")
    report = migration.run()
    reasons = {problem.key: problem.reason for problem in report.problems}
    assert set(reasons) == {"id=2", "id=3"}
    assert "is damaged" in reasons["id=2"]
    assert columns(table).contents("raw__file") == {1: b"%PDF-1.4 x", 2: None, 3: None}
    assert columns(table).names("raw__file") == {1: "raw.pdf"}


def test_objects_files_and_folders(schema: dj.Schema, old_store: Path, tmp_path: Path, columns: Any) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : <object@main>")
    folder = tmp_path / "movie.zarr"
    (folder / "c" / "0 %s").mkdir(parents=True)
    (folder / "zarr.json").write_bytes(b"{}")
    (folder / "c" / "0 %s" / "1").write_bytes(b"chunk")
    (tmp_path / "a.h5").write_bytes(b"file")
    table.insert1({"id": 1, "raw": str(tmp_path / "a.h5")})
    table.insert1({"id": 2, "raw": str(folder)})
    table.insert1({"id": 3, "raw": str(folder)})
    seen = moved(table, columns)
    assert seen.names("raw__file") == {1: "raw.h5", 2: "raw", 3: "raw"}
    row = seen.values("raw__file")
    assert seen.store.content(f"{row[2]['path']}c/0%20%25s/1") == b"chunk"
    Path(old_store, seen.values("raw")[2]["path"], "zarr.json").write_bytes(b"[]")
    Path(old_store, seen.values("raw")[3]["path"], "zarr.json").unlink()
    found = Migration(table, "raw").check().problems
    assert [problem.key for problem in found] == ["id=2", "id=3"]
    assert "in zarr.json" in found[0].reason


@over_mysql
def test_arrays_of_npy_and_a_store_in_a_bucket(
    schema: dj.Schema, pipeline: dj.Instance, s3_storage: dict[str, Any], columns: Any, tmp_path: Path
) -> None:
    pipeline.config.stores = {"default": "main", "main": s3_of_datajoint(s3_storage)}
    table = recording_of(schema, "id : int32\n---\nraw : <npy@main>", "Array")
    table.insert1({"id": 1, "raw": np.arange(10)})
    seen = moved(table, columns)
    np.testing.assert_array_equal(np.load(io.BytesIO(seen.contents("raw__file")[1])), np.arange(10))
    objects = recording_of(schema, "id : int32\n---\nraw : <object@main>", "Tree")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "a b").write_bytes(b"ab")
    objects.insert1({"id": 1, "raw": str(tmp_path / "tree")})
    seen = moved(objects, columns)
    assert seen.store.content(f"{seen.values('raw__file')[1]['path']}deep/a%20b") == b"ab"
    attached = recording_of(schema, "id : int32\n---\nraw : <attach@main>", "Attached")
    put_old(attached, {1: str(tmp_path / "tree" / "deep" / "a b")})
    assert moved(attached, columns).contents("raw__file") == {1: b"ab"}


@over_mysql
def test_rows_that_lead_out_of_their_store_are_refused(schema: dj.Schema, old_store: Path, columns: Any) -> None:
    table = recording_of(schema, "id : int32\n---\nraw : <filepath@main>")
    (old_store.parent / "secret").write_bytes(b"x")
    Path(f"{old_store}2").mkdir()
    Path(f"{old_store}2", "secret").write_bytes(b"x")
    bad = ["../secret", str(old_store.parent / "secret"), f"{old_store}2/secret", "a/../../secret", "", 7]
    documents = [json.dumps({"path": path, "store": "main"}) for path in bad] + [
        "[]",
        '{"store": "main"}',
        '{"path": "a", "store": {}}',
        '{"path": "a", "store": ["x"]}',
        '{"path": "a", "store": "nowhere"}',
    ]
    for key, document in enumerate(documents):
        table.connection.query(f"INSERT INTO {table.full_table_name} (id, raw) VALUES (%s, %s)", (key, document))
    report = Migration(table, "raw").run()
    assert (report.rows, len(report.problems)) == (0, len(documents))
    assert set(columns(table).values("raw__file").values()) == {None}
