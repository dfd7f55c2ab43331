"""Directories as values: inserted, read in place, brought back equal, on every database and store."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import datajoint as dj
import numpy as np
import pandas as pd
import pytest
from datajoint.objectref import ObjectRef

import datajoint_file
from datajoint_file import Directory, DirectoryRef, FileRef
from datajoint_file.errors import (
    DestinationError,
    DestinationExistsError,
    HashMismatchError,
    InvalidKeyError,
    MemberNotFoundError,
    ObjectNotFoundError,
    SourceError,
    SourceNotRegularError,
    UnsafeNameError,
    UnsupportedValueError,
)
from datajoint_file.pipeline import directory_download
from datajoint_file.pipeline.directoryref import Subdirectory
from datajoint_file.pipeline.manifests import _kept
from datajoint_file.verification import check_directory
from tests.integration.executors import executor_of, write_toml
from tests.projects import Store, over_all_stores, over_local_and_s3, over_mysql, unique
from tests.tables import drop_schema, recording_of

zarr: Any = importlib.import_module("zarr")  # its types say that anything may be anything

SORTED = {
    "params.py": b"dat_path = 'recording.dat'\n",
    "spike_times.npy": bytes(range(256)) * 40,
    "templates/templates.npy": b"t" * 70_000,
    "templates/.phy/cache.pkl": b"",
    ".zarray": b"{}",
    "c/0/0": b"\x00\x01",
    "raw data/Köln 50%.csv": b"a,b\n1,2\n",
    "a.b": b"sorts before a/",
    "a/b": b"and after a.b",
}


def make_tree(root: Path, files: dict[str, bytes] = SORTED) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "logs" / "empty").mkdir(parents=True)
    return root


def tree_of(root: Path) -> dict[str, bytes | None]:
    """Everything below a directory: files with their bytes, and directories."""
    return {path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "sorted")


@over_local_and_s3
@over_mysql
def test_directory_goes_in_and_comes_out_equal(table: Any, tree: Path, tmp_path: Path) -> None:
    table.insert1({"id": 1, "raw": tree})
    ref = table.fetch1("raw")
    assert isinstance(ref, DirectoryRef)
    assert (ref.name, ref.size, ref.file_count) == ("sorted", sum(map(len, SORTED.values())), len(SORTED))
    assert [file.read() for file in ref.files()] == [SORTED[name] for name in sorted(SORTED, key=str.encode)]
    assert (ref / "raw data" / "Köln 50%.csv").read() == SORTED["raw data/Köln 50%.csv"]
    assert tree_of(ref.download(f"{tmp_path}/brought/")) == tree_of(tree)
    ref.verify()


@over_all_stores
@over_mysql
def test_stored_tree_is_plain_and_checked_by_sha256sum(table: Any, store: Store, tree: Path, tmp_path: Path) -> None:
    table.insert1({"id": 1, "raw": tree})
    row = table.fetch1("raw").to_dict()
    assert row["path"].endswith("/sorted/")
    assert (row["format"], row["files"], row["mime_type"]) == (2, len(SORTED), "inode/directory")
    home = row["path"].removesuffix("sorted/")
    local = tmp_path / "bare"
    for key in store.object_keys():
        path = local / key.removeprefix(home)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.content(key))
    assert (local / "sorted" / ".zarray").read_bytes() == b"{}"
    assert (local / "sorted" / "raw%20data" / "K%C3%B6ln%2050%25.csv").exists()
    manifest = local / "~manifest"
    assert row["hash"] == f"sha256:{hashlib.sha256(manifest.read_bytes()).hexdigest()}"
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "../~manifest"],
        cwd=local / "sorted",
        capture_output=True,
        check=True,
        text=True,
    )
    assert checked.stdout.count(": OK") == len(SORTED)


@over_mysql
def test_equal_trees_have_equal_manifests(table: Any, tree: Path, tmp_path: Path) -> None:
    other = make_tree(tmp_path / "other" / "sorted", dict(reversed(SORTED.items())))
    table.insert([{"id": 1, "raw": tree}, {"id": 2, "raw": Directory(other, name="sorted")}])
    first, second = table.to_arrays("raw", order_by="id")
    assert first.hash == second.hash
    assert first != second


@pytest.fixture
def stored(table: Any, tree: Path) -> Any:
    """The table, with a directory in it."""
    table.insert1({"id": 1, "raw": tree})
    return table


@over_all_stores
@over_mysql
def test_verify_names_each_member_that_is_wrong(stored: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored.fetch1("raw").path
    report = datajoint_file.verify(stored, level="content")
    assert (bool(report), report.checked, report.directories, report.members) == (True, 1, 1, len(SORTED))
    store.damage(f"{path}params.py", SORTED["params.py"].upper())
    store.damage(f"{path}c/0/0", b"\x00")
    store.remove(f"{path}a.b")
    store.damage(f"{path}templates/more.npy", b"more") if not store.is_local else _write(
        store, f"{path}templates/more.npy"
    )
    found = {level: _found(stored, level) for level in ("exists", "size", "content")}
    everywhere = {("missing", "a.b"), ("extra", "templates/more.npy")}
    assert found["exists"] == everywhere
    assert found["size"] == everywhere | {("size", "c/0/0")}
    assert found["content"] == everywhere | {("size", "c/0/0"), ("hash", "params.py")}
    monkeypatch.setattr(check_directory, "_MOST_MEMBERS", 2)
    few = datajoint_file.verify(stored, level="content").findings
    assert [(one.kind, one.member) for one in few[:2]] == [("missing", "a.b"), ("size", "c/0/0")]
    assert few[2].found == "2 that are not listed"


def _write(store: Store, key: str) -> None:
    (Path(store.table["path"]) / key.partition("/")[2]).write_bytes(b"more")


def _found(table: Any, level: Any) -> set[tuple[str, str]]:
    return {(finding.kind, finding.member) for finding in datajoint_file.verify(table, level=level).findings}


@over_mysql
def test_damaged_manifest_is_found_and_nothing_is_read_by_it(stored: Any, store: Store, tmp_path: Path) -> None:
    ref = stored.fetch1("raw")
    _kept.clear()
    manifest = f"{ref.path.rstrip('/').rpartition('/')[0]}/~manifest"
    store.damage(manifest, store.content(manifest).replace(b"params.py", b"params.pz"))
    report = datajoint_file.verify(stored, level="exists")
    assert [finding.kind for finding in report.findings] == ["hash"]
    for act in (lambda: list(ref.files()), lambda: ref / "params.py", lambda: ref.download(tmp_path / "new")):
        with pytest.raises(HashMismatchError):
            act()
    assert not (tmp_path / "new").exists()
    store.remove(manifest)
    assert not ref.exists()
    assert [finding.kind for finding in datajoint_file.verify(stored).findings] == ["missing"]


@over_mysql
def test_members_are_browsed_by_path_and_by_pattern(stored: Any) -> None:
    ref = stored.fetch1("raw")
    assert sorted(entry.name for entry in ref.iterdir()) == [
        ".zarray", "a", "a.b", "c", "logs", "params.py", "raw data", "spike_times.npy", "templates",
    ]  # fmt: skip
    assert ref.listdir("templates") == [".phy", "templates.npy"]
    assert (ref / "logs").is_dir()
    assert ref.listdir("logs/empty") == []
    assert "c/0/0" in ref
    assert "c/0/1" not in ref
    assert [file.name for file in ref.glob("*.npy")] == ["spike_times.npy"]
    assert [file.name for file in ref.glob("**/*.npy")] == ["spike_times.npy", "templates.npy"]
    assert [file.name for file in (ref / "templates").glob("*.npy")] == ["templates.npy"]
    assert {place: (dirs, files) for place, dirs, files in ref.walk()} == {
        "": (["a", "c", "logs", "raw data", "templates"], [".zarray", "a.b", "params.py", "spike_times.npy"]),
        "a": ([], ["b"]),
        "c": (["0"], []),
        "c/0": ([], ["0"]),
        "logs": (["empty"], []),
        "logs/empty": ([], []),
        "raw data": ([], ["Köln 50%.csv"]),
        "templates": ([".phy"], ["templates.npy"]),
        "templates/.phy": ([], ["cache.pkl"]),
    }
    member = ref / "templates/templates.npy"
    assert isinstance(member, FileRef)
    assert (member.size, member.hash) == (70_000, f"sha256:{hashlib.sha256(b't' * 70_000).hexdigest()}")
    with ref.open("spike_times.npy") as file:
        file.seek(256)
        assert file.read(3) == b"\x00\x01\x02"
    for path in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(UnsupportedValueError, match="leaves the directory"):
            ref / path
    for place, path, told in (
        (ref, "parms.py", r"sorted has no 'parms.py'; did you mean 'params.py'\? It has .zarray, a.b, a, c, logs, …"),
        (ref, "tmplates/templates.npy", "did you mean 'templates/templates.npy'"),
        (ref, "Templates/.PHY/cache.pkl", r"did you mean 'templates'\? It has"),
        (
            ref,
            "templates/templtes.npy",
            r"'templates/templates.npy'\? Its directory 'templates' has .phy, templates.npy$",
        ),
        (ref, "params.py/x/y", "has no 'params.py/x/y'; its 'params.py' is a file$"),
        (ref, "logs/empty/x", "; its directory 'logs/empty' has nothing$"),
        (ref, "raw data/\n", r"; its directory 'raw data' has Köln 50%\.csv$"),
        (ref / "templates", "x", "sorted/templates has no 'x'; it has .phy, templates.npy$"),
        (ref / "templates", "templates.np", "did you mean 'templates.npy'"),
    ):
        with pytest.raises(MemberNotFoundError, match=told):
            place / path
        assert path not in place
    with pytest.raises(MemberNotFoundError, match=r"did you mean 'templates\.npy'"):
        (ref / "templates").fs.open("template.npy")
    with pytest.raises(TypeError, match="not iterable"):
        list(ref)


@over_mysql
def test_reference_is_a_value(stored: Any, store: Store) -> None:
    ref, again = stored.fetch1("raw"), stored.fetch1("raw")
    assert (ref, hash(ref)) == (again, hash(again))
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert repr(ref).startswith("DirectoryRef('sorted', 9 files, 80.3 kB, sha256:")
    assert "\n" not in repr(ref)
    card = ref._repr_html_()
    assert "spike_times.npy" in card
    assert "templates/" in card
    store.remove(f"{ref.path.rstrip('/').rpartition('/')[0]}/~manifest")
    from deepdiff import DeepHash

    before = DeepHash(stored.fetch1("raw"))[stored.fetch1("raw")]
    ref.size  # noqa: B018 - a use
    assert DeepHash(ref)[ref] == before


@over_mysql
def test_download_keeps_what_is_equal_and_refuses_what_differs(stored: Any, tree: Path, tmp_path: Path) -> None:
    ref, target = stored.fetch1("raw"), tmp_path / "here"
    assert ref.download(target) == target
    inode = (target / "params.py").stat().st_ino
    (target / "mine.txt").write_bytes(b"mine")
    (target / "a.b").unlink()
    assert ref.download(tmp_path / "here" / "..") == tmp_path / "here" / ".." / "sorted"
    assert datajoint_file.download(stored, tmp_path / "all") == [tmp_path / "all" / "sorted"]
    (tmp_path / "all" / "sorted" / "a.b").unlink()
    datajoint_file.download(stored, tmp_path / "all")
    assert tree_of(tmp_path / "all" / "sorted") == tree_of(tree)
    other = tmp_path / "all" / "sorted" / "params.py"
    other.write_bytes(b"mine")
    (tmp_path / "all" / "sorted" / "a.b").unlink()
    with pytest.raises(DestinationExistsError, match=r"params\.py exists and differs"):
        datajoint_file.download(stored, tmp_path / "all")
    assert other.read_bytes() == b"mine"
    assert not (tmp_path / "all" / "sorted" / "a.b").exists()
    datajoint_file.download(stored, tmp_path / "all", overwrite=True)
    assert tree_of(tmp_path / "all" / "sorted") == tree_of(tree)
    assert (target / "params.py").stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@over_mysql
def test_download_is_complete_or_not_at_all(stored: Any, store: Store, tmp_path: Path) -> None:
    ref = stored.fetch1("raw")
    store.damage(f"{ref.path}spike_times.npy", b"damaged")
    with pytest.raises(datajoint_file.DataJointFileError, match="spike_times"):
        ref.download(tmp_path / "new")
    store.remove(f"{ref.path}spike_times.npy")
    with pytest.raises(ObjectNotFoundError, match="spike_times"):
        ref.download(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("sorted", "store")) == []


@over_mysql
def test_download_does_not_follow_a_link_out_of_the_target(stored: Any, tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "here"
    outside.mkdir()
    target.mkdir()
    (target / "sorted").mkdir()
    (target / "sorted" / "templates").symlink_to(outside)
    with pytest.raises(datajoint_file.DataJointFileError, match="through a symbolic link"):
        stored.fetch1("raw").download(target)
    (target / "sorted" / "templates").rename(target / "sorted" / "logs")
    with pytest.raises(datajoint_file.DataJointFileError, match="through a symbolic link"):
        stored.fetch1("raw").download(target)
    assert list(outside.iterdir()) == []


def _acting(act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have somebody else act at the destination when all files have come, and none is in its place."""
    merge = directory_download._Arrival._merge

    def late(self: Any, *args: Any) -> None:
        act()
        merge(self, *args)

    monkeypatch.setattr(directory_download._Arrival, "_merge", late)


