"""The contract over Azure, and what is particular to it."""

from __future__ import annotations

from typing import Any

import pytest
from adlfs import AzureBlobFileSystem
from azure.storage.blob.aio import BlobServiceClient

from datajoint_file.storage import StorageBackend
from datajoint_file.storage.cloud import CloudBackend
from datajoint_file.testing import NetworkTests, RawStore, StorageBackendTests
from tests.contract.conftest import PART_SIZE, backend_of
from tests.contract.stores import AzureStore
from tests.servers.environment import NOWHERE

WRONG_KEY = "d3Jvbmcgc2VjcmV0IG9mIGEgc3RvcmFnZSBhY2NvdW50"


class ImpatientAzure(AzureBlobFileSystem):  # type: ignore[misc]
    """adlfs has no option for how often to try again; its client has."""

    def do_connect(self) -> None:
        self.service_client = BlobServiceClient.from_connection_string(self.connection_string, retry_total=0)


class TestAzure(StorageBackendTests, NetworkTests):
    part_size = PART_SIZE

    @pytest.fixture
    def backend(self, azure_backend: StorageBackend) -> StorageBackend:
        return azure_backend

    @pytest.fixture
    def raw(self, azure_store: AzureStore) -> RawStore:
        return azure_store

    @pytest.fixture
    def secrets(self, azure_storage: dict[str, Any]) -> tuple[str, ...]:
        return (_part(azure_storage, "AccountKey"), WRONG_KEY)

    @pytest.fixture
    def missing_bucket(self, azure_storage: dict[str, Any]) -> StorageBackend:
        return backend_of(azure_storage, container="no-such-container")

    @pytest.fixture
    def forbidden(self, azure_storage: dict[str, Any]) -> StorageBackend:
        right = azure_storage["credentials"]["connection_string"]
        wrong = right.replace(_part(azure_storage, "AccountKey"), WRONG_KEY)
        return backend_of(azure_storage, credentials={"connection_string": wrong})

    @pytest.fixture
    def unreachable(self, azure_storage: dict[str, Any]) -> StorageBackend:
        right = azure_storage["credentials"]["connection_string"]
        endpoint = f"http://{NOWHERE}/{_part(azure_storage, 'AccountName')}"
        wrong = right.replace(_part(azure_storage, "BlobEndpoint"), endpoint)
        return CloudBackend("abfs", "container", lambda: _impatient(wrong), part_size=PART_SIZE)


def _impatient(connection_string: str) -> ImpatientAzure:
    return ImpatientAzure(connection_string=connection_string, skip_instance_cache=True, use_listings_cache=False)


def _part(table: dict[str, Any], name: str) -> str:
    parts = str(table["credentials"]["connection_string"]).split(";")
    return next(part.partition("=")[2] for part in parts if part.startswith(f"{name}="))
