"""The contract over S3, and what is particular to it."""

from __future__ import annotations

from typing import Any

import pytest

from datajoint_file.storage import StorageBackend
from datajoint_file.testing import NetworkTests, RawStore, StorageBackendTests
from tests.contract.conftest import S3_PART_SIZE, backend_of
from tests.contract.stores import S3Store
from tests.servers.environment import NOWHERE

AT_ONCE = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
"""The client's option not to try again."""


class TestS3(StorageBackendTests, NetworkTests):
    part_size = S3_PART_SIZE
    page_size = 1000
    races_in_parts = False  # SeaweedFS looks at the condition before it completes an upload, not while

    @pytest.fixture
    def backend(self, s3_backend: StorageBackend) -> StorageBackend:
        return s3_backend

    @pytest.fixture
    def raw(self, s3_store: S3Store) -> RawStore:
        return s3_store

    @pytest.fixture
    def secrets(self, s3_storage: dict[str, Any]) -> tuple[str, ...]:
        return (s3_storage["credentials"]["secret"], "wrong-secret")

    @pytest.fixture
    def missing_bucket(self, no_bucket: StorageBackend) -> StorageBackend:
        return no_bucket

    @pytest.fixture
    def forbidden(self, no_access: StorageBackend) -> StorageBackend:
        return no_access

    @pytest.fixture
    def unreachable(self, nowhere: StorageBackend) -> StorageBackend:
        return nowhere


@pytest.fixture(scope="session")
def no_bucket(s3_storage: dict[str, Any]) -> StorageBackend:
    return backend_of(s3_storage, S3_PART_SIZE, bucket="no-such-bucket")


@pytest.fixture(scope="session", params=["key", "secret"])
def no_access(s3_storage: dict[str, Any], request: pytest.FixtureRequest) -> StorageBackend:
    wrong = {**s3_storage["credentials"], request.param: "wrong-secret"}
    return backend_of(s3_storage, S3_PART_SIZE, credentials=wrong)


@pytest.fixture(scope="session")
def nowhere(s3_storage: dict[str, Any]) -> StorageBackend:
    return backend_of(s3_storage, S3_PART_SIZE, endpoint_url=f"http://{NOWHERE}", options=AT_ONCE)