@over_mysql
def test_what_somebody_else_puts_where_a_directory_is_brought_stays_as_with_a_file(
    stored: Any, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, outside = stored.fetch1("raw"), tmp_path / "outside"
    outside.mkdir()
    (outside / "templates.npy").write_bytes(b"precious")

    def put(path: Path, content: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)

    def exchange(path: Path) -> None:
        path.mkdir(exist_ok=True)
        path.rename(tmp_path / "moved")
        path.symlink_to(outside)

    def bring(name: str, act: Callable[[Path], object], **options: Any) -> Path:
        target = tmp_path / name / "sorted"
        target.mkdir(parents=True)
        with monkeypatch.context() as patch:
            _acting(lambda: act(target), patch)
            ref.download(target.parent, **options)
        return target

    told = r"exists and differs .*placed before that: '\.zarray', 'a\.b', .*; the rest was not"
    with pytest.raises(DestinationExistsError, match=told):
        bring("other", lambda target: put(target / "params.py", b"his"))
    came = tmp_path / "other" / "sorted"
    assert (came / "params.py").read_bytes() == b"his"
    assert [(came / name).exists() for name in ("a.b", "spike_times.npy")] == [True, False]
    with pytest.raises(DestinationExistsError, match=r"is a directory, .*not with overwrite=True either"):
        bring("deep", lambda target: put(target / ".zarray" / "x", b"his"), overwrite=True)
    for options in ({}, {"overwrite": True}):
        with pytest.raises(DestinationError, match="through a symbolic link"):
            bring(f"linked{len(options)}", lambda target: exchange(target / "templates"), **options)
        (tmp_path / "moved").rmdir()
    with pytest.raises(DestinationError, match=r"another directory by now, .*; nothing was changed"):
        bring("exchanged", exchange)
    assert [path.name for path in outside.iterdir()] == ["templates.npy"]
    assert (outside / "templates.npy").read_bytes() == b"precious"
    equal = bring("equal", lambda target: put(target / "params.py", SORTED["params.py"]))
    replaced = bring("replaced", lambda target: put(target / "params.py", b"his"), overwrite=True)
    assert tree_of(equal) == tree_of(replaced) == tree_of(tree)
    assert not [path for path in tmp_path.rglob("*.partial") if "store" not in path.parts]


@over_mysql
@pytest.mark.parametrize("name", ["templates", "logs/empty"])
def test_file_where_the_stored_one_has_a_directory_is_told_before_anything_is_placed(
    stored: Any, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "here" / "sorted"
    (target / name).parent.mkdir(parents=True)
    (target / name).write_bytes(b"mine")
    before = tree_of(target)
    for overwrite in (False, True):
        with pytest.raises(DestinationExistsError, match=rf"{name} is no directory.*nothing was changed.*move it away"):
            stored.fetch1("raw").download(target.parent, overwrite=overwrite)
    assert tree_of(target) == before


@over_mysql
def test_part_that_the_directory_does_not_have_is_refused(stored: Any) -> None:
    ref = stored.fetch1("raw")
    for inner in ("nope", "templ", "params.py", "/templates", "templates//.phy", "c/../c"):
        with pytest.raises(MemberNotFoundError, match="has no directory"):
            stored.insert1({"id": 3, "raw": Subdirectory(ref, inner)})
    assert len(stored()) == 1


@over_mysql
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda root: os.mkfifo(root / "odd"), SourceNotRegularError),
        (lambda root: (root / "odd").symlink_to("nowhere"), SourceNotRegularError),
        (lambda root: (root / "odd").symlink_to("/etc/passwd"), SourceNotRegularError),
        (lambda root: (root / "odd").symlink_to("odd"), SourceNotRegularError),
        (lambda root: (root / "odd").symlink_to("templates"), SourceNotRegularError),
        (lambda root: (root / "odd\nline").write_bytes(b""), UnsafeNameError),
        (lambda root: (root / ("ö" * 100)).write_bytes(b""), UnsafeNameError),
        (lambda root: _deep(root, 30), UnsafeNameError),
        (lambda root: _deep(root, 24), InvalidKeyError),
    ],
    ids=["fifo", "dangling", "outside", "loop", "directory", "newline", "too long", "too deep", "a little"],
)
def test_what_cannot_be_stored_is_refused_by_name_before_the_first_byte(
    table: Any, store: Store, tree: Path, spoil: Any, error: type[Exception]
) -> None:
    spoil(tree)
    with pytest.raises(error, match=r"odd|ö|deep"):
        table.insert1({"id": 1, "raw": tree})
    assert store.object_keys() == []
    table.insert1({"id": 1, "raw": Directory(tree, exclude=["odd*", "ö*", "deep*"])})
    assert table.fetch1("raw").file_count == len(SORTED)


