"""Disk space of a cache: a running total under a lock, and eviction of what was used longest ago when it is too much.

Only then is looked what there is; what killed processes have left goes as well. What somebody has a lease of stays.
What an entry is, `entries` says.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from datajoint_file.cache.layout import Partial, Place, is_ours, shelves
from datajoint_file.cache.leases import Leases
from datajoint_file.cache.removal import is_stub, remove, stubs, withdraw
from datajoint_file.concurrency.file_lock import Check, FileLock, lock_if_free, locked

_FULL_TENTHS = 9
"""To so many tenths of the limit it is emptied, so that not each new entry has to look what there is."""

_IDLE_SECONDS = 600.0
"""Where a file system has no locks, what nobody has written to, or used, for so long is nobody's."""

_STALE_SECONDS = 7 * 86400.0
"""So long it is remembered that a directory has gone; and so long a link is kept that nobody uses."""

BLOCK_BYTES = 4096
"""What a link counts, and each file of a directory besides its bytes: its own place on a disk."""


class NoRoomError(Exception):
    """What is brought ahead of its use does not fit beside what is in use. Never raised to users."""


@dataclass(frozen=True, slots=True, order=True)
class Stored:
    """An entry as it was found: the one that was used longest ago comes first."""

    used: float
    digest: str
    size: int
    has_links: bool = False


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
        self.directory = str(directory)
        self.limit = limit
        self.leases = Leases(limit)
        self._total = str(directory / "total")  # is locked, and holds how many bytes there are

    @contextmanager
    def locked(self, place: Place, check: Check | None = None) -> Iterator[None]:
        """Run a block in which nobody else brings or removes an entry; `is_locked` tells of which."""
        with locked(place.lock, check) as lock:
            with suppress(OSError):
                if lock is not None:
                    os.pwrite(lock.descriptor, place.digest.encode(), 0)
            yield

    def is_locked(self, place: Place) -> bool:
        """Tell whether somebody is bringing this entry, and not one of those that have the same lock."""
        lock = FileLock.opened(place.lock, 0o600) if os.path.lexists(place.lock) else None
        if lock is None:
            return False
        try:
            return not lock.take() and os.pread(lock.descriptor, len(place.digest), 0) == place.digest.encode()
        finally:
            lock.close()

    @contextmanager
    def taken(self, place: Place, size: int, *, is_ahead: bool = False) -> Iterator[str]:
        """Make room for an entry of so many bytes, and give a new directory for a block that brings them.

        That goes with the block. If it raises, the room is given back. Whoever looks meanwhile what there is finds the
        size in the directory's name.

        Raises
        ------
        NoRoomError
            If it is only brought *is_ahead* of its use, and would be more than the limit beside what is in use.
        """
        if is_ahead and size > self.limit:
            raise NoRoomError
        partial = place.aside(size)
        with locked(self._total) as lock:
            total = _noted(lock)
            target = min(self.limit - size, self.limit * _FULL_TENTHS // 10)
            if total is None or total + size > self.limit:
                total = self._evicted_to(target)
            if total + size > self.limit and not is_ahead:  # what is used now comes before what may be used later
                self.leases.release_ahead()
                total = self._evicted_to(target)
            if is_ahead and total + size > self.limit:
                _note(lock, total)
                raise NoRoomError
            os.mkdir(partial, 0o700)
            _note(lock, total + size)
        try:
            yield partial
        except BaseException:
            with locked(self._total) as lock:
                remove(partial)
                if (total := _noted(lock)) is not None:
                    _note(lock, total - size)
            raise
        remove(partial)

    def free(self, size: int) -> int:
        """Let go of entries of at least so many bytes, or a tenth of all, and return how many bytes that were."""
        self.leases.keep_last()
        with locked(self._total) as lock:
            total = self._evicted_to(sys.maxsize)  # but for what is stale, nothing goes
            left = self._evicted_to(total - max(size, total // 10))
            _note(lock, left)
        return total - left

    def clear(self) -> list[Stored]:
        """Let go of all entries but those that are being brought or in use, and return what is left.

        Files that this process was given go all the same: who has one open keeps it.
        """
        self.leases.forget_files()
        with locked(self._total) as lock:
            _note(lock, self._evicted_to(-1))
        return self.stored()

    def stored(self) -> list[Stored]:
        """Return what there is, that which was used longest ago first, without what is being brought."""
        return self._look()[0] if is_ours(self.directory) else []

    def _evicted_to(self, target: int) -> int:
        """Let go of what was used longest ago until there is not more than that, and return how many bytes are left."""
        found, total = self._look()
        oldest = time.time() - _STALE_SECONDS
        for entry in found:
            if (total > target or (entry.has_links and entry.used < oldest)) and self._let_go(entry):
                total -= entry.size
        return total

    def _look(self) -> tuple[list[Stored], int]:
        """Return what there is, and how many bytes that are, with what is being brought."""
        looked = list(shelves(self.directory))
        found = sorted(filter(None, (_stored(place) for places, _ in looked for place in places)))
        coming = sum(_expected(partial) for _, partials in looked for partial in partials)
        return found, coming + sum(entry.size for entry in found)

    def _let_go(self, entry: Stored) -> bool:
        """Remove an entry, unless it is being brought or in use; tell whether it has gone."""
        place = Place(self.directory, entry.digest)
        if place.record in self.leases:
            return False
        with lock_if_free(place.lock) as is_still:
            lease = FileLock.opened(place.record, 0o600) if is_still else None
            if lease is None:
                return False
            try:
                is_free = lease.take() and (lease.is_real or time.time() - entry.used > _IDLE_SECONDS)
                if is_free:
                    remove(place.record)
                    withdraw(place)
                return is_free
            finally:
                lease.close()


def _stored(place: Place) -> Stored | None:
    """Return what there is of an entry; nothing, if it has gone."""
    size, has_links = _size(place.home)
    if size == 0 and not os.path.lexists(place.record) and (gone := stubs(place.home)) is not None:
        with lock_if_free(place.lock) as is_free:  # else it is just being brought
            if is_free and all(time.time() - when > _STALE_SECONDS for when in gone):
                remove(place.home)
        return None
    return Stored(last_use(place) / 1e9, place.digest, size, has_links)


def last_use(place: Place) -> int:
    """Return when a use of an entry was noted, in nanoseconds; 0 if it is not there. A process notes its first."""
    try:
        return os.lstat(place.record).st_mtime_ns
    except OSError:
        return 0


def _expected(partial: Partial) -> int:
    """Return how many bytes are being brought; what nobody brings any more is removed."""
    with lock_if_free(partial.place.lock) as is_free:
        if is_free and _is_idle(partial.path):
            remove(partial.path)
            return 0
    return partial.size


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


def is_full(error: BaseException | None) -> bool:
    """Tell whether it, or what it comes from, is that a disk or the user's share of one is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _is_idle(path: str) -> bool:
    """Tell whether nothing in it, at any depth, was written to for a while."""
    try:
        newest = os.lstat(path).st_mtime
        for place, directories, names in os.walk(path):
            newest = max([newest, *(os.lstat(f"{place}/{name}").st_mtime for name in (*directories, *names))])
    except OSError:  # it has just become an entry
        return False
    return time.time() - newest > _IDLE_SECONDS


def _size(home: str) -> tuple[int, bool]:
    """Return how many bytes are in an entry, and whether it consists of links.

    A file of several names counts once; a link, and what is in a directory, a block besides.
    """
    sizes: dict[int, int] = {}
    has_links = has_files = False
    for place, directories, names in os.walk(home):
        block = BLOCK_BYTES if place != home else 0
        for name in (*names, *(directories if block else ())):
            path = f"{place}/{name}"
            with suppress(OSError):
                status = os.lstat(path)
                if stat.S_ISREG(status.st_mode):
                    sizes[status.st_ino] = status.st_size + block
                    has_files = True
                elif not is_stub(path):
                    sizes[status.st_ino] = BLOCK_BYTES
                    has_links = has_links or stat.S_ISLNK(status.st_mode)
    return sum(sizes.values()), has_links and not has_files
