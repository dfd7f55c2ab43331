"""Directories that are being made: which ones are refused at their end, and what fsspec promises of their files."""

from __future__ import annotations

import importlib
import io
import logging
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.errors import InvalidKeyError, UnsafeNameError
from datajoint_file.model import manifest
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell, manifest_key
from datajoint_file.pipeline import checkpoints, written
from datajoint_file.pipeline.checkpoints import Noted
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.manifests import manifest_of
from datajoint_file.pipeline.new_directory import NewDirectoryFileSystem
from datajoint_file.pipeline.new_tree import KnownTree, LocalArea, NewTree, finished
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.directories import Listing
from datajoint_file.transfer.sources import as_source


class New:
    """A directory that is being made."""

    def __init__(self, pipeline: Pipeline, cell: Cell) -> None:
        self.pipeline = remember(f"the test {id(self)}", pipeline)
        self.upload = pipeline.plan(as_source(NewTree("run")), cell)
        self.area = LocalArea(pipeline, self.upload.key)
        self.fs: Any = NewDirectoryFileSystem(self.upload.key, f"the test {id(self)}")

    def end(self) -> FileMetadata:
        return finished(self.pipeline, self.upload, self.area, ())

    def manifest(self) -> Manifest:
        return manifest_of(self.pipeline, self.end())

    @property
    def has_manifest(self) -> bool:
        return self.pipeline.backend.exists(manifest_key(self.upload.key))


@pytest.fixture(params=["file", "memory"])
def new(request: pytest.FixtureRequest, tmp_path: Path, cell: Cell) -> Iterator[New]:
    table = {"backend": request.param, "path": str(tmp_path / "project")}
    (tmp_path / "project").mkdir()
    made = New(Pipeline(parse_settings({"project": {"name": "lab"}, "storage": table}, "the test")), cell)
    yield made
    made.area.remove()


def test_empty_directory_of_the_area_into_which_others_have_written_is_not_empty(new: New) -> None:
    for name in ("out", "out.d", "really/empty"):
        (new.area.path / name).mkdir(parents=True)
    new.fs.pipe({"out/x": b"x", "out.c": b"c"})
    made = new.manifest()
    assert ([member.name for member in made], [*made.empty()]) == (["out.c", "out/x"], ["out.d/", "really/empty/"])


def test_file_and_empty_directory_of_one_name_are_refused(new: New) -> None:
    (new.area.path / "out").mkdir()
    new.fs.pipe_file("out", b"x")
    with pytest.raises(InvalidKeyError, match="'out' is both a file and a directory"):
        new.end()
    assert not new.has_manifest


@pytest.mark.parametrize("new", ["memory"], indirect=True)
@pytest.mark.parametrize(
    ("names", "empty"),
    [(["b", "a"], []), (["a", "a"], []), (["a", "a/b"], []), (["a/b"], ["a/"]), (["a b"], []), ([], ["b/", "a/"])],
)
def test_no_manifest_is_stored_that_could_not_be_read(new: New, names: list[str], empty: list[str]) -> None:
    made = DirectoryUpload(new.pipeline, new.upload, KnownTree(Listing(names, empty=empty)))
    with pytest.raises(InvalidKeyError):
        made.finish()
    assert not new.has_manifest


