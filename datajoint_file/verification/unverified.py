"""`unverified`: the condition that finds files which nobody has found sound for long.

What was found, and when, is written down by `records`.
"""

from __future__ import annotations

from typing import Any

from datajoint_file.errors import UnsupportedValueError, brief_traceback
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.row_listing import query_of
from datajoint_file.journal.check_table import CheckTable
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.sql import dialect_of
from datajoint_file.verification.check_object import check_level
from datajoint_file.verification.records import levels_from
from datajoint_file.verification.subjects import origin_of


@brief_traceback
def unverified(query: Any, attribute: str, days: float = 90, *, level: str = "content") -> str:
    """Return the condition that the file of a row was not found sound in the last days, to restrict a query with.

    Found sound by `verify` or ``datajoint-file verify``, by the clock of the database. What has never been verified,
    or was found missing or damaged since, is unverified; an attribute that is NULL, or a file that merely could not be
    read since, is not.

    Parameters
    ----------
    query : table or query
        What is to be restricted, or the table that the attribute comes from.
    attribute : str
        The ``file`` attribute, as *query* calls it.
    days : float
        In how many days.
    level : {"content", "size", "exists"}
        How closely it must have been looked at, at least.

    Returns
    -------
    str
        SQL. It holds for as long as it is used: each query asks anew.

    Raises
    ------
    UnsupportedValueError
        If *attribute* is no ``file`` attribute of a table in *query*.
    ValueError
        If there is no such level, or *days* is not more than 0.

    Examples
    --------
    >>> old = Recording & datajoint_file.unverified(Recording, "raw_data", days=90)  # doctest: +SKIP
    >>> datajoint_file.verify(old, budget="2h")  # doctest: +SKIP
    """
    query = query_of(query)
    levels = levels_from(check_level(level))
    if not days > 0:
        raise ValueError(f"days = {days}: give more than 0")
    schema = origin_of(query, attribute)[2] if attribute in file_attributes(query.heading) else ""
    if not schema:
        known = ", ".join(file_attributes(query.heading))
        raise UnsupportedValueError(f"{attribute!r} is no `file` attribute of a table in the query; there are {known}")
    table = CheckTable(second_connection_of(query.connection), schema)
    if not table.is_there():  # nothing was ever verified
        return f"{dialect_of(query.connection).quoted(attribute)} IS NOT NULL"
    return table.unsound_sql(attribute, levels, days * 86_400)