def _deep(root: Path, count: int) -> None:
    directory = root.joinpath(*(["deep" + "x" * 36] * count))
    directory.mkdir(parents=True)
    (directory / "x").write_bytes(b"")


@over_mysql
def test_directory_that_contains_the_store_is_refused(table: Any, store: Store) -> None:
    place = Path(store.table["path"])
    for given in (place, place.parent, Directory(place / "..", include="*.py")):
        with pytest.raises(SourceError, match="contains the project's own store"):
            table.insert1({"id": 1, "raw": given})
    assert store.all_keys() == []


@over_mysql
def test_include_that_matches_nothing_is_refused_and_exclude_of_all_is_not(table: Any, tree: Path) -> None:
    with pytest.raises(UnsupportedValueError, match=r"has no file that include='\*\.nyp' matches"):
        table.insert1({"id": 1, "raw": Directory(tree, include="*.nyp")})
    table.insert1({"id": 1, "raw": Directory(tree, exclude="*")})
    assert table.fetch1("raw").file_count == 0


@over_mysql
def test_links_inside_are_the_files_they_end_at(table: Any, tree: Path, tmp_path: Path) -> None:
    (tree / "latest.npy").symlink_to("templates/templates.npy")
    table.insert1({"id": 1, "raw": tree})
    assert (table.fetch1("raw") / "latest.npy").read() == SORTED["templates/templates.npy"]
    assert not (table.fetch1("raw").download(tmp_path / "new") / "latest.npy").is_symlink()


