"""Directories written straight into the store: by zarr, by Dask workers, by programs that know only paths."""

from __future__ import annotations

import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, wait
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
import pytest
import xarray as xr

import datajoint_file
from datajoint_file.errors import (
    DataJointFileError,
    EmptyDirectoryWarning,
    InvalidKeyError,
    ObjectNotFoundError,
    ReadOnlyStorageError,
    SourceChangedError,
    SourceNotRegularError,
    StorageUnavailableError,
    UnsafeNameError,
    UnsupportedValueError,
    WorkerError,
)
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline import checkpoints, fence, written
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.disk import drafts
from datajoint_file.testing import Fault
from datajoint_file.testing.faults import Verb, kill
from tests.flushes import Flushed, flushes_noted
from tests.integration.collector.collecting import faulty, in_child, let_grace_pass, make_older, sweep
from tests.integration.executors import executor_of, write_toml
from tests.projects import Store, over_all_stores, over_local_and_s3, over_mysql, unique
from tests.tables import drop_schema, recording_of

zarr: Any = importlib.import_module("zarr")  # its types say that anything may be anything
dask: Any = importlib.import_module("dask")
dask_array: Any = importlib.import_module("dask.array")

VALUES = np.arange(2_400, dtype="int16").reshape(40, 60)


@over_all_stores
def test_zarr_is_written_into_the_store_and_read_from_there(table: Any, store: Store) -> None:
    with datajoint_file.create(table, {"id": 1}, "raw", "movie.zarr") as new:
        array = zarr.create_array(new.fsmap, shape=(40, 60), chunks=(10, 20), dtype="int16")
        array[:] = 0
        array[:] = VALUES
        assert np.array_equal(zarr.open(new.fsmap, mode="r")[:], VALUES)
        assert not any(key.endswith("~manifest") for key in store.object_keys())
    before = store.object_keys()
    assert len(before) == 15
    table.insert1({"id": 1, "raw": new.value})
    assert store.object_keys() == before
    ref = table.fetch1("raw")
    assert (ref.name, ref.file_count) == ("movie.zarr", 13)
    assert np.array_equal(zarr.open(ref.fsmap, mode="r")[:], VALUES)
    assert datajoint_file.verify(table, level="content")


@over_mysql
def test_dask_workers_of_other_processes_write(instance: dj.Instance, store: Store, tmp_path: Path) -> None:
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    table = recording_of(instance.Schema(unique("schema")))
    with datajoint_file.create(table, {"id": 1}, "raw", "movie.zarr") as new:
        dataset = xr.Dataset({"movie": (("time", "pixel"), dask_array.from_array(VALUES, chunks=(10, 20)))})
        with dask.config.set(scheduler="processes", num_workers=2):
            dataset.to_zarr(new.fsmap, consolidated=False)
    table.insert1({"id": 1, "raw": new.value})
    assert np.array_equal(xr.open_zarr(table.fetch1("raw").fsmap, consolidated=False).movie, VALUES)
    assert datajoint_file.verify(table, level="content")
    drop_schema(instance.connection, table.database)


@over_local_and_s3
@over_mysql
def test_files_are_written_again_removed_and_appended_to(table: Any) -> None:
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        for content in (b"first", b"second"):
            with new.open("notes/a b.txt") as file:
                file.write(content)
        with new.open("notes/a b.txt", "ab") as file:
            file.write(b" and third")
        with pytest.raises(FileExistsError):
            new.open("notes/a b.txt", "xb")
        with pytest.raises(ZeroDivisionError), new.open("half.bin") as file:
            file.write(b"half")
            raise ZeroDivisionError
        new.fs.pipe_file("gone.bin", b"gone")
        new.fs.pipe_file("down/gone.bin", b"gone")
        new.fs.rm("gone.bin")
        new.fs.rm("down", recursive=True)
        assert new.fs.find("") == ["notes/a b.txt"]
        assert new.fs.ls("notes", detail=False) == ["notes/a b.txt"]
        assert new.fs.cat_file("notes/a b.txt", -5) == b"third"
        assert (new.fs.exists("notes"), new.fs.isdir("notes"), new.fs.exists("down")) == (True, True, False)
        with pytest.raises(FileNotFoundError):
            new.fs.cat_file("gone.bin")
        with pytest.raises(UnsafeNameError):
            new.fs.pipe_file("a\nb", b"")
        with pytest.raises(UnsupportedValueError, match="not complete"):
            new.value  # noqa: B018 - a use
    table.insert1({"id": 1, "raw": new.value})
    ref = table.fetch1("raw")
    assert [file.read() for file in ref.files()] == [b"second and third"]
    for verb, *given in (("pipe_file", "notes/a b.txt", b"later"), ("rm", "", True)):
        with pytest.raises(ReadOnlyStorageError, match="is complete, or given up, and is not changed any more"):
            getattr(new.fs, verb)(*given)
    assert (ref / "notes/a b.txt").read() == b"second and third"


