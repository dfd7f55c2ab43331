"""Tags of rows: put, taken away, counted, and what rows are chosen by. Of any table, also one without files.

They live in a hidden table beside the table, with foreign keys to its rows: `datajoint_file.sql.tag_table`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from datajoint.errors import AccessError, DataJointError, MissingTableError

from datajoint_file.errors import QueryError, brief, brief_traceback, server_message
from datajoint_file.hooks.base_rows import BaseRows, as_query, base_rows
from datajoint_file.hooks.restrictions import SqlCondition
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.sql import dialect_of
from datajoint_file.sql.tag_table import MAX_LENGTH, TagTable

_NO_LIMIT = 2**63 - 1
"""A LIMIT that leaves nothing out: MySQL would look into the table that it changes, but for this."""

_ADVICE = "tag rows of a table: tag(Recording & query, …)"


@brief_traceback
def tag(query: Any, *names: str) -> int:
    """Put tags on all rows of a query, in one statement and in the transaction that is open, if one is.

    What is there already stays; doing it again does nothing. A tag lives as long as its row: it survives ``update1``,
    and goes by a deletion of whatever kind, by ``replace=True``, which puts a new row in the place of the old one, and
    by ``drop``. `undelete` brings rows back without their tags.

    The first tag of a table makes a hidden table beside it, outside of the transaction.

    Parameters
    ----------
    query : datajoint.QueryExpression
        A table, or rows of it: ``Recording & key``. It may be projected, with other names of its key.
    *names : str
        The tags: up to 64 printable characters each, of any script. Upper and lower case differ.

    Returns
    -------
    int
        How many tags were put, of all rows, that were not there.

    Raises
    ------
    QueryError
        If a name cannot be a tag, or *query* is made of several tables.
    datajoint.errors.AccessError
        If this user may not make the hidden table, or write to it.

    Examples
    --------
    >>> import datajoint_file
    >>> datajoint_file.tag(Recording & "subject_id = 123", "good", "sorted")  # doctest: +SKIP
    24
    """
    wanted, rows = _checked(names), _rows_of(query)
    table = require_tag_table(rows)
    dialect = table.dialect
    key = [dialect.quoted(name) for name in rows.names]
    tags = " UNION ALL ".join(f"SELECT {dialect.encoded(name)} AS {table.tag}" for name in wanted)
    select = f"SELECT {', '.join(key)}, {table.tag} FROM ({_keys(rows)}) AS k CROSS JOIN ({tags}) AS t WHERE 1 = 1"
    return _run(rows, dialect.insert_missing(table.table, [*key, table.tag], select), "INSERT")


@brief_traceback
def untag(query: Any, *names: str) -> int:
    """Take tags away from all rows of a query, in one statement; what is not there does not matter.

    Parameters
    ----------
    query : datajoint.QueryExpression
        As for `tag`.
    *names : str
        Which tags.

    Returns
    -------
    int
        How many tags were taken away.

    Raises
    ------
    QueryError, datajoint.errors.AccessError
        As of `tag`.

    Examples
    --------
    >>> datajoint_file.untag(Recording & datajoint_file.tagged("bad"), "sorted")  # doctest: +SKIP
    3
    """
    wanted, rows = _checked(names), _rows_of(query)
    table = tag_table_if_there(rows)
    if table is None:
        return 0
    return _run(rows, f"DELETE FROM {table.table} WHERE {_among(table, rows)} AND {_named(table, wanted)}", "DELETE")


@brief_traceback
def tags(query: Any) -> dict[str, int]:
    """Return the tags of the rows of a query, in alphabetical order, each with the number of rows that have it.

    Raises
    ------
    QueryError, datajoint.errors.AccessError
        As of `tag`.

    Examples
    --------
    >>> datajoint_file.tags(Recording)  # doctest: +SKIP
    {'good': 112, 'sorted': 80}
    """
    rows = _rows_of(query)
    table = tag_table_if_there(rows)
    if table is None:
        return {}
    sql = f"SELECT {table.tag}, COUNT(*) FROM {table.table} WHERE {_among(table, rows)} GROUP BY {table.tag}"
    return {str(name): int(count) for name, count in sorted(rows.query.connection.query(sql).fetchall())}


@dataclass(frozen=True, slots=True)
class Tagged(SqlCondition):
    """Restriction to rows by their tags: see `tagged`."""

    all_of: tuple[str, ...]
    any_of: tuple[str, ...]
    none_of: tuple[str, ...]
    of: Any = None

    def sql(self, query: Any) -> tuple[str, set[str]]:
        """Return the SQL for *query*, and the attributes that are in it. One look whether there are tags at all."""
        advice = "say whose tags are meant: tagged(…, of=Recording), or restrict that table before you join it"
        rows = base_rows(query, self.of, advice=advice)
        table, names = tag_table_if_there(rows), set(rows.names.values())
        if table is None:
            return ("1 = 1" if self.none_of and not (self.all_of or self.any_of) else "1 = 0"), names
        key = ", ".join(table.dialect.quoted(name) for name in rows.names)
        chosen = [f"SELECT {key} FROM {table.table}{where}" for where in self._choices(table, key)]
        asked = ", ".join(table.dialect.quoted(name) for name in rows.names.values())
        parts = [f"({asked}) IN ({select})" for select in chosen]
        if self.none_of:
            parts.append(f"({asked}) NOT IN (SELECT {key} FROM {table.table} WHERE {_named(table, self.none_of)})")
        sql = " AND ".join(parts)
        return table.dialect.concealed(f"COALESCE({sql}, 1 = 0)" if rows.may_lack else sql), names

    def _choices(self, table: TagTable, key: str) -> Iterable[str]:
        """Give what chooses the tags of rows that are meant; of each, a row is to have one."""
        if self.all_of:
            counted = f" GROUP BY {key} HAVING COUNT(*) = {len(self.all_of)}" if len(self.all_of) > 1 else ""
            yield f" WHERE {_named(table, self.all_of)}{counted}"
        if self.any_of:
            yield f" WHERE {_named(table, self.any_of)}"
        if not (self.all_of or self.any_of or self.none_of):
            yield ""


def tagged(*names: str, any_of: Iterable[str] = (), none_of: Iterable[str] = (), of: Any = None) -> Tagged:
    """Return a restriction to rows by their tags: ``Recording & tagged("good")``, ``Recording - tagged("bad")``.

    It goes wherever DataJoint takes a restriction: in lists, in `datajoint.AndList`, for joins and projections. Without
    any names it means rows that have a tag, so that ``Recording - tagged()`` are those that have none.

    If a table has never had a tag, a query that was restricted before it got its first one stays as it was.

    Parameters
    ----------
    *names : str
        Rows that have all of these.
    any_of, none_of : iterable of str, optional
        And at least one of these; and none of these.
    of : datajoint.Table, optional
        Whose tags are meant, where a query joins several tables. It has to have the primary key of that table.

    Raises
    ------
    QueryError
        If a name cannot be a tag; when it restricts a query, if that does not tell whose tags are meant.

    Examples
    --------
    >>> import datajoint_file
    >>> Recording & datajoint_file.tagged("good", "sorted", none_of=["moved"])  # doctest: +SKIP
    >>> (Recording & datajoint_file.tagged(any_of=["good", "fair"])) * Session  # doctest: +SKIP
    >>> Session * Recording - datajoint_file.tagged("bad", of=Recording)  # doctest: +SKIP
    """
    all_of, some, none = (_checked(one) if one else () for one in (names, _several(any_of), _several(none_of)))
    return Tagged(all_of, some, none, of)


def _several(names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise QueryError(f"give a list of tags instead of {names!r}")
    return tuple(names)


def _checked(names: Iterable[Any]) -> tuple[str, ...]:
    """Return tags, each once, of characters that were put together as far as they can be."""
    checked = dict.fromkeys(as_tag(name) for name in names)
    if not checked:
        raise QueryError("give at least one tag")
    return tuple(checked)


def as_tag(name: Any) -> str:
    """Return the tag that a name means, with characters put together.

    Raises
    ------
    QueryError
        If it can be none.
    """
    tag = unicodedata.normalize("NFC", name) if isinstance(name, str) else ""
    if not 0 < len(tag) <= MAX_LENGTH or not tag.isprintable() or tag != tag.strip():
        raise QueryError(
            f"{brief(name)} is no tag: give text of 1 to {MAX_LENGTH} printable characters, without spaces around it"
        )
    return tag


def _rows_of(query: Any) -> BaseRows:
    return base_rows(as_query(query), advice=_ADVICE)


def _keys(rows: BaseRows) -> str:
    """Return the query for the primary keys of rows, under the names that they have in their table."""
    quoted = rows.query.connection.adapter.quote_identifier
    named = ", ".join(f"{quoted(called)} AS {quoted(name)}" for name, called in rows.names.items())
    return f"SELECT {named} FROM ({rows.query.make_sql(list(rows.names.values()))}) AS r LIMIT {_NO_LIMIT}"


def _among(table: TagTable, rows: BaseRows) -> str:
    """Return the condition that a tag is one of these rows."""
    key = ", ".join(table.dialect.quoted(name) for name in rows.names)
    return f"({key}) IN (SELECT {key} FROM ({_keys(rows)}) AS k)"


def _named(table: TagTable, names: Iterable[str]) -> str:
    return f"{table.tag} IN ({', '.join(table.dialect.encoded(name) for name in names)})"


def _run(rows: BaseRows, sql: str, right: str) -> int:
    """Run a statement that changes tags, on the user's connection."""
    try:
        return int(rows.query.connection.query(sql).rowcount)
    except AccessError as error:
        raise _denied(rows, error, f"GRANT {right} ON it") from error


