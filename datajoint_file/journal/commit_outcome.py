"""Outcome of a commit that was not answered: committed, rolled back, or unknown.

The intents of its files are free when it was rolled back, and locked as long as the server has not decided. That they
are gone proves nothing: a server that has lost its last moments has lost them too. Committed is what has a row, or an
entry in a history.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

from datajoint.errors import AccessError, LostConnectionError, MissingTableError

from datajoint_file.errors import OutcomeUnknownError
from datajoint_file.hooks.connections import connection_of
from datajoint_file.journal.history_table import HistoryTable
from datajoint_file.journal.intent_table import Intents
from datajoint_file.journal.journal import Write
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.sql.path_lookup import paths_among

WAIT_SECONDS = 5.0
"""How long a commit that was not answered is asked after, before its caller is told that nobody knows."""


class Outcome(Enum):
    """What became of a transaction."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"


SchemaEvent = tuple[str, str]
"""Schema and event of a removal, which its history has if the transaction was committed."""

_STILL_OPEN = "its transaction is still open"
_NOT_NOTED = "it has no intents to ask, and its rows are not there yet"
_NO_EVENT = "no history tells that it happened, which proves nothing"
_NOTHING_NOTED = "nothing was noted of it that could be asked"
_GONE = (
    "neither its intents nor its rows are there: the server may have lost its last moments, in a crash or as the "
    "follower of another one, or somebody has deleted the rows since. Look whether they are there"
)
"""Why nobody knows."""


def resolve(error: OutcomeUnknownError, *, connection: Any = None) -> Outcome:
    """Tell what became of the transaction that *error* is about.

    One look at the database, on a connection of its own. ``UNKNOWN`` is not final while the server has not noticed that
    its client is gone, or is still busy: ask again. If it stays, look at the rows before you do it again: the server
    has lost its last moments, somebody has deleted the rows since, without history, or rows were only to be deleted or
    changed, of which a rollback leaves no proof. ``error.reason`` says why nobody knows.

    Parameters
    ----------
    error : OutcomeUnknownError
        What the statement, or the commit, has raised. It can have been pickled in between.
    connection : datajoint.Connection, or what has one, optional
        A connection to the same server; DataJoint's default connection if not given.

    Returns
    -------
    Outcome
        ``COMMITTED``: the rows are there, or gone if that was asked for. ``ROLLED_BACK``: nothing has happened; insert
        again, and what is still stored is not sent again. ``UNKNOWN``: nobody knows yet, or ever will.

    Examples
    --------
    >>> try:
    ...     Recording.insert1({"subject_id": 1, "raw_data": "recording.dat"})
    ... except OutcomeUnknownError as error:
    ...     outcome = datajoint_file.resolve(error)  # doctest: +SKIP
    """
    outcome, error.reason = _look(error.writes, error.removals, second_connection_of(connection_of(connection)))
    return outcome


def _look(writes: Sequence[Write], removals: Sequence[SchemaEvent], second: SecondConnection) -> tuple[Outcome, str]:
    """Return what became of the transaction, and why nobody knows.

    All writes share its fate, but those before a savepoint that it went back to, whose intents are free.
    """
    if any(_has_event(second, *removal) for removal in removals):
        return Outcome.COMMITTED, ""
    if not writes:
        return Outcome.UNKNOWN, _NO_EVENT if removals else _NOTHING_NOTED
    noted = [write for write in writes if write.number]
    looks = [_intents_of(Intents(second, schema), noted) for schema in sorted({write.schema for write in noted})]
    if not noted or any(gone for gone, _ in looks):
        is_committed = any(_was_committed(second, schema, writes) for schema in sorted({w.schema for w in writes}))
        return (Outcome.COMMITTED, "") if is_committed else (Outcome.UNKNOWN, _GONE if noted else _NOT_NOTED)
    is_open = any(locked for _, locked in looks)
    return (Outcome.UNKNOWN, _STILL_OPEN) if is_open else (Outcome.ROLLED_BACK, "")


