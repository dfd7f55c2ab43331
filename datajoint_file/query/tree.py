"""`tree`: the files of a schema, table or query by key or by store path, summed by the database where there are many.

Memory and output are bounded: of each table no more is read than is shown, and what is not shown is counted.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Literal

from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import MetadataError, UnsupportedValueError, brief, brief_traceback
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import name_of, pipeline_of
from datajoint_file.hooks.row_listing import Listing, decoded
from datajoint_file.model.metadata import MAX_SIZE, path_in
from datajoint_file.model.object_keys import is_directory
from datajoint_file.pipeline.directoryref import ref_of
from datajoint_file.query.branches import FileTree, Growing
from datajoint_file.sql import dialect_of
from datajoint_file.sql.file_sums import COUNT, file_sums, read_sums
from datajoint_file.verification.subjects import origin_of, queries_of

DEFAULT_LIMIT = 200

_PATH_DEPTH = 4
"""Project, schema, ``objects``, table and attribute: below there is a directory for each row, or nearly so."""

_ALL = 40
"""Deeper than any path that this package makes."""

Sums = Sequence[int]
"""Files and bytes that are stored, files and bytes that are linked."""


@brief_traceback
def tree(
    *subjects: Any,
    by: Literal["key", "path"] = "key",
    depth: int | None = None,
    limit: int = DEFAULT_LIMIT,
    check: bool = False,
) -> FileTree:
    """Show files as a tree, with sizes: by schema, table and key, or by where they are in the store.

    Of each table it goes as deep as there is room for: if not all its files can be shown, those are added up that have
    the first attributes of the key in common, in the database.

    Parameters
    ----------
    subjects : schema, table or query
        What to look at.
    by : {"key", "path"}
        What the branches are.
    depth : int, optional
        How deep to go: by key, how many attributes of it (0 for tables alone); by path, how many parts of it, which
        takes a database the longer the more there are. If that is more than *limit* branches, the first are shown.
    limit : int
        How many files, or branches that end the tree, are shown at most; further tables are shown without theirs.
    check : bool
        Ask the store for each file that is shown, and mark what is missing. One request a file.

    Raises
    ------
    UnsupportedValueError
        If *by*, *depth* or *limit* is none of these.
    TypeError, ValueError
        If something is neither a schema nor a query, or has no ``file`` attribute.
    StorageError
        If the store is to be asked and does not answer.

    Examples
    --------
    >>> print(datajoint_file.tree(schema))  # doctest: +SKIP
    lab_ephys  102.4 kB, 1 file
    └── Recording  102.4 kB, 1 file
        └── subject_id=1  102.4 kB, 1 file
            └── raw_data: recording.dat  102.4 kB
    """
    if by not in ("key", "path") or limit < 1 or (depth is not None and depth < 0):
        given = f"by = {brief(by)}, depth = {brief(depth)}, limit = {brief(limit)}"
        raise UnsupportedValueError(f'{given}: allowed are by = "key" or "path", depths from 0 and limits from 1')
    growth = _Growth(limit, depth)
    for query in (query for subject in subjects for query in queries_of(subject)):
        for part in [_Keys(query)] if by == "key" else [_Paths(query, name) for name in file_attributes(query.heading)]:
            growth.add(part)
    notes = growth.check() if check else ()
    root = growth.root.grown(is_sorted=by == "path")
    return FileTree(by, root.branches, root.more_files, root.more_size, notes)


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a row: what is known of it, whatever its JSON is."""

    attribute: str
    document: Any

    @property
    def name(self) -> str:
        """What it was called; a directory has a slash."""
        name = self.document.get("original_name") if isinstance(self.document, dict) else None
        return f"{name}{'/' if is_directory(self.path) else ''}" if isinstance(name, str) else "not readable"

    @property
    def path(self) -> str:
        return path_in(self.document) or ""

    @property
    def is_linked(self) -> bool:
        return isinstance(self.document, dict) and self.document.get("linked") not in (None, False)

    @property
    def sums(self) -> Sums:
        size = self.document.get("size") if isinstance(self.document, dict) else 0
        size = size if isinstance(size, int) and 0 <= size <= MAX_SIZE else 0
        return (0, 0, 1, size) if self.is_linked else (1, size, 0, 0)


@dataclass(frozen=True, slots=True)
class _End:
    """Where a branch ends: a file, or what is added up."""

    names: tuple[str, ...]
    sums: Sums
    file: _File | None = None


class _Part(ABC):
    """A part of a tree: what grows at one place, to one of several depths."""

    def __init__(self, query: Any, names: tuple[str, ...]) -> None:
        self.query = query
        self._names = names
        self._dialect = dialect_of(query.connection)

    place: tuple[str, ...] = ()
    """Where in the tree it is."""

    @property
    @abstractmethod
    def depths(self) -> Sequence[int]:
        """How deep it can go, the deepest first."""

    @abstractmethod
    def branches(self, depth: int, limit: int) -> list[_End]:
        """Return the first ends of branches of that depth."""

    def total(self) -> Sums:
        """Return the sums of all rows."""
        return _added(self._groups([], 1)[0])

    def _groups(self, groups: list[str], limit: int) -> list[Any]:
        """Ask for the sums of groups of rows, the first in their order."""
        source = self.query.proj(*self._names).make_subquery().from_clause()
        sums = [sql for name in self._names for sql in file_sums(self._dialect, self._dialect.quoted(name))]
        listed = ", ".join(groups)
        grouping = f" GROUP BY {listed} ORDER BY {listed} LIMIT {limit}" if groups else ""
        sql = f"SELECT {', '.join([*groups, *sums])} FROM {source} WHERE {self._filled()}{grouping}"
        return list(self.query.connection.query(sql).fetchall())

    def _files(self, limit: int) -> Iterator[tuple[dict[str, Any], _File]]:
        """Give the first files with the keys of their rows."""
        listing = Listing(self.query & self._filled(), self._names)
        found = (
            (listing.named(row.key), _file(name, text))
            for row in islice(listing.rows(), limit)
            for name, text in zip(self._names, row.texts, strict=True)
            if text is not None
        )
        return islice(found, limit)

    def _filled(self) -> str:
        return f"({' OR '.join(f'{self._dialect.quoted(name)} IS NOT NULL' for name in self._names)})"


