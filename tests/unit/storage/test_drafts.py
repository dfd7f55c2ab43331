"""Files that appear together: after all are flushed, whatever becomes of one of them, and none when interrupted."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datajoint_file.errors import DestinationError
from datajoint_file.storage.disk import drafts, syncfs
from datajoint_file.storage.disk.drafts import MOST_FILES, Batch, Draft
from datajoint_file.transfer.atomic_write import atomic_write


@pytest.fixture(autouse=True)
def any_file_system_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files wait wherever the tests run; what cannot be flushed by one call is flushed one by one."""
    monkeypatch.setattr(syncfs, "has_journal", lambda descriptor: True)


def bring(directory: Path, number: int, arrivals: Batch) -> None:
    with atomic_write(directory / f"{number}.dat", arrivals.add) as new:
        new.write(0, b"%d" % number)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def expected(*numbers: int) -> dict[str, bytes]:
    return {f"{number}.dat": b"%d" % number for number in numbers}


def test_no_file_has_its_name_before_it_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[int] = set()
    really_flush, really_publish = os.fsync, Draft.publish

    def fsync(descriptor: int) -> None:
        really_flush(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    def publish(new: Draft) -> None:
        assert os.fstat(new.descriptor).st_ino in flushed
        really_publish(new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Draft, "publish", publish)
    with Batch() as arrivals:
        for number in range(5):
            bring(tmp_path, number, arrivals)
        assert not [name for name in contents(tmp_path) if name.endswith(".dat")]
    assert contents(tmp_path) == expected(*range(5))


def test_the_witness_of_a_common_flush_was_opened_before_any_byte_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, int]] = []

    def flush_together(witness: int, count: int, size: int) -> bool:
        assert not [name for name in contents(tmp_path) if name.endswith(".dat")]
        seen.append((os.fstat(witness).st_ino, count, size))
        return original(witness, count, size)

    original = syncfs.flush_together
    monkeypatch.setattr(syncfs, "flush_together", flush_together)
    monkeypatch.setattr(syncfs, "ENOUGH_FILES", 1)
    with Batch() as arrivals:
        with atomic_write(tmp_path / "slow.dat", arrivals.add) as slow:
            inode = os.fstat(slow.descriptor).st_ino
            for number in range(20):
                bring(tmp_path, number, arrivals)
            slow.write(0, b"slow")
    assert seen == [(inode, 21, 34)]
    assert contents(tmp_path) == {**expected(*range(20)), "slow.dat": b"slow"}


def test_a_file_that_cannot_be_named_leaves_nothing_and_harms_no_other(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match=r"3\.dat"), Batch() as arrivals:
        for number in range(6):
            bring(tmp_path, number, arrivals)
        (tmp_path / "3.dat").mkdir()
    assert contents(tmp_path) == expected(0, 1, 2, 4, 5)


def test_what_is_complete_stays_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of another file"), Batch() as arrivals:
        bring(tmp_path, 1, arrivals)
        with atomic_write(tmp_path / "half.dat", arrivals.add) as new:
            new.write(0, b"half")
            raise ValueError("of another file")
    assert contents(tmp_path) == expected(1)


def test_the_first_error_is_the_one_that_is_raised(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the first"), Batch() as arrivals:
        bring(tmp_path, 1, arrivals)
        (tmp_path / "1.dat").mkdir()
        raise ValueError("the first")
    assert contents(tmp_path) == {}


def test_an_interrupt_leaves_nothing_that_waits(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Batch() as arrivals:
        for number in range(3):
            bring(tmp_path, number, arrivals)
        raise KeyboardInterrupt
    assert contents(tmp_path) == {}


def test_an_interrupted_flush_leaves_nothing_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(drafts, "_flush_together", interrupted)
    with pytest.raises(KeyboardInterrupt), Batch() as arrivals:
        bring(tmp_path, 1, arrivals)
    assert contents(tmp_path) == {}


def test_no_more_than_so_many_wait(tmp_path: Path) -> None:
    with Batch() as arrivals:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: bring(tmp_path, number, arrivals), range(MOST_FILES + 3)))
        assert len([name for name in contents(tmp_path) if name.endswith(".dat")]) == MOST_FILES
    assert contents(tmp_path) == expected(*range(MOST_FILES + 3))


def test_a_large_file_does_not_wait(tmp_path: Path) -> None:
    content = bytes(4 * 2**20)
    with Batch() as arrivals:
        with atomic_write(tmp_path / "large.dat", arrivals.add) as new:
            new.write(0, content)
        assert contents(tmp_path) == {"large.dat": content}


def test_no_second_file_waits_where_nothing_is_gained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncfs, "has_journal", lambda descriptor: False)
    with Batch() as arrivals:
        bring(tmp_path, 1, arrivals)
        bring(tmp_path, 2, arrivals)
        assert expected(2).items() <= contents(tmp_path).items()
    assert contents(tmp_path) == expected(1, 2)


def test_no_file_at_all_is_no_work() -> None:
    with Batch():
        pass