@over_all_stores
@over_mysql
def test_program_that_knows_only_paths_writes(table: Any, store: Store) -> None:
    with datajoint_file.create(table, {"id": 1}, "raw", "sorted") as new:
        code = (
            "import pathlib, sys; p = pathlib.Path(sys.argv[1]); (p / 'a b').mkdir(); (p / 'a b' / 'c').write_text('c')"
        )
        subprocess.run([sys.executable, "-c", code, new.path], check=True)
        (new.path / "empty").mkdir()
        new.fs.pipe_file("by fs", b"fs")
    table.insert1({"id": 1, "raw": new.value})
    ref = table.fetch1("raw")
    assert {file.path[len(ref.path) :]: file.read() for file in ref.files()} == {"a%20b/c": b"c", "by%20fs": b"fs"}
    assert ref.listdir("") == ["a b", "by fs", "empty"]
    assert not new.path.exists()
    assert len(store.object_keys()) == 4
    assert datajoint_file.verify(table, level="content")


@over_local_and_s3
@over_mysql
def test_what_others_have_exchanged_is_read_back(table: Any, store: Store) -> None:
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("x", b"mine!")
        (key,) = [key for key in store.object_keys() if key.endswith("/x")]
        store.damage(key, b"other")
    table.insert1({"id": 1, "raw": new.value})
    assert (table.fetch1("raw") / "x").read() == b"other"


def members(store: Store) -> list[str]:
    """Return what the store has of a directory that is called "run"."""
    return [key.partition("/run/")[2] for key in store.object_keys() if "/run/" in key]


def fill(path: Path) -> None:
    """Put into a directory what a store could not hold, nor name."""
    for name in ("plain", "a b", "Köln", os.fsdecode(b"\xff"), ".hidden", "~own", "~partial-x", "n" * 255):
        (path / name / " ").mkdir(parents=True)
        (path / name / " " / name).write_bytes(b"x")
    (path / "link").symlink_to(Path(__file__).parent)
    os.mkfifo(path / "fifo")
    (path / "~own").chmod(0o500)


@over_mysql
def test_killed_block_leaves_nothing_for_ever_whatever_its_files_are_called(table: Any, store: Store) -> None:
    def die() -> None:
        table.connection.connect()
        with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
            fill(new.path)
            new.fs.pipe_file("a b", b"x")
            fence.Fence(pipeline_of(table.connection), new._key).enter("a b")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == signal.SIGKILL
    table.connection.connect()
    make_older(table.connection, table.database, "~file_intent", "lease_until")
    (left,) = Path(store.table["path"]).rglob("~partial-new")
    sweep(table.connection)
    assert not left.parent.exists()
    assert Path(__file__).exists()


@over_local_and_s3
@over_mysql
def test_block_that_raises_leaves_nothing_of_its_local_area(table: Any, store: Store) -> None:
    for put in (lambda path: fill(path), lambda path: (path.rmdir(), path.symlink_to(Path(__file__).parent))):
        with pytest.raises(ZeroDivisionError), datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
            put(new.path)
            raise ZeroDivisionError
        assert not os.path.lexists(new.path)
    assert members(store) == []
    assert Path(__file__).exists()


