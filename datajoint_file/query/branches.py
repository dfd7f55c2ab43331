"""Tree of files as a value: prints with box lines, is a block of text in a notebook, and becomes plain values.

It is grown by `tree`; nothing is asked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from datajoint_file.model.wording import counted, format_size
from datajoint_file.preview.shown import Lines, cut

MOST_LINES = 2_000
"""Lines that are printed at most; `to_dict` has all branches."""

_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Branch:
    """A schema, table, key, directory or file.

    Parameters
    ----------
    name : str
        What it is called.
    files, size : int or None
        Files at or below it that are stored, and their bytes; None where only a part of them was looked at.
    linked_files, linked_size : int or None
        Those that stay where they are.
    mark : str
        Of a file: ``linked``, ``missing``, both, or nothing.
    more_files, more_size : int
        What is below it, beside its branches, and not shown, links included.
    branches : tuple of Branch
        What is below it.
    """

    name: str
    files: int | None = 0
    size: int | None = 0
    linked_files: int | None = 0
    linked_size: int | None = 0
    mark: str = ""
    more_files: int = 0
    more_size: int = 0
    is_file: bool = False
    branches: tuple[Branch, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        names = ("name", "files", "size", "linked_files", "linked_size", "mark", "more_files", "more_size", "is_file")
        return {**{name: getattr(self, name) for name in names}, "branches": [one.to_dict() for one in self.branches]}

    def __str__(self) -> str:
        line = cut(self.name, _LONGEST_NAME)
        if self.is_file:
            size = format_size((self.size or 0) + (self.linked_size or 0))
            return f"{line}  {size}{self.mark and f'  ({self.mark})'}"
        if self.files is None:
            return line
        linked = f", {self.linked_files:,} linked ({format_size(self.linked_size or 0)})" if self.linked_files else ""
        return f"{line}  {format_size(self.size or 0)}, {counted(self.files, 'file')}{linked}"


@dataclass(frozen=True, slots=True)
class FileTree:
    """Files of a schema, table or query as a tree. Made by `datajoint_file.tree`; it prints.

    Parameters
    ----------
    by : str
        ``"key"`` or ``"path"``.
    branches : tuple of Branch
        The schemas, or the projects and roots.
    more_files, more_size : int
        What is not shown, as of a `Branch`.
    notes : tuple of str
        What else is worth knowing.
    """

    by: str
    branches: tuple[Branch, ...] = ()
    more_files: int = 0
    more_size: int = 0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return Lines(tuple(self._lines())).html()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what ``datajoint-file tree --json`` prints."""
        return {
            "by": self.by,
            "branches": [one.to_dict() for one in self.branches],
            "more_files": self.more_files,
            "more_size": self.more_size,
            "notes": list(self.notes),
        }

    def _lines(self) -> list[str]:
        drawn = (line for one in self.branches for line in [str(one), *_drawn(one)])
        lines = list(islice(drawn, MOST_LINES + 1))
        if len(lines) > MOST_LINES:
            lines[MOST_LINES:] = ["… and more lines: give a depth, a limit, or fewer rows"]
        ending = [_rest(self.more_files, self.more_size)] if self.more_files else []
        return [*(lines or ["no files"]), *ending, *map(cut, self.notes)]


def _drawn(branch: Branch, indent: str = "") -> Iterator[str]:
    """Give the lines below a branch."""
    rest = [_rest(branch.more_files, branch.more_size)] if branch.more_files else []
    count = len(branch.branches) + len(rest)
    for number, one in enumerate([*branch.branches, *rest], 1):
        tee, below = ("└── ", "    ") if number == count else ("├── ", "│   ")
        yield f"{indent}{tee}{one}"
        if isinstance(one, Branch):
            yield from _drawn(one, indent + below)


def _rest(files: int, size: int) -> str:
    return f"… {counted(files, 'more file')}, {format_size(size)}"


@dataclass(slots=True)
class Growing:
    """A branch that is being made: what is added to it is counted on the way down."""

    name: str
    sums: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    below: dict[str, Growing] = field(default_factory=dict)
    mark: str = ""
    is_file: bool = False
    is_cut: bool = False  # more may be below it than was added
    more: tuple[int, int] = (0, 0)

    def at(self, names: Sequence[str]) -> Growing:
        """Return what is at the end of *names*, made if need be."""
        at = self
        for name in names:
            at = at.below.setdefault(name, Growing(name))
        return at

    def add(self, names: Sequence[str], sums: Sequence[int]) -> Growing:
        """Count something at the end of *names*, and all on the way to it; return that."""
        self.count(sums)
        at = self
        for name in names:
            at = at.below.setdefault(name, Growing(name))
            at.count(sums)
        return at

    def count(self, sums: Sequence[int]) -> None:
        """Count what is added somewhere below."""
        self.sums = [a + b for a, b in zip(self.sums, sums, strict=True)]

    def leave_out(self, sums: Sequence[int], last: Sequence[str]) -> None:
        """Count what is not added, and goes on somewhere in what the end of *last* is in."""
        self.count(sums)
        files, size, linked_files, linked_size = sums
        self.more = self.more[0] + max(files + linked_files, 0), self.more[1] + max(size + linked_size, 0)
        at = self
        for name in last[:-1]:
            at = at.below[name]
            at.is_cut = True

    def grown(self, *, is_sorted: bool = False) -> Branch:
        """Return it as a value, what is below it by name or in the order in which it was added."""
        files, size, linked_files, linked_size = (None if self.is_cut else number for number in self.sums)
        added = sorted(self.below.values(), key=lambda one: one.name) if is_sorted else self.below.values()
        below = tuple(one.grown(is_sorted=is_sorted) for one in added)
        more_files, more_size = self.more
        return Branch(
            self.name,
            files,
            size,
            linked_files,
            linked_size,
            mark=self.mark,
            more_files=more_files,
            more_size=more_size,
            is_file=self.is_file,
            branches=below,
        )
