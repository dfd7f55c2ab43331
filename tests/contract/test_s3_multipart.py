"""How large objects are cut for S3, Google Cloud Storage and Azure, and what of them is sent."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import accumulate, islice
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.errors import UploadCorruptedError
from datajoint_file.storage.backend import NO_HEADERS, ContentHeaders, Reader, StorageBackend
from datajoint_file.storage.bucket import fsspec_upload
from datajoint_file.storage.bucket.part_sizes import (
    MAX_PARTS,
    SMALLEST_PART,
    memory_for,
    part_sizes,
    plan_parts,
)
from datajoint_file.storage.factory import needs_reading_back
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.storage.tuning import MEMORY_BYTES, PART_SIZE
from datajoint_file.storage.wrappers import ReadBackBackend
from datajoint_file.testing import generated
from tests.contract.conftest import PROJECT, S3_PART_SIZE, backend_of
from tests.contract.stores import S3Store
from tests.projects import unique
from tests.wire.proxy import CorruptingProxy

MIB = 2**20
TIB = 2**40
MOST_PARTS = 10_000


@pytest.mark.parametrize("size", [PART_SIZE, 100 * 2**30, 5 * TIB])
@pytest.mark.parametrize("granted", [2 * SMALLEST_PART, 20 * MIB, MEMORY_BYTES])
def test_objects_of_known_size_have_no_more_parts_than_stores_take(size: int, granted: int) -> None:
    for cut in (plan_parts(granted, size), fsspec_upload.plan_parts(granted, size, PART_SIZE)):
        assert size / cut.part_size <= MAX_PARTS
        assert cut.part_size % 2**18 == 0
        sizes = list(islice(part_sizes(cut.part_size, size), -(-size // cut.part_size)))
        assert set(sizes) == {cut.part_size}


@pytest.mark.parametrize("first", [SMALLEST_PART, 9 * MIB])
def test_objects_of_any_size_have_no_more_parts_than_s3_takes(first: int) -> None:
    ends = list(accumulate(islice(part_sizes(first, 0), MOST_PARTS)))
    assert ends[-1] >= 5 * TIB
    assert ends[899] == 900 * first


@pytest.mark.parametrize("size", [None, 0, 1, SMALLEST_PART, PART_SIZE - 1, PART_SIZE, 2**30, 200 * 2**30])
@pytest.mark.parametrize("granted", [2 * SMALLEST_PART, 20 * MIB, MEMORY_BYTES])
def test_parts_in_memory_are_within_what_was_granted(size: int | None, granted: int) -> None:
    wanted, at_least = memory_for(size)
    granted = max(at_least, min(wanted, granted))
    cut = plan_parts(granted, size)
    assert at_least <= wanted <= MEMORY_BYTES
    assert cut.part_size >= SMALLEST_PART
    if size is None or size >= PART_SIZE:
        assert (cut.in_flight + 1) * cut.part_size <= granted
    else:
        assert cut.part_size > size


def test_objects_that_need_huge_parts_go_alone() -> None:
    assert memory_for(2 * TIB) == (MEMORY_BYTES, MEMORY_BYTES)
    assert fsspec_upload.memory_for(2 * TIB, PART_SIZE) == (MEMORY_BYTES, MEMORY_BYTES)


def test_small_objects_need_no_more_memory_than_their_size() -> None:
    assert memory_for(1000) == (1000, 1000)
    assert fsspec_upload.memory_for(1000, PART_SIZE) == (4000, 4000)


@pytest.fixture
def proxy(s3_storage: dict[str, Any]) -> Iterator[CorruptingProxy]:
    made = CorruptingProxy(port_of(s3_storage))
    yield made
    made.close()


def port_of(table: dict[str, Any]) -> int:
    return int(table["endpoint_url"].rpartition(":")[2])


def behind(table: dict[str, Any], proxy: CorruptingProxy, **changes: Any) -> StorageBackend:
    address = f"http://127.0.0.1:{proxy.port}"
    return backend_of({**table, "endpoint_url": address, "engine": "fsspec"}, S3_PART_SIZE, **changes)


def heads(proxy: CorruptingProxy, method: str) -> list[dict[str, str]]:
    """The headers of the requests that passed through the proxy."""
    found = []
    for piece in bytes(proxy.seen).split(method.encode() + b" /")[1:]:
        lines = piece.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        found.append({name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)})
    return found


def test_small_object_is_sent_with_its_digest_and_not_hashed_by_the_client(
    s3_storage: dict[str, Any], proxy: CorruptingProxy
) -> None:
    content = generated(100_000)
    behind(s3_storage, proxy).upload(f"{PROJECT}/{unique('k')}/a", io.BytesIO(content), len(content))
    [head] = heads(proxy, "PUT")
    assert head["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert head["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert head["if-none-match"] == "*"
    assert "expect" not in head


def test_parts_are_sent_with_their_crc_and_not_hashed_by_the_client(
    s3_storage: dict[str, Any], proxy: CorruptingProxy
) -> None:
    content = generated(2 * S3_PART_SIZE + 1)
    behind(s3_storage, proxy).upload(f"{PROJECT}/{unique('k')}/a", io.BytesIO(content), len(content))
    sent = heads(proxy, "PUT")
    parts = [content[start : start + S3_PART_SIZE] for start in range(0, len(content), S3_PART_SIZE)]
    expected = {base64.b64encode(zlib.crc32(part).to_bytes(4, "big")).decode() for part in parts}
    assert {head["x-amz-checksum-crc32"] for head in sent} == expected
    assert {head["x-amz-content-sha256"] for head in sent} == {"UNSIGNED-PAYLOAD"}
    begun, completed = heads(proxy, "POST")
    assert begun["x-amz-checksum-algorithm"] == "CRC32"
    assert completed["if-none-match"] == "*"


@pytest.mark.parametrize("size", [1000, 2 * S3_PART_SIZE + 1])
def test_stores_that_know_no_checksums_are_sent_signed_bytes_if_the_user_says_so(
    s3_storage: dict[str, Any], s3_store: S3Store, proxy: CorruptingProxy, size: int
) -> None:
    key, options = f"{PROJECT}/{unique('k')}/a", {"config_kwargs": {"s3": {"payload_signing_enabled": True}}}
    behind(s3_storage, proxy, options=options).upload(key, io.BytesIO(generated(size)), size)
    assert s3_store.get(key) == generated(size)
    for head in heads(proxy, "PUT"):
        assert len(head["x-amz-content-sha256"]) == 64
        assert not [name for name in head if name.startswith("x-amz-checksum")]


@pytest.mark.parametrize("size", [200_000, 2 * S3_PART_SIZE + 1])
def test_what_the_store_says_has_changed_on_its_way_is_sent_again(
    s3_storage: dict[str, Any], s3_store: S3Store, proxy: CorruptingProxy, size: int
) -> None:
    key = f"{PROJECT}/{unique('k')}/a"
    proxy.flip("upload", at=100_000, times=1)
    assert behind(s3_storage, proxy).upload(key, io.BytesIO(generated(size)), size) == size
    assert proxy.flipped == 1
    assert s3_store.get(key) == generated(size)


@pytest.mark.parametrize("size", [200_000, 2 * S3_PART_SIZE + 1])
def test_what_is_always_changed_leaves_nothing(
    s3_storage: dict[str, Any], s3_store: S3Store, proxy: CorruptingProxy, size: int
) -> None:
    key = f"{PROJECT}/{unique('k')}/a"
    proxy.flip("upload", at=100_000, times=10**6)
    once = {**s3_storage, "options": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}
    with pytest.raises(UploadCorruptedError) as caught:
        behind(once, proxy).upload(key, io.BytesIO(generated(size)), size)
    assert caught.value.key == key
    prefix = key.rpartition("/")[0]
    assert (s3_store.keys(prefix), s3_store.unfinished(prefix)) == (set(), set())


class ForgettingProxy(CorruptingProxy):
    """Makes of a store that compares checksums one that does not say so."""

    def _changes(self) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
        forth, back = super()._changes()
        return forth, lambda content: re.sub(b"(?i)x-amz-checksum-", b"x-amz-chuckles-", back(content))


@pytest.mark.parametrize("size", [10_000, 2 * S3_PART_SIZE + 1])
def test_what_a_store_does_not_confirm_is_read_back_where_there_is_no_tls(
    s3_storage: dict[str, Any], s3_store: S3Store, size: int
) -> None:
    key, proxy = f"{PROJECT}/{unique('k')}/a", ForgettingProxy(port_of(s3_storage))
    with closing(proxy):
        assert behind(s3_storage, proxy).upload(key, io.BytesIO(generated(size)), size) == size
        ranges = [head["range"] for head in heads(proxy, "GET")]
        starts = range(0, size, S3_PART_SIZE)
        assert sorted(ranges) == sorted(f"bytes={start}-{min(start + S3_PART_SIZE, size) - 1}" for start in starts)
        assert s3_store.get(key) == generated(size)

        proxy.flip("download", at=5_000, times=10**6)
        with pytest.raises(UploadCorruptedError):
            behind(s3_storage, proxy).upload(f"{key}2", io.BytesIO(generated(size)), size)
        assert s3_store.keys(f"{key}2") == set()


class Changing(DelegatingBackend):
    """A store whose uploads are changed on their way, without its noticing."""

    def __init__(self, inner: StorageBackend, change: Callable[[bytes], bytes]) -> None:
        super().__init__(inner)
        self._change = change

    def upload(self, key: str, reader: Reader, size: int | None = None, headers: ContentHeaders = NO_HEADERS) -> int:
        content = b"".join(iter(lambda: reader.read(1000), b""))
        self.inner.upload(key, io.BytesIO(self._change(content)), size)
        return len(content)


@pytest.mark.parametrize("change", [lambda c: c[:-1] + b"!", lambda c: c[:-1], lambda c: c + b"!", lambda c: b""])
def test_upload_that_was_changed_on_its_way_is_found_by_reading_it_back(
    gcs_storage: dict[str, Any], change: Callable[[bytes], bytes]
) -> None:
    store = backend_of(gcs_storage)
    key = f"{PROJECT}/{unique('k')}/a"
    with pytest.raises(UploadCorruptedError, match="the collector removes it"):
        ReadBackBackend(Changing(store, change)).upload(key, io.BytesIO(generated(5000)), 5000)
    assert store.exists(key)  # it could be another writer's


def test_upload_that_was_not_changed_is_there_after_it_was_read_back(gcs_storage: dict[str, Any]) -> None:
    store = backend_of(gcs_storage)
    key = f"{PROJECT}/{unique('k')}/a"
    assert ReadBackBackend(store).upload(key, io.BytesIO(generated(5000)), 5000) == 5000
    assert store.exists(key)


CONNECTION = "AccountName=lab;AccountKey=a2V5;"


@pytest.mark.parametrize(
    ("table", "needed"),
    [
        ({"backend": "gcs", "bucket": "lab"}, False),
        ({"backend": "gcs", "bucket": "lab", "endpoint_url": "http://store:80"}, True),
        ({"backend": "gcs", "bucket": "lab", "endpoint_url": "https://store"}, False),
        ({"backend": "gcs", "bucket": "lab", "options": {"endpoint_url": "HTTP://store"}}, True),
        ({"backend": "azure", "container": "lab", "credentials": {"account_name": "lab"}}, False),
        ({"backend": "azure", "container": "lab", "endpoint_url": "http://store/lab"}, True),
        (
            {
                "backend": "azure",
                "container": "lab",
                "credentials": {"connection_string": f"{CONNECTION}BlobEndpoint=http://store/lab"},
            },
            True,
        ),
        (
            {
                "backend": "azure",
                "container": "lab",
                "credentials": {"connection_string": f"{CONNECTION}BlobEndpoint=https://store/lab"},
            },
            False,
        ),
        (
            {
                "backend": "azure",
                "container": "lab",
                "credentials": {"connection_string": f"DefaultEndpointsProtocol=http;{CONNECTION}"},
            },
            True,
        ),
        ({"backend": "s3", "bucket": "lab", "endpoint_url": "http://store"}, False),
        ({"backend": "file", "path": "/data"}, False),
    ],
)
def test_uploads_are_read_back_where_neither_tls_nor_the_store_checks(table: dict[str, Any], needed: bool) -> None:
    settings = parse_settings({"project": {"name": PROJECT}, "storage": table}, "the test")
    assert needs_reading_back(settings.storage, None) is needed