@over_local_and_s3
@over_mysql
@pytest.mark.parametrize("fault", ["a request", "a name"])
def test_what_programs_have_written_is_kept_if_the_block_cannot_end(table: Any, store: Store, fault: str) -> None:
    """It may be the work of hours."""
    with (
        pytest.raises(DataJointFileError, match=r"what was written into new\.path is kept in ") as caught,
        datajoint_file.create(table, {"id": 1}, "raw", "run") as new,
    ):
        (new.path / "result").write_bytes(b"the work of hours")
        if fault == "a name":
            (new.path / "a\nb").write_bytes(b"x")
        else:
            faulty(table.connection, Fault("upload", call=2))
    assert isinstance(caught.value, UnsafeNameError if fault == "a name" else StorageUnavailableError)
    assert str(new.path) in str(caught.value)
    kept = datajoint_file.Directory(new.path, exclude="a?b", name="run")
    table.insert1({"id": 1, "raw": kept})
    ref = table.fetch1("raw")
    assert (ref.name, (ref / "result").read()) == ("run", b"the work of hours")
    new._area._is_kept = False
    new._area.remove()


@over_mysql
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (None, SourceNotRegularError, "is a symbolic link now"),
        ((Path, "is_symlink"), SourceChangedError, "has become a symbolic link while the directory was listed"),
        ((Pipeline, "ingest"), SourceChangedError, "has become a symbolic link, or a directory on its way has"),
    ],
    ids=["before it is looked at", "after that", "while files are stored"],
)
def test_link_in_the_place_of_the_local_area_is_not_followed(
    table: Any, store: Store, monkeypatch: pytest.MonkeyPatch, call: Any, error: type[Exception], message: str
) -> None:
    outside = Path(__file__).parent

    def exchange() -> None:
        if new.path.exists() and not new.path.samefile(outside):
            shutil.rmtree(new.path)
            new.path.symlink_to(outside)

    with pytest.raises(error, match=message), datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        for name in ("__init__.py", Path(__file__).name):
            (new.path / name).write_bytes(b"x")
        if call is None:
            exchange()
        else:
            owner, name = call
            monkeypatch.setattr(owner, name, _followed_by(exchange, getattr(owner, name)))
    monkeypatch.undo()
    assert not os.path.lexists(new.path)
    assert members(store) == []
    assert Path(__file__).exists()


def _followed_by(act: Callable[[], None], call: Any) -> Callable[..., Any]:
    def acted(*args: Any, **options: Any) -> Any:
        result = call(*args, **options)
        act()
        return result

    return acted


@over_local_and_s3
@over_mysql
def test_forked_children_share_the_local_area_and_leave_it_alone(table: Any, store: Store) -> None:
    def ended(child: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    parent, codes = os.getpid(), list[int]()
    try:
        with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
            assert in_child(lambda: (new.path / "first").write_bytes(b"x")) == 0
            for error in (SystemExit, ZeroDivisionError):
                if not (child := os.fork()):
                    (new.path / "second").write_bytes(b"x")
                    raise error
                codes.append(ended(child))
            if child := os.fork():  # this child leaves the block well
                codes.append(ended(child))
    except BaseException as error:
        if os.getpid() == parent:
            raise
        os._exit(7 if isinstance(error, SystemExit | ZeroDivisionError | UnsupportedValueError) else 8)
    if os.getpid() != parent:
        os._exit(9)
    assert codes == [7, 7, 7]
    table.insert1({"id": 1, "raw": new.value})
    assert table.fetch1("raw").listdir("") == ["first", "second"]
    assert not new.path.exists()


def rewrite(fs: Any) -> None:
    fs.pipe_file("c/0", b"again")


def remove(fs: Any) -> None:
    fs.rm("c", recursive=True)


def add(fs: Any) -> None:
    fs.pipe_file("c/1", b"late")


@over_local_and_s3
@over_mysql
@pytest.mark.parametrize("change", [rewrite, remove])
def test_worker_killed_while_it_changes_a_file_ends_the_block_with_an_error(
    table: Any, store: Store, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], object]
) -> None:
    """Zarr would give fill values for a chunk that has gone."""
    monkeypatch.setattr(fence, "WAIT_SECONDS", 0.2)

    def die() -> None:
        faulty(table.connection, Fault("delete", moment="after", action=kill))
        change(new.fs)

    with (
        pytest.raises(WorkerError, match="its member 'c/0' was being written again, or removed, by another process"),
        datajoint_file.create(table, {"id": 1}, "raw", "run") as new,
    ):
        new.fs.pipe({"c/0": b"once", "x": b"x"})
        assert in_child(die) == signal.SIGKILL
    with pytest.raises(UnsupportedValueError, match="not complete"):
        new.value  # noqa: B018 - a use