def _table_of(rows: BaseRows) -> TagTable:
    return TagTable(dialect_of(rows.query.connection), rows.table.database, rows.table.table_name)


def tag_table_if_there(rows: BaseRows) -> TagTable | None:
    """Return the table of tags, unless there is none. Asked on the second connection, where failing ends nothing."""
    table = _table_of(rows)
    try:
        second_connection_of(rows.query.connection).query(table.is_empty)
    except MissingTableError:
        return None
    except AccessError as error:
        raise _denied(rows, error, "GRANT SELECT ON it") from error
    return table


def require_tag_table(rows: BaseRows) -> TagTable:
    """Return the table of tags, made now if there is none."""
    table = tag_table_if_there(rows)
    if table is not None:
        return table
    table, second = _table_of(rows), second_connection_of(rows.query.connection)
    columns = table.dialect.columns(second.query, table.schema, [table.tagged])[table.tagged]
    by_name = {column.name: column for column in columns}
    try:
        second.execute(table.creation([by_name[name] for name in rows.names]))
    except (AccessError, PermissionError) as error:
        grant = f"let the owner of {table.schema} put a tag, or GRANT CREATE, REFERENCES there"
        raise _denied(rows, error, grant) from error
    except Exception as error:
        if table.dialect.is_timeout(error.__cause__ or error):
            raise DataJointError(
                f"{table_name(rows.table)}: a transaction, perhaps this one, is at work on the table, so that "
                f"`{table.name}`, which its tags need, cannot be made. Put the first tag outside of a transaction"
            ) from error
        if tag_table_if_there(rows) is None:  # else another has made it at the same time
            raise
    with suppress(MissingTableError, AccessError), second.transaction():
        for sql in table.lineage():
            second.execute(sql, (tuple(rows.names),) if "%s" in sql else ())
    return table


def _denied(rows: BaseRows, error: Exception, advice: str) -> AccessError:
    table = _table_of(rows)
    return AccessError(
        f"{table_name(rows.table)}: its tags are in `{table.schema}`.`{table.name}`, which this user may not use so "
        f"({server_message(error)}). {advice[0].upper()}{advice[1:]}"
    )
