"""Linked directories: the manifest is stored, the files stay where they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
import pytest

import datajoint_file
from datajoint_file import Link
from datajoint_file.config import parse_settings
from datajoint_file.errors import (
    FileChangedError,
    ObjectNotFoundError,
    SourceNotFoundError,
    StorageAccessError,
    StorageUnavailableError,
    UnsafePathError,
    UnsupportedValueError,
)
from datajoint_file.intake.free import free
from datajoint_file.intake.watch import Watch
from datajoint_file.pipeline.linking import located
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.sources import as_source
from tests.projects import Store, over_mysql

from .conftest import Root
from .test_linked_files import anywhere, json_of, set_json

on_buckets = pytest.mark.parametrize("nas", ["s3", "gcs", "azure"], indirect=True)

FILES = {"params.py": b"p", "c 1/0.npy": b"00", "c 1/1.npy": b"11", ".zarray": b"{}", "empty.txt": b""}


def written(nas: Root, name: str) -> str:
    for path, content in FILES.items():
        nas.write(f"{name}/{path}", content)
    return nas.address(f"{name}/")


@anywhere
def test_manifest_is_stored_and_files_stay(table: Any, store: Store, nas: Root, tmp_path: Path) -> None:
    table.insert1({"id": 1, "raw": Link(written(nas, "day 1/sorted"))})
    row = json_of(table)
    assert (row["linked"], row["files"], row["format"]) == ("nas/day%201/sorted/", len(FILES), 2)
    assert row["path"].startswith(f"{store.project}/")
    assert [key.rpartition("/")[2] for key in store.object_keys()] == ["~manifest"]
    ref = table.fetch1("raw")
    assert {member.original_name for member in ref.files()} == {Path(name).name for name in FILES}
    member = ref / "c 1/0.npy"
    assert (member.linked, member.read()) == ("nas/day%201/sorted/c%201/0.npy", b"00")
    assert (ref / "c 1").linked == "nas/day%201/sorted/c%201/"
    assert ref.fs.cat_file(".zarray") == b"{}"
    there = ref.download(tmp_path / "there")
    assert {path: (there / path).read_bytes() for path in FILES} == FILES
    assert ref.verify()
    nas.write("day 1/sorted/later.txt", b"not of it")
    assert sorted(path.name for path in ref.cache().iterdir()) == [".zarray", "c 1", "empty.txt", "params.py"]
    assert (ref.cache() / "c 1" / "1.npy").read_bytes() == b"11"
    assert datajoint_file.verify(table)
    table.insert1({"id": 2, "raw": member, "extra": ref / "c 1"})  # what is of a link is one
    other = (table & "id=2").fetch1()
    assert (other["raw"].linked, other["raw"].read()) == (member.linked, b"00")
    assert (other["extra"].linked, (other["extra"] / "1.npy").read()) == ("nas/day%201/sorted/c%201/", b"11")
    assert len(store.object_keys()) == 2
    nas.write("day 1/sorted/c 1/0.npy", b"XX")
    with pytest.raises(FileChangedError, match=r"nas/day%201/sorted/c%201/0.npy: expected sha256"):
        (ref / "c 1/0.npy").read()
    with pytest.raises(FileChangedError):
        ref.verify()
    nas.remove("day 1/sorted/c 1/1.npy")
    found = {(one.kind, one.member) for one in datajoint_file.verify(table & "id=1").findings}
    assert found == {("changed", "c 1/0.npy"), ("gone", "c 1/1.npy")}
    assert nas.names() == {f"day 1/sorted/{name}" for name in (*FILES, "later.txt")} - {"day 1/sorted/c 1/1.npy"}


@over_mysql
def test_link_to_a_directory_stays_one_and_is_copied_in(schema: dj.Schema, table: Any, store: Store, nas: Root) -> None:
    table.insert1({"id": 1, "raw": Link(Path(written(nas, "sorted")))})
    ref = table.fetch1("raw")
    table.insert1({"id": 2, "raw": ref})
    assert (table & "id=2").fetch1("raw") == ref
    assert len(store.object_keys()) == 1
    table.delete(prompt=False)
    assert datajoint_file.undelete(table, since="1 h")
    assert (table & "id=1").fetch1("raw") == ref
    done = datajoint_file.copy_in(table & "id=1")
    assert (done.copied, done.size) == (1, sum(map(len, FILES.values())))
    stored = (table & "id=1").fetch1("raw")
    assert (stored.linked, stored.hash, (stored / ".zarray").read()) == ("", ref.hash, b"{}")
    assert {key.partition("/sorted/")[2] for key in store.object_keys()} >= {"c%201/0.npy", ".zarray"}


@over_mysql
def test_directory_that_cannot_be_linked_is_refused(table: Any, store: Store, nas: Root) -> None:
    directory = Path(written(nas, "sorted"))
    with pytest.raises(UnsupportedValueError, match="hash is that of a file"):
        table.insert1({"id": 1, "raw": Link(directory, hash=f"sha256:{'0' * 64}")})
    (directory / "way").symlink_to("params.py")
    with pytest.raises(UnsafePathError, match="way is a symbolic link"):
        table.insert1({"id": 1, "raw": Link(directory)})
    inside = Path(store.table["path"], "incoming", "objects")
    inside.mkdir(parents=True)
    (inside / "x.dat").write_bytes(b"x")
    with pytest.raises(UnsafePathError, match="where the project keeps what is stored"):
        table.insert1({"id": 1, "raw": Link(inside.parent)})
    (inside.parent / "y.dat").write_bytes(b"y")
    table.insert1({"id": 1, "raw": Link(inside.parent / "y.dat")})
    assert store.object_keys() == [f"{store.project}/incoming/objects/x.dat", f"{store.project}/incoming/y.dat"]
    row = json_of(table)
    row |= {"format": 2, "files": 1, "path": f"{store.project}/s/objects/T-a/{'a' * 16}-{'a' * 26}/x/"}
    for linked in (True, "nas/x", "../x/", 3):
        set_json(table, {**row, "linked": linked})
        with pytest.raises(datajoint_file.errors.MetadataError):
            table.fetch1("raw").size  # noqa: B018


def test_known_array_of_a_linked_zarr_is_read_verified(table: Any, nas: Root) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.save(f"{nas.place}/movie.zarr", np.arange(100))
    table.insert1({"id": 1, "raw": Link(f"{nas.place}/movie.zarr")})
    assert zarr.open(table.fetch1("raw").fsmap, mode="r")[:].sum() == 4950


def test_original_that_is_gone_is_told(table: Any, nas: Root) -> None:
    table.insert1({"id": 1, "raw": Link(written(nas, "sorted"))})
    nas.write("other.dat")
    for name in FILES:
        nas.remove(f"sorted/{name}")
    shutil.rmtree(Path(nas.place, "sorted"))
    with pytest.raises(ObjectNotFoundError, match="there is no file at"):
        (table.fetch1("raw") / "params.py").read()
    findings = datajoint_file.verify(table).findings
    assert {one.kind for one in findings} == {"gone"}
    assert any(": nas/sorted/params.py: expected" in str(one) for one in findings)
    with pytest.raises(
        ObjectNotFoundError, match=r"nas/sorted/: there is no directory at .*DATAJOINT_FILE__ROOTS__NAS"
    ):
        table.fetch1("raw").cache()
    nas.remove("other.dat")  # now it is a disk that is not mounted
    with pytest.raises(StorageUnavailableError, match="the root 'nas' has no file at all"):
        table.fetch1("raw").cache()
    assert {one.kind for one in datajoint_file.verify(table).findings} == {"unreadable"}


@on_buckets
@over_mysql
def test_directory_of_a_bucket_is_linked_whole_or_not_at_all(table: Any, store: Store, nas: Root) -> None:
    with pytest.raises(SourceNotFoundError, match="is there such a directory"):
        table.insert1({"id": 1, "raw": Link(nas.address("nowhere/"))})
    with pytest.raises(ObjectNotFoundError, match=r"%20x: .*if it was copied from a row give .*nowhere/ x"):
        table.insert1({"id": 1, "raw": Link(nas.address("nowhere/%20x"))})
    for path in ("sorted/", "sorted/a.dat"):  # the first is what consoles make for a directory
        nas.write(path, b"a" if path.endswith("t") else b"")
    table.insert1({"id": 1, "raw": Link(nas.address("sorted/"))})
    assert [member.name for member in table.fetch1("raw").files()] == ["a.dat"]
    if nas.table["backend"] == "s3":
        root = {**nas.table, "credentials": {"key": "nobody", "secret": "nothing"}}
        stranger = Pipeline(parse_settings(store.configuration(roots={"nas": root}), "the test"))
        with pytest.raises(StorageAccessError, match=r"Check \[roots.nas.credentials\]"):
            stranger.open((table.fetch1("raw") / "a.dat").metadata)
    with pytest.raises(ObjectNotFoundError, match="end its URL in /"):
        table.insert1({"id": 2, "raw": Link(nas.address("sorted"))})
    nas.write("sorted/b\u202ec.dat")
    with pytest.raises(UnsafePathError, match=r"b%E2%80%AEc"):
        table.insert1({"id": 2, "raw": Link(nas.address("sorted/"))})
    own = {**nas.table, "prefix": f"{nas.table['prefix']}/inner"}
    pipeline = Pipeline(parse_settings({**store.configuration(roots={"nas": nas.table}), "storage": own}, "the test"))
    for address in ("inner/", f"inner/{store.project}/"):
        with pytest.raises(UnsafePathError, match="contains the project's own store"):
            located(pipeline.stores, as_source(Link(nas.address(address))))


@over_mysql
@pytest.mark.parametrize("nas", ["share"], indirect=True)
def test_directory_that_is_linked_is_the_only_copy_and_is_neither_stored_nor_freed(table: Any, nas: Root) -> None:
    rig = Path(nas.place)
    for number in (1, 2):
        (rig / f"run{number}").mkdir()
        (rig / f"run{number}/a.dat").write_bytes(b"spikes")
    table.insert1({"id": 1, "raw": Link(f"share://{rig}/run1/")})
    watch = Watch(rig, "run{id}/", table, attribute="raw", still=0)
    while not (look := watch.look()).done:
        pass
    ((stored,), (problem,)) = look.done, look.problems
    assert (stored.path, problem.state, problem.path) == ("run2", "differs", "run1")
    assert "copy_in" in problem.text
    table.update1({"id": 2, "raw": Link(f"share://{rig}/run2/")})  # since it has a receipt
    (kept,) = free(rig, table.connection, execute=True)
    assert (kept.state, "the only copy" in kept.reason) == ("kept", True)
    assert (rig / "run2/a.dat").read_bytes() == b"spikes"