@over_mysql
@pytest.mark.parametrize("step", ["named", "made"])
def test_what_a_killed_worker_has_left_is_on_the_disk_before_a_row_names_it(
    table: Any, store: Store, step: str
) -> None:
    """He was killed when a file had its name, or its directory was there, before he had waited for the disk."""

    def die() -> None:
        if step == "named":
            drafts.flush_directory = lambda directory: kill("")
        else:
            drafts.Draft.write = lambda *_: kill("")  # type: ignore[method-assign]
        new.fs.pipe_file("sub/theirs", b"theirs")

    flushed = Flushed()
    with ExitStack() as noted, datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("mine", b"mine")
        assert in_child(die) == signal.SIGKILL
        noted.enter_context(flushes_noted(flushed))
        if step == "made":
            new.fs.pipe_file("sub/mine", b"mine")
    table.insert1({"id": 1, "raw": new.value})
    ref = table.fetch1("raw")
    names = {"mine", "sub/theirs"} if step == "named" else {"mine", "sub/mine"}
    assert {file.path.removeprefix(ref.path) for file in ref.files()} == names
    run = Path(store.table["path"]) / ref.path.partition("/")[2]
    expected = [run, run / "sub", run / ("sub/theirs" if step == "named" else "sub")]
    assert all(flushed.has(path) for path in expected)


@over_mysql
def test_file_that_has_gone_unheard_ends_the_block_with_an_error(
    table: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written, "WORKER_FILES", 1)
    with (
        pytest.raises(ObjectNotFoundError, match="its member 'a', and 1 more was written, and is not in the store"),
        datajoint_file.create(table, {"id": 1}, "raw", "run") as new,
    ):
        new.fs.pipe({"a": b"mine", "x": b"x"})
        in_child(lambda: new.fs.pipe_file("b", b"a worker's"))
        for key in store.object_keys():
            if key.endswith(("/a", "/b")):
                store.remove(key)


@over_mysql
def test_rewrite_that_fails_unheard_ends_the_block_with_an_error_unless_somebody_repeats_it(
    table: Any, store: Store
) -> None:
    def fail(call: int) -> None:
        faulty(table.connection, Fault("upload", call=call))
        with suppress(StorageUnavailableError):
            rewrite(new.fs)

    acts: list[Callable[[], object]] = [lambda: fail(1), lambda: in_child(lambda: fail(2))]
    for act in acts:
        for is_repeated in (False, True):
            refused = pytest.raises(ObjectNotFoundError, match="its member 'c/0' was written, and is not")
            expected: Any = nullcontext() if is_repeated else refused
            with expected, datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
                in_child(lambda: new.fs.pipe_file("c/0", b"once"))
                new.fs.pipe_file("c/0", b"twice")
                act()
                if is_repeated:
                    rewrite(new.fs)
            assert ("c/0" in members(store)) == is_repeated
            for key in store.object_keys():
                store.remove(key)


