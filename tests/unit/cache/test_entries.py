"""The cache: each entry is brought once, is what was brought, and all together stay below the limit."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gc
import hashlib
import multiprocessing
import os
import random
import signal
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from datajoint_file import cache
from datajoint_file.cache.entries import Cache
from datajoint_file.cache.space import BLOCK_BYTES, NoRoomError
from datajoint_file.config.loader import find_cache_settings
from datajoint_file.errors import (
    CacheError,
    ConfigurationError,
    DestinationError,
    SizeMismatchError,
    StorageUnavailableError,
)
from datajoint_file.storage.disk import rename
from tests.unit.conftest import NOBODY, InChild

FORK = multiprocessing.get_context("fork")
LARGE = 10**9


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Store:
    """Where entries come from; it counts in a file, which processes share."""

    def __init__(self, directory: Path, seconds: float = 0.0) -> None:
        self.calls = directory / "calls"
        self.calls.touch()
        self.seconds = seconds

    def fill(self, content: bytes) -> Callable[[Path], None]:
        def write(target: Path) -> None:
            with self.calls.open("a", encoding="ascii") as file:
                file.write(f"{digest_of(content)}\n")
            time.sleep(self.seconds)
            target.write_bytes(content)

        return write

    @property
    def count(self) -> int:
        return len(self.calls.read_text(encoding="ascii").splitlines())

    def get(self, cache_: Cache, content: bytes, name: str = "a.dat") -> Path:
        return cache_.get(digest_of(content), name, len(content), self.fill(content))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def used(place: Path) -> int:
    """Return the bytes of all entries, found without the package."""
    return sum(path.stat().st_size for path in place.glob("??/*/*"))


def leftovers(place: Path) -> list[str]:
    return [path.name for path in place.glob("??/.*")]


def test_entry_is_brought_once_and_is_a_read_only_file_of_its_name(place: Path, store: Store) -> None:
    kept = Cache(place, LARGE)
    path = store.get(kept, b"spikes", "Tag 1 µ.dat")
    assert path == place / digest_of(b"spikes")[:2] / digest_of(b"spikes") / "Tag 1 µ.dat"
    assert path.read_bytes() == b"spikes"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [store.get(one, b"spikes", "Tag 1 µ.dat") for one in (kept, Cache(place, LARGE))] == [path, path]
    assert store.count == 1
    other = store.get(kept, b"spikes", "b.dat")  # the same bytes under another name
    assert (store.count, other.read_bytes(), other.stat().st_ino) == (1, b"spikes", path.stat().st_ino)
    assert Cache(place, LARGE).space.stored()[0].size == 6
    assert not leftovers(place)


def test_any_number_of_names_of_one_content_settle(place: Path, store: Store) -> None:
    kept, names = Cache(place, LARGE), ("a.dat", "b.dat", "c.dat", "d.dat")
    paths = [store.get(kept, b"spikes", name) for name in names]
    looks = [path.stat().st_ctime_ns for path in paths]
    assert [store.get(kept, b"spikes", name) for name in names] == paths
    assert [path.stat().st_ctime_ns for path in paths] == looks  # nothing was linked again
    assert [store.get(Cache(place, LARGE), b"spikes", name).stat().st_ctime_ns for name in names] == looks
    assert store.count == 1
    change_length(paths[1])
    for path in (*paths, *paths):
        assert store.get(kept, b"spikes", path.name).read_bytes() == b"spikes"
    assert store.count == 2


def change_bytes(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"SPIKES")


def change_length(path: Path) -> None:
    path.chmod(0o644)
    with path.open("ab") as file:
        file.write(b"!")


def exchange(path: Path) -> None:
    times = path.stat()
    path.unlink()
    path.write_bytes(b"SPIKES")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def link(path: Path) -> None:
    other = path.parent.parent / "elsewhere"
    other.write_bytes(b"SPIKES")
    path.unlink()
    path.symlink_to(other)


def link_home(path: Path) -> None:
    other = path.parent.parent.parent.parent / "elsewhere"
    path.parent.rename(other)
    path.parent.symlink_to(other)


def make_directory(path: Path) -> None:
    path.unlink()
    (path / "inner").mkdir(parents=True)


def spoil_record(path: Path) -> None:
    path.parent.with_suffix(".json").write_bytes(b'{"a.dat": [')


def link_record(path: Path) -> None:
    record = path.parent.with_suffix(".json")
    record.rename(record.with_suffix(".x"))
    record.symlink_to(record.with_suffix(".x"))


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, change_bytes, change_length, exchange, link, link_home, make_directory],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_was_changed_is_noticed_and_brought_again(
    damage: Callable[[Path], Any], is_known: bool, place: Path, store: Store
) -> None:
    kept = Cache(place, LARGE)
    path = store.get(kept, b"spikes")
    asked = digest_of(b"spikes"), "a.dat", 6
    with kept.open(*asked) as file, Cache(place, LARGE).open(*asked) as other:  # type: ignore[union-attr]
        assert (file.read(), other.read()) == (b"spikes", b"spikes")
        assert Path(file.name) == path
    damage(path)
    assert (kept if is_known else Cache(place, LARGE)).open(*asked) is None
    assert store.count == 1
    again = store.get(kept if is_known else Cache(place, LARGE), b"spikes")
    assert (again, again.read_bytes()) == (path, b"spikes")
    assert not any(part.is_symlink() for part in (path, path.parent, path.parent.parent))
    brought = store.count
    assert store.get(Cache(place, LARGE), b"spikes") == path
    assert store.count == brought


@pytest.mark.parametrize("damage", [spoil_record, link_record])
def test_entry_whose_record_was_changed_is_brought_again(
    damage: Callable[[Path], Any], place: Path, store: Store
) -> None:
    damage(store.get(Cache(place, LARGE), b"spikes"))
    assert store.get(Cache(place, LARGE), b"spikes").read_bytes() == b"spikes"
    store.get(Cache(place, LARGE), b"spikes")
    assert store.count == 2


def test_row_of_another_size_is_not_taken_for_the_entry(place: Path, store: Store) -> None:
    kept = Cache(place, LARGE)
    store.get(kept, b"spikes")
    kept.get(digest_of(b"spikes"), "a.dat", 7, store.fill(b"spikes"))
    assert store.count == 2


def test_what_is_written_to_while_it_gets_another_name_is_brought_again(
    place: Path, store: Store, tmp_path: Path
) -> None:
    kept = Cache(place, LARGE)
    path = store.get(kept, b"spikes")
    with kept.relinked(path) as is_entry:
        os.link(path, tmp_path / "linked")
    assert (is_entry, store.get(Cache(place, LARGE), b"spikes"), store.count) == (True, path, 1)
    with kept.relinked(path) as is_entry:
        (tmp_path / "linked").unlink()
        path.chmod(0o644)
        path.write_bytes(b"SPIKES")
    assert is_entry
    assert (store.get(kept, b"spikes").read_bytes(), store.count) == (b"spikes", 2)


def test_directory_is_an_entry_and_what_was_changed_in_it_is_noticed(place: Path) -> None:
    calls = []

    def fill(target: Path) -> None:
        calls.append(target)
        (target / "inner" / "empty").mkdir(parents=True)
        (target / "inner" / "a.txt").write_text("a")
        (target / "b.txt").write_text("b")

    def get(kept: Cache) -> Path:
        return kept.get("ab" * 32, "run.zarr", 2, fill)

    def within(kept: Cache, name: str) -> bytes | None:
        file = kept.open_within("ab" * 32, "run.zarr", 2, name, 1)
        if file is None:
            return None
        with file:
            return file.read()

    path = get(Cache(place, LARGE))
    assert get(Cache(place, LARGE)) == path
    assert len(calls) == 1
    assert stat.S_IMODE((path / "inner").stat().st_mode) == 0o555
    caches = Cache(place, LARGE), Cache(place, LARGE)
    assert [within(caches[0], name) for name in ("inner/a.txt", "b.txt", "inner", "c.txt")] == [b"a", b"b", None, None]
    inner = path / "inner" / "a.txt"
    inner.chmod(0o644)
    inner.write_text("c")
    assert [(within(one, "inner/a.txt"), within(one, "b.txt")) for one in caches] == [(None, b"b")] * 2
    path.chmod(0o755)  # what a change of the directory itself is taken for
    assert [within(one, "b.txt") for one in caches] == [None] * 2
    assert len(calls) == 1
    assert (get(Cache(place, LARGE)) / "inner" / "a.txt").read_text() == "a"
    inner.parent.chmod(0o755)
    (path / "inner" / "more.txt").write_text("")
    assert not (get(Cache(place, LARGE)) / "inner" / "more.txt").exists()
    assert len(calls) == 3
    Cache(place, 1).space.clear()
    assert not path.exists()
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        (path / "b.txt").open()  # not as if there never was such a file
    assert Cache(place, 1).space.stored() == []
    assert content_of(get(Cache(place, LARGE))) == {"inner/a.txt", "b.txt"}
    Cache(place, 1).space.clear()
    os.utime(path, (0, 0), follow_symlinks=False)  # long ago
    Cache(place, 1).space.clear()
    assert not path.parent.exists()


def content_of(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}


def test_what_fails_leaves_nothing_and_is_raised(place: Path, store: Store) -> None:
    def fill(target: Path) -> None:
        target.write_bytes(b"half of it")
        raise StorageUnavailableError("no network")

    kept = Cache(place, 10)
    with pytest.raises(StorageUnavailableError, match="no network"):
        kept.get(digest_of(b"spikes"), "a.dat", 6, fill)
    assert not leftovers(place)
    assert int((place / "total").read_text()) == 0
    assert store.get(kept, b"spikes").read_bytes() == b"spikes"


# many at once


def _ask(place: Path, store: Store, contents: list[bytes]) -> None:
    kept = Cache(place, LARGE)
    assert [store.get(kept, content).read_bytes() for content in contents] == contents


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_of_eight_that_ask_at_once_one_brings_it(kind: str, place: Path, tmp_path: Path) -> None:
    store = Store(tmp_path, seconds=0.02)
    contents = [f"file {number}".encode() for number in range(20)]
    if kind == "threads":
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: _ask(place, store, contents), range(8)))
    else:
        children = [FORK.Process(target=_ask, args=(place, store, contents)) for _ in range(8)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
    assert store.count == 20
    assert int((place / "total").read_text()) == sum(map(len, contents))


def test_child_that_was_forked_meanwhile_does_not_hold_the_lock(place: Path, store: Store) -> None:
    kept, is_begun, may_end = Cache(place, LARGE), threading.Event(), threading.Event()

    def fill(target: Path) -> None:
        is_begun.set()
        assert may_end.wait(10)
        target.write_bytes(b"spikes")

    thread = threading.Thread(target=kept.get, args=(digest_of(b"spikes"), "a.dat", 6, fill))
    thread.start()
    assert is_begun.wait(10)
    child = FORK.Process(target=time.sleep, args=(60,))
    child.start()
    may_end.set()
    thread.join()
    digest = digest_of(b"spikes")[:3] + "0" * 61  # of the same lock
    kept.get(digest, "b.dat", 6, store.fill(b"spikes"))
    child.kill()
    child.join()


def test_kill_while_an_entry_is_brought_leaves_nothing_wrong(place: Path, store: Store) -> None:
    def fill(target: Path) -> None:
        target.write_bytes(b"spi")
        os.kill(os.getpid(), signal.SIGKILL)

    child = FORK.Process(target=Cache(place, 10).get, args=(digest_of(b"spikes"), "a.dat", 6, fill))
    child.start()
    child.join()
    (left,) = place.glob("??/.*.partial")
    assert store.get(Cache(place, 10), b"spikes").read_bytes() == b"spikes"
    os.utime(left / "a.dat", (0, 0))
    os.utime(left, (0, 0))  # long ago
    assert store.get(Cache(place, 10), b"others").read_bytes() == b"others"  # needs room, and so looks what there is
    assert not leftovers(place)
    assert used(place) <= 10


def test_what_is_written_deep_in_a_directory_is_not_removed_where_there_are_no_locks(place: Path, store: Store) -> None:
    store.get(Cache(place, 10), b"spikes")
    digest = digest_of(b"others")
    new = place / digest[:2] / f".{digest}-6-{'0' * 16}.partial"
    (new / "run.zarr" / "a" / "b").mkdir(parents=True)
    (new / "run.zarr" / "a" / "b" / "0.0").touch()
    for path in (new / "run.zarr" / "a" / "b", new / "run.zarr" / "a", new / "run.zarr", new):
        os.utime(path, (0, 0))
    store.get(Cache(place, 10), b"x" * 9)  # looks what there is
    assert (new / "run.zarr" / "a" / "b" / "0.0").exists()
    os.utime(new / "run.zarr" / "a" / "b" / "0.0", (0, 0))
    store.get(Cache(place, 10), b"y" * 9)
    assert not leftovers(place)


# the limit


def test_ten_thousand_accesses_keep_the_limit_within_three_files(place: Path, store: Store) -> None:
    choose, size, most = random.Random(7), 64, 0
    contents = [f"{number:0{size}}".encode() for number in range(500)]
    limit = len(contents) * size // 10
    kept = Cache(place, limit)
    for turn in range(10_000):
        content = choose.choice(contents[:15] if choose.random() < 0.95 else contents)
        assert store.get(kept, content).stat().st_size == size
        if turn % 100 == 0:
            most = max(most, used(place))
    assert 0 < most <= limit + 3 * size
    assert 500 < store.count < 1_000


def test_what_was_used_longest_ago_goes_first(place: Path, store: Store) -> None:
    kept = Cache(place, 30)
    paths = [store.get(kept, content) for content in (b"1" * 10, b"2" * 10, b"3" * 10)]
    for age, path in zip((50, 500, 5000), paths, strict=True):
        os.utime(path.parent.with_suffix(".json"), (time.time() - age,) * 2)
    store.get(Cache(place, 30), b"3" * 10)  # notes that it is used now
    new = store.get(Cache(place, 30), b"4" * 5)
    assert [path.exists() for path in (*paths, new)] == [True, False, True, True]


def test_file_that_is_larger_than_the_limit_is_given_all_the_same(place: Path, store: Store) -> None:
    kept = Cache(place, 10)
    old, small, large = (store.get(kept, content) for content in (b"old", b"small", b"larger than that"))
    assert large.read_bytes() == b"larger than that"
    assert [path.exists() for path in (old, small)] == [False, True]  # the last that was given is in use
    assert store.get(kept, b"old").read_bytes() == b"old"
    assert [path.exists() for path in (small, large)] == [False, True]


def test_total_that_is_lost_is_counted_anew(place: Path, store: Store) -> None:
    for content in (b"1" * 4, b"2" * 4, b"3" * 4):
        store.get(Cache(place, 10), content)
        (place / "total").write_text("no number")
    assert used(place) <= 10


def test_total_that_is_lost_while_a_transfer_fails_is_not_taken_for_nothing(place: Path, store: Store) -> None:
    def lose(_: Path) -> None:
        (place / "total").write_text("")
        raise StorageUnavailableError("gone")

    store.get(Cache(place, 10), b"1" * 8)
    with pytest.raises(StorageUnavailableError):
        Cache(place, 10).get(digest_of(b"x"), "x.dat", 1, lose)
    store.get(Cache(place, 10), b"2" * 8)
    assert used(place) <= 10


# what several do


def test_reads_wait_for_the_entry_that_they_want_and_for_no_other_of_its_lock(place: Path, store: Store) -> None:
    kept, lent = Cache(place, LARGE), Cache(place, LARGE)
    mine, other = "abc" + "1" * 61, "abc" + "2" * 61
    assert not kept.await_transfer(mine)
    is_begun, may_end = threading.Event(), threading.Event()
    looks: list[int] = []

    def slow(target: Path) -> None:
        is_begun.set()
        assert may_end.wait(20)
        store.fill(b"spikes")(target)

    def look() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise StorageUnavailableError("nobody waits any more")

    bringing = threading.Thread(target=lent.get, args=(mine, "a.dat", 6, slow))
    bringing.start()
    try:
        assert is_begun.wait(20)
        assert not kept.await_transfer(other)
        with pytest.raises(StorageUnavailableError):
            kept.await_transfer(mine, look)
        threading.Timer(0.1, may_end.set).start()
        assert kept.await_transfer(mine)
        assert (place / "ab" / mine / "a.dat").exists()
    finally:
        may_end.set()
        bringing.join()
    assert not kept.await_transfer(mine)


@pytest.mark.parametrize("fails", [False, True])
def test_who_links_an_entry_tells_the_cache_also_if_that_fails(
    place: Path, store: Store, tmp_path: Path, fails: bool
) -> None:
    kept = Cache(place, LARGE)
    path = store.get(kept, b"spikes")
    try:
        with kept.relinked(path) as is_entry:
            os.link(path, tmp_path / "link.dat")
            if fails:
                raise OSError(errno.EMLINK, "no more")
    except CacheError:
        assert fails
    assert is_entry
    for one in (kept, Cache(place, LARGE)):
        assert store.get(one, b"spikes") == path
    assert store.count == 1


# what somebody has


def tree_of(size: int, *names: str) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        for name in names or ("c/0", "c/1"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(b"x" * size)

    return write


def get_tree(kept: Cache, number: int, **how: Any) -> Path:
    return kept.get(f"{number:02x}" * 32, f"{number}.zarr", 200, tree_of(100), **how)


@pytest.mark.parametrize("has_exchange", [True, False])
def test_directory_that_was_given_stays_whoever_needs_room(
    place: Path, store: Store, has_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_exchange:
        monkeypatch.setattr(rename, "_renameat2", None)
    kept, other = Cache(place, 300), Cache(place, 300)
    first, second, third = (get_tree(kept, number) for number in (1, 2, 3))  # too many for the limit
    assert [path.exists() for path in (first, second, third)] == [False, True, True]  # the last one is in use
    for number in range(4, 6):
        get_tree(other, number)
    store.get(other, b"x" * 300)
    assert content_of(third) == {"c/0", "c/1"}
    assert [one.digest[:2] for one in other.space.clear()] == ["03", "05"]
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        (first / "c" / "0").open()
    del kept  # as when its process ends
    gc.collect()
    assert [one.digest[:2] for one in Cache(place, 300).space.clear()] == ["05"]
    assert not list(place.glob("??/.*"))


def _hold_until(place: Path, is_ready: Any, may_end: Any) -> None:
    kept = Cache(place, LARGE)
    get_tree(kept, 1)
    store_of_child = Store(place.parent)
    store_of_child.get(kept, b"spikes")
    is_ready.set()
    may_end.wait(30)


def test_what_another_process_was_given_stays_until_it_ends(place: Path, store: Store) -> None:
    is_ready, may_end = FORK.Event(), FORK.Event()
    child = FORK.Process(target=_hold_until, args=(place, is_ready, may_end))
    child.start()
    assert is_ready.wait(30)
    assert len(Cache(place, LARGE).space.clear()) == 2
    child.kill()
    child.join()
    assert Cache(place, LARGE).space.clear() == []


def test_child_made_by_fork_holds_what_its_parent_was_given(place: Path) -> None:
    kept = Cache(place, LARGE)
    path = get_tree(kept, 1)
    child = FORK.Process(target=time.sleep, args=(60,))
    child.start()
    del kept
    gc.collect()
    assert len(Cache(place, LARGE).space.clear()) == 1
    child.kill()
    child.join()
    assert Cache(place, LARGE).space.clear() == []
    assert not path.exists()


def test_no_more_is_held_than_the_last_of_each_thread_and_a_quarter(place: Path, store: Store) -> None:
    kept = Cache(place, 100 * BLOCK_BYTES)  # of which each tree takes two and a bit
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for number in range(1, 60):
        get_tree(kept, number, room=3 * BLOCK_BYTES)
        store.get(kept, b"%d" % number)
    assert len(os.listdir("/proc/self/fd")) - before == 8 + 8  # noqa: PTH208
    with ThreadPoolExecutor(3) as pool:
        barrier = threading.Barrier(3)

        def take(number: int) -> None:
            barrier.wait(10)
            get_tree(kept, number, room=40 * BLOCK_BYTES)
            barrier.wait(10)

        list(pool.map(take, (61, 62, 63)))
        assert {one.digest[:2] for one in Cache(place, LARGE).space.clear() if one.size > 100} == {
            f"{number:02x}" for number in (59, 61, 62, 63)
        }


def test_what_is_brought_ahead_does_not_take_the_place_of_what_is_in_use(place: Path) -> None:
    limit = 4 * BLOCK_BYTES * 3
    kept, room = Cache(place, limit), 3 * BLOCK_BYTES + 200
    in_use = get_tree(kept, 1, room=room)
    ahead = [get_tree(kept, number, room=room, is_ahead=True) for number in (2, 3)]
    with pytest.raises(NoRoomError):
        get_tree(kept, 4, room=room, is_ahead=True)
    assert all(path.exists() for path in (in_use, *ahead))
    kept.release("02" * 32)
    kept.release("01" * 32)  # which somebody has asked for
    paths = [get_tree(kept, 4, room=room, is_ahead=True), in_use, *ahead]
    assert [path.exists() for path in paths] == [True, True, False, True]
    with pytest.raises(NoRoomError):
        get_tree(kept, 5, room=limit + 1, is_ahead=True)
    assert not list(place.glob("??/.*"))


def test_what_was_brought_ahead_makes_room_for_what_is_used_now(place: Path) -> None:
    kept, room = Cache(place, 4 * BLOCK_BYTES * 3), 3 * BLOCK_BYTES + 200
    in_use = get_tree(kept, 1, room=room)
    ahead = [get_tree(kept, number, room=room, is_ahead=True) for number in (2, 3)]
    wanted = get_tree(kept, 4, room=room)
    assert (in_use.exists(), wanted.exists()) == (True, True)
    assert sum(path.exists() for path in ahead) <= 1
    assert len(kept.space.stored()) <= 3


def test_where_there_are_no_locks_what_was_used_lately_stays(
    place: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = get_tree(Cache(place, 10), 1)
    store.get(Cache(place, 10), b"spikes")
    assert path.exists()
    os.utime(path.parent.with_suffix(".json"), (time.time() - 1000,) * 2)
    store.get(Cache(place, 10), b"others")
    assert not path.exists()


@pytest.mark.parametrize("has_exchange", [True, False])
def test_directory_that_is_brought_again_is_never_missing(
    place: Path, has_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_exchange:
        monkeypatch.setattr(rename, "_renameat2", None)
    kept, missing, stop = Cache(place, LARGE), [], threading.Event()
    path = get_tree(kept, 1)

    def look() -> None:
        while not stop.is_set():
            try:
                os.lstat(f"{path}/c/0")
            except FileNotFoundError:
                missing.append(1)

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(20):
        path.joinpath("c").chmod(0o755)
        path.joinpath("c", "more").touch()
        assert content_of(get_tree(Cache(place, LARGE), 1)) == {"c/0", "c/1"}
    stop.set()
    thread.join()
    assert not (missing and has_exchange)
    assert len(Cache(place, LARGE).space.stored()) == 1
    assert Cache(place, LARGE).space.clear()[0].size == 200 + 3 * BLOCK_BYTES  # `kept` has it still


def test_links_count_and_go_when_nobody_has_used_them_for_long(place: Path, tmp_path: Path) -> None:
    def get(kept: Cache, number: int) -> Path:
        target = tmp_path / "object"
        return kept.get(f"{number:02x}" * 32, "a b.txt", 0, lambda path: path.symlink_to(target), room=BLOCK_BYTES)

    def get_links(kept: Cache) -> Path:
        def link_all(path: Path) -> None:
            path.mkdir()
            for name in "abc":
                (path / name).symlink_to(tmp_path / name)

        return kept.get("ff" * 32, "run", 0, link_all, room=3 * BLOCK_BYTES)

    for number in range(1, 40):
        get(Cache(place, 10 * BLOCK_BYTES), number)
    assert len(list(place.glob("??/*/*"))) <= 10
    get_links(Cache(place, LARGE))
    stored = Cache(place, LARGE).space.stored()
    assert (stored[-1].size, sum(one.has_links for one in stored)) == (3 * BLOCK_BYTES, len(stored))
    for record in place.glob("??/*.json"):
        os.utime(record, (0, 0))
    Cache(place, LARGE).space.free(0)
    assert Cache(place, LARGE).space.stored() == []


def test_what_claims_much_is_looked_at_before_others_go_for_it(place: Path, store: Store) -> None:
    def refuse() -> None:
        raise SizeMismatchError("it has 1 byte")

    kept = Cache(place, 1000)
    paths = [store.get(kept, b"%d" % number) for number in range(10)]
    with pytest.raises(SizeMismatchError):
        kept.get("ab" * 32, "a.dat", 2**62, store.fill(b"1"), prove=refuse)
    kept.get("ab" * 32, "a.dat", 1, store.fill(b"1"), prove=refuse)  # of so little nothing is asked
    assert all(path.exists() for path in paths)


# a disk that is full, rights


def _full(target: Path) -> None:
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise DestinationError(f"{target} cannot be written: No space left on device") from error


def test_full_disk_lets_others_go_first_and_then_names_cache_and_setting(place: Path, store: Store) -> None:
    kept = Cache(place, LARGE)
    old, last = store.get(kept, b"old"), store.get(kept, b"last")

    def fill(target: Path) -> None:
        if old.exists():
            _full(target)
        target.write_bytes(b"spikes")

    assert kept.get(digest_of(b"spikes"), "a.dat", 6, fill).read_bytes() == b"spikes"
    assert last.exists()
    with pytest.raises(CacheError, match=r"is full: 6 B are needed") as caught:
        kept.get(digest_of(b"others"), "a.dat", 6, _full)
    for part in (str(place), "[cache]", "DATAJOINT_FILE__CACHE__PATH", "1.0 GB"):
        assert part in str(caught.value)
    assert not leftovers(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_disk_that_is_really_full(tmp_path: Path, in_child: InChild) -> None:
    in_child(_on_a_small_disk, tmp_path)


def _on_a_small_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m none {disk}"):
        return
    try:
        store, kept = Store(tmp_path), Cache(disk / "cache", LARGE)
        contents = [bytes([number]) * 300_000 for number in range(8)]
        for content in contents:
            assert store.get(kept, content).read_bytes() == content
        with pytest.raises(CacheError, match="is full"):
            store.get(kept, b"9" * 2_000_000)
        assert store.get(kept, contents[0]).read_bytes() == contents[0]
    finally:
        kept.space.leases.forget_files()  # they are open
        assert os.system(f"umount {disk}") == 0


def test_directory_of_others_is_not_trusted(place: Path, store: Store, tmp_path: Path) -> None:
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(CacheError, match=r"others may write to it.*\[cache\]"):
        store.get(Cache(place, LARGE), b"spikes")
    place.chmod(0o700)
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(CacheError, match="is a link"):
        store.get(Cache(tmp_path / "link", LARGE), b"spikes")
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot be used.*\[cache\]"):
        store.get(Cache(tmp_path / "file", LARGE), b"spikes")
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
        with pytest.raises(CacheError, match="belongs to another user"):
            store.get(Cache(place, LARGE), b"spikes")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_entry_of_another_user_is_not_trusted(place: Path, store: Store) -> None:
    path = store.get(Cache(place, LARGE), b"spikes")
    os.chown(path, NOBODY, NOBODY)
    assert store.get(Cache(place, LARGE), b"spikes").stat().st_uid == 0
    os.chown(path.parent, NOBODY, NOBODY)
    assert store.get(Cache(place, LARGE), b"spikes").parent.stat().st_uid == 0
    assert store.count == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="is called otherwise")
def test_user_whom_a_server_calls_otherwise_has_a_cache_and_trusts_nobody_else(
    public_directory: Path, in_child: InChild
) -> None:
    (public_directory / "own").mkdir()
    os.chown(public_directory / "own", NOBODY, NOBODY)
    in_child(_called_nobody, public_directory / "own")


def _called_nobody(place: Path) -> None:
    """Use a cache as who is root here, and whose files are another one's: so does a server that squashes users."""
    store = Store(place)
    os.chown(store.calls, NOBODY, NOBODY)
    ctypes.CDLL(None).setfsuid(NOBODY)
    path = store.get(Cache(place / "cache", LARGE), b"spikes")
    assert (os.geteuid(), path.stat().st_uid) == (0, NOBODY)
    assert store.get(Cache(place / "cache", LARGE), b"spikes", "b.dat").read_bytes() == b"spikes"
    assert store.get(Cache(place / "cache", LARGE), b"spikes") == path
    assert store.count == 1
    assert not [left for left in (place / "cache").iterdir() if left.is_file() and left.name != "CACHEDIR.TAG"][1:]
    ctypes.CDLL(None).setfsuid(0)
    os.chown(path, NOBODY - 1, NOBODY)
    os.chown(place / "cache" / "total", NOBODY, NOBODY)
    ctypes.CDLL(None).setfsuid(NOBODY)
    assert store.get(Cache(place / "cache", LARGE), b"spikes").stat().st_uid == NOBODY
    assert store.count == 2
    ctypes.CDLL(None).setfsuid(0)
    os.chown(place / "cache", NOBODY - 1, NOBODY)
    (place / "cache").chmod(0o755)
    with pytest.raises(CacheError, match="belongs to another user"):
        store.get(Cache(place / "cache", LARGE), b"spikes")


