"""The contract over ``memory``, for all the fsspec protocols that are no buckets."""

from __future__ import annotations

import pytest

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
