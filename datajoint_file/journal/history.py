"""History of references, writers' side: what a statement takes out of a table is written down in its transaction.

Set-based, and of exactly the rows that go. Where DDL commits by itself, entries are written and committed before it,
under a lock, and voided if it fails: until then its rows are there, and entries of objects in use only spare. Without
the right to make the table nothing is written, and the statement does what it did before.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from datajoint.errors import AccessError, DataJointError, MissingTableError

from datajoint_file.errors import JournalWarning, warn
from datajoint_file.journal.history_table import HistoryTable, Removal
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.transactions import claims_of, has_transaction, require_transaction, transaction_for
from datajoint_file.model.names import base32
from datajoint_file.sql import Column, dialect_of, is_lost

Name = tuple[str, str]
"""Schema and table, as the database calls them."""


class Event:
    """One removal under way on a connection: of all *tables* that it may reach, those are kept that are worth it.

    If one of them has files all are, so that what was removed together can be put back together.
    """

    def __init__(self, connection: Any, why: str, tables: Callable[[], Iterable[Name]]) -> None:
        self.connection = connection
        self.removal = Removal(base32(secrets.token_bytes(16)), why)
        self.dialect = dialect_of(connection)
        self._tables = tables
        self._is_warned = False

    @cached_property
    def reached(self) -> frozenset[Name]:
        """The tables that were looked at."""
        return frozenset(self._tables())

    @cached_property
    def kept(self) -> Mapping[Name, Sequence[Column]]:
        """The columns of the tables of which rows are kept. Found out once, when the first is removed."""
        by_schema: dict[str, list[str]] = {}
        for schema, table in self.reached:
            by_schema.setdefault(schema, []).append(table)
        found = {
            (schema, table): columns
            for schema, tables in by_schema.items()
            for table, columns in self.dialect.columns(self.query, schema, tables).items()
        }
        if not any(column.is_file for columns in found.values() for column in columns):
            return {}
        usable = {
            schema for schema in sorted({schema for schema, _ in found}) if ensure_history(self.connection, schema)
        }
        if self.removal.takes_rows and len(usable) > 1:
            self.removal = replace(self.removal, schemas=tuple(sorted(usable)))
        return {name: columns for name, columns in found.items() if name[0] in usable}

    def query(self, sql: str, args: Sequence[Any] = ()) -> Any:
        """Return the rows of a query on the user's connection."""
        return self.connection.query(sql, args).fetchall()

    def _table(self, schema: str) -> HistoryTable:
        return HistoryTable(second_connection_of(self.connection), schema)

    def unique_keys(self, schema: str, table: str) -> list[dict[str, bool]]:
        """Return the unique keys by which a REPLACE removes rows, but the primary key: see `Dialect.replaced_by`."""
        return self.dialect.replaced_by(self.query, schema, table)

    def delete(self, schema: str, table: str, full_name: str, where: str) -> int:
        """Delete rows of a table of `kept`, and return how many: in the user's transaction, or one of its own."""
        columns = self.kept[schema, table]
        files = [column.name for column in columns if column.is_file]
        insert = partial(self._table(schema).insertion, self.removal, table, columns, files)
        noted = self._table(schema).noted(self.removal, table, columns)
        count = partial(self._table(schema).rows_since, self.removal, table) if len(files) > 1 else None
        with self._transaction():
            claims_of(self.connection).add_removal(schema, self.removal.event)
            return self.dialect.delete_into(
                self._run, full_name, where, insert, attributes=self._all(columns), noted=noted, count=count
            )

    def keep_values(self, schema: str, table: str, full_name: str, where: str, attributes: Iterable[str]) -> None:
        """Write down what *attributes* hold in rows that are about to change, in the transaction that is open."""
        columns = self.kept.get((schema, table))
        if columns:
            require_transaction(self.connection)
            source = f"(SELECT {self._all(columns)} FROM {full_name}{where} FOR UPDATE) AS gone"
            names = [column.name for column in columns if column.is_file and column.name in set(attributes)]
            claims_of(self.connection).add_removal(schema, self.removal.event)
            self._run(self._table(schema).insertion(self.removal, table, columns, names, source, ""))

    def _all(self, columns: Sequence[Column]) -> str:
        """Return the SQL of all columns; of some tables, ``*`` has not all."""
        return ", ".join(self.dialect.named(column) for column in columns)

    def drop(
        self,
        schema: str,
        table: str,
        full_name: str,
        attributes: Sequence[str],
        ddl: Callable[[], Any],
        *,
        besides: Sequence[str] = (),
    ) -> Any:
        """Run *ddl*, which drops a table of `kept` or *attributes* of it, having written down what it has.

        It drops other tables (quoted) *besides*, of which nothing is kept.

        Raises
        ------
        DataJointError
            If a transaction is open that *ddl* would commit.
        """
        history, columns = self._table(schema), self.kept[schema, table]
        copy = history.insertion(self.removal, table, columns, attributes, full_name, "")
        lock = partial(self.dialect.lock, self._run, [*besides, full_name], history.table)
        if self.dialect.has_transactional_ddl:
            with self._transaction():
                lock()
                claims_of(self.connection).add_removal(schema, self.removal.event)
                self._run(copy)
                return self._done(ddl(), history, schema, table, attributes)
        if has_transaction(self.connection):
            raise DataJointError(
                f"{full_name} has files, and cannot be changed by {self.removal.why} in a transaction: "
                f"{self.dialect.title} would commit it. Commit it or roll it back first"
            )
        with self._locked(lock, schema):
            try:
                self._run(copy)
                return self._done(ddl(), history, schema, table, attributes)
            except Exception:
                with suppress(Exception):  # its rows are there, and spare what the entries name
                    self._run(history.void(self.removal.event))
                raise

    def _done(self, result: Any, history: HistoryTable, schema: str, table: str, attributes: Sequence[str]) -> Any:
        """Forget what an ALTER has only changed the comment or place of."""
        if self.removal.why == "alter":
            columns = self.dialect.columns(self.query, schema, [table]).get(table, [])
            for column in columns:
                if column.is_file and column.name in attributes:
                    self._run(history.void(self.removal.event, column.name))
        return result

    @contextmanager
    def _locked(self, lock: Callable[[], None], schema: str) -> Iterator[None]:
        """Lock tables, if this user may: else a row that comes in between goes without an entry, and its bytes stay."""
        try:
            lock()
        except AccessError:
            if not self._is_warned:
                self._is_warned = True
                warn(_NO_LOCK.format(schema=schema, why=self.removal.why), JournalWarning)
        try:
            yield
        finally:
            with suppress(Exception):
                self._run("UNLOCK TABLES")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the block in the user's transaction, to the beginning of the block if it fails, or in one of its own."""
        require_transaction(self.connection)
        is_open = has_transaction(self.connection)
        with transaction_for(self.connection, is_open=is_open):
            if not (is_open and self.dialect.keeps_transaction):
                yield
                return
            driver = self.connection._conn
            self._run("SAVEPOINT datajoint_file")
            try:
                yield
            except Exception as error:
                if not is_lost(error, driver):
                    with suppress(Exception):  # a deadlock has ended the transaction, savepoints and all
                        self._run("ROLLBACK TO SAVEPOINT datajoint_file")
                raise
            self._run("RELEASE SAVEPOINT datajoint_file")

    def _run(self, sql: str) -> Any:
        return self.connection.query(sql, reconnect=False)


