"""Answers to listings and deletions that are lost, replaced or cut: no listing is shorter than it should be, unsaid."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from datajoint_file.errors import StorageError
from tests.wire.afar import Afar
from tests.wire.answers import Fault

pytestmark = pytest.mark.parametrize("engine", ["fsspec"])  # obstore lists and deletes through it
over_stores = pytest.mark.parametrize("where", ["s3", "gcs", "azure"])

LISTING = {
    "s3": r"^GET /[^/?]+/?\?.*list-type=2",
    "gcs": r"^GET /storage/v1/b/[^/?]+/o/?\?",
    "azure": r"^GET /[^?]*\?.*comp=list",
}
DELETION = r"^DELETE /"
RETRIED: list[Fault] = ["lost", "503", "short"]
BELIEVED: list[Fault] = ["cut", "empty", "foreign", "foreign xml", "foreign json", "error in 200"]
"""What clients send again, and what they take for an answer."""


def with_small_pages(afar: Afar) -> Afar:
    """Have the store give two objects a page."""
    backend: Any = afar.pipeline.backend
    while not hasattr(backend, "page_size"):
        backend = backend.inner
    backend.page_size = 2
    return afar


def listed(afar: Afar) -> list[str]:
    return sorted(found.key for found in afar.pipeline.backend.list(afar.pipeline.project))


@over_stores
def test_a_listing_is_complete_or_an_error(afar: Afar, where: str) -> None:
    with_small_pages(afar)
    for number in range(4):
        afar.ingest(("x.dat", bytes([number])))
    everything = afar.store.object_keys()
    assert listed(afar) == everything
    for fault in BELIEVED if where != "s3" else RETRIED + BELIEVED:
        for page in (1, 3):
            rule = afar.proxy.spoil(fault, LISTING[where], times=1 if fault in RETRIED else 100, after=page - 1)
            with suppress(StorageError):
                assert listed(afar) == everything, (fault, page)
            assert rule.hits, (fault, page)


@over_stores
def test_a_page_that_comes_again_is_no_end(afar: Afar, where: str) -> None:
    with_small_pages(afar)
    for number in range(4):
        afar.ingest(("x.dat", bytes([number])))
    rule = afar.proxy.spoil("again", LISTING[where], after=1)
    with suppress(StorageError):
        assert listed(afar) == afar.store.object_keys()
    assert rule.hits


def faults(where: str, *retried: Fault) -> list[Fault]:
    """Return what is taken for an answer; on S3, whose client can be told not to wait long, also what is sent again."""
    return [*(retried if where == "s3" else ()), "empty", "foreign", "error in 200"]


@over_stores
def test_a_deletion_counts_if_it_was_done_whatever_the_answer(afar: Afar, where: str) -> None:
    for fault in faults(where, "lost", "500"):
        metadata = afar.ingest(("x.dat", b"1"))
        rule = afar.proxy.spoil(fault, DELETION, times=100)
        afar.pipeline.backend.delete(metadata.path)
        assert rule.hits, fault
        assert metadata.path not in afar.store.object_keys(), fault


@over_stores
def test_a_deletion_that_was_not_done_is_an_error_whatever_the_answer(afar: Afar, where: str) -> None:
    metadata = afar.ingest(("x.dat", b"1"))
    for fault in faults(where, "lost"):
        rule = afar.proxy.spoil(fault, DELETION, times=100, is_done=False)
        with pytest.raises(StorageError):
            afar.pipeline.backend.delete(metadata.path)
        assert rule.hits, fault
        assert metadata.path in afar.store.object_keys(), fault


@pytest.mark.parametrize("where", ["gcs", "azure"])
@pytest.mark.parametrize("fault", ["empty", "foreign", "error in 200"])
def test_a_small_object_that_is_not_there_in_spite_of_an_answer_is_no_success(afar: Afar, fault: Fault) -> None:
    rule = afar.proxy.spoil(fault, r"^(POST|PUT) /[^?]*(upload|objects)", times=100, is_done=False)
    with pytest.raises(StorageError):
        afar.ingest(("x.dat", b"1"))
    assert rule.hits
    assert len(afar.store.object_keys()) == 1
