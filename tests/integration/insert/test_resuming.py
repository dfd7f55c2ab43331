"""Uploads of directories that were cut short: a retry sends what is missing, and nothing that is not the tree's."""

from __future__ import annotations

import errno
import os
import pickle
import signal
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import StorageError, StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.model.object_keys import manifest_key
from datajoint_file.pipeline import checkpoints, directory_upload
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.receipts import Receipts
from datajoint_file.storage.disk import drafts
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.testing import Fault, FaultyBackend, kill
from tests.flushes import Flushed, flushes_noted
from tests.integration.collector.collecting import faulty, in_child, make_older
from tests.integration.executors import Disturbed, Inline, executor_of, write_toml
from tests.projects import Store, over_all_stores, over_local_and_s3, over_mysql, unique
from tests.tables import drop_schema, recording_of

FILES = {f"{letter}/{number}": f"{letter}{number}".encode() for letter in "abcd" for number in range(5)}


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_FILES", 3)
    monkeypatch.setattr(directory_upload, "BATCH_FILES", 2)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    return tmp_path / "run"


def members(store: Store) -> list[str]:
    return [key for key in store.object_keys() if "~" not in key]


def cut_short(table: Any, tree: Path, at: int = 12) -> FaultyBackend:
    """Begin to store a directory in a store that fails from some upload on; return one that does not any more."""
    backend = faulty(table.connection, Fault("upload", call=at, lasting=True))
    with pytest.raises(StorageError):
        table.insert1({"id": 1, "raw": tree})
    pipeline = pipeline_of(table.connection)
    pipeline.stores._backends[pipeline.project] = backend.inner
    return faulty(table.connection)


def sent_since(backend: FaultyBackend, before: int) -> list[str]:
    return [key for verb, key in backend.history[before:] if verb == "upload" and "~" not in key]


@over_all_stores
def test_retry_sends_only_what_is_missing(table: Any, store: Store, tree: Path) -> None:
    backend = cut_short(table, tree)
    left, before = members(store), len(backend.history)
    assert 0 < len(left) < len(FILES)
    table.insert1({"id": 1, "raw": tree})
    assert not set(sent_since(backend, before)) & set(left)
    assert len(sent_since(backend, before)) == len(FILES) - len(left)
    ref = table.fetch1("raw")
    assert [file.read() for file in ref.files()] == [FILES[name] for name in sorted(FILES)]
    assert datajoint_file.verify(table, level="content")
    assert [key for key in store.object_keys() if "~" in key] == [
        f"{ref.path.rstrip('/').rpartition('/')[0]}/~manifest"
    ]


