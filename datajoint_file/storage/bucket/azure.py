"""Azure backend through fsspec: what it does otherwise than other object stores."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

from datajoint_file.config.settings import StorageSettings
from datajoint_file.errors import BucketNotFoundError, SigningError, StorageError
from datajoint_file.storage.backend import ContentHeaders, ObjectStat
from datajoint_file.storage.bucket.backend import NO_LINK, Marker, Page
from datajoint_file.storage.bucket.fsspec_upload import FileUploads
from datajoint_file.storage.remote.client_errors import translation
from datajoint_file.storage.remote.requests import run
from datajoint_file.storage.shared import moment

_ACCEPTED = 202

_LOOK_AGAIN_SECONDS = 0.5


class AzureBackend(FileUploads):
    """Blobs of a container of Azure."""

    protocol = "abfs"

    @staticmethod
    def arguments(storage: StorageSettings, credentials: dict[str, Any]) -> dict[str, Any]:
        """Return what adlfs is made with."""
        arguments = {"anon": False, **credentials}
        name, has_key = credentials.get("account_name"), bool(credentials.keys() & {"account_key", "sas_token"})
        # Not as they are: an AZURE_STORAGE_CONNECTION_STRING of the environment would win over them.
        endpoint = storage.endpoint_url or (f"https://{name}.blob.core.windows.net" if name and has_key else None)
        if not endpoint or "connection_string" in credentials:
            return arguments
        if not has_key:  # an identity; adlfs knows no path behind the host
            return {**arguments, "account_host": urlsplit(endpoint).netloc}
        names = {"account_name": "AccountName", "account_key": "AccountKey", "sas_token": "SharedAccessSignature"}
        known = {name: credentials[key] for key, name in names.items() if key in credentials}
        parts = {"BlobEndpoint": endpoint} | known
        return {"connection_string": ";".join(f"{name}={value}" for name, value in parts.items())}

    @staticmethod
    def addresses(storage: StorageSettings, credentials: dict[str, Any], options: dict[str, Any]) -> Iterator[str]:
        """Give what may be the store's address."""
        yield storage.endpoint_url or ""
        for table in (credentials, options):
            for setting in str(table.get("connection_string") or "").split(";"):
                name, _, value = setting.partition("=")
                yield "http://" if setting in ("DefaultEndpointsProtocol=http", "UseDevelopmentStorage=true") else ""
                yield value if name == "BlobEndpoint" else ""

    @staticmethod
    def _told(headers: ContentHeaders) -> dict[str, Any]:
        settings = {name.lower().replace("-", "_"): value for name, value in headers.fields().items()}
        return {"content_settings": settings}

    def _link(self, name: str, seconds: int, fields: dict[str, str]) -> str:
        service = self._filesystem().service_client
        key = getattr(service.credential, "account_key", None)
        if not key:
            raise SigningError(
                f"{name}: links of Azure are signed with the account's key, which these credentials have not: give "
                f"account_key or a connection string with one in [{self.table}.credentials]; {NO_LINK}"
            )
        blob = importlib.import_module("azure.storage.blob")
        told = {field.lower().replace("-", "_"): value for field, value in fields.items()}
        end = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        may = {"permission": blob.BlobSasPermissions(read=True), "expiry": end, **told}
        signed = blob.generate_blob_sas(service.account_name, self.bucket, name, account_key=key, **may)
        return f"{service.get_blob_client(self.bucket, name).url}?{signed}"

    def _look_at_bucket(self, filesystem: Any) -> None:
        """List: adlfs takes a container for granted, with a warning, that a token may list and not look at."""
        try:
            run(filesystem, self._object_page(filesystem, "~", None))
        except Exception as error:
            if isinstance(translation(self.bucket, error), BucketNotFoundError):
                raise FileNotFoundError(self.bucket) from error
            raise

    def _copy(self, source: str, size: int, key: str, headers: ContentHeaders, *, is_new: bool) -> None:
        filesystem = self._filesystem()
        run(filesystem, self._copied(filesystem, source, key, {"if_none_match": "*"} if is_new else {}))

    async def _copied(self, filesystem: Any, source: str, key: str, condition: dict[str, str]) -> None:
        """Wait for the copy: it has its name and its size from the beginning, whatever becomes of it."""
        async with filesystem.service_client.get_container_client(container=self.bucket) as client:
            names = (path.partition("/")[2] for path in (source, self._path(key)))
            original, copy = map(client.get_blob_client, names)
            begun = await copy.start_copy_from_url(original.url, **condition)
            status = begun["copy_status"]
            while status == "pending":
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                found = (await copy.get_blob_properties()).copy
                status = found.status if found.id == begun["copy_id"] else "replaced"
        if status != "success":
            raise StorageError(f"{key}: the store has not finished copying {source}: {status}").of(key)

    async def _delete(self, filesystem: Any, bucket: str, name: str) -> bool:
        answers: list[int] = []
        async with filesystem.service_client.get_container_client(container=bucket) as client:
            await client.delete_blob(
                name, raw_response_hook=lambda answer: answers.append(answer.http_response.status_code)
            )
        return answers == [_ACCEPTED]

    async def _object_page(self, filesystem: Any, below: str, marker: Marker) -> Page[ObjectStat]:
        query = {"name_starts_with": below or None, "include": ["metadata"], "results_per_page": self.page_size}
        async with filesystem.service_client.get_container_client(container=self.bucket) as client:
            pages = client.list_blobs(**query).by_page(marker)
            page = [blob async for blob in await anext(pages)]
            objects = [ObjectStat(b.name, b.size, moment(b.last_modified)) for b in page if not _is_directory(b)]
            return objects, pages.continuation_token or None


def _is_directory(blob: Any) -> bool:
    """Tell a directory, which accounts with a hierarchical namespace list as a blob of a kind."""
    metadata = blob.metadata or {}
    return "true" in (metadata.get("hdi_isfolder"), metadata.get("Hdi_isfolder"), metadata.get("is_directory"))
