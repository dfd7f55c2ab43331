"""Faults happen when and how they were ordered: tests that use them rely on that."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from datajoint_file.errors import ObjectNotFoundError, StorageUnavailableError
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.testing import (
    DirectoryStore,
    FailingReader,
    Fault,
    FaultyBackend,
    GeneratedReader,
    ShortReader,
    SlowReader,
    generated,
    raising,
)
from tests.contract.conftest import PROJECT

KEYS = [f"{PROJECT}/{number}/recording.dat" for number in range(5)]
SIZE = 2_500_000


@pytest.fixture
def raw(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path, PROJECT)


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path, PROJECT, "none")


def _upload_all(backend: FaultyBackend) -> list[str]:
    """Upload to every key; return the keys that failed."""
    failed = []
    for key in KEYS:
        try:
            backend.upload(key, io.BytesIO(b"spikes"))
        except StorageUnavailableError as error:
            failed.append(error.key)
    return failed


def test_fault_before_a_call_keeps_it_from_having_any_effect(local: LocalBackend, raw: DirectoryStore) -> None:
    assert _upload_all(FaultyBackend(local, Fault("upload", call=2))) == [KEYS[1]]
    assert raw.keys(PROJECT) == {KEYS[0], *KEYS[2:]}


def test_fault_after_a_call_hides_its_effect(local: LocalBackend, raw: DirectoryStore) -> None:
    assert _upload_all(FaultyBackend(local, Fault("upload", call=2, moment="after"))) == [KEYS[1]]
    assert raw.keys(PROJECT) == set(KEYS)


def test_lasting_fault_stays(local: LocalBackend, raw: DirectoryStore) -> None:
    assert _upload_all(FaultyBackend(local, Fault("upload", call=4, lasting=True))) == KEYS[3:]
    assert raw.keys(PROJECT) == set(KEYS[:3])


def test_fault_of_any_verb_counts_them_all(local: LocalBackend) -> None:
    faulty = FaultyBackend(local, Fault(None, call=3))
    faulty.upload(KEYS[0], io.BytesIO(b"spikes"))
    assert faulty.exists(KEYS[0])
    with pytest.raises(StorageUnavailableError):
        faulty.delete(KEYS[0])
    assert faulty.exists(KEYS[0])


@pytest.mark.parametrize("after_bytes", [0, 1, 1_500_000, SIZE, SIZE + 1])
def test_upload_that_breaks_off_is_cleaned_up_by_the_store(
    local: LocalBackend, raw: DirectoryStore, after_bytes: int
) -> None:
    faulty = FaultyBackend(local, Fault("upload", moment="during", after_bytes=after_bytes))
    with pytest.raises(StorageUnavailableError):
        faulty.upload(KEYS[0], GeneratedReader(SIZE))
    assert raw.keys(PROJECT) == raw.unfinished(PROJECT) == set()
    assert faulty.uploaded_bytes == min(after_bytes, SIZE)


@pytest.mark.parametrize("after_bytes", [0, 1, SIZE - 1, SIZE])
def test_torn_upload_leaves_what_no_store_may(local: LocalBackend, raw: DirectoryStore, after_bytes: int) -> None:
    faulty = FaultyBackend(local, Fault("upload", moment="torn", after_bytes=after_bytes))
    with pytest.raises(StorageUnavailableError):
        faulty.upload(KEYS[0], GeneratedReader(SIZE))
    assert raw.get(KEYS[0]) == generated(SIZE)[:after_bytes]


def test_torn_upload_may_be_reported_as_success(local: LocalBackend, raw: DirectoryStore) -> None:
    faulty = FaultyBackend(local, Fault("upload", moment="torn", after_bytes=7, action=str))
    assert faulty.upload(KEYS[0], GeneratedReader(SIZE)) == SIZE
    assert raw.get(KEYS[0]) == generated(7)


def test_moments_that_a_verb_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="only an upload"):
        Fault("list", moment="torn")
    with pytest.raises(ValueError, match="only an upload or a listing"):
        Fault("delete", moment="during")


def test_action_may_do_something_else_and_let_the_verb_go_on(local: LocalBackend, raw: DirectoryStore) -> None:
    asked: list[str] = []
    faults = [
        Fault("delete", action=asked.append),
        Fault("upload", moment="during", after_bytes=3, action=asked.append),
    ]
    faulty = FaultyBackend(local, *faults)
    assert faulty.upload(KEYS[0], GeneratedReader(SIZE)) == SIZE
    assert raw.get(KEYS[0]) == generated(SIZE)
    faulty.delete(KEYS[0])
    assert asked == [KEYS[0], KEYS[0]]
    assert not raw.exists(KEYS[0])


def test_error_is_the_one_that_was_ordered(local: LocalBackend) -> None:
    error = KeyboardInterrupt()
    faulty = FaultyBackend(local, Fault("stat", action=raising(error)))
    with pytest.raises(KeyboardInterrupt) as caught:
        faulty.stat(KEYS[0])
    assert caught.value is error


def test_reading_fails_in_the_middle(local: LocalBackend, raw: DirectoryStore) -> None:
    raw.put(KEYS[0], generated(SIZE))
    faulty = FaultyBackend(local, Fault("read", call=3))
    with faulty.open(KEYS[0]) as file:
        assert file.read(2**20) == generated(SIZE)[: 2**20]
        assert len(file.read(2**20)) == 2**20
        with pytest.raises(StorageUnavailableError):
            file.read(2**20)


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        (Fault("list"), 0),
        (Fault("list", moment="during"), 0),
        (Fault("list", moment="during", after_items=1), 1),
        (Fault("list", moment="during", after_items=7), 2),
        (Fault("list", moment="after"), 2),
    ],
)
def test_listing_fails_rather_than_end_early(
    local: LocalBackend, raw: DirectoryStore, fault: Fault, given: int
) -> None:
    raw.put(KEYS[0], b"")
    raw.put(KEYS[1], b"")
    listing = FaultyBackend(local, fault).list()
    assert len([next(listing) for _ in range(given)]) == given
    with pytest.raises(StorageUnavailableError):
        next(listing)


def test_unfinished_uploads_are_counted_and_fail_as_told(local: LocalBackend, raw: DirectoryStore) -> None:
    for number in range(3):
        raw.put(f"{PROJECT}/{number}/~partial-0123", b"half")
    faults = Fault("unfinished", moment="during", after_items=2), Fault("discard"), Fault("discard", 2, "after")
    faulty = FaultyBackend(local, *faults)
    listing = faulty.unfinished()
    uploads = [next(listing), next(listing)]
    with pytest.raises(StorageUnavailableError):
        next(listing)
    for upload, left in zip(uploads, (3, 2), strict=True):
        with pytest.raises(StorageUnavailableError):
            faulty.discard(upload)
        assert len(raw.unfinished(PROJECT)) == left
    assert faulty.history == [("unfinished", ""), *(("discard", upload.key) for upload in uploads)]


def test_calls_and_payload_are_counted(local: LocalBackend) -> None:
    faulty = FaultyBackend(local)
    faulty.upload(KEYS[0], GeneratedReader(SIZE))
    with faulty.open(KEYS[0]) as file:
        file.read()
    assert faulty.exists(KEYS[0])
    with pytest.raises(ObjectNotFoundError):
        faulty.stat(KEYS[1])
    assert (faulty.uploaded_bytes, faulty.downloaded_bytes) == (SIZE, SIZE)
    assert faulty.history == [("upload", KEYS[0]), ("open", KEYS[0]), ("stat", KEYS[0]), ("stat", KEYS[1])]
    assert faulty.calls["stat"] == 2


def test_threads_are_counted_one_by_one(local: LocalBackend) -> None:
    faulty = FaultyBackend(local, Fault("stat", call=40))
    failures: list[Exception] = []

    def ask() -> None:
        for _ in range(20):
            try:
                faulty.exists(KEYS[0])
            except StorageUnavailableError as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faulty.calls["stat"] == 80
    assert len(failures) == 1


@pytest.mark.parametrize("size", [-1, 0, 1, 3, 100])
def test_readers_give_what_they_are_asked_for(size: int) -> None:
    assert ShortReader(b"recording", most=4).read(size) == (b"reco" if size < 0 else b"recording"[: min(size, 4)])
    assert GeneratedReader(9).read(size) == generated(9)[: None if size < 0 else size]
    assert SlowReader(b"recording", int).read(size) == io.BytesIO(b"recording").read(size)
    failing = FailingReader(b"recording", after=5, error=ValueError())
    assert failing.read(size) == b"recording"[: 5 if size < 0 else min(size, 5)]


def test_generated_bytes_do_not_depend_on_how_they_are_read() -> None:
    reader = ShortReader(GeneratedReader(3_000_000), most=99_991)
    assert b"".join(iter(lambda: reader.read(70_000), b"")) == generated(3_000_000)
    assert generated(3_000_000)[:2_000_000] == generated(2_000_000)
    assert generated(3_000_000)[: 2**20] != generated(3_000_000)[2**20 : 2**21]
