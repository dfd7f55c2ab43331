"""Outcome of a commit that was not answered: committed, rolled back, or open.

The intents of its files are free when it was rolled back, and locked as long as the server has not decided. That they
are gone proves nothing: a server that has lost its last moments has lost them too. Committed is what has a row.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

from datajoint.errors import LostConnectionError, MissingTableError

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
    OPEN = "open"


_STILL_OPEN = "its transaction is still open"
_NOT_NOTED = "it has no intents to ask, and its rows are not there yet"
_GONE = (
    "neither its intents nor its rows are there: the server may have lost its last moments, in a crash or as the "
    "follower of another one, or somebody has deleted the rows since. Look whether they are there"
)
"""Why nobody knows."""


def resolve(error: OutcomeUnknownError, *, connection: Any = None) -> Outcome:
    """Tell what became of the transaction that *error* is about.

    One look at the database, on a connection of its own. The answer ``OPEN`` is not final while the server has not
    noticed that its client is gone, or is still busy. Ask again. If it stays, the server has lost its last moments, or
    somebody has deleted the rows since, without history: look whether they are there before you insert them again.

    Parameters
    ----------
    error : OutcomeUnknownError
        What the insert, or the commit, has raised. It can have been pickled in between.
    connection : datajoint.Connection, or what has one, optional
        A connection to the same server; DataJoint's default connection if not given.

    Returns
    -------
    Outcome
        ``COMMITTED``: the rows are there. ``ROLLED_BACK``: none of them is; insert again, and what is still stored is
        not sent again. ``OPEN``: nobody knows yet.

    Examples
    --------
    >>> try:
    ...     Recording.insert1({"subject_id": 1, "raw_data": "recording.dat"})
    ... except OutcomeUnknownError as error:
    ...     outcome = datajoint_file.resolve(error)  # doctest: +SKIP
    """
    return outcome_of(error.writes, connection_of(connection))


def outcome_of(writes: Sequence[Write], connection: Any) -> Outcome:
    """Return what became of the transaction that claimed *writes*."""
    return _look(writes, second_connection_of(connection))[0]


def _look(writes: Sequence[Write], second: SecondConnection) -> tuple[Outcome, str]:
    """Return what became of the transaction, and why nobody knows.

    All writes share its fate, but those before a savepoint that it went back to, whose intents are free.
    """
    noted = [write for write in writes if write.number]
    looks = [_intents_of(Intents(second, schema), noted) for schema in sorted({write.schema for write in noted})]
    if not noted or any(gone for gone, _ in looks):
        is_committed = any(_was_committed(second, schema, writes) for schema in sorted({w.schema for w in writes}))
        return (Outcome.COMMITTED, "") if is_committed else (Outcome.OPEN, _GONE if noted else _NOT_NOTED)
    is_open = any(locked for _, locked in looks)
    return (Outcome.OPEN, _STILL_OPEN) if is_open else (Outcome.ROLLED_BACK, "")


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


def was_removed(removals: Sequence[tuple[str, str]], connection: Any) -> bool:
    """Tell whether a history has one of these events, for everybody to see: then its transaction is committed."""
    second = second_connection_of(connection)
    with suppress(Exception):  # no answer, whatever the reason
        return any(HistoryTable(second, schema).has_event(event) for schema, event in removals)
    return False


def raise_unless_removed(removals: Sequence[tuple[str, str]], connection: Any, error: Exception) -> None:
    """Find out whether a transaction was committed that took rows away, as the histories of their schemas say.

    Raises
    ------
    OutcomeUnknownError
        If they do not say so in time: that proves nothing.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if was_removed(removals, connection):
            return
        time.sleep(0.1)
    raise OutcomeUnknownError(
        "The connection was lost during a commit, and no history tells that it happened: rows were to be deleted or "
        "changed. Look whether they are there before you do it again"
    ) from error


def raise_unless_committed(writes: Sequence[Write], connection: Any, error: Exception) -> None:
    """Find out whether the transaction that claimed *writes* was committed, in whose commit *error* was met.

    Raises
    ------
    LostConnectionError
        If it was rolled back.
    OutcomeUnknownError
        If the server does not tell in time.
    """
    outcome, reason = _found_outcome(writes, connection)
    if outcome is Outcome.ROLLED_BACK:
        raise LostConnectionError(
            f"The connection was lost during a commit, and the server has rolled back: none of the {len(writes)} files "
            "was inserted. Insert again; what is stored is not sent again"
        ) from error
    if outcome is Outcome.OPEN:
        unknown = OutcomeUnknownError(
            f"The connection was lost during a commit, and whether it happened is not known yet ({reason}). Nothing "
            f"was deleted. datajoint_file.resolve(error) tells it later for these {len(writes)} files: "
            f"{', '.join(write.write_id for write in writes[:3])}{', …' if len(writes) > 3 else ''}. Do not insert "
            "again before"
        )
        unknown.writes = tuple(writes)
        raise unknown from error


def _found_outcome(writes: Sequence[Write], connection: Any) -> tuple[Outcome, str]:
    """Ask until the server has decided, or for `WAIT_SECONDS`; say why there is no answer."""
    deadline, pause = time.monotonic() + WAIT_SECONDS, 0.02
    while True:
        try:
            outcome, reason = _look(writes, second_connection_of(connection))
        except Exception as error:  # noqa: BLE001 - no answer, whatever the reason
            outcome, reason = Outcome.OPEN, f"the database cannot be asked: {error}"
        if outcome is not Outcome.OPEN or time.monotonic() > deadline:
            return outcome, reason
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