@over_mysql
def test_include_and_exclude_choose_files_as_gitignore_does(table: Any, tree: Path) -> None:
    table.insert(
        [
            {"id": 1, "raw": Directory(tree, include="*.npy")},
            {"id": 2, "raw": Directory(tree, include=["/c/", "params.py"])},
            {"id": 3, "raw": Directory(tree, exclude=["*.npy", "templates/", "logs"], name="few")},
        ]
    )
    first, second, third = table.to_arrays("raw", order_by="id")
    assert [file.path[len(first.path) :] for file in first.files()] == ["spike_times.npy", "templates/templates.npy"]
    assert [file.path[len(second.path) :] for file in second.files()] == ["c/0/0", "params.py"]
    assert (sorted(entry.name for entry in third.iterdir()), third.name) == (
        [".zarray", "a", "a.b", "c", "params.py", "raw data"], "few",
    )  # fmt: skip


@over_mysql
def test_stored_directory_is_inserted_again_without_moving_bytes(table: Any, store: Store, tree: Path) -> None:
    table.insert1({"id": 1, "raw": tree})
    ref = table.fetch1("raw")
    before = store.object_keys()
    table.insert1({"id": 2, "raw": ref})
    assert store.object_keys() == before
    table.insert1({"id": 3, "raw": ref / "templates"})
    part = (table & "id = 3").fetch1("raw")
    assert [file.read() for file in part.files()] == [b"", SORTED["templates/templates.npy"]]
    assert part.name == "templates"
    table.insert1({"id": 4, "raw": ref / "params.py"})
    assert (table & "id = 4").fetch1("raw").read() == SORTED["params.py"]


