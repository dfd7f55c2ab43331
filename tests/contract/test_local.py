"""The contract over a local disk, and what is particular to it: links, modes, flushing, full disks, killed writers."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest

from datajoint_file.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
    UnsafePathError,
)
from datajoint_file.storage import StorageBackend, UnfinishedUpload
from datajoint_file.storage.disk import drafts as drafts_module
from datajoint_file.storage.disk import kernel_copy, settling, walk
from datajoint_file.storage.disk import rename as rename_module
from datajoint_file.storage.disk import syncfs as syncfs_module
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.disk.publishing import LocalGroup
from datajoint_file.testing import (
    DirectoryStore,
    Fault,
    FaultyBackend,
    GeneratedReader,
    RawStore,
    SlowReader,
    StorageBackendTests,
    kill,
)
from datajoint_file.testing.conformance.concurrency import forked, in_forked_child
from tests.contract.conftest import PROJECT, backend_of
from tests.torture import power

KEY = f"{PROJECT}/subject1/objects/k7/recording.dat"
MANY = [KEY.replace("k7", f"k{number}") for number in range(100, 100 + syncfs_module.ENOUGH_FILES)]
NOBODY = 65534
NEW_YEAR = datetime(1970, 1, 1, tzinfo=timezone.utc)

Verb = Callable[[StorageBackend, str], object]
VERBS: dict[str, Verb] = {
    "upload": lambda backend, key: backend.upload(key, io.BytesIO(b"noise")),
    "open": lambda backend, key: backend.open(key),
    "read": lambda backend, key: backend.read(key, 0, 10),
    "stat": lambda backend, key: backend.stat(key),
    "exists": lambda backend, key: backend.exists(key),
    "delete": lambda backend, key: backend.delete(key),
    "list": lambda backend, key: list(backend.list(key)),
    "unfinished": lambda backend, key: list(backend.unfinished(key)),
}
over_all_verbs = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def backend(root: Path) -> LocalBackend:
    return LocalBackend(root, PROJECT)


@pytest.fixture
def raw(root: Path) -> DirectoryStore:
    return DirectoryStore(root, PROJECT)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory that is none of the project's, with a file."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "recording.dat").write_bytes(b"secret")
    return directory


class TestLocal(StorageBackendTests):
    durability = "full"

    @pytest.fixture
    def backend(self, root: Path) -> StorageBackend:
        return backend_of({"backend": "file", "path": str(root), "durability": self.durability})

    @pytest.fixture
    def raw(self, raw: DirectoryStore) -> RawStore:
        return raw


class TestLocalWithoutDurability(TestLocal):
    durability = "none"


class TestLinks:
    @pytest.fixture(autouse=True, params=["in one call", "step by step"])
    def way(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if request.param == "step by step":
            monkeypatch.setattr(walk, "_syscall", None)

    def test_link_in_place_of_an_object_is_no_object(
        self, backend: LocalBackend, raw: DirectoryStore, outside: Path
    ) -> None:
        raw.path(KEY).parent.mkdir(parents=True)
        raw.path(KEY).symlink_to(outside / "recording.dat")
        assert backend.exists(KEY) is False
        assert list(backend.list(KEY)) == list(backend.list()) == []
        for verb in ("open", "read"):
            with pytest.raises(ObjectNotFoundError):
                VERBS[verb](backend, KEY)
        backend.delete(KEY)
        with pytest.raises(ObjectExistsError):
            backend.upload(KEY, io.BytesIO(b"noise"))
        assert (outside / "recording.dat").read_bytes() == b"secret"

    @over_all_verbs
    def test_link_in_place_of_a_directory_is_not_followed(
        self, backend: LocalBackend, root: Path, outside: Path, verb: str
    ) -> None:
        (root / "subject1").symlink_to(outside, target_is_directory=True)
        with pytest.raises(UnsafePathError):
            VERBS[verb](backend, f"{PROJECT}/subject1/recording.dat")
        assert [path.name for path in outside.iterdir()] == ["recording.dat"]
        assert (outside / "recording.dat").read_bytes() == b"secret"

    def test_linked_directory_is_not_listed(self, backend: LocalBackend, root: Path, outside: Path) -> None:
        (root / "subject1").symlink_to(outside, target_is_directory=True)
        assert list(backend.list()) == list(backend.list(f"{PROJECT}/subject1")) == []

    def test_root_may_be_a_link(self, root: Path, tmp_path: Path) -> None:
        (tmp_path / "disk").symlink_to(root, target_is_directory=True)
        backend = LocalBackend(tmp_path / "disk", PROJECT)
        backend.upload(KEY, io.BytesIO(b"spikes"))
        assert DirectoryStore(root, PROJECT).get(KEY) == b"spikes"
        assert [found.key for found in backend.list()] == [KEY]
        assert backend.read(KEY, 0, 3) == b"spi"
        backend.delete(KEY)
        assert backend.exists(KEY) is False

    def test_queue_in_place_of_an_object_is_not_waited_for(self, backend: LocalBackend, raw: DirectoryStore) -> None:
        raw.path(KEY).parent.mkdir(parents=True)
        os.mkfifo(raw.path(KEY))
        with pytest.raises(ObjectNotFoundError):
            backend.read(KEY, 0, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="a system call of Linux")
def test_object_is_opened_in_one_call_below_a_root_that_is_a_link_too(
    root: Path, raw: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.put(KEY, b"spikes")
    (tmp_path / "disk").symlink_to(root, target_is_directory=True)
    monkeypatch.setattr(walk, "enter", _raising(AssertionError()))
    for place in (root, tmp_path / "disk"):
        backend = LocalBackend(place, PROJECT)
        assert (backend.read(KEY, 0, 10), backend.stat(KEY).size) == (b"spikes", 6)


class TestRoot:
    @over_all_verbs
    def test_missing_root_is_no_missing_object(self, tmp_path: Path, verb: str) -> None:
        backend = LocalBackend(tmp_path / "unmounted", PROJECT)
        with pytest.raises(StorageUnavailableError, match="is its disk mounted") as caught:
            VERBS[verb](backend, KEY)
        assert caught.value.key == KEY
        assert list(tmp_path.iterdir()) == []

    @over_all_verbs
    def test_other_projects_are_not_below_the_root(self, backend: LocalBackend, verb: str) -> None:
        with pytest.raises(UnsafePathError, match="not of the project"):
            VERBS[verb](backend, "elsewhere/subject1/recording.dat")

    def test_root_that_vanishes_while_it_is_listed_is_told(
        self, backend: LocalBackend, raw: DirectoryStore, root: Path
    ) -> None:
        raw.put(f"{PROJECT}/a/1", b"")
        raw.put(f"{PROJECT}/b/1", b"")
        listing = backend.list()
        next(listing)
        root.rename(root.with_name("elsewhere"))
        with pytest.raises(StorageUnavailableError):
            list(listing)

    def test_directory_that_vanishes_while_it_is_listed_is_empty(
        self, backend: LocalBackend, raw: DirectoryStore
    ) -> None:
        raw.put(f"{PROJECT}/a/1", b"")
        raw.put(f"{PROJECT}/b/1", b"")
        listing = backend.list()
        first = next(listing).key
        shutil.rmtree(raw.path(f"{PROJECT}/{'b' if '/a/' in first else 'a'}"))
        assert list(listing) == []

    @pytest.mark.parametrize("replaced", [False, True])
    def test_root_that_vanishes_between_two_files_is_told(
        self, backend: LocalBackend, raw: DirectoryStore, root: Path, replaced: bool
    ) -> None:
        """As an unmounted disk does; in its place is an empty directory."""
        for name in ("1", "2", "3"):
            raw.put(f"{PROJECT}/a/{name}", b"")
        listing = backend.list()
        next(listing)
        root.rename(root.with_name(f"{root.name}-elsewhere"))
        if replaced:
            root.mkdir()
        with pytest.raises(StorageUnavailableError, match="still mounted") as caught:
            list(listing)
        assert caught.value.key == PROJECT

    def test_directory_of_any_size_is_listed_in_bounded_memory(
        self, backend: LocalBackend, raw: DirectoryStore
    ) -> None:
        raw.path(f"{PROJECT}/a").mkdir()
        for number in range(5000):
            raw.path(f"{PROJECT}/a/{number:06d}").touch()
        tracemalloc.start()
        try:
            assert sum(1 for _ in backend.list()) == 5000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 200_000

    def test_files_of_other_programs_are_not_listed(
        self, backend: LocalBackend, raw: DirectoryStore, root: Path
    ) -> None:
        raw.put(KEY, b"spikes")
        (root / "my notes.txt").write_text("mine")
        (root / "lost+found").mkdir(mode=0o000)
        (root / "~partial-0123").write_text("unfinished")
        assert [found.key for found in backend.list()] == [KEY]

    def test_object_in_place_of_a_directory_is_told(self, backend: LocalBackend, raw: DirectoryStore) -> None:
        raw.put(f"{PROJECT}/a", b"spikes")
        for key in (f"{PROJECT}/a/b", f"{PROJECT}/a/b/c"):
            with pytest.raises(StorageError, match="a file is in its place") as caught:
                backend.upload(key, io.BytesIO(b"noise"))
            assert caught.value.key == key
        assert raw.keys(PROJECT) == {f"{PROJECT}/a"}

    @over_all_verbs
    def test_unfinished_upload_has_no_key(self, backend: LocalBackend, raw: DirectoryStore, verb: str) -> None:
        raw.put(f"{PROJECT}/a/~partial-0123", b"half")
        with pytest.raises(UnsafePathError, match="unfinished"):
            VERBS[verb](backend, f"{PROJECT}/a/~partial-0123")
        assert raw.unfinished(PROJECT) == {f"{PROJECT}/a/~partial-0123"}


class TestModes:
    @pytest.mark.parametrize(("umask", "file_mode", "directory_mode"), [(0o002, 0o444, 0o775), (0o077, 0o400, 0o700)])
    def test_objects_are_read_only_and_follow_the_umask(
        self, backend: LocalBackend, raw: DirectoryStore, umask: int, file_mode: int, directory_mode: int
    ) -> None:
        before = os.umask(umask)
        try:
            backend.upload(KEY, io.BytesIO(b"spikes"))
        finally:
            os.umask(before)
        assert raw.path(KEY).stat().st_mode & 0o777 == file_mode
        assert raw.path(KEY).parent.stat().st_mode & 0o777 == directory_mode

    @over_all_verbs
    def test_directory_of_another_user_is_no_missing_object(self, verb: str) -> None:
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            root.chmod(0o755)
            (root / "subject1").mkdir(mode=0o000)

            def work() -> None:
                if os.geteuid() == 0:
                    os.seteuid(NOBODY)
                with pytest.raises(StorageAccessError) as caught:
                    VERBS[verb](LocalBackend(root, PROJECT), KEY)
                assert caught.value.key == KEY

            in_forked_child(work)
            (root / "subject1").chmod(0o755)

    def test_directory_that_may_not_be_listed_can_be_stored_below(self) -> None:
        """Nor can it be opened to be flushed."""
        with tempfile.TemporaryDirectory() as directory:
            Path(directory).chmod(0o333)

            def work() -> None:
                if os.geteuid() == 0:
                    os.seteuid(NOBODY)
                backend = LocalBackend(Path(directory), PROJECT)
                backend.upload(KEY, io.BytesIO(b"spikes"))
                backend.settle(KEY)
                assert backend.read(KEY, 0, 10) == b"spikes"

            in_forked_child(work)
            Path(directory).chmod(0o755)


def _require(condition: bool) -> None:
    assert condition


class TestFlushing:
    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What is done to the disk, in order: the functions are the real ones, and noted."""
        steps: list[str] = []
        fsync, syncfs, link, rename = os.fsync, syncfs_module.syncfs, os.link, os.rename

        def noted_fsync(descriptor: int) -> None:
            steps.append(f"flush {Path(f'/proc/self/fd/{descriptor}').readlink().name[:9]}")
            fsync(descriptor)

        def noted_syncfs(descriptor: int) -> None:
            steps.append("flush everything")
            syncfs(descriptor)

        def noted_link(source: str, target: str, **options: Any) -> None:
            steps.append(f"link {Path(target).name}")
            link(source, target, **options)

        def noted_rename(source: str, target: str, **options: Any) -> None:
            steps.append(f"rename {Path(target).name}")
            rename(source, target, **options)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "link", noted_link)
        monkeypatch.setattr(os, "rename", noted_rename)
        monkeypatch.setattr(syncfs_module, "syncfs", noted_syncfs)
        return steps

    def test_bytes_are_on_the_disk_before_their_name_and_the_name_before_the_end(
        self, backend: LocalBackend, root: Path, steps: list[str]
    ) -> None:
        backend.upload(KEY, io.BytesIO(b"spikes"))
        shared = [f"flush {root.name}", "flush subject1"]
        assert steps == [*shared, "flush ~partial-", "link recording.dat", "flush k7", "flush objects"]

    def test_names_that_others_have_made_are_flushed_once_by_each_process(
        self, backend: LocalBackend, raw: DirectoryStore, root: Path, steps: list[str]
    ) -> None:
        """They may have been killed before they had done so, or leave it to the system."""
        raw.path(KEY).parent.mkdir(parents=True)
        above = [f"flush {root.name[:9]}", "flush subject1"]

        def flushed_for(name: str) -> list[str]:
            steps.clear()
            backend.upload(KEY.replace("recording.dat", name), io.BytesIO(b"spikes"))
            return [step for step in steps if step not in ("flush ~partial-", f"link {name}")]

        assert flushed_for("1") == [*above, "flush k7", "flush objects"]
        assert flushed_for("2") == ["flush k7"]
        in_forked_child(lambda: _require(flushed_for("3") == ["flush k7"]))
        shutil.rmtree(root / "subject1")
        raw.path(KEY).parent.mkdir(parents=True)  # by somebody else, and perhaps with the same inodes
        assert flushed_for("1") == [*above, "flush k7", "flush objects"]
        raw.path(KEY).with_name("1").unlink()
        raw.path(KEY).parent.rmdir()
        raw.path(KEY).parent.mkdir()
        assert flushed_for("1") == ["flush k7", "flush objects"]

    def test_where_birth_is_not_told_names_are_flushed_each_time(
        self, backend: LocalBackend, raw: DirectoryStore, steps: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settling, "_statx", lambda *_: -1)
        raw.path(KEY).parent.mkdir(parents=True)
        for name in ("1", "2"):
            steps.clear()
            backend.upload(KEY.replace("recording.dat", name), io.BytesIO(b"spikes"))
            assert steps[-1] == "flush objects"

    def test_delete_is_flushed(self, backend: LocalBackend, raw: DirectoryStore, steps: list[str]) -> None:
        raw.put(KEY, b"spikes")
        backend.delete(KEY)
        assert steps == ["flush k7"]

    @pytest.mark.parametrize("together", [True, False])
    @pytest.mark.parametrize("way", power.FOUND)
    def test_what_others_have_left_is_on_the_disk_before_anybody_counts_on_it(
        self, root: Path, way: str, together: bool
    ) -> None:
        """As far as one can be who finds it: after a power cut nothing is missing, and no byte of it."""
        assert power.check_found(root, b"spikes" * 1000, random.Random(1), way, together=together) == []

    def test_many_files_that_others_have_left_are_flushed_by_one_call(
        self, root: Path, backend: LocalBackend, steps: list[str]
    ) -> None:
        members = [KEY.replace("recording.dat", f"run/{number}/data") for number in range(10)]
        for key in members:
            LocalBackend(root, PROJECT, "none").upload(key, io.BytesIO(b"spikes"))
        steps.clear()
        with power.flushed_together(always=True):
            backend.settle(members[0].rpartition("/0/")[0] + "/")
        assert sorted(steps) == sorted(
            ["flush everything", f"flush {root.name[:9]}", "flush subject1", "flush objects", "flush k7"]
        )

    @pytest.mark.parametrize("asked", [KEY, KEY.replace("k7/recording.dat", "k7/"), KEY.replace("recording", "other")])
    def test_what_this_process_could_not_flush_it_does_not_count_on(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch, asked: str
    ) -> None:
        """The system tells an error once: the next flush finds nothing left to do."""
        fsync = os.fsync

        def fsync_of_directories_fails(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name == "k7":
                raise OSError(errno.EIO, "Input/output error")
            fsync(descriptor)

        raw.put(KEY.replace("recording", "other"), b"noise")
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync_of_directories_fails)
            with pytest.raises(StorageUnavailableError):
                backend.upload(KEY, io.BytesIO(b"spikes"))
        assert raw.get(KEY) == b"spikes"
        for _ in range(2):
            with pytest.raises(StorageUnavailableError, match="a flush of its directory has failed before"):
                backend.settle(asked)
        backend.upload(KEY.replace("k7", "k8"), io.BytesIO(b"spikes"))  # under another key it is sent anew
        backend.settle(KEY.replace("k7", "k8"))

    @pytest.mark.parametrize("failing", ["objects", "k7", "subject1"])
    def test_what_could_not_be_settled_once_is_not_settled_later(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        fsync = os.fsync

        def fsync_that_fails(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name == failing:
                raise OSError(errno.EIO, "Input/output error")
            fsync(descriptor)

        raw.put(KEY, b"spikes")
        with monkeypatch.context() as patched, pytest.raises(StorageUnavailableError, match="Input/output error"):
            patched.setattr(os, "fsync", fsync_that_fails)
            backend.settle(KEY)
        with pytest.raises(StorageUnavailableError, match="has failed before"):
            backend.settle(KEY)
        backend.upload(KEY.replace("k7", "k8"), io.BytesIO(b"spikes"))

    def test_bytes_that_the_system_has_lost_are_told(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lost(*_: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

        raw.put(KEY, b"spikes")
        with monkeypatch.context() as patched:
            patched.setattr(kernel_copy, "_sync_file_range", lost)
            with power.flushed_together(always=True), pytest.raises(StorageUnavailableError, match="does not answer"):
                backend.settle(KEY)
        with pytest.raises(StorageUnavailableError, match="has failed before"):
            backend.settle(KEY)

    def test_nothing_is_flushed_without_durability(self, root: Path, steps: list[str]) -> None:
        backend = LocalBackend(root, PROJECT, "none")
        backend.upload(KEY, io.BytesIO(b"spikes"))
        backend.delete(KEY)
        assert steps == ["link recording.dat"]

    @pytest.mark.parametrize("has_rename", [True, False])
    def test_rename_takes_the_place_of_a_link_that_the_file_system_refuses(
        self,
        backend: LocalBackend,
        raw: DirectoryStore,
        steps: list[str],
        monkeypatch: pytest.MonkeyPatch,
        has_rename: bool,
    ) -> None:
        monkeypatch.setattr(os, "link", _raising(PermissionError(errno.EPERM, "no hard links here")))
        if not has_rename:
            monkeypatch.setattr(rename_module, "_renameat2", None)
        raw.path(KEY).parent.parent.mkdir(parents=True)
        backend.settle(KEY.rpartition("/k7")[0])
        steps.clear()
        backend.upload(KEY, io.BytesIO(b"spikes"))
        renamed = [] if has_rename else ["rename recording.dat"]
        assert steps == ["flush ~partial-", *renamed, "flush k7", "flush objects"]
        with pytest.raises(ObjectExistsError):
            backend.upload(KEY, io.BytesIO(b"noise"))
        assert raw.get(KEY) == b"spikes"
        assert raw.unfinished(PROJECT) == set()

    def test_without_links_a_name_that_is_taken_at_the_last_moment_stays_its_owners(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def take_and_refuse(*_: Any, **__: Any) -> NoReturn:
            raw.path(KEY).write_bytes(b"theirs")
            raise PermissionError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", take_and_refuse)
        monkeypatch.setattr(drafts_module, "_is_taken", lambda *_: False)  # as it was a moment ago
        raw.path(KEY).parent.mkdir(parents=True)
        with pytest.raises(ObjectExistsError):
            backend.upload(KEY, io.BytesIO(b"noise"))
        assert raw.get(KEY) == b"theirs"

    def test_link_whose_reply_was_lost_is_recognised(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link = os.link

        def link_and_forget(source: str, target: str, **options: Any) -> None:
            link(source, target, **options)
            link(source, target, **options)  # as NFS repeats a request: there it is

        monkeypatch.setattr(os, "link", link_and_forget)
        backend.upload(KEY, io.BytesIO(b"spikes"))
        assert raw.keys(PROJECT) == {KEY}
        assert raw.unfinished(PROJECT) == set()

    @pytest.mark.parametrize(("failing", "left"), [("~partial-", set()), ("k7", {KEY})])
    def test_disk_that_cannot_flush_says_so_and_what_has_its_name_keeps_it(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch, failing: str, left: set[str]
    ) -> None:
        """Others may count on it by then: who goes on with the upload of a directory, for one."""
        self._fail_flushing(monkeypatch, failing, errno.EIO)
        raw.path(KEY).parent.mkdir(parents=True)
        with pytest.raises(StorageUnavailableError) as caught:
            backend.upload(KEY, io.BytesIO(b"spikes"))
        assert caught.value.key == KEY
        assert (raw.keys(PROJECT), raw.unfinished(PROJECT)) == (left, set())

    def test_file_systems_that_flush_no_directories_are_served(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._fail_flushing(monkeypatch, "k7", errno.EINVAL)
        raw.path(KEY).parent.mkdir(parents=True)
        backend.upload(KEY, io.BytesIO(b"spikes"))
        assert raw.get(KEY) == b"spikes"

    def test_many_are_flushed_by_one_call_before_their_names_and_by_one_after(
        self, backend: LocalBackend, raw: DirectoryStore, steps: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(syncfs_module, "can_flush_together", lambda _: True)  # whatever this disk is
        monkeypatch.setattr(syncfs_module, "MAX_OTHERS_BYTES", 2**60)
        raw.path(KEY).parent.parent.mkdir(parents=True)
        backend.settle(KEY.rpartition("/k7")[0])
        steps.clear()
        self._upload_many(backend).publish()
        assert steps == ["flush everything", *["link recording.dat"] * len(MANY), "flush everything"]
        assert {key: raw.get(key) for key in raw.keys(PROJECT)} == {key: key.encode() for key in MANY}

    @pytest.mark.parametrize(("kind", "waiting"), [(False, 2**60), (True, -(2**60))])
    def test_unknown_and_busy_disks_are_flushed_file_by_file(
        self, backend: LocalBackend, steps: list[str], monkeypatch: pytest.MonkeyPatch, kind: bool, waiting: int
    ) -> None:
        monkeypatch.setattr(syncfs_module, "can_flush_together", lambda _: kind)
        monkeypatch.setattr(syncfs_module, "MAX_OTHERS_BYTES", waiting)
        self._upload_many(backend).publish()
        assert steps.count("flush ~partial-") == len(MANY)
        assert "flush everything" not in steps

    def test_error_of_the_common_flush_costs_only_the_file_that_could_not_be_written(
        self, backend: LocalBackend, raw: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(syncfs_module, "can_flush_together", lambda _: True)
        monkeypatch.setattr(syncfs_module, "MAX_OTHERS_BYTES", 2**60)
        monkeypatch.setattr(syncfs_module, "syncfs", _raising(OSError(errno.EIO, os.strerror(errno.EIO))))
        bad, fsync = raw.path(MANY[5]).parent, os.fsync

        def fail_of_one(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if path.parent == bad and path.name.startswith("~partial-"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fail_of_one)
        with pytest.raises(StorageUnavailableError) as caught:
            self._upload_many(backend).publish()
        assert caught.value.key == MANY[5]
        assert raw.keys(PROJECT) == {*MANY} - {MANY[5]}
        assert raw.unfinished(PROJECT) == set()

    def _upload_many(self, backend: LocalBackend) -> LocalGroup:
        group = backend.group()
        for key in MANY:
            group.upload(key, io.BytesIO(key.encode()))
        return group

    def _fail_flushing(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
        def fsync(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(name):
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)


class TestUnfinished:
    def test_object_appears_only_when_it_is_complete(self, backend: LocalBackend, raw: DirectoryStore) -> None:
        seen: list[tuple[int, int, bool]] = []

        def look() -> None:
            seen.append((len(list(backend.list())), len(raw.unfinished(PROJECT)), backend.exists(KEY)))

        backend.upload(KEY, SlowReader(GeneratedReader(3_000_000), look))
        assert set(seen) == {(0, 1, False)}
        assert (len(list(backend.list())), len(raw.unfinished(PROJECT)), backend.exists(KEY)) == (1, 0, True)

    def test_failed_upload_leaves_no_directory_of_its_own(self, backend: LocalBackend, raw: DirectoryStore) -> None:
        with pytest.raises(ZeroDivisionError):
            backend.upload(KEY, SlowReader(b"noise", lambda: 1 // 0))
        assert not raw.path(KEY).parent.exists()

    def test_deleted_object_leaves_no_directory_of_its_own(self, backend: LocalBackend, raw: DirectoryStore) -> None:
        backend.upload(KEY, io.BytesIO(b"spikes"))
        backend.delete(KEY)
        assert not raw.path(KEY).parent.exists()
        assert raw.path(KEY).parent.parent.is_dir()

    @pytest.mark.parametrize("after_bytes", [0, 1, 1_500_000, 3_000_000])
    def test_killed_writer_leaves_no_object_and_harms_no_later_one(
        self, backend: LocalBackend, raw: DirectoryStore, after_bytes: int
    ) -> None:
        faulty = FaultyBackend(backend, Fault("upload", moment="during", after_bytes=after_bytes, action=kill))
        status, report = forked(lambda: faulty.upload(KEY, GeneratedReader(3_000_000)))
        assert (status, report) == (-signal.SIGKILL, "")
        assert raw.keys(PROJECT) == set()
        assert len(raw.unfinished(PROJECT)) == 1
        assert backend.exists(KEY) is False
        assert list(backend.list()) == []
        backend.upload(KEY, io.BytesIO(b"spikes"))
        assert raw.get(KEY) == b"spikes"
        backend.delete(KEY)
        assert raw.keys(PROJECT) == set()

    def test_unfinished_file_tells_its_directory_size_and_time(
        self, backend: LocalBackend, raw: DirectoryStore
    ) -> None:
        raw.put(f"{PROJECT}/a/k7/~partial-0123", b"half")
        os.utime(raw.path(f"{PROJECT}/a/k7/~partial-0123"), (86_400, 86_400))
        (upload,) = backend.unfinished()
        assert upload == UnfinishedUpload(f"{PROJECT}/a/k7", "~partial-0123", NEW_YEAR + timedelta(days=1), 4)
        for prefix in (PROJECT, f"{PROJECT}/a", f"{PROJECT}/a/k7", f"{PROJECT}/a/k7/recording.dat"):
            assert list(backend.unfinished(prefix)) == [upload]
        for prefix in (f"{PROJECT}/b", f"{PROJECT}/a/k", f"{PROJECT}/a/k8/recording.dat", f"{PROJECT}/recording.dat"):
            assert list(backend.unfinished(prefix)) == []

    def test_discard_leaves_no_directory_of_its_own(self, backend: LocalBackend, raw: DirectoryStore) -> None:
        raw.put(f"{PROJECT}/a/k7/~partial-0123", b"half")
        backend.discard(next(backend.unfinished()))
        assert not raw.path(f"{PROJECT}/a/k7").exists()
        assert raw.path(f"{PROJECT}/a").is_dir()

    def test_links_are_neither_told_nor_discarded(
        self, backend: LocalBackend, raw: DirectoryStore, root: Path, outside: Path
    ) -> None:
        (outside / "~partial-0123").write_bytes(b"secret")
        (root / "subject1").symlink_to(outside, target_is_directory=True)
        (root / "~partial-4567").symlink_to(outside / "~partial-0123")
        assert list(backend.unfinished()) == []
        with pytest.raises(UnsafePathError):
            backend.discard(UnfinishedUpload(f"{PROJECT}/subject1", "~partial-0123", None, None))
        backend.discard(UnfinishedUpload(PROJECT, "~partial-4567", None, None))
        assert (outside / "~partial-0123").read_bytes() == b"secret"
        assert (root / "~partial-4567").is_symlink()

    def test_directory_that_a_program_has_filled_is_told_and_discarded_whole(
        self, backend: LocalBackend, raw: DirectoryStore, outside: Path
    ) -> None:
        raw.put(f"{PROJECT}/a/k7/~partial-new/plain", b"half")
        area = raw.path(f"{PROJECT}/a/k7/~partial-new")
        (outside / "kept").write_bytes(b"kept")
        for name in ("a b", "Köln", os.fsdecode(b"\xff\xfe"), ".hidden", "~own", "a\nb", "~partial-x", "n" * 255):
            (area / name / " " / name).mkdir(parents=True)
            (area / name / name).write_bytes(b"half")
        (area / "a link").symlink_to(outside)
        (area / "a b" / "link").symlink_to(outside / "kept")
        (area / "twice").hardlink_to(outside / "kept")
        os.mkfifo(area / "fifo")
        descriptor = os.open(area, os.O_RDONLY)
        for _ in range(1_200):  # no path of the system is as long, and no stack of Python's as deep
            os.mkdir("deep", dir_fd=descriptor)
            inner = os.open("deep", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        os.close(descriptor)
        (area / "a b").chmod(0o500)
        (area / "~own").chmod(0)
        assert list(backend.list()) == []
        (upload,) = backend.unfinished()
        assert upload == UnfinishedUpload(f"{PROJECT}/a/k7", "~partial-new", upload.started, None)
        assert list(backend.unfinished(f"{PROJECT}/a/k7")) == [upload]
        for _ in range(2):  # what is gone already is success
            backend.discard(upload)
        assert raw.keys(PROJECT) == set()
        assert not raw.path(f"{PROJECT}/a/k7").exists()
        assert sorted(path.read_bytes() for path in outside.iterdir()) == [b"kept", b"secret"]

    @pytest.mark.parametrize("name", ["recording.dat", "..", "../~partial-0123", "a/~partial-0123", "", "~partial-a b"])
    def test_only_temporary_files_are_discarded(self, backend: LocalBackend, name: str) -> None:
        with pytest.raises(UnsafePathError):
            backend.discard(UnfinishedUpload(f"{PROJECT}/a", name, None, None))

    def test_writer_whose_file_is_discarded_fails(self, backend: LocalBackend, raw: DirectoryStore) -> None:
        def discard_all() -> None:
            for upload in backend.unfinished():
                backend.discard(upload)

        with pytest.raises(StorageError):
            backend.upload(KEY, SlowReader(GeneratedReader(3_000_000), discard_all))
        assert raw.keys(PROJECT) == raw.unfinished(PROJECT) == set()

    def test_unfinished_files_of_a_missing_disk_are_not_discarded(self, tmp_path: Path) -> None:
        with pytest.raises(StorageUnavailableError, match="is its disk mounted"):
            LocalBackend(tmp_path / "unmounted", PROJECT).discard(UnfinishedUpload(PROJECT, "~partial-1", None, None))


WRITE_TOO_MUCH = """
import sys
from pathlib import Path
from datajoint_file.errors import StorageError
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.testing import GeneratedReader
try:
    LocalBackend(Path(sys.argv[1]), "p").upload("p/k7/recording.dat", GeneratedReader(5_000_000))
except StorageError as error:
    print(type(error).__name__, error.key, *Path(sys.argv[1]).glob("p/k7/*"))
"""


class TestFullDisk:
    def test_limit_on_a_files_size_leaves_no_object(self, root: Path) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

        assert self._written([sys.executable], root, limit) == ["StorageError", "p/k7/recording.dat"]

    def test_full_disk_leaves_no_object_and_is_told(self, root: Path) -> None:
        """Where nobody may mount a small disk, there is only the limit above."""
        for mount in _MOUNTS:
            if shutil.which("unshare") and subprocess.run([*mount, str(root), "true"], check=False).returncode == 0:
                written = self._written([*mount, str(root), sys.executable], root)
                assert written == ["StorageUnavailableError", "p/k7/recording.dat"]

    def _written(self, python: list[str], root: Path, limit: Callable[[], None] | None = None) -> list[str]:
        command = [*python, "-W", "ignore", "-c", WRITE_TOO_MUCH, str(root)]
        result = subprocess.run(command, preexec_fn=limit, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
        return result.stdout.split()


_ON_A_SMALL_DISK = ["--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"']
_MOUNTS = [["unshare", *_ON_A_SMALL_DISK], ["unshare", "--user", "--map-root-user", *_ON_A_SMALL_DISK]]
"""Commands that mount a disk of 1 MiB for themselves alone, as root or as a user."""


def _raising(error: Exception) -> Callable[..., None]:
    def function(*arguments: object, **options: object) -> None:
        raise error

    return function


def test_what_lies_above_the_root_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "lab" / "data" / "students"
    root.mkdir(parents=True)
    backend = LocalBackend(root, PROJECT)
    (root / "~registry").mkdir()
    (root / "~registry" / "own.json").touch()
    (tmp_path / "lab" / "~registry").mkdir()
    assert backend.above("~registry") == ""
    (tmp_path / "lab" / "~registry" / "x.json").touch()
    assert backend.above("~registry") == str(tmp_path / "lab")
    link = tmp_path / "link"
    link.symlink_to(root)
    assert LocalBackend(link, PROJECT).above("~registry") == str(tmp_path / "lab")
