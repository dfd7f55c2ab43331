"""Content-addressed cache on the local disk: each entry is brought once, by whichever process asks first.

An entry is ``{aa}/{digest}/{name}``, a read-only file or directory that was verified on its way; beside it
``{aa}/{digest}.json`` says what it looked like then, so that one that was changed is not taken for it, and has the time
of its last use. How much room there is for all is the business of `space`; what is brought, and how, of who asks.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.cache.space import TAG, Space, is_full, put, remove
from datajoint_file.concurrency.file_lock import Check, lock_if_free, wait_while
from datajoint_file.errors import CacheError, DataJointFileError, DestinationError, brief, printable, reason_of
from datajoint_file.model.wording import format_size
from datajoint_file.storage.disk.walk import open_real, owner_of_new

_NOTED_SECONDS = 60.0
"""So often the use of an entry is noted; and so often it is looked whether all of a directory is what it was."""

_MOST_KNOWN = 100_000

_ATTEMPTS = 2
"""At a disk that is full: the second after others have gone."""

_PROVEN_SHARE = 8
"""What claims more than this part of the limit is looked at before others go for it: a row can say anything."""

_TAG_ATTEMPTS = 3
"""To find the tag of a cache that another process just makes."""

_DIRECTORY = f"{stat.S_IFDIR:o} "
"""So begins what a directory looks like."""

_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_ENTRY = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{64})/([^/]+)", re.DOTALL)

Fill = Callable[[Path], object]
"""Writes the file or directory of this path, which is not there yet, or raises."""


@dataclass(frozen=True, slots=True)
class _Order:
    """How an entry is brought, and for whom."""

    fill: Fill
    check: Check | None
    room: int
    prove: Callable[[], object] | None
    is_ahead: bool


@dataclass(slots=True)
class _Entry:
    """Where one entry is; and what this process knows of it."""

    digest: str
    name: str
    size: int
    shelf: str
    is_deep: bool = True  # whether of a directory it is looked at all that is in it
    top: str = ""  # what it looked like, and of a directory only that itself
    noted: float = 0.0  # when its use was noted,
    process: int = 0  # by this one

    @property
    def home(self) -> str:
        return f"{self.shelf}/{self.digest}"

    @property
    def path(self) -> str:
        return f"{self.shelf}/{self.digest}/{self.name}"

    @property
    def record(self) -> str:
        return f"{self.shelf}/{self.digest}.json"


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
        self._owners: dict[int, int] = {}  # what the file system calls this machine's users
        self.directory = directory
        self.space = Space(directory, limit)
        self._known: dict[tuple[str, str, int, bool], _Entry] = {}

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
        order = _Order(fill, check, size if room is None else room, prove, is_ahead)
        entry = self._entry(digest, name, size)
        if not (self._hold(entry, order) and self._is_sound(entry)):
            with self._told():
                self._prepare(entry)
                with self.space.locked(digest, check):
                    if not self._is_sound(entry) and not self._link_other_name(entry):
                        self._bring(entry, order)
                    self._hold(entry, order)
        self._keep(entry)
        return Path(entry.path)

    def hold(self, digest: str, size: int) -> bool:
        """Let nobody remove a directory as long as it is among the last this process was given, if it is there."""
        return self.space.leases.take(self.space.record_of(digest), size, is_directory=True)

    def release(self, digest: str) -> None:
        """Let go of an entry that was brought ahead, and which nobody has asked for."""
        self.space.leases.release(self.space.record_of(digest))

    def find(self, digest: str, name: str, size: int) -> Path | None:
        """Return the path of an entry, if it is there as it was brought; else None. Nothing is brought for it."""
        entry = self._entry(digest, name, size)
        if not self._is_sound(entry):
            return None
        self._keep(entry)
        return Path(entry.path)

    def open(self, digest: str, name: str, size: int) -> BinaryIO | None:
        """Open the file of an entry, if it is there as it was brought; else None. Nothing is brought or waited for."""
        entry = self._entry(digest, name, size)
        file = _opened(entry.path) if self._is_sound(entry) else None
        return self._checked(file, lambda status: _look(status) == entry.top, entry)

    def open_within(self, digest: str, name: str, size: int, path: str, expected: int) -> BinaryIO | None:
        """Open a file of so many bytes in an entry that is a directory, if both are there as they were brought.

        It is looked at the file and the directory itself, whatever else is in that: when it was brought, the directory
        was changed last of all, so what has changed since is younger.
        """
        entry = self._entry(digest, name, size, is_deep=False)
        file = _opened(f"{entry.path}/{path}") if self._is_sound(entry) else None

        def is_as_brought(status: os.stat_result) -> bool:
            is_own = stat.S_ISREG(status.st_mode) and self._is_own(status)
            top = os.lstat(entry.path)
            is_older = status.st_ctime_ns <= top.st_ctime_ns and _look(top) == entry.top
            return is_own and is_older and status.st_size == expected

        return self._checked(file, is_as_brought, entry)

    def await_transfer(self, digest: str, check: Check | None = None) -> bool:
        """Wait for whoever brings this entry, if somebody does; tell whether it was waited for.

        Now and then *check* is called; what it raises ends the waiting.
        """
        return wait_while(lambda: self.space.is_locked(digest), check)

    def discard(self, digest: str) -> None:
        """Remove an entry, unless it is just being brought: what it has is not what it should be, whoever has it."""
        with lock_if_free(self.space.lock_of(digest)) as is_free, suppress(OSError):
            if is_free:
                os.truncate(self.space.record_of(digest), 0)
                self.space.withdraw(digest)

    @contextmanager
    def relinked(self, path: Path) -> Iterator[bool]:
        """Let a block make or remove hard links to an entry, and note what it looks like then; tell whether it is one.

        One that is not as it was brought is not taken for it later, either. *path* is what `get` has returned.
        """
        found = _ENTRY.fullmatch(str(path)[len(str(self.directory)) :])
        if found is None or not str(path).startswith(f"{self.directory}/"):
            yield False
            return
        _, digest, name = found.groups()
        with self._told(), self.space.locked(digest):
            sound = self._sound_names(digest)
            try:
                yield True
            finally:
                if name in sound:
                    with suppress(OSError):  # what is not recorded is brought again
                        self._record(self._entry(digest, name, sound[name]), *sound)

    def _sound_names(self, digest: str) -> dict[str, int]:
        """Return the names of an entry under which it is as it was brought, and their sizes."""
        entry = self._entry(digest, "", 0)
        return {
            name: noted[1]
            for name, noted in _recorded(entry).items()
            if os.path.lexists(f"{entry.home}/{name}") and noted[0] == look_through(f"{entry.home}/{name}")
        }

    def last_use(self, digest: str) -> int:
        """Return when a use of an entry was noted, in nanoseconds; 0 if it is not there. A process notes its first."""
        try:
            return os.lstat(f"{self.directory}/{digest[:2]}/{digest}.json").st_mtime_ns
        except OSError:
            return 0

    def _entry(self, digest: str, name: str, size: int, *, is_deep: bool = True) -> _Entry:
        """Return what this process knows of an entry, or one of which it knows nothing."""
        known = self._known.get((digest, name, size, is_deep))
        return known or _Entry(digest, name, size, f"{self.directory}/{digest[:2]}", is_deep)

    def _checked(
        self, file: BinaryIO | None, is_as_brought: Callable[[os.stat_result], bool], entry: _Entry
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

    def _keep(self, entry: _Entry) -> None:
        key = entry.digest, entry.name, entry.size, entry.is_deep
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = entry

    def _hold(self, entry: _Entry, order: _Order) -> bool:
        with suppress(OSError):
            is_directory = (entry.top or _look(os.lstat(entry.path))).startswith(_DIRECTORY)
            how = {"is_directory": is_directory, "is_ahead": order.is_ahead}
            return self.space.leases.take(entry.record, order.room, **how)
        return False

    def _is_sound(self, entry: _Entry) -> bool:
        """Tell whether an entry is there, as it was brought, and note that it is used."""
        now = time.time()
        try:
            if not all(map(self._is_own_directory, (str(self.directory), entry.shelf, entry.home))):
                return False
            status = os.lstat(entry.path)
            if not self._is_own(status):
                return False
            top = _look(status)
            is_due = abs(now - entry.noted) > _NOTED_SECONDS or entry.process != os.getpid()  # a child's use is its own
            if top != entry.top or (is_due and entry.is_deep and stat.S_ISDIR(status.st_mode)):
                if not _is_as_recorded(entry, top):
                    return False
                entry.top, is_due = top, True
            if is_due:
                os.utime(entry.record)
                entry.noted, entry.process = now, os.getpid()
        except OSError:
            return False
        return True

    def _link_other_name(self, entry: _Entry) -> bool:
        """Make an entry of the same file, if that is there under another name; tell whether it is.

        A link more, or less, changes what the file looks like under all its names.
        """
        if not self._is_own_directory(entry.home):
            return False
        names = _recorded(entry)
        for name, recorded in names.items():
            with suppress(OSError, ValueError):
                other = f"{entry.home}/{name}"
                is_file = name != entry.name and stat.S_ISREG(os.lstat(other).st_mode)
                if is_file and recorded[:2] == [look_through(other), entry.size]:
                    remove(entry.path)
                    os.link(other, entry.path, follow_symlinks=False)
                    self._record(entry, *(one for one in names if _is_same(f"{entry.home}/{one}", other)))
                    return True
        return False

    def _bring(self, entry: _Entry, order: _Order) -> None:
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
                    raise self._full(order.room) from error

    def _try_to_bring(self, entry: _Entry, order: _Order) -> None:
        with self.space.taken(entry.digest, order.room, is_ahead=order.is_ahead) as partial:
            new = f"{partial}/{entry.name}"
            order.fill(Path(new))
            self._make_own_directory(entry.home)
            put(new, entry.path)
            _make_read_only(entry.path)
            self._record(entry)

    def _record(self, entry: _Entry, *others: str) -> None:
        """Note what an entry looks like, and *others*. To who reads half of that, the entry is one that was changed.

        The record stays the file it is: who has a lease has locked it.
        """
        names = _recorded(entry) | dict.fromkeys((entry.name, *others))
        for name in list(names):
            if name in (entry.name, *others):
                path = f"{entry.home}/{name}"
                names[name] = [look_through(path), entry.size, _look(os.lstat(path))]
            elif not os.path.lexists(f"{entry.home}/{name}"):
                del names[name]
        if not _is_plain(entry.record):
            remove(entry.record)
        descriptor = os.open(entry.record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _PLAIN, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(names, file)
        entry.top, entry.noted, entry.process = _look(os.lstat(entry.path)), time.time(), os.getpid()

    def _prepare(self, entry: _Entry) -> None:
        """Make the directories of an entry; refuse one that others can write to, or that has other things."""
        self.directory.mkdir(0o700, parents=True, exist_ok=True)
        if not self._is_own_directory(str(self.directory)):
            raise CacheError(
                f"the cache {self._named} is a link, or belongs to another user, or others may write to it, who could "
                f"put files there; {_WAY_ON}, or mend that (chmod o-w)"
            )
        self._make_ours()
        for place in (f"{self.directory}/locks", entry.shelf):
            with suppress(FileExistsError):
                os.mkdir(place, 0o700)
            if not self._is_own_directory(place):
                raise CacheError(
                    f"{printable(place)} is no directory of this user alone, and the cache has to have one there: "
                    f"move away what it is, or {_WAY_ON}"
                )

    def _make_ours(self) -> None:
        """Make the tag of a new cache, in a directory that is empty: what is not the cache's is never removed."""
        for attempt in range(_TAG_ATTEMPTS):
            time.sleep(0.1 * attempt)
            if self.space.is_ours():
                return
            if not os.listdir(self.directory):
                with suppress(FileExistsError), (self.directory / "CACHEDIR.TAG").open("x", encoding="ascii") as file:
                    file.write(TAG)
        self.require_ours()

    def require_ours(self) -> None:
        """Raise `CacheError` if the directory has files of others, and is no cache."""
        if not self.space.is_ours() and (found := sorted(os.listdir(self.directory))):
            raise CacheError(
                f"{self._named} is no cache: there is {printable(brief(found[0]))} in it, and not the CACHEDIR.TAG "
                "that a cache of this package has. A cache removes what it has, so it takes a directory that is new or "
                f"empty: {_WAY_ON}"
            )

    def _make_own_directory(self, path: str) -> None:
        """Make the directory of an entry, if there is none; what is in its place, and is none of this user, goes."""
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        if not self._is_own_directory(path):
            remove(path)
            os.mkdir(path, 0o700)

    def _is_own_directory(self, path: str) -> bool:
        """Tell whether it is a directory of this user, to which not everybody may write; False if it is not there."""
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IWOTH and self._is_own(status)

    def _is_own(self, status: os.stat_result) -> bool:
        """Tell whether it is of the user of whom files are that this process makes here: a server may name another."""
        user = os.geteuid()
        if status.st_uid != user and user not in self._owners:
            with suppress(OSError):
                self._owners[user] = _owner_below(str(self.directory))
        return status.st_uid in (user, self._owners.get(user))

    @property
    def _named(self) -> str:
        return printable(str(self.directory))

    def _full(self, size: int) -> CacheError:
        return CacheError(
            f"the disk of the cache {self._named} is full: {format_size(size)} are needed, and what could go from the "
            f"cache has gone. Free some space, or {_WAY_ON}. How much the cache may have is size in [cache], now "
            f"{format_size(self.space.limit)}"
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the system says of the cache's directory into this package's words."""
        try:
            yield
        except CacheError:
            raise
        except DestinationError as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            raise CacheError(f"the cache {self._named} cannot be used: {reason_of(cause)}; {_WAY_ON}") from error
        except DataJointFileError:
            raise
        except OSError as error:
            raise CacheError(f"the cache {self._named} cannot be used: {reason_of(error)}; {_WAY_ON}") from error


_WAY_ON = "name another directory by path in [cache] of datajoint.toml, or DATAJOINT_FILE__CACHE__PATH"


def _owner_below(path: str) -> int:
    directory = open_real(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return owner_of_new(directory)
    finally:
        os.close(directory)


def _is_same(path: str, other: str) -> bool:
    """Tell whether both are names of one file."""
    try:
        return os.path.samestat(os.lstat(path), os.lstat(other))
    except OSError:
        return False


def _recorded(entry: _Entry) -> dict[str, Any]:
    """Return what was noted of each name of an entry."""
    try:
        with open(os.open(entry.record, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_as_recorded(entry: _Entry, top: str) -> bool:
    """Tell whether an entry looks as was noted when it was brought; *top* is what it looks like from outside."""
    recorded = _recorded(entry).get(entry.name)
    if not isinstance(recorded, list):
        return False
    return (
        recorded[:2] == [look_through(entry.path), entry.size] if entry.is_deep else recorded[1:] == [entry.size, top]
    )


def _is_plain(path: str) -> bool:
    """Tell whether it is a file of one name."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _opened(path: str) -> BinaryIO | None:
    """Open a file that may have gone; neither a link nor a FIFO in its place is followed or waited for."""
    try:
        return open(path, "rb", opener=lambda name, flags: os.open(name, flags | _PLAIN))
    except OSError:
        return None


def look_through(path: str) -> str:
    """Return what a file looks like, or a directory with all that is in it: something else if it was changed."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        return _look(status)
    seen = hashlib.sha256(f"{status.st_ino}".encode())
    for place, directories, names in os.walk(path):
        directories.sort()
        for name in sorted([*directories, *names]):
            inner = f"{place}/{name}"
            seen.update(os.fsencode(f"{inner[len(path) :]}\0{_look(os.lstat(inner))}\0"))
    return f"tree {seen.hexdigest()}"


def _look(status: os.stat_result) -> str:
    """Say what a file is; its device is not in it, which has a number of its own on each machine that mounts it."""
    kind = stat.S_IFMT(status.st_mode)
    return f"{kind:o} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _make_read_only(path: str) -> None:
    """Take the right to write away, of a directory from all that is in it; what links lead to is left alone."""
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        os.chmod(path, 0o444)
    elif stat.S_ISDIR(status.st_mode):
        for name in os.listdir(path):
            _make_read_only(f"{path}/{name}")
        os.chmod(path, 0o555)  # noqa: S103 - within a directory that is this user's alone