@over_mysql
def test_directory_is_updated_replaced_deleted_and_put_back(table: Any, tree: Path, tmp_path: Path) -> None:
    table.insert1({"id": 1, "raw": tree})
    table.update1({"id": 1, "raw": ("one.txt", b"one")})
    (version,) = datajoint_file.history(table & "id = 1", "raw")
    assert isinstance(version.file, DirectoryRef)
    assert (version.file / "params.py").read() == SORTED["params.py"]
    assert datajoint_file.revert(table & "id = 1", "raw") == version.file
    table.delete(prompt=False)
    (event,) = {
        version.event for version in datajoint_file.history(table, "raw", key={"id": 1}) if version.why == "delete"
    }
    assert datajoint_file.undelete(table, event=event)
    assert tree_of(table.fetch1("raw").download(tmp_path / "new")) == tree_of(tree)
    table.insert1({"id": 1, "raw": ("two.txt", b"two")}, replace=True)
    assert datajoint_file.revert(table & "id = 1", "raw").name == "sorted"


@over_mysql
def test_staged_directory_and_retry_after_a_rollback_send_nothing_twice(table: Any, store: Store, tree: Path) -> None:
    staged = datajoint_file.stage(table, {"id": 1}, "raw", tree)
    before = store.object_keys()
    table.insert1({"id": 1, "raw": staged})
    assert store.object_keys() == before
    with pytest.raises(ZeroDivisionError), table.connection.transaction:
        table.insert1({"id": 2, "raw": tree})
        raise ZeroDivisionError
    before = store.object_keys()
    table.insert1({"id": 2, "raw": tree})
    assert store.object_keys() == before
    (tree / "params.py").write_bytes(b"other")
    with pytest.raises(ZeroDivisionError), table.connection.transaction:
        table.insert1({"id": 3, "raw": tree})
        raise ZeroDivisionError
    (tree / "params.py").write_bytes(b"OTHER")
    table.insert1({"id": 3, "raw": tree})
    assert ((table & "id = 3").fetch1("raw") / "params.py").read() == b"OTHER"
    assert datajoint_file.verify(table, level="content")