def ensure_history(connection: Any, schema: str) -> bool:
    """Make the history of a schema, unless it is there. Tell whether it can be used; a `JournalWarning` says why not.

    Asked on the second connection: a statement that fails would end the user's transaction.
    """
    table = HistoryTable(second_connection_of(connection), schema)
    try:
        try:
            table.require_rights()
        except MissingTableError:
            table.create()
    except (AccessError, PermissionError) as error:
        reason = " ".join(str(part) for part in error.args[:2]).strip()
        warn(_NO_HISTORY.format(schema=schema, reason=reason), JournalWarning)
        return False
    except Exception as error:
        if not table.dialect.is_timeout(error):  # somebody has it locked, so that it is there
            raise
    return True


_NO_HISTORY = (
    "the table `~file_history` of schema {schema} cannot be made or used ({reason}): what is removed from its tables "
    "is not written down. It cannot be put back, and `datajoint-file gc` reports its files as unknown instead of "
    "deleting them. Let the owner of the schema insert or delete one row with a file, or grant CREATE and INSERT there"
)
_NO_LOCK = (
    "schema {schema}: this user may not LOCK TABLES, so that others can insert or change rows while {why} writes down "
    "what goes. Such rows are not in `~file_history`: they cannot be put back, and only `datajoint-file gc --scan` "
    "finds their files, as unknown. Grant LOCK TABLES there"
)
