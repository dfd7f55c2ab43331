"""DDL of a migration: the new attribute added, names exchanged in one statement or transaction, the old one dropped.

Columns are what DataJoint's own declaration makes of a line. Our hook on ALTER is passed by: what it would write down
of a file attribute that goes is not true of one that is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from datajoint.connection import Connection
from datajoint.declare import compile_attribute
from datajoint.errors import AccessError

from datajoint_file.errors import DeclarationError
from datajoint_file.hooks.patching import original_of
from datajoint_file.hooks.tables import table_name
from datajoint_file.journal.transactions import own_transaction
from datajoint_file.migrate.external import HIDDEN
from datajoint_file.migrate.names import Names
from datajoint_file.migrate.note_table import NoteTable
from datajoint_file.sql import dialect_of

PATIENCE_SECONDS = 10
"""So long others may keep the table in use before it is said that they do."""

_LINE = re.compile(
    r"""
    (?P<type> \w+ (?:\([^)]*\))? (?:\ unsigned)? (?:\ CHARACTER\ SET\ \w+)? (?:\ COLLATE\ \w+)? )
    (?P<null> .*? )
    (?P<comment> \ COMMENT\ '(?:[^'\\]|''|\\.)*' )?
    (?P<check> \ CHECK\ \(.*\) )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""What ``SHOW CREATE TABLE`` says behind the name of a column."""

_JSON_OF_MARIADB = "longtext character set utf8mb4 collate utf8mb4_bin"
"""What MariaDB calls ``json``, with a check. Given so, it wants to copy the table, and cannot beside a foreign key."""


def run(connection: Any, sql: str) -> Any:
    """Run a statement without parameters by DataJoint's own function; never twice."""
    return original_of(Connection.query)(connection, sql.replace("%", "%%"), reconnect=False)


def refresh(table: Any) -> None:
    """Have DataJoint look at the table anew, also where its class or a query of it is in a user's hands."""
    heading = table.heading
    heading._attributes = heading._table_status = heading.indexes = None


def add(table: Any, names: Names) -> None:
    """Add the new attribute, nullable, with the comment of the old one. DataJoint's heading is read anew."""
    connection = table.connection
    comment = (table.heading[names.old].comment or "").replace("#", " ").strip().lstrip(":")
    line = f"{names.new} = null : <file>  # {comment}".rstrip(" #")
    name, sql, _, column_comment = compile_attribute(line, False, [], {}, connection.adapter)
    place = f" AFTER {dialect_of(connection).quoted(names.old)}" if connection.adapter.backend == "mysql" else ""
    told = connection.adapter.column_comment_ddl(table.full_table_name, name, column_comment)
    with own_transaction(connection) if told else nullcontext():  # without its comment it is no file
        run(connection, f"ALTER TABLE {table.full_table_name} ADD COLUMN {sql}{place}")
        if told:
            run(connection, told)
    refresh(table)


def drop(table: Any, name: str) -> None:
    """Drop an attribute that is no file, with the foreign keys that DataJoint before version 2 gave it."""
    quoted = dialect_of(table.connection).quoted
    parts = [*(f"DROP FOREIGN KEY {quoted(key)}" for key in _foreign_keys(table, name)), f"DROP COLUMN {quoted(name)}"]
    run(table.connection, f"ALTER TABLE {table.full_table_name} {', '.join(parts)}")
    refresh(table)


def _foreign_keys(table: Any, name: str) -> list[str]:
    """Return what MySQL calls the foreign keys of an attribute."""
    if table.connection.adapter.backend != "mysql":
        return []
    sql = (
        "SELECT DISTINCT constraint_name FROM information_schema.key_column_usage WHERE table_schema = %s "
        "AND table_name = %s AND column_name = %s AND LEFT(referenced_table_name, %s) = %s"
    )
    args = table.database, table.table_name, name, len(HIDDEN), HIDDEN
    return [found for (found,) in table.connection.query(sql, args).fetchall()]


