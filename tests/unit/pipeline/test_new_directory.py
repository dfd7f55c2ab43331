"""Directories that are being made: which ones are refused at their end, and what fsspec promises of their files."""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.errors import (
    HashMismatchError,
    InvalidKeyError,
    ObjectNotFoundError,
    ReadOnlyStorageError,
    StorageUnavailableError,
    UnsafeNameError,
    UnsupportedValueError,
    VerificationError,
    WorkerError,
)
from datajoint_file.model import manifest
from datajoint_file.model.manifest import Manifest
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell, manifest_key
from datajoint_file.pipeline import checkpoints, new_directory, written
from datajoint_file.pipeline.checkpoints import CheckpointLine
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.fence import Fence
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.manifests import manifest_of
from datajoint_file.pipeline.new_directory import NewDirectoryFileSystem
from datajoint_file.pipeline.new_tree import KnownTree, LocalArea, NewTree, finished
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.testing import Fault, FaultyBackend
from datajoint_file.testing.readers import FailingReader
from datajoint_file.transfer.directories import Listing
from datajoint_file.transfer.sources import as_source


class New:
    """A directory that is being made."""

    def __init__(self, pipeline: Pipeline, cell: Cell) -> None:
        self.pipeline = remember(f"the test {id(self)}", pipeline)
        self.upload = pipeline.plan(as_source(NewTree("run")), cell)
        self.area = LocalArea(pipeline, self.upload.key)
        Fence(pipeline, self.upload.key).begin()
        self.fs: Any = NewDirectoryFileSystem(self.upload.key, f"the test {id(self)}")

    def end(self) -> FileMetadata:
        return finished(self.pipeline, self.upload, self.area, written.Record(self.upload.key))

    def manifest(self) -> Manifest:
        return manifest_of(self.pipeline, self.end())

    @property
    def has_manifest(self) -> bool:
        return self.pipeline.backend.exists(manifest_key(self.upload.key))


