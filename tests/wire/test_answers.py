"""Answers that are lost, replaced or cut: what is stored is found out by looking, not by an error or its absence."""

from __future__ import annotations

import io
import os
from contextlib import nullcontext, suppress
from dataclasses import replace

import pytest

from datajoint_file.errors import StorageError
from datajoint_file.transfer.sources import as_source
from tests.wire.afar import CELL, Afar
from tests.wire.answers import Fault

SMALL, LARGE = os.urandom(100_000), os.urandom(17 * 2**20)
WHOLE, LAST = r"^PUT /[^?]*/objects/[^?]*(\?x-id=PutObject)?$", r"^POST .*uploadId="


class Stream(io.RawIOBase):
    """Of unknown length, to be read once."""

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)


over_ways = pytest.mark.parametrize(
    ("engine", "kind"), [("obstore", "bytes"), ("obstore", "stream"), ("fsspec", "bytes")]
)


@over_ways
@pytest.mark.parametrize(("fault", "is_done"), [("lost", True), ("lost", False), ("500", True), ("503", False)])
def test_a_small_object_whose_answer_is_lost_is_stored_once(afar: Afar, kind: str, fault: Fault, is_done: bool) -> None:
    rule = afar.proxy.spoil(fault, WHOLE, is_done=is_done)
    metadata = afar.ingest(("x.dat", SMALL if kind == "bytes" else Stream(SMALL)))
    assert rule.hits == 1
    assert afar.store.content(metadata.path) == SMALL
    assert metadata.size == len(SMALL)
    assert len(afar.store.object_keys()) == 2


@over_ways
@pytest.mark.parametrize("fault", ["lost", "500", "empty", "foreign", "error in 200"])
def test_a_large_object_whose_last_answer_is_doubtful_is_looked_at(afar: Afar, kind: str, fault: Fault) -> None:
    rule = afar.proxy.spoil(fault, LAST)
    metadata = afar.ingest(("x.dat", LARGE if kind == "bytes" else Stream(LARGE)))
    assert rule.hits == 1
    assert afar.store.content(metadata.path) == LARGE


@over_ways
@pytest.mark.parametrize("fault", ["empty", "foreign", "error in 200"])
@pytest.mark.parametrize(("content", "last"), [(SMALL, WHOLE), (LARGE, LAST)], ids=["small", "large"])
def test_an_object_that_is_not_there_in_spite_of_an_answer_is_no_success(
    afar: Afar, kind: str, fault: Fault, content: bytes, last: str
) -> None:
    rule = afar.proxy.spoil(fault, last, times=100, is_done=False)
    with pytest.raises(StorageError):
        afar.ingest(("x.dat", content if kind == "bytes" else Stream(content)))
    assert rule.hits
    assert len(afar.store.object_keys()) == 1


@pytest.mark.parametrize("engine", ["obstore"])
@pytest.mark.parametrize(("fault", "is_done"), [("lost", True), ("500", True), ("foreign", False)])
def test_a_copy_that_the_store_makes_counts_if_it_was_made_whatever_the_answer(
    afar: Afar, fault: Fault, is_done: bool
) -> None:
    stored = afar.ingest(("x.dat", SMALL))
    source = replace(as_source(("x.dat", SMALL)), hash=stored.hash, copy_of=stored.path, is_known=True)
    upload = replace(afar.pipeline.plan(source, CELL), is_contested=True)
    rule = afar.proxy.spoil(fault, LAST, times=1 if is_done else 100, is_done=is_done)
    with nullcontext() if is_done else pytest.raises(StorageError):
        afar.pipeline.ingest(upload)
    assert rule.hits
    assert (upload.key in afar.store.object_keys()) == is_done
    assert not is_done or afar.store.content(upload.key) == SMALL


CACHES = [None, "readahead", "bytes", "blockcache", "background", "first", "all", "none"]


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
@pytest.mark.parametrize("fault", ["short", "416", "empty", "foreign"])
def test_an_open_file_gives_all_of_its_bytes_or_an_error(afar: Afar, fault: Fault) -> None:
    metadata = afar.ingest(("x.dat", SMALL))
    rule = afar.proxy.spoil(fault, r"^GET /[^?]*/objects/")
    with suppress(StorageError), afar.pipeline.open(metadata) as file:
        assert file.read() == SMALL
    assert rule.hits == 1
    afar.proxy.spoil(fault, r"^GET /[^?]*/objects/", times=100)
    with afar.pipeline.open(metadata) as file, pytest.raises(StorageError):
        file.read()


@pytest.mark.parametrize("engine", ["obstore", "fsspec"])
@pytest.mark.parametrize("cache_type", CACHES)
def test_no_kind_of_cache_hides_that_bytes_are_missing(afar: Afar, cache_type: str | None) -> None:
    metadata = afar.ingest(("x.dat", SMALL))
    with afar.pipeline.open(metadata, cache_type=cache_type) as file:
        assert file.read() == SMALL
    for first in ("416", "short"):
        rule = afar.proxy.spoil(first, r"^GET /[^?]*/objects/")
        again = afar.proxy.then("416", r"^GET /[^?]*/objects/", times=100)
        with pytest.raises(StorageError), afar.pipeline.open(metadata, cache_type=cache_type) as file:
            file.seek(50_000)
            file.read(1000)
        assert rule.hits == 1
        assert again.hits
