"""Garbage collector, public face: plan, look, execute.

Objects are never deleted by an insert, an update or a delete. This is what does, in a run of its own, by what was
noted: uploads that were given up, a whole grace ago; objects that were removed from their rows, when their retention is
over. Both only if no row of any schema on the server refers to them, and no other upload. What it finds in a store and
nothing tells of it calls *unknown*, and leaves alone until it is told otherwise.

::

    plan = gc.plan()                  # nothing is changed
    print(plan)
    gc.execute(plan)                  # deletes what an earlier run has found to be over

A plan holds for an hour, in the process that made it: it is not pickled. How it knows is in
`datajoint_file.collector.make_plan`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from datetime import timedelta
from typing import Any

from datajoint_file.collector.collection import collection_for
from datajoint_file.collector.evidence import Amount
from datajoint_file.collector.execute_plan import execute_plan
from datajoint_file.collector.make_plan import kept_objects, make_plan
from datajoint_file.collector.plan import Collected, Entry, Kept, Missing, Plan, Refusal, refusals_of
from datajoint_file.concurrency.executors import check_executor
from datajoint_file.config.bindings import Attached
from datajoint_file.doctor.collector_rights import check_notes
from datajoint_file.errors import CollectionRefusedError, brief_traceback
from datajoint_file.journal.schema_registry import record_conflict

DEFAULT_GRACE = timedelta(days=7)
"""How long an upload must have been given up, and an unknown object be known: longer than the longest transaction."""

__all__ = [
    "DEFAULT_GRACE",
    "Amount",
    "Collected",
    "CollectionRefusedError",
    "Entry",
    "Kept",
    "Missing",
    "Plan",
    "Refusal",
    "execute",
    "kept",
    "plan",
    "spare",
]


@brief_traceback
def plan(
    connection: Any = None,
    *,
    scan: bool = False,
    unknown: bool = False,
    grace: timedelta = DEFAULT_GRACE,
    allow_short_grace: bool = False,
    progress: bool | None = None,
    take_over: bool = False,
    dropped: Collection[str] = (),
    executor: Executor | None = None,
) -> Plan:
    """Say what the collector would do now. Nothing is changed.

    What is noted in the database is looked at, and, if anything may be deleted, the references of every schema on the
    server; with *scan* the whole project is listed as well. If something makes it doubtful that all was seen, the plan
    says so in ``refusals``, and cannot be executed.

    Parameters
    ----------
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        Whose database and pipeline; DataJoint's default connection if not given. It must not be in a transaction. The
        reading is done on connections of the collector's own.
    scan : bool
        List the store: tells of objects that rows refer to and that are missing, and of those that are unknown.
    unknown : bool
        Note unknown objects for deletion: a later run deletes them, after *grace*, if still nothing refers to them.
    grace : timedelta
        How long an upload must have been given up, by the database's clock, and an unknown object be noted. What was
        removed from a row is kept for the ``retention`` of ``datajoint.toml``.
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
    >>> plan.reclaim.count, plan.purge.count, plan.unknown.count, plan.refusals  # doctest: +SKIP
    (0, 2, 0, ())
    """
    options = {"grace": grace, "take_over": take_over, "dropped": tuple(dropped), "progress": progress}
    collection = collection_for(connection, executor=_checked(executor), **options)
    made = make_plan(collection, scan=scan, unknown=unknown, allow_short_grace=allow_short_grace)
    rights = None if made.refusals else check_notes(collection.connection, collection.project)
    if rights is not None and rights.status == "failed":
        note = f"this user {rights.detail}, so that it cannot be carried out; {rights.fix}"
        made = replace(made, notes=(*made.notes, note))
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

    Uploads that were given up are deleted. Of what was removed from rows a first run notes that its retention is over,
    and a later one deletes it, when no transaction is open any more that could have seen it in a row. A run that is cut
    short, wherever, is finished by the next; several runs at once do no harm.

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
        Whose workers delete what is condemned, for good.

    Returns
    -------
    Collected
        What was done. False if some objects could not be deleted: their rows are left, and the next run tries again.

    Raises
    ------
    CollectionRefusedError
        If the plan has refusals, is too old or was made for another database, or if something makes it doubtful now:
        all of that is asked before the first object is deleted. If the reason is that the store knows another history
        of a schema, a mark is left of this one: the other, which may be a copy's, then refuses too.
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
    try:
        return execute_plan(plan, collection, force=force)
    except CollectionRefusedError as error:
        if any(refusal.kind == "restored" for refusal in refusals_of(error)):
            record_conflict(collection.pipeline, collection.connection, plan.schemas)
        raise


_connections: Attached[Any] = Attached(lambda evidence: None)
"""What plans of this process were made with, by their evidence, which copies of a plan share: a plan is a value."""


def _checked(executor: Executor | None) -> Executor | None:
    return None if executor is None else check_executor(executor)


def kept(connection: Any = None, *, grace: timedelta = DEFAULT_GRACE) -> Iterator[Kept]:
    """Give the objects that were removed from all rows, or are noted as unknown, and until when each is kept at least.

    Parameters
    ----------
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        As for `plan`.
    grace : timedelta
        The grace that will be used for unknown ones.

    Examples
    --------
    >>> from datajoint_file import gc
    >>> [found.key for found in gc.kept(connection)]  # doctest: +SKIP
    []
    """
    return kept_objects(collection_for(connection, grace=grace))


@brief_traceback
def spare(keys: Iterable[str], connection: Any = None) -> tuple[str, ...]:
    """Forget that unknown objects were noted for deletion. No row comes back by it: see `datajoint_file.undelete`.

    Parameters
    ----------
    keys : iterable of str
        Object keys.
    connection : datajoint.Connection, datajoint.Instance or datajoint.Schema, optional
        As for `plan`.

    Returns
    -------
    tuple of str
        Those of *keys* that were noted. The others never were, or are being deleted, or are deleted already.

    Examples
    --------
    >>> from datajoint_file import gc
    >>> gc.spare(["lab/ephys/objects/Recording-raw/…/recording.dat"], connection)  # doctest: +SKIP
    ()
    """
    return collection_for(connection).spare(list(keys))
