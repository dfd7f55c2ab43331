"""Stat, exists, open, read and url: what can be asked of one object, also through a wrapper that only reads.

Objects are planted through the other door.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from datajoint_file.errors import ObjectNotFoundError, UnsafePathError
from datajoint_file.model.names import encode_component
from datajoint_file.storage import Capabilities, StorageBackend
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.storage.tuning import RANGE_SIZE
from datajoint_file.testing.conformance.fixtures import OBJECT_VERBS, check_time, read, unsafe_keys
from datajoint_file.testing.conformance.listing import ListingTests
from datajoint_file.testing.raw import RawStore
from datajoint_file.testing.readers import generated

NAMES = [
    *map(encode_component, ["raw data.dat", "50%.dat", "50%25.dat", "a+b=c&d", "Köln ünïcode 脳.tif", "scan[1]*?.dat"]),
    encode_component(""),
    encode_component("x" * 300 + ".dat"),
    "UPPER-lower_0.9",
    "%2E%2E",
    "a..b",
    "-rf",
]
"""Names as object keys have them; each must be taken literally."""


_RANGES = [(0, 0), (0, 1), (0, 16), (15, 2), (16, 16), (17, 40), (0, 100), (99, 1), (99, 10), (100, 1), (7, -1)]


class ReadingTests(ListingTests):
    """What can be asked of a store, and that it answers truthfully."""

    def test_capabilities_are_plain_data(self, backend: StorageBackend) -> None:
        capabilities = backend.capabilities
        assert isinstance(capabilities, Capabilities)
        assert capabilities.protocol
        assert capabilities == backend.capabilities

    @pytest.mark.parametrize("size", [0, 1, 1000, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1])
    def test_object_is_read_back(self, backend: StorageBackend, raw: RawStore, key: str, size: int) -> None:
        raw.put(key, generated(size))
        with backend.open(key) as file:
            assert file.read() == generated(size)
            assert file.read() == b""
        assert file.closed

    @pytest.mark.parametrize("size", [0, 1, 1000])
    def test_stat_tells_key_size_and_time(self, backend: StorageBackend, raw: RawStore, key: str, size: int) -> None:
        raw.put(key, generated(size))
        found = backend.stat(key)
        assert (found.key, found.size) == (key, size)
        check_time(found.modified)

    def test_object_exists_as_soon_as_it_is_there(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        assert backend.exists(key) is False
        raw.put(key, b"spikes")
        assert backend.exists(key) is True
        assert [found.key for found in backend.list(key)] == [key]

    def test_object_is_gone_as_soon_as_it_is_deleted(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        raw.put(key, b"spikes")
        assert backend.exists(key)
        raw.delete(key)
        assert backend.exists(key) is False
        assert list(backend.list(key)) == []
        with pytest.raises(ObjectNotFoundError):
            backend.open(key)

    @pytest.mark.parametrize("verb", ["open", "stat"])
    def test_missing_object_is_not_found(self, backend: StorageBackend, key: str, verb: str) -> None:
        with pytest.raises(ObjectNotFoundError) as caught:
            OBJECT_VERBS[verb](backend, key)
        assert caught.value.key == key
        assert key in str(caught.value)
        assert isinstance(caught.value, FileNotFoundError)

    @pytest.mark.parametrize("verb", ["open", "stat"])
    def test_prefix_of_an_object_is_no_object(
        self, backend: StorageBackend, raw: RawStore, prefix: str, verb: str
    ) -> None:
        raw.put(f"{prefix}/a/b", b"spikes")
        assert backend.exists(f"{prefix}/a") is False
        with pytest.raises(ObjectNotFoundError) as caught:
            OBJECT_VERBS[verb](backend, f"{prefix}/a")
        assert caught.value.key == f"{prefix}/a"

    def test_what_an_object_would_be_a_prefix_of_is_missing(
        self, backend: StorageBackend, raw: RawStore, key: str
    ) -> None:
        raw.put(key, b"spikes")
        assert backend.exists(f"{key}/below") is False
        assert list(backend.list(f"{key}/below")) == []

    @pytest.mark.parametrize(("start", "length"), _RANGES)
    def test_ranges_are_read_exactly(
        self, backend: StorageBackend, raw: RawStore, key: str, start: int, length: int
    ) -> None:
        content = generated(100)
        raw.put(key, content)
        with backend.open(key, block_size=16) as file:
            assert file.seek(start) == start
            assert file.read(length) == io.BytesIO(content[start:]).read(length)

    @pytest.mark.parametrize(
        ("start", "stop"), [(0, 0), (0, 1), (7, 40), (99, 100), (90, 1000), (100, 101), (500, 600)]
    )
    @pytest.mark.parametrize("size", [0, 100])
    def test_read_gives_what_the_object_has_of_a_range(
        self, backend: StorageBackend, raw: RawStore, key: str, size: int, start: int, stop: int
    ) -> None:
        raw.put(key, generated(size))
        content = backend.read(key, start, stop)
        assert isinstance(content, bytes | memoryview)
        assert content == generated(size)[start:stop]

    @pytest.mark.parametrize("is_in_main_thread", [True, False])
    @pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (7, 40), (99, 100), (90, 1000), (100, 101)])
    def test_chunks_give_what_the_object_has_of_a_range(
        self, backend: StorageBackend, raw: RawStore, key: str, start: int, stop: int, is_in_main_thread: bool
    ) -> None:
        raw.put(key, generated(100))
        assert _range_of(backend, key, start, stop, is_in_main_thread) == generated(100)[start:stop]

    @pytest.mark.parametrize("is_in_main_thread", [True, False])
    def test_chunks_of_a_large_object_comes_in_order(
        self, backend: StorageBackend, raw: RawStore, key: str, is_in_main_thread: bool
    ) -> None:
        content = generated(RANGE_SIZE + 100_000)
        raw.put(key, content)
        assert _range_of(backend, key, 1, len(content) + 1, is_in_main_thread) == content[1:]

    @pytest.mark.parametrize("is_in_main_thread", [True, False])
    def test_chunks_of_a_missing_object_is_not_found(
        self, backend: StorageBackend, key: str, is_in_main_thread: bool
    ) -> None:
        with pytest.raises(ObjectNotFoundError) as caught:
            _range_of(backend, key, 0, 10, is_in_main_thread)
        assert caught.value.key == key

    def test_range_of_a_missing_object_is_not_found(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        raw.put(f"{prefix}/a/b", b"spikes")
        for key in (f"{prefix}/a", f"{prefix}/nothing"):
            with pytest.raises(ObjectNotFoundError) as caught:
                backend.read(key, 0, 10)
            assert caught.value.key == key

    @pytest.mark.parametrize("cache_type", ["readahead", "none", "bytes", "all"])
    def test_any_cache_reads_the_same(self, backend: StorageBackend, raw: RawStore, key: str, cache_type: str) -> None:
        raw.put(key, generated(100_000))
        with backend.open(key, block_size=2**12, cache_type=cache_type) as file:
            file.seek(70_000)
            assert file.read(20) == generated(100_000)[70_000:70_020]
            file.seek(0)
            assert file.read() == generated(100_000)

    def test_file_can_be_walked_about(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        raw.put(key, generated(100))
        with backend.open(key, block_size=16) as file:
            assert file.readable()
            assert file.seekable()
            assert file.seek(-3, os.SEEK_END) == 97
            assert file.read() == generated(100)[97:]
            assert file.tell() == 100
            assert file.seek(500) == 500
            assert file.read(10) == b""
            assert file.seek(10) == 10
            assert file.seek(5, os.SEEK_CUR) == 15
            assert file.read(2) == generated(100)[15:17]

    def test_empty_object_is_a_file_without_bytes(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        raw.put(key, b"")
        with backend.open(key) as file:
            assert file.seek(0, os.SEEK_END) == 0
            assert file.read(10) == b""

    def test_opened_files_do_not_share_their_position(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        raw.put(key, generated(100))
        with backend.open(key) as one, backend.open(key) as other:
            assert one.read(50) == generated(100)[:50]
            assert other.read(10) == generated(100)[:10]
            assert one.read(50) == generated(100)[50:]

    def test_opened_file_cannot_be_written(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        raw.put(key, b"spikes")
        with backend.open(key) as file:
            assert not file.writable()
            with pytest.raises(OSError, match="write"):
                file.write(b"noise")
        assert raw.get(key) == b"spikes"

    @pytest.mark.parametrize("name", NAMES)
    def test_names_are_taken_literally(self, backend: StorageBackend, raw: RawStore, prefix: str, name: str) -> None:
        key = f"{prefix}/{name}"
        raw.put(key, name.encode())
        assert read(backend, key) == name.encode()
        assert backend.stat(key).key == key
        assert [found.key for found in backend.list(prefix)] == [key]
        assert [found.key for found in backend.list(key)] == [key]

    def test_long_keys_are_taken_whole(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        key = f"{prefix}/{'/'.join(['x' * 200] * 4)}/recording.dat"
        raw.put(key, b"spikes")
        assert read(backend, key) == b"spikes"
        assert [found.key for found in backend.list(prefix)] == [key]
        assert backend.exists(key[:-1]) is False

    @pytest.mark.parametrize("verb", ["open", "stat", "exists", "url"])
    def test_what_is_no_key_is_refused(self, backend: StorageBackend, verb: str) -> None:
        verbs: dict[str, Callable[[StorageBackend, str], object]] = OBJECT_VERBS | {
            "url": lambda backend, key: backend.url(key)
        }
        for key in unsafe_keys(self.project):
            with pytest.raises(UnsafePathError):
                verbs[verb](backend, key)

    def test_url_names_the_object_and_no_secret(
        self, backend: StorageBackend, prefix: str, secrets: tuple[str, ...]
    ) -> None:
        url = backend.url(f"{prefix}/raw%20data.dat")
        assert "://" in url
        assert f"{prefix.removeprefix(self.project)}/raw" in url
        assert not {"@", "?", "&"} & set(url)
        shown = f"{url} {backend!r} {backend.capabilities!r}"
        assert not [secret for secret in secrets if secret in shown]


def _range_of(backend: StorageBackend, key: str, start: int, stop: int, is_in_main_thread: bool) -> bytes:
    """Read a range to its end, in this thread or in another one, as downloads do."""

    def read() -> bytes:
        return b"".join(bytes(chunk) for chunk in backend.iter_range(key, start, stop))

    if is_in_main_thread:
        return read()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(read).result()
