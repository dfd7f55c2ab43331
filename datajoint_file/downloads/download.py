"""`download`: the files that the rows of a query name, brought here many at a time.

Where each goes is decided in `datajoint_file.downloads.tasks`; which rows there are, in `rows`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from datajoint_file.concurrency.executors import check_executor, delegated, grouped
from datajoint_file.concurrency.progress import Advance, progress_bar
from datajoint_file.concurrency.threads import Stop, check_workers, run_all
from datajoint_file.downloads.rows import Rows
from datajoint_file.downloads.tasks import DownloadTask, Wanted, bring, bring_all, check_layout
from datajoint_file.errors import UnsafeNameError, brief_traceback
from datajoint_file.hooks.row_listing import PAGE_ROWS
from datajoint_file.journal.worker_address import address_of
from datajoint_file.model.verify_policy import check_policy
from datajoint_file.model.wording import counted
from datajoint_file.pipeline.destinations import destination_path
from datajoint_file.pipeline.pipeline import Pipeline
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
    UnsupportedValueError
        If the query has no ``file`` attribute, or is none.
    ValueError, TypeError
        If another argument is none of the above.
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
    rows = Rows(query, destination_path(destination).absolute(), check_layout(layout))
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
    executor: Executor, rows: Rows, todo: Iterator[Wanted], advance: Advance, *, overwrite: bool, verify: str | None
) -> None:
    address, stop = address_of(rows.pipeline, rows.connection), Stop()
    some = grouped(todo, lambda wanted: wanted.metadata.size)
    tasks = (DownloadTask(address, files, overwrite, stop, verify) for files in some)
    for _, outcome in delegated(executor, bring_all, tasks, stop=stop):
        advance(outcome.result())
