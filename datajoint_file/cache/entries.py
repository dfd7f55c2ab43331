"""Content-addressed cache on the local disk: each entry is brought once, by whichever process asks first.

An entry is a read-only file or directory that was verified on its way; its record says what it looked like then, so
that one that was changed is not taken for it, and has the time of its last use. Where they lie, `layout` says. How much
room there is for all is the business of `space`; what is brought, and how, of who asks.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from datajoint_file.cache import records
from datajoint_file.cache.layout import Place, place_of
from datajoint_file.cache.ownership import Ownership
from datajoint_file.cache.removal import put, remove, withdraw
from datajoint_file.cache.space import Space, is_full, last_use
from datajoint_file.concurrency.file_lock import Check, lock_if_free, wait_while
from datajoint_file.storage.disk.looks import look, look_of_content, look_through

_NOTED_SECONDS = 60.0
"""So often the use of an entry is noted; and so often it is looked whether all of a directory is what it was."""

_MOST_KNOWN = 100_000

_ATTEMPTS = 2
"""At a disk that is full: the second after others have gone."""

_PROVEN_SHARE = 8
"""What claims more than this part of the limit is looked at before others go for it: a row can say anything."""

_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

Fill = Callable[[Path], object]
"""Writes the file or directory of this path, which is not there yet, or raises."""


@dataclass(frozen=True, slots=True)
class _Order:
    """How an entry is brought, and for whom."""

    fill: Fill
    room: int
    prove: Callable[[], object] | None
    is_ahead: bool


@dataclass(slots=True)
class _Known:
    """What this process knows of an entry under one name."""

    place: Place
    name: str
    size: int
    is_deep: bool  # whether of a directory it is looked at all that is in it
    path: str
    directories: tuple[str, ...]  # which have to be this user's
    top: str = ""  # what it looked like, and of a directory only that itself
    is_directory: bool = False
    noted: float = 0.0  # when its use was noted,
    process: int = 0  # by this one


class Cache:
    """The entries below one directory, of so many bytes at most. Safe to use from threads, processes and forks.

    Parameters
    ----------
    directory : Path
        Where they are, without links on the way; made at the first use. It has to be this user's, and nobody else's to
        write to.
    limit : int
        So many bytes all of them may have. One that has more by itself is kept all the same, until the next one comes.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory = directory
        self.space = Space(directory, limit)
        self.ownership = Ownership(str(directory))
        self._known: dict[tuple[str, str, int, bool], _Known] = {}

    def get(
        self,
        digest: str,
        name: str,
        size: int,
        fill: Fill,
        check: Check | None = None,
        *,
        room: int | None = None,
        prove: Callable[[], object] | None = None,
        is_ahead: bool = False,
    ) -> Path:
        """Return the path of an entry, which *fill* brings if it is not there as it was brought.

        Of many that ask for one at once, in threads or processes, one brings it, and the others wait. Nobody removes it
        as long as it is among the last that this process was given; see `leases`.

        Parameters
        ----------
        digest : str
            64 hexadecimal digits that stand for its bytes, and for where they come from.
        name : str
            What its file or directory is called: the name of a file, that was checked.
        size : int
            How many bytes it has.
        fill : callable
            Called with the path to write to, of the same name; what it raises is raised, and nothing is left.
        check : callable, optional
            Called now and then while another one brings it; what it raises ends the waiting.
        room : int, optional
            How many bytes it takes here, if these are others.
        prove : callable, optional
            Called before much room is made, which it can prevent: what it raises is raised.
        is_ahead : bool
            It is brought ahead of its use: it is held until somebody asks for it, or `release` is called.

        Raises
        ------
        CacheError
            If the directory cannot be used, is another's, or the disk is full.
        NoRoomError
            If it is brought ahead, and does not fit beside what is in use.
        """
        order = _Order(fill, size if room is None else room, prove, is_ahead)
        entry = self._entry(digest, name, size)
        if not (self._hold(entry, order) and self._use(entry)):
            with self.ownership.told():
                self.ownership.prepare(entry.place)
                with self.space.locked(entry.place, check):
                    if not self._use(entry) and not self._link_other_name(entry):
                        self._bring(entry, order)
                    self._hold(entry, order)
        self._keep(entry)
        return Path(entry.path)

    def release(self, digest: str) -> None:
        """Let go of an entry that was brought ahead, and which nobody has asked for."""
        self.space.leases.release(self._place(digest).record)

    def open(self, digest: str, name: str, size: int) -> BinaryIO | None:
        """Open the file of an entry, if it is there as it was brought; else None. Nothing is brought or waited for.

        It is not held: who has the file open has it, whoever removes the entry.
        """
        entry = self._entry(digest, name, size)
        file = _opened(entry.path) if self._use(entry) else None
        return self._checked(file, lambda status: look(status) == entry.top, entry)

    def open_within(self, digest: str, name: str, size: int, path: str, expected: int) -> BinaryIO | None:
        """Open a file of so many bytes in an entry that is a directory, if both are there as they were brought.

        It is looked at the file and the directory itself, whatever else is in that: when it was brought, the directory
        was changed last of all, so what has changed since is younger. The entry is not held, as by `open`.
        """
        entry = self._entry(digest, name, size, is_deep=False)
        file = _opened(f"{entry.path}/{path}") if self._use(entry) else None

        def is_as_brought(status: os.stat_result) -> bool:
            is_own = stat.S_ISREG(status.st_mode) and self.ownership.is_own(status)
            top = os.lstat(entry.path)
            is_older = status.st_ctime_ns <= top.st_ctime_ns and look(top) == entry.top
            return is_own and is_older and status.st_size == expected

        return self._checked(file, is_as_brought, entry)

    def path_within(
        self, digest: str, name: str, size: int, path: str, expected: int | None, *, room: int
    ) -> Path | None:
        """Return the path of something in an entry that is a directory, if both are there as they were brought.

        Of a file, *expected* is how many bytes it has; of a directory it is looked at all that is in the entry. The
        entry is held as by `get`, and takes so much *room*. Nothing is brought for it.
        """
        if not self.space.leases.take(self._place(digest).record, room, is_directory=True):
            return None
        if expected is None:
            entry = self._entry(digest, name, size)
            if not self._use(entry):
                return None
            self._keep(entry)
            return Path(entry.path, path)
        file = self.open_within(digest, name, size, path, expected)
        if file is None:
            return None
        file.close()
        return Path(file.name)

    def await_transfer(self, digest: str, check: Check | None = None) -> bool:
        """Wait for whoever brings this entry, if somebody does; tell whether it was waited for.

        Now and then *check* is called; what it raises ends the waiting.
        """
        place = self._place(digest)
        return wait_while(lambda: self.space.is_locked(place), check)

    def discard(self, digest: str) -> None:
        """Remove an entry, unless it is just being brought: what it has is not what it should be, whoever has it."""
        place = self._place(digest)
        with lock_if_free(place.lock) as is_free, suppress(OSError):
            if is_free:
                os.truncate(place.record, 0)
                withdraw(place)

    @contextmanager
    def relinked(self, path: Path) -> Iterator[bool | None]:
        """Let a block make or remove hard links to an entry, and note what it looks like then; tell whether it is one.

        It is told None of one that is not as it was brought; `get` does not take that for it any more, and brings it
        again. *path* is what `get` has returned.
        """
        found = place_of(str(self.directory), str(path))
        if found is None:
            yield False
            return
        place, name = found
        with self.ownership.told(), self.space.locked(place):
            sound = records.sound_names(place)
            before = _contents(place, sound)
            try:
                yield True if name in sound else None
            finally:
                is_noted = False
                with suppress(OSError):  # what is not recorded is brought again, as is what was written to meanwhile
                    if name in sound and _contents(place, sound) == before:
                        self._record(self._entry(place.digest, name, sound[name]), *sound)
                        is_noted = True
                if not is_noted:
                    self._forget(place.digest)

    def last_use(self, digest: str) -> int:
        """Return when a use of an entry was noted, in nanoseconds; 0 if it is not there. A process notes its first."""
        return last_use(self._place(digest))

    def _place(self, digest: str) -> Place:
        return Place(str(self.directory), digest)

    def _entry(self, digest: str, name: str, size: int, *, is_deep: bool = True) -> _Known:
        """Return what this process knows of an entry, or one of which it knows nothing."""
        known = self._known.get((digest, name, size, is_deep))
        if known is not None:
            return known
        place = self._place(digest)
        directories = (place.directory, place.shelf, place.home)
        return _Known(place, name, size, is_deep, place.path(name), directories)

    def _keep(self, entry: _Known) -> None:
        key = entry.place.digest, entry.name, entry.size, entry.is_deep
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = entry

    def _forget(self, digest: str) -> None:
        """Take no entry any more for what this process knows of it: the next one that asks looks at all of it."""
        for key in [key for key in tuple(self._known) if key[0] == digest]:
            self._known.pop(key, None)

    def _checked(
        self, file: BinaryIO | None, is_as_brought: Callable[[os.stat_result], bool], entry: _Known
    ) -> BinaryIO | None:
        """Return an open file of an entry if it is the right one; else close it."""
        if file is None:
            return None
        with suppress(OSError):  # the entry goes meanwhile
            if is_as_brought(os.fstat(file.fileno())):
                self._keep(entry)
                return file
        file.close()
        return None

    def _hold(self, entry: _Known, order: _Order) -> bool:
        with suppress(OSError):
            is_directory = entry.is_directory if entry.top else stat.S_ISDIR(os.lstat(entry.path).st_mode)
            how = {"is_directory": is_directory, "is_ahead": order.is_ahead}
            return self.space.leases.take(entry.place.record, order.room, **how)
        return False

    def _use(self, entry: _Known) -> bool:
        """Note that an entry is used, if it is there as it was brought; tell whether it is."""
        now = time.time()
        try:
            if not all(map(self.ownership.is_own_directory, entry.directories)):
                return False
            status = os.lstat(entry.path)
            if not self.ownership.is_own(status):
                return False
            top = look(status)
            is_due = abs(now - entry.noted) > _NOTED_SECONDS or entry.process != os.getpid()  # a child's use is its own
            if top != entry.top or (is_due and entry.is_deep and stat.S_ISDIR(status.st_mode)):
                if not records.matches(entry.place, entry.name, entry.size, "" if entry.is_deep else top):
                    return False
                is_due = True
            if is_due:
                os.utime(entry.place.record)
                _learn(entry, status, now)
        except OSError:
            return False
        return True

    def _link_other_name(self, entry: _Known) -> bool:
        """Make an entry of the same file, if that is there under another name; tell whether it is.

        A link more, or less, changes what the file looks like under all its names.
        """
        if not self.ownership.is_own_directory(entry.place.home):
            return False
        names = records.read(entry.place)
        for name, recorded in names.items():
            with suppress(OSError, ValueError):
                other = entry.place.path(name)
                is_file = name != entry.name and stat.S_ISREG(os.lstat(other).st_mode)
                if is_file and recorded[:2] == [look_through(other), entry.size]:
                    remove(entry.path)
                    os.link(other, entry.path, follow_symlinks=False)
                    self._record(entry, *(one for one in names if _is_same(entry.place.path(one), other)))
                    return True
        return False

    def _bring(self, entry: _Known, order: _Order) -> None:
        if order.prove is not None and order.room > self.space.limit // _PROVEN_SHARE:
            order.prove()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._try_to_bring(entry, order)
                return
            except OSError as error:
                if not is_full(error):
                    raise
                if attempt == _ATTEMPTS or not self.space.free(order.room):
                    raise self.ownership.full(order.room, self.space.limit) from error

    def _try_to_bring(self, entry: _Known, order: _Order) -> None:
        with self.space.taken(entry.place, order.room, is_ahead=order.is_ahead) as partial:
            new = f"{partial}/{entry.name}"
            order.fill(Path(new))
            self.ownership.make_own_directory(entry.place.home)
            put(new, entry.path)
            _make_read_only(entry.path)
            self._record(entry)

    def _record(self, entry: _Known, *others: str) -> None:
        """Note what an entry looks like, under this name and *others*."""
        records.write(entry.place, entry.size, {entry.name, *others})
        _learn(entry, os.lstat(entry.path), time.time())


