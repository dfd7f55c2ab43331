"""`download` and `prefetch`: the files that the rows of a query name, brought here many at a time.

Where each goes is decided in `datajoint_file.downloads.tasks`; how rows are listed, in `row_listing`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any

from datajoint_file.concurrency.descriptors import affordable
from datajoint_file.concurrency.executors import check_executor, delegated, grouped
from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import FOREVER, LastingPool, Stop, check_workers, is_count, run_all
from datajoint_file.downloads.tasks import (
    DownloadTask,
    Layout,
    Targets,
    Wanted,
    bring,
    bring_all,
    check_layout,
    path_below,
)
from datajoint_file.errors import (
    DataJointFileError,
    DestinationError,
    MetadataError,
    UnsafeNameError,
    brief,
    brief_traceback,
    printable,
    reason_of,
)
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.row_listing import PAGE_ROWS, Listing, RawRow, query_of
from datajoint_file.hooks.tables import query_name
from datajoint_file.journal.worker_address import address_of
from datajoint_file.model.key_values import KeyValue, key_value
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.verify_policy import check_policy
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.pipeline import Pipeline, destination_path
from datajoint_file.storage.disk.drafts import Batch


@brief_traceback
def download(
    query: Any,
    destination: str | os.PathLike[str],
    *,
    workers: int | None = None,
    layout: str = "name",
    overwrite: bool = False,
    executor: Executor | None = None,
    progress: bool | None = None,
    verify: str | None = None,
) -> list[Path]:
    """Write the verified files of all rows of a query below a directory, and return their paths in the order of rows.

    Several come at a time, large ones in parallel ranges. Each appears under its name when it is complete and its hash
    matches. A file that is there already and is equal is kept, and its bytes are not transferred: after a failure, call
    it again.

    Parameters
    ----------
    query : table or query
        A table, a restricted one, a join or projection that still has ``file`` attributes; all of those are brought.
        Null values are passed over.
    destination : path
        A directory; it is made if need be.
    workers : int, optional
        Files at a time; by default what suits the store.
    layout : {"name", "key", "path"}
        ``"name"``: all in one directory, under their original names. ``"key"``: a directory for each value of the
        primary key, such as ``subject_id=123/session=1/recording.dat``, and one for the attribute if there are several.
        ``"path"``: as they are in the store.
    overwrite : bool
        Replace files that are there and differ.
    executor : concurrent.futures.Executor, optional
        Whose workers bring the files, in other processes or on other machines; *destination* must be a directory that
        all of them share. They read their own configuration and never the database. It is not shut down.
    progress : bool, optional
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.
    verify : {"always", "first", "size", "never"}, optional
        How much of what comes is checked, if not as ``[object_storage] verify`` says; see `FileRef.read`.

    Returns
    -------
    list of Path
        The files, those that were there already included.

    Raises
    ------
    ValueError, TypeError
        If the query has no ``file`` attribute, or an argument is none of the above.
    DestinationExistsError
        If a different file is there, or two files of the query would have one path. Neither is touched.
    DestinationError
        If the destination cannot be written.
    UnsafeNameError
        If files would get names that a shell or DataJoint reads (``.bashrc``, ``datajoint.toml``). They are left out,
        and this is raised when all others are here.
    VerificationError
        If stored bytes are not those that were inserted. Nothing is left under that name.
    MetadataError
        If a row does not describe a file.
    StorageError
        If an object is gone, or the store fails. What is complete stays.

    Examples
    --------
    >>> paths = datajoint_file.download(Recording & "subject_id = 123", "recordings/", layout="key")  # doctest: +SKIP
    """
    check_workers(workers)
    if verify is not None:
        check_policy(verify)
    rows = _Rows(query, destination_path(destination).absolute(), check_layout(layout))
    paths: list[Path] = []
    found = rows.wanted(paths)
    first = list(islice(found, PAGE_ROWS))
    total = sum(wanted.metadata.size for wanted in first) if len(first) < PAGE_ROWS else None
    todo = chain(first, found)
    with progress_bar(f"downloading {rows.title}", total, progress) as advance:
        if executor is None:
            _by_threads(rows.pipeline, todo, workers, advance, overwrite=overwrite, verify=verify)
        else:
            _by_executor(check_executor(executor), rows, todo, advance, overwrite=overwrite, verify=verify)
    if rows.refused:
        others = f"The other files are complete ({len(paths)})"
        more = f" So would {counted(rows.refused_count - 1, 'other file')}." if rows.refused_count > 1 else ""
        raise UnsafeNameError(f"{rows.refused}.{more} {others}") from rows.refused
    return paths


def _by_threads(
    pipeline: Pipeline,
    todo: Iterator[Wanted],
    workers: int | None,
    advance: Advance,
    *,
    overwrite: bool,
    verify: str | None,
) -> None:
    lock = threading.Lock()

    def advance_alone(count: int) -> None:
        with lock:
            advance(count)

    while some := list(islice(todo, PAGE_ROWS)):  # this thread alone asks the database
        stop = Stop()
        told = stop.watched(advance_alone)
        with Batch() as arrivals:
            one = partial(bring, pipeline, overwrite=overwrite, advance=told, finish=arrivals.add, verify=verify)
            run_all([partial(one, wanted) for wanted in some], workers or pipeline.workers, stop)


def _by_executor(
    executor: Executor, rows: _Rows, todo: Iterator[Wanted], advance: Advance, *, overwrite: bool, verify: str | None
) -> None:
    address, stop = address_of(rows.pipeline, rows.connection), Stop()
    some = grouped(todo, lambda wanted: wanted.metadata.size)
    tasks = (DownloadTask(address, files, overwrite, stop, verify) for files in some)
    for _, outcome in delegated(executor, bring_all, tasks, stop=stop):
        advance(outcome.result())


class _Rows:
    """The rows of a query, and where their files go."""

    def __init__(self, query: Any, destination: Path, layout: Layout) -> None:
        query = query_of(query)
        self.connection = query.connection
        self.pipeline = pipeline_of(query)
        self.names = file_attributes(query.heading)
        self.listing = Listing(query, self.names)
        self.title = query_name(query) or "the files of a query"
        self._types = {name: query.heading[name].type for name in query.primary_key}
        self._destination = destination
        self._layout: Layout = layout
        self._targets = Targets()
        self.refused: UnsafeNameError | None = None  # the first of those that `wanted` has left out
        self.refused_count = 0

    def wanted(self, paths: list[Path]) -> Iterator[Wanted]:
        """Give what to bring, row by row, and add its path to *paths*. What may not be called so is left out."""
        for raw in self.listing.rows():
            key = self._key(raw)
            for name, text in self._texts(raw):
                try:
                    wanted = self._one(key, name, text)
                except UnsafeNameError as error:
                    self.refused, self.refused_count = self.refused or error, self.refused_count + 1
                    continue
                self._targets.take(wanted, self._where(name, key))
                paths.append(Path(wanted.target))
                yield wanted

    def of(self, raw: RawRow) -> dict[str, Wanted]:
        """Return the files of one row by attribute."""
        key = self._key(raw)
        return {name: self._one(key, name, text) for name, text in self._texts(raw)}

    def _texts(self, raw: RawRow) -> list[tuple[str, str]]:
        return [(name, text) for name, text in zip(self.names, raw.texts, strict=True) if text is not None]

    def _key(self, raw: RawRow) -> list[KeyValue]:
        values = self.listing.named(raw.key)
        return [key_value(name, type_, values[name]) for name, type_ in self._types.items()]

    def _where(self, name: str, key: list[KeyValue]) -> str:
        return f"{self.title}.{name} ({', '.join(f'{value.name}={printable(value.text)}' for value in key)})"

    def _one(self, key: list[KeyValue], name: str, text: str) -> Wanted:
        try:
            metadata = FileMetadata.from_json(json.loads(text))
        except DataJointFileError as error:
            raise error.within(self._where(name, key)) from error
        except (ValueError, RecursionError) as error:  # nested deeper than a parser goes, for one
            raise MetadataError(f"{self._where(name, key)}: the row's JSON cannot be read: {error}") from error
        try:
            below = path_below(self._layout, key, name, metadata, is_alone=len(self.names) == 1)
        except UnsafeNameError as error:
            raise error.within(self._where(name, key)) from error
        return Wanted(metadata, str(self._destination / below))


@dataclass(frozen=True, slots=True)
class _Coming:
    """A row whose files are on their way."""

    key: dict[str, Any]
    files: dict[str, Future[Path] | None]
    directory: Path


class Prefetch:
    """Rows whose files come ahead of their use. Made by `prefetch`; use it in a ``with`` block and iterate over it."""

    def __init__(self, query: Any, workers: int | None, ahead: int, directory: str | os.PathLike[str] | None) -> None:
        self._directory = _temporary_directory(directory)
        try:
            self._rows = _Rows(query, self._directory, "key")
            self._pool = LastingPool(affordable(workers or self._rows.pipeline.workers), thread_name_prefix="prefetch")
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        self._ahead = ahead
        self._stop = Stop()
        self._coming: deque[_Coming] = deque()
        self._given: _Coming | None = None
        self._source = self._rows.listing.rows()
        self._count = 0

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    @brief_traceback
    def __next__(self) -> dict[str, Any]:
        self._forget()
        self._fill()
        if not self._coming:
            raise StopIteration
        self._given = coming = self._coming.popleft()
        return {**coming.key, **{name: file and file.result(FOREVER) for name, file in coming.files.items()}}

    def close(self) -> None:
        """Stop what is on its way, and remove all files."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)
        self._coming.clear()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _forget(self) -> None:
        if self._given is not None:
            shutil.rmtree(self._given.directory, ignore_errors=True)
            self._given = None

    def _fill(self) -> None:
        while len(self._coming) <= self._ahead and not self._stop.is_set():
            raw = next(self._source, None)
            if raw is None:
                return
            self._coming.append(self._begun(raw))

    def _begun(self, raw: RawRow) -> _Coming:
        directory = self._directory / str(self._count)
        self._count += 1
        files: dict[str, Future[Path] | None] = dict.fromkeys(self._rows.names)
        try:
            for name, wanted in self._rows.of(raw).items():
                target = directory / name / Path(wanted.target).name
                files[name] = self._pool.submit(self._bring, Wanted(wanted.metadata, str(target)))
        except DataJointFileError as error:  # told when the row is reached
            files = dict.fromkeys(self._rows.names, _failed(error))
        return _Coming(self._rows.listing.named(raw.key), files, directory)

    def _bring(self, wanted: Wanted) -> Path:
        return bring(self._rows.pipeline, wanted, overwrite=False, advance=self._stop.watched(lambda _: None))


