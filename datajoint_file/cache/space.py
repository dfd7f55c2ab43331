"""Disk space of a cache: a running total under a lock, and eviction of what was used longest ago when it is too much.

Only then is looked what there is; what killed processes have left goes as well. What somebody has a lease of stays.
What an entry is, `entries` says.
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

from datajoint_file.cache.leases import Leases
from datajoint_file.concurrency.file_lock import Check, FileLock, lock_if_free, locked
from datajoint_file.storage.disk.rename import exchange

_SHELF = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"([0-9a-f]{64})(?:\.json)?")
_PARTIAL = re.compile(r"\.[0-9a-f]{64}-[0-9]{1,19}-[0-9a-f]{16}\.partial")

_LOCK_CHARACTERS = 3
"""Of a digest: entries that begin alike are brought one after the other, and there are no more lock files than that."""

_FULL_TENTHS = 9
"""To so many tenths of the limit it is emptied, so that not each new entry has to look what there is."""

_IDLE_SECONDS = 600.0
"""Where a file system has no locks, what nobody has written to, or used, for so long is nobody's."""

_STALE_SECONDS = 7 * 86400.0
"""So long it is remembered that a directory has gone; and so long a link is kept that nobody uses."""

BLOCK_BYTES = 4096
"""What a link counts, and each file of a directory besides its bytes: its own place on a disk."""

TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Files of datajoint-file. See https://bford.info/cachedir/\n"
"""By which programs for backups know what they need not keep, and this one that a directory is its own."""


class NoRoomError(Exception):
    """What is brought ahead of its use does not fit beside what is in use. Never raised to users."""


