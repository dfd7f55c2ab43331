"""Which paths a process has flushed to the disk: the calls are real, and noted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datajoint_file.storage.disk import syncfs


class Flushed:
    """What was flushed, in order; everything, by one call, is ``all``."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def has(self, path: Path) -> bool:
        """Tell whether a file was flushed, or the names in a directory."""
        return str(path) in self.paths or "all" in self.paths


@contextmanager
def flushes_noted(flushed: Flushed) -> Iterator[None]:
    """Note what is flushed in the block, by any thread of this process."""
    fsync, sync = os.fsync, syncfs.syncfs

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        flushed.paths.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def noted_sync(descriptor: int) -> None:
        sync(descriptor)
        flushed.paths.append("all")

    os.fsync, syncfs.syncfs = noted_fsync, noted_sync  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync, syncfs.syncfs = fsync, sync
