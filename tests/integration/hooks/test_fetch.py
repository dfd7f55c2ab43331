"""Fetching: references without I/O, reading with verification, downloads, damage, and rows nobody should trust."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import datajoint as dj
import deepdiff
import numpy as np
import pandas as pd
import pytest

import datajoint_file
from datajoint_file.errors import (
    DestinationExistsError,
    HashMismatchError,
    MetadataError,
    ObjectNotFoundError,
    SizeMismatchError,
    StorageUnavailableError,
    UnknownProjectError,
    UnsafePathError,
)
from tests.projects import Store, connect, over_all_stores

CONTENT = b"0123456789" * 100_000


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw = null : file
        """

    Recording.insert([{"k": 1, "raw": ("one.bin", CONTENT)}, {"k": 2, "raw": None}])
    return Recording


def set_json(table: Any, value: Any, k: int = 1) -> None:
    """Write the JSON of a row as somebody with SQL access would."""
    connection = table().connection
    quote = connection.adapter.quote_identifier
    connection.query(
        f"UPDATE {table().full_table_name} SET {quote('raw')} = %s WHERE {quote('k')} = %s", (json.dumps(value), k)
    )


def test_every_way_of_fetching_gives_references_and_none(table: Any) -> None:
    ref = (table & "k=1").fetch1("raw")
    assert isinstance(ref, datajoint_file.FileRef)
    assert (table & "k=2").fetch1("raw") is None
    assert [row["raw"] for row in table.to_dicts(order_by="k")] == [ref, None]
    assert list(table.to_arrays("raw", order_by="k")) == [ref, None]
    assert {row["k"]: row["raw"] for row in table()} == {1: ref, 2: None}
    frame = table.to_pandas(order_by="k")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["raw"]) == [ref, None]
    both = table.to_arrays("k", "raw", order_by="k")
    assert list(both[1]) == [ref, None]
    assert (table & "k=1").fetch1()["raw"] == ref
    assert isinstance(table.to_arrays(order_by="k"), np.ndarray)


def test_fetching_needs_neither_store_nor_configuration(table: Any, store: Store, database: Any) -> None:
    Path(store.table["path"]).rename(Path(store.table["path"]).with_name("unmounted"))
    bare = connect(database)
    ref = bare.FreeTable(table.full_table_name).restrict("k=1").fetch1("raw")
    assert (ref.size, ref.original_name, ref.timestamp.tzinfo is not None) == (len(CONTENT), "one.bin", True)
    assert "one.bin" in repr(ref)
    assert "one.bin" in ref._repr_html_()
    with pytest.raises(datajoint_file.errors.ConfigurationError):
        ref.read()
    bare.connection.close()


def test_an_unmounted_disk_is_not_an_answer(table: Any, store: Store) -> None:
    ref = (table & "k=1").fetch1("raw")
    Path(store.table["path"]).rename(Path(store.table["path"]).with_name("unmounted"))
    for ask in (ref.exists, ref.read, ref.open, ref.verify):
        with pytest.raises(StorageUnavailableError, match="mounted"):
            ask()


@over_all_stores
def test_damaged_bytes_are_never_handed_out(table: Any, store: Store, tmp_path: Path) -> None:
    ref = (table & "k=1").fetch1("raw")
    for damaged, error in (
        (CONTENT[:-1] + b"X", HashMismatchError),
        (CONTENT[:-1], SizeMismatchError),
        (CONTENT + b"X", SizeMismatchError),
        (b"", SizeMismatchError),
    ):
        store.damage(ref.path, damaged)
        for use in (ref.read, ref.verify, lambda: ref.download(tmp_path / "out.bin")):
            with pytest.raises(error, match="No byte of it was handed out"):
                use()
        assert not (tmp_path / "out.bin").exists()
        assert list(tmp_path.glob("*.partial")) == []
        if len(damaged) != len(CONTENT):
            with pytest.raises(SizeMismatchError):
                ref.open()