@over_mysql
def test_what_is_removed_on_purpose_is_not_missed(table: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zarr removes a chunk that has become one of fill values."""
    monkeypatch.setattr(written, "WORKER_FILES", 1)
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe(dict.fromkeys(["c/0", "c/1", "c/2", "mine", "again"], b"x"))
        in_child(lambda: new.fs.pipe_file("theirs", b"x"))
        in_child(lambda: [new.fs.rm(path, recursive=path in ("c", "no")) for path in ("c", "mine", "again", "no")])
        new.fs.rm("theirs")
        in_child(lambda: new.fs.pipe_file("again", b"y"))
    table.insert1({"id": 1, "raw": new.value})
    assert [(file.name, file.read()) for file in table.fetch1("raw").files()] == [("again", b"y")]
    assert [key.rpartition("/")[2] for key in store.object_keys()] == ["again", "ending", "~manifest"]


def suspended(table: Any, fault: Fault, act: Callable[[], object]) -> int:
    """Fork a worker, let it run into a fault that suspends it, and return its process id.

    It ends with 3 if it is told that it comes too late.
    """
    child = os.fork()
    if child:
        assert os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
        return child
    code = 4
    try:
        faulty(table.connection, fault)
        act()
        code = 0
    except ReadOnlyStorageError:
        code = 3
    finally:
        os._exit(code)


def stop(_key: str) -> None:
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # by `os.kill` this thread goes on for a while


def exit_of_resumed(child: int) -> int:
    os.kill(child, signal.SIGCONT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@over_mysql
@pytest.mark.parametrize(
    ("store", "change", "verb"),
    [
        ("local", rewrite, "stat"),  # the first thing that it asks
        ("local", rewrite, "upload"),  # it is about to say what it is going to do
        ("s3", rewrite, "upload"),
        ("local", remove, "upload"),
        ("local", add, "upload"),  # the file itself
        ("s3", add, "upload"),
    ],
    indirect=["store"],
)
def test_worker_that_comes_too_late_changes_nothing_and_hears_of_it(
    table: Any, store: Store, change: Callable[[Any], object], verb: Verb
) -> None:
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe({"c/0": b"first", "x": b"x"})
        child = suspended(table, Fault(verb, action=stop), lambda: change(new.fs))
    table.insert1({"id": 1, "raw": new.value})
    assert exit_of_resumed(child) == 3
    assert {file.name: file.read() for file in table.fetch1("raw").files()} == {"0": b"first", "x": b"x"}
    assert not any("/busy-" in key for key in store.object_keys())


@over_mysql
@pytest.mark.parametrize("change", [rewrite, remove])
@pytest.mark.parametrize("is_in_time", [True, False])
def test_end_waits_for_a_worker_that_changes_a_file_and_not_for_ever(
    table: Any,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], object],
    *,
    is_in_time: bool,
) -> None:
    monkeypatch.setattr(fence, "WAIT_SECONDS", 30.0 if is_in_time else 0.2)
    codes: list[int] = []
    expected: Any = nullcontext() if is_in_time else pytest.raises(WorkerError, match="its member 'c/0' was being")
    with expected, datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe({"c/0": b"first", "x": b"x"})
        child = suspended(table, Fault("delete", action=stop), lambda: change(new.fs))
        waker = threading.Timer(0.3, lambda: codes.append(exit_of_resumed(child)))
        if is_in_time:
            waker.start()
    if not is_in_time:
        assert exit_of_resumed(child) == 0
        return
    waker.join()
    table.insert1({"id": 1, "raw": new.value})
    assert codes == [0]
    assert "".join(file.read().decode() for file in table.fetch1("raw").files()) == (
        "x" if change is remove else "againx"
    )


@over_mysql
def test_worker_of_a_block_that_was_given_up_hears_of_it(table: Any, store: Store) -> None:
    with pytest.raises(ZeroDivisionError), datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("c/0", b"x")
        child = suspended(table, Fault("stat", action=stop), lambda: add(new.fs))
        raise ZeroDivisionError
    assert exit_of_resumed(child) == 3
    assert members(store) == ["c/0"]


@over_local_and_s3
@over_mysql
def test_nothing_beside_a_directory_outlives_it(table: Any, store: Store) -> None:
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("x", b"x")
    table.insert1({"id": 1, "raw": new.value})
    table.delete(prompt=False)
    let_grace_pass(table.connection, table.database)
    sweep(table.connection)
    assert store.object_keys() == []


@over_local_and_s3
@over_mysql
def test_block_that_ends_after_the_collector_has_been_there_leaves_nothing(table: Any, store: Store) -> None:
    with pytest.raises(ZeroDivisionError), datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("x", b"x")
        for _ in range(2):
            make_older(table.connection, table.database, "~file_intent", "lease_until")
            sweep(table.connection)
        assert store.object_keys() == []
        raise ZeroDivisionError
    assert store.object_keys() == []


@pytest.mark.parametrize("store", ["s3"], indirect=True)  # a disk has no room for both
@over_mysql
def test_file_and_directory_of_one_name_are_refused(table: Any, store: Store) -> None:
    with (
        pytest.raises(InvalidKeyError, match="'w' is both a file and a directory"),
        datajoint_file.create(table, {"id": 1}, "raw", "run") as new,
    ):
        for name in ("w", "w/inner", "w."):
            new.fs.pipe_file(name, b"x")
    assert sorted(members(store)) == ["w", "w%2E", "w/inner"]


def write(fs: Any, *names: str) -> None:
    """Write files, in a worker: of each, what is in it is its name."""
    for name in names:
        fs.pipe_file(name, name.encode())


def write_again_and_die(fs: Any, name: str) -> None:
    fs.pipe_file(name, name[::-1].encode())
    os._exit(1)


@over_all_stores
@over_mysql
def test_what_a_worker_has_written_a_checkpoint_of_is_not_read_back(
    instance: dj.Instance, store: Store, tmp_path: Path
) -> None:
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    table = recording_of(instance.Schema(unique("schema")))
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        with executor_of("forked") as executor:
            wait([executor.submit(write, new.fs, *names) for names in (("a b", "again"), ("c/0", "gone"))])
        with executor_of("forked") as executor:
            executor.submit(write, new.fs, "again").result()
        with executor_of("forked") as executor, suppress(BrokenExecutor):
            executor.submit(write_again_and_die, new.fs, "gone").result()
        backend = faulty(instance.connection)
    opened = [key for verb, key in backend.history if verb == "open" and "/~sent-" not in key]
    assert [key.rpartition("/")[2] for key in opened] == ["gone", "gone"]
    table.insert1({"id": 1, "raw": new.value})
    assert {file.name: file.read() for file in table.fetch1("raw").files()} == {
        "a b": b"a b",
        "again": b"again",
        "0": b"c/0",
        "gone": b"enog",
    }
    assert not [key for key in store.object_keys() if "~sent-" in key]
    drop_schema(instance.connection, table.database)


@over_mysql
def test_block_from_which_a_member_has_vanished_ends_with_an_error(table: Any, store: Store) -> None:
    with pytest.raises(ObjectNotFoundError, match="its member 'c/1' was written"):
        with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
            new.fs.pipe({"c/0": b"0", "c/1": b"1", "c/2": b"2"})
            new.fs.rm("c/0")
            store.remove(f"{new._key}c/1")  # as who dies between removing and writing it again
    with pytest.raises(UnsupportedValueError, match="not complete"):
        _ = new.value


@over_local_and_s3
@over_mysql
def test_checkpoint_that_is_not_of_the_object_as_it_is_does_not_vouch(table: Any, store: Store) -> None:
    names = ["disputed", "elsewhere", "longer", "older", "torn", "untagged"]
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("older", b"0ther")
        older = new._record.members["older"]
        new.fs.pipe(dict.fromkeys(names, b"other"))
        true = {name: new._record.members[name] for name in names}
        new._record.members.clear()
        wrong = f"sha256:{'0' * 64}"
        pipeline, key = pipeline_of(table.connection), new._key
        forged = [
            true["disputed"]._replace(digest=wrong),
            true["elsewhere"]._replace(digest=wrong, tag=older.tag),
            true["longer"]._replace(digest=wrong, size=6),
            true["untagged"]._replace(digest=wrong, tag=""),
        ]
        checkpoints.write_checkpoint(pipeline, key, [true["disputed"], older, *forged])
        checkpoints.write_checkpoint(pipeline, key, [true["torn"]._replace(digest=f"{wrong}0")])
        home = manifest_key(key).rpartition("/")[0]
        for number, text in enumerate((f"{wrong} 5 {true['torn'].tag} torn", f"{wrong} five x torn\n", "\xff\n")):
            content = text.encode("latin-1")
            pipeline.backend.upload(f"{home}/~sent-{number}", io.BytesIO(content), len(content))
    table.insert1({"id": 1, "raw": new.value})
    assert [file.read() for file in table.fetch1("raw").files()] == [b"other"] * len(names)
    assert not [key for key in store.object_keys() if "~sent-" in key]


@over_mysql
def test_file_written_again_at_once_is_told_from_what_it_was(table: Any) -> None:
    """A disk may give the number of a removed file to the next one, within one tick of its clock."""
    tags = []
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        for number in range(50):
            new.fs.pipe_file("x", b"%02d" % number)
            tags.append(new._record.members["x"].tag)
            numbers = [tag.partition("-")[0] for tag in tags[-2:]]
            assert number == 0 or numbers[0] != numbers[1]


@over_local_and_s3
@over_mysql
@pytest.mark.parametrize("is_forgotten", [False, True])
def test_file_that_is_not_closed_ends_the_block_with_an_error(table: Any, store: Store, *, is_forgotten: bool) -> None:
    kept = []
    with (
        pytest.raises(UnsupportedValueError, match="its member 'c/a b' was opened to be written and not closed"),
        datajoint_file.create(table, {"id": 1}, "raw", "run") as new,
    ):
        with new.open("whole") as file:
            file.write(b"whole")
        new.fs.open("again", "wb").write(b"forgotten")
        new.fs.pipe_file("again", b"whole")
        kept.append(new.fs.open("c/a b", "wb"))
        kept[0].write(b"half")
        if is_forgotten:
            kept.clear()
    for file in kept:
        assert file.closed
    with pytest.raises(UnsupportedValueError, match="not complete"):
        new.value  # noqa: B018 - a use
    assert sorted(members(store)) == ["again", "whole"]


@over_local_and_s3
@over_mysql
def test_block_that_raises_leaves_an_intent_and_no_value(table: Any, store: Store) -> None:
    with pytest.raises(ZeroDivisionError), datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("x", b"x")
        (new.path / "y").write_bytes(b"y")
        raise ZeroDivisionError
    with pytest.raises(UnsupportedValueError):
        new.value  # noqa: B018 - a use
    assert members(store) == ["x"]
    name = table.connection.adapter.make_full_table_name(table.database, "~file_intent")
    assert table.connection.query(f"SELECT state FROM {name}").fetchall() in ((("begun",),), [("begun",)])


@over_mysql
def test_insert_does_not_go_on_with_what_a_block_may_still_write(table: Any, store: Store, tmp_path: Path) -> None:
    """Its writer, suspended for long, would write a file again, of a directory that a row names by now."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_bytes(b"x")
    with pytest.raises(ZeroDivisionError), datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("x", b"x")
        raise ZeroDivisionError
    make_older(table.connection, table.database, "~file_intent", "lease_until")
    table.insert1({"id": 1, "raw": tmp_path / "run"})
    with suppress(ReadOnlyStorageError):
        new.fs.pipe_file("x", b"later")
    assert (table.fetch1("raw") / "x").read() == b"x"


@over_mysql
def test_block_that_writes_nothing_is_warned_of(table: Any) -> None:
    told = r"Recording\.raw \(id=1\): no file was written into run, so its value is an empty directory"
    with pytest.warns(EmptyDirectoryWarning, match=told) as caught:
        with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
            pass
    assert caught[0].filename == __file__
    table.insert1({"id": 1, "raw": new.value})
    assert table.fetch1("raw").listdir() == []


def test_value_is_for_its_row_alone(table: Any) -> None:
    with datajoint_file.create(table, {"id": 1}, "raw", "run") as new:
        new.fs.pipe_file("x", b"x")
    with pytest.raises(UnsupportedValueError, match="another primary key"):
        table.insert1({"id": 2, "raw": new.value})
    with (
        pytest.raises(UnsupportedValueError, match="no `file` attribute"),
        datajoint_file.create(table, {"id": 1}, "nothing", "run"),
    ):
        pass
    table.insert1({"id": 1, "raw": new.value})
    assert table.fetch1("raw").file_count == 1