@over_mysql
def test_empty_directory_and_one_of_empty_ones_come_out_equal(table: Any, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "few" / "a" / "b").mkdir(parents=True)
    table.insert([{"id": 1, "raw": tmp_path / "none"}, {"id": 2, "raw": tmp_path / "few"}])
    none, few = table.to_arrays("raw", order_by="id")
    assert (none.file_count, none.size, list(none.files())) == (0, 0, [])
    assert tree_of(few.download(tmp_path / "new")) == {"a": None, "a/b": None}
    assert none.download(tmp_path / "nothing").is_dir()
    assert datajoint_file.verify(table)


@over_mysql
@pytest.mark.parametrize("kind", ["threads", "spawned"])
def test_workers_of_an_executor_store_verify_and_bring_directories(
    instance: dj.Instance, store: Store, tree: Path, tmp_path: Path, kind: str
) -> None:
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    table = recording_of(instance.Schema(unique("schema")))
    (tmp_path / "none").mkdir()
    with executor_of(kind) as executor:
        sources = [tree, tree / "params.py", tmp_path / "none"]
        staged = datajoint_file.stage(table, [{"id": id_} for id_ in range(3)], "raw", sources, executor=executor)
        table.insert([{"id": id_, "raw": value} for id_, value in enumerate(staged)])
        report = datajoint_file.verify(table, level="content", executor=executor)
        assert (bool(report), report.checked) == (True, 3)
        brought = datajoint_file.download(table, tmp_path / "new", layout="key", executor=executor)
    assert tree_of(brought[0]) == tree_of(tree)
    with datajoint_file.prefetch(table) as rows:
        assert [row["raw"].is_dir() for row in rows] == [True, False, True]
    drop_schema(instance.connection, table.database)


