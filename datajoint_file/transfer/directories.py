"""`Directory` and the walk of a local tree: which files it has, in the order of a manifest, before any is read.

What is stored of them, and how, is the pipeline's business.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from datajoint_file.errors import (
    DataJointFileError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceNotRegularError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
    printable,
    reason_of,
)
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.names import encode_member
from datajoint_file.model.object_keys import MAX_KEY_BYTES
from datajoint_file.storage.disk.walk import LinkOnTheWayError
from datajoint_file.transfer.pinned_directory import PinnedDirectory


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory to insert, or a part of it.

    Parameters
    ----------
    path : str or os.PathLike
        The directory.
    include : str or sequence of str, optional
        Which files, as patterns of ``gitignore``: ``*.npy`` at any depth, ``/*.npy`` at the top, ``results/``; all if
        not given. With it, directories without files are left out.
    exclude : str or sequence of str
        Which files and directories not, in the same way. A directory that is left out is not entered.
    name : str or None
        The original name to record; that of the directory if not given.
    title : str or None
        What people call it: a line of at most 255 characters.

    Examples
    --------
    >>> Directory("/data/sorted", include="*.npy", exclude="tmp").exclude
    ('tmp',)
    """

    path: Any
    include: Any = None  # a tuple of patterns, as it is kept
    exclude: Sequence[str] = ()
    name: str | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        for which in ("include", "exclude"):
            given = getattr(self, which)
            if given is None:
                continue
            patterns = (os.fspath(given),) if isinstance(given, str | os.PathLike) else tuple(given)
            if which == "include" and not patterns:
                raise UnsupportedValueError(f"include = {brief(given)} has no pattern: nothing would be stored")
            if not all(isinstance(one, str) and one.strip("/ ") for one in patterns):
                raise UnsupportedValueError(f"{which} = {brief(given)}: give patterns such as '*.npy', 'logs/'")
            object.__setattr__(self, which, patterns)


@dataclass(slots=True)
class Listing:
    """Files and empty directories of a tree, in the order of a manifest: some hundred bytes a file.

    Names are those of the store, percent-encoded.
    """

    names: list[str] = field(default_factory=list)
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    empty: list[str] = field(default_factory=list)
    looks: array[int] = field(default_factory=lambda: array("Q"))  # of files, as of `look_of`
    links: dict[str, str] = field(default_factory=dict)  # of those that are links, the files they end at, not encoded
    is_open: bool = False  # somebody is adding to it

    @property
    def size(self) -> int:
        """Bytes of all files, as they were when they were listed."""
        return sum(self.sizes)


class Tree(Protocol):
    """A directory to store, wherever it is."""

    @property
    def listing(self) -> Listing:
        """What is in it; found out at the first use."""
        ...

    def value(self, name: str) -> object:
        """Return the member *name*, as the store calls it: a value that a `file` attribute takes for a file."""
        ...


@dataclass(frozen=True, slots=True)
class TreeMember:
    """A file of a directory of this machine, as it was when that was listed: small, and picklable."""

    directory: PinnedDirectory
    path: str  # below it
    target: str = ""  # what it ends at, below it, if it is a link
    look: int | None = None  # what it looked like, if it must be what it was then
    title: str | None = None

    def __str__(self) -> str:
        return f"{self.directory.path}/{self.path}"

    def open(self, _path: str, flags: int) -> int:
        """Open it, as an *opener* does: no link is followed but the one that was listed.

        Raises
        ------
        SourceChangedError
            If it is another file by now, or has been written to, and must not.
        """
        descriptor = self.directory.open(self.target or self.path, flags)
        if self.look is None or look_of(os.fstat(descriptor)) == self.look:
            return descriptor
        os.close(descriptor)
        raise SourceChangedError(
            f"{printable(str(self))} has been changed since it was captured; nothing was stored. Let the job wait for "
            "all that writes to it before the block ends"
        )


def look_of(status: os.stat_result) -> int:
    """Return a number that differs once a file was written to, or another bears its name: 64 bits.

    It is of inode, size and times, those of the inode too: programs that copy set the other to what it was.
    """
    return hash((status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)) % 2**64


class LocalTree:
    """A directory of this machine; *root* is its absolute path. What of that is below *top* must have no link."""

    def __init__(self, given: Directory, root: str, top: str = "") -> None:
        self._given = given
        self._root = root
        self._top = top

    def contains(self, path: str) -> bool:
        """Tell whether a path of this machine is the directory, or lies in it, if there is one; links are followed."""
        root = os.path.realpath(self._root)
        return bool(path) and os.path.commonpath([root, os.path.realpath(path)]) == root

    @cached_property
    def _directory(self) -> PinnedDirectory:
        try:
            return PinnedDirectory.at(self._root, self._top)
        except OSError as error:
            raise _Obstacle.of(error).told(self._root) from error

    @cached_property
    def listing(self) -> Listing:
        """What is in it. Raises as `walk` does, and `UnsupportedValueError` if a choice of files leaves none."""
        found = walk(self._given, self._directory)
        if self._given.include and not found.names:
            patterns = ", ".join(map(repr, self._given.include))
            raise UnsupportedValueError(f"{printable(self._root)} has no file that include={patterns} matches")
        return found

    def value(self, name: str) -> TreeMember:
        """Return a member, as it was listed."""
        return TreeMember(self._directory, decode_path(name), self.listing.links.get(name, ""))


