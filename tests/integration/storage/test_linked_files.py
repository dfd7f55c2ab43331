"""Linked files: recorded and read where they are, never copied, written or removed; what was changed is never read."""

from __future__ import annotations

import hashlib
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from azure.core.exceptions import HttpResponseError

import datajoint_file
from datajoint_file import Link
from datajoint_file.config import parse_settings
from datajoint_file.doctor.roots import check_links
from datajoint_file.errors import (
    FileChangedError,
    MetadataError,
    ObjectNotFoundError,
    StorageUnavailableError,
    UnknownProjectError,
    UnknownRootError,
    UnsafePathError,
    UnsupportedValueError,
)
from datajoint_file.intake.free import free
from datajoint_file.intake.watch import Watch
from datajoint_file.pipeline import checked_reads, filesystem
from datajoint_file.pipeline.pipeline import Pipeline
from tests.projects import DATABASES, Store, bare_filesystem, connect, over_local_and_s3, over_mysql, unique

from .conftest import CONTENT, Root

ODD = "rig 3/a#b?[1] %20.dat"
BUCKETS = ["s3", "gcs", "azure"]
on_disk_and_buckets = pytest.mark.parametrize("nas", ["disk", *BUCKETS], indirect=True)
anywhere = pytest.mark.parametrize(
    ("nas", "database"),
    [*product(["disk", "s3", "memory"], DATABASES), ("gcs", "mysql"), ("azure", "mysql")],
    indirect=True,
)


def json_of(table: Any, attribute: str = "raw") -> dict[str, Any]:
    adapter = table.connection.adapter
    text = "::text" if adapter.backend == "postgresql" else ""
    sql = f"SELECT {adapter.quote_identifier(attribute)}{text} FROM {table.full_table_name}"
    return dict(json.loads(table.connection.query(sql).fetchall()[0][0]))


def set_json(table: Any, document: dict[str, Any]) -> None:
    raw = table.connection.adapter.quote_identifier("raw")
    table.connection.query(f"UPDATE {table.full_table_name} SET {raw} = %s", (json.dumps(document),))


def opened(ref: Any) -> bytes:
    with ref.open() as file:
        return bytes(file.read())


@anywhere
def test_link_is_recorded_and_read_where_it_is(table: Any, store: Store, nas: Root, tmp_path: Path) -> None:
    table.insert1({"id": 1, "raw": Link(nas.write(ODD))})
    row = json_of(table)
    assert (row["path"], row["linked"]) == ("nas/rig%203/a%23b%3F%5B1%5D%20%2520.dat", True)
    assert row["hash"] == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert (row["size"], row["original_name"]) == (len(CONTENT), "a#b?[1] %20.dat")
    assert store.object_keys() == []
    ref = table.fetch1("raw")
    assert ref.read() == CONTENT
    assert ref.read(start=3, stop=9) == CONTENT[3:9]
    with ref.open() as file:
        assert file.read(5) == CONTENT[:5]
    assert ref.download(tmp_path / "here.dat").read_bytes() == CONTENT
    assert Path(ref).read_bytes() == CONTENT
    assert (os.fspath(ref) == nas.address(ODD)) == nas.is_local
    assert ref.exists()
    assert ref.verify()
    assert ref.fs.cat_file(ref.name) == CONTENT
    assert len(table & {"raw": ref}) == 1
    assert len(datajoint_file.download(table, tmp_path / "all", layout="path")) == 1
    report = datajoint_file.verify(table)
    assert report
    assert report.checked == 1
    if nas.table["backend"] == "s3":
        assert "X-Amz-Signature" in ref.sign("1 min")
    assert repr(ref).endswith(f"linked {row['path']!r})")
    if nas.owner:  # the pipeline could not have written there
        with pytest.raises((PermissionError, HttpResponseError)):
            bare_filesystem(nas.table).pipe_file(f"{nas.place}/{ODD}", b"other")
    assert nas.names() == {ODD}


