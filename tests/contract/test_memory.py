"""The contract over ``memory``, for all the fsspec protocols that are no buckets."""

from __future__ import annotations

import io

import pytest

from datajoint_file.errors import StorageUnavailableError
from datajoint_file.storage import StorageBackend
from datajoint_file.testing import RawStore, StorageBackendTests
from tests.contract.conftest import PROJECT, backend_of
from tests.contract.stores import MemoryStore
from tests.projects import unique


class TestMemory(StorageBackendTests):
    in_process = True

    @pytest.fixture
    def root(self) -> str:
        return f"/{unique('root')} [1]*"  # directories have names of their users' choice

    @pytest.fixture
    def backend(self, root: str) -> StorageBackend:
        return backend_of({"backend": "memory", "path": root})

    @pytest.fixture
    def raw(self, root: str) -> RawStore:
        return MemoryStore(root, PROJECT)

    def test_what_a_killed_writer_left_is_told_and_discarded(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        for name in ("a/~partial-01", "a/~partial-02", "ab/~partial-01", "a/object"):
            raw.put(f"{prefix}/{name}", b"half")
        (upload,) = [upload for upload in backend.unfinished(f"{prefix}/a") if upload.id == "~partial-01"]
        assert (upload.key, upload.size) == (f"{prefix}/a", 4)
        backend.discard(upload)
        backend.discard(upload)
        assert set(raw.unfinished(prefix)) == {f"{prefix}/a/~partial-02", f"{prefix}/ab/~partial-01"}
        assert set(raw.keys(prefix)) == {f"{prefix}/a/object"}

    def test_unknown_kind_of_cache_is_the_callers_mistake_and_not_the_stores(
        self, backend: StorageBackend, raw: RawStore, key: str
    ) -> None:
        raw.put(key, b"spikes")
        with pytest.raises(ValueError, match="cache_type = 'best' is not one of"):
            backend.open(key, cache_type="best")

    def test_store_that_vanishes_while_it_is_listed_is_told(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        for name in ("a/1", "b/1"):
            raw.put(f"{prefix}/{name}", b"")
        listing = backend.list()
        next(listing)
        for name in ("a/1", "b/1"):
            raw.delete(f"{prefix}/{name}")
        with pytest.raises(StorageUnavailableError, match="vanished"):
            list(listing)

    def test_what_lies_above_the_root_is_seen(self, root: str) -> None:
        inner = backend_of({"backend": "memory", "path": f"{root}/data/students"})
        assert inner.above("~registry") == ""
        backend_of({"backend": "memory", "path": root}).upload(f"{PROJECT}/~registry/x.json", io.BytesIO(b"{}"), 2)
        assert inner.above("~registry") == f"memory://{root}"
