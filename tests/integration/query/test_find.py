"""Files are found by content, hash and place, over all schemas of real databases; what is hidden is said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import ConfigurationNotFoundError, IndexingError, QueryError, UnknownRootError
from datajoint_file.journal.second_connection import second_connection_of
from tests.projects import Store, connect, over_local_and_s3, over_mysql, over_postgresql, unique
from tests.tables import drop_schema, recording_of

ODD_NAME = '50% \N{EN DASH} o\'rig "3".dat'


@pytest.fixture
def lab(instance: dj.Instance, store: Store, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Two schemas of one project that share a content, a directory, and links to a file and to a directory."""
    nas = tmp_path / "nas"
    (nas / "rig 3" / "raw").mkdir(parents=True)
    (nas / "rig 3" / "raw" / "é.dat").write_bytes(b"linked")
    (nas / "one.dat").write_bytes(b"one linked")
    tree = tmp_path / "sorted.zarr"
    (tree / "c").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "c" / "0 0").write_bytes(b"chunk")
    (tree / ".zarray").write_bytes(b"{}")
    roots = {"nas": {"path": str(nas)}}
    datajoint_file.configure(store.configuration(roots=roots), connection=instance)
    first, second = instance.Schema(unique("first")), instance.Schema(unique("second"))
    recording = recording_of(first)
    recording.insert(
        [
            {"id": 1, "raw": (ODD_NAME, b"spikes"), "extra": tree},
            {"id": 2, "raw": ("b.dat", b"others"), "extra": datajoint_file.Link(nas / "one.dat")},
            {"id": 3, "raw": ("c.dat", b"more"), "extra": datajoint_file.Link(nas / "rig 3")},
        ]
    )
    copies = recording_of(second, "day : date\nrate : float32\n---\nraw : file", "Copies")
    copies.insert1({"day": "2026-01-02", "rate": 1.23456789, "raw": ("copy.dat", b"spikes")})
    yield SimpleNamespace(
        connection=instance.connection,
        first=first,
        second=second,
        recording=recording,
        copies=copies,
        tree=tree,
        nas=nas,
    )
    for schema in (first, second):
        drop_schema(instance.connection, schema.database)


def find(lab: SimpleNamespace, **given: Any) -> datajoint_file.FindReport:
    return datajoint_file.find(**given, schemas=[lab.first, lab.second], connection=lab.connection)


def places(report: datajoint_file.FindReport) -> list[tuple[str, str, Any]]:
    return [(one.table.rpartition(".")[2], one.attribute, one.key.get("id")) for one in report]


def test_content_and_hash_are_found_in_all_schemas(lab: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"spikes")
    digest = hashlib.sha256(b"spikes").hexdigest()
    both = [("Recording", "raw", 1), ("Copies", "raw", None)]
    given = (
        {"file": tmp_path / "local"},
        {"file": ("any name", b"spikes")},
        {"file": (lab.recording & "id = 1").fetch1("raw")},
        {"hash": digest},
        {"hash": f"sha256:{digest.upper()}"},
        {"hash": digest[:8]},
        {"hash": digest[:40]},
    )
    for one in given:
        assert places(find(lab, **one)) == both, one
    report = find(lab, hash=digest)
    assert report
    assert [one.ref.name for one in report] == [ODD_NAME, "copy.dat"]
    assert all(
        (table & one.key).fetch1("raw") == one.ref
        for table, one in zip((lab.recording, lab.copies), report, strict=True)
    )
    assert "Recording.raw (id=1)" in str(report[0])
    assert places(datajoint_file.find(hash=digest, schemas=lab.second.database, connection=lab.connection)) == both[1:]
    assert set(both) <= set(places(datajoint_file.find(hash=digest, connection=lab.connection)))


def test_what_is_not_there_is_said_with_where_it_was_looked_for(lab: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"spike")
    report = find(lab, file=tmp_path / "local")
    assert not report
    assert (len(report), report.earlier, report.unread, report.hides_schemas) == (0, (), (), False)
    assert report.schemas == (lab.first.database, lab.second.database)
    assert str(report).startswith("No row of 2 schemas with files (first_")
    digest = hashlib.sha256(b"spikes").hexdigest()
    assert not find(lab, hash=f"{digest[:40]}{'0' * 24}")


