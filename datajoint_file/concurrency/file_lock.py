"""Advisory file lock (``flock``) between processes and between threads.

The kernel gives it up when its process ends, however that is. A child made by fork has no part in it. Where none can be
had (no right to make the file, a file system without locks) work goes on without one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.001, 0.05
"""Between two attempts. A wait within the system could not be interrupted where a library has that begun again."""

Check = Callable[[], object]
"""Called now and then by who waits: what it raises ends that."""

_open: set[int] = set()
"""Descriptors of lock files in this process. Those of a parent are closed in its child, which would hold its locks."""


class FileLock:
    """A lock file, open; made by `opened`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.is_real = False  # once it is taken: whether there are locks here
        _open.add(descriptor)

    @classmethod
    def opened(cls, path: str | Path, mode: int = 0o666) -> FileLock | None:
        """Open a lock file, made if it is not there; None if that cannot be."""
        try:
            return cls(os.open(path, _OPEN, mode))
        except OSError:
            return None

    def take(self) -> bool:
        """Take the lock, without waiting for it; tell whether it is ours, or there are no locks here."""
        return self._taken() is not False

    def take_for_sure(self) -> bool:
        """Take the lock, without waiting for it; tell whether it is ours: not where there are no locks."""
        return self._taken() is True

    def _taken(self) -> bool | None:
        """Tell whether it is ours by now; None where there are no locks."""
        try:
            import fcntl  # not on Windows
        except ImportError:
            return None
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return None
        self.is_real = True
        return True

    def wait(self, check: Check | None = None) -> None:
        """Take the lock as soon as it can be had. Between attempts *check* is called, which may raise to end that."""
        wait_while(lambda: not self.take(), check)

    def close(self) -> None:
        """Give the lock up, if it is ours, and close the file."""
        if self.descriptor not in _open:  # this is a child, and the lock its parent's
            return
        _open.discard(self.descriptor)  # first: a child must not close what bears the number next
        os.close(self.descriptor)


def wait_while(is_so: Callable[[], bool], check: Check | None = None) -> bool:
    """Wait until something is not so any more; tell whether it ever was. Between two looks *check* is called."""
    seconds = 0.0
    while is_so():
        if check is not None:
            check()
        seconds = min(max(seconds * 1.5, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        time.sleep(seconds)
    return seconds > 0


@contextmanager
def locked(path: str | Path, check: Check | None = None) -> Iterator[FileLock | None]:
    """Run the block with the lock of this file, waiting for whoever has it; it is told which that is, if there is.

    While it waits, it calls *check* now and then, which may raise to end that.
    """
    lock = FileLock.opened(path, 0o600)
    try:
        if lock is not None:
            lock.wait(check)
        yield lock
    finally:
        if lock is not None:
            lock.close()


@contextmanager
def lock_if_free(path: str | Path) -> Iterator[bool]:
    """Run the block with the lock of this file if nobody else has it, and without it otherwise; it is told."""
    lock = FileLock.opened(path, 0o600)
    try:
        yield lock is None or lock.take()
    finally:
        if lock is not None:
            lock.close()


def share(descriptor: int) -> bool:
    """Hold a lock with others until the file is closed; False if somebody has it alone.

    Children made by fork hold it as well. Where there are no locks, it is none.
    """
    try:
        import fcntl  # not on Windows

        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _close_in_child() -> None:
    for descriptor in tuple(_open):
        os.close(descriptor)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
