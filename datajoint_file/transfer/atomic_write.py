"""Atomic write of a local file: downloads, configuration, state of commands.

How it is flushed and named, alone or with others, is told in `storage.disk.drafts`.
"""

from __future__ import annotations

import filecmp
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from datajoint_file.errors import DestinationError, DestinationExistsError, printable
from datajoint_file.storage.disk.drafts import Draft, publish_all


def finish(new: Draft) -> None:
    """Flush a complete file to the disk and give it its name."""
    publish_all([new])


@contextmanager
def atomic_write(target: Path, finish: Callable[[Draft], object] = finish, *, replaces: bool = True) -> Iterator[Draft]:
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


class _LocalFile(Draft):
    """A file that is kept out only by a different one."""

    def publish(self) -> None:
        try:
            super().publish()
        except DestinationExistsError:
            with self.translated():
                if not filecmp.cmp(self.partial, self.path, shallow=False):
                    raise
                Path(self.partial).unlink()


def _created(target: Path, *, replaces: bool) -> Draft:
    name = str(target.with_name(f".datajoint-file-{secrets.token_hex(8)}.partial"))  # short, whatever the target's name
    old = _file_at(target) if replaces else None
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & _PERMISSIONS
    create = partial(_LocalFile, str(target), name, partial(destination_errors, target), mode=mode, replaces=replaces)
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
    except FileExistsError as error:
        raise DestinationExistsError(
            f"{printable(str(target))} is there by now, and differs; it was left as it is. Pass "
            "overwrite=True to replace it, or give another destination"
        ) from error
    except OSError as error:
        raise DestinationError(
            f"{printable(str(target))} cannot be written: {error.strerror or error}; nothing was left there"
        ) from error