@over_local_and_s3
def test_object_is_found_by_its_key_url_and_path(lab: SimpleNamespace, store: Store) -> None:
    ref = (lab.recording & "id = 1").fetch1("raw")
    given = [ref.path, ref.url, ref]
    if store.is_local:
        path = Path(ref.full_path)
        link = path.parents[5] / "link"
        link.symlink_to(path)
        given += [path, str(link), os.path.relpath(path)]
    for one in given:
        report = find(lab, path=one)
        assert places(report) == [("Recording", "raw", 1)], one
        assert report[0].ref == ref


@over_local_and_s3
def test_directory_is_found_by_content_and_by_the_place_of_what_is_in_it(lab: SimpleNamespace) -> None:
    ref = (lab.recording & "id = 1").fetch1("extra")
    here = [("Recording", "extra", 1)]
    assert places(find(lab, file=lab.tree)) == here
    (lab.tree / "c" / "0 0").write_bytes(b"Chunk")
    assert not find(lab, file=lab.tree)
    member = ref / "c" / "0 0"
    for one, inner in ((ref.path, ""), (ref.path.rstrip("/"), ""), (ref.url, ""), (ref, ""), (member.path, "c/0 0")):
        report = find(lab, path=one)
        assert (places(report), report[0].member, report[0].ref) == (here, inner, ref), one
    for one in (member.url, member):
        assert find(lab, path=one)[0].member == "c/0 0"
    assert (report[0].ref / find(lab, path=member.url)[0].member) == member


def test_original_of_a_link_is_found(lab: SimpleNamespace) -> None:
    file, directory = [("Recording", "extra", 2)], [("Recording", "extra", 3)]
    ref = (lab.recording & "id = 2").fetch1("extra")
    for one in (lab.nas / "one.dat", (lab.nas / "one.dat").as_uri(), "nas/one.dat", ref, ref.url):
        assert places(find(lab, path=one)) == file, one
    for one in (lab.nas / "rig 3", f"{lab.nas}/rig 3/", "nas/rig%203", (lab.recording & "id = 3").fetch1("extra")):
        assert places(find(lab, path=one)) == directory, one
    member = find(lab, path=lab.nas / "rig 3" / "raw" / "é.dat")
    assert (places(member), member[0].member) == (directory, "raw/é.dat")
    assert places(find(lab, file=lab.nas / "rig 3")) == directory


def test_what_no_row_can_name_is_an_error(lab: SimpleNamespace, instance: dj.Instance, tmp_path: Path) -> None:
    with pytest.raises(UnknownRootError, match=r"lies in no store and below no root of datajoint.toml.*nas \("):
        find(lab, path=tmp_path / "elsewhere.dat")
    with pytest.raises(UnknownRootError, match="//host/x lies"):
        find(lab, path="https://user:secret@host/x?signature=secret")
    for given in ({}, {"hash": "0" * 64, "path": "x"}, {"hash": "abc"}, {"hash": "md5:" + "0" * 32}, {"path": 5}):
        with pytest.raises(QueryError):
            find(lab, **given)
    with pytest.raises(QueryError, match=r"there is no schema 'first_.*did you mean"):
        datajoint_file.find(hash="0" * 64, schemas=f"{lab.first.database}x", connection=lab.connection)
    assert not find(lab, path="lab/x/objects/y/z.dat")


def test_key_is_found_without_a_configuration(
    lab: SimpleNamespace, database: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "bare").mkdir()
    monkeypatch.chdir(tmp_path / "bare")
    other, ref = connect(database).connection, (lab.recording & "id = 1").fetch1("raw")
    found = datajoint_file.find(path=ref.path, connection=other)
    assert [one.ref.path for one in found] == [ref.path]
    with pytest.raises(ConfigurationNotFoundError):
        datajoint_file.find(path=tmp_path / "x.dat", connection=other)
    other.close()


