"""What a process has once, and all its threads share: the working directory, and who may change it meanwhile.

Standard output is the other such thing: see `log`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datajoint_file.config.paths import working_elsewhere
from datajoint_file.errors import UnsupportedValueError


class Claim:
    """Mutual exclusion of threads that is refused, not waited for. A thread that has it may take it again.

    Parameters
    ----------
    what : str
        What it is about, for messages.
    instead : str
        What another thread can do.
    """

    def __init__(self, what: str, instead: str) -> None:
        self._what = what
        self._instead = instead
        self._forget_in_child()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_in_child)

    def _forget_in_child(self) -> None:
        """Begin anew: threads of a parent are not there in its child."""
        self._lock = threading.RLock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have it for a block.

        Raises
        ------
        UnsupportedValueError
            If another thread has it.
        """
        lock = self._lock
        if not lock.acquire(blocking=False):
            raise UnsupportedValueError(
                f"{self._what} is the whole process's, and another thread captures it at this moment: {self._instead}"
            )
        try:
            yield
        finally:
            lock.release()


def opened(path: str | Path, flags: int, mode: int = 0o777) -> int:
    """Open a file whose descriptor is none of standard input, output and error, also where these are closed."""
    descriptors: list[int] = []
    try:
        while not descriptors or descriptors[-1] <= _LAST_STANDARD:
            descriptors.append(os.open(path, flags, mode) if not descriptors else os.dup(descriptors[0]))
        return descriptors.pop()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


_LAST_STANDARD = 2

_claim = Claim("the working directory", "use run.path, with chdir=False, or processes instead of threads")


def is_main_thread() -> bool:
    """Tell whether this thread may be expected to change the working directory."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def working_in(directory: Path) -> Iterator[None]:
    """Make *directory* the working directory for a block; then it is what it was, even if that has no name any more.

    A ``datajoint.toml`` is looked for as before.

    Raises
    ------
    UnsupportedValueError
        If another thread has changed it, in such a block.
    """
    with _claim.held(), working_elsewhere():
        by_descriptor = os.chdir in os.supports_fd
        before = opened(".", os.O_RDONLY) if by_descriptor else os.getcwd()
        try:
            os.chdir(directory)
            try:
                yield
            finally:
                os.chdir(before)
        finally:
            if isinstance(before, int):
                os.close(before)
