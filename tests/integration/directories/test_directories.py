"""Directories as values: inserted, read in place, brought back equal, on every database and store."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Directory, DirectoryRef, FileRef
from datajoint_file.errors import (
    DestinationExistsError,
    HashMismatchError,
    InvalidKeyError,
    MemberNotFoundError,
    ObjectNotFoundError,
    SourceAccessError,
    SourceNotRegularError,
    UnsafeNameError,
    UnsupportedValueError,
)
from tests.projects import Store, over_all_stores, over_mysql
from tests.tables import recording_of

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
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "sorted")


@over_all_stores
def test_directory_goes_in_and_comes_out_equal(table: Any, tree: Path, tmp_path: Path) -> None:
    table.insert1({"id": 1, "raw": tree})
    ref = table.fetch1("raw")
    assert isinstance(ref, DirectoryRef)
    assert (ref.name, ref.size, ref.file_count) == ("sorted", sum(map(len, SORTED.values())), len(SORTED))
    assert [file.read() for file in ref.files()] == [SORTED[name] for name in sorted(SORTED, key=str.encode)]
    assert (ref / "raw data" / "Köln 50%.csv").read_text() == "a,b\n1,2\n"
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
        ["sha256sum", "-c", "--strict", "../~manifest"], cwd=local / "sorted", capture_output=True, check=True, text=True
    )
    assert checked.stdout.count(": OK") == len(SORTED)


@over_mysql
def test_equal_trees_have_equal_manifests(table: Any, tree: Path, tmp_path: Path) -> None:
    other = make_tree(tmp_path / "other" / "sorted", dict(reversed(SORTED.items())))
    table.insert([{"id": 1, "raw": tree}, {"id": 2, "raw": Directory(other, name="sorted")}])
    first, second = table.to_arrays("raw", order_by="id")
    assert first.hash == second.hash
    assert first != second
