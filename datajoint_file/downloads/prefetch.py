"""`prefetch`: the files of the rows of a query, brought here before they are used.

Into the cache, for whoever uses them; or into a directory, for who goes through the rows, and then they go.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from datajoint_file.cache.space import NoRoomError
from datajoint_file.concurrency.descriptors import affordable
from datajoint_file.concurrency.threads import FOREVER, LastingPool, Stop, check_workers, is_count
from datajoint_file.downloads.rows import Rows
from datajoint_file.downloads.tasks import Wanted, bring
from datajoint_file.errors import DataJointFileError, DestinationError, brief, brief_traceback, reason_of
from datajoint_file.hooks.row_listing import RawRow
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline import local_paths
from datajoint_file.pipeline.cache_keys import entry_key
from datajoint_file.pipeline.cached_files import watched
from datajoint_file.pipeline.destinations import destination_path

_LOOK_SECONDS = 0.5
"""So often it is looked what other processes have used."""

_RETRY_SECONDS = 10.0
"""So often it is tried, where there was no room, even if nothing is used: other processes may have ended."""

_IS_KNOWN = sys.maxsize
"""Later than any time."""

_HANDED_SECONDS = 0.1
"""After a use is told of, until who uses it has been given it, and so lets go of what was before."""


class Prefetch:
    """Rows whose files come ahead of their use. Made by `prefetch`; use it in a ``with`` block, and perhaps iterate.

    Parameters
    ----------
    rows : Rows
        Whose files come.
    workers : int
        Files at a time.
    """

    def __init__(self, rows: Rows, workers: int) -> None:
        self._rows = rows
        self._pool = LastingPool(affordable(workers), thread_name_prefix="prefetch")
        self._stop = Stop()
        self._turn = threading.Condition()  # of who begins something, or ends all

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
        return self._give()

    def close(self) -> None:
        """Stop what is on its way."""
        with self._turn:
            self._stop.set()
            self._turn.notify_all()
        self._pool.shutdown(cancel_futures=True)

    def _give(self) -> dict[str, Any]:
        raise NotImplementedError


class _IntoCache(Prefetch):
    """Files that come into the cache, those of so many rows beyond the last that was used, by whomever."""

    def __init__(self, rows: Rows, workers: int, ahead: int) -> None:
        super().__init__(rows, workers)
        self._ahead = ahead
        self._all = list(rows.listing.rows())
        self._rows_with: dict[str, list[int]] = defaultdict(list)  # their numbers, by entry of the cache
        for number, raw in enumerate(self._all):
            for key, _ in self._files(raw):
                self._rows_with[key].append(number)
        self._given = 0
        self._used = 0  # rows that are behind
        self._begun = 0
        self._under_way: set[str] = set()  # entries
        self._uses = 0
        self._came: dict[str, int] = {}  # by entry: when it was brought; or that its use is known
        self._open = ExitStack()

    def __enter__(self) -> Prefetch:
        self._open.enter_context(watched(self._note))
        if not self._is_mounted:
            threading.Thread(target=self._look_around, name="prefetch", daemon=True).start()
        self._go_on(0)
        return self

    @property
    def _is_mounted(self) -> bool:
        return self._rows.pipeline.backend.capabilities.is_mounted

    def close(self) -> None:
        self._open.close()
        super().close()
        self._let_go(len(self._all) + 1)

    def _give(self) -> dict[str, Any]:
        number = self._given
        if number >= len(self._all):
            raise StopIteration
        self._given += 1
        self._go_on(number + 1)
        raw = self._all[number]
        files = self._rows.described(raw)
        found = {name: file and local_paths.local_path(self._rows.pipeline, file) for name, file in files.items()}
        return {**self._rows.listing.named(raw.key), **found}

    def _files(self, raw: RawRow) -> Iterator[tuple[str, FileMetadata]]:
        """Give the files of a row by the entries that they have in the cache, without what could not be brought."""
        for metadata in self._rows.sound(raw):
            with suppress(DataJointFileError):  # which is told where it is used
                yield entry_key(self._rows.pipeline.stores, metadata), metadata

    def _note(self, key: str) -> bool:
        """Go on behind a file that is used; tell whether it is under way."""
        if key in self._came:
            self._came[key] = _IS_KNOWN
        row = self._row_with(key, self._used - 1)  # what is used once more is of the row in hand still
        if row is not None and (row < self._begun or row == self._rows_with[key][0]):
            self._go_on(row + 1)
        return key in self._under_way

    def _row_with(self, key: str, start: int) -> int | None:
        """Return the number of the first row with a file, from *start* on."""
        numbers = self._rows_with.get(key, [])
        return next(iter(numbers[bisect_left(numbers, start) :][:1]), None)

    def _go_on(self, used: int) -> None:
        """Begin what is wanted once so many rows are behind."""
        with self._turn:
            if used > self._used:
                self._used, self._uses = used, self._uses + 1
                self._let_go(used - 1)  # the last may just be opened
                self._turn.notify_all()
            start, self._begun = max(self._begun, self._used), max(self._begun, self._used + self._ahead)
            for number, raw in enumerate(self._all[start : self._begun], start):
                for key, metadata in () if self._stop.is_set() else self._files(raw):
                    self._pool.submit(self._bring, number, key, metadata)

    def _bring(self, number: int, key: str, metadata: FileMetadata) -> None:
        """Bring a file of a row. What fails is told to who uses it, which brings it again."""
        if number < self._used:
            return
        uses = self._uses
        while not self._has_come(key, metadata) and self._is_wanted_after(uses, number):
            uses = self._uses

    def _has_come(self, key: str, metadata: FileMetadata) -> bool:
        """Bring a file; tell whether there was room for it beside what is in use."""
        self._under_way.add(key)
        try:
            local_paths.bring(self._rows.pipeline, metadata, self._stop.watched(lambda _: None))
        except NoRoomError:
            return False
        finally:
            self._under_way.discard(key)
        if not self._is_mounted:
            self._came[key] = self._rows.pipeline.cache.last_use(key)
        return True

    def _is_wanted_after(self, uses: int, number: int) -> bool:
        """Wait for one use more, by which what was used before may go; tell whether a row's file is wanted still."""
        with self._turn:
            self._turn.wait_for(lambda: self._uses != uses or self._stop.is_set(), _RETRY_SECONDS)
        return not self._stop.wait(_HANDED_SECONDS) and number >= self._used

    def _let_go(self, used: int) -> None:
        """Let the cache have back what was brought for rows that are behind, if nobody has it."""
        for key in tuple(self._came):
            row = self._row_with(key, used)
            if row is None or row >= self._begun:
                self._came.pop(key, None)
                self._rows.pipeline.cache.release(key)

    def _look_around(self) -> None:
        """Go on behind files that other processes use: each notes its first use of one."""
        while not self._stop.wait(_LOOK_SECONDS):
            for key, came in tuple(self._came.items()):
                if self._rows.pipeline.cache.last_use(key) > came:
                    self._note(key)


