"""Expression indexes on the JSON of files, on request: a look-up among a million rows takes milliseconds with them.

They change nothing of a table that DataJoint sees: no attribute, no definition, no statement of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datajoint.errors import AccessError
from datajoint.table import Table

from datajoint_file.errors import IndexingError, QueryError, brief, brief_traceback, server_message
from datajoint_file.hooks.codec import file_attributes
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.second_connection import SecondConnection
from datajoint_file.journal.transactions import has_transaction
from datajoint_file.sql.file_indexes import indexes_of


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What was done to the indexes of a table, or would be.

    Parameters
    ----------
    table : str
        The table, ``schema.Recording``.
    statements : tuple of str
        The statements. None, if all was there already, or nothing was there to drop.
    is_done : bool
        Whether they were run.
    waits : str
        Who waits while they run, and for whom they wait.
    """

    table: str
    statements: tuple[str, ...]
    is_done: bool
    waits: str

    def __str__(self) -> str:
        if not self.statements:
            return f"{self.table}: nothing to do"
        return "\n".join(
            (f"{self.table}: {'done' if self.is_done else 'would be done'}: {self.waits}", *self.statements)
        )


@brief_traceback
def index(table: Any, *, drop: bool = False, dry_run: bool = False) -> IndexReport:
    """Make the indexes by which `find` looks files of a table up: by hash, by path, by the original of a link.

    For each ``file`` attribute three, which together take 60 to 80 bytes a row. The definition of the table stays as it
    is, for DataJoint too; dropping the table, or an attribute, drops them. Only what is missing is made, also after a
    failure half-way.

    Parameters
    ----------
    table : datajoint.Table
        The table, also a part table, or one in a schema that was not declared here (`datajoint.FreeTable`).
    drop : bool
        Drop them instead.
    dry_run : bool
        Do nothing, and return the statements.

    Raises
    ------
    QueryError
        If *table* is no table, or has no ``file`` attribute.
    IndexingError
        If the server has no such indexes (MariaDB), the user may not make any, or others use the table for too long.

    Examples
    --------
    >>> print(datajoint_file.index(Recording, dry_run=True))  # doctest: +SKIP
    """
    target = table() if isinstance(table, type) and issubclass(table, Table) else table
    if not isinstance(target, Table):
        raise QueryError(f"{brief(table)} is no table: index(Recording)")
    attributes = file_attributes(target.heading)
    if not attributes:
        raise QueryError(f"{table_name(target)} has no `file` attribute, only {', '.join(target.heading.names)}")
    second = SecondConnection(target.connection)
    try:
        return _changed(target, second, attributes, drop=drop, dry_run=dry_run)
    finally:
        second.close()


def _changed(
    table: Any, second: SecondConnection, attributes: tuple[str, ...], *, drop: bool, dry_run: bool
) -> IndexReport:
    name, dialect = table_name(table), second.dialect
    if dialect.index_refusal:
        raise IndexingError(f"{name}: {dialect.index_refusal}")
    statements = _statements(table, second, attributes, drop=drop)
    if statements and not dry_run:
        if has_transaction(table.connection):
            raise IndexingError(
                f"{name}: a transaction of your own is open, for which this would wait; nothing was done. Commit it or "
                "roll it back first"
            )
        _run(name, second, statements)
    return IndexReport(name, tuple(statements), is_done=not dry_run, waits=dialect.index_waits)


def _statements(table: Any, second: SecondConnection, attributes: tuple[str, ...], *, drop: bool) -> list[str]:
    dialect, schema = second.dialect, table.database
    wanted = indexes_of(table.table_name, attributes)
    there = dialect.index_names(second.query, schema, table.table_name)
    useless = [one for one in wanted if one in there and (drop or not there[one])]
    missing = (
        {}
        if drop
        else {one: (dialect.quoted(of), member) for one, (of, member) in wanted.items() if not there.get(one)}
    )
    statements = dialect.drop_indexes(schema, table.table_name, useless) if useless else []
    return statements + (dialect.create_indexes(schema, table.table_name, missing) if missing else [])


def _run(name: str, second: SecondConnection, statements: list[str]) -> None:
    try:
        if second.dialect.index_patience:
            second.execute(second.dialect.index_patience)
        for statement in statements:
            second.execute(statement)
    except AccessError as error:
        raise IndexingError(
            f"{name}: this user may not change the indexes of the table: {server_message(error)}. The owner of the "
            "table may, or on MySQL who has the right INDEX on the schema"
        ) from error
    except Exception as error:
        if not second.dialect.is_timeout(error):
            raise
        raise IndexingError(
            f"{name}: others have used the table all the time that this has waited ({server_message(error)}). Try "
            "again when no transaction is open that has read or changed it; what is left half-made is made anew then"
        ) from error
