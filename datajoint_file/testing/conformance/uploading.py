"""Upload: what arrives, that it is all or nothing, and that nothing is ever replaced.

What two uploads do to each other is in `concurrency`.
"""

from __future__ import annotations

import gc
import io
import tracemalloc

import pytest

from datajoint_file.errors import ObjectExistsError, ObjectNotFoundError, UnsafePathError
from datajoint_file.storage import Reader, StorageBackend
from datajoint_file.storage.backend import CHUNK_SIZE, ContentHeaders
from datajoint_file.storage.memory_budget import transfers
from datajoint_file.testing.conformance.fixtures import BackendFixtures, read, unsafe_keys
from datajoint_file.testing.conformance.reading import NAMES
from datajoint_file.testing.raw import RawStore
from datajoint_file.testing.readers import FailingReader, GeneratedReader, ShortReader, generated

_PARTS = [(0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (2, -1), (2, 0), (3, 7)]
"""Sizes as a number of parts and some bytes."""

_FAILURES = [(0, 0), (0, 1), (0.5, 0), (1, 0), (1, 1), (2.5, 0), (3, 0)]
"""Where a reader of three parts fails: at the start, in a part, between parts, at the end."""

_ERRORS = [
    ValueError("bad sample"),
    OSError("the disk was unplugged"),
    FileNotFoundError("the source has disappeared"),
    KeyboardInterrupt(),
    SystemExit(3),
]


class UploadingTests(BackendFixtures):
    """What an upload stores, and what it never does."""

    def test_copy_has_the_bytes_and_leaves_the_original(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        raw.put(f"{prefix}/a", b"spikes")
        backend.copy(f"{prefix}/a", f"{prefix}/copies/b%5B1%5D")
        assert (raw.get(f"{prefix}/copies/b%5B1%5D"), raw.get(f"{prefix}/a")) == (b"spikes", b"spikes")
        backend.delete(f"{prefix}/a")
        assert raw.get(f"{prefix}/copies/b%5B1%5D") == b"spikes"

    @pytest.mark.parametrize("content", [b"", b"spikes"])
    def test_contested_copy_is_made_once(
        self, backend: StorageBackend, raw: RawStore, prefix: str, content: bytes
    ) -> None:
        contested = ContentHeaders(is_contested=True)
        raw.put(f"{prefix}/a%5B1%5D", content)
        raw.put(f"{prefix}/b", b"others")
        backend.copy(f"{prefix}/a%5B1%5D", f"{prefix}/copies/c", contested)
        assert raw.get(f"{prefix}/copies/c") == content
        for source, taken in (("a%5B1%5D", "b"), ("b", "copies/c")):
            with pytest.raises(ObjectExistsError):
                backend.copy(f"{prefix}/{source}", f"{prefix}/{taken}", contested)
        assert (raw.get(f"{prefix}/b"), raw.get(f"{prefix}/copies/c")) == (b"others", content)
        with pytest.raises(ObjectNotFoundError):
            backend.copy(f"{prefix}/nothing", f"{prefix}/d", contested)
        assert not raw.exists(f"{prefix}/d")
        assert not raw.unfinished(prefix)

    def test_copy_of_nothing_is_an_error(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        with pytest.raises(ObjectNotFoundError):
            backend.copy(f"{prefix}/a", f"{prefix}/b")
        assert not raw.exists(f"{prefix}/b")

    def test_what_cannot_be_taken_is_told(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        assert not backend.take("/nothing-of-this-store/at all", 6, f"{prefix}/a")
        assert not raw.exists(f"{prefix}/a")

    @pytest.mark.parametrize(("parts", "more"), _PARTS)
    def test_bytes_arrive(self, backend: StorageBackend, raw: RawStore, key: str, parts: int, more: int) -> None:
        size = parts * self.part_size + more
        assert backend.upload(key, GeneratedReader(size), size) == size
        assert raw.get(key) == generated(size)
        assert backend.stat(key).size == size
        assert read(backend, key) == generated(size)

    @pytest.mark.parametrize("size", [CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE + 1])
    def test_sizes_around_a_chunk_arrive(self, backend: StorageBackend, raw: RawStore, key: str, size: int) -> None:
        assert backend.upload(key, GeneratedReader(size)) == size
        assert raw.get(key) == generated(size)

    @pytest.mark.parametrize("hint", [None, 0, 1, 10**6, 5 * 2**40])
    @pytest.mark.parametrize("parts", [0, 1, 2])
    def test_size_is_only_a_hint(
        self, backend: StorageBackend, raw: RawStore, key: str, parts: int, hint: int | None
    ) -> None:
        size = parts * self.part_size + 5
        assert backend.upload(key, GeneratedReader(size), hint) == size
        assert raw.get(key) == generated(size)

    @pytest.mark.parametrize(("parts", "most"), [(0, 1), (1, 9973), (2, 99_991)])
    def test_short_pieces_are_put_together(
        self, backend: StorageBackend, raw: RawStore, key: str, parts: int, most: int
    ) -> None:
        size = parts * self.part_size + 100
        assert backend.upload(key, ShortReader(GeneratedReader(size), most), size) == size
        assert raw.get(key) == generated(size)

    def test_stream_is_read_from_its_position_and_left_open(
        self, backend: StorageBackend, raw: RawStore, key: str
    ) -> None:
        stream = io.BytesIO(b"header|spikes")
        stream.seek(7)
        assert backend.upload(key, stream) == 6
        assert raw.get(key) == b"spikes"
        assert not stream.closed

    @pytest.mark.parametrize("parts", [0, 2])
    def test_headers_change_no_byte_and_are_asked_for_when_some_have_been_read(
        self, backend: StorageBackend, raw: RawStore, key: str, parts: int
    ) -> None:
        size = parts * self.part_size + 5
        reader = io.BytesIO(generated(size))

        def media_type() -> str:
            assert reader.tell()
            return "text/csv"

        assert backend.upload(key, reader, size, ContentHeaders(media_type, 'a "b"\r\nX-Evil: ä')) == size
        assert raw.get(key) == generated(size)

    def test_marks_of_a_project_are_objects(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        """What lies below ``~registry`` and the like says whose project it is; no row's object is there."""
        key = key.replace("/", "/~registry/", 1)
        place = key.rpartition("/")[0]
        backend.upload(key, io.BytesIO(b"{}"))
        assert raw.get(key) == read(backend, key) == b"{}"
        assert backend.stat(key).size == 2
        for prefix in (place, f"{self.project}/~registry", self.project, ""):
            assert key in {found.key for found in backend.list(prefix)}
        with pytest.raises(ObjectExistsError):
            backend.upload(key, io.BytesIO(b"{}"))
        backend.delete(key)
        assert not raw.exists(key)
        assert list(backend.list(place)) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_names_are_stored_literally(self, backend: StorageBackend, raw: RawStore, prefix: str, name: str) -> None:
        backend.upload(f"{prefix}/{name}", io.BytesIO(name.encode()))
        assert set(raw.keys(prefix)) == {f"{prefix}/{name}"}
        assert raw.get(f"{prefix}/{name}") == name.encode()

    def test_keys_of_a_project_alone_and_of_many_components_are_stored(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        for key in (prefix, f"{prefix}-deep/{'/'.join('abcdefgh' * 10)}", f"{prefix}-long/{'/'.join(['x' * 200] * 4)}"):
            backend.upload(key, io.BytesIO(b"spikes"))
            assert raw.get(key) == b"spikes"
            assert [found.key for found in backend.list(key)] == [key]

    def test_nothing_is_stored_under_what_is_no_key(self, backend: StorageBackend) -> None:
        for key in unsafe_keys(self.project):
            with pytest.raises(UnsafePathError):
                backend.upload(key, io.BytesIO(b"spikes"))

    @pytest.mark.parametrize(("parts", "more"), _FAILURES)
    def test_failed_upload_leaves_no_object(
        self, backend: StorageBackend, raw: RawStore, key: str, parts: float, more: int
    ) -> None:
        self._fail(backend, key, int(parts * self.part_size) + more, ValueError("bad sample"))
        _check_nothing_is_left(backend, raw, key)

    @pytest.mark.parametrize("error", _ERRORS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("parts", [0, 2])
    def test_error_of_the_reader_comes_through(
        self, backend: StorageBackend, raw: RawStore, key: str, parts: int, error: BaseException
    ) -> None:
        self._fail(backend, key, parts * self.part_size + 5, error)
        _check_nothing_is_left(backend, raw, key)

    def _fail(self, backend: StorageBackend, key: str, after: int, error: BaseException) -> None:
        """Upload what fails after some bytes of three parts, and see that this very error is raised."""
        size = 3 * self.part_size
        with pytest.raises(type(error)) as caught:
            backend.upload(key, FailingReader(GeneratedReader(size), after=after, error=error), size)
        assert caught.value is error

    def test_key_of_a_failed_upload_is_free(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        reader = FailingReader(b"noise", after=3, error=ValueError("bad sample"))
        with pytest.raises(ValueError, match="bad sample"):
            backend.upload(key, reader)
        assert backend.upload(key, io.BytesIO(b"spikes")) == 6
        assert raw.get(key) == b"spikes"

    @pytest.mark.parametrize("old_parts", [0, 2])
    @pytest.mark.parametrize(("parts", "more"), [(0, 0), (0, 5), (1, 0), (2, 5)])
    def test_existing_object_is_left_as_it_is(
        self, backend: StorageBackend, raw: RawStore, key: str, old_parts: int, parts: int, more: int
    ) -> None:
        old = generated(old_parts * self.part_size + 11)
        backend.upload(key, io.BytesIO(old))
        with pytest.raises(ObjectExistsError) as caught:
            backend.upload(key, io.BytesIO(bytes(parts * self.part_size + more)))
        assert caught.value.key == key
        assert isinstance(caught.value, FileExistsError)
        assert raw.get(key) == old
        assert not raw.unfinished(key.rpartition("/")[0])

    def test_existing_empty_object_is_left_as_it_is(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        raw.put(key, b"")
        with pytest.raises(ObjectExistsError):
            backend.upload(key, io.BytesIO(b"spikes"))
        assert raw.get(key) == b""

    @pytest.mark.parametrize("parts", [0, 1, 2])
    def test_failed_upload_leaves_an_existing_object_as_it_is(
        self, backend: StorageBackend, raw: RawStore, key: str, parts: int
    ) -> None:
        raw.put(key, b"spikes")
        content = GeneratedReader(3 * self.part_size)
        reader: Reader = FailingReader(content, after=parts * self.part_size + 5, error=ValueError("bad sample"))
        with pytest.raises((ValueError, ObjectExistsError)):
            backend.upload(key, reader)
        gc.collect()
        assert raw.get(key) == b"spikes"

    def test_uploads_of_a_group_are_objects_when_it_is_settled(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        sizes = {f"{prefix}/{number}/recording.dat": number * 1000 for number in range(5)}
        group = backend.group()
        for key, size in sizes.items():
            assert group.upload(key, GeneratedReader(size), size) == size
        group.publish()
        assert set(raw.keys(prefix)) == set(sizes)
        assert all(raw.get(key) == generated(size) for key, size in sizes.items())
        assert not raw.unfinished(prefix)

    def test_group_goes_on_after_an_upload_of_it_has_failed(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        group = backend.group()
        group.upload(f"{prefix}/a", io.BytesIO(b"spikes"), 6)
        with pytest.raises(ValueError, match="bad sample"):
            group.upload(f"{prefix}/b", FailingReader(b"noise", after=3, error=ValueError("bad sample")))
        group.upload(f"{prefix}/c", io.BytesIO(b"spikes"), 6)
        group.publish()
        assert set(raw.keys(prefix)) == {f"{prefix}/a", f"{prefix}/c"}
        assert not raw.unfinished(prefix)

    def test_discarded_group_leaves_nothing_unfinished(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        """What it has sent is an object, where each is one at once, or is gone."""
        group = backend.group()
        group.upload(f"{prefix}/a", io.BytesIO(b"spikes"), 6)
        group.discard()
        assert set(raw.keys(prefix)) in (set(), {f"{prefix}/a"})
        assert not raw.unfinished(prefix)

    def test_memory_stays_bounded(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        total = CHUNK_SIZE if self.in_process else max(20 * self.part_size, 40 * CHUNK_SIZE)
        allowed = max(4 * self.part_size, transfers().limit) + 8 * CHUNK_SIZE
        backend.upload(f"{key}-first", GeneratedReader(self.part_size + 1))  # the client's own memory is not counted
        tracemalloc.start()
        try:
            assert backend.upload(key, GeneratedReader(total), total) == total
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < allowed
        assert backend.stat(key).size == total


def _check_nothing_is_left(backend: StorageBackend, raw: RawStore, key: str) -> None:
    """Nothing now, and nothing when the remains of the upload are collected, which must not publish them."""
    prefix = key.rpartition("/")[0]
    assert not raw.exists(key)
    gc.collect()
    assert not raw.exists(key)
    assert backend.exists(key) is False
    assert list(backend.list(prefix)) == []
    assert not raw.keys(prefix)
    assert not raw.unfinished(prefix)