def _intents_of(intents: Intents, writes: Sequence[Write]) -> tuple[set[int], set[int]]:
    """Return which intents of one schema are gone, and which are locked; the others are free."""
    numbers = sorted(write.number for write in writes if write.schema == intents.schema)
    free = intents.unlocked(numbers)  # asked first: what is committed in between is then not there
    present = intents.present(numbers)
    return set(numbers) - present, present - free


def _was_committed(second: SecondConnection, schema: str, writes: Sequence[Write]) -> bool:
    """Tell whether rows of *schema* name the paths of *writes*, or have done so: what is not there proves nothing."""
    paths: dict[tuple[str, str], list[str]] = {}
    for write in writes:
        if write.schema == schema and not write.is_shared:
            paths.setdefault((write.table_name, write.attribute), []).append(write.path)
    return any(
        _have_rows(second, second.dialect.quoted(schema, table), attribute, some)
        for (table, attribute), some in paths.items()
    ) or _are_in_history(second, schema, [path for some in paths.values() for path in some])


def _have_rows(second: SecondConnection, table: str, attribute: str, paths: Sequence[str]) -> bool:
    with suppress(MissingTableError):
        return bool(paths_among(second.query, second.dialect, table, attribute, paths))
    return False


def _are_in_history(second: SecondConnection, schema: str, paths: Sequence[str]) -> bool:
    """Tell whether rows that are gone have named one of *paths*, by the database's own account."""
    with suppress(MissingTableError):
        return any(metadata is not None for _, _, metadata in HistoryTable(second, schema).by_path(paths))
    return False


def _has_event(second: SecondConnection, schema: str, event: str) -> bool:
    with suppress(MissingTableError, AccessError):
        return HistoryTable(second, schema).has_event(event)
    return False


def raise_unless_committed(
    writes: Sequence[Write], removals: Sequence[SchemaEvent], connection: Any, error: Exception
) -> None:
    """Find out whether a transaction was committed, by what it claimed and removed; *error* was met in its commit.

    Raises
    ------
    LostConnectionError
        If it was rolled back.
    OutcomeUnknownError
        If the server does not tell in time, or there is nothing to ask.
    """
    outcome, reason = _found_outcome(writes, removals, connection)
    if outcome is Outcome.ROLLED_BACK:
        raise LostConnectionError(
            f"The connection was lost during a commit, and the server has rolled back: none of the {len(writes)} files "
            "was inserted. Insert again; what is stored is not sent again"
        ) from error
    if outcome is Outcome.UNKNOWN:
        unknown = OutcomeUnknownError(
            f"The connection was lost during a commit, and whether it happened is not known yet ({reason}). No object "
            f"was deleted. {_way_on(writes, removals)}"
        )
        unknown.writes, unknown.removals, unknown.reason = tuple(writes), tuple(removals), reason
        raise unknown from error


def _way_on(writes: Sequence[Write], removals: Sequence[SchemaEvent]) -> str:
    if writes:
        shown = f"{', '.join(write.write_id for write in writes[:3])}{', …' if len(writes) > 3 else ''}"
        return (
            f"datajoint_file.resolve(error) tells it later for these {len(writes)} files: {shown}. Do not insert again "
            "before"
        )
    look = "look whether the rows are there, and as they were, before you do it again"
    return f"datajoint_file.resolve(error) asks again; if it stays so, {look}" if removals else look.capitalize()


def _found_outcome(writes: Sequence[Write], removals: Sequence[SchemaEvent], connection: Any) -> tuple[Outcome, str]:
    """Ask until the server has decided, or for `WAIT_SECONDS`; say why there is no answer."""
    deadline, pause = time.monotonic() + WAIT_SECONDS, 0.02
    while True:
        try:
            outcome, reason = _look(writes, removals, second_connection_of(connection))
        except Exception as error:  # noqa: BLE001 - no answer, whatever the reason
            outcome, reason = Outcome.UNKNOWN, f"the database cannot be asked: {error}"
        is_over = time.monotonic() > deadline or not (writes or removals)
        if outcome is not Outcome.UNKNOWN or is_over:
            return outcome, reason
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
