"""Several threads and processes at one store.

Races are arranged, not hoped for: readers wait for each other in the middle of their uploads.
"""

from __future__ import annotations

import io
import os
import select
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from datajoint_file.errors import ObjectExistsError, UploadCorruptedError
from datajoint_file.storage import StorageBackend
from datajoint_file.testing.conformance.fixtures import BackendFixtures, read
from datajoint_file.testing.raw import RawStore
from datajoint_file.testing.readers import SlowReader, generated

WATCHDOG_SECONDS = 30
_RACERS = 4


class ConcurrencyTests(BackendFixtures):
    """What several threads and processes at one store may rely on."""

    @pytest.mark.parametrize("parts", [0, 2])
    def test_of_racing_uploads_one_wins(self, backend: StorageBackend, raw: RawStore, key: str, parts: int) -> None:
        start = threading.Barrier(_RACERS, timeout=WATCHDOG_SECONDS)
        contents = [bytes([racer]) * (parts * self.part_size + 9) for racer in range(_RACERS)]

        def race(content: bytes) -> bytes | None:
            waits = iter([start.wait])
            try:
                backend.upload(key, SlowReader(content, lambda: next(waits, int)()))
            except (ObjectExistsError, UploadCorruptedError):  # refused, or found out that the bytes are another's
                return None
            return content

        with ThreadPoolExecutor(_RACERS) as pool:
            stored = [content for content in pool.map(race, contents) if content is not None]
        assert stored
        assert raw.get(key) in stored
        if backend.capabilities.atomic_create and (parts == 0 or self.races_in_parts):
            assert len(stored) == 1
        assert not raw.unfinished(key.rpartition("/")[0])

    def test_all_verbs_work_from_several_threads_at_once(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        start = threading.Barrier(8, timeout=WATCHDOG_SECONDS)

        def work(number: int) -> None:
            start.wait()
            for turn in range(3):
                key = f"{prefix}/{number}/{turn}"
                content = generated(1000 * number + turn)
                backend.upload(key, io.BytesIO(content))
                assert read(backend, key) == content
                assert backend.stat(key).size == len(content)
                assert [found.key for found in backend.list(key)] == [key]
            backend.delete(f"{prefix}/{number}/0")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert set(raw.keys(prefix)) == {f"{prefix}/{number}/{turn}" for number in range(8) for turn in (1, 2)}

    def test_threads_read_one_object_at_once(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        raw.put(key, generated(100_000))
        start = threading.Barrier(4, timeout=WATCHDOG_SECONDS)

        def read(number: int) -> bytes:
            with backend.open(key, block_size=2**12) as file:
                start.wait()
                file.seek(number)
                return b"".join(iter(lambda: file.read(977), b""))

        with ThreadPoolExecutor(4) as pool:
            for number, content in enumerate(pool.map(read, range(4))):
                assert content == generated(100_000)[number:]

    def test_failing_uploads_do_not_disturb_others_beside_them(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        def work(number: int) -> None:
            content = io.BytesIO(b"spikes")
            for turn in range(5):
                if number % 2:
                    backend.upload(f"{prefix}/{number}-{turn}", content)
                    backend.delete(f"{prefix}/{number}-{turn}")
                    content.seek(0)
                else:
                    with pytest.raises(ZeroDivisionError):
                        backend.upload(f"{prefix}/{number}-{turn}", SlowReader(b"noise", lambda: 1 // 0))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert not raw.keys(prefix)
        assert not raw.unfinished(prefix)

    def test_forked_child_uses_what_its_parent_has_used(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        backend.upload(f"{prefix}/parent", io.BytesIO(b"spikes"))
        assert read(backend, f"{prefix}/parent") == b"spikes"

        def work() -> None:
            assert read(backend, f"{prefix}/parent") == b"spikes"
            backend.upload(f"{prefix}/child", io.BytesIO(b"more spikes"))
            assert [found.size for found in backend.list(f"{prefix}/child")] == [11]
            assert backend.exists(f"{prefix}/nothing") is False

        in_forked_child(work)
        assert read(backend, f"{prefix}/parent") == b"spikes"
        if not self.in_process:
            assert raw.get(f"{prefix}/child") == b"more spikes"


def in_forked_child(work: Callable[[], object]) -> None:
    """Do *work* in a forked child, and fail if it fails, or takes longer than any of it should."""
    status, report = forked(work)
    assert status == 0, report


def forked(work: Callable[[], object]) -> tuple[int, str]:
    """Do *work* in a forked child; return its exit status, negative for a signal, and the traceback of its failure."""
    inlet, outlet = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tried
        child = os.fork()
    if child == 0:
        _work_and_exit(work, outlet)
    os.close(outlet)
    ready, _, _ = select.select([inlet], [], [], WATCHDOG_SECONDS)
    if not ready:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(inlet) as reports:
        report = reports.read() if ready else f"the forked child still hung after {WATCHDOG_SECONDS} seconds"
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), report


def _work_and_exit(work: Callable[[], object], outlet: int) -> None:
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent reports it
        os.write(outlet, traceback.format_exc()[-4000:].encode())
    finally:
        os._exit(status)