@over_mysql
@pytest.mark.parametrize("what", ["a file", "a directory", "a part of one"])
def test_what_another_attempt_has_stored_is_on_the_disk_before_a_row_names_it(
    table: Any, store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Its writer may have been killed before he had waited for the names."""
    settled: list[str] = []
    monkeypatch.setattr(LocalBackend, "settle", lambda _, *keys: settled.extend(keys))
    value = tree / "a/0" if what == "a file" else tree
    if what == "a part of one":
        cut_short(table, tree)
    else:
        with pytest.raises(ZeroDivisionError), table.connection.transaction:
            table.insert1({"id": 1, "raw": value})
            raise ZeroDivisionError
    assert settled == []
    pipeline = pipeline_of(table.connection)
    if what != "a part of one":
        with pytest.raises(ZeroDivisionError), table.connection.transaction:
            table.insert1({"id": 1, "raw": value})
            raise ZeroDivisionError
        assert settled == []  # this process has waited itself
    pipeline.writes.receipts = Receipts()  # as another one knows nothing
    table.insert1({"id": 1, "raw": value})
    path = table.fetch1("raw").path
    assert settled == ([path] if what == "a file" else [path, manifest_key(path)])


@over_mysql
@pytest.mark.parametrize("what", ["a file", "a directory"])
def test_what_could_not_be_flushed_is_sent_anew(
    table: Any, store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The system tells an error once: a retry that finds the names, and flushes them, hears nothing."""
    value, fsync = tree / "a/0" if what == "a file" else tree, os.fsync

    def fsync_that_fails(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir() and (path / "0").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patched, pytest.raises(StorageUnavailableError):
        patched.setattr(os, "fsync", fsync_that_fails)
        table.insert1({"id": 1, "raw": value})
    left = members(store)
    assert left
    table.insert1({"id": 1, "raw": value})
    assert not [key for key in left if key.startswith(table.fetch1("raw").path)]
    assert datajoint_file.verify(table, level="content")


@over_mysql
@pytest.mark.parametrize("what", ["a file", "a directory"])
def test_work_that_an_executor_does_again_is_on_the_disk(
    instance: dj.Instance, store: Store, tree: Path, tmp_path: Path, what: str
) -> None:
    """The first worker was killed when a file had its name, before he had waited for the disk."""

    class Again(Inline):
        flushed = Flushed()

        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            function, args = pickle.loads(pickle.dumps((function, args)))

            def die() -> None:
                drafts.flush_directory = lambda directory: kill("")
                function(*args)

            assert in_child(die) == signal.SIGKILL
            with flushes_noted(self.flushed):
                return super().submit(function, *args, **kwargs)

    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    table, executor = recording_of(instance.Schema(unique("again")))(), Again()
    value = tree / "a/0" if what == "a file" else tree
    staged = datajoint_file.stage(table, {"id": 1}, "raw", value, executor=executor)
    table.insert1({"id": 1, "raw": staged})
    assert datajoint_file.verify(table, level="content")
    place = Path(store.table["path"]) / table.fetch1("raw").path.partition("/")[2]
    path = place if what == "a file" else place / "a/0"
    assert all(executor.flushed.has(one) for one in (path, path.parent, path.parent.parent))
    drop_schema(instance.connection, table.database)


@over_local_and_s3
@over_mysql
def test_after_kill_9_another_process_goes_on(
    table: Any, store: Store, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "workers", 2)  # or all could begin before one is stored
    table.connection  # noqa: B018 - made before the fork

    def die() -> None:
        table.connection.connect()
        faulty(table.connection, Fault("upload", call=12, action=kill))
        table.insert1({"id": 1, "raw": tree})

    assert in_child(die) == signal.SIGKILL
    left = members(store)
    assert 0 < len(left) < len(FILES)
    table.connection.connect()
    backend = faulty(table.connection)
    table.insert1({"id": 2, "raw": tree})  # another row has nothing to do with it
    assert len(sent_since(backend, 0)) == len(FILES)
    make_older(table.connection, table.database, "~file_intent", "lease_until")
    before = len(backend.history)
    table.insert1({"id": 1, "raw": tree})
    assert len(sent_since(backend, before)) == len(FILES) - len(left)
    assert datajoint_file.verify(table, level="content")


@over_mysql
def test_complete_directory_of_which_nobody_was_told_is_not_sent_again(table: Any, store: Store, tree: Path) -> None:
    table.connection  # noqa: B018 - made before the fork

    def die() -> None:
        table.connection.connect()
        faulty(table.connection, Fault("delete", action=kill))  # of a note, when the manifest is there
        table.insert1({"id": 1, "raw": tree})

    assert in_child(die) == signal.SIGKILL
    table.connection.connect()
    left = [key for key in store.object_keys() if "~sent" not in key]
    assert len(left) == len(FILES) + 1
    make_older(table.connection, table.database, "~file_intent", "lease_until")
    backend = faulty(table.connection)
    table.insert1({"id": 1, "raw": tree})
    assert not [key for verb, key in backend.history if verb == "upload"]
    assert store.object_keys() == left
    assert datajoint_file.verify(table, level="content")


@over_mysql
def test_retry_goes_on_with_the_attempt_that_has_stored_something(table: Any, store: Store, tree: Path) -> None:
    cut_short(table, tree)
    backend = faulty(table.connection, Fault("list"))
    with pytest.raises(StorageError):
        table.insert1({"id": 1, "raw": tree})
    name = table.connection.adapter.make_full_table_name(table.database, "~file_intent")
    (first,) = table.connection.query(f"SELECT MIN(number) FROM {name}").fetchone()
    table.connection.query(f"UPDATE {name} SET number = number + 1000 WHERE number = {first}")  # it is given last
    left, before = members(store), len(backend.history)
    table.insert1({"id": 1, "raw": tree})
    assert len(sent_since(backend, before)) == len(FILES) - len(left)


@over_local_and_s3
@over_mysql
def test_living_writer_is_not_robbed(table: Any, store: Store, tree: Path) -> None:
    cut_short(table, tree)
    name = table.connection.adapter.make_full_table_name(table.database, "~file_intent")
    table.connection.query(f"UPDATE {name} SET lease_until = lease_until + INTERVAL 1 HOUR")
    left = members(store)
    table.insert1({"id": 1, "raw": tree})
    assert not set(left) & {file.path for file in table.fetch1("raw").files()}


@over_mysql
@pytest.mark.parametrize("change", ["file", "removed", "added", "object", "extra", "note"])
def test_what_has_changed_since_is_not_taken_for_stored(table: Any, store: Store, tree: Path, change: str) -> None:
    cut_short(table, tree)
    left = members(store)
    if change == "file":
        (tree / "a/0").write_bytes(b"A0")
    elif change == "removed":
        (tree / "a/0").unlink()
    elif change == "added":
        (tree / "e").write_bytes(b"e")
    elif change == "object":
        store.damage(next(key for key in left if key.endswith("/a/0")), b"!!")
    elif change == "extra":
        path = Path(store.table["path"]) / left[0].partition("/")[2]
        path.with_name("more").write_bytes(b"more")
    else:
        for key in store.object_keys():
            if "~sent-" in key:
                store.damage(key, b"sha256:0 2 - a/0\n\xff" + store.content(key))
    wanted = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    table.insert1({"id": 1, "raw": tree})
    ref = table.fetch1("raw")
    assert {file.path[len(ref.path) :]: file.read() for file in ref.files()} == wanted
    assert datajoint_file.verify(table, level="content")
    is_resumed = bool(set(left) & {file.path for file in ref.files()})
    assert is_resumed == (change in ("added", "note"))


class Interrupted(Disturbed):
    """An executor whose caller is interrupted, and which begins nothing after that."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future() if len(self.futures) == self._number else super().submit(function, *args, **kwargs)


@over_mysql
@pytest.mark.parametrize(("kind", "is_late"), [("threads", False), ("forked", True)])
def test_interrupt_while_workers_send_members_leaves_nothing_visible(
    instance: dj.Instance, store: Store, tree: Path, tmp_path: Path, kind: str, *, is_late: bool
) -> None:
    """A retry succeeds at once, when the workers may not have ended, and later, when it goes on with what they left."""
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    table, key = recording_of(instance.Schema(unique("schema"))), {"id": 1}
    with executor_of(kind) as executor:
        executor.submit(len, "").result()
        disturbed = Interrupted(executor, 6)
        with pytest.raises(KeyboardInterrupt):
            datajoint_file.stage(table, [key], "raw", [tree], executor=disturbed)
        assert len(table()) == 0
        if is_late:
            wait([future for future in disturbed.futures if not future.cancelled()])
            assert 0 < len(members(store)) < len(FILES)
            make_older(instance.connection, table.database, "~file_intent", "lease_until")
        assert not [name for name in store.object_keys() if name.endswith("~manifest")]
        (staged,) = datajoint_file.stage(table, [key], "raw", [tree], executor=executor)
    table.insert1({**key, "raw": staged})
    ref = table.fetch1("raw")
    assert {str(file.path)[len(ref.path) :]: file.read() for file in ref.files()} == FILES
    assert len({name.split("/objects/")[1].split("/")[1] for name in store.object_keys()}) == (1 if is_late else 2)
    assert datajoint_file.verify(table, level="content")
    drop_schema(instance.connection, table.database)
