"""Watch loop: looks at a directory when something happens in it, and at intervals, through failures that may pass.

What a look does is told in `watch`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

from datajoint.errors import DataJointError

from datajoint_file.concurrency.file_lock import FileLock
from datajoint_file.errors import AlreadyWatchedError, brief_traceback, driver_message, printable
from datajoint_file.intake.watch import Look, Watch
from datajoint_file.model.wording import timespan

logger = logging.getLogger("datajoint_file.intake")

_DRIVERS = ("pymysql", "psycopg2")

_REST = 3
"""Times that a look takes: so long there is none while files grow, however much there is to be looked at."""


@brief_traceback
def watch(
    root: str | os.PathLike[str],
    rule: str,
    table: Any,
    *,
    attribute: str | None = None,
    values: Mapping[str, Any] | None = None,
    patterns: Mapping[str, str] | None = None,
    exclude: str | Sequence[str] = (),
    still: timedelta | float | str = "10 seconds",
    interval: timedelta | float | str = "30 seconds",
    once: bool = False,
    on_look: Callable[[Look], object] | None = None,
    stop: Event | None = None,
) -> Look:
    """Insert the files of a directory that match a rule, when they have stopped growing, until it is told to stop.

    As ``datajoint-file watch``: what is stored is read back and noted beside the file, in ``NAME.receipt.json``; rows
    that are there are never changed. Killed at any moment, the next one goes on. Where database or store fail after the
    first look, that is logged, and tried again.

    Parameters
    ----------
    root, rule, table, attribute, values, patterns, exclude
        As of `scan`, with one rule.
    still : timedelta, float or str
        How long the size and time of a file must not have changed; seconds, if it is a number.
    interval : timedelta, float or str
        It is looked at least so often, and when something happens.
    once : bool
        Whether to end when nothing grows any more, or has had the time to stop.
    on_look : callable, optional
        Called with what each look has found: ``print``, say.
    stop : threading.Event, optional
        Ends it when it is set, by another thread or by *on_look*, after the look that it is at. A table's connection is
        for one thread: give that one a table of its own.

    Returns
    -------
    Look
        What the last look has found.

    Raises
    ------
    RuleError, UnsupportedValueError, SourceError
        As by `scan`.
    DestinationError
        If no receipts can be written there.
    AlreadyWatchedError
        If somebody watches the directory for this attribute already.
    DataJointError
        If database or store cannot be used at the first look; with *once*, at any.

    Examples
    --------
    >>> datajoint_file.watch("rig3", "session{session_id}.dat", Recording, once=True)  # doctest: +SKIP
    """
    rest, pause = timespan(still, "still"), timespan(interval, "interval")
    if min(rest, pause) < timedelta():
        raise ValueError("still and interval are amounts of time, and not negative")
    left_out = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    watched = Watch(
        root,
        rule,
        table,
        attribute=attribute,
        values=values,
        patterns=patterns,
        exclude=left_out,
        still=rest.total_seconds(),
    )
    lock = FileLock.opened(watched.lock_file)
    with nullcontext() if lock is None else closing(lock):
        if lock is not None and not lock.take():
            raise AlreadyWatchedError(f"{printable(os.fspath(root))} is watched for {watched.name} already")
        told, failed = on_look or (lambda _: None), _log
        return keep_watching(watched, root, still=rest, interval=pause, told=told, failed=failed, once=once, stop=stop)


def _log(text: str) -> None:
    logger.warning("a watch cannot go on, and tries again: %s", text)


def keep_watching(
    watched: Watch,
    root: str | os.PathLike[str],
    *,
    still: timedelta,
    interval: timedelta,
    told: Callable[[Look], object],
    failed: Callable[[str], object],
    once: bool = False,
    stop: Event | None = None,
) -> Look:
    """Look at a directory for ever, when something happens in it and each *interval*; *told* is what each has found.

    *once* ends when nothing grows any more, or has had the time to stop. What fails at the first look is raised; later
    *failed* is told, and it is tried again: a database may be restarted, and a disk be mounted again.
    """
    begun, due, rested, last, is_wanted = time.monotonic(), 0.0, 0.0, None, False
    stopped = stop or Event()
    for has_happened in _ticks(Path(root), min(still.total_seconds() / 2, 1.0), stopped):
        now, is_wanted = time.monotonic(), is_wanted or has_happened
        if now < (rested if is_wanted else due):
            continue
        try:
            last = watched.look()
        except Exception as error:
            if last is None or once or not _may_pass(error):
                raise
            failed(driver_message(error))
            due = rested = time.monotonic() + interval.total_seconds()
            continue
        told(last)
        ended, is_wanted = time.monotonic(), bool(last.waiting or last.is_more)
        due, rested = ended + interval.total_seconds(), ended + (ended - now) * (0 if last.is_more else _REST)
        has_time = now - begun <= 2 * still.total_seconds()
        if once and not last.is_more and not (last.waiting and has_time):
            return last
    return last or Look()


def _may_pass(error: Exception) -> bool:
    return isinstance(error, DataJointError) or type(error).__module__.partition(".")[0] in _DRIVERS


def _ticks(root: Path, seconds: float, stop: Event) -> Iterator[bool]:
    """Give until *stop*, each so many seconds or earlier, whether something is known to have happened below *root*.

    Network disks tell of nothing that other machines do, and systems have limits: it is a help, no more.
    """
    if stop.is_set():
        return
    yield True
    try:
        import watchfiles  # not all have it

        for changes in watchfiles.watch(
            root,
            watch_filter=None,
            debounce=round(seconds * 1000),
            rust_timeout=round(seconds * 1000),
            yield_on_timeout=True,
            ignore_permission_denied=True,
            stop_event=stop,
        ):
            yield bool(changes)
    except (ImportError, OSError, RuntimeError):
        pass
    while not stop.wait(seconds):
        yield False
