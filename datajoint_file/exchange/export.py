"""`export`: a slice of a pipeline as a directory that others can check and read, with or without DataJoint.

Rows first, as one moment shows them; then their files. How the tree is laid out is told in `layout`, what makes it a
bag or a crate in `packing`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from datajoint.expression import QueryExpression
from datajoint.table import FreeTable

from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop, check_workers, run_all
from datajoint_file.errors import ExchangeError, brief, brief_traceback
from datajoint_file.exchange.about import ABOUT, Statements
from datajoint_file.exchange.description import FORMAT, TableDescription
from datajoint_file.exchange.layout import DESCRIPTION, about_path, file_path, manifest_path, member_paths, rows_path
from datajoint_file.exchange.needed import NeededKeys
from datajoint_file.exchange.packing import Packing, Payload, check_format
from datajoint_file.exchange.tables import Rows, describe, load_upstream
from datajoint_file.exchange.values import Written
from datajoint_file.hooks.base_rows import BaseRows, as_query, base_rows
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.row_listing import Listing
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.model.manifest import lines
from datajoint_file.model.metadata import FileMetadata, format_timestamp
from datajoint_file.model.wording import counted, format_size
from datajoint_file.pipeline.destinations import destination_path
from datajoint_file.pipeline.manifests import manifest_of, member_metadata
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.sql import dialect_of
from datajoint_file.startup import on_one_line
from datajoint_file.storage.disk.drafts import Batch

_FILES_AT_ONCE = 1_000

_ADVICE = "export rows of a table: export(Recording & query, …)"


@dataclass(frozen=True, slots=True)
class Exported:
    """What `export` has written.

    Parameters
    ----------
    path : Path
        The directory.
    rows : mapping of str to int
        How many rows of which table.
    files, size : int
        How many files have been copied, a directory's one by one, and their bytes.
    notes : tuple of str
        What is not in it.
    """

    path: Path
    rows: Mapping[str, int]
    files: int
    size: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [f"{counted(count, 'row')} of {table}" for table, count in self.rows.items()]
        what = f"{counted(self.files, 'file')}, {format_size(self.size)} in {self.path}"
        return "\n".join(map(on_one_line, (*rows, what, *self.notes)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {**asdict(self), "path": str(self.path)}


@brief_traceback
def export(
    query: Any,
    destination: str | os.PathLike[str],
    *,
    format: str = "bagit",  # noqa: A002 - as others call it
    links: Literal["copy", "keep"] = "copy",
    leave_out: Sequence[str] = (),
    workers: int | None = None,
    progress: bool | None = None,
) -> Exported:
    """Write rows, the rows that they depend on, the definitions and the files of all of them to a new directory.

    Rows are as one moment shows them: in a transaction of this call that only reads, or in yours if one is open. Each
    file is hashed while it is copied, and compared with the hash in its row. The directory is written under another
    name beside its target, and is renamed when it is whole: an interrupted export leaves nothing that looks complete.

    Tags of the rows come along, and what is noted of who inserted the files; the history of the rows does not.

    Parameters
    ----------
    query : table or query, or a sequence of them
        Rows of a table: ``Recording & "paper = 'x'"``. Of a join say of which table by a projection or restriction.
    destination : path
        The directory: a new one, or an empty one.
    format : {"bagit", "ro-crate"}
        A bag of BagIt 1.0 (RFC 8493), or an RO-Crate 1.1. Both have the same files.
    links : {"copy", "keep"}
        Whether files that stay where they are come along. Linked directories do in any case.
    leave_out : sequence of str
        Attributes, such as ``"lab.Recording.traces"``, that are not carried: those whose values are in another store.
        Also ``"tags"`` of rows, and ``"provenance"``: who inserted the files, on which machine, by which program.
    workers : int, optional
        Files at a time; by default what suits the store.
    progress : bool, optional
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.

    Returns
    -------
    Exported
        What was written.

    Raises
    ------
    QueryError
        If a query is none, or is made of several tables.
    ExchangeError
        If an attribute cannot be carried; it is named.
    DestinationError, DestinationExistsError
        If the directory cannot be written, or is there and not empty.
    VerificationError, StorageError
        If a stored file is not what was inserted, is gone, or the store fails.
    ValueError
        If another argument is none of the above.

    Examples
    --------
    >>> print(datajoint_file.export(Recording & {"subject_id": 1}, "slice/"))  # doctest: +SKIP
    1 row of lab.Subject
    3 rows of lab.Recording
    3 files, 1.2 GB in slice
    """
    form = check_format(format)
    check_workers(workers)
    if links not in ("copy", "keep"):
        raise ValueError(f"links = {brief(links)}: allowed are 'copy', 'keep'")
    chosen = [base_rows(as_query(one), advice=_ADVICE) for one in _several(query)]
    target = destination_path(destination).absolute()
    with Packing(target) as packing, NeededKeys() as needed:
        work = _Export(chosen, packing, needed, keeps_links=links == "keep")
        work.describe(leave_out)
        with _reading(chosen[0].query.connection):
            work.write_rows()
        work.copy_files(workers, progress)
        work.write_description()
        packing.finish(form, _software(), f"Rows of {', '.join(table_name(one.table) for one in chosen)}")
    return Exported(target, work.counts, work.files, work.size, tuple(work.notes))


def _several(query: Any) -> list[Any]:
    found = list(query) if isinstance(query, list | tuple) else [query]
    if not found:
        raise ExchangeError("give a table, or rows of one: there is nothing to export")
    connections = {id(one.connection) for one in found if isinstance(one, QueryExpression)}
    if len(connections) > 1:
        raise ExchangeError("the queries are of several connections: export what each has by itself")
    return found


def _software() -> str:
    return f"datajoint-file {version('datajoint-file')}"


@contextmanager
def _reading(connection: Any) -> Iterator[None]:
    """Show what one moment has, if the user has no transaction of his own."""
    if has_transaction(connection):
        yield
        return
    for sql in dialect_of(connection).snapshot:
        connection.query(sql)
    try:
        yield
    finally:
        with suppress(Exception):  # a connection that is lost has ended it
            connection.query("ROLLBACK")


@dataclass
class _Export:
    """An export on its way."""

    chosen: Sequence[BaseRows]
    packing: Packing
    needed: NeededKeys
    keeps_links: bool
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    files: int = 0
    size: int = 0
    _counted: dict[str, int] = field(default_factory=dict)

    def describe(self, leave_out: Sequence[str]) -> None:
        """Find out which tables there are, parents first, and what is declared of them."""
        connection = self.chosen[0].query.connection
        graph = load_upstream(connection, {one.table.database for one in self.chosen})
        wanted = {one.table.full_table_name for one in self.chosen}
        for name in tuple(wanted):
            wanted.update(graph.ancestors(name))
        self.tables: list[Rows] = []
        left = set(leave_out) - set(ABOUT)
        for name in graph.topo_sort():
            if name in wanted:
                table = FreeTable(connection, name)
                title = f"{table_name(table)}."
                here = frozenset(one.removeprefix(title) for one in left if one.startswith(title))
                here &= frozenset(table.heading.names)
                left -= {f"{title}{one}" for one in here}
                self.notes += [f"{title}{one} was left out" for one in sorted(here)]
                self.tables.append(Rows(table, describe(table, here)))
        if left:
            raise ExchangeError(f"leave_out: there is no attribute {', '.join(sorted(left))} in what is exported")
        self._said = {rows.description.full_name: Statements(rows, leave_out) for rows in self.tables}

    def write_rows(self) -> None:
        """Write the rows, those first that depend on others: then it is known which of these are needed."""
        for one in self.chosen:
            rows = next(rows for rows in self.tables if rows.table.full_table_name == one.table.full_table_name)
            self.needed.add(rows.description.full_name, _keys_of(one, rows))
        self._payloads: dict[str, Payload] = {}
        for rows in reversed(self.tables):
            name = rows.description.full_name
            self._payloads[name] = self.packing.write(rows_path(name), self._lines(rows), "application/jsonl")
            said = self._said[name].lines(self.packing.path(rows_path(name)))
            if first := next(said, None):
                self.packing.write(about_path(name), chain([first], said), "application/jsonl")
            self.notes += self._said[name].notes
        self.counts = {rows.description.title: self._counted[rows.description.full_name] for rows in self.tables}

    def _lines(self, rows: Rows) -> Iterator[bytes]:
        description = rows.description
        numbers, self._counted[description.full_name] = dict.fromkeys(description.files, 0), 0
        for keys in self.needed.of(description.full_name):
            for row in rows.under(keys):
                for key in description.foreign_keys:
                    parent = {theirs: row[ours] for ours, theirs in key.attributes.items()}
                    if None not in parent.values():
                        self.needed.add(key.parent, [parent])
                for name in description.files:
                    row[name] = self._entry(description, name, numbers, row[name])
                self._counted[description.full_name] += 1
                yield f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n".encode()

    def _entry(
        self, table: TableDescription, name: str, numbers: dict[str, int], metadata: FileMetadata | None
    ) -> Written | None:
        """Return what a row of the export has of a file."""
        if metadata is None:
            return None
        if metadata.is_link and self.keeps_links:
            return {"row": metadata.to_json()}
        place = file_path(table.full_name, name, numbers[name], metadata.original_name)
        numbers[name] += 1
        return {"row": metadata.to_json(), "path": place}

    def copy_files(self, workers: int | None, progress: bool | None) -> None:
        """Copy the files of the rows that were written."""
        with progress_bar("exporting", None, progress) as advance:
            for rows in self.tables:
                if rows.description.files:
                    pipeline = pipeline_of(rows.table)
                    entries = self._entries(rows.description)
                    while some := list(islice(entries, _FILES_AT_ONCE)):
                        self._copy(pipeline, some, workers or pipeline.workers, advance)

    def _entries(self, table: TableDescription) -> Iterator[tuple[FileMetadata, str]]:
        with self.packing.path(rows_path(table.full_name)).open("rb") as lines_:
            for line in lines_:
                row = json.loads(line)
                for name in table.files:
                    if row[name] and "path" in row[name]:
                        yield FileMetadata.from_json(row[name]["row"]), row[name]["path"]

    def _copy(self, pipeline: Pipeline, some: list[tuple[FileMetadata, str]], workers: int, advance: Advance) -> None:
        lock, stop = Lock(), Stop()

        def tell(count: int) -> None:
            with lock:
                advance(count)

        told = stop.watched(tell)
        for part in _in_parts(self._payloads_of(pipeline, some)):
            with Batch() as arrivals:
                how: dict[str, Any] = {"advance": told, "finish": arrivals.add, "verify": "always", "progress": False}
                jobs = [partial(pipeline.download, one, self.packing.path(file.path), **how) for one, file in part]
                run_all(jobs, workers, stop)
            for _, payload in part:
                self.packing.add(payload)
                self.files, self.size = self.files + 1, self.size + payload.size

    def _payloads_of(
        self, pipeline: Pipeline, some: list[tuple[FileMetadata, str]]
    ) -> Iterator[tuple[FileMetadata, Payload]]:
        """Give each file to copy, a directory's one by one; its list of files is written on the way."""
        for metadata, place in some:
            if not metadata.is_directory:
                digest = metadata.hash.partition(":")[2]
                yield metadata, Payload(place, metadata.size, digest, metadata.original_name, metadata.mime_type or "")
                continue
            manifest = manifest_of(pipeline, metadata)
            self.packing.write(manifest_path(place), lines(manifest, list(manifest.empty())), "text/plain")
            names = (member.name for member in manifest)
            for member, path in zip(manifest, member_paths(names), strict=True):
                one = member_metadata(metadata, member)
                yield one, Payload(f"{place}/{path}", one.size, member.digest, one.original_name, one.mime_type or "")

    def write_description(self) -> None:
        """Write what is declared of the tables, and what their rows are."""
        tables = []
        for rows in self.tables:
            payload = self._payloads[rows.description.full_name]
            facts = {"rows": self._counted[rows.description.full_name], "size": payload.size, "sha256": payload.sha256}
            tables.append(rows.description.model_dump(by_alias=True) | facts)
        head = {
            "format": FORMAT,
            "software": _software(),
            "created": format_timestamp(datetime.now(timezone.utc)),
            "notes": self.notes,
        }
        text = json.dumps(head | {"tables": tables}, indent=1, ensure_ascii=False)
        self.packing.write(DESCRIPTION, [text.encode()], "application/json")


def _keys_of(one: BaseRows, rows: Rows) -> Iterator[Written]:
    """Give the keys of a query's rows, under the names that they have in their table."""
    if one.may_lack:
        raise ExchangeError(f"the query may lack a row of {rows.description.title}; {_ADVICE}")
    listing = Listing(one.query, ())
    places = [listing.primary_key.index(one.names[name]) for name in rows.description.primary_key]
    for row in listing.rows():
        yield rows.written_key([row.key[place] for place in places])


def _in_parts(found: Iterator[tuple[FileMetadata, Payload]]) -> Iterator[list[tuple[FileMetadata, Payload]]]:
    for first in found:
        yield list(chain([first], islice(found, _FILES_AT_ONCE - 1)))