@over_mysql
def test_every_name_of_an_object_reference_is_there_and_works(stored: Any, tree: Path, tmp_path: Path) -> None:
    stored.insert1({"id": 2, "raw": ("one.dat", b"one")})
    ref, file = stored.to_arrays("raw", order_by="id")
    names = {name for name in (*dir(ObjectRef), *ObjectRef.__annotations__) if not name.startswith("_")}
    names -= {"from_json", "store"}  # a fetch makes it; a pipeline has one
    assert [name for name in names if not hasattr(ref, name) or not hasattr(ref / "templates", name)] == []
    assert names - set(dir(file)) == {"fsmap", "item_count", "listdir", "walk"}
    assert (bool(ref.is_dir), ref.is_dir(), bool(file.is_dir), file.is_dir()) == (True, True, False, False)
    assert (ref.item_count, ref.ext, file.ext, file.to_json()) == (9, None, ".dat", file.to_dict())
    assert (ref.verify(), file.verify()) == (True, True)
    assert Path(file.full_path).read_bytes() == b"one"
    assert (Path(ref.full_path) / "params.py").read_bytes() == SORTED["params.py"]
    with ref.open(subpath="params.py", mode="rb") as opened:
        assert opened.read() == SORTED["params.py"]
    assert ref.listdir(subpath=None) == ref.listdir()
    assert ref.download(tmp_path / "t.npy", "templates/templates.npy").read_bytes() == b"t" * 70_000
    assert tree_of(ref.download(tmp_path, subpath="c")) == tree_of(tree / "c")
    assert ref.exists()
    assert [ref.exists(path) for path in ("c", "c/0/0", Path("logs/empty"), "c/0/1", "c/1")] == [True] * 3 + [False] * 2


@over_local_and_s3
@over_mysql
def test_part_of_a_directory_says_and_does_what_the_whole_does(
    stored: Any, store: Store, tree: Path, tmp_path: Path
) -> None:
    ref = stored.fetch1("raw")
    part = ref / "templates"
    assert (part.name, part.file_count, part.size, part.timestamp) == ("templates", 2, 70_000, ref.timestamp)
    assert (part.path, part.url, part.mime_type) == (f"{ref.path}templates/", f"{ref.url}templates/", ref.mime_type)
    assert pickle.loads(pickle.dumps(part)) == part
    assert (part.exists(), part.verify(), (ref / "logs" / "empty").exists()) == (True, True, True)
    assert tree_of(part.download(f"{tmp_path}/here/")) == tree_of(tree / "templates")
    assert tree_of((ref / "logs").download(tmp_path / "logs")) == {"empty": None}
    stored.insert1({"id": 3, "raw": part})
    assert (stored & "id = 3").fetch1("raw").hash == part.hash
    store.damage(f"{part.path}templates.npy", b"T" * 70_000)
    (ref / "c").verify()
    for act in (part.verify, lambda: part.download(tmp_path / "new")):
        with pytest.raises(HashMismatchError, match="templates"):
            act()
    store.remove(f"{part.path}templates.npy")
    assert not ref.exists("templates/templates.npy")
    store.remove(f"{ref.path.rstrip('/').rpartition('/')[0]}/~manifest")
    assert not any(one.exists() for one in (ref, part))


