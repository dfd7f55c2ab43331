"""The files that are inserted: random bytes, made once for a run, in the page cache when a case begins.

They are kept as long as the run: the rounds of one comparison, or series, use the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.values import MEBI, Workload

_STEP = 4 * MEBI


class Sources:
    """Make source files in a directory of their own.

    Parameters
    ----------
    directory : Path
        Where; on the disk that is measured.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self.small_file = directory / "before.bin"
        self.small_file.write_bytes(os.urandom(1024))

    def files(self, workload: Workload) -> Path:
        """Return a directory with the files of a workload; it is empty if that is of rows only."""
        number = workload.number if workload.size else 0
        directory = self._directory / f"{number}x{workload.size}"
        if not directory.exists():
            self._make(directory, number, workload.size)
        _read_all(directory)
        return directory

    def _make(self, directory: Path, number: int, size: int) -> None:
        directory.mkdir()
        for index in range(number):
            with (directory / f"{index:08d}.bin").open("wb") as file:
                for start in range(0, size, _STEP):
                    file.write(os.urandom(min(_STEP, size - start)))
        os.sync()


def _read_all(directory: Path) -> None:
    buffer = memoryview(bytearray(_STEP))
    for path in directory.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