@dataclass(frozen=True, slots=True)
class _Coming:
    """A row whose files are on their way."""

    key: dict[str, Any]
    files: dict[str, Future[Path] | None]
    directory: Path
    stop: Stop

    def forget(self) -> None:
        """Remove what has come; of a row that has failed the rest is not brought any more."""
        self.stop.set()
        files = list(filter(None, self.files.values()))
        for file in files:
            file.cancel()
        wait(files, FOREVER)
        shutil.rmtree(self.directory, ignore_errors=True)


class _IntoDirectory(Prefetch):
    """Files that come into a directory, from where they go with the next row."""

    def __init__(self, rows: Rows, workers: int, ahead: int, directory: Path) -> None:
        super().__init__(rows, workers)
        self._directory = directory
        self._ahead = ahead
        self._coming: deque[_Coming] = deque()
        self._last: _Coming | None = None
        self._source = rows.listing.rows()
        self._count = 0

    def close(self) -> None:
        super().close()
        self._coming.clear()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _give(self) -> dict[str, Any]:
        self._forget()
        self._fill()
        if not self._coming:
            raise StopIteration
        self._last = coming = self._coming.popleft()
        return {**coming.key, **{name: file and file.result(FOREVER) for name, file in coming.files.items()}}

    def _forget(self) -> None:
        if self._last is not None:
            self._last.forget()
            self._last = None

    def _fill(self) -> None:
        while len(self._coming) <= self._ahead and not self._stop.is_set():
            raw = next(self._source, None)
            if raw is None:
                return
            self._coming.append(self._begun(raw))

    def _begun(self, raw: RawRow) -> _Coming:
        directory, stop = self._directory / str(self._count), Stop()
        self._count += 1
        files: dict[str, Future[Path] | None] = dict.fromkeys(self._rows.names)
        try:
            for name, wanted in self._rows.of(raw).items():
                target = directory / name / Path(wanted.target).name
                files[name] = self._pool.submit(self._bring, Wanted(wanted.metadata, str(target)), stop)
        except DataJointFileError as error:  # told when the row is reached
            files = dict.fromkeys(self._rows.names, _failed(error))
        return _Coming(self._rows.listing.named(raw.key), files, directory, stop)

    def _bring(self, wanted: Wanted, stop: Stop) -> Path:
        advance = self._stop.watched(stop.watched(lambda _: None))
        return bring(self._rows.pipeline, wanted, overwrite=False, advance=advance, verify="always")