def test_what_a_row_had_before_is_told(lab: SimpleNamespace) -> None:
    old = (lab.recording & "id = 1").fetch1("raw")
    lab.recording.update1({"id": 1, "raw": ("new.dat", b"new")})
    lab.copies.delete(prompt=False)
    report = find(lab, file=("x", b"spikes"))
    assert not report
    assert [(one.table.rpartition(".")[2], one.version.why) for one in report.earlier] == [
        ("Copies", "delete"),
        ("Recording", "update"),
    ]
    assert report.earlier[1].version.file.read() == b"spikes"
    assert "There was one: second_" in str(report)
    (by_path,) = find(lab, path=old.path).earlier
    assert (by_path.version.key, by_path.version.attribute) == ({"id": 1}, "raw")
    datajoint_file.revert(lab.recording & "id = 1", "raw")
    assert (places(find(lab, path=old.path)), find(lab, path=old.path).earlier) == ([("Recording", "raw", 1)], ())


def test_row_that_describes_no_file_is_told_and_hides_no_other(lab: SimpleNamespace) -> None:
    digest = hashlib.sha256(b"spikes").hexdigest()
    table = lab.recording.full_table_name
    second_connection_of(lab.connection).execute(
        f"UPDATE {table} SET raw = %s WHERE id = 2", (f'{{"path": "../x", "hash": "sha256:{digest}"}}',)
    )
    report = find(lab, hash=digest)
    assert places(report) == [("Recording", "raw", 1), ("Copies", "raw", None)]
    (told,) = report.unread
    assert "Recording.raw (id=2): " in told
    assert "Not looked at: first_" in str(report)


@over_mysql
def test_schemas_that_mysql_hides_are_said_to_be_hidden(lab: SimpleNamespace, mysql: Any) -> None:
    name, second = unique("reader")[:30], second_connection_of(lab.connection)
    second.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY 'reader'")
    second.execute(f"GRANT SELECT ON `{lab.first.database}`.* TO '{name}'@'%'")
    second.execute(f"GRANT INSERT ON `{lab.second.database}`.* TO '{name}'@'%'")
    instance = dj.Instance(mysql.host, name, "reader", port=mysql.port, use_tls=False)
    digest = hashlib.sha256(b"spikes").hexdigest()
    report = datajoint_file.find(hash=digest, connection=instance.connection)
    assert places(report) == [("Recording", "raw", 1)]
    assert report.unread[0] == f"{lab.second.database}: this user may not read all of it"
    assert report.unread[1].startswith(f"{lab.second.database}.Copies.raw: SELECT command denied")
    assert report.hides_schemas
    assert "schemas that this user is not told of" in str(report)
    instance.connection.close()
    second.execute(f"DROP USER '{name}'@'%'")


@over_postgresql
def test_tables_that_postgresql_hides_rows_of_are_named(lab: SimpleNamespace, postgresql: Any) -> None:
    name, second = unique("reader"), second_connection_of(lab.connection)
    second.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'reader'")
    for schema in (lab.first, lab.second):
        second.execute(f'GRANT USAGE ON SCHEMA "{schema.database}" TO {name}')
    second.execute(f"GRANT SELECT ON {lab.recording.full_table_name} TO {name}")
    second.execute(f"ALTER TABLE {lab.recording.full_table_name} ENABLE ROW LEVEL SECURITY")
    instance = dj.Instance(postgresql.host, name, "reader", port=postgresql.port, use_tls=False, backend="postgresql")
    report = datajoint_file.find(
        hash="0" * 64, schemas=[lab.first.database, lab.second.database], connection=instance.connection
    )
    assert not report
    told = " ".join(report.unread)
    assert (len(report.unread), report.hides_schemas) == (5, False)  # three attributes and two histories
    assert "row-level security" in told
    assert "Copies.raw: permission denied" in told
    with pytest.raises(IndexingError, match="may not change the indexes of the table: must be owner of table"):
        datajoint_file.index(dj.FreeTable(instance.connection, lab.recording.full_table_name))
    instance.connection.close()
    second.execute(f"DROP OWNED BY {name}")
    second.execute(f"DROP ROLE {name}")
