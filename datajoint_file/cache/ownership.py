"""Ownership checks of the cache's directory: this user's, nobody else may write to it, and it bears the tag of a cache.

What is in it is the business of `entries`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from datajoint_file.cache.layout import Place, is_ours, make_tag
from datajoint_file.cache.removal import remove
from datajoint_file.errors import CacheError, DataJointFileError, DestinationError, brief, printable, reason_of
from datajoint_file.model.wording import format_size
from datajoint_file.storage.disk.walk import open_real, owner_of_new

_TAG_ATTEMPTS = 3
"""To find the tag of a cache that another process just makes."""

_WAY_ON = "name another directory by path in [cache] of datajoint.toml, or DATAJOINT_FILE__CACHE__PATH"


class Ownership:
    """Whose a cache's directory is, and what is in it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._owners: dict[int, int] = {}  # what the file system calls this machine's users

    def prepare(self, place: Place) -> None:
        """Make the directories of an entry; refuse one that others can write to, or that has other things.

        Raises
        ------
        CacheError
            If it is refused.
        """
        os.makedirs(self._directory, 0o700, exist_ok=True)
        if not self.is_own_directory(self._directory):
            raise CacheError(
                f"the cache {self._named} is a link, or belongs to another user, or others may write to it, who could "
                f"put files there; {_WAY_ON}, or mend that (chmod o-w)"
            )
        self._make_ours()
        for path in (f"{self._directory}/locks", place.shelf):
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            if not self.is_own_directory(path):
                raise CacheError(
                    f"{printable(path)} is no directory of this user alone, and the cache has to have one there: "
                    f"move away what it is, or {_WAY_ON}"
                )

    def _make_ours(self) -> None:
        """Make the tag of a new cache, in a directory that is empty: what is not the cache's is never removed."""
        for attempt in range(_TAG_ATTEMPTS):
            time.sleep(0.1 * attempt)
            if is_ours(self._directory):
                return
            if not os.listdir(self._directory):
                make_tag(self._directory)
        self.require_ours()

    def require_ours(self) -> None:
        """Raise `CacheError` if the directory has files of others, and is no cache."""
        if not is_ours(self._directory) and (found := sorted(os.listdir(self._directory))):
            raise CacheError(
                f"{self._named} is no cache: there is {printable(brief(found[0]))} in it, and not the CACHEDIR.TAG "
                "that a cache of this package has. A cache removes what it has, so it takes a directory that is new or "
                f"empty: {_WAY_ON}"
            )

    def make_own_directory(self, path: str) -> None:
        """Make the directory of an entry, if there is none; what is in its place, and is none of this user, goes."""
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        if not self.is_own_directory(path):
            remove(path)
            os.mkdir(path, 0o700)

    def is_own_directory(self, path: str) -> bool:
        """Tell whether it is a directory of this user, to which not everybody may write; False if it is not there."""
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IWOTH and self.is_own(status)

    def is_own(self, status: os.stat_result) -> bool:
        """Tell whether it is of the user of whom files are that this process makes here: a server may name another."""
        user = os.geteuid()
        if status.st_uid == user:
            return True
        if user not in self._owners:
            with suppress(OSError):
                self._owners[user] = _owner_below(self._directory)
        return status.st_uid == self._owners.get(user)

    def full(self, size: int, limit: int) -> CacheError:
        """Say that so many bytes find no place on the disk."""
        return CacheError(
            f"the disk of the cache {self._named} is full: {format_size(size)} are needed, and what could go from the "
            f"cache has gone. Free some space, or {_WAY_ON}. How much the cache may have is size in [cache], now "
            f"{format_size(limit)}"
        )

    @contextmanager
    def told(self) -> Iterator[None]:
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

    @property
    def _named(self) -> str:
        return printable(self._directory)


def _owner_below(path: str) -> int:
    directory = open_real(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return owner_of_new(directory)
    finally:
        os.close(directory)