class _Keys(_Part):
    """The files of a table, or query, by the key of their rows."""

    def __init__(self, query: Any) -> None:
        super().__init__(query, file_attributes(query.heading))
        table, _, schema = origin_of(query, self._names[0])
        self.place = (schema, table.removeprefix(f"{schema}.")) if schema else ("query",)
        self._key = tuple(query.primary_key)

    @property
    def depths(self) -> Sequence[int]:
        return range(len(self._key), -1, -1)

    def branches(self, depth: int, limit: int) -> list[_End]:
        if depth >= len(self._key):
            return [
                _End((*_shown(key), f"{file.attribute}: {file.name}"), file.sums, file)
                for key, file in self._files(limit)
            ]
        names = self._key[:depth]
        found = []
        for row in self._groups([self._dialect.quoted(name) for name in names], limit):
            values = zip(names, row, strict=False)
            key = {name: decoded(self.query.heading[name], value, self.query.connection) for name, value in values}
            found.append(_End(_shown(key), _added(row[depth:])))
        return found


class _Paths(_Part):
    """The files of one attribute by where they are in the store, or in roots."""

    def __init__(self, query: Any, name: str) -> None:
        super().__init__(query, (name,))

    @property
    def depths(self) -> Sequence[int]:
        return (_ALL, _PATH_DEPTH, 0)

    def branches(self, depth: int, limit: int) -> list[_End]:
        if depth >= _ALL:
            files = sorted((file for _, file in self._files(limit)), key=lambda file: file.path)
            return [_End(_components(file.path), file.sums, file) for file in files]
        path = self._dialect.path(self._dialect.quoted(self._names[0]))
        rows = self._groups([self._dialect.first_components(path, depth)] if depth else [], limit)
        return [_End(_components(row[0] or "?") if depth else (), _added(row[-COUNT:])) for row in rows]


def _shown(key: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in key.items())


def _components(path: str) -> tuple[str, ...]:
    """Return the parts of a path; that of a directory keeps its slash."""
    *parents, name = path.rstrip("/").split("/", _ALL)
    return (*parents, f"{name}/" if path.endswith("/") else name)


def _file(name: str, text: str) -> _File:
    document: Any = None
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
    return _File(name, document)


def _added(values: Sequence[Any]) -> Sums:
    """Return the sums of several attributes as one."""
    parts = (read_sums(values[start : start + COUNT]) for start in range(0, len(values), COUNT))
    return _sum(parts)


def _sum(parts: Iterable[Sums]) -> Sums:
    return [sum(numbers) for numbers in zip((0, 0, 0, 0), *parts, strict=True)]


class _Growth:
    """A tree that grows, within its limit."""

    def __init__(self, limit: int, depth: int | None) -> None:
        self.root = Growing("")
        self._left = limit
        self._depth = depth
        self._files: list[tuple[Any, _File, Growing]] = []
        self._is_complete = True

    def add(self, part: _Part) -> None:
        """Add a part, as deep as there is room for."""
        room = max(self._left, 1)
        found, is_more = self._fitting(part, room)
        place = self.root.at(part.place)
        for end in found:
            branch = place.add(end.names, end.sums)
            if end.file is not None:
                branch.is_file, branch.mark = True, "linked" if end.file.is_linked else ""
                self._files.append((part.query.connection, end.file, branch))
        counted_here = _sum(end.sums for end in found)
        whole = part.total() if is_more else counted_here
        if is_more:
            place.leave_out([a - b for a, b in zip(whole, counted_here, strict=True)], found[-1].names)
        for length in range(len(part.place)):
            self.root.at(part.place[:length]).count(whole)
        self._left -= len(found)
        self._is_complete &= not is_more and all(end.file is not None for end in found)

    def _fitting(self, part: _Part, room: int) -> tuple[list[_End], bool]:
        """Return the ends of the deepest branches that there is room for, and whether there are more of them."""
        depths = part.depths if self._depth is None else [self._depth]
        found: list[_End] = []
        for depth in depths if self._left > 0 else [0]:
            found = part.branches(min(depth, _ALL), room + 1)
            if len(found) <= room:
                break
        return found[:room], len(found) > room

    def check(self) -> tuple[str, ...]:
        """Ask the store for the files that are shown, and mark those that it has not. Return what is to be said."""
        jobs = [partial(_mark, *one) for one in self._files]
        if jobs:
            run_all(jobs, pipeline_of(self._files[0][0]).workers, Stop())
        return () if self._is_complete else ("Files that are not shown were not looked for.",)


def _mark(connection: Any, file: _File, branch: Growing) -> None:
    """Mark a file that its store has not, or whose row cannot be understood."""
    try:
        mark = "" if ref_of(file.document, name_of(connection._config)).exists() else "missing"
    except MetadataError:
        mark = "unreadable"
    branch.mark = ", ".join(filter(None, (branch.mark, mark)))
