"""Watch loop: looks at a directory when something happens in it, and at intervals, through failures that may pass.

What a look does is told in `watch`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from datajoint.errors import DataJointError

from datajoint_file.errors import driver_message
from datajoint_file.jobs.watch import Look, Watch

_DRIVERS = ("pymysql", "psycopg2")

_REST = 3
"""Times that a look takes: so long there is none while files grow, however much there is to be looked at."""


def keep_watching(
    watched: Watch,
    root: str | os.PathLike[str],
    *,
    still: timedelta,
    interval: timedelta,
    told: Callable[[Look], object],
    failed: Callable[[str], object],
    once: bool = False,
) -> Look:
    """Look at a directory for ever, when something happens in it and each *interval*; *told* is what each has found.

    *once* ends when nothing grows any more, or has had the time to stop. What fails at the first look is raised; later
    *failed* is told, and it is tried again: a database may be restarted, and a disk be mounted again.
    """
    begun, due, rested, last, is_wanted = time.monotonic(), 0.0, 0.0, None, False
    for has_happened in _ticks(Path(root), min(still.total_seconds() / 2, 1.0)):
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
    raise AssertionError("ticks do not end")


def _may_pass(error: Exception) -> bool:
    return isinstance(error, DataJointError) or type(error).__module__.partition(".")[0] in _DRIVERS


def _ticks(root: Path, seconds: float) -> Iterator[bool]:
    """Give for ever, each so many seconds or earlier, whether something is known to have happened below *root*.

    Network disks tell of nothing that other machines do, and systems have limits: it is a help, no more.
    """
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
        ):
            yield bool(changes)
    except (ImportError, OSError, RuntimeError):
        pass
    while True:
        time.sleep(seconds)
        yield False
