"""The probe object against a store that lies or fails: a real directory behind wrappers that change one thing each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from datajoint_file.config import parse_settings
from datajoint_file.doctor import Check, check_store
from datajoint_file.doctor.probe import SIZE, Probe, probe_key
from datajoint_file.errors import StorageAccessError
from datajoint_file.storage.backend import Capabilities, ObjectStat, StorageBackend
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.remote.filesystem import FilesystemBackend
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.testing import (
    CutShort,
    DeletesPrefix,
    Fault,
    FaultyBackend,
    LooksOnlyBefore,
    RefusingAfterwards,
    Replacing,
    ShortListing,
    StaleListing,
    Undeleting,
    WrongClock,
    WrongSize,
    raising,
)
from tests.projects import Store, bare_filesystem, over_all_stores, unique

Lie = Callable[[StorageBackend], StorageBackend]

ALL = {"write", "read", "ranged read", "list", "size", "exclusive create", "delete"}


class Unseekable(DelegatingBackend):
    """Gives the beginning of an object for any part of it, as servers do that ignore ranges."""

    def open(self, key: str, **options: Any) -> BinaryIO:
        file = self.inner.open(key, **options)
        file.seek = lambda *_: 0  # type: ignore[method-assign]
        return file


class Networked(DelegatingBackend):
    """Says that it is reached over a network, where clocks are compared aloud."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, protocol="sftp")


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path, "lab")


def examined(backend: StorageBackend) -> dict[str, Check]:
    return {check.name: check for check in Probe(backend, probe_key("lab"), lambda *_: "ask").examine()}


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def failed(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.status == "failed"}


class Sorted(DelegatingBackend):
    """Lists by name, as buckets do."""

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        return iter(sorted(self.inner.list(prefix), key=lambda found: found.key))


class WrongListedSize(DelegatingBackend):
    """Lists objects without their size."""

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        return (replace(found, size=0) for found in self.inner.list(prefix))


@over_all_stores
def test_honest_store_is_reported_as_fine(store: Store) -> None:
    settings = parse_settings(store.configuration(), "the test")
    checks = list(check_store(settings))
    assert {check.name for check in checks} >= ALL
    assert [check for check in checks if check.status != "ok"] == []
    root = store.table.get("bucket") or store.table.get("container") or store.table["path"]
    left = bare_filesystem(store.table).find(f"{root}/{'' if store.is_local else store.project}", detail=True)
    assert [name for name, found in left.items() if found["type"] == "file"] == []  # SeaweedFS keeps directories


def test_honest_memory_is_reported_as_fine() -> None:
    document = {"project": {"name": "lab"}, "storage": {"backend": "memory", "path": f"/{unique('root')}"}}
    assert {check.status for check in check_store(parse_settings(document, "the test"))} == {"ok"}
    assert not [name for name in MemoryFileSystem.store if name.startswith(document["storage"]["path"])]


def test_honest_store_passes_and_is_left_empty(local: LocalBackend, tmp_path: Path) -> None:
    checks = examined(local)
    assert set(checks) == ALL
    assert {check.status for check in checks.values()} == {"ok"}
    assert files(tmp_path) == []


def test_ignored_exclusive_create_is_a_warning_that_names_the_setting(local: LocalBackend, tmp_path: Path) -> None:
    checks = examined(Replacing(local))
    assert failed(checks) == set()
    assert checks["exclusive create"].status == "warning"
    assert "unique" in checks["exclusive create"].detail
    assert "exclusive_create = false" in checks["exclusive create"].fix
    assert files(tmp_path) == []


LIES: dict[str, tuple[Lie, str, str]] = {
    "shows nothing new": (ShortListing, "list", "does not show the object"),
    "loses all but the first": (lambda inner: ShortListing(Sorted(inner), 1), "list", "it shows 1 of 3 objects"),
    "loses the second page": (lambda inner: ShortListing(Sorted(inner), 2), "list", "it shows 2 of 3 objects"),
    "lists what was deleted": (StaleListing, "delete", "the listing shows"),
    "tells a wrong size": (WrongSize, "size", f"{SIZE} bytes were written, and the store says {SIZE + 1}"),
    "lists a wrong size": (WrongListedSize, "list", f"{SIZE} bytes were written, and the listing says 0"),
    "ignores ranges": (Unseekable, "ranged read", "are not those written there"),
    "replaces and says it refused": (RefusingAfterwards, "exclusive create", "was refused, and changed the object"),
    "deletes nothing": (Undeleting, "delete", "is left there after its deletion"),
    "deletes more": (DeletesPrefix, "delete", "others were deleted"),
}