@over_all_stores
def test_folder_of_a_spike_sorter_is_read_in_place_and_comes_out_equal(
    table: Any, store: Store, tmp_path: Path
) -> None:
    folder = _spike_sorted(tmp_path / "kilosort4 Köln 50%")
    table.insert1({"id": 1, "raw": folder})
    ref = table.fetch1("raw")
    with ref.open("sorter_output/spike_times.npy") as file:
        assert np.load(file)[:3].tolist() == [0, 30, 60]
    with ref.fs.open("sorter_output/templates.npy") as file:
        assert np.load(file).shape == (4, 82, 16)
    with ref.open("sorter_output/cluster_group.tsv") as file:
        assert list(pd.read_csv(file, sep="\t")["group"]) == ["good", "mua"]
    assert json.loads(ref.read("spikeinterface_log.json")) == {"sorter_name": "kilosort4"}
    assert zarr.open((ref / "recording.zarr").fsmap, mode="r")[:3, 1].tolist() == [1, 9, 17]
    brought = ref.download(tmp_path / "brought")
    assert tree_of(brought) == tree_of(folder)
    as_stored = tmp_path / "stored"
    for path in filter(Path.is_file, brought.rglob("*")):
        other = as_stored / quote(path.relative_to(brought).as_posix())
        other.parent.mkdir(parents=True, exist_ok=True)
        path.rename(other)
    listed = store.content(f"{ref.path.rstrip('/').rpartition('/')[0]}/~manifest")
    command = ["sha256sum", "-c", "--strict"]
    checked = subprocess.run(command, cwd=as_stored, input=listed, capture_output=True, check=True)
    assert checked.stdout.count(b": OK") == ref.file_count > 15


def _spike_sorted(folder: Path) -> Path:
    """Write what Kilosort, Phy and SpikeInterface leave."""
    sorted_, extensions = folder / "sorter_output", folder / "analyzer" / "extensions"
    for place in (sorted_ / ".phy" / "memcache", extensions / "templates", extensions / "waveforms", folder / "in use"):
        place.mkdir(parents=True)
    np.save(sorted_ / "spike_times.npy", np.arange(0, 30_000, 30))
    np.save(sorted_ / "templates.npy", np.zeros((4, 82, 16), "float32"))
    np.save(extensions / "templates" / "average.npy", np.ones((4, 82), "float32"))
    np.save(extensions / "waveforms" / "waveforms.npy", np.ones((4, 10, 82), "int16"))
    for extension in ("templates", "waveforms"):
        (extensions / extension / "params.json").write_text('{"ms_before": 1.0}')
    (sorted_ / "params.py").write_text("dat_path = r'C:\\data\\probe 1.dat'\nsample_rate = 30000.0\n")
    (sorted_ / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n1\tmua\n")
    (sorted_ / ".phy" / "state.json").write_text("{}")
    (sorted_ / ".phy" / "memcache" / "phy.apps.template.gui.pkl").write_bytes(pickle.dumps({"a": np.arange(3)}))
    (sorted_ / "phy.log").write_bytes(b"")
    (sorted_ / "Übersicht (Köln) #1.csv").write_text("a,b\n1,2\n")
    (folder / "spikeinterface_log.json").write_text('{"sorter_name": "kilosort4"}')
    array = zarr.create_array(folder / "recording.zarr", shape=(20, 8), chunks=(5, 8), dtype="int16")
    array[:] = np.arange(160).reshape(20, 8)
    return folder
