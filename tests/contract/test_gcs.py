"""The contract over Google Cloud Storage, and what is particular to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gcsfs.core import GCSFileSystem
from gcsfs.retry import retry_request

from datajoint_file.storage import StorageBackend
from datajoint_file.storage.bucket.gcs import GCSBackend
from datajoint_file.storage.obstore.backend import ObstoreGCSBackend
from datajoint_file.testing import NetworkTests, RawStore
from tests.contract.conftest import PAGE_SIZE, PART_SIZE, HeaderTests, RacesOfUntold, engine_backend
from tests.contract.refusing import refusing_server
from tests.contract.stores import GCSStore
from tests.contract.xml_front import xml_front
from tests.servers.environment import NOWHERE

FORBIDDEN = (
    "lab@example.iam.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage "
    "object. Permission 'storage.objects.create' denied on resource (or it may not exist)."
)


class ImpatientGCS(GCSFileSystem):  # type: ignore[misc]
    """gcsfs has no option for how often to try again."""

    _request = retry_request(retries=1)(GCSFileSystem._request.__wrapped__)


@pytest.fixture(scope="session")
def table(gcs_storage: dict[str, Any], engine: str) -> Iterator[dict[str, Any]]:
    """The bucket, with the interface that the engine speaks."""
    if engine == "fsspec":
        yield gcs_storage
        return
    with xml_front(gcs_storage["endpoint_url"]) as address:
        yield {**gcs_storage, "endpoint_url": address}


@pytest.fixture(scope="session")
def shared_backend(table: dict[str, Any], engine: str) -> StorageBackend:
    return engine_backend(table, engine)


class TestGCS(RacesOfUntold, HeaderTests, NetworkTests):
    part_size = PART_SIZE
    page_size = PAGE_SIZE
    races_in_parts = False  # fake-gcs-server does not check the condition of a resumable upload

    @pytest.fixture
    def backend(self, shared_backend: StorageBackend) -> StorageBackend:
        return shared_backend

    @pytest.mark.parametrize("content", [b"", b"spikes"])
    def test_contested_copy_is_made_once(
        self,
        backend: StorageBackend,
        raw: RawStore,
        prefix: str,
        content: bytes,
        gcs_storage: dict[str, Any],
        engine: str,
    ) -> None:
        with xml_front(gcs_storage["endpoint_url"]) as address:  # fake-gcs-server does not check that condition either
            backend = engine_backend({**gcs_storage, "endpoint_url": address}, engine)
            super().test_contested_copy_is_made_once(backend, raw, prefix, content)

    @pytest.fixture
    def raw(self, gcs_store: GCSStore) -> RawStore:
        return gcs_store

    @pytest.fixture
    def missing_bucket(self, table: dict[str, Any], engine: str) -> StorageBackend:
        return engine_backend({**table, "bucket": "no-such-bucket"}, engine)

    @pytest.fixture
    def forbidden(self, gcs_storage: dict[str, Any], engine: str) -> Iterator[StorageBackend]:
        body = json.dumps({"error": {"code": 403, "message": FORBIDDEN}}).encode()
        with refusing_server(403, body) as address:  # the emulator lets everybody in
            yield engine_backend({**gcs_storage, "endpoint_url": address}, engine)

    @pytest.fixture
    def unreachable(self, engine: str) -> StorageBackend:
        kind = GCSBackend if engine == "fsspec" else ObstoreGCSBackend
        return kind("bucket", _impatient, part_size=PART_SIZE)


def _impatient() -> ImpatientGCS:
    arguments = {"skip_instance_cache": True, "use_listings_cache": False}
    return ImpatientGCS(token="anon", endpoint_url=f"http://{NOWHERE}", **arguments)
