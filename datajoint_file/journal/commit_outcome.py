"""Outcome of a commit that was not answered: committed, rolled back, or still open.

The intents of its files tell it: they are gone when it was committed, free when it was rolled back, and locked as long
as the server has not decided.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import Enum
from typing import Any

from datajoint.errors import LostConnectionError

from datajoint_file.errors import OutcomeUnknownError
from datajoint_file.hooks.connections import connection_of
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


def resolve(error: OutcomeUnknownError, *, connection: Any = None) -> Outcome:
    """Tell what became of the transaction that *error* is about.

    One look at the database, on a connection of its own. The answer ``OPEN`` is not final: the server has not noticed
    yet that its client is gone, or is still busy. Ask again.

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
    """Return what became of the transaction that claimed *writes*.

    Where there are no intents to ask, a row that is there proves that it was committed, and nothing proves more.
    """
    second = second_connection_of(connection)
    noted = [write for write in writes if write.number]
    if not noted:
        return Outcome.COMMITTED if _have_rows(writes, second) else Outcome.OPEN
    found = {_outcome_in(Intents(second, schema), noted) for schema in {write.schema for write in noted}}
    return next((outcome for outcome in (Outcome.COMMITTED, Outcome.OPEN) if outcome in found), Outcome.ROLLED_BACK)


def _outcome_in(intents: Intents, writes: Sequence[Write]) -> Outcome:
    """Ask the intents of one schema. All share the transaction's fate, but those before a savepoint it went back to."""
    numbers = {write.number for write in writes if write.schema == intents.schema}
    unlocked = intents.unlocked(sorted(numbers))  # asked first: what is committed in between is then not there
    if numbers - intents.present(sorted(numbers)):
        return Outcome.COMMITTED
    return Outcome.ROLLED_BACK if unlocked else Outcome.OPEN


def _have_rows(writes: Sequence[Write], second: SecondConnection) -> bool:
    paths: dict[tuple[str, str, str], list[str]] = {}
    for write in writes:
        paths.setdefault((write.schema, write.table_name, write.attribute), []).append(write.path)
    return any(
        paths_among(second.query, second.dialect, second.dialect.quoted(schema, table), attribute, some)
        for (schema, table, attribute), some in paths.items()
    )


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
    is_noted = any(write.number for write in writes)
    reason = "its transaction is still open" if is_noted else "it has no intents to ask, and its rows are not there yet"
    deadline, pause = time.monotonic() + WAIT_SECONDS, 0.02
    while True:
        try:
            outcome = outcome_of(writes, connection)
        except Exception as error:  # noqa: BLE001 - no answer, whatever the reason
            outcome, reason = Outcome.OPEN, f"the database cannot be asked: {error}"
        if outcome is not Outcome.OPEN or time.monotonic() > deadline:
            return outcome, reason
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
