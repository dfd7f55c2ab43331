"""Atomic write of a local file: downloads, configuration, state of commands.

How it is flushed and named, alone or with others, is told in `storage.disk.drafts`.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from datajoint_file.errors import DestinationError, DestinationExistsError, printable
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.storage.disk.drafts import Draft, publish_all
from datajoint_file.storage.disk.walk import is_called, mode_in


def publish_now(new: Draft) -> None:
    """Flush a complete file to the disk and give it its name."""
    publish_all([new])


@contextmanager
def atomic_write(
    target: Path, finish: Callable[[Draft], object] = publish_now, *, replaces: bool = True
) -> Iterator[Draft]:
    """Give a file that becomes *target* if the block ends well, else vanishes. Missing directories are made.

    At every moment *target* is absent, what it was, or complete. A symbolic link is replaced, not written through. What
    takes the place of a file is for the same people: its permissions, and its group and owner as far as this user may
    give them.
    *finish* flushes the file to the disk and publishes it then, or sees to it that both is done later.

    If it does not replace what is there, and somebody makes a file of that name meanwhile, his stays; where a file
    system has no hard links, one made in the very last moment may not.

    Raises
    ------
    DestinationExistsError
        If a file is there that differs, and is not to be replaced.
    DestinationError
        If the file cannot be written.
    """
    with destination_errors(target):
        new = _created(target, replaces=replaces)
    with published(new, finish):
        yield new


@contextmanager
def published(new: Draft, finish: Callable[[Draft], object] = publish_now) -> Iterator[Draft]:
    """Give a new file that is finished if the block ends well, else removed."""
    try:
        yield new
        finish(new)
    except BaseException:
        new.remove()
        raise


def write_text(target: Path, text: str, *, replaces: bool = True) -> None:
    """Write a whole file as `atomic_write` does."""
    with atomic_write(target, replaces=replaces) as new:
        new.write(0, text.encode())


class LocalFile(Draft):
    """A file that is kept out only by a different one, and gives its name to no other."""

    def publish(self) -> None:
        """Give the file its name, if it is still what it was made under, and nothing different has that name."""
        with self.translated(), self._within() as directory:
            if not is_called(directory, self._partial, self.descriptor):
                raise OSError("somebody else has exchanged it, or removed it, while it was written")
        try:
            super().publish()
        except DestinationExistsError:
            with self.translated(), self._within() as directory:
                if not self._is_equal(directory):
                    raise
                os.unlink(self._partial, dir_fd=directory)

    def _is_equal(self, directory: int | None) -> bool:
        """Tell whether what has the name is a file of the same bytes."""
        if not stat.S_ISREG(mode_in(directory, self._name)):
            return False
        other = os.open(self._name, READ_FILE, dir_fd=directory)
        try:
            return have_same_bytes(self.descriptor, other)
        finally:
            os.close(other)


READ_FILE = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def have_same_bytes(one: int, other: int) -> bool:
    """Tell whether two open files have the same bytes."""
    position = 0
    while (chunk := os.pread(one, CHUNK_SIZE, position)) == os.pread(other, CHUNK_SIZE, position):
        if not chunk:
            return True
        position += len(chunk)
    return False


def _created(target: Path, *, replaces: bool) -> Draft:
    name = str(target.with_name(f".datajoint-file-{secrets.token_hex(8)}.partial"))  # short, whatever the target's name
    old = _file_at(target) if replaces else None
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & _PERMISSIONS
    create = partial(LocalFile, str(target), name, partial(destination_errors, target), mode=mode, replaces=replaces)
    try:
        new = create()
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = create()
    if old is not None and hasattr(os, "fchown"):
        _give(new.descriptor, old)
    return new


_PERMISSIONS = 0o777


def _file_at(path: Path) -> os.stat_result | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _give(descriptor: int, old: os.stat_result) -> None:
    """Make an empty file one for those who may use *old*, and nobody else: another group has what all have, at most."""
    for uid in (old.st_uid, -1):
        with suppress(OSError):
            os.fchown(descriptor, uid, old.st_gid)
            break
    mode = stat.S_IMODE(old.st_mode) & _PERMISSIONS
    if os.fstat(descriptor).st_gid != old.st_gid:
        mode &= ~0o070 | (mode & 0o007) << 3
    with suppress(OSError):  # a file system without permissions
        os.fchmod(descriptor, mode)


@contextmanager
def destination_errors(target: Path) -> Iterator[None]:
    """Turn what the system says about *target* into this package's words."""
    try:
        yield
    except DestinationError:
        raise
    except FileExistsError as error:
        raise DestinationExistsError(
            f"{printable(str(target))} is there by now, and differs; it was left as it is. Pass "
            "overwrite=True to replace it, or give another destination"
        ) from error
    except OSError as error:
        raise DestinationError(
            f"{printable(str(target))} cannot be written: {error.strerror or error}; nothing was left there"
        ) from error