@over_all_stores
def test_a_missing_object_says_so(table: Any, store: Store, tmp_path: Path) -> None:
    ref = (table & "k=1").fetch1("raw")
    assert ref.exists()
    store.remove(ref.path)
    assert not ref.exists()
    for use in (ref.read, ref.open, ref.verify, lambda: ref.download(tmp_path / "out.bin")):
        with pytest.raises(ObjectNotFoundError, match="no such object") as caught:
            use()
        assert caught.value.key == ref.path
        assert isinstance(caught.value, FileNotFoundError)


@over_all_stores
def test_open_is_lazy_and_seekable(table: Any, store: Store) -> None:
    ref = (table & "k=1").fetch1("raw")
    with ref.open(block_size=1000, cache_type="bytes") as file:
        assert file.seekable()
        file.seek(-5, 2)
        assert file.read() == CONTENT[-5:]
        file.seek(123_456)
        assert file.read(7) == CONTENT[123_456:123_463]
        assert file.read(0) == b""
    with pytest.raises(ValueError, match="mode"):
        ref.open("w")


def test_downloads_keep_equal_files_and_refuse_to_replace_others(table: Any, tmp_path: Path) -> None:
    ref = (table & "k=1").fetch1("raw")
    directory = tmp_path / "new" / "directory"
    target = ref.download(f"{directory}/")
    assert target == directory / "one.bin"
    before = target.stat()
    assert ref.download(directory) == target
    assert target.stat().st_mtime_ns == before.st_mtime_ns
    target.write_bytes(b"somebody's notes")
    with pytest.raises(DestinationExistsError, match="overwrite=True"):
        ref.download(target)
    assert target.read_bytes() == b"somebody's notes"
    assert ref.download(target, overwrite=True).read_bytes() == CONTENT
    assert [path.name for path in directory.iterdir()] == ["one.bin"]


def test_a_download_shows_a_bar_when_asked(table: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ref = (table & "k=1").fetch1("raw")
    ref.download(tmp_path / "a.bin", progress=True)
    assert "downloading one.bin" in capsys.readouterr().err
    ref.download(tmp_path / "b.bin")
    assert capsys.readouterr().err == ""


HOSTILE_PATHS = [
    "../../etc/hostname",
    "{project}/../../etc/hostname",
    "/etc/hostname",
    "{project}/./x",
    "{project}//x",
    "{project}",
    "{project}/x\\..\\y",
    "file:///etc/hostname",
    "{project}/x::y",
    "{project}/x?versionId=1",
    "{project}/x#y",
    "{project}/*",
    "{project}/x\n",
    "{project}/" + "x" * 2000,
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_row_whose_path_leaves_the_project_is_refused(table: Any, store: Store, path: str) -> None:
    row = (table & "k=1").fetch1("raw").to_dict()
    set_json(table, {**row, "path": path.replace("{project}", store.project)})
    ref = (table & "k=1").fetch1("raw")
    for use in (ref.read, ref.open, ref.exists, lambda: ref.path, lambda: ref.url, lambda: ref.download("/nowhere/")):
        with pytest.raises(UnsafePathError, match="path = "):
            use()


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": 1.5},
        {"size": True},
        {"size": 10**30},
        {"hash": "md5:abc"},
        {"hash": None},
        {"original_name": "../../x"},
        {"timestamp": "yesterday"},
        {"timestamp": "2025-01-01T00:00:00"},
        {"format": 99},
        {"mime_type": "x\ny/z"},
    ],
)
def test_a_row_that_is_no_metadata_is_refused(table: Any, change: dict[str, Any]) -> None:
    set_json(table, {**(table & "k=1").fetch1("raw").to_dict(), **change})
    ref = (table & "k=1").fetch1("raw")
    for use in (ref.read, lambda: ref.size, lambda: ref.metadata, lambda: {ref}):
        with pytest.raises(MetadataError, match=next(iter(change))):
            use()


