"""Garbage collection, public face: plan, look, execute.

Objects are never deleted by an insert, an update or a delete. This is what does, in a run of its own: uploads that were
given up, and objects that no row of any schema on the server refers to, each when that has been so for a whole grace.
How it knows is in `datajoint_file.collector.make_plan`.

::

    plan = gc.plan(scan=True)         # nothing is changed
    print(plan)
    gc.execute(plan)                  # sets aside what is unused; deletes what was set aside a grace ago

A plan holds for an hour, in the process that made it: it is not pickled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any

from datajoint_file.collector.collection import collection_for
from datajoint_file.collector.evidence import Amount
from datajoint_file.collector.execute_plan import execute_plan
from datajoint_file.collector.make_plan import make_plan
from datajoint_file.collector.plan import Collected, Entry, Missing, Plan, Quarantined, Refusal
from datajoint_file.concurrency.executors import check_executor
from datajoint_file.config.bindings import Attached
from datajoint_file.errors import CollectionRefusedError, brief_traceback

DEFAULT_GRACE = timedelta(days=7)
"""How long an object must have been unused: longer than the longest transaction, and than it takes to notice."""

__all__ = [
    "DEFAULT_GRACE",
    "Amount",
    "Collected",
    "CollectionRefusedError",
    "Entry",
    "Missing",
    "Plan",
    "Quarantined",
    "Refusal",
    "execute",
    "plan",
    "quarantined",
    "restore",
]


@brief_traceback
def plan(
    connection: Any = None,
    *,
    scan: bool = False,
    grace: timedelta = DEFAULT_GRACE,
    allow_short_grace: bool = False,
    progress: bool | None = None,
    take_over: bool = False,
    dropped: Collection[str] = (),
    executor: Executor | None = None,
) -> Plan:
    """Say what the collector would do now. Nothing is changed.

    Without *scan* only uploads that were given up are looked for, in the database. With it the whole project is listed,
    the references of every schema on the server are read, and what is stored and not referenced is found. If something
    makes that doubtful, the plan says so in ``refusals``, and cannot be executed.

    Parameters
    ----------
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        Whose database and pipeline; DataJoint's default connection if not given. It must not be in a transaction. The
        reading is done on connections of the collector's own.
    scan : bool
        List the store.
    grace : timedelta
        How long an object must have been unused, by the database's clock.
    allow_short_grace : bool
        Accept a grace of less than 24 hours: only where nobody is writing.
    progress : bool or None
        Show progress bars: always, never, or (None) on a terminal.
    take_over : bool
        This database is the one that counts: forget what the marks in the store say about others.
    dropped : collection of str
        Schemas that are gone for good, though the database cannot prove it.
    executor : concurrent.futures.Executor, optional
        Whose workers ask the store once more for objects that rows refer to and that the listing had not. Listing and
        reading the references stay here: what is unused follows from their order. A worker's failure is the plan's.

    Raises
    ------
    CollectionRefusedError
        If *grace* is too short.
    ConfigurationError
        If the connection has no pipeline.
    StorageError
        If the store cannot be asked.
    WorkerError
        If a worker of the executor died. There is no plan then.

    Examples
    --------
    >>> from datajoint_file import gc
    >>> plan = gc.plan(connection, scan=True)  # doctest: +SKIP
    >>> plan.reclaim.count, plan.quarantine.count, plan.refusals  # doctest: +SKIP
    (0, 2, ())
    """
    options = {"grace": grace, "take_over": take_over, "dropped": tuple(dropped), "progress": progress}
    collection = collection_for(connection, executor=_checked(executor), **options)
    made = make_plan(collection, scan=scan, allow_short_grace=allow_short_grace)
    _connections.keep(made.evidence, connection)
    return made


@brief_traceback
def execute(
    plan: Plan,
    *,
    connection: Any = None,
    force: bool = False,
    progress: bool | None = None,
    executor: Executor | None = None,
) -> Collected:
    """Carry out a plan, looking again before anything is deleted.

    Uploads that were given up are deleted. What is unreferenced is set aside; what was set aside a grace ago is
    deleted; what is referenced again is released. The object goes first and the row that notes it second, so a run that
    is cut short, wherever, is finished by the next; several runs at once do no harm.

    Parameters
    ----------
    plan : Plan
        Not older than an hour.
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        To the database that the plan was made for; the one that it was made with if not given.
    force : bool
        Go on although more than a tenth of all objects is concerned. No other refusal is overruled by it.
    progress : bool or None
        Show progress bars: always, never, or (None) on a terminal.
    executor : concurrent.futures.Executor, optional
        Whose workers delete. Threads delete everything; other processes only uploads that were given up, which are
        condemned before, for good. What was set aside is deleted under a lock, and a worker elsewhere could outlive it.

    Returns
    -------
    Collected
        What was done. False if some objects could not be deleted: their rows are left, and the next run tries again.

    Raises
    ------
    CollectionRefusedError
        If the plan has refusals, is too old or was made for another database, or if something makes it doubtful now. If
        that is met in the middle, what was deleted before was safe to delete.
    StorageError
        If the store fails altogether.

    Examples
    --------
    >>> from datajoint_file import gc
    >>> gc.execute(gc.plan(connection)).reclaimed.count  # doctest: +SKIP
    3
    """
    collection = collection_for(
        _connections.known(plan.evidence) if connection is None else connection,
        grace=plan.grace,
        take_over=plan.take_over,
        dropped=plan.dropped,
        progress=progress,
        executor=_checked(executor),
    )
    return execute_plan(plan, collection, force=force)


_connections: Attached[Any] = Attached(lambda evidence: None)
"""What plans of this process were made with, by their evidence, which copies of a plan share: a plan is a value."""


def _checked(executor: Executor | None) -> Executor | None:
    return None if executor is None else check_executor(executor)


def quarantined(connection: Any = None, *, grace: timedelta = DEFAULT_GRACE) -> Iterator[Quarantined]:
    """Give the objects that are set aside, and when each may be deleted at the earliest.

    Parameters
    ----------
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        As for `plan`.
    grace : timedelta
        The grace that will be used.

    Examples
    --------
    >>> from datajoint_file import gc
    >>> [found.key for found in gc.quarantined(connection)]  # doctest: +SKIP
    []
    """
    return collection_for(connection, grace=grace).quarantined()


@brief_traceback
def restore(keys: Iterable[str], connection: Any = None) -> tuple[str, ...]:
    """Take objects out of quarantine; those that are still unused get a whole new grace at the next scan.

    Parameters
    ----------
    keys : iterable of str
        Object keys.
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        As for `plan`.

    Returns
    -------
    tuple of str
        Those of *keys* that were in quarantine. The others never were, or are deleted already.

    Examples
    --------
    >>> from datajoint_file import gc
    >>> gc.restore(["lab/ephys/objects/Recording-raw/…/recording.dat"], connection)  # doctest: +SKIP
    ()
    """
    return collection_for(connection).restore(list(keys))