def test_clearing_leaves_what_is_none_of_the_caches(
    place: Path, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__PATH", str(place))
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__SIZE", "1 kB")
    assert cache.path() == place
    assert not place.exists()
    assert cache.clear().entries == cache.usage().entries == 0
    for content in (b"1", b"23"):
        store.get(Cache(place, 1000), content)
    others = [place / "notes.txt", place / "ab" / "notes.txt", place / "data" / ("0" * 64)]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.touch()
    assert str(cache.usage()) == f"2 files, 3 B of 1.0 kB, in {place}"
    assert all(path.exists() for path in place.glob("??/*/a.dat"))
    gone = cache.clear()
    assert (gone.entries, gone.size) == (2, 3)
    assert (cache.usage().entries, used(place)) == (0, 0)
    assert all(other.exists() for other in others)
    assert (place / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_directory_with_other_things_is_not_made_a_cache(
    place: Path, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__PATH", str(place))
    raw = place / digest_of(b"spikes")[:2] / digest_of(b"spikes") / "raw.dat"
    raw.parent.mkdir(parents=True)
    raw.write_bytes(b"years of work")
    for path in (raw.parent, raw.parent.parent):
        path.chmod(0o777)
    before = sorted(place.rglob("*"))
    for act in (lambda: store.get(Cache(place, LARGE), b"spikes"), cache.clear):
        with pytest.raises(CacheError, match=r"is no cache: there is .* in it.*new or empty.*\[cache\]"):
            act()
    assert cache.usage().entries == 0
    (place / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n")
    with pytest.raises(CacheError, match="is no cache"):
        store.get(Cache(place, LARGE), b"spikes")
    (place / "CACHEDIR.TAG").unlink()
    assert sorted(place.rglob("*")) == before
    assert raw.read_bytes() == b"years of work"
    (tmp_path / "empty").mkdir()
    assert store.get(Cache(tmp_path / "empty", LARGE), b"spikes").exists()
    (tmp_path / "empty" / "locks").chmod(0o777)
    with pytest.raises(CacheError, match=r"locks is no directory of this user alone"):
        store.get(Cache(tmp_path / "empty", LARGE), b"others")


def test_place_and_size_are_those_of_the_configuration_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAJOINT_FILE__CACHE__PATH")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cache.path() == tmp_path / "datajoint-file"
    text = '[project]\nname = "lab"\n[storage]\nbackend = "file"\npath = "."\n[cache]\npath = "here"\nsize = "1.5 TB"\n'
    (tmp_path / "datajoint.toml").write_text(text)
    assert (cache.path(), cache.usage().limit) == (tmp_path / "here", 1_500_000_000_000)
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__SIZE", "lots")
    with pytest.raises(ConfigurationError, match=r"CACHE__SIZE: \[cache\] size = \"lots\": .*allowed: how many bytes"):
        cache.path()
    (tmp_path / "datajoint.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"CACHE__SIZE: \[cache\] size = \"lots\""):
        find_cache_settings(tmp_path)
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__SIZE", "7")
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__SIZES", "7")
    with pytest.raises(ConfigurationError, match="did you mean size"):
        find_cache_settings(tmp_path)
