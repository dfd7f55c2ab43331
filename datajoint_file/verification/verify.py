"""`verify`: the files that rows of tables, queries and whole schemas name, compared with what is in the store.

How one object is examined, and many at a time, is the business of `datajoint_file.verification`; what can be asked
about, and how its rows are listed, of `subjects` and `row_listing`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from datajoint_file.concurrency.executors import check_executor
from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.concurrency.threads import check_workers
from datajoint_file.errors import DataJointError, brief, brief_traceback
from datajoint_file.hooks.row_listing import Key, key_from_json
from datajoint_file.journal.check_table import CheckTable
from datajoint_file.journal.worker_address import address_of
from datajoint_file.pipeline.address import PipelineAddress
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.verification.budget import Budget
from datajoint_file.verification.check_object import Level, check_level
from datajoint_file.verification.findings import Finding, VerifyReport
from datajoint_file.verification.records import ByAge, CheckRecorder, round_in
from datajoint_file.verification.repairs import Repairs, require_mirrors
from datajoint_file.verification.subjects import QueryRow, Subject, position_text, subjects_of
from datajoint_file.verification.verification import FileValue, Verification

_REMOTE_READERS = 8
_REMOTE_ASKERS = 16
"""Objects to ask a remote store for at a time: mostly one waits."""


@brief_traceback
def verify(
    query_or_schema: Any,
    level: str = "content",
    *,
    workers: int | None = None,
    budget: int | str | timedelta | None = None,
    after: str | None = None,
    progress: bool | None = None,
    executor: Executor | None = None,
    repair: bool = False,
) -> VerifyReport:
    """Compare stored files with what their rows say of them, and return a report. Neither rows nor files are changed.

    Rows are read a page at a time in the order of the primary key, or, within a budget, the longest unverified first;
    their objects are examined in parallel. When, how and with what result is noted in the hidden table ``~file_check``
    of the schema, if this user may write it (`unverified` asks for it). A problem
    does not stop it: each is a `Finding` of the report. An object that several rows name is examined once. Before a
    finding is made its row is looked up again, so that a row deleted or updated meanwhile is none.

    Parameters
    ----------
    query_or_schema : table, query, schema, or a list of these
        A table, a restricted one, a join or projection that still has ``file`` attributes; a `dj.Schema` or virtual
        module stands for all its tables that have any, part tables included.
    level : {"exists", "size", "content"}
        ``"exists"`` asks for each object, ``"size"`` compares its size too; neither reads a byte of it. ``"content"``
        reads all of it and compares the hash: the only one that finds damaged bytes.
    workers : int, optional
        Objects examined at a time, with an executor by each of its tasks; the number of processors for a local disk and
        8 or 16 for others, if not given.
    budget : int, str or timedelta, optional
        Bytes to read (``10**10``, ``"10 GB"``) or time to take (``"30min"``, a `timedelta`). When it is used up no
        other row is begun, and the report says where to go on. At least one row is checked.
    after : str, optional
        The ``position`` of the report of an earlier run with the same tables: begin behind it.
    progress : bool, optional
        Show a progress bar: always, never, or (``None``) on a terminal or in a notebook after a second.
    executor : concurrent.futures.Executor, optional
        Whose workers examine the objects, in other processes or on other machines: ``client.get_executor()`` of Dask, a
        `ProcessPoolExecutor`, … They get metadata in batches, read their own configuration (the same file, or that of
        ``DATAJOINT_TOML``) and never the database. It is not shut down.

    repair : bool
        In the end, put what the mirror has, and is proven to be right, in the place of what is missing or wrong. Those
        problems are in ``mended`` then, and not among the findings.

    Returns
    -------
    VerifyReport
        True if nothing is wrong with what was checked.

    Raises
    ------
    UnsupportedValueError
        If a query has no ``file`` attribute, or something is none.
    TypeError, ValueError
        If another argument is none of the above.
    ConfigurationError
        If the pipeline's configuration is missing or wrong, here or where the executor's workers are; or it names no
        mirror to *repair* from.

    Notes
    -----
    A store that cannot be reached is not a store without the object: the finding is ``"unreadable"``, and after ten in
    a row the run stops; the report is false and says why, in ``interruption``. So it does if the database is lost or a
    worker of the executor dies: what was found is in the report, and ``after=report.position`` goes on. Inside a
    transaction the database shows rows as they were when it began, so better verify outside of one. With an executor, a
    budget can be exceeded by what has been handed to it already: at most 200 batches.

    Examples
    --------
    >>> report = datajoint_file.verify(Recording & "subject_id = 123")  # doctest: +SKIP
    >>> if not report:  # doctest: +SKIP
    ...     print(report)
    >>> report = datajoint_file.verify(schema, budget="30min")  # doctest: +SKIP
    >>> report = datajoint_file.verify(schema, budget="30min", after=report.position)  # doctest: +SKIP
    """
    return verify_telling(
        query_or_schema,
        level,
        workers=workers,
        budget=budget,
        after=after,
        progress=progress,
        executor=executor,
        repair=repair,
    )


Settled = Callable[[QueryRow, FileValue, Finding | None], object]


def verify_telling(
    query_or_schema: Any,
    level: str,
    *,
    workers: int | None = None,
    budget: Budget | int | str | timedelta | None = None,
    after: str | None = None,
    progress: bool | None = None,
    executor: Executor | None = None,
    repair: bool = False,
    settled: Settled = lambda *_: None,
    stopped: Callable[[str | None], object] = lambda _: None,
) -> VerifyReport:
    """Do what `verify` does, and tell of each value when it is *settled*.

    If an exception ends it, *stopped* is told first where a later run goes on.
    """
    checked_level, limit = check_level(level), Budget.parse(budget)
    check_workers(workers)
    if executor is not None:
        check_executor(executor)
    subjects = subjects_of(query_or_schema)
    require_mirrors(subjects if repair else ())
    remaining, recorder = _after(subjects, after), CheckRecorder(checked_level)
    by_age = _by_age(subjects, remaining, checked_level, recorder, after, is_bounded=limit != Budget())
    if by_age is None and round_in(after)[0]:  # nothing can be noted any more: begin again
        after, remaining = None, _after(subjects, None)
    notes = [] if after and not by_age else _notes_of_schemas(subjects, recorder, by_age)
    count = workers or _default_workers(subjects, checked_level, executor)

    repairs = Repairs()

    def note(row: QueryRow, value: FileValue, finding: Finding | None) -> None:
        recorder.settled(row, value, finding)
        settled(row, value, finding)
        if repair and finding is not None:
            repairs.wanted.append((row, value))

    title = subjects[0].title if len(subjects) == 1 else f"{len(subjects)} tables"
    with progress_bar(f"verifying {title}", None, progress) as advance:
        verification = Verification(
            checked_level,
            count,
            limit,
            executor=executor,
            address_of=_addresses(subjects),
            advance=advance,
            settled=note,
            idle=lambda: _keep_awake(subjects),
        )
        rows = by_age.rows() if by_age else (row for subject, key in remaining for row in subject.rows(key))
        try:
            verification.run(rows)
            repairs.run(note)
        except BaseException:
            stopped(verification.position or after)
            raise
        finally:
            recorder.flush()
    if verification.is_complete:
        _tidy(notes if by_age is None or _counted(by_age.count_all) == 0 else [])
    return repairs.told(_report(verification, checked_level, subjects, after, by_age))


def _by_age(
    subjects: list[Subject],
    remaining: list[tuple[Subject, Key | None]],
    level: Level,
    recorder: CheckRecorder,
    after: str | None,
    *,
    is_bounded: bool,
) -> ByAge | None:
    """Return the order of a run that may not come to the end, or goes on with such a round; None if keys order it."""
    since, is_again = round_in(after)
    if (since is None and (after is not None or not is_bounded)) or not ByAge.suits(subjects, recorder):
        return None
    order = ByAge(subjects, remaining, level, recorder)
    if since is not None:
        order.go_on(since, is_again=is_again)
    return order


def _notes_of_schemas(
    subjects: list[Subject], recorder: CheckRecorder, by_age: ByAge | None
) -> list[tuple[CheckTable, datetime]]:
    """Return the notes of schemas that are verified as a whole, and since when each file that a row names has been."""
    whole = {(id(s.listing.connection), s.schema): s for s in subjects if s.is_table_of_schema}
    tables = [recorder.table_of(subject.listing.connection, subject.schema) for subject in whole.values()]
    return [(table, by_age.since if by_age else table.clock()) for table in tables if table is not None]


def _tidy(notes: list[tuple[CheckTable, datetime]]) -> None:
    """Forget files that no row of a schema names any more: all that there are have been verified since."""
    for table, moment in notes:
        with suppress(Exception):  # the next run does it
            table.tidy(moment)


def _addresses(subjects: list[Subject]) -> Callable[[Pipeline], PipelineAddress]:
    """Return what gives the address of each pipeline of *subjects*, found when it is first asked for."""
    connections = {id(subject.pipeline): subject.listing.connection for subject in subjects}
    addresses: dict[int, PipelineAddress] = {}

    def address(pipeline: Pipeline) -> PipelineAddress:
        if id(pipeline) not in addresses:
            addresses[id(pipeline)] = address_of(pipeline, connections[id(pipeline)])
        return addresses[id(pipeline)]

    return address


def _default_workers(subjects: list[Subject], level: Level, executor: Executor | None) -> int:
    if all(subject.pipeline.backend.capabilities.protocol == "file" for subject in subjects):
        return (os.cpu_count() or 1) if executor is None else 1
    return _REMOTE_READERS if level == "content" else _REMOTE_ASKERS


def _keep_awake(subjects: list[Subject]) -> None:
    """Let databases and the firewalls before them know that somebody is there: between two pages hours may pass."""
    for connection in {id(subject.listing.connection): subject.listing.connection for subject in subjects}.values():
        with suppress(Exception):  # whatever is wrong, the next query says it better, or DataJoint connects again
            connection.ping()


def _after(subjects: list[Subject], after: str | None) -> list[tuple[Subject, Key | None]]:
    """Return the subjects that are left after a position, the first with the key to begin behind."""
    if after is None:
        return [(subject, None) for subject in subjects]
    index, name, key = _read_position(after)
    given = {subject.index: subject for subject in subjects}
    known = given.get(index)
    if known is not None and not known.is_table_of_schema and name not in ("", known.name):
        raise ValueError(
            f"after = {brief(after, 200)}: this is a position in {name}, and {known.name} is to be verified"
        )
    left = [subject for subject in subjects if subject.order >= (index, name)]
    for subject in left[:1]:
        if subject.order == (index, name) and key is not None and len(key) != len(subject.listing.primary_key):
            raise ValueError(f"after = {brief(after, 200)}: the primary key of {subject.title} has other attributes")
    return [(subject, key if subject.order == (index, name) else None) for subject in left]


def _read_position(after: str) -> tuple[int, str, Key | None]:
    try:
        document = json.loads(after)
        key = document["key"]
        return int(document["part"]), str(document["table"]), None if key is None else key_from_json(key)
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"after = {brief(after, 200)}: give the `position` of the report of an earlier run, as it is"
        ) from error


def _counted(count: Callable[[], int]) -> int | None:
    """Return how many values are left, None if the database does not say."""
    try:
        return count()
    except DataJointError:
        return None


def _report(
    verification: Verification, level: Level, subjects: list[Subject], after: str | None, by_age: ByAge | None
) -> VerifyReport:
    position: str | None = None
    remaining: int | None = 0
    if not verification.is_complete:
        beginning = {"since": by_age.since.isoformat()} if by_age else {}
        position = verification.position or after or position_text(0, "", None, **beginning)
        rest = _after(subjects, position)
        if by_age:
            remaining = _counted(partial(by_age.count, rest, is_again=round_in(position)[1]))
        else:
            remaining = _counted(lambda: sum(subject.listing.count(key) for subject, key in rest))
    return VerifyReport(
        level=level,
        checked=verification.checked,
        directories=verification.directories,
        members=verification.members,
        size=verification.bytes,
        seconds=verification.seconds,
        remaining=remaining,
        findings=verification.findings,
        position=position,
        interruption=verification.interruption,
    )