@pytest.mark.parametrize("new", ["memory"], indirect=True)
def test_list_of_empty_directories_has_its_bound(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_BYTES", 1000)
    for number in range(300):
        (new.area.path / f"{number}").mkdir()
    with pytest.raises(InvalidKeyError, match="300 files and empty directories"):
        new.end()


def test_directory_is_got_with_what_is_in_it(new: New, tmp_path: Path) -> None:
    new.fs.pipe({"d/x": b"x", "d/e/y z": b"y", "other": b"o"})
    new.fs.get("d", str(tmp_path / "got"), recursive=True)
    found = {path.relative_to(tmp_path / "got").as_posix() for path in (tmp_path / "got").rglob("*") if path.is_file()}
    assert found == {"x", "e/y z"}
    new.fs.get_file("d", tmp_path / "one")
    assert list((tmp_path / "one").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        new.fs.get_file("nothing", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_only_what_is_meant_is_removed(new: New) -> None:
    new.fs.pipe(dict.fromkeys(["d/x", "d/e/y", "f[1]", "f1", "g1", "g2"], b"x"))
    for remove in (new.fs.rm, new.fs.rm_file):
        with pytest.raises(IsADirectoryError):
            remove("d")
        with pytest.raises(FileNotFoundError):
            remove("nothing")
    new.fs.rm("nothing", recursive=True)
    new.fs.rm("f1/x", recursive=True)
    assert len(new.fs.find("")) == 6
    new.fs.rm("d", recursive=True, maxdepth=1)
    new.fs.rm("f[1]")
    assert new.fs.find("") == ["d/e/y", "f1", "g1", "g2"]
    new.fs.rm(["g*", "d"], recursive=True)
    new.fs.rm_file("f1")
    assert new.fs.find("") == []
    new.fs.pipe_file("d/x", b"x")
    new.fs.rm("", recursive=True)
    assert new.fs.find("") == []


def test_zarr_clears_its_store(new: New) -> None:
    zarr: Any = importlib.import_module("zarr")
    group = zarr.open_group(new.fs.get_mapper(""), mode="w")
    for name in "ab":
        group.create_array(name, shape=(4,), chunks=(2,), dtype="i4")[:] = 1
    importlib.import_module("zarr.core.sync").sync(group.store.clear())
    assert new.fs.find("") == []


def test_empty_path_is_a_directory(new: New) -> None:
    for act in (new.fs.cat_file, new.fs.open, new.fs.rm_file, new.fs.rm, lambda path: new.fs.pipe_file(path, b"")):
        for path in ("", "/"):
            with pytest.raises(IsADirectoryError):
                act(path)
    assert (new.fs.isdir(""), new.fs.isfile("")) == (True, False)


@pytest.mark.parametrize("path", ["a\nb", "..", "d/..", "n" * 256, "/".join(["n" * 200] * 6)], ids=range(5))
def test_path_that_no_file_can_have_is_absent(new: New, path: str) -> None:
    assert [new.fs.exists(path), new.fs.isfile(path), new.fs.isdir(path)] == [False] * 3
    for act in (new.fs.info, new.fs.ls, new.fs.cat_file, new.fs.open, new.fs.rm, new.fs.rm_file):
        with pytest.raises(FileNotFoundError):
            act(path)
    for mode in ("wb", "ab", "xb"):
        with pytest.raises((UnsafeNameError, OSError)) as caught:
            new.fs.open(path, mode)
        assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("new", ["memory"], indirect=True)
def test_nothing_is_noted_for_a_retry_that_never_comes(
    new: New, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_FILES", 1)
    (new.area.path / "x").write_bytes(b"x")
    with caplog.at_level(logging.DEBUG):
        new.end()
    assert "/run/x" in caplog.text
    assert "~sent-" not in caplog.text


@pytest.mark.parametrize("new", ["memory"], indirect=True)
def test_line_of_a_note_that_is_none_says_nothing_and_the_others_speak(new: New) -> None:
    digest = f"sha256:{'0' * 64}"
    some = [Noted(name, digest, 1, "tag") for name in "ab"]
    key = checkpoints.store_note(new.pipeline, new.upload.key, some)
    stored = new.pipeline.backend.read(key, 0, new.pipeline.backend.stat(key).size)
    first, second = bytes(stored).splitlines(keepends=True)
    wrong = f"\nx\n{digest} x tag c\n{digest} 1 tag\n{digest[:-1]} 1 tag d\n{digest} 1 tag e f\n"
    text = first + wrong.encode() + second + first[:-1]
    new.pipeline.backend.upload(f"{key}0", io.BytesIO(text), len(text))
    assert list(checkpoints.read_note(new.pipeline, f"{key}0")) == some


def test_worker_keeps_nothing_of_directories_of_which_all_is_noted(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "NOTED_SECONDS", 0.2)
    new.fs.pipe_file("x", b"x")
    record = weakref.ref(written.record_of(new.upload.key, new.fs._name))
    assert record() is not None
    for _ in range(100):
        time.sleep(0.05)
        if record() is None:
            break
    assert record() is None
    (note,) = [stat.key for stat in new.pipeline.backend.list() if checkpoints.is_note(stat.key)]
    assert [noted.name for noted in checkpoints.read_note(new.pipeline, note)] == ["x"]
