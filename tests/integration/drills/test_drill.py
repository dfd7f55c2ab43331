"""`drill`: what it says of a backup that is fine, and of each way in which one is not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store, bare_filesystem, over_mysql, over_postgresql, unique
from tests.tables import drop_schema, recording_of

from .conftest import Drill, Dump, names

Copied = Callable[[], Path]


def tree_of(directory: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in directory.rglob("*")
    }


def test_a_fine_backup_is_fine_and_nothing_of_it_is_touched(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, store: Store
) -> None:
    made, copy = dump(), copied()
    before = tree_of(copy), tree_of(Path(store.table["path"])), made.read_bytes()
    report = drill(made, copy, max_age="36h")
    assert names(report) == [], str(report)
    assert bool(report)
    assert (report.checked, report.files) == (8, 7), "a file that was replaced is kept, and checked too"
    [told] = [one for one in report.tables if one.schema == lab.database]
    assert (told.table, told.rows, told.live_rows, told.files, told.lost_files) == ("Recording", 6, 6, 7, 0)
    assert {one.schema for one in report.tables} == {lab.database}, "nothing is said of what is somebody else's"
    assert report.is_compared
    assert report.lost.files == 0
    assert "nothing would be lost" in str(report)
    assert report.to_pandas().shape[0] == len(report.tables)
    assert report.to_dict()["ok"] is True
    assert before == (tree_of(copy), tree_of(Path(store.table["path"])), made.read_bytes())


@over_postgresql
def test_a_missing_and_a_damaged_object_are_found(lab: Any, dump: Dump, copied: Copied, drill: Drill) -> None:
    made, copy = dump(), copied()
    lost, damaged = (copy / (lab & {"id": number}).fetch1("raw").path.partition("/")[2] for number in (0, 1))
    lost.unlink()
    damaged.write_bytes(b"Spikes 1")
    (copy / (lab & {"id": 2}).fetch1("raw").path.partition("/")[2]).write_bytes(b"short")
    member = next(copy.rglob("b.txt"))
    member.write_bytes(b"c")
    report = drill(made, copy, sample=None)
    assert sorted(names(report)) == ["damaged", "missing"]
    assert sorted(finding.kind for finding in report.findings) == ["hash", "missing", "size", "size"]
    assert {finding.key.get("id") for finding in report.findings} == {0, 1, 2, 5}
    assert "1 object of 8 that rows of the dump name" in str(report)
    assert report.seed == 0
    assert not report


def test_rows_since_the_dump_are_told_and_an_old_dump_fails(lab: Any, dump: Dump, copied: Copied, drill: Drill) -> None:
    made, copy = dump(), copied()
    lab.insert({"id": number, "raw": ("later.dat", b"x" * 100)} for number in (10, 11))
    (lab & {"id": 0}).delete(prompt=False)
    report = drill(made, copy, max_age=timedelta(0))
    assert names(report) == ["age"]
    assert (report.lost.files, report.lost.size) == (2, 200)
    assert report.lost.oldest is not None
    [told] = [one for one in report.tables if one.schema == lab.database]
    assert (told.rows, told.live_rows, told.lost_files) == (6, 7, 2)
    assert "restored now, 2 files (200 B) would be lost" in str(report)


@over_postgresql
def test_a_copy_that_was_taken_before_the_dump_is_told_from_one_that_lost_files(
    table: Any, dump: Dump, copied: Copied, drill: Drill
) -> None:
    table.insert({"id": number, "raw": ("raw.dat", b"spikes %d" % number)} for number in range(3))
    earlier = "jsonb_set(raw, '{timestamp}', '\"2025-01-15T10:30:00Z\"')"
    table.connection.query(f"UPDATE {table.full_table_name} SET raw = {earlier}")
    copy = copied()
    table.insert({"id": number, "raw": ("later.dat", b"x" * 100)} for number in (10, 11))
    report = drill(dump(), copy)
    assert names(report) == ["order"]
    assert "dump the database first" in report.problems[0].fix
    assert len(report.findings) == 2


@over_postgresql
def test_a_schema_that_the_dump_lacks_is_a_problem(
    lab: Any, pipeline: dj.Instance, dump: Dump, copied: Copied, drill: Drill
) -> None:
    other = pipeline.Schema(unique("other"))
    try:
        recording_of(other).insert1({"id": 1, "raw": ("raw.dat", b"of another schema")})
        made, copy = dump(), copied()
        report = drill(made, copy)
        assert names(report) == ["schema"]
        assert other.database in report.problems[0].detail
        assert report.lost.files == 1
    finally:
        drop_schema(pipeline.connection, other.database)
    assert names(drill(made, copy)) == [], "the copy still has its mark, and the live database says that it is gone"


def _cut(text: bytes) -> bytes:
    return text[: text.rindex(b"\n-- ")]


def _half_packed(text: bytes) -> bytes:
    return gzip.compress(text)[:-20]


def _broken(text: bytes) -> bytes:
    return text.replace(b"CREATE TABLE", b"CREATE TABEL", 1)


@pytest.mark.parametrize(
    ("database", "spoil", "reason"),
    [
        ("mysql", _cut, "cut short"),
        ("postgresql", _cut, "cut short"),
        ("postgresql", _half_packed, "cannot be read to its end"),
        ("mysql", _broken, "cannot be loaded"),
        ("postgresql", _broken, "cannot be loaded"),
    ],
    indirect=["database"],
)
def test_a_dump_that_is_not_whole_fails_with_the_reason(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, spoil: Callable[[bytes], bytes], reason: str
) -> None:
    made = dump()
    made.write_bytes(spoil(made.read_bytes()))
    report = drill(made, copied())
    assert names(report) == ["dump"]
    assert "lab.sql" in report.problems[0].detail
    assert reason in report.problems[0].detail


def test_what_a_dump_says_runs_no_program_and_reads_no_file_here(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, database: Any, tmp_path: Path
) -> None:
    made, copy, trap = dump(), copied(), tmp_path / "trap"
    if "PostgreSQL" in type(database).__name__:
        evil = f"\\! touch {trap}\nCOPY (SELECT 1) TO PROGRAM 'touch {trap}';\nCOPY (SELECT 1) TO '{trap}';\n"
    else:
        evil = f"\\! touch {trap}\nsystem touch {trap}\nSELECT 1 INTO OUTFILE '{trap}';\n"
    first, _, rest = made.read_text("utf-8").partition("\n")
    made.write_text(f"{first}\n{evil}{rest}", "utf-8")
    report = drill(made, copy)
    assert not trap.exists()
    assert names(report) == ["dump"]


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
@pytest.mark.parametrize("definer", ["root@localhost", "`mysql.session`@localhost", "known@'%'", "made@'%'"])
def test_no_routine_of_a_dump_has_the_rights_of_another_account(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, temporary: Path, tmp_path: Path, definer: str
) -> None:
    made, copy, trap = dump(), copied(), tmp_path / "trap"
    rights = """'{"access": 18446744073709551615}'"""
    evil = f"""CREATE DATABASE evil;
