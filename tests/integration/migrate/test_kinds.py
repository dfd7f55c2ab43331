"""Each kind of old attribute becomes files: the bytes in the store are those that there were, under their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datajoint as dj

from datajoint_file import Migration
from tests.integration.migrate.conftest import put_old
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
