"""The backends under test, as their users make them: from a ``[storage]`` table.

One a process: connections are kept between tests, as they are between inserts.
"""

from __future__ import annotations

from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.storage import StorageBackend, open_backend
from tests.contract.stores import AzureStore, GCSStore, S3Store

PROJECT = "conformance"
S3_PART_SIZE = 5 * 2**20
PART_SIZE = 2**18
PAGE_SIZE = 5


_made: list[StorageBackend] = []
"""Kept to the end: s3fs gives a session that is collected 0.1 s to close, and warns if it takes longer."""


def backend_of(
    table: dict[str, Any], part_size: int = PART_SIZE, *, page_size: int = PAGE_SIZE, **changes: Any
) -> StorageBackend:
    """Return the backend of a ``[storage]`` table with some keys changed."""
    document = {"project": {"name": PROJECT}, "storage": {**table, **changes}}
    storage = parse_settings(document, "the test").storage
    _made.append(open_backend(storage, PROJECT, part_size=part_size, page_size=page_size))
    return _made[-1]


@pytest.fixture(scope="session")
def s3_backend(s3_storage: dict[str, Any]) -> StorageBackend:
    return backend_of(s3_storage, S3_PART_SIZE)


@pytest.fixture(scope="session")
def gcs_backend(gcs_storage: dict[str, Any]) -> StorageBackend:
    return backend_of(gcs_storage)


@pytest.fixture(scope="session")
def azure_backend(azure_storage: dict[str, Any]) -> StorageBackend:
    return backend_of(azure_storage)


@pytest.fixture(scope="session")
def s3_store(s3_storage: dict[str, Any]) -> S3Store:
    return S3Store(s3_storage)


@pytest.fixture(scope="session")
def gcs_store(gcs_storage: dict[str, Any]) -> GCSStore:
    return GCSStore(gcs_storage)


@pytest.fixture(scope="session")
def azure_store(azure_storage: dict[str, Any]) -> AzureStore:
    return AzureStore(azure_storage)
