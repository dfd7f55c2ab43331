"""Shared locks of the cache's entries that this process was given last, so that nobody removes them under its hands.

The lock is one of the entry's record (``flock``). It goes with its process, and a child made by fork has part in it.
Who removes entries takes it for itself, without waiting, and leaves alone what somebody else has.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass

from datajoint_file.concurrency.descriptors import RAN_OUT
from datajoint_file.concurrency.file_lock import share

_MOST_EACH = 8
"""Of the files that each thread was given last, and of the directories."""

_MOST = 64
"""Of what was brought ahead: each takes a descriptor."""

_SHARE = 4
"""All but the last ones of each thread are held while together they have no more than this part of the limit."""

_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(slots=True)
class _Lease:
    """A record that is open, and locked where the file system has locks, for as long as this object lives."""

    descriptor: int
    inode: int
    size: int
    is_directory: bool
    asker: int = 0  # nobody yet

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Leases:
    """What this process holds of a cache, that which was asked for last at the end.

    No lock, which a fork could copy locked: each step is a single one of a dictionary, and what two threads let go of
    at once has gone once.

    Parameters
    ----------
    limit : int
        So many bytes the cache may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[str, _Lease] = {}

    def __contains__(self, record: str) -> bool:
        return record in self._held

    def take(self, record: str, size: int, *, is_directory: bool, is_ahead: bool = False) -> bool:
        """Hold the entry of a record; tell whether it is there, and nobody is just removing it.

        What is brought *is_ahead* of its use is held until somebody asks for it, or lets it go.
        """
        asker = _ahead() if is_ahead else threading.get_ident()
        lease = self._held.pop(record, None)
        if lease is None or lease.inode != _inode(record):
            lease = self._opened(record, size, is_directory)
            if lease is None:
                return False
        is_more = lease.asker == 0 or (lease.asker != asker and not is_ahead)  # than this asker had
        if is_more:
            lease.asker = asker
        self._held[record] = lease
        if is_more:
            self._let_go(self._limit // _SHARE)
        return True

    def release(self, record: str) -> None:
        """Let go of what was brought ahead, unless somebody has asked for it."""
        lease = self._held.get(record)
        if lease is not None and lease.asker == _ahead():
            self._held.pop(record, None)

    def release_ahead(self) -> None:
        """Let go of all that was brought ahead, and that nobody has asked for yet."""
        for record, lease in tuple(self._held.items()):
            if lease.asker == _ahead():
                self._held.pop(record, None)

    def forget_files(self) -> None:
        """Let go of all but directories."""
        for record, lease in tuple(self._held.items()):
            if not lease.is_directory:
                self._held.pop(record, None)

    def keep_last(self) -> None:
        """Let go of all but what each thread was given last."""
        self._let_go(0)

    def _let_go(self, most: int) -> None:
        """Let go of what was asked for longest ago, until there are not more bytes than that, nor too many."""
        live = {thread.ident for thread in threading.enumerate()} | {threading.get_ident()}
        ranks: Counter[tuple[int, bool]] = Counter()
        count = size = 0
        for record, lease in reversed(tuple(self._held.items())):
            if lease.asker == _ahead():
                count, is_kept = count + 1, count < _MOST
            else:
                who = lease.asker if lease.asker in live else 0, lease.is_directory
                ranks[who] += 1
                is_last = who[0] != 0 and ranks[who] == 1
                is_kept = is_last or (ranks[who] <= _MOST_EACH and size + lease.size <= most)
                size += lease.size
            if not is_kept:
                self._held.pop(record, None)

    def _opened(self, record: str, size: int, is_directory: bool) -> _Lease | None:
        """Lock a record, unless it is another one by then, or somebody has it for himself."""
        try:
            descriptor = os.open(record, _FLAGS)
        except OSError as error:
            if error.errno not in RAN_OUT:
                return None
            self.keep_last()
            return _Lease(-1, _inode(record), size, is_directory)  # nobody else knows of it
        lease = _Lease(descriptor, os.fstat(descriptor).st_ino, size, is_directory)
        return lease if share(descriptor) and _inode(record) == lease.inode else None


def _ahead() -> int:
    """Return who asks for what is brought ahead: no thread, and in a child made by fork not its parent."""
    return -os.getpid()


def _inode(record: str) -> int:
    try:
        return os.lstat(record).st_ino
    except OSError:
        return 0
