"""The backends under test, as their users make them: from a ``[storage]`` table; of buckets, with each engine.

One a process: connections are kept between tests, as they are between inserts.
"""

from __future__ import annotations

from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.storage import Reader, StorageBackend, open_backend
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.testing import RawStore, StorageBackendTests
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


class Told(DelegatingBackend):
    """Tells the size of what is uploaded, roughly, where nobody else does: obstore sends large objects only then."""

    def __init__(self, inner: StorageBackend, size: int) -> None:
        super().__init__(inner)
        self._size = size

    def upload(self, key: str, reader: Reader, size: int | None = None) -> int:
        return self.inner.upload(key, reader, size or self._size)


class RacesOfUntold(StorageBackendTests):
    """Large uploads take turns at the memory that there is: four of them are never in the middle at once."""

    @pytest.mark.parametrize("parts", [0, 2])
    def test_of_racing_uploads_one_wins(self, backend: StorageBackend, raw: RawStore, key: str, parts: int) -> None:
        untold = backend.inner if isinstance(backend, Told) else backend
        super().test_of_racing_uploads_one_wins(untold, raw, key, parts)


ENGINES = ["fsspec", "obstore", "obstore, told sizes"]


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Which engine the backend under test has."""
    return str(request.param)


def engine_backend(table: dict[str, Any], engine: str, part_size: int = PART_SIZE) -> StorageBackend:
    """Return the backend of *table* with *engine*."""
    name, _, told = engine.partition(",")
    backend = backend_of(table, part_size, engine=name)
    return Told(backend, 20 * part_size) if told else backend


@pytest.fixture(scope="session")
def s3_backend(s3_storage: dict[str, Any], engine: str) -> StorageBackend:
    return engine_backend(s3_storage, engine, S3_PART_SIZE)


@pytest.fixture(scope="session")
def gcs_backend(gcs_storage: dict[str, Any]) -> StorageBackend:
    return backend_of(gcs_storage)


@pytest.fixture(scope="session")
def azure_backend(azure_storage: dict[str, Any], engine: str) -> StorageBackend:
    return engine_backend(azure_storage, engine)


@pytest.fixture(scope="session")
def s3_store(s3_storage: dict[str, Any]) -> S3Store:
    return S3Store(s3_storage)


@pytest.fixture(scope="session")
def gcs_store(gcs_storage: dict[str, Any]) -> GCSStore:
    return GCSStore(gcs_storage)


@pytest.fixture(scope="session")
def azure_store(azure_storage: dict[str, Any]) -> AzureStore:
    return AzureStore(azure_storage)