def test_a_row_that_is_no_metadata_does_not_hinder_the_others(table: Any) -> None:
    table.insert1({"k": 3, "raw": ("three.bin", b"three")})
    set_json(table, {"path": "../../etc/hostname"})
    bad, missing, sound = table.to_arrays("raw", order_by="k")
    assert missing is None
    assert sound.read() == b"three"
    assert list(table.to_pandas(order_by="k")["raw"])[2] == sound
    assert "three.bin" in str(table.to_dicts())
    assert "path = '../../etc/hostname'" in repr(bad)
    with pytest.raises(UnsafePathError):
        bad.read()
    with pytest.raises(MetadataError):
        table.insert1({"k": 4, "raw": bad})
    assert len(table()) == 3


@pytest.mark.parametrize("value", [[], [1], "lab/x/y", 3, True])
def test_a_row_that_is_no_object_fails_the_fetch(table: Any, value: Any) -> None:
    set_json(table, value)
    with pytest.raises(ValueError):  # a MetadataError, or what DataJoint says of a text that it takes for JSON
        (table & "k=1").fetch1("raw")


def test_fetching_notices_a_configuration_that_is_given_later(table: Any, database: Any, store: Store) -> None:
    bare = connect(database)
    query = bare.FreeTable(table.full_table_name).restrict("k=1")
    before = query.fetch1("raw").pipeline
    datajoint_file.configure(store.configuration(), connection=bare)
    after = query.fetch1("raw")
    assert after.pipeline != before
    assert after.read() == CONTENT
    bare.connection.close()


def test_unknown_fields_of_a_row_are_ignored(table: Any) -> None:
    ref = (table & "k=1").fetch1("raw")
    set_json(table, {**ref.to_dict(), "later": {"a": [1]}})
    assert (table & "k=1").fetch1("raw") == ref


def test_rows_of_another_project_are_read_through_its_own_table(table: Any, store: Store, database: Any) -> None:
    other = connect(database)
    here = {"backend": "memory", "path": "/here"}
    datajoint_file.configure({"project": {"name": "here"}, "storage": here}, connection=other)
    with pytest.raises(UnknownProjectError, match=rf"\[projects.{store.project}\]"):
        other.FreeTable(table.full_table_name).restrict("k=1").fetch1("raw").read()
    other.connection.close()

    other = connect(database)
    document = {"project": {"name": "here"}, "storage": here, "projects": {store.project: store.table}}
    datajoint_file.configure(document, connection=other)
    assert other.FreeTable(table.full_table_name).restrict("k=1").fetch1("raw").read() == CONTENT
    other.connection.close()


def test_references_are_values(table: Any) -> None:
    ref = (table & "k=1").fetch1("raw")
    again = (table & "k=1").fetch1("raw")
    assert ref == again
    assert len({ref, again}) == 1
    before = deepdiff.DeepHash({"f": ref}, ignore_iterable_order=False)[ref]
    ref.read()
    assert deepdiff.DeepHash({"f": again}, ignore_iterable_order=False)[again] == before
    with pytest.raises(AttributeError):
        ref.size = 1
    assert not any(hasattr(ref, name) for name in ("__len__", "__getitem__", "__iter__", "__array__"))


def test_a_pickled_reference_is_read_by_another_process(table: Any, store: Store, tmp_path: Path) -> None:
    pickled = pickle.dumps((table & "k=1").fetch1("raw"))
    (tmp_path / "datajoint.toml").write_text(
        f'[project]\nname = "{store.project}"\n[storage]\nbackend = "file"\npath = "store"\n'
    )
    code = "import pickle, sys; print(len(pickle.load(sys.stdin.buffer).read()))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, input=pickled, cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout.strip() == str(len(CONTENT)).encode(), done.stderr.decode()


def test_json_restrictions_work_on_file_attributes(table: Any) -> None:
    assert len(table & {"raw.original_name": "one.bin"}) == 1
    assert len(table & {"raw.original_name": "two.bin"}) == 0
