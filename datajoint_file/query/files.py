"""`Files`: the files of a query as a lazy sequence, which is read from the database as far as it is looked at.

Bytes are the business of the references, `download` and `verify`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from datajoint.condition import Top

from datajoint_file.config import binding_of
from datajoint_file.errors import MetadataError, QueryError, brief, brief_traceback, printable
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.display import UNREADABLE
from datajoint_file.hooks.row_listing import Listing, query_of
from datajoint_file.hooks.tables import query_name
from datajoint_file.model.metadata import FileMetadata, format_timestamp
from datajoint_file.model.wording import counted, format_size, nearest
from datajoint_file.pipeline.directoryref import DirectoryRef, ref_of
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.query.frames import Described, arrow_table, data_frame
from datajoint_file.query.where import FileCondition

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from datajoint_file.verification import VerifyReport

_SHOWN = 12
"""Rows of the table in a notebook."""


class FileItem(NamedTuple):
    """One file of a query: where it is, and its reference."""

    key: dict[str, Any]
    attribute: str
    ref: FileRef | DirectoryRef


@brief_traceback
def files(query: Any, *attributes: str) -> Files:
    """Return the files of a query as a sequence, which reads rows when it is looked at. No I/O here.

    Parameters
    ----------
    query : table or query
        A table, a restricted one, a join or projection that still has ``file`` attributes.
    *attributes : str
        Which of these, and in which order; all, if none is given. Rows without a file are passed over.

    Returns
    -------
    Files
        First the files of the first attribute in the order of the primary key, then those of the next.

    Raises
    ------
    UnsupportedValueError
        If it is no query, or one without ``file`` attributes.
    QueryError
        If an attribute is none of these.

    Examples
    --------
    >>> recordings = datajoint_file.files(Recording, "raw_data")  # doctest: +SKIP
    >>> for key, attribute, ref in recordings:  # doctest: +SKIP
    ...     print(key, ref.name)
    {'subject_id': 123, 'session': 1} recording.dat
    {'subject_id': 124, 'session': 1} recording.dat
    >>> recordings[0].ref.name, len(recordings[1:])  # doctest: +SKIP
    ('recording.dat', 1)
    """
    query = query_of(query)
    names = file_attributes(query.heading)
    for name in attributes:
        if name not in names:
            title = query_name(query) or "the query"
            raise QueryError(f"{title} has no `file` attribute {brief(name)}{nearest(str(name), names)}")
    return Files(query, tuple(dict.fromkeys(attributes)) or names)


@dataclass(frozen=True, slots=True, repr=False)
class Files:
    """The files of a query, or some that follow each other: what `files` returns.

    A loop reads a page of rows at a time; an index or slice only its own rows; the length is counted by the database,
    each time. What is inserted or deleted meanwhile may be there or not. A row whose JSON describes no file is an item
    as others; its reference says so when it is used.

    Parameters
    ----------
    query : query
        The rows.
    attributes : tuple of str
        Whose files, in this order.
    start, stop : int
        Which of these.
    """

    query: Any
    attributes: tuple[str, ...]
    start: int = 0
    stop: int = sys.maxsize

    def __len__(self) -> int:
        """Count the files; one statement, of a slice for its rows alone. `list` asks for it as well."""
        return self.count

    def __bool__(self) -> bool:
        """Tell whether there is any, by reading the first."""
        return next(iter(self[:1]), None) is not None

    def __iter__(self) -> Iterator[FileItem]:
        """Give all, reading 2,000 rows at a time."""
        pipeline = binding_of(self.query.connection._config).name
        for key, attribute, text in self._raw():
            yield FileItem(key, attribute, ref_of(_document(text), pipeline))

    @overload
    def __getitem__(self, index: int) -> FileItem: ...

    @overload
    def __getitem__(self, index: slice) -> Files: ...

    def __getitem__(self, index: int | slice) -> FileItem | Files:
        """Return one file, or some that follow each other; these are read when they are looked at.

        Raises
        ------
        IndexError
            If there is no such file.
        QueryError
            If a slice has a step.
        """
        if isinstance(index, slice):
            return self._slice(index)
        start = index + len(self) if index < 0 else index
        found = next(iter(self._between(start, start + 1)), None) if start >= 0 else None
        if found is None:
            raise IndexError(f"{self!r} has no file {index}")
        return found

    @property
    def count(self) -> int:
        """How many files there are, as the database counts them; a directory is one."""
        if self._is_whole or len(self.attributes) > 1:
            found = sum(Listing(self.query, self.attributes).counts())
            return max(0, min(self.stop, found) - self.start)
        return sum(listing.counts(skip=skip, limit=limit)[0] for listing, skip, limit in self._windows())

    @property
    def size(self) -> int:
        """Bytes of all of them together, as their rows have it and the database adds it up."""
        if self._is_whole:
            return Listing(self.query, self.attributes).size()
        return sum(listing.size(skip=skip, limit=limit) for listing, skip, limit in self._windows())

    def to_pandas(self) -> pandas.DataFrame:
        """Return a frame with a row for each file: the primary key, the attribute, and what is recorded of the file.

        ``name``, ``size`` (Int64), ``hash``, ``media_type``, ``stored`` (datetime64[ns, UTC]), ``files`` (Int64; of
        directories), ``title``, ``linked`` (boolean) and ``path``; if the key has an attribute of such a name, the
        file's is called ``file_name`` and so on. What a row does not record is missing (``pandas.NA``), and so is all
        of a row whose JSON describes no file. All rows are read; no store is asked.

        Returns
        -------
        pandas.DataFrame
            In the order of the sequence.

        Examples
        --------
        >>> frame = datajoint_file.files(Recording).to_pandas()  # doctest: +SKIP
        >>> frame.groupby("subject_id")["size"].sum()  # doctest: +SKIP
        """
        return data_frame(self._primary_key(), self._described())

    def to_arrow(self) -> pyarrow.Table:
        """Return the same as a table of Arrow; times are in microseconds.

        Raises
        ------
        MissingLibraryError
            If pyarrow is not installed.
        """
        return arrow_table(self._primary_key(), self._described())

    def download(self, destination: str | os.PathLike[str], **options: Any) -> list[Path]:
        """Bring all of them here, and return their paths; see `datajoint_file.download`, which has the options.

        Raises
        ------
        QueryError
            If these are a slice of the files of several attributes.
        """
        from datajoint_file.downloads.download import download  # for their cost: most only look

        return download(self._rows(), destination, **options)

    def verify(self, level: str = "content", **options: Any) -> VerifyReport:
        """Compare all of them with what is stored; see `datajoint_file.verify`, which has the options.

        Raises
        ------
        QueryError
            If these are a slice of the files of several attributes.
        """
        from datajoint_file.verification.verify import verify

        return verify(self._rows(), level, **options)

    def __repr__(self) -> str:
        """Say what it is, without I/O."""
        title = query_name(self.query) or "a query"
        window = "" if self._is_whole else f" [{self.start}:{'' if self.stop == sys.maxsize else self.stop}]"
        return f"<files of {title}: {', '.join(self.attributes)}{window}>"

    def _repr_html_(self) -> str:
        """Show the first of them in a notebook, and how many there are."""
        keys = self._primary_key()
        head = [*keys, *(["attribute"] if len(self.attributes) > 1 else []), "name", "size", "media type", "stored"]
        body = []
        for key, attribute, metadata in self[:_SHOWN]._described():
            told = [attribute] if len(self.attributes) > 1 else []
            body.append([*(str(key[name]) for name in keys), *told, *_told(metadata)])
        count, size = self.count, self.size
        more = f", of which the first {_SHOWN} are shown" if count > _SHOWN else ""
        rows = "".join(f"<tr>{_cells('td', row)}</tr>" for row in body)
        total = escape(f"{counted(count, 'file')}, {format_size(size)}{more}")
        return (
            f"<div><table><thead><tr>{_cells('th', head)}</tr></thead><tbody>{rows}</tbody></table><p>{total}</p></div>"
        )

    @property
    def _is_whole(self) -> bool:
        return self.start == 0 and self.stop == sys.maxsize

    def _primary_key(self) -> tuple[str, ...]:
        return tuple(self.query.primary_key)

    def _slice(self, index: slice) -> Files:
        if index.step not in (None, 1):
            raise QueryError(f"a slice of files has no step: list(files)[{_bound(index.start)}:{_bound(index.stop)}:…]")
        count = len(self) if (index.start or 0) < 0 or (index.stop or 0) < 0 else sys.maxsize
        start, stop, _ = index.indices(count)
        return self._between(start, stop)

    def _between(self, start: int, stop: int) -> Files:
        first = min(self.start + start, self.stop)
        return replace(self, start=first, stop=max(first, min(self.start + stop, self.stop)))

    def _rows(self) -> Any:
        """Return the rows of these files, and no more, as a query."""
        if self._is_whole:
            names = file_attributes(self.query.heading)
            return self.query if set(self.attributes) == set(names) else self.query.proj(*self.attributes)
        if len(self.attributes) > 1:
            raise QueryError(
                f"{self!r}: these files are not those of so many rows. Name one attribute, such as "
                f"files(query, {self.attributes[0]!r})[…]"
            )
        limit = None if self.stop == sys.maxsize else self.stop - self.start
        return self._having(self.attributes[0]).proj(*self.attributes) & Top(limit, "KEY", self.start)

    def _having(self, name: str) -> Any:
        return self.query & FileCondition(name)

    def _windows(self) -> Iterator[tuple[Listing, int, int]]:
        """Give which rows of which attribute these are: how many are passed over, and how many there are at most."""
        counts = [sys.maxsize]
        if len(self.attributes) > 1:
            counts *= len(self.attributes)
            if not self._is_whole:
                counts = Listing(self.query, self.attributes).counts()
        before = 0
        for name, count in zip(self.attributes, counts, strict=True):
            skip, stop = max(0, self.start - before), min(count, self.stop - before)
            if skip < stop:
                yield Listing(self._having(name), (name,)), skip, stop - skip
            before += 0 if self._is_whole else count

    def _raw(self) -> Iterator[tuple[dict[str, Any], str, str]]:
        """Give the key, the attribute and the JSON of each file."""
        for listing, skip, limit in self._windows():
            for raw in listing.rows(skip=skip, limit=limit):
                yield listing.named(raw.key), listing.names[0], str(raw.texts[0])

    def _described(self) -> Iterator[Described]:
        for key, attribute, text in self._raw():
            yield key, attribute, _metadata(text)


def _document(text: str) -> dict[str, Any]:
    """Return what a row's JSON says; nothing, of which a reference says that it is no file, if it is no JSON object."""
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
        if isinstance(document, dict):
            return document
    return {}


def _metadata(text: str) -> FileMetadata | None:
    try:
        return FileMetadata.from_json(_document(text))
    except MetadataError:
        return None


def _told(metadata: FileMetadata | None) -> list[str]:
    """Return the cells of a file in a notebook."""
    if metadata is None:
        return [UNREADABLE, "", "", ""]
    size, stored = format_size(metadata.size), format_timestamp(metadata.timestamp)
    return [metadata.original_name, size, metadata.mime_type or "", stored]


def _cells(tag: str, texts: list[str]) -> str:
    return "".join(f"<{tag}>{escape(printable(text))}</{tag}>" for text in texts)


def _bound(bound: int | None) -> str:
    return "" if bound is None else str(bound)