CREATE USER known@'%';
UPDATE mysql.global_priv SET priv = {rights} WHERE user = 'known';
ALTER USER known@'%' IDENTIFIED BY 'x';
INSERT INTO mysql.global_priv VALUES ('%', 'made', {rights});
FLUSH PRIVILEGES;
CREATE DEFINER={definer} PROCEDURE evil.p() SQL SECURITY DEFINER SET GLOBAL general_log_file = '{trap}';
CREATE DEFINER={definer} PROCEDURE evil.q() SQL SECURITY DEFINER SET GLOBAL general_log = ON;
CALL evil.p();
CALL evil.q();
SELECT 'anything';
"""
    first, _, rest = made.read_text("utf-8").partition("\n")
    made.write_text(f"{first}\n{evil}{rest}", "utf-8")
    drill(made, copy)
    assert not trap.exists()


def test_names_that_mean_something_elsewhere_are_only_names(
    pipeline: dj.Instance, dump: Dump, copied: Copied, drill: Drill, database: Any, lab: Any, tmp_path: Path
) -> None:
    is_postgresql = "PostgreSQL" in type(database).__name__
    quote = '"{}"'.format if is_postgresql else "`{}`".format
    name = f"%s '; x {unique('')}"
    try:
        pipeline.connection.query(f"CREATE SCHEMA {quote(name.replace('%', '%%'))}", ())
        pipeline.connection.query(
            f"CREATE TABLE {quote(name.replace('%', '%%'))}.{quote('a; DROP %%d')} (id INT PRIMARY KEY)", ()
        )
        report = drill(dump(lab.database, name), copied())
        assert names(report) == [], str(report)
        assert name in {one.schema for one in report.tables if one.rows == 0}
    finally:
        drop_schema(pipeline.connection, name)


@over_postgresql
@pytest.mark.parametrize(("name", "options"), [("lab.dump", ("--format=custom",)), ("lab", ("--format=directory",))])
def test_archives_of_postgresql_are_loaded(
    lab: Any, dump: Dump, copied: Copied, drill: Drill, name: str, options: tuple[str, ...]
) -> None:
    made = dump(name=name, options=options)
    report = drill(made, copied())
    assert names(report) == [], str(report)
    assert report.taken_by == "as the dump says"
    assert report.checked == 8
    data = made if made.is_file() else next(made.glob("*.dat.gz"))
    data.write_bytes(data.read_bytes()[:-30])
    assert names(drill(made, made.parent / "copy")) == ["dump"]


@over_mysql
def test_a_dump_of_the_whole_server_is_loaded_without_its_accounts(
    lab: Any, dump: Dump, copied: Copied, drill: Drill
) -> None:
    made = dump("mysql", lab.database, options=("--flush-privileges",))
    report = drill(made, copied())
    assert names(report) == [], str(report)
    assert report.checked == 8


@over_postgresql
def test_a_directory_of_dumps_is_one_backup(
    lab: Any, pipeline: dj.Instance, dump: Dump, copied: Copied, drill: Drill, tmp_path: Path
) -> None:
    other = pipeline.Schema(unique("other"))
    try:
        recording_of(other).insert1({"id": 1, "raw": ("raw.dat", b"of another schema")})
        (tmp_path / "dumps").mkdir()
        for schema in (lab.database, other.database):
            made = dump(schema, name=f"dumps/{schema}.sql")
            with gzip.open(f"{made}.gz", "wb") as file:
                file.write(made.read_bytes())
            made.unlink()
        report = drill(tmp_path / "dumps", copied())
    finally:
        drop_schema(pipeline.connection, other.database)
    assert names(report) == [], str(report)
    assert report.checked == 9


@pytest.mark.parametrize("store", ["s3"], indirect=True)
@over_postgresql
def test_a_copy_in_another_bucket_is_verified(lab: Any, dump: Dump, drill: Drill, store: Store, tmp_path: Path) -> None:
    made, filesystem = dump(), bare_filesystem(store.table)
    copy, bucket = tmp_path / "bucket", f"{store.root_name}/{store.project}"
    filesystem.get(bucket, str(copy / store.project), recursive=True)
    report = drill(made, copy)  # what `rclone copy` makes of a bucket
    assert names(report) == [], str(report)
    filesystem.put(str(copy / store.project), f"{store.root_name}/backup/{store.project}", recursive=True)
    report = drill(made, {"project": {"name": store.project}, "storage": {**store.table, "prefix": "backup"}})
    assert names(report) == [], str(report)
    assert report.checked == 8


@over_postgresql
def test_a_live_database_that_is_not_reached_makes_a_backup_no_worse(
    lab: Any, dump: Dump, copied: Copied, store: Store, database: Any
) -> None:
    made, copy = dump(), copied()
    with dj.config.override(
        database__host="127.0.0.1", database__port=9, database__user="nobody", database__password="not-given"
    ):
        storage = {"backend": "file", "path": str(copy)}
        report = datajoint_file.drill(made, {"project": {"name": store.project}, "storage": storage})
    assert names(report) == [], str(report)
    assert not report.is_compared
    assert report.checked == 8
    assert [note.name for note in report.notes if "was not asked" in note.detail] == ["live"]
    assert "not-given" not in str(report)


@over_postgresql
def test_a_live_table_that_this_user_may_not_read_is_told(
    lab: Any, pipeline: dj.Instance, dump: Dump, copied: Copied, database: Any, store: Store
) -> None:
    made, copy, reader = dump(), copied(), unique("reader")
    pipeline.connection.query(f"CREATE ROLE {reader} LOGIN PASSWORD 'x'")
    try:
        there = dj.Instance(database.host, reader, "x", database.port, use_tls=False, backend="postgresql")
        datajoint_file.configure(store.configuration(), connection=there)
        report = datajoint_file.drill(made, copy, connection=there)
        there.connection.close()
    finally:
        pipeline.connection.query(f"DROP ROLE {reader}")
    assert set(names(report)) == {"sight"}, str(report)
    assert f"{lab.database}.Recording of the live database cannot be read" in str(report)