def _temporary_directory(parent: str | os.PathLike[str] | None) -> Path:
    path = None if parent is None else destination_path(parent)
    try:
        return Path(tempfile.mkdtemp(prefix="datajoint-file-", dir=path)).absolute()
    except OSError as error:
        raise DestinationError(f"no temporary directory can be made in {path}: {reason_of(error)}") from error


def _failed(error: Exception) -> Future[Path]:
    future: Future[Path] = Future()
    future.set_exception(error)
    return future


@brief_traceback
def prefetch(
    query: Any, *, workers: int | None = None, ahead: int = 8, directory: str | os.PathLike[str] | None = None
) -> Prefetch:
    """Go through the rows of a query with their files here already: while one is worked on, the next are brought.

    Each row is a dictionary of its primary key and its ``file`` attributes, each the `Path` of a verified local file
    (``None`` where the row has none). The files of a row are removed when the next one is asked for, so that the disk
    holds those of ``ahead + 1`` rows at most.

    Parameters
    ----------
    query : table or query
        As for `download`.
    workers : int, optional
        Files at a time; by default what suits the store.
    ahead : int
        Rows to bring beyond the one in hand.
    directory : path, optional
        Where a temporary directory is made; the system's choice if not given.

    Returns
    -------
    Prefetch
        To be used in a ``with`` block, whose end removes all files, and iterated over.

    Raises
    ------
    ValueError, TypeError
        If the query has no ``file`` attribute, or an argument is none of the above.
    DestinationError
        If no temporary directory can be made.
    DataJointFileError
        When the row is reached whose file could not be brought. One can go on with the next.

    Examples
    --------
    >>> with datajoint_file.prefetch(Recording & "subject_id = 123") as rows:  # doctest: +SKIP
    ...     for row in rows:
    ...         spikes = detect(numpy.fromfile(row["raw_data"], "int16"))
    """
    if not is_count(ahead, at_least=0):
        raise ValueError(f"ahead = {brief(ahead)}: give the number of rows to bring beyond the one in hand, 0 or more")
    return Prefetch(query, check_workers(workers), ahead, directory)
