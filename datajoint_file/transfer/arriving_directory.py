"""Arriving directory: made beside its target, filled below its open descriptor, then renamed; nobody else sees into it.

Whoever may write to the directory that it lies in can put a link, or something else, in its place: what is brought goes
to the one that was made all the same, and no other is given the target's name, or removed.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from datajoint_file.errors import DestinationError, printable
from datajoint_file.storage.disk.drafts import Draft, flush_within
from datajoint_file.storage.disk.removal import remove_opened
from datajoint_file.storage.disk.walk import Walker, descend, enter, is_called, owner_of_new
from datajoint_file.transfer.atomic_write import LocalFile, destination_errors, published


@contextmanager
def arriving(target: Path, *, is_inside: bool = False) -> Iterator[ArrivingDirectory]:
    """Make a directory for what is going to *target*, beside it or in it; it is removed after the block, unless named.

    Raises
    ------
    DestinationError
        If it cannot be made, or somebody exchanges it as it is made.
    """
    path = (target / "any" if is_inside else target).with_name(f".datajoint-file-{secrets.token_hex(8)}.partial")
    with destination_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        parent = Walker(str(path.parent)).open("")
    with ExitStack() as stack:
        stack.callback(os.close, parent)
        with destination_errors(path):
            os.mkdir(path.name, dir_fd=parent)
        with _removed_if_it_fails(parent, path.name):
            with destination_errors(path):
                descriptor = enter(parent, path.name, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            new = ArrivingDirectory(path, parent, descriptor)
        stack.callback(new.remove)
        yield new


@contextmanager
def _removed_if_it_fails(parent: int, name: str) -> Iterator[None]:
    """Remove a directory if the block raises and it is empty: whose it is, is not known yet."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            os.rmdir(name, dir_fd=parent)
        raise


class ArrivingDirectory:
    """A directory that is being filled; made by `arriving`. It is its owner's alone until it is named."""

    def __init__(self, path: Path, parent: int, descriptor: int) -> None:
        self.path = path
        self._parent = parent
        self._descriptor = descriptor
        self._is_named = False
        with destination_errors(path):
            self._mode = stat.S_IMODE(os.fstat(descriptor).st_mode)  # as the umask says, and the directory above
            with suppress(OSError):  # a file system without permissions
                os.fchmod(descriptor, (self._mode | 0o700) & ~0o077)
            if os.listdir(descriptor) or os.fstat(descriptor).st_uid != owner_of_new(descriptor):
                raise self._exchanged()

    def _exchanged(self) -> DestinationError:
        return DestinationError(
            f"{printable(str(self.path))} was exchanged by somebody else while files came; what came is removed. Give "
            "a destination in a directory to which nobody else may write"
        )

    def file(self, below: str, finish: Callable[[Draft], object]) -> AbstractContextManager[Draft]:
        """Give a file that is called so, below it, if the block ends well; see `atomic_write`."""
        path = self.path / below
        with destination_errors(path):
            name = str(path.with_name(f".datajoint-file-{secrets.token_hex(8)}.partial"))
            within = partial(self.within, below.rpartition("/")[0])
            return published(LocalFile(str(path), name, partial(destination_errors, path), within=within), finish)

    @contextmanager
    def within(self, below: str) -> Iterator[int]:
        """Open a directory below it for a block; what is missing is made."""
        inside = descend(self._descriptor, below, make)
        try:
            yield inside
        finally:
            os.close(inside)

    def make(self, below: str) -> None:
        """Make a directory below it, if it is not there."""
        with destination_errors(self.path / below), self.within(below):
            pass

    def rename(self, target: Path) -> None:
        """Give it its name, and the rights of any new directory.

        Raises
        ------
        DestinationError
            If something is there, or somebody has exchanged it; what has its name by then is left as it is.
        """
        with destination_errors(target):
            if self.path.parent != target.parent or not is_called(self._parent, self.path.name, self._descriptor):
                raise self._exchanged()
            with suppress(OSError):
                os.fchmod(self._descriptor, self._mode)
            os.rename(self.path.name, target.name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
            if not is_called(self._parent, target.name, self._descriptor):
                raise self._exchanged()
            self._is_named = True
            with suppress(OSError):
                flush_within(self._parent)

    def remove(self) -> None:
        """Remove it, with all that is in it, unless it has its name."""
        if not self._is_named:
            with suppress(OSError):
                remove_opened(self._parent, self.path.name, self._descriptor)


def make(directory: int, name: str) -> None:
    """Make a directory in an open one, unless there is one."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=directory)