class Choice(Protocol):
    """Says what of a directory is wanted. Paths are those within it; of directories they end in a slash."""

    def has(self, path: str) -> bool:
        """Tell whether a file is wanted, or a directory to be entered."""
        ...

    def is_whole(self, directory: str) -> bool:
        """Tell whether a directory is wanted if it has no file."""
        ...


class _Patterns:
    """What a `Directory` is given of."""

    def __init__(self, given: Directory) -> None:
        self._includes_all = not given.include
        self._include, self._exclude = matcher(given.include or ()), matcher(given.exclude)

    def has(self, path: str) -> bool:
        return not self._exclude(path) and (path.endswith("/") or self._includes_all or self._include(path))

    def is_whole(self, _directory: str) -> bool:
        return self._includes_all


def walk(given: Directory, root: PinnedDirectory) -> Listing:
    """List the files of a `Directory`, whose path has led to *root*. Raises as `list_chosen` does."""
    return list_chosen(root, _Patterns(given))


def list_chosen(root: PinnedDirectory, choice: Choice) -> Listing:
    """List the files below *root* that are wanted. Looks at each, reads none; no directory is entered by a link.

    A symbolic link that stays inside and ends at a file counts as that file. All is looked at before what cannot be
    stored is told, in one error: the first ten, and how many others there are; it is of the class of the first.

    Raises
    ------
    SourceNotRegularError
        If something is a FIFO, socket, device, or a link that leaves the directory, dangles, loops or ends at a
        directory.
    SourceAccessError
        If a file or directory may not be read by this user.
    SourceChangedError
        If somebody changes it meanwhile.
    UnsafeNameError
        If something is called so that no store could hold it.
    SourceError
        If the system says no for another reason.
    """
    return _Walk(root, choice).listing()


_EXCLUDE = "out with Directory(…, exclude=…) or capture(put=[…, '!…'])"
_LEAVE_OUT = f"Leave it {_EXCLUDE}, or put a file in its place; a Link takes all of a directory, or one below it"
_RENAME = f"Rename it, or leave it {_EXCLUDE}"

_TOLD = 10
"""So many of the things that cannot be stored are named."""


class _Obstacle(Exception):
    """Something cannot be stored: the class of error, what is wrong, as it is said after the path, and what to do."""

    def __init__(self, kind: type[DataJointFileError], what: str, advice: str = _LEAVE_OUT) -> None:
        super().__init__(kind, what, advice)
        self.kind, self.what, self.advice = kind, what, advice

    @classmethod
    def of(cls, error: OSError | _Obstacle) -> _Obstacle:
        """Put what the system says of a path into this package's words."""
        if isinstance(error, _Obstacle):
            return error
        if isinstance(error, LinkOnTheWayError):
            what = " has become a symbolic link while the directory was listed"
            return cls(SourceChangedError, what, "Try again when nobody changes it")
        if isinstance(error, PermissionError):
            return cls(SourceAccessError, " may not be read by this user")
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            what = " has disappeared while the directory was listed"
            return cls(SourceChangedError, what, "Try again when nobody changes it")
        return cls(SourceError, f" cannot be looked at: {reason_of(error)}")

    def told(self, path: str) -> DataJointFileError:
        """Return the error that tells of it."""
        return self.kind(f"{printable(path)}{self.what}; nothing was stored. {self.advice}")


class _Entry(NamedTuple):
    """What is in a directory that is listed: names in the order of the manifest come first."""

    encoded: str  # its name, with a slash at its end if it is a directory
    name: str
    size: int = 0
    look: int = 0
    target: str = ""  # what it ends at, if it is a link
    obstacle: OSError | _Obstacle | None = None


