"""Directory merge: files are moved into a directory that is there already, and nothing below it is passed by a link.

The directory is opened once, and is the one that was opened, whatever its path leads to later.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from datajoint_file.errors import DestinationError, DestinationExistsError, brief, printable
from datajoint_file.model.names import is_read_by_datajoint
from datajoint_file.storage.disk.walk import LinkOnTheWayError, Walker, descend
from datajoint_file.transfer.arriving_directory import ArrivingDirectory, make
from datajoint_file.transfer.atomic_write import READ_FILE, have_same_bytes

_TOLD = 10
"""So many of the files that were placed are named in an error."""

ELSEWHERE = "Give another destination"
DIFFERS = "Pass overwrite=True to replace what differs, or give another destination"
IS_DIRECTORY = (
    "is a directory, where the stored one has a file",
    "No directory is replaced, not with overwrite=True either: move it away, or give another destination",
)
_IS_FILE = (
    "is no directory, as it is in the stored one",
    "It is not replaced, not with overwrite=True either: move it away, or give another destination",
)


class ExistingDirectory:
    """An open directory, into which files are moved; made by `opened`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.is_moving = False
        self.placed: list[str] = []
        self._descriptor = descriptor

    @contextmanager
    def entered(self, below: str) -> Iterator[int | None]:
        """Open a directory below it for a block; None if that is not there."""
        try:
            inside = self._open(below, None)
        except FileNotFoundError:
            yield None
            return
        try:
            yield inside
        finally:
            os.close(inside)

    @contextmanager
    def made(self, below: str) -> Iterator[int]:
        """Open a directory below it for a block; what is missing is made."""
        try:
            inside = self._open(below, make)
        except FileNotFoundError as error:
            raise self.error(error.filename, "was removed by somebody else", "Call it again") from error
        try:
            yield inside
        finally:
            os.close(inside)

    def _open(self, below: str, missing: Callable[[int, str], None] | None) -> int:
        try:
            return descend(self._descriptor, below, missing)
        except FileNotFoundError:
            raise
        except LinkOnTheWayError as error:
            what = f"leads out of {printable(str(self.path))} through a symbolic link"
            raise self.error(error.filename, what, ELSEWHERE) from error
        except NotADirectoryError as error:
            raise self.error(error.filename, *_IS_FILE, DestinationExistsError) from error
        except OSError as error:
            raise self.error(error.filename, f"cannot be opened: {error.strerror}", ELSEWHERE) from error

    def error(
        self, below: str | Path, what: str, advice: str, kind: type[DestinationError] = DestinationError
    ) -> DestinationError:
        """Return an error about what is below it, which says what has been placed as well."""
        changed = "nothing was changed"
        if self.is_moving:
            names, count = ", ".join(brief(name) for name in self.placed[:_TOLD]), len(self.placed)
            more = f", and {count - _TOLD} more" if count > _TOLD else ""
            changed = f"placed before that: {names}{more}; the rest was not" if names else "no file was placed"
        return kind(f"{printable(str(self.path / below))} {what}; {changed}. {advice}")

    def refuse_what_datajoint_reads(self, names: Iterable[str]) -> None:
        """Raise if there is one among the paths of what is going to be placed."""
        if unasked := next((name for name in names if any(map(is_read_by_datajoint, name.split("/")))), None):
            raise DestinationExistsError(
                f"DataJoint would read {brief(unasked)} where it lies, and {printable(str(self.path))} is there "
                "already; nothing was changed. Give the path of a new directory"
            )

    def require_same(self) -> None:
        """Raise if its path leads elsewhere by now."""
        with suppress(OSError):
            if os.path.samestat(self.path.stat(), os.fstat(self._descriptor)):
                return
        raise self.error("", "is another directory by now, or none", "Call it again")


@contextmanager
def opened(target: Path) -> Iterator[ExistingDirectory | None]:
    """Open a directory for a block; None if there is none.

    Raises
    ------
    DestinationExistsError
        If something else is there.
    """
    there = None
    try:
        there = ExistingDirectory(target, Walker(str(target)).open(""))
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.lexists(target):
            raise DestinationExistsError(
                f"{printable(str(target))} is no directory; it was left as it is. Give another destination"
            ) from error
    except OSError as error:
        raise DestinationError(
            f"{printable(str(target))} cannot be opened: {error.strerror}; nothing was changed. {ELSEWHERE}"
        ) from error
    try:
        yield there
    finally:
        if there is not None:
            os.close(there._descriptor)


def move_tree(new: ArrivingDirectory, target: Path, tree: Mapping[str, Sequence[str]]) -> None:
    """Give a new directory the name of *target*, or move what is in it into the one that is there, replacing files.

    Its *tree* is the names of the files in each directory.

    Raises
    ------
    DestinationExistsError
        If the one that is there would get what DataJoint reads where it lies, or has a file where *new* has a
        directory, or the other way round.
    DestinationError
        If a link is in the place of a directory, or something cannot be written.
    """
    with opened(target) as there:
        if there is None:
            new.rename(target)
            return
        for below, names in tree.items():
            with there.entered(below) as inside, new.within(below) as origin:
                read = [name for name in names if any(map(is_read_by_datajoint, Path(below, name).parts))]
                different = [name for name in read if inside is None or not _is_equal(name, origin, inside)]
                there.refuse_what_datajoint_reads(str(Path(below, name)) for name in different)
        there.require_same()
        there.is_moving = True
        for below, names in tree.items():
            with there.made(below) as inside, new.within(below) as origin:
                for name in names:
                    _replace(there, Path(below) / name, origin, inside)
        there.require_same()


def _is_equal(name: str, one: int, other: int) -> bool:
    with suppress(OSError), ExitStack() as stack:
        files = [os.open(name, READ_FILE, dir_fd=directory) for directory in (one, other)]
        for file in files:
            stack.callback(os.close, file)
        sizes = {(stat.S_IFMT(status.st_mode), status.st_size) for status in map(os.fstat, files)}
        return len(sizes) == 1 and have_same_bytes(*files)
    return False


def _replace(there: ExistingDirectory, path: Path, origin: int, inside: int) -> None:
    name = path.name
    try:
        os.replace(name, name, src_dir_fd=origin, dst_dir_fd=inside)
    except IsADirectoryError as error:
        raise there.error(path, *IS_DIRECTORY, DestinationExistsError) from error
    except OSError as error:
        raise there.error(path, f"cannot be written: {error.strerror}", ELSEWHERE) from error
    there.placed.append(str(path))
