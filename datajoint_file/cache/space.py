"""Disk space of a cache: a running total under a lock, and eviction of what was used longest ago when it is too much.

Only then is looked what there is; what killed processes have left goes as well. What an entry is, `entries` says.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from datajoint_file.concurrency.file_lock import FileLock, lock_if_free, locked

_SHELF = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"([0-9a-f]{64})(?:\.json)?")
_PARTIAL = re.compile(r"\.[0-9a-f]{64}-[0-9]{1,19}-[0-9a-f]{16}\.partial")

_LOCK_CHARACTERS = 3
"""Of a digest: entries that begin alike are brought one after the other, and there are no more lock files than that."""

_FULL_TENTHS = 9
"""To so many tenths of the limit it is emptied, so that not each new entry has to look what there is."""

_IDLE_SECONDS = 600.0
"""Where a file system has no locks, what nobody has written to for so long is nobody's."""


@dataclass(frozen=True, slots=True, order=True)
class Stored:
    """An entry as it was found: the one that was used longest ago comes first."""

    used: float
    digest: str
    size: int


class Space:
    """So many bytes of a directory.

    Parameters
    ----------
    directory : Path
        The cache.
    limit : int
        Bytes.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self.limit = limit
        self._total = str(directory / "total")  # is locked, and holds how many bytes there are

    def lock_of(self, digest: str) -> str:
        """Return the path of the lock that whoever brings or removes an entry holds."""
        return f"{self.directory}/locks/{digest[:_LOCK_CHARACTERS]}"

    @contextmanager
    def taken(self, digest: str, size: int) -> Iterator[str]:
        """Make room for an entry of so many bytes, and give a new directory for a block that brings them.

        That goes with the block. If it raises, the room is given back. Whoever looks meanwhile what there is finds the
        size in the directory's name.
        """
        partial = f"{self.directory}/{digest[:2]}/.{digest}-{size}-{secrets.token_hex(8)}.partial"
        with locked(self._total) as lock:
            total = _noted(lock)
            if total is None or total + size > self.limit:
                total = self._evicted_to(min(self.limit - size, self.limit * _FULL_TENTHS // 10))
            os.mkdir(partial, 0o700)
            _note(lock, total + size)
        try:
            yield partial
        except BaseException:
            with locked(self._total) as lock:
                remove(partial)
                _note(lock, (_noted(lock) or 0) - size)
            raise
        remove(partial)

    def free(self, size: int) -> int:
        """Let go of entries of at least so many bytes, or a tenth of all, and return how many bytes that were."""
        with locked(self._total) as lock:
            total = self._evicted_to(sys.maxsize)  # nothing goes
            left = self._evicted_to(total - max(size, total // 10))
            _note(lock, left)
        return total - left

    def clear(self) -> list[Stored]:
        """Let go of all entries but those that are being brought, and return what is left."""
        with locked(self._total) as lock:
            _note(lock, self._evicted_to(-1))
        return self.stored()

    def stored(self) -> list[Stored]:
        """Return what there is, that which was used longest ago first, without what is being brought."""
        return sorted(self._entry(digest) for digests, _ in self._shelves() for digest in digests)

    def _evicted_to(self, target: int) -> int:
        """Let go of what was used longest ago until there is not more than that, and return how many bytes are left."""
        shelves = list(self._shelves())
        found = sorted(self._entry(digest) for digests, _ in shelves for digest in digests)
        total = sum(entry.size for entry in found)
        total += sum(self._expected(name) for _, partials in shelves for name in partials)
        for entry in found:
            if total <= target:
                break
            with lock_if_free(self.lock_of(entry.digest)) as is_free:
                if is_free:
                    remove(f"{self._home(entry.digest)}.json")
                    remove(self._home(entry.digest))
                    total -= entry.size
        return total

    def _home(self, digest: str) -> str:
        return f"{self.directory}/{digest[:2]}/{digest}"

    def _entry(self, digest: str) -> Stored:
        return Stored(_used(f"{self._home(digest)}.json"), digest, _size(self._home(digest)))

    def _expected(self, partial: str) -> int:
        """Return how many bytes are being brought; what nobody brings any more is removed."""
        digest, size, _ = partial[1:].split("-")
        path = f"{self.directory}/{digest[:2]}/{partial}"
        with lock_if_free(self.lock_of(digest)) as is_free:
            if is_free and _is_idle(path):
                remove(path)
                return 0
        return int(size)

    def _shelves(self) -> Iterator[tuple[set[str], list[str]]]:
        """Give, for each directory of entries, their digests, and the names of what is being brought."""
        with suppress(FileNotFoundError):
            for shelf in os.scandir(self.directory):
                if _SHELF.fullmatch(shelf.name) and shelf.is_dir(follow_symlinks=False):
                    names = os.listdir(shelf.path)
                    digests = {match[1] for match in map(_ENTRY.fullmatch, names) if match}
                    partials = list(filter(_PARTIAL.fullmatch, names))
                    yield {one for one in digests if one[:2] == shelf.name}, partials


def _noted(lock: FileLock | None) -> int | None:
    """Return the total that is noted in a file that is locked."""
    try:
        return int(os.pread(lock.descriptor, 64, 0)) if lock else None
    except (OSError, ValueError):
        return None


def _note(lock: FileLock | None, total: int) -> None:
    """Note a total in a file that is locked. Without it, it is looked what there is."""
    with suppress(OSError):
        if lock:
            os.pwrite(lock.descriptor, b"%20d" % max(0, total), 0)


def remove(path: str) -> None:
    """Remove a file, a link or a directory with all that is in it, read-only or not; what cannot be removed stays."""
    with suppress(OSError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
        for place, _, _ in os.walk(path):
            os.chmod(place, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def is_full(error: BaseException | None) -> bool:
    """Tell whether it, or what it comes from, is that a disk or the user's share of one is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _used(record: str) -> float:
    try:
        return os.lstat(record).st_mtime
    except OSError:
        return 0.0


def _is_idle(path: str) -> bool:
    """Tell whether nothing in it, at any depth, was written to for a while."""
    try:
        newest = os.lstat(path).st_mtime
        for place, directories, names in os.walk(path):
            newest = max([newest, *(os.lstat(f"{place}/{name}").st_mtime for name in (*directories, *names))])
    except OSError:  # it has just become an entry
        return False
    return time.time() - newest > _IDLE_SECONDS


def _size(home: str) -> int:
    """Return how many bytes are in a directory, at any depth; a file of several names counts once."""
    sizes: dict[int, int] = {}
    for place, _, names in os.walk(home):
        for name in names:
            with suppress(OSError):
                status = os.lstat(f"{place}/{name}")
                sizes[status.st_ino] = status.st_size
    return sum(sizes.values())
