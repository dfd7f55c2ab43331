"""A tree of a hundred thousand files: stored though its first writer is killed, read in place, and out again equal."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.collector.collecting import make_older
from tests.projects import Store, over_all_stores

pytestmark = [pytest.mark.release, pytest.mark.timeout(8 * 3600)]

FILES = int(os.environ.get("FILES", "100000"))
KILLED_AFTER = FILES // 2000
"""Seconds."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Many small files in folders of a thousand, a few larger ones, an empty folder."""
    chance = random.Random(11)
    root = tmp_path / "sorting"
    for n in range(FILES):
        path = root / f"{n // 1000:03}" / f"unit-{n:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 100, 1000, 4000])))
    (root / "recording.dat").write_bytes(chance.randbytes(20 << 20))
    (root / "empty").mkdir()
    return root


@over_all_stores
def test_tree_survives_a_kill_is_read_in_place_and_comes_out_equal(
    table: Any, store: Store, tree: Path, tmp_path: Path
) -> None:
    connection = table.connection

    def insert() -> None:
        connection.connect()
        table.insert1({"id": 1, "raw": tree})

    first = multiprocessing.get_context("fork").Process(target=insert)
    first.start()
    first.join(KILLED_AFTER)
    assert first.exitcode is None, "it was too fast to be killed"
    os.kill(first.pid or 0, signal.SIGKILL)
    first.join()
    connection.connect()
    assert len(table()) == 0
    make_older(connection, table.database, "~file_intent", "lease_until")

    before = time.monotonic()
    table.insert1({"id": 1, "raw": tree})
    stored = time.monotonic()

    ref = table.fetch1("raw")
    for path in random.Random(12).sample([path for path in tree.rglob("*") if path.is_file()], 100):
        assert (ref / path.relative_to(tree).as_posix()).read() == path.read_bytes()
    reading = time.monotonic()
    copy = ref.download(tmp_path / "out")
    downloaded = time.monotonic()

    subprocess.run(["diff", "-r", tree, copy], check=True)
    manifest = tmp_path / "manifest"
    manifest.write_bytes(store.content(f"{ref.path.rstrip('/').rpartition('/')[0]}/~manifest"))
    subprocess.run(["sha256sum", "-c", "--strict", "--quiet", manifest], cwd=copy, check=True)
    print(f"up {stored - before:.0f} s, down {downloaded - reading:.0f} s, 100 read in {reading - stored:.1f} s")
