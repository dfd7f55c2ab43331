"""The contract over Google Cloud Storage, and what is particular to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gcsfs.core import GCSFileSystem
from gcsfs.retry import retry_request

from datajoint_file.storage import StorageBackend
from datajoint_file.storage.cloud import CloudBackend
from datajoint_file.testing import NetworkTests, RawStore, StorageBackendTests
from tests.contract.conftest import PAGE_SIZE, PART_SIZE, backend_of
from tests.contract.refusing import refusing_server
from tests.contract.stores import GCSStore
from tests.servers.environment import NOWHERE

FORBIDDEN = (
    "lab@example.iam.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage "
    "object. Permission 'storage.objects.create' denied on resource (or it may not exist)."
)


class ImpatientGCS(GCSFileSystem):  # type: ignore[misc]
    """gcsfs has no option for how often to try again."""

    _request = retry_request(retries=1)(GCSFileSystem._request.__wrapped__)


class TestGCS(StorageBackendTests, NetworkTests):
    part_size = PART_SIZE
    page_size = PAGE_SIZE
    races_in_parts = False  # fake-gcs-server does not check the condition of a resumable upload

    @pytest.fixture
    def backend(self, gcs_backend: StorageBackend) -> StorageBackend:
        return gcs_backend

    @pytest.fixture
    def raw(self, gcs_store: GCSStore) -> RawStore:
        return gcs_store

    @pytest.fixture
    def missing_bucket(self, gcs_storage: dict[str, Any]) -> StorageBackend:
        return backend_of(gcs_storage, bucket="no-such-bucket")

    @pytest.fixture
    def forbidden(self, gcs_storage: dict[str, Any]) -> Iterator[StorageBackend]:
        body = json.dumps({"error": {"code": 403, "message": FORBIDDEN}}).encode()
        with refusing_server(403, body) as address:  # the emulator lets everybody in
            yield backend_of(gcs_storage, endpoint_url=address)

    @pytest.fixture
    def unreachable(self) -> StorageBackend:
        return CloudBackend("gs", "bucket", _impatient, part_size=PART_SIZE)


def _impatient() -> ImpatientGCS:
    arguments = {"skip_instance_cache": True, "use_listings_cache": False}
    return ImpatientGCS(token="anon", endpoint_url=f"http://{NOWHERE}", **arguments)