@dataclass(frozen=True, slots=True, order=True)
class Stored:
    """An entry as it was found: the one that was used longest ago comes first."""

    used: float
    digest: str
    size: int
    is_link: bool = False


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
        self.leases = Leases(limit)
        self._total = str(directory / "total")  # is locked, and holds how many bytes there are

    def lock_of(self, digest: str) -> str:
        """Return the path of the lock that whoever brings or removes an entry holds."""
        return f"{self.directory}/locks/{digest[:_LOCK_CHARACTERS]}"

    @contextmanager
    def locked(self, digest: str, check: Check | None = None) -> Iterator[None]:
        """Run a block in which nobody else brings or removes an entry; `is_locked` tells of which."""
        with locked(self.lock_of(digest), check) as lock:
            with suppress(OSError):
                if lock is not None:
                    os.pwrite(lock.descriptor, digest.encode(), 0)
            yield

    def is_locked(self, digest: str) -> bool:
        """Tell whether somebody is bringing this entry, and not one of those that have the same lock."""
        path = self.lock_of(digest)
        lock = FileLock.opened(path, 0o600) if os.path.lexists(path) else None
        if lock is None:
            return False
        try:
            return not lock.take() and os.pread(lock.descriptor, len(digest), 0) == digest.encode()
        finally:
            lock.close()

    def record_of(self, digest: str) -> str:
        """Return the path of the record of an entry, which is locked by who has a lease of that."""
        return f"{self._home(digest)}.json"

    def is_ours(self) -> bool:
        """Tell whether the directory is a cache of this package, by its tag."""
        try:
            return (self.directory / "CACHEDIR.TAG").read_text(encoding="ascii") == TAG
        except (OSError, ValueError):
            return False

    @contextmanager
    def taken(self, digest: str, size: int, *, is_ahead: bool = False) -> Iterator[str]:
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
        partial = self.aside(digest, size)
        with locked(self._total) as lock:
            total = _noted(lock)
            if total is None or total + size > self.limit:
                total = self._evicted_to(min(self.limit - size, self.limit * _FULL_TENTHS // 10))
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
        return self._look()[0] if self.is_ours() else []

    def _evicted_to(self, target: int) -> int:
        """Let go of what was used longest ago until there is not more than that, and return how many bytes are left."""
        found, total = self._look()
        oldest = time.time() - _STALE_SECONDS
        for entry in found:
            if (total > target or (entry.is_link and entry.used < oldest)) and self._let_go(entry):
                total -= entry.size
        return total

    def _look(self) -> tuple[list[Stored], int]:
        """Return what there is, and how many bytes that are, with what is being brought."""
        shelves = list(self._shelves())
        found = sorted(filter(None, (self._entry(digest) for digests, _ in shelves for digest in digests)))
        coming = sum(self._expected(name) for _, partials in shelves for name in partials)
        return found, coming + sum(entry.size for entry in found)

    def _let_go(self, entry: Stored) -> bool:
        """Remove an entry, unless it is being brought or in use; tell whether it has gone."""
        record = self.record_of(entry.digest)
        if record in self.leases:
            return False
        with lock_if_free(self.lock_of(entry.digest)) as is_still:
            lease = FileLock.opened(record, 0o600) if is_still else None
            if lease is None:
                return False
            try:
                is_free = lease.take() and (lease.is_real or time.time() - entry.used > _IDLE_SECONDS)
                if is_free:
                    remove(record)
                    self.withdraw(entry.digest)
                return is_free
            finally:
                lease.close()

    def withdraw(self, digest: str) -> None:
        """Remove what there is of an entry. A directory leaves a link to itself, which cannot be opened.

        Whoever still goes by its path gets an error by that. Without it, a file that has gone would look like one that
        never was: in a Zarr that is a chunk of zeros.
        """
        home = self._home(digest)
        with suppress(OSError):
            for name in os.listdir(home):
                path = f"{home}/{name}"
                if stat.S_ISDIR(os.lstat(path).st_mode):
                    self._exchange_for_nothing(digest, name)
                elif not _is_stub(path):
                    os.unlink(path)
            os.rmdir(home)

    def _exchange_for_nothing(self, digest: str, name: str) -> None:
        aside = self.aside(digest, 0)
        os.mkdir(aside, 0o700)
        try:
            os.symlink(name, f"{aside}/{name}")
            put(f"{aside}/{name}", f"{self._home(digest)}/{name}")
        finally:
            remove(aside)

    def aside(self, digest: str, size: int) -> str:
        """Return a path for what is on its way: that of an entry, or out of the cache."""
        return f"{self.directory}/{digest[:2]}/.{digest}-{size}-{secrets.token_hex(8)}.partial"

    def _home(self, digest: str) -> str:
        return f"{self.directory}/{digest[:2]}/{digest}"

    def _entry(self, digest: str) -> Stored | None:
        """Return what there is of an entry; nothing, if it has gone."""
        home, record = self._home(digest), self.record_of(digest)
        size, is_link = _size(home)
        if size == 0 and not os.path.lexists(record) and (stubs := _stubs(home)) is not None:
            with lock_if_free(self.lock_of(digest)) as is_free:  # else it is just being brought
                if is_free and all(time.time() - when > _STALE_SECONDS for when in stubs):
                    remove(home)
            return None
        return Stored(_used(record), digest, size, is_link)

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
        with suppress(FileNotFoundError), os.scandir(self.directory) as shelves:
            for shelf in shelves:
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
                elif not _is_stub(path):
                    sizes[status.st_ino] = BLOCK_BYTES
                    has_links = has_links or stat.S_ISLNK(status.st_mode)
    return sum(sizes.values()), has_links and not has_files


def put(new: str, path: str) -> None:
    """Give a file or directory its place, and what was there the one of the new: at no moment there is nothing.

    But for the blink of an eye, where a system cannot exchange names.
    """
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)  # else it could not be moved
        if not exchange(new, path):
            os.rename(path, f"{new}.old")
            os.rename(f"{new}", path)
        return
    os.rename(new, path)


def _is_stub(path: str) -> bool:
    """Tell whether it is a link to itself, where a directory was."""
    try:
        return os.readlink(path) == os.path.basename(path)
    except OSError:
        return False


def _stubs(home: str) -> list[float] | None:
    """Return when directories went of which a link is left, if there is nothing else."""
    try:
        paths = [f"{home}/{name}" for name in os.listdir(home)]
        return [os.lstat(path).st_mtime for path in paths] if all(map(_is_stub, paths)) else None
    except FileNotFoundError:
        return []
    except OSError:
        return None