def _learn(entry: _Known, status: os.stat_result, now: float) -> None:
    """Remember what an entry looks like that was proven to be what was brought, and that its use was noted."""
    entry.top, entry.is_directory = look(status), stat.S_ISDIR(status.st_mode)
    entry.noted, entry.process = now, os.getpid()


def _contents(place: Place, names: Iterable[str]) -> dict[str, str]:
    """Return what an entry looks like under each of its names, but for how many there are."""
    return {name: look_through(place.path(name), look_of_content) for name in names}


def _is_same(path: str, other: str) -> bool:
    """Tell whether both are names of one file."""
    try:
        return os.path.samestat(os.lstat(path), os.lstat(other))
    except OSError:
        return False


def _opened(path: str) -> BinaryIO | None:
    """Open a file that may have gone; neither a link nor a FIFO in its place is followed or waited for."""
    try:
        return open(path, "rb", opener=lambda name, flags: os.open(name, flags | _PLAIN))
    except OSError:
        return None


def _make_read_only(path: str) -> None:
    """Take the right to write away, of a directory from all that is in it; what links lead to is left alone."""
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        os.chmod(path, 0o444)
    elif stat.S_ISDIR(status.st_mode):
        for name in os.listdir(path):
            _make_read_only(f"{path}/{name}")
        os.chmod(path, 0o555)  # noqa: S103 - within a directory that is this user's alone