class Exchange:
    """Exchange of the names of the two attributes, there and back.

    Parameters
    ----------
    table : datajoint.Table
        The table.
    names : Names
        As they are now.
    notes : NoteTable
        What is asked under the lock.
    """

    def __init__(self, table: Any, names: Names, notes: NoteTable) -> None:
        self._table, self._names, self._notes = table, names, notes
        self._connection = table.connection
        self._dialect = dialect_of(self._connection)
        self._full = table.full_table_name

    def is_nullable(self) -> bool:
        """Tell whether the attribute that has the name may be NULL."""
        return bool(self._table.heading[self._names.name].nullable)

    def definition(self) -> str:
        """Return what the database needs to know to make the old attribute again what it is now."""
        return self._line(self._names.old) if self._connection.adapter.backend == "mysql" else self._default()

    def there(self, *, is_nullable: bool, is_ready: Callable[[], bool]) -> bool:
        """Give the new attribute the name, and the old one the kept name, if it *is_ready* under the lock; tell so."""
        names = self._names
        if self._connection.adapter.backend != "mysql":
            nullable = [(names.kept, True, ""), (names.name, is_nullable, "")]
            return self._in_transaction([(names.old, names.kept), (names.new, names.name)], nullable, is_ready)
        changes = [
            (names.old, names.kept, _nullable(self._line(names.old), names.old, names.kept, is_nullable=True)),
            (names.new, names.name, _nullable(self._line(names.new), names.new, names.name, is_nullable=is_nullable)),
        ]
        return self._under_lock(changes, is_ready)

    def back(self, definition: str, *, is_nullable: bool) -> bool:
        """Give the old attribute its name and *definition* again, and the new one that which it had beside it."""
        names = self._names
        if self._connection.adapter.backend != "mysql":
            nullable = [(names.beside, True, ""), (names.name, is_nullable, definition)]
            return self._in_transaction([(names.new, names.beside), (names.old, names.name)], nullable)
        line = definition if not is_nullable else _nullable(definition, names.name, names.name, is_nullable=True)
        changes = [
            (names.new, names.beside, _nullable(self._line(names.new), names.new, names.beside, is_nullable=True)),
            (names.old, names.name, line),
        ]
        return self._under_lock(changes)

    def _under_lock(self, changes: list[tuple[str, str, str]], is_ready: Callable[[], bool] = lambda: True) -> bool:
        quoted = self._dialect.quoted
        parts = ", ".join(f"CHANGE COLUMN {quoted(old)} {quoted(new)} {line}" for old, new, line in changes)
        with self._locked():
            if not is_ready():
                return False
            run(self._connection, f"ALTER TABLE {self._full} {parts}")
        refresh(self._table)
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep others from the table, as long as the block runs."""
        before = run(self._connection, "SELECT @@SESSION.lock_wait_timeout").fetchone()[0]
        try:
            run(self._connection, f"SET SESSION lock_wait_timeout = {PATIENCE_SECONDS}")
            with self._patient():
                run(self._connection, f"LOCK TABLES {self._full} WRITE, {self._notes.name} READ")
            yield
        finally:
            with suppress(Exception):  # a lost connection has no locks
                run(self._connection, "UNLOCK TABLES")
                run(self._connection, f"SET SESSION lock_wait_timeout = {before}")

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """Say why the table could not be locked. Who waits for it keeps all others waiting that come behind."""
        name = table_name(self._table)
        try:
            yield
        except AccessError as error:
            raise DeclarationError(
                f"{name}: this user may not lock the table, without which rows that others write now could be missed; "
                "nothing was changed. On MySQL, have LOCK TABLES granted on the schema; on PostgreSQL the owner may"
            ) from error
        except Exception as error:
            if not self._dialect.is_timeout(error):
                raise
            raise DeclarationError(
                f"{name}: others have used the table for {PATIENCE_SECONDS} seconds, for whom this would have to wait; "
                "nothing was changed. Try again when no transaction is open that has read or changed it"
            ) from error

    def _in_transaction(
        self,
        renamed: list[tuple[str, str]],
        nullable: list[tuple[str, bool, str]],
        is_ready: Callable[[], bool] = lambda: True,
    ) -> bool:
        quoted = self._dialect.quoted
        with own_transaction(self._connection):
            run(self._connection, f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'")
            with self._patient():
                run(self._connection, f"LOCK TABLE {self._full} IN ACCESS EXCLUSIVE MODE")
            if not is_ready():
                return False
            for old, new in renamed:
                sql = f"ALTER TABLE {self._full} RENAME COLUMN {quoted(old)} TO {quoted(new)}"
                run(self._connection, sql)
            for name, may_be_null, default in nullable:
                change = f"ALTER TABLE {self._full} ALTER COLUMN {quoted(name)}"
                run(self._connection, f"{change} {'DROP' if may_be_null else 'SET'} NOT NULL")
                told = f"SET DEFAULT {default}" if default else "DROP DEFAULT"
                run(self._connection, f"{change} {told}")
        refresh(self._table)
        return True

    def _line(self, name: str) -> str:
        """Return what MySQL says of a column behind its name."""
        text = run(self._connection, f"SHOW CREATE TABLE {self._full}").fetchone()[1]
        start = f"  {self._dialect.quoted(name)} "
        line = next(line for line in text.split("\n") if line.startswith(start))  # comments have other ends of lines
        return str(line[len(start) :].rstrip().removesuffix(","))

    def _default(self) -> str:
        sql = (
            "SELECT column_default FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s AND column_name = %s"
        )
        args = self._table.database, self._table.table_name, self._names.old
        return str(self._connection.query(sql, args).fetchone()[0] or "")


def _nullable(line: str, old: str, new: str, *, is_nullable: bool) -> str:
    """Return a column's line under another name, nullable or not, and without its default, which no file can have."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise DeclarationError(f"the database says of the attribute {old} what is not understood here: {line}")
    type_, check = found["type"], (found["check"] or "").replace(f"`{old}`", f"`{new}`")
    if (type_.lower(), check) == (_JSON_OF_MARIADB, f" CHECK (json_valid(`{new}`))"):
        type_, check = "json", ""
    return f"{type_} {'NULL DEFAULT NULL' if is_nullable else 'NOT NULL'}{found['comment'] or ''}{check}"
