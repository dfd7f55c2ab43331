"""Events of a history: which deletions from a table are meant, by a moment or by name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from datajoint_file.errors import UnsupportedValueError, brief
from datajoint_file.hooks.tables import class_name, table_name
from datajoint_file.journal.history_table import HistoryTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.wording import duration
from datajoint_file.storage.tuning import MAX_SKEW


def since_when(text: str) -> datetime | timedelta:
    """Return the moment, or how long ago, that a text stands for.

    Raises
    ------
    ValueError
        If it stands for neither.

    Examples
    --------
    >>> since_when("90 min"), since_when("2026-11-27 10:30")
    (datetime.timedelta(seconds=5400), datetime.datetime(2026, 11, 27, 10, 30))
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        return duration(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither like 90min, 2h or 30 days, nor like 2026-11-27 10:30") from error


def past(since: Any) -> datetime | timedelta:
    """Return since when; refuse what is to come."""
    if isinstance(since, str):
        try:
            since = since_when(since)
        except ValueError as error:
            raise UnsupportedValueError(f"since: {error}") from error
    if isinstance(since, timedelta):
        is_past = since >= timedelta(0)
    elif isinstance(since, datetime):
        is_past = since.astimezone() <= datetime.now(timezone.utc) + MAX_SKEW
    else:
        raise UnsupportedValueError(f"since = {brief(since)}: give a datetime, or a timedelta for how long ago")
    if not is_past:
        raise UnsupportedValueError(f"since: {since} is still to come")
    moment: datetime | timedelta = since
    return moment


def events_of(table: Any, since: datetime | timedelta | None, event: str | None) -> list[str]:
    """Return the deletions from *table* that are meant."""
    second = second_connection_of(table.connection)
    history_table, dialect = HistoryTable(second, table.database), second.dialect
    conditions, args = ["table_name = %s", "why IN ('delete', 'drop')"], [table.table_name]
    if isinstance(since, timedelta):
        conditions.append(f"{dialect.age('at')} <= %s")
        args.append(since.total_seconds())
    elif since is not None:
        conditions.append(f"{dialect.utc('at')} >= %s")
        args.append(since.astimezone(timezone.utc).replace(tzinfo=None))
    if event is not None:
        conditions.append("event = %s")
        args.append(event)
    sql = f"SELECT DISTINCT event FROM {history_table.table} WHERE {' AND '.join(conditions)}"
    return [row[0] for row in second.query(sql, args)]


def require_event(table: Any, event: str) -> None:
    """Refuse an event that is no deletion from this table."""
    second, name = second_connection_of(table.connection), table_name(table)
    sql = f"SELECT DISTINCT table_name, why FROM {HistoryTable(second, table.database).table} WHERE event = %s"
    found: dict[str, str] = dict(second.query(sql, [event])) if event.isascii() else {}
    if table.table_name not in found:
        raise no_event(table, event, [f"{table.database}.{class_name(other)}" for other in sorted(found)])
    if (why := found[table.table_name]) not in ("delete", "drop"):
        way_on = "use datajoint_file.revert, or `datajoint-file restore` with --attribute and --version"
        raise UnsupportedValueError(f"the event {event!r} of {name} is no deletion, but of {why}; {way_on}")


def no_event(table: Any, event: str, others: Sequence[str] = ()) -> UnsupportedValueError:
    """Return the error for an event that is none of a table's."""
    name = table_name(table)
    known = f"`datajoint-file history {name}` shows those that there are"
    way_on = f"it is one of {', '.join(others)}" if others else known
    return UnsupportedValueError(f"no event {brief(event)} in the history of {name}; {way_on}")