def content(new: New) -> dict[str, bytes]:
    return {path: new.fs.cat_file(path) for path in new.fs.find("")}


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
def test_too_many_empty_directories_are_refused(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_empty_path_is_the_directory_itself(new: New) -> None:
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
def test_no_checkpoint_is_written_for_a_retry_that_never_comes(
    new: New, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_FILES", 1)
    (new.area.path / "x").write_bytes(b"x")
    with caplog.at_level(logging.DEBUG):
        new.end()
    assert "/run/x" in caplog.text
    assert f"{manifest_key(new.upload.key).rpartition('/')[0]}/~sent-" not in caplog.text


@pytest.mark.parametrize("new", ["memory"], indirect=True)
def test_malformed_line_of_a_checkpoint_says_nothing_and_the_others_speak(new: New) -> None:
    digest = f"sha256:{'0' * 64}"
    some = [CheckpointLine(name, digest, 1, "tag") for name in "ab"]
    key = checkpoints.write_checkpoint(new.pipeline, new.upload.key, some)
    stored = new.pipeline.backend.read(key, 0, new.pipeline.backend.stat(key).size)
    first, second = bytes(stored).splitlines(keepends=True)
    wrong = f"\nx\n{digest} x tag c\n{digest} 1 tag\n{digest[:-1]} 1 tag d\n{digest} 1 tag e f\n"
    text = first + wrong.encode() + second + first[:-1]
    new.pipeline.backend.upload(f"{key}0", io.BytesIO(text), len(text))
    assert list(checkpoints.read_checkpoint(new.pipeline, f"{key}0")) == some


def test_checkpoint_that_cannot_be_read_is_an_error_and_one_that_is_gone_says_nothing(new: New) -> None:
    key = checkpoints.write_checkpoint(
        new.pipeline, new.upload.key, [CheckpointLine("a", f"sha256:{'0' * 64}", 1, "tag")]
    )
    assert list(checkpoints.read_checkpoint(new.pipeline, f"{key}-gone")) == []
    for verb in ("stat", "open"):
        new.pipeline.stores._backends["lab"] = FaultyBackend(new.pipeline.backend, Fault(verb))
        with pytest.raises(StorageUnavailableError):
            list(checkpoints.read_checkpoint(new.pipeline, key))
        assert len(list(checkpoints.read_checkpoint(new.pipeline, key))) == 1


def test_large_files_are_read_without_being_held_in_memory(
    new: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 2**17
    new.fs.pipe_file("a/large.bin", content)
    new.fs.pipe_file("a/small.bin", content[:1000])
    monkeypatch.setattr(new_directory, "_IN_MEMORY", 2**20)
    tracemalloc.start()
    with new.fs.open("a/large.bin") as file:
        assert file.seek(-3, 2) == len(content) - 3
        assert (file.read(), file.seek(256), file.read(2)) == (content[-3:], 256, b"\0\1")
    new.fs.get("a", str(tmp_path / "copy"), recursive=True)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(content) / 2
    assert (tmp_path / "copy" / "large.bin").read_bytes() == content
    assert (tmp_path / "copy" / "small.bin").read_bytes() == content[:1000]
    with new.fs.open("a/small.bin", "r", encoding="latin-1") as text:
        assert text.read(3) == "\0\1\2"


def test_worker_keeps_no_record_of_what_is_in_a_checkpoint(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written, "WORKER_SECONDS", 0.2)
    new.fs.pipe_file("x", b"x")
    record = weakref.ref(written.record_of(new.upload.key, new.fs._name))
    assert record() is not None
    until = time.monotonic() + 60
    while record() is not None and time.monotonic() < until:
        time.sleep(0.05)
    assert record() is None
    (key,) = [stat.key for stat in new.pipeline.backend.list() if checkpoints.is_checkpoint(stat.key)]
    assert [line.name for line in checkpoints.read_checkpoint(new.pipeline, key)] == ["x"]


@pytest.mark.parametrize("new", ["file"], indirect=True)
def test_each_change_takes_no_more_requests_than_it_needs(new: New) -> None:
    backend = FaultyBackend(new.pipeline.backend)
    new.pipeline.stores._backends[new.pipeline.project] = backend

    def requests(act: Callable[[], object]) -> list[str]:
        before = len(backend.history)
        act()
        return [verb for verb, _ in backend.history[before:]]

    new.fs.pipe_file("first", b"x")
    assert requests(lambda: new.fs.pipe_file("x", b"x")) == ["stat", "upload", "stat"]  # there, and too late?
    assert requests(lambda: new.fs.pipe_file("x", b"y")) == [
        *("stat", "upload", "stat"),
        *("open", "delete", "upload", "delete"),
    ]
    assert requests(lambda: new.fs.rm("x")) == [
        *("stat", "upload", "stat"),
        *("delete", "upload", "delete"),
    ]
    written.begin_record(new.upload.key)
    assert requests(lambda: new.fs.pipe_file("x", b"x")) == ["stat", "upload"]
    assert requests(lambda: new.fs.pipe_file("x", b"y")) == ["open", "delete", "upload"]
    written.end_record(new.upload.key)


@pytest.mark.parametrize("new", ["file"], indirect=True)
def test_end_waits_for_threads_and_refuses_those_that_come_later(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(_key: str) -> None:
        begun.set()
        go_on.wait()

    new.pipeline.stores._backends[new.pipeline.project] = FaultyBackend(
        new.pipeline.backend, Fault("upload", action=wait)
    )
    record = written.begin_record(new.upload.key)
    thread = threading.Thread(target=new.fs.pipe_file, args=("x", b"x"))
    thread.start()
    begun.wait()
    monkeypatch.setattr(written, "WAIT_SECONDS", 0.1)
    with pytest.raises(WorkerError, match="its member 'x' is still being written"):
        record.stop()
    with pytest.raises(ReadOnlyStorageError):
        new.fs.pipe_file("y", b"y")
    monkeypatch.setattr(written, "WAIT_SECONDS", 30.0)
    threading.Timer(0.1, go_on.set).start()
    record.stop()
    thread.join()
    assert new.fs.find("") == ["x"]
    written.end_record(new.upload.key)


def test_worker_whose_store_is_another_one_writes_nothing(new: New, tmp_path: Path) -> None:
    there = {"backend": "file", "path": str(tmp_path / "elsewhere")}
    (tmp_path / "elsewhere").mkdir()
    remember("elsewhere", Pipeline(parse_settings({"project": {"name": "lab"}, "storage": there}, "the test")))
    fs: Any = NewDirectoryFileSystem(new.upload.key, "elsewhere")
    with pytest.raises(ReadOnlyStorageError, match=r"not being made in the store of this process \(file: .*elsewhere"):
        fs.pipe_file("x", b"x")
    assert not any(path.is_file() for path in (tmp_path / "elsewhere").rglob("*"))


def vanish(new: New, name: str) -> None:
    """Remove a member by other means than the filesystem's."""
    new.pipeline.backend.delete(f"{new.upload.key}{name}")


@pytest.mark.parametrize("by", ["a worker", "the maker"])
def test_member_that_was_removed_and_written_again_is_missed(new: New, by: str) -> None:
    record = written.begin_record(new.upload.key) if by == "the maker" else written.Record(new.upload.key)
    for content in (b"x", b"y"):
        new.fs.pipe_file("x", content)
        if content == b"x":
            new.fs.rm("x")
    other = written.record_of(new.upload.key, new.fs._name)
    if isinstance(other, written.WorkerRecord):
        other.checkpoint()
    vanish(new, "x")
    with pytest.raises(ObjectNotFoundError, match="its member 'x' was written, and is not in the store any more"):
        finished(new.pipeline, new.upload, new.area, record)
    written.end_record(new.upload.key)


@pytest.mark.parametrize("by", ["a worker", "the maker"])
def test_member_that_was_written_again_and_removed_is_not_missed(new: New, by: str) -> None:
    record = written.begin_record(new.upload.key) if by == "the maker" else written.Record(new.upload.key)
    new.fs.pipe_file("keep", b"k")
    for content in (b"x", b"y"):
        new.fs.pipe_file("x", content)
        new.fs.rm("x")
    made = finished(new.pipeline, new.upload, new.area, record)
    assert [member.name for member in manifest_of(new.pipeline, made)] == ["keep"]
    written.end_record(new.upload.key)


@pytest.mark.parametrize("new", ["file"], indirect=True)
def test_files_and_directories_are_moved_and_what_is_moved_to_its_own_place_stays(new: New) -> None:
    new.fs.pipe({"a": b"a", "d/x": b"x", "d/e/y": b"y"})
    new.fs.mv("a", "/a")
    new.fs.mv("d", "q", recursive=True)
    new.fs.mv("a", "b")
    assert content(new) == {"b": b"a", "q/x": b"x", "q/e/y": b"y"}


@pytest.mark.parametrize("new", ["file"], indirect=True)
def test_nothing_is_lost_by_a_move_into_the_same_place_or_one_that_is_moved_itself(new: New) -> None:
    before = {"d/x": b"1", "d/y": b"2", "d/e/x": b"3", "a": b"4"}
    new.fs.pipe(before)
    new.fs.mv("d/x", "d/")
    new.fs.mv("d/x", "d")
    new.fs.copy("d/x", "d/")
    for source, target in (("d", "d/old"), ("d", "d/e"), ("", "all"), ("d/*", "d/e/"), ("a", "a/b")):
        with pytest.raises(OSError, match="Invalid argument"):
            new.fs.mv(source, target, recursive=True)
    with pytest.raises(IsADirectoryError):
        new.fs.mv("d", "q")
    with pytest.raises(FileNotFoundError):
        new.fs.mv("nothing", "q")
    assert content(new) == before
    new.fs.mv(["d/x", "a"], "q/")
    new.fs.mv("d/e", "d2", recursive=True)
    assert content(new) == {"d/y": b"2", "d2/x": b"3", "q/x": b"1", "q/a": b"4"}


@pytest.mark.parametrize("new", ["file"], indirect=True)
@pytest.mark.parametrize("mode", ["w", "wt", "wb", "x"])
def test_file_whose_block_raised_is_not_stored_and_one_that_was_forgotten_is_told(new: New, mode: str) -> None:
    half: Any = b"half" if "b" in mode else "half"
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), new.fs.open("a", mode) as file:
            file.write(half)
            raise error
    assert new.fs.find("") == []
    record = written.begin_record(new.upload.key)
    new.fs.open("a", mode).write(half)
    with pytest.raises(UnsupportedValueError, match="'a' was opened to be written and not closed"):
        record.require_closed()
    with new.fs.open("a", mode, **({} if "b" in mode else {"encoding": "utf-16-le", "newline": "\r\n"})) as file:
        file.write(half if "b" in mode else "é\n")
    assert new.fs.cat_file("a") == (b"half" if "b" in mode else "é\r\n".encode("utf-16-le"))
    if "b" not in mode:
        with new.fs.open("a", "r", encoding="utf-16-le") as file:
            assert file.read() == "é\n"
    record.require_closed()
    written.end_record(new.upload.key)


class Misreading(DelegatingBackend):
    """Gives other bytes than are there, the first time."""

    def __init__(self, new: New, change: Callable[[bytes], bytes]) -> None:
        super().__init__(new.pipeline.backend)
        new.pipeline.stores._backends[new.pipeline.project] = self
        self.changes = [change]
        self.opened = 0

    def _changed(self, content: bytes) -> bytes:
        return self.changes.pop()(content) if self.changes else content

    def read(self, key: str, start: int, stop: int) -> bytes:
        return self._changed(bytes(self.inner.read(key, start, stop)))

    def open(self, key: str, **options: Any) -> Any:
        self.opened += 1
        with self.inner.open(key, **options) as file:
            return io.BytesIO(self._changed(file.read()))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "short": lambda content: content[:-1],
    "long": lambda content: content + b"x",
    "flipped": lambda content: b"X" + content[1:],
}


def _append(fs: Any) -> None:
    with fs.open("a", "ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("new", ["file"], indirect=True)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("by", ["the maker", "a worker", "another"])
def test_what_is_read_wrongly_is_not_written_as_something_new(new: New, by: str, change: str) -> None:
    record = written.begin_record(new.upload.key) if by == "the maker" else written.Record(new.upload.key)
    if by == "another":
        new.pipeline.backend.upload(f"{new.upload.key}a", io.BytesIO(b"spikes"))
    else:
        new.fs.pipe_file("a", b"spikes")
    acts: list[Callable[[], object]] = [
        lambda: new.fs.mv("a", "b"),
        lambda: new.fs.copy("a", "b"),
        lambda: _append(new.fs),
    ]
    if change != "flipped" or by != "another":
        acts += [lambda: new.fs.cat_file("a"), lambda: new.fs.open("a")]
    for act in acts:
        misread = Misreading(new, CHANGES[change])
        with pytest.raises(VerificationError, match="'a' is read otherwise than it was written"):
            act()
        assert misread.changes == []
        assert new.fs.find("") == ["a"]
    record.require_closed()
    _append(new.fs)
    new.fs.mv("a", "b")
    made = finished(new.pipeline, new.upload, new.area, record)
    assert [(one.name, one.digest) for one in manifest_of(new.pipeline, made)] == [
        ("b", hashlib.sha256(b"spikesmore").hexdigest())
    ]
    written.end_record(new.upload.key)


@pytest.mark.parametrize("new", ["file"], indirect=True)
@pytest.mark.parametrize("again", [b"SPIKES", b"more spikes"])
def test_file_that_is_written_again_while_it_is_read_is_read_again(new: New, again: bytes) -> None:
    new.fs.pipe_file("a", b"spikes")
    record = written.record_of(new.upload.key, new.fs._name)
    (before,) = record.lines("a")

    def rewritten(_content: bytes) -> bytes:
        new.pipeline.backend.delete(f"{new.upload.key}a")
        new.pipeline.backend.upload(f"{new.upload.key}a", io.BytesIO(again))
        return again[:6]

    Misreading(new, rewritten)
    assert record.lines("a") == [before]
    assert new.fs.cat_file("a") == again


@pytest.mark.parametrize("new", ["file"], indirect=True)
@pytest.mark.parametrize("change", CHANGES)
def test_what_nobody_has_noted_is_read_twice_before_it_is_believed(new: New, change: str) -> None:
    new.pipeline.backend.upload(f"{new.upload.key}a", io.BytesIO(b"spikes"))
    misreading = Misreading(new, CHANGES[change])
    with pytest.raises(HashMismatchError, match="its member 'a' is not the same each time it is read"):
        new.end()
    assert not new.has_manifest
    opened = misreading.opened
    digest = f"sha256:{hashlib.sha256(b'spikes').hexdigest()}"
    checkpoints.write_checkpoint(new.pipeline, new.upload.key, [CheckpointLine("a", digest, 6, "another")])
    new.end()
    assert misreading.opened == opened + 1  # what is read is as somebody has said


@pytest.mark.parametrize("new", ["file"], indirect=True)
def test_member_that_somebody_has_stored_and_the_maker_could_not_write_again_is_missed(new: New) -> None:
    new.pipeline.backend.upload(f"{new.upload.key}x", io.BytesIO(b"x"))  # by a child that was killed
    record = written.begin_record(new.upload.key)
    with pytest.raises(OSError, match="unplugged"):
        new.fs.write("x", FailingReader(b"y", after=1, error=OSError("unplugged")))
    with pytest.raises(OSError, match="unplugged"):
        new.fs.write("never there", FailingReader(b"y", after=1, error=OSError("unplugged")))
    with pytest.raises(ObjectNotFoundError, match="its member 'x' was written, and is not in the store any more"):
        finished(new.pipeline, new.upload, new.area, record)
    Fence(new.pipeline, new.upload.key).begin()
    new.fs.pipe_file("x", b"y")
    made = finished(new.pipeline, new.upload, new.area, record)
    assert [member.name for member in manifest_of(new.pipeline, made)] == ["x"]
    written.end_record(new.upload.key)


@pytest.mark.parametrize("new", ["file"], indirect=True)
def test_checkpoint_of_what_became_of_a_member_vouches_for_no_bytes(new: New) -> None:
    new.fs.pipe_file("x", b"x")
    tag = new.pipeline.backend.stat(f"{new.upload.key}x").tag
    checkpoints.write_checkpoint(
        new.pipeline, new.upload.key, [CheckpointLine("x", word, 1, tag) for word in ("removed", "unknown")]
    )
    assert [member.digest for member in new.manifest()] == [hashlib.sha256(b"x").hexdigest()]
