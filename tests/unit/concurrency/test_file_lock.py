"""The file lock: between threads and processes, given up with its process, and no hindrance where there is none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from datajoint_file.concurrency.file_lock import FileLock, lock_if_free, locked

FORK = multiprocessing.get_context("fork")


def test_one_thread_at_a_time_is_in_the_block(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(5):
            with locked(tmp_path / "lock"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 40


def test_waiting_ends_by_what_is_raised_meanwhile(tmp_path: Path) -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise TimeoutError

    with locked(tmp_path / "lock", check):
        assert calls == []
        with pytest.raises(TimeoutError), locked(tmp_path / "lock", check):
            pass
    with lock_if_free(tmp_path / "lock") as is_free:
        assert is_free


def _hold(path: Path, mark: Path) -> None:
    with locked(path):
        mark.touch()
        time.sleep(60)


def test_killed_process_gives_the_lock_up(tmp_path: Path) -> None:
    child = FORK.Process(target=_hold, args=(tmp_path / "lock", tmp_path / "mark"), daemon=True)
    child.start()
    while not (tmp_path / "mark").exists():
        assert child.is_alive()
        time.sleep(0.01)
    with lock_if_free(tmp_path / "lock") as is_free:
        assert not is_free
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    with locked(tmp_path / "lock") as lock:
        assert lock
    child.join()


def test_block_runs_where_no_lock_can_be_had(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "lock", tmp_path):
        assert FileLock.opened(path) is None
        with locked(path) as lock, lock_if_free(path) as is_free:
            assert (lock, is_free) == (None, True)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert FileLock.opened(tmp_path / "link") is None
    assert not (tmp_path / "elsewhere").exists()
