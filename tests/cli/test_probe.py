"""The probe object against a store that lies or fails: a real directory behind wrappers that change one thing each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from datajoint_file.doctor import Check
from datajoint_file.doctor.probe import Probe, probe_key
from datajoint_file.errors import ObjectExistsError, StorageAccessError
from datajoint_file.storage.backend import Capabilities, ObjectStat, StorageBackend
from datajoint_file.storage.local import LocalBackend
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.testing import Fault, FaultyBackend, raising

ALL = {"write", "read", "ranged read", "list", "size", "exclusive create", "delete"}


class Replacing(DelegatingBackend):
    """Ignores that there is an object already."""

    def upload(self, key: str, reader: Any, size: int | None = None) -> int:
        self.inner.delete(key)
        return self.inner.upload(key, reader, size)


class Hypocritical(Replacing):
    """Says that it has refused, having replaced the object."""

    def upload(self, key: str, reader: Any, size: int | None = None) -> int:
        is_there = self.inner.exists(key)
        written = super().upload(key, reader, size)
        if is_there:
            raise ObjectExistsError(f"{key}: there is an object under this key, left as it is")
        return written


class Forgetful(DelegatingBackend):
    """Lists nothing."""

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        return iter(())


class Boasting(DelegatingBackend):
    """Adds a byte to every size."""

    def stat(self, key: str) -> ObjectStat:
        found = self.inner.stat(key)
        return replace(found, size=found.size + 1)


class Hoarding(DelegatingBackend):
    """Deletes nothing, and does not say so."""

    def delete(self, key: str) -> None:
        """Keep it."""


class Unseekable(DelegatingBackend):
    """Gives the beginning of an object for any part of it, as servers do that ignore ranges."""

    def open(self, key: str, **options: Any) -> BinaryIO:
        file = self.inner.open(key, **options)
        file.seek = lambda *_: 0  # type: ignore[method-assign]
        return file


class Elsewhen(DelegatingBackend):
    """A store over a network, whose clock goes wrong."""

    def __init__(self, inner: StorageBackend, skew: timedelta | None) -> None:
        super().__init__(inner)
        self.skew = skew

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities("elsewhen", atomic_create=False)

    def stat(self, key: str) -> ObjectStat:
        found = self.inner.stat(key)
        assert found.modified
        return replace(found, modified=found.modified + self.skew if self.skew is not None else None)


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path, "lab")


def examined(backend: StorageBackend) -> dict[str, Check]:
    return {check.name: check for check in Probe(backend, probe_key("lab"), lambda error: "ask").examine()}


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def failed(checks: dict[str, Check]) -> set[str]:
    return {name for name, check in checks.items() if check.status == "failed"}


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


@pytest.mark.parametrize(
    ("lie", "found"),
    [(Hypocritical, {"exclusive create"}), (Forgetful, {"list"}), (Boasting, {"size"}), (Unseekable, {"ranged read"})],
)
def test_lie_is_found_and_the_object_removed(
    local: LocalBackend, tmp_path: Path, lie: type[DelegatingBackend], found: set[str]
) -> None:
    checks = examined(lie(local))
    assert failed(checks) == found
    assert all(check.fix for name, check in checks.items() if name in found)
    assert files(tmp_path) == []


def test_object_cut_short_is_found_by_reading_and_size(local: LocalBackend, tmp_path: Path) -> None:
    torn = Fault("upload", moment="torn", after_bytes=1000, action=lambda key: None)
    assert failed(examined(FaultyBackend(local, torn))) >= {"read", "ranged read", "size"}
    assert files(tmp_path) == []


def test_store_that_keeps_what_was_deleted_is_found(local: LocalBackend) -> None:
    checks = examined(Hoarding(local))
    assert failed(checks) == {"delete"}
    assert "probe.bin" in checks["delete"].detail


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


def test_store_that_refuses_to_delete_is_told_with_what_is_left(local: LocalBackend) -> None:
    refusal = Fault("delete", lasting=True, action=raising(StorageAccessError("deleting is not allowed here")))
    checks = examined(FaultyBackend(local, refusal))
    assert failed(checks) == {"delete"}
    assert "probe.bin" in checks["delete"].detail
    assert "deleting is not allowed here" in checks["delete"].detail


def test_examination_that_is_broken_off_removes_the_object(local: LocalBackend, tmp_path: Path) -> None:
    checks = Probe(local, probe_key("lab"), lambda error: "ask").examine()
    assert next(checks).name == "write"
    assert len(files(tmp_path)) == 1
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
    check = examined(Elsewhen(local, skew))["clock"]
    assert check.status == status
    assert said in check.detail
    assert bool(check.fix) == (status != "ok")
