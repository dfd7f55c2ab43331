"""Files that are read in ranges: the same bytes as the object's, and not many more than were asked for."""

from __future__ import annotations

import io
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.storage.remote.readahead import FIRST, KEPT, MOST, SPARE, AdaptiveCache, ReadAheadFile, cache_of

CONTENT = random.Random(0).randbytes(300_000)
LARGE = 64 * 2**20


class Ranges:
    """Gives ranges of an object, and counts."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        return self.content[start:stop]

    @property
    def fetched(self) -> int:
        return sum(min(stop, len(self.content)) - start for start, stop in self.asked)


def _opened(content: bytes, **options: object) -> tuple[ReadAheadFile, Ranges]:
    ranges = Ranges(content)
    return ReadAheadFile(cache_of(ranges, len(content), **options), len(content)), ranges  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.integers(0, 310_000), st.integers(0, 50_000)), max_size=30),
    st.sampled_from([None, 16, 1000, 2**16]),
)
def test_any_walk_reads_what_a_file_in_memory_gives(walk: list[tuple[int, int]], block_size: int | None) -> None:
    file, _ = _opened(CONTENT, block_size=block_size)
    known = io.BytesIO(CONTENT)
    for position, size in walk:
        assert file.seek(position) == known.seek(position)
        assert file.read(size) == known.read(size)
        assert file.tell() == known.tell()


def test_every_kind_of_cache_reads_the_same() -> None:
    for kind in (None, "readahead", "none", "bytes", "blockcache", "all"):
        file, _ = _opened(CONTENT, cache_type=kind, block_size=2**14)
        file.seek(100_000)
        assert file.read(1000) == CONTENT[100_000:101_000]
        assert file.seek(-10, os.SEEK_END) == len(CONTENT) - 10
        assert file.read() == CONTENT[-10:]


def test_unknown_kind_of_cache_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="cache_type = 'best'"):
        _opened(CONTENT, cache_type="best")


def test_reading_on_asks_for_more_and_more() -> None:
    file, ranges = _opened(bytes(LARGE))
    while file.read(2**13):
        pass
    sizes = [stop - start for start, stop in ranges.asked]
    assert sizes[:3] == [2 * FIRST, 4 * FIRST, 8 * FIRST]
    assert max(sizes) == MOST
    assert len(sizes) < 25
    assert ranges.fetched == LARGE


def test_jumping_back_to_the_header_asks_for_nothing() -> None:
    file, ranges = _opened(bytes(LARGE))
    for position in (0, 40_000_000, 0, 20_000_000, 100, 40_000_000):
        file.seek(position)
        file.read(1000)
    assert len(ranges.asked) == 3


def test_jumping_about_fetches_at_most_twice_what_is_read_and_a_little() -> None:
    file, ranges = _opened(bytes(LARGE))
    read = 0
    for position in random.Random(1).sample(range(LARGE), 2000):
        file.seek(position)
        read += len(file.read(100))
    assert ranges.fetched <= 2 * read + SPARE + 100


def test_what_is_kept_is_bounded() -> None:
    cache = AdaptiveCache(lambda start, stop: bytes(stop - start), LARGE)
    for start in range(0, LARGE, 2**20):
        cache._fetch(start, start + 2**20)
    assert sum(map(len, cache._blocks.values())) <= KEPT


def test_large_reads_are_one_request_and_not_kept() -> None:
    file, ranges = _opened(bytes(LARGE))
    assert len(file.read()) == LARGE
    assert ranges.asked == [(0, LARGE)]


def test_it_is_a_binary_file_as_others_are() -> None:
    file, _ = _opened(b"a\nb\n")
    assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    assert file.readlines() == [b"a\n", b"b\n"]
    file.seek(0)
    buffer = bytearray(3)
    assert (file.readinto(buffer), bytes(buffer), file.peek(1), file.read1(9)) == (3, b"a\nb", b"\n", b"\n")
    with pytest.raises(ValueError, match="no position"):
        file.seek(-1)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


def test_lines_do_not_come_byte_by_byte() -> None:
    content = b"some spikes\n" * 10_000

    class Counted(AdaptiveCache):
        calls = 0

        def _fetch(self, start: int, stop: int, /) -> bytes:
            self.calls += 1
            return super()._fetch(start, stop)

    ranges = Ranges(content)
    cache = Counted(ranges, len(content))
    assert list(ReadAheadFile(cache, len(content))) == content.splitlines(keepends=True)
    assert cache.calls < 11_000
    assert ranges.fetched == len(content)


@pytest.mark.parametrize("kind", ["readahead", "blockcache", "bytes", "none"])
def test_lines_do_not_come_byte_by_byte_from_caches_of_fsspec(kind: str) -> None:
    file, ranges = _opened(
        b"some spikes\n" * 100, cache_type=kind, cache_options={"maxblocks": 4} if kind == "blockcache" else {}
    )
    assert file.readlines() == [b"some spikes\n"] * 100
    assert len(ranges.asked) <= 200


def test_peek_gives_what_is_there_without_a_request() -> None:
    file, ranges = _opened(CONTENT)
    assert file.peek(1)[: io.DEFAULT_BUFFER_SIZE] == CONTENT[: io.DEFAULT_BUFFER_SIZE]
    (first,) = ranges.asked
    file.seek(first[1] - 1)
    assert file.peek(1) == file.peek() == CONTENT[first[1] - 1 : first[1]]
    assert ranges.asked == [first]
    assert file.read(1) == CONTENT[first[1] - 1 : first[1]]
    assert len(file.peek()) >= io.DEFAULT_BUFFER_SIZE
    assert file.tell() == first[1]


def test_lines_at_random_places_fetch_at_most_twice_what_is_read_and_a_little() -> None:
    file, ranges = _opened(b"some spikes\n" * 6 * 2**20)
    read = 0
    for position in random.Random(1).sample(range(file.size), 1000):
        file.seek(position)
        file.readline()
        read += io.DEFAULT_BUFFER_SIZE
    assert ranges.fetched <= 2 * read + SPARE


def test_unknown_whence_is_refused_as_by_other_files() -> None:
    file, _ = _opened(CONTENT)
    for whence in (9, -1):
        with pytest.raises(ValueError, match="whence"):
            file.seek(0, whence)


def test_empty_object_is_asked_for_nothing() -> None:
    file, ranges = _opened(b"")
    assert file.read() == file.read(10) == b""
    assert ranges.asked == []
