"""The backends under test, as their users make them: from a ``[storage]`` table; of buckets, with each engine.

One a process: connections are kept between tests, as they are between inserts.
"""

from __future__ import annotations

import io
import re
from typing import Any
from urllib.parse import unquote

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.storage import Reader, StorageBackend, open_backend
from datajoint_file.storage.backend import NO_HEADERS, ContentHeaders
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.testing import RawStore, StorageBackendTests, generated
from tests.contract.stores import AzureStore, GCSStore, S3Store

PROJECT = "conformance"
S3_PART_SIZE = 5 * 2**20
PART_SIZE = 2**18
PAGE_SIZE = 5


CloudStore = S3Store | GCSStore | AzureStore

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

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        return self.inner.upload(key, reader, size or self._size, headers)


class RacesOfUntold(StorageBackendTests):
    """Large uploads take turns at the memory that there is: four of them are never in the middle at once."""

    @pytest.mark.parametrize("parts", [0, 2])
    def test_of_racing_uploads_one_wins(self, backend: StorageBackend, raw: RawStore, key: str, parts: int) -> None:
        untold = backend.inner if isinstance(backend, Told) else backend
        super().test_of_racing_uploads_one_wins(untold, raw, key, parts)


NAMES = [
    "recording.dat",
    'a "b";\\\\c.dat',
    "Köln 50%.dat",
    "x.dat\r\nX-Evil: 1",
    "é" * 125 + ".data",
    "日本.dat",
    "\udcff.dat",
]


class HeaderTests:
    """What a bucket tells a browser of an object."""

    part_size: int

    @pytest.mark.parametrize("parts", [0, 2])
    @pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
    def test_object_carries_media_type_and_name(
        self, backend: StorageBackend, raw: CloudStore, key: str, name: str, parts: int
    ) -> None:
        content = generated(parts * self.part_size + 5)
        backend.upload(key, io.BytesIO(content), len(content), ContentHeaders("text/csv", name))
        media_type, disposition = raw.headers(key)
        assert media_type == "text/csv"
        assert re.fullmatch(
            r'inline; filename="[\w .()+-]+"; filename\*=UTF-8\'\'[\w%!#$&+.^`|~-]+', disposition, re.ASCII
        )
        assert unquote(disposition.rpartition("'")[2]) == name.encode(errors="replace").decode()
        assert raw.get(key) == content

    @pytest.mark.parametrize("media_type", ["", "nonsense", "text/csv\r\nX-Evil: 1", "text/plain; x=ü"])
    def test_what_is_no_media_type_is_not_sent(
        self, backend: StorageBackend, raw: CloudStore, key: str, media_type: str
    ) -> None:
        backend.upload(key, io.BytesIO(b"spikes"), 6, ContentHeaders(media_type))
        assert raw.headers(key)[0] in ("", "application/octet-stream", "text/plain; charset=utf-8")  # its own guess


ENGINES = ["fsspec", "obstore", "obstore, told sizes"]


ABOUT_UPLOADS = ("UploadingTests", "ConcurrencyTests", "UnfinishedTests", "HeaderTests", "RacesOfUntold")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out with told sizes what has nothing to do with them: all but uploads.

    These are for ``make release``, but to S3: above what sends them, the three are one.
    """
    told = [item for item in items if isinstance(item, pytest.Function) and _is_told(item)]
    left_out = {item for item in told if _suite(item).endswith("Tests") and _suite(item) not in ABOUT_UPLOADS}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]
    for item in told:
        if item.cls is not None and item.cls.__name__ in ("TestGCS", "TestAzure"):
            item.add_marker(pytest.mark.release)


def _is_told(item: pytest.Function) -> bool:
    return hasattr(item, "callspec") and item.callspec.params.get("engine") == ENGINES[-1]


def _suite(item: pytest.Function) -> str:
    return str(item.function.__qualname__.partition(".")[0])


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