def _temporary_directory(parent: str | os.PathLike[str]) -> Path:
    path = destination_path(parent)
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
    query: Any,
    attribute: str | None = None,
    *,
    workers: int | None = None,
    ahead: int = 8,
    directory: str | os.PathLike[str] | None = None,
) -> Prefetch:
    """Bring the files of a query's rows here before they are used: while one is worked on, the next come.

    In a ``with`` block the files of the first *ahead* rows come into the cache, in the background; and whenever one of
    the query's files is used (by its path, ``read``, ``load``, ``open`` or ``download``), those of the *ahead* rows
    behind it. By whomever: a ``make`` of ``populate`` in the block, threads, other processes of this machine. Who uses
    a file that is under way waits for it; it comes once. Rows come in the order of their primary key. Leaving the block
    stops what is under way; what has come stays in the cache. What does not fit into that beside what is in use waits
    for room. On a disk, files are verified ahead, and not copied.

    It can also be iterated over: each row is a dictionary of its primary key and its ``file`` attributes, each the
    `Path` of a verified local file or directory (``None`` where the row has none).

    With a *directory*, the files come there, only by iterating, and those of a row are removed when the next one is
    asked for, so that the disk holds those of ``ahead + 1`` rows at most.

    Parameters
    ----------
    query : table or query
        As for `download`. Its rows, keys and metadata, are listed at once, if there is no *directory*.
    attribute : str, optional
        The ``file`` attribute to bring; all if not given.
    workers : int, optional
        Files at a time; by default what suits the store.
    ahead : int
        Rows to bring beyond the one in hand.
    directory : path, optional
        Where a temporary directory is made for the files, in place of the cache.

    Returns
    -------
    Prefetch
        To be used in a ``with`` block, whose end stops it, and removes all files from a *directory*.

    Raises
    ------
    UnsupportedValueError
        If the query has no ``file`` attribute, or is none.
    ValueError, TypeError
        If another argument is none of the above.
    DestinationError
        If no temporary directory can be made.
    DataJointFileError
        Where a file is used, or a row reached, that could not be brought; nowhere else. One can go on with the next.

    Examples
    --------
    >>> with datajoint_file.prefetch(Recording - Spikes, "raw_data", ahead=4):  # doctest: +SKIP
    ...     Spikes.populate()  # whose make opens h5py.File((Recording & key).fetch1("raw_data"))
    >>> with datajoint_file.prefetch(Recording & "subject_id = 123") as rows:  # doctest: +SKIP
    ...     for row in rows:
    ...         spikes = detect(numpy.fromfile(row["raw_data"], "int16"))
    """
    if not is_count(ahead, at_least=0):
        raise ValueError(f"ahead = {brief(ahead)}: give the number of rows to bring beyond the one in hand, 0 or more")
    check_workers(workers)
    if directory is None:
        rows = Rows(query, attribute=attribute)
        return _IntoCache(rows, min(workers or rows.pipeline.workers, max(1, ahead)), ahead)
    new = _temporary_directory(directory)
    try:
        rows = Rows(query, new, "key", attribute=attribute)
        return _IntoDirectory(rows, workers or rows.pipeline.workers, ahead, new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