class _Walk:
    def __init__(self, root: PinnedDirectory, choice: Choice) -> None:
        self._root = root
        self._choice = choice
        self._found = Listing()
        self._obstacles: list[tuple[str, _Obstacle]] = []
        self._obstacle_count = 0
        self._cause: BaseException | None = None

    def listing(self) -> Listing:
        self._enter("", "")
        if self._obstacles:
            raise self._error() from self._cause
        return self._found

    def _enter(self, below: str, encoded: str) -> None:
        """Add what is in a directory. Where that of a directory ends in a slash, names sort as the paths do."""
        if len(encoded) > MAX_KEY_BYTES:
            self._note(below, _Obstacle(UnsafeNameError, f": no object key of {MAX_KEY_BYTES} bytes has room for it"))
            return
        before = len(self._found.names), len(self._found.empty)
        try:
            entries = self._listed(below)
        except OSError as error:
            self._note(below, error)
            return
        for entry in entries:
            path, name = f"{below}{entry.name}", f"{encoded}{entry.encoded}"
            if entry.obstacle is not None:
                self._note(path, entry.obstacle)
            elif entry.encoded.endswith("/"):
                self._enter(f"{path}/", name)
            else:
                self._found.names.append(name)
                self._found.sizes.append(entry.size)
                self._found.looks.append(entry.look)
                if entry.target:
                    self._found.links[name] = entry.target
        is_empty = before == (len(self._found.names), len(self._found.empty))
        if encoded and is_empty and self._choice.is_whole(below):
            self._found.empty.append(encoded)

    def _listed(self, below: str) -> list[_Entry]:
        """Return what of a directory is wanted, sorted; its descriptor is not kept: trees can be deep."""
        directory = self._root.open_directory(below.rstrip("/"))
        try:
            with os.scandir(directory) as entries:
                return sorted(filter(None, (self._wanted(entry, directory, below) for entry in entries)))
        finally:
            os.close(directory)

    def _wanted(self, entry: os.DirEntry[str], directory: int, below: str) -> _Entry | None:
        """Describe what is in a directory; None if it is not wanted."""
        is_directory = entry.is_dir(follow_symlinks=False)
        slash = "/" if is_directory else ""
        path = f"{below}{entry.name}{slash}"
        if not self._choice.has(path):
            return None
        try:
            encoded = f"{encode_member(entry.name)}{slash}"
        except UnsafeNameError as error:
            self._note(path, _Obstacle(UnsafeNameError, f": {error}", _RENAME), error)
            return None
        if is_directory:
            return _Entry(encoded, entry.name)
        try:
            target = self._target(path) if entry.is_symlink() else ""
            status = self._status(target) if target else entry.stat(follow_symlinks=False)
            _require_readable(status, entry.name, directory)
        except (OSError, _Obstacle) as error:
            return _Entry(encoded, entry.name, obstacle=error)
        return _Entry(encoded, entry.name, status.st_size, look_of(status), target)

    def _target(self, path: str) -> str:
        """Return what a link ends at, below the root."""
        try:
            target = os.path.realpath(f"{self._root.real}/{path}", strict=True)
        except FileNotFoundError as error:
            raise _Obstacle(SourceNotRegularError, " is a symbolic link to what is not there") from error
        except OSError as error:
            what = f" is a symbolic link that cannot be followed: {reason_of(error)}"
            raise _Obstacle(SourceNotRegularError, what) from error
        if os.path.commonpath([self._root.real, target]) != self._root.real:
            raise _Obstacle(SourceNotRegularError, f" is a symbolic link to {printable(target)}, outside the directory")
        return os.path.relpath(target, self._root.real)

    def _status(self, target: str) -> os.stat_result:
        """Describe what a link has ended at, unless somebody has put another one there since."""
        above, _, name = target.rpartition("/")
        directory = self._root.open_directory(above)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)
        if stat.S_ISDIR(status.st_mode):
            raise _Obstacle(SourceNotRegularError, " is a symbolic link to a directory")
        if stat.S_ISLNK(status.st_mode):
            raise LinkOnTheWayError(errno.ELOOP, "what it ended at is a symbolic link by now", target)
        return status

    def _note(self, path: str, error: OSError | _Obstacle, cause: BaseException | None = None) -> None:
        """Take note of something that cannot be stored, and go on: users learn of all in one go."""
        if not self._obstacle_count:
            self._cause = cause or (error if isinstance(error, OSError) else error.__cause__)
        self._obstacle_count += 1
        if len(self._obstacles) < _TOLD:
            self._obstacles.append((path, _Obstacle.of(error).with_traceback(None)))

    def _error(self) -> DataJointFileError:
        path, first = self._obstacles[0]
        if self._obstacle_count == 1:
            return first.told(f"{self._root.path}/{path}".rstrip("/"))
        told = [f"{printable(path or '.')}{obstacle.what}" for path, obstacle in self._obstacles]
        left = self._obstacle_count - len(told)
        return first.kind(
            f"{printable(self._root.path)} has {self._obstacle_count} files and directories that cannot be stored; "
            f"nothing was stored: {'; '.join(told)}{f'; and {left} more' if left else ''}. "
            f"Leave them {_EXCLUDE}, rename them, or put files in their place"
        )


def _require_readable(status: os.stat_result, name: str, directory: int) -> None:
    """Say why a file cannot be stored, if it cannot."""
    if not stat.S_ISREG(status.st_mode):
        raise _Obstacle(SourceNotRegularError, " is a FIFO, socket or device, not a regular file")
    if not os.access(name, os.R_OK, dir_fd=directory):
        raise _Obstacle(SourceAccessError, " may not be read by this user")


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a path within the directory, with a slash at its end if it is one itself, matches."""
    if not patterns:
        return lambda _: False
    from pathspec import GitIgnoreSpec  # for its cost: most directories are stored whole

    return GitIgnoreSpec.from_lines(patterns).match_file