@pytest.mark.parametrize("name", LIES)
def test_lie_is_found_and_the_objects_removed(local: LocalBackend, tmp_path: Path, name: str) -> None:
    lie, of, said = LIES[name]
    checks = examined(lie(local))
    assert failed(checks) == {of}
    assert said in checks[of].detail
    assert checks[of].fix
    assert bool(files(tmp_path)) == (lie is Undeleting)


def test_race_that_two_writers_win_is_a_warning(local: LocalBackend, tmp_path: Path) -> None:
    check = examined(LooksOnlyBefore(local))["exclusive create"]
    assert (check.status, check.detail[:57]) == ("warning", "of two writes at the same moment the store accepts 2. Key")
    assert "exclusive_create = false" in check.fix
    assert files(tmp_path) == []


def test_store_that_promises_no_exclusive_create_is_not_raced(tmp_path: Path) -> None:
    backend = FaultyBackend(FilesystemBackend("local", str(tmp_path), LocalFileSystem, project="lab"))
    check = examined(backend)["exclusive create"]
    assert (check.status, check.detail) == ("ok", "a second write is refused after looking, not by the store itself")
    assert backend.calls["upload"] == 4


def test_object_cut_short_is_found_by_reading_listing_and_size(local: LocalBackend, tmp_path: Path) -> None:
    assert failed(examined(CutShort(local))) >= {"read", "ranged read", "list", "size"}
    assert files(tmp_path) == []


def test_probe_is_cheap(local: LocalBackend) -> None:
    faulty = FaultyBackend(local)
    examined(faulty)
    assert faulty.calls.total() - faulty.calls["read"] < 30
    assert faulty.uploaded_bytes < 2**20 + 1000


@pytest.mark.parametrize("verb", ["open", "read", "stat", "list"])
def test_failing_verb_does_not_keep_the_object_from_being_removed(
    local: LocalBackend, tmp_path: Path, verb: Any
) -> None:
    checks = examined(FaultyBackend(local, Fault(verb, lasting=True)))
    assert set(checks) == ALL
    assert failed(checks)
    assert files(tmp_path) == []


def test_error_of_a_client_in_the_middle_of_reading_is_a_failed_check(local: LocalBackend) -> None:
    broken = Fault("read", action=raising(RuntimeError("the client broke down")))
    checks = examined(FaultyBackend(local, broken))
    assert failed(checks) == {"read"}
    assert "the client broke down" in checks["read"].detail


@pytest.mark.parametrize("moment", ["before", "after"])
def test_failed_write_ends_the_examination_and_leaves_nothing(local: LocalBackend, tmp_path: Path, moment: Any) -> None:
    checks = examined(FaultyBackend(local, Fault("upload", moment=moment)))
    assert set(checks) == failed(checks) == {"write"}
    assert files(tmp_path) == []


def test_store_that_refuses_to_delete_warns_with_what_is_left(local: LocalBackend) -> None:
    refusal = Fault("delete", lasting=True, action=raising(StorageAccessError("deleting is not allowed here")))
    checks = examined(FaultyBackend(local, refusal))
    assert (failed(checks), checks["delete"].status) == (set(), "warning")
    assert "who only writes needs no more" in checks["delete"].fix
    assert "probe.bin" in checks["delete"].detail
    assert "deleting is not allowed here" in checks["delete"].detail


def test_examination_that_is_broken_off_removes_the_object(local: LocalBackend, tmp_path: Path) -> None:
    checks = Probe(local, probe_key("lab"), lambda *_: "ask").examine()
    assert next(checks).name == "write"
    assert len(files(tmp_path)) == 3
    checks.close()
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("skew", "status", "said"),
    [
        (timedelta(0), "ok", "within 1 s"),
        (timedelta(minutes=4), "ok", "s of this machine's"),
        (timedelta(minutes=6), "warning", "ahead of"),
        (timedelta(days=-1), "warning", "behind"),
        (None, "ok", "does not tell"),
    ],
)
def test_clock_of_a_store_over_a_network_is_compared(
    local: LocalBackend, skew: timedelta | None, status: str, said: str
) -> None:
    check = examined(Networked(WrongClock(local, skew)))["clock"]
    assert check.status == status
    assert said in check.detail
    assert bool(check.fix) == (status != "ok")


@pytest.mark.parametrize("skew", [timedelta(minutes=4), timedelta(minutes=6)])
def test_clock_of_a_disk_is_told_only_if_it_is_wrong(local: LocalBackend, skew: timedelta) -> None:
    """As that of a network disk can be, which says nothing about itself."""
    checks = examined(WrongClock(local, skew))
    assert ("clock" in checks) == (skew > timedelta(minutes=5))
    assert checks.get("clock") is None or checks["clock"].status == "warning"