@on_disk_and_buckets
@over_mysql
def test_changed_or_missing_original_is_never_other_bytes(
    table: Any, nas: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = unique("of this test alone").encode()  # which no cache has
    table.insert1({"id": 1, "raw": Link(nas.write("run1.dat", content))})
    ref = table.fetch1("raw")
    assert opened(ref) == content
    nas.write("run1.dat", content.upper())
    if nas.is_local:  # as `cp -p` does
        os.utime(f"{nas.place}/run1.dat", (0, 0))
    parts = (ref.open, ref.preview, lambda: ref.read(start=3), lambda: ref.upath.open().read())
    for use in (ref.read, ref.verify, ref.cache, lambda: ref.download(tmp_path / "x.dat"), *parts):
        with pytest.raises(FileChangedError, match=f"nas/run1.dat: expected {ref.hash}.*found sha256:.*link it again"):
            use()
    assert not (tmp_path / "x.dat").exists()
    (finding,) = datajoint_file.verify(table).findings
    assert (finding.kind, finding.expected) == ("changed", ref.hash)
    nas.write("run1.dat", b"short")
    for use in (ref.read, ref.open, lambda: table.update1({"id": 1, "extra": ref})):
        with pytest.raises(FileChangedError, match=f"expected {len(content)} bytes, found 5"):
            use()
    (finding,) = datajoint_file.verify(table, level="size").findings
    assert (finding.kind, finding.found) == ("changed", "5 bytes")
    nas.write("other.dat")
    nas.remove("run1.dat")
    assert not ref.exists()
    with pytest.raises(
        ObjectNotFoundError, match=r"no file at .*run1.dat any more: .*if all of the root 'nas' is else"
    ):
        ref.read()
    (finding,) = datajoint_file.verify(table).findings
    assert finding.kind == "gone"
    nas.remove("other.dat")
    for use in (ref.read, ref.exists):  # an empty mount point
        with pytest.raises(StorageUnavailableError, match="the root 'nas' has no file at all"):
            use()
    (finding,) = datajoint_file.verify(table).findings
    assert finding.kind == "unreadable"


@pytest.mark.parametrize("nas", ["disk", "s3", "memory"], indirect=True)
@over_mysql
def test_part_of_an_original_is_given_out_if_it_is_not_written_to_or_is_what_was_linked(
    table: Any, nas: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (checked_reads, filesystem):
        monkeypatch.setattr(module, "VERIFIED_BYTES", 9)
    table.insert1({"id": 1, "raw": Link(nas.write("day/run1.dat")), "extra": Link(nas.address("day/"))})
    changed = CONTENT.swapcase()
    nas.write("day/run1.dat", changed)
    ref, directory = table.fetch1("raw", "extra")
    member = directory / "run1.dat"
    for use in (
        lambda: ref.read(start=3, stop=9),
        member.open,
        lambda: member.read(start=3, stop=9),
        lambda: directory.fs.cat_file("run1.dat", 3, 9),
        lambda: directory.fs.open("run1.dat"),
    ):
        with pytest.raises(FileChangedError, match=r"nas/day/run1.dat: expected"):
            use()
    assert ref.read(start=3, stop=9, verify="size") == changed[3:9]  # as it was asked for
    nas.write("day/run1.dat")
    assert (opened(ref), member.read(start=3, stop=9)) == (CONTENT, CONTENT[3:9])
    set_json(table, {**json_of(table), "timestamp": "2999-01-01T00:00:00Z"})  # when nothing was written to it any more
    nas.write("day/run1.dat", changed)
    assert opened(table.fetch1("raw")) == changed  # nobody has read it through
    table.update1({"id": 1, "raw": Link(nas.address("day/run1.dat"), hash=f"sha256:{'0' * 64}")})
    with pytest.raises(FileChangedError):
        table.fetch1("raw").open()


def test_known_hash_is_not_read_and_compared_at_the_first_read(table: Any, nas: Root) -> None:
    path, known = nas.write("run1.dat"), f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    table.insert1({"id": 1, "raw": Link(path, hash=known, name="best.dat", title="The best", mime_type="x/y")})
    ref = table.fetch1("raw")
    assert (ref.hash, ref.name, ref.title, ref.mime_type, ref.read()) == (known, "best.dat", "The best", "x/y", CONTENT)
    table.update1({"id": 1, "extra": Link(path, hash=f"sha256:{'0' * 64}")})
    with pytest.raises(FileChangedError):
        table.fetch1("extra").read()
    for link in (Link(path, hash="md5:00"), Link(3), Link(path, mime_type="x")):
        with pytest.raises(UnsupportedValueError):
            table.insert1({"id": 2, "raw": link})


@over_mysql
def test_link_that_leaves_its_root_is_refused_on_write_and_read(
    table: Any, nas: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.dat").write_bytes(b"secret")
    Path(nas.place, "way").symlink_to(outside)
    for path in (f"{nas.place}/../outside/secret.dat", f"{nas.place}/way/secret.dat"):
        with pytest.raises(UnsafePathError, match=f"leaves the root 'nas' .*ends at {outside}/secret.dat"):
            table.insert1({"id": 1, "raw": Link(path)})
    with pytest.raises(UnknownRootError) as caught:
        table.insert1({"id": 1, "raw": Link(outside / "secret.dat")})
    toml = str(caught.value).partition("\n\n")[2].splitlines()
    assert f"The roots are: nas ({nas.place}), " in str(caught.value)
    assert toml[1:] == ["[roots.outside]", f'path = "{outside}"']
    assert len(toml) == 3
    Path(nas.place, "inner").symlink_to(nas.place)  # recorded as what it ends at
    nas.write("rig/run1.dat")
    table.insert1({"id": 1, "raw": Link(f"{nas.place}/inner/rig/run1.dat")})
    row = json_of(table)
    assert row["path"] == "nas/rig/run1.dat"
    Path(nas.place, "rig", "run1.dat").unlink()
    Path(nas.place, "rig", "run1.dat").symlink_to(outside / "secret.dat")
    secret = {**row, "size": 6, "hash": f"sha256:{hashlib.sha256(b'secret').hexdigest()}"}
    for path in ("nas/way/secret.dat", "nas/rig/run1.dat"):
        set_json(table, {**secret, "path": path})
        with pytest.raises(UnsafePathError, match="leaves its root through a symbolic link"):
            table.fetch1("raw").read()
    for path in (
        "nas/../outside/secret.dat",
        "nas/..%2Foutside%2Fsecret.dat",
        "/etc/passwd",
        "nas/",
        "nas//etc/passwd",
    ):
        set_json(table, {**secret, "path": path})
        with pytest.raises(UnsafePathError):
            table.fetch1("raw").read()
    set_json(table, {**secret, "path": "elsewhere/secret.dat"})
    assert table.fetch1("raw").size == 6
    with pytest.raises(UnknownRootError, match="set DATAJOINT_FILE__ROOTS__ELSEWHERE__PATH"):
        table.fetch1("raw").read()
    del secret["linked"]
    set_json(table, {**secret, "path": "nas/rig/run1.dat"})  # no link: a project called so
    with pytest.raises(UnknownProjectError, match=r"\[projects.nas\]"):
        table.fetch1("raw").read()
    set_json(table, {**secret, "path": "nas/rig/run1.dat", "linked": "yes"})
    with pytest.raises(MetadataError):
        table.fetch1("raw").read()


@over_mysql
def test_root_that_is_not_on_this_machine(
    table: Any, nas: Root, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table.insert1({"id": 1, "raw": Link(nas.write("run1.dat"))})
    moved = tmp_path / "Volumes"
    Path(nas.place).rename(moved)
    ref = table.fetch1("raw")
    assert (ref.name, ref.size) == ("run1.dat", len(CONTENT))
    with pytest.raises(StorageUnavailableError, match=r"the root 'nas'.*DATAJOINT_FILE__ROOTS__NAS__PATH"):
        ref.read()
    monkeypatch.setenv("DATAJOINT_FILE__ROOTS__NAS__PATH", str(moved))
    elsewhere = Pipeline(parse_settings(store.configuration(roots={"nas": nas.table}), "there"))
    assert elsewhere.read(ref.metadata) == CONTENT


def test_root_that_is_another_one_on_this_machine_is_told(table: Any, nas: Root, store: Store) -> None:
    table.insert1({"id": 1, "raw": Link(nas.write("rig/run1.dat")), "extra": Link(nas.address("rig/"))})
    here, above = parse_settings(store.configuration(roots={"nas": nas.table}), "here"), str(Path(nas.place).parent)
    there = parse_settings(store.configuration(roots={"nas": {"path": above}}), "there")
    assert check_links(here, table.connection).status == "ok"
    check = check_links(there, table.connection)
    assert (check.status, "below the root nas not one is there" in check.detail) == ("failed", True)
    assert "DATAJOINT_FILE__ROOTS__NAS__PATH" in check.fix


@over_local_and_s3
def test_file_of_the_project_can_be_linked_outside_of_objects(table: Any, store: Store, tmp_path: Path) -> None:
    key = f"{store.project}/incoming/day 1/run1.dat"
    if store.is_local:
        path = Path(store.table["path"], "incoming/day 1/run1.dat")
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        address = str(path)
    else:
        store.damage(key, CONTENT)
        address = f"s3://{store.root_name}/{key}"
    table.insert1({"id": 1, "raw": Link(address), "extra": ("a.txt", b"stored")})
    assert json_of(table)["path"] == f"{store.project}/incoming/day%201/run1.dat"
    assert table.fetch1("raw").read() == CONTENT
    assert datajoint_file.verify(table)
    other: dict[str, Any] = {"project": {"name": "other"}, "storage": {"backend": "memory", "path": "/other"}}
    reader = Pipeline(parse_settings({**other, "projects": {store.project: store.table}}, "theirs"))
    assert reader.read(table.fetch1("raw").metadata) == CONTENT  # a project is a root to others as well
    stored = table.fetch1("extra")
    with pytest.raises(UnsafePathError, match="where the project keeps what is stored"):
        table.insert1({"id": 2, "raw": Link(stored.full_path)})
    set_json(table, {**json_of(table, "extra"), "linked": True})
    with pytest.raises(UnsafePathError, match="the key of a stored object"):
        table.fetch1("raw").read()


@over_mysql
def test_link_stays_a_link(schema: dj.Schema, table: Any, nas: Root, store: Store) -> None:
    table.insert1({"id": 1, "raw": Link(nas.write("run1.dat"))})
    ref = table.fetch1("raw")
    table.update1({"id": 1, "extra": ref})
    assert table.fetch1("extra") == ref
    table.insert1({"id": 2, "raw": datajoint_file.File(ref, name="x.dat", title="T")})
    other = (table & "id=2").fetch1("raw")
    assert (other.linked, other.name, other.title) == (ref.linked, "x.dat", "T")

    @schema
    class Copy(dj.Manual):
        definition = "id : int32\n---\nraw : file"

    Copy.insert(table.proj("raw"))
    assert (Copy & "id=1").fetch1("raw") == ref
    table.update1({"id": 1, "raw": ("new.dat", b"new")})
    assert (table & "id=1").fetch1("raw").read() == b"new"
    (version,) = datajoint_file.history(table & "id=1", "raw")
    assert version.file == ref
    datajoint_file.revert(table & "id=1", "raw")
    assert (table & "id=1").fetch1("raw") == ref
    table.delete(prompt=False)
    done = datajoint_file.undelete(table, since="1 h")
    assert done
    assert (table & "id=1").fetch1("raw").read() == CONTENT
    assert (table & "id=1").fetch1("extra") == ref
    assert nas.names() == {"run1.dat"}


@over_mysql
def test_link_of_a_pipeline_whose_root_is_elsewhere_is_refused(
    table: Any, nas: Root, store: Store, database: Any, tmp_path: Path
) -> None:
    table.insert1({"id": 1, "raw": Link(nas.write("run1.dat"))})
    (tmp_path / "other").mkdir()
    other = connect(database)
    roots = {"nas": {"path": str(tmp_path / "other")}}
    datajoint_file.configure(store.configuration(roots=roots), connection=other)
    theirs = other.Schema(table.database)
    ref = dj.FreeTable(theirs.connection, table.full_table_name).fetch1("raw")
    with pytest.raises(StorageUnavailableError):
        ref.read()
    with pytest.raises(UnsupportedValueError, match=r"below a root that the pipeline .* has elsewhere"):
        table.insert1({"id": 2, "raw": ref})
    with pytest.raises(UnsupportedValueError, match="needs no staging"):
        datajoint_file.stage(table, {"id": 3}, "raw", Link(nas.address("run1.dat")))
    other.connection.close()


def test_links_of_a_transaction_that_is_rolled_back_leave_nothing(table: Any, nas: Root, store: Store) -> None:
    link = Link(nas.write("run1.dat"))
    with pytest.raises(ZeroDivisionError), table.connection.transaction:
        table.insert1({"id": 1, "raw": link, "extra": ("a.txt", b"stored")})
        raise ZeroDivisionError
    assert len(table()) == 0
    table.insert([{"id": 1, "raw": link}, {"id": 1, "raw": link}], skip_duplicates=True)
    table.insert1({"id": 1, "raw": link, "extra": ("a.txt", b"stored")}, replace=True)
    assert (table.fetch1("raw").read(), table.fetch1("extra").read()) == (CONTENT, b"stored")
    assert len(store.object_keys()) in (1, 2)  # that of the first attempt is adopted, or collected
    assert nas.names() == {"run1.dat"}


@over_mysql
def test_the_only_copy_is_not_freed_for_a_link_to_it(table: Any, nas: Root) -> None:
    path, root = Path(nas.write("run1.dat")), Path(nas.place)
    watch = Watch(root, "run{id}.dat", table, attribute="raw", still=0)
    while not watch.look().done:
        pass
    assert [one.state for one in free(root, table.connection)] == ["stored"]
    table.update1({"id": 1, "raw": Link(path)})
    (kept,) = free(root, table.connection, execute=True)
    assert kept.state == "kept"
    assert path.read_bytes() == CONTENT
    assert table.fetch1("raw").verify()
