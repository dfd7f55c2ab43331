"""`CapturedFile` and `CapturedDirectory`, what a job has made: values that an insert takes, as they were then.

They keep the scratch directory that they are in. Which files are taken, `patterns` says.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

from datajoint_file.errors import (
    NothingMatchesError,
    OutputMissingError,
    SourceNotFoundError,
    UnsafeNameError,
    printable,
)
from datajoint_file.jobs.patterns import Pattern, Patterns
from datajoint_file.jobs.scratch import Scratch
from datajoint_file.model.manifest import decode_path, encode_path
from datajoint_file.model.wording import counted, format_size
from datajoint_file.transfer.directories import Listing, TreeMember, list_chosen
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.pinned_directory import PinnedDirectory

_TOLD = 10
"""So many of the files that there are, are named where one is missing."""


@dataclass(frozen=True, slots=True, repr=False)
class CapturedFile(TreeMember):
    """A file that a job has made. Insert it, or use it as a path while its run is there.

    It is inserted as it was when the block ended, or not at all. ``path`` is where it was in the working directory.

    Examples
    --------
    >>> import datajoint_file
    >>> from pathlib import Path
    >>> with datajoint_file.capture(put="plots/*.txt") as run:
    ...     (run.path / "plots").mkdir()
    ...     _ = (run.path / "plots" / "day1.txt").write_text("12 spikes")
    >>> file = run["plots/day1.txt"]
    >>> file.path, file.name, file.size, Path(file).read_text()
    ('plots/day1.txt', 'day1.txt', 9, '12 spikes')
    """

    size: int = 0
    scratch: Scratch | None = field(default=None, compare=False)  # is kept by it; not in another process

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    def open(self, path: str, flags: int) -> int:
        """Open it, as an *opener* does. Raises as a `TreeMember`, or `SourceNotFoundError` if its run was closed."""
        if self.scratch is not None and not self.scratch.is_there:
            raise SourceNotFoundError(f"{printable(self.path)} has gone with its run, which was closed")
        return TreeMember.open(self, path, flags)

    def __fspath__(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {format_size(self.size)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory, self.path, self.target, self.look, self.title, self.size)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CapturedDirectory:
    """Files that a job has made, as one directory. Insert it: it is a `transfer.sources.StoredDirectory`.

    Parameters
    ----------
    original_name : str
        What it is called.
    directory : PinnedDirectory
        The working directory.
    below : str
        What of it: nothing for all, or a path with a slash at its end.
    listing : Listing
        The files, with paths in what is meant.
    title : str or None
        What people call it.
    scratch : Scratch or None
        Is kept by it; not in another process.
    """

    original_name: str
    directory: PinnedDirectory
    below: str
    listing: Listing
    title: str | None = None
    scratch: Scratch | None = field(default=None, compare=False)

    def as_tree(self) -> CapturedDirectory:
        """Return its members, as what is to be stored: itself."""
        if self.scratch is not None and not self.scratch.is_there:
            raise SourceNotFoundError(f"{printable(self.original_name)} has gone with its run, which was closed")
        return self

    def value(self, name: str) -> CapturedFile:
        """Return a member, as it was when the block ended."""
        return self._member(bisect_left(self.listing.names, name))

    def files(self) -> Iterator[CapturedFile]:
        """Give all files, sorted."""
        return map(self._member, range(len(self.listing.names)))

    def _member(self, index: int) -> CapturedFile:
        listing = self.listing
        name = listing.names[index]
        path, target = f"{self.below}{decode_path(name)}", listing.links.get(name, "")
        return CapturedFile(
            self.directory, path, target, listing.looks[index], None, listing.sizes[index], self.scratch
        )

    def __repr__(self) -> str:
        files, size = counted(len(self.listing.names), "file"), format_size(self.listing.size)
        return f"{type(self).__name__}({self.original_name!r}, {files}, {size})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.original_name, self.directory, self.below, self.listing, self.title)


class Outputs:
    """All that a job has made, of what was wanted; made by `collected`."""

    def __init__(self, name: str, directory: PinnedDirectory, listing: Listing, patterns: Patterns, scratch: Scratch):
        self.whole = CapturedDirectory(name, directory, "", listing, None, scratch)
        self.links: dict[str, Link] = {}
        self._patterns = patterns

    def leave_out(self, links: Mapping[str, Link]) -> None:
        """Take files out, of which there are links."""
        self.links.update(links)
        kept = [index for index, name in enumerate(self.listing.names) if decode_path(name) not in links]
        names = [self.listing.names[index] for index in kept]
        sizes, looks = (array("Q", (one[i] for i in kept)) for one in (self.listing.sizes, self.listing.looks))
        ends = {name: self.listing.links[name] for name in names if name in self.listing.links}
        self.whole = replace(self.whole, listing=Listing(names, sizes, self.listing.empty, looks, ends))

    @property
    def listing(self) -> Listing:
        """The files."""
        return self.whole.listing

    def files(self) -> Iterator[CapturedFile]:
        """Give all files, sorted, with their titles."""
        return map(self._titled, self.whole.files())

    def paths(self) -> Iterator[str]:
        """Give the paths of all files, and of directories without any, these with a slash at their ends."""
        empty = (f"{decode_path(name.rstrip('/'))}/" for name in self.listing.empty)
        return chain(map(decode_path, self.listing.names), empty)

    def matching(self, pattern: str) -> list[CapturedFile]:
        """Return the files that a pattern chooses."""
        chosen = Patterns.read(pattern)
        return [file for file in self.files() if chosen.has(file.path)]

    def get(self, path: str) -> CapturedFile | CapturedDirectory | Link:
        """Return the file, or directory, of a path; a link, if that is what there is of it.

        Raises
        ------
        OutputMissingError
            If nothing of this path was captured.
        """
        if path in self.links:
            return self.links[path]
        try:
            name = encode_path(path.rstrip("/"))
        except UnsafeNameError:
            name = ""
        names, index = self.listing.names, bisect_left(self.listing.names, name)
        if index < len(names) and names[index] == name and not path.endswith("/"):
            return self._titled(self.whole.value(name))
        part = _part(self.listing, f"{name}/")
        if not name or not (part.names or part.empty or f"{name}/" in self.listing.empty):
            if within := [one for one in self.links if one.startswith(f"{path.rstrip('/')}/")]:
                return Link(str(self.links[within[0]].path).removesuffix(within[0]) + path.rstrip("/"))
            there = told(chain((file.path for file in self.whole.files()), self.links), len(names) + len(self.links))
            raise OutputMissingError(f"{printable(path)} is not among what was captured: {there}")
        below = f"{path.rstrip('/')}/"
        title, whole = self._patterns.title_of(below), self.whole
        return CapturedDirectory(below[:-1].rpartition("/")[2], whole.directory, below, part, title, whole.scratch)

    def _titled(self, file: CapturedFile) -> CapturedFile:
        title = self._patterns.title_of(file.path)
        if title is None:
            return file
        return CapturedFile(file.directory, file.path, file.target, file.look, title, file.size, file.scratch)


def collected(name: str, scratch: Scratch, patterns: Patterns) -> Outputs:
    """Find what of a job's working directory is wanted. Looks at each file, reads none.

    Raises
    ------
    OutputMissingError
        If a file or directory that was named is not there.
    NothingMatchesError
        If a glob matches nothing.
    SourceError, UnsafeNameError
        If what is wanted cannot be stored, as by `transfer.directories.list_chosen`: a FIFO, a link that leads out, …
    """
    directory = PinnedDirectory.at(str(scratch.work))
    outputs = Outputs(name, directory, list_chosen(directory, patterns), patterns, scratch)
    if idle := patterns.idle(outputs.paths()):
        kind = NothingMatchesError if all(one.is_glob for one in idle) else OutputMissingError
        named = ", ".join(printable(one.text) for one in idle)
        what = "matches nothing that the job has made" if kind is NothingMatchesError else "was not made by the job"
        made = [path.relative_to(scratch.work).as_posix() for path in scratch.work.rglob("*") if not path.is_dir()]
        left = (path for path in made if not any(one.has(path) for one in patterns.unwanted))
        advice = _advice(idle, list(left)) if kind is NothingMatchesError else ""
        raise kind(f"{named} {what}; nothing was stored. There is: {told(made)}.{advice}")
    return outputs


def _advice(idle: Iterable[Pattern], made: Iterable[str]) -> str:
    """Return what to write for globs that match nothing."""
    for one in idle:
        deeper = f"**/{one.text}"
        if found := next(filter(Pattern.read(deeper).has, made), None):
            return f" A star ends at a slash: {printable(deeper)} takes {printable(found)}"
    return " If there may be none, name their directory instead ('plots/')"


def told(paths: Iterable[str], count: int | None = None) -> str:
    """Name some paths, and say how many others there are."""
    everything = iter(paths)
    shown = sorted(map(printable, islice(everything, _TOLD)))
    left = count - len(shown) if count is not None else sum(1 for _ in everything)
    return f"{', '.join(shown) or 'nothing'}{f' and {left} more' if left > 0 else ''}"


def _part(listing: Listing, below: str) -> Listing:
    """Return what of a listing is below a directory."""
    names = listing.names
    start = bisect_left(names, below)
    end = bisect_left(names, f"{below[:-1]}0")  # what follows a slash
    return Listing(
        [name[len(below) :] for name in names[start:end]],
        array("Q", listing.sizes[start:end]),
        [name[len(below) :] for name in listing.empty if name.startswith(below) and name != below],
        array("Q", listing.looks[start:end]),
        {name[len(below) :]: target for name, target in listing.links.items() if name.startswith(below)},
    )
