"""Bytes that need not be copied: taken by the store itself, hard linked, or linked; verified all the same."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Migration
from tests.integration.collector.collecting import faulty
from tests.integration.executors import write_toml
from tests.integration.migrate.conftest import put_old, s3_of_datajoint
from tests.projects import Store, over_mysql, unique
from tests.tables import drop_schema, recording_of

PATHS = "id : int32\n---\nraw : varchar(300)"


@over_mysql
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_bucket_copies_what_is_elsewhere_in_it(
    schema: dj.Schema, pipeline: dj.Instance, store: Store, columns: Any, tmp_path: Path
) -> None:
    pipeline.config.stores = {"default": "main", "main": s3_of_datajoint(store.table)}
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "a b").write_bytes(b"ab")
    (tmp_path / "tree" / "empty").write_bytes(b"")
    (tmp_path / "one.h5").write_bytes(b"one")
    objects = recording_of(schema, "id : int32\n---\nraw : <object@main>", "Tree")
    objects.insert([{"id": 1, "raw": str(tmp_path / "tree")}, {"id": 2, "raw": str(tmp_path / "one.h5")}])
    hashed = recording_of(schema, "id : int32\n---\nraw : <hash@main>", "Hashed")
    put_old(hashed, {1: b"one", 2: b""})
    for table in (objects, hashed):
        migration = Migration(table, "raw")
        assert migration.plan().ways == {"copied in the store": 2}
        backend = faulty(table.connection)
        assert (report := migration.run()), report
        assert backend.calls["take"] >= 2
        assert (checked := migration.check()), checked
    assert backend.calls["upload"] == 0, "all was taken by the store"
    seen = columns(objects)
    rows = seen.values("raw__file")
    assert store.content(f"{rows[1]['path']}deep/a%20b") == b"ab"
    assert store.content(f"{rows[1]['path']}empty") == b""
    assert store.content(rows[2]["path"]) == b"one"
    assert columns(hashed).contents("raw__file") == {1: b"one", 2: b""}


@over_mysql
def test_hard_links_share_the_bytes(schema: dj.Schema, columns: Any, store: Store, tmp_path: Path) -> None:
    table = recording_of(schema, PATHS)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "member").write_bytes(b"member")
    for name, mode in (("open", 0o644), ("closed", 0o444)):
        (tmp_path / name).write_bytes(name.encode())
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "closed")
    names = ("open", "closed", "run", "link")
    table.insert({"id": key, "raw": str(tmp_path / name)} for key, name in enumerate(names))
    assert Migration(table, "raw", hard_link="read-only").plan().ways == {"copied": 2, "hard linked": 2}
    migration = Migration(table, "raw", hard_link="read-only")
    assert (ran := migration.run()), ran
    assert migration.check()

    def inode(key: int, member: str = "") -> int:
        path = columns(table).values("raw__file")[key]["path"].partition("/")[2]
        return Path(store.table["path"], path + member).stat().st_ino

    assert inode(1) == (tmp_path / "closed").stat().st_ino
    assert inode(0) != (tmp_path / "open").stat().st_ino
    table.update1({"id": 0, "raw__file": None})
    table.update1({"id": 2, "raw__file": None})
    migration = Migration(table, "raw", hard_link="all")
    assert (ran := migration.run()), ran
    assert migration.check()
    assert inode(0) == (tmp_path / "open").stat().st_ino
    assert inode(2, "member") == (tmp_path / "run" / "member").stat().st_ino
    assert not (tmp_path / "open").stat().st_mode & 0o222, "what is an object may not be written to"


@over_mysql
def test_links_leave_files_where_they_are(instance: dj.Instance, columns: Any, store: Store, tmp_path: Path) -> None:
    datajoint_file.configure(store.configuration(roots={"nas": {"path": str(tmp_path / "nas")}}), connection=instance)
    schema = instance.Schema(unique("links"))
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "a b").write_bytes(b"ab")
    (tmp_path / "elsewhere").write_bytes(b"c")
    table = recording_of(schema, PATHS)
    table.insert([{"id": 1, "raw": str(tmp_path / "nas" / "a b")}, {"id": 2, "raw": str(tmp_path / "elsewhere")}])
    migration = Migration(table, "raw", link=True)
    report = migration.run()
    assert [problem.key for problem in report.problems] == ["id=2"]
    assert columns(table).values("raw__file")[1]["path"] == "nas/a%20b"
    assert store.object_keys() == []
    assert [problem.key for problem in migration.check().problems] == ["id=2"]
    assert Migration(table, "raw", hard_link="all").plan().ways == {"hard linked": 1}, "what is given is in force"
    (tmp_path / "nas" / "a b").write_bytes(b"xy")
    assert [problem.key for problem in migration.check().problems] == ["id=1", "id=2"]
    drop_schema(schema.connection, schema.database)


class Counting(ProcessPoolExecutor):
    """Counts what it is given."""

    given = 0

    def submit(self, *args: Any, **options: Any) -> Future[Any]:
        self.given += 1
        return super().submit(*args, **options)


@over_mysql
def test_workers_of_an_executor_send_and_compare_what_stands_at_a_path(
    instance: dj.Instance, columns: Any, store: Store, tmp_path: Path
) -> None:
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    schema = instance.Schema(unique("workers"))
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "run" / "deep" / "member").write_bytes(b"member")
    values: dict[int, Any] = {number: f"{number}.dat" for number in range(5)} | {8: "run", 9: "gone"}
    for number in range(5):
        (tmp_path / f"{number}.dat").write_bytes(bytes([number]) * 1000)
    table, blobs = recording_of(schema, PATHS), recording_of(schema, "id : int32\n---\nraw : <blob>", "Blobs")
    table.insert({"id": key, "raw": str(tmp_path / name)} for key, name in values.items())
    blobs.insert1({"id": 1, "raw": [1, 2]})
    with Counting(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        report = Migration(table, "raw").run(executor=executor, workers=2)
        assert executor.given > 0
        given = executor.given
        assert Migration(blobs, "raw").run(executor=executor)
        assert executor.given == given, "bytes that are in a row are sent from here"
        assert Migration(blobs, "raw").check(executor=executor)
        assert executor.given == given
        stored = columns(table).values("raw__file")
        store.damage(stored[2]["path"], b"2" * 1000)
        (tmp_path / "run" / "deep" / "member").write_bytes(b"other!")
        checked = Migration(table, "raw").check(executor=executor, workers=2)
        assert executor.given > given
    assert (checked.rows, [problem.key for problem in checked.problems]) == (4, ["id=2", "id=8", "id=9"])
    assert "is not sound" in checked.problems[0].reason
    assert "in deep/member" in checked.problems[1].reason
    assert checked.problems == Migration(table, "raw").check(workers=1).problems
    assert [problem.key for problem in report.problems] == ["id=9"]
    assert {key: store.content(stored[key]["path"]) for key in (0, 1, 3, 4)} == {
        key: bytes([key]) * 1000 for key in (0, 1, 3, 4)
    }
    assert stored[8]["files"] == 1
    drop_schema(schema.connection, schema.database)
