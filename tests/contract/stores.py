"""Other doors to the stores of the tests: the vendor's own client, or plain HTTP, never fsspec.

What a backend does is looked at through these.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

import botocore.session
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient
from botocore.config import Config
from botocore.exceptions import ClientError
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from datajoint_file.storage.shared import is_partial


class S3Store:
    """A bucket, through botocore.

    Parameters
    ----------
    table : dict
        Its ``[storage]`` table.
    """

    def __init__(self, table: dict[str, Any]) -> None:
        self.bucket = table["bucket"]
        self.client = botocore.session.Session().create_client(
            "s3",
            region_name=table["region"],
            endpoint_url=table["endpoint_url"],
            aws_access_key_id=table["credentials"]["key"],
            aws_secret_access_key=table["credentials"]["secret"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def headers(self, key: str) -> tuple[str, str]:
        """Return media type and disposition."""
        found = self.client.head_object(Bucket=self.bucket, Key=key)
        return found["ContentType"], found.get("ContentDisposition", "")

    def exists(self, key: str) -> bool:
        try:
            self.client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return False
        return True

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def keys(self, prefix: str) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{prefix}/")
        return {found["Key"] for page in pages for found in page.get("Contents", [])}

    def unfinished(self, prefix: str) -> set[str]:
        reply = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=f"{prefix}/")
        return {upload["Key"] for upload in reply.get("Uploads", [])}


class GCSStore:
    """A bucket, through the JSON API.

    Parameters
    ----------
    table : dict
        Its ``[storage]`` table.
    """

    def __init__(self, table: dict[str, Any]) -> None:
        self.address = table["endpoint_url"]
        self.bucket = table["bucket"]

    def put(self, key: str, content: bytes) -> None:
        query = urlencode({"uploadType": "media", "name": key})
        self._call(f"/upload/storage/v1/b/{self.bucket}/o?{query}", content, "POST")

    def get(self, key: str) -> bytes:
        return self._call(f"{self._object(key)}?alt=media")

    def headers(self, key: str) -> tuple[str, str]:
        """Return media type and disposition."""
        found = json.loads(self._call(self._object(key)))
        return found["contentType"], found.get("contentDisposition", "")

    def exists(self, key: str) -> bool:
        try:
            self._call(self._object(key))
        except HTTPError as error:
            if error.code != 404:
                raise
            return False
        return True

    def delete(self, key: str) -> None:
        self._call(self._object(key), method="DELETE")

    def keys(self, prefix: str) -> set[str]:
        reply = self._call(f"/storage/v1/b/{self.bucket}/o?{urlencode({'prefix': f'{prefix}/'})}")
        return {found["name"] for found in json.loads(reply).get("items", [])}

    def unfinished(self, prefix: str) -> set[str]:
        """Return nothing: Google does not list resumable uploads, and forgets them after a week."""
        return set()

    def _object(self, key: str) -> str:
        return f"/storage/v1/b/{self.bucket}/o/{quote(key, safe='')}"

    def _call(self, path: str, content: bytes | None = None, method: str = "GET") -> bytes:
        request = Request(self.address + path, content, method=method)
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=20) as response:
                return bytes(response.read())
        except HTTPError as error:
            error.close()
            raise


class AzureStore:
    """A container, through Azure's own client.

    Parameters
    ----------
    table : dict
        Its ``[storage]`` table.
    """

    def __init__(self, table: dict[str, Any]) -> None:
        credentials = table["credentials"]
        self.client = ContainerClient.from_connection_string(credentials["connection_string"], table["container"])

    def put(self, key: str, content: bytes) -> None:
        self.client.upload_blob(key, content, overwrite=True)

    def get(self, key: str) -> bytes:
        return bytes(self.client.download_blob(key).readall())

    def headers(self, key: str) -> tuple[str, str]:
        """Return media type and disposition."""
        found = self.client.get_blob_client(key).get_blob_properties().content_settings
        return found.content_type, found.content_disposition or ""

    def exists(self, key: str) -> bool:
        try:
            self.client.get_blob_client(key).get_blob_properties()
        except ResourceNotFoundError:
            return False
        return True

    def delete(self, key: str) -> None:
        self.client.delete_blob(key)

    def keys(self, prefix: str) -> set[str]:
        return {blob.name for blob in self.client.list_blobs(name_starts_with=f"{prefix}/")}

    def unfinished(self, prefix: str) -> set[str]:
        """Return nothing: uncommitted blocks cannot be discarded, and Azure forgets them after a week."""
        return set()


class MemoryStore:
    """The one store of fsspec's memory filesystems, looked at as the dictionary it is.

    Parameters
    ----------
    root : str
        The project's directory.
    project : str
        The first part of keys, which stands for it.
    """

    def __init__(self, root: str, project: str) -> None:
        self.root = root
        self.project = project

    def put(self, key: str, content: bytes) -> None:
        MemoryFileSystem.store[self._name(key)] = MemoryFile(MemoryFileSystem(), self._name(key), content)

    def get(self, key: str) -> bytes:
        return bytes(MemoryFileSystem.store[self._name(key)].getvalue())

    def exists(self, key: str) -> bool:
        return self._name(key) in MemoryFileSystem.store

    def delete(self, key: str) -> None:
        del MemoryFileSystem.store[self._name(key)]

    def keys(self, prefix: str) -> set[str]:
        return {key for key in self._all(prefix) if not is_partial(key)}

    def unfinished(self, prefix: str) -> set[str]:
        return {key for key in self._all(prefix) if is_partial(key)}

    def _all(self, prefix: str) -> set[str]:
        below = f"{self._name(prefix)}/"
        return {
            f"{self.project}{name.removeprefix(self.root)}" for name in MemoryFileSystem.store if name.startswith(below)
        }

    def _name(self, key: str) -> str:
        return f"{self.root}{key.removeprefix(self.project)}"
