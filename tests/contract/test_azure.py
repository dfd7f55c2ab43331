"""The contract over Azure, and what is particular to it."""

from __future__ import annotations

import io
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from adlfs import AzureBlobFileSystem
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import BlobServiceClient

from datajoint_file.config import parse_settings
from datajoint_file.errors import StorageAccessError, StorageError
from datajoint_file.storage import StorageBackend
from datajoint_file.storage.bucket import azure
from datajoint_file.storage.bucket.azure import AzureBackend
from datajoint_file.storage.factory import _connector
from datajoint_file.storage.obstore.backend import ObstoreAzureBackend
from datajoint_file.testing import NetworkTests, RawStore
from tests.contract.conftest import (
    PAGE_SIZE,
    PART_SIZE,
    PROJECT,
    HeaderTests,
    RacesOfUntold,
    backend_of,
    engine_backend,
)
from tests.contract.refusing import Reply, scripted_server
from tests.contract.stores import AzureStore
from tests.projects import unique
from tests.servers.environment import NOWHERE

KEY = f"{PROJECT}/{unique('subject')}/recording.dat"
WRONG_KEY = "d3Jvbmcgc2VjcmV0IG9mIGEgc3RvcmFnZSBhY2NvdW50"


class ImpatientAzure(AzureBlobFileSystem):  # type: ignore[misc]
    """adlfs has no option for how often to try again; its client has."""

    def do_connect(self) -> None:
        self.service_client = BlobServiceClient.from_connection_string(self.connection_string, retry_total=0)


class TestAzure(RacesOfUntold, HeaderTests, NetworkTests):
    part_size = PART_SIZE
    page_size = PAGE_SIZE

    @pytest.fixture
    def backend(self, azure_backend: StorageBackend) -> StorageBackend:
        return azure_backend

    @pytest.fixture
    def raw(self, azure_store: AzureStore) -> RawStore:
        return azure_store

    @pytest.fixture
    def secrets(self, azure_storage: dict[str, Any]) -> tuple[str, ...]:
        return (_part(azure_storage, "AccountKey"), WRONG_KEY)

    @pytest.fixture(autouse=True)
    def _obstore_does_not_look_at_the_end(self, engine: str) -> None:
        self.races_in_parts = engine == "fsspec"

    @pytest.fixture
    def missing_bucket(self, azure_storage: dict[str, Any], engine: str) -> StorageBackend:
        return engine_backend({**azure_storage, "container": "no-such-container"}, engine)

    @pytest.fixture
    def forbidden(self, azure_storage: dict[str, Any], engine: str) -> StorageBackend:
        right = azure_storage["credentials"]["connection_string"]
        wrong = right.replace(_part(azure_storage, "AccountKey"), WRONG_KEY)
        return engine_backend({**azure_storage, "credentials": {"connection_string": wrong}}, engine)

    @pytest.fixture
    def unreachable(self, azure_storage: dict[str, Any], engine: str) -> StorageBackend:
        right = azure_storage["credentials"]["connection_string"]
        endpoint = f"http://{NOWHERE}/{_part(azure_storage, 'AccountName')}"
        wrong = right.replace(_part(azure_storage, "BlobEndpoint"), endpoint)
        kind = AzureBackend if engine == "fsspec" else ObstoreAzureBackend
        return kind("container", lambda: _impatient(wrong), part_size=PART_SIZE)


@pytest.mark.parametrize("end", ["success", "aborted"])
def test_copy_that_the_store_puts_off_is_waited_for(
    azure_storage: dict[str, Any], end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azurite never does."""
    monkeypatch.setattr(azure, "_LOOK_AGAIN_SECONDS", 0.01)
    common = (("ETag", '"1"'), ("Last-Modified", "Sat, 28 Nov 2026 17:00:00 GMT"), ("x-ms-blob-type", "BlockBlob"))
    pending, ended = ((*common, ("x-ms-copy-id", "c1"), ("x-ms-copy-status", status)) for status in ("pending", end))
    looks = [Reply(b"spikes", headers=headers) for headers in (common, pending, pending, ended)]
    looks.insert(1, Reply(b"", 202, headers=pending))
    with scripted_server(*looks) as script:
        told = azure_storage["credentials"]["connection_string"].replace(
            _part(azure_storage, "BlobEndpoint"), f"{script.address}/{_part(azure_storage, 'AccountName')}"
        )
        backend = engine_backend({**azure_storage, "credentials": {"connection_string": told}}, "fsspec")
        with nullcontext() if end == "success" else pytest.raises(StorageError, match="aborted"):
            backend.copy("conformance/a", "conformance/b")
    assert [request.partition(" ")[0] for request in script.requests] == ["HEAD", "PUT", "HEAD", "HEAD", "HEAD"]


def _impatient(connection_string: str) -> ImpatientAzure:
    return ImpatientAzure(connection_string=connection_string, skip_instance_cache=True, use_listings_cache=False)


def _part(table: dict[str, Any], name: str) -> str:
    parts = str(table["credentials"]["connection_string"]).split(";")
    return next(part.partition("=")[2] for part in parts if part.startswith(f"{name}="))


class TestEndpoint:
    """An endpoint of one's own, with the credentials beside it."""

    @pytest.fixture(params=["fsspec", "obstore"])
    def table(self, azure_storage: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
        return {
            "backend": "azure",
            "engine": request.param,
            "container": azure_storage["container"],
            "endpoint_url": _part(azure_storage, "BlobEndpoint"),
        }

    @pytest.fixture
    def account(self, azure_storage: dict[str, Any]) -> tuple[str, str]:
        return _part(azure_storage, "AccountName"), _part(azure_storage, "AccountKey")

    def test_account_key_opens_it(
        self, table: dict[str, Any], account: tuple[str, str], azure_store: AzureStore
    ) -> None:
        credentials = {"account_name": account[0], "account_key": account[1]}
        backend_of(table, credentials=credentials).upload(KEY, io.BytesIO(b"spikes"))
        assert azure_store.get(KEY) == b"spikes"
        azure_store.delete(KEY)

    def test_shared_access_signature_opens_it_and_is_not_told(
        self, table: dict[str, Any], account: tuple[str, str], azure_store: AzureStore
    ) -> None:
        name, key = account
        permission = ContainerSasPermissions(read=True, list=True)
        expiry = datetime.now(timezone.utc) + timedelta(hours=1)
        token = generate_container_sas(name, table["container"], key, permission=permission, expiry=expiry)
        backend = backend_of(table, credentials={"account_name": name, "sas_token": token})
        assert list(backend.list(KEY)) == []
        with pytest.raises(StorageAccessError) as caught:
            backend.upload(KEY, io.BytesIO(b"noise"))
        signature = token.partition("sig=")[2].partition("&")[0]
        assert signature not in str(caught.value)
        assert signature not in backend.url(KEY)

    def test_identity_is_asked_at_the_endpoint(self) -> None:
        storage = {
            "backend": "azure",
            "container": "lab",
            "endpoint_url": "https://lab.blob.core.chinacloudapi.cn",
            "credentials": {"account_name": "lab", "client_id": "a", "client_secret": "b", "tenant_id": "c"},
        }
        settings = parse_settings({"project": {"name": PROJECT}, "storage": storage}, "the test")
        filesystem = _connector(settings.storage, "abfs", None)()
        assert filesystem.account_url == "https://lab.blob.core.chinacloudapi.cn"
        assert filesystem.credential is not None
