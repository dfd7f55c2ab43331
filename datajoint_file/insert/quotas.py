"""Storage quotas: what rows hold and a statement would add, compared with ``[quota]`` of ``datajoint.toml``.

The database adds up what rows hold; a sum is used again for some seconds, and longer the longer it took, but an error
is only raised by one that has just been made. Two statements at the same moment do not see one another.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datajoint.condition import make_condition
from datajoint.errors import AccessError, MissingTableError

from datajoint_file.config.bindings import Attached
from datajoint_file.config.settings import QUOTA_OF_ALL
from datajoint_file.errors import JournalWarning, QuotaExceededError, warn
from datajoint_file.hooks.tables import Row, TableKeys, class_name
from datajoint_file.journal.schema_registry import TABLE
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.journal.transactions import claims_of
from datajoint_file.model.wording import format_size
from datajoint_file.sql.columns import is_file_comment
from datajoint_file.sql.file_sums import stored_size

KEPT_SECONDS = 5.0
"""A sum is used again for so long,"""

KEPT_FACTOR = 20
"""or for so many times what it took: adding up takes a twentieth of the time at most."""

MAX_KEPT_SECONDS = 300.0
LISTING_SECONDS = 60.0
"""How long the list of the tables with files is used."""

_MOST_SUMS = 10_000


@dataclass(frozen=True, slots=True)
class Scope:
    """What one quota limits: all, a schema, a table, or the rows of one value of a key attribute."""

    quota: str  # as it is called in ``[quota]``
    value: str = ""  # of the key attribute, as text

    def __str__(self) -> str:
        return f"{self.quota}={self.value}" if self.value else self.quota


@dataclass(slots=True)
class _Sum:
    used: int
    until: float


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the project with ``file`` attributes."""

    schema: str
    name: str
    attributes: tuple[str, ...]
    key: frozenset[str]

    def is_in(self, quota: str) -> bool:
        """Tell whether the quota is about this table, or some of its rows."""
        return quota in {QUOTA_OF_ALL, f"{self.schema}.*", f"{self.schema}.{class_name(self.name)}", *self.key}


@dataclass(slots=True)
class _Ledger:
    """What one connection knows of sums, of tables, and of what its own transaction has added, which no sum has yet."""

    sums: dict[Scope, _Sum] = field(default_factory=dict)
    added: Counter[Scope] = field(default_factory=Counter)
    tables: tuple[_Table, ...] = ()
    until: float = 0.0

    def count(self, additions: Mapping[Scope, int]) -> None:
        """Take note of what is going to be added."""
        self.added.update(additions)
        for scope in additions.keys() & self.sums.keys():
            self.sums[scope].used += additions[scope]


_ledgers: Attached[_Ledger] = Attached(lambda _: _Ledger())


class Quotas:
    """The quotas that concern one statement."""

    def __init__(self, table: Any, project: str, quotas: Mapping[str, int]) -> None:
        self._table = table
        self._project = project
        self._second = second_connection_of(table.connection)
        self._ledger = _ledgers.of(table.connection)
        own = _Table(table.database, table.table_name, (), frozenset(table.primary_key))
        self._limits = {name: limit for name, limit in quotas.items() if own.is_in(name)}

    def check(self, added: Iterable[tuple[Row, int]], keys: TableKeys, *, is_final: bool = True) -> None:
        """Raise unless what is *added*, bytes for rows, is within all quotas; it counts from now on, if it *is_final*.

        Raises
        ------
        QuotaExceededError
            If it is not.
        """
        if not self._limits:
            return
        additions, rows = Counter[Scope](), dict[Scope, Row]()
        for row, size in added:
            for scope in self._scopes(row, keys):
                additions[scope] += size
                rows.setdefault(scope, row)
        if not (self._table.connection.in_transaction and claims_of(self._table.connection).writes):
            self._ledger.added.clear()
        for scope, size in additions.items():
            if size and not self._fits(scope, size, rows[scope]):
                self._refuse(scope, size)
        if is_final:
            self._ledger.count(additions)

    def _scopes(self, row: Row, keys: TableKeys) -> Iterator[Scope]:
        values = dict(zip(self._table.primary_key, keys.of(row), strict=True))
        for name in self._limits:
            yield Scope(name, values[name].text) if name in values else Scope(name)

    def _fits(self, scope: Scope, size: int, row: Row) -> bool:
        """Tell whether there is room, by what is known, or else by what the database says now."""
        limit, known = self._limits[scope.quota], self._ledger.sums.get(scope)
        if known is not None and time.monotonic() < known.until and known.used + size <= limit:
            return True
        began = time.monotonic()
        used = sum(self._used(table, scope, row) for table in self._tables() if table.is_in(scope.quota))
        took = time.monotonic() - began
        if len(self._ledger.sums) >= _MOST_SUMS:
            self._ledger.sums.clear()
        until = time.monotonic() + min(max(KEPT_SECONDS, KEPT_FACTOR * took), MAX_KEPT_SECONDS)
        self._ledger.sums[scope] = _Sum(used + self._ledger.added[scope], until)
        return self._ledger.sums[scope].used + size <= limit

    def _refuse(self, scope: Scope, size: int) -> None:
        limit, used = self._limits[scope.quota], self._ledger.sums[scope].used
        del self._ledger.sums[scope]  # somebody may make room
        raise QuotaExceededError(
            f"the quota {scope.quota} = {format_size(limit)} ([quota] in datajoint.toml) leaves no room: {scope} has "
            f"{format_size(used)}, this would add {format_size(size)}, {format_size(max(limit - used, 0))} is left. "
            "Delete rows that are not needed (datajoint_file.usage tells where the bytes are), link the files "
            "(datajoint_file.Link), or have the quota raised"
        )

    def _used(self, table: _Table, scope: Scope, row: Row) -> int:
        """Ask how much the rows of a table have stored, or those of the value that *row* has."""
        dialect, where = self._second.dialect, ""
        if scope.quota in self._table.primary_key:  # made by DataJoint, which doubles percent signs
            where = f" WHERE {make_condition(self._table, {scope.quota: row.values[scope.quota]}, set())}" % ()
        sizes = " + ".join(f"COALESCE({stored_size(dialect, dialect.quoted(name))}, 0)" for name in table.attributes)
        try:
            ((used,),) = self._second.query(f"SELECT {sizes} FROM {dialect.quoted(table.schema, table.name)}{where}")
        except MissingTableError:
            self._ledger.until = 0.0
            return 0
        except AccessError as error:
            told = f"{table.schema}.{class_name(table.name)} is not counted in the quota {scope.quota}: {error}"
            warn(f"{told}. GRANT this user the right to read it", JournalWarning)
            return 0
        except Exception as error:
            if not (where and dialect.is_incomparable(error.__cause__ or error)):
                raise
            return 0  # an attribute of the same name and another type
        return int(used or 0)

    def _tables(self) -> tuple[_Table, ...]:
        """Return the tables with files of all schemas that have stored some in this project, and of this one."""
        own = (self._table.database, self._table.table_name)
        is_known = own in {(table.schema, table.name) for table in self._ledger.tables}
        if time.monotonic() > self._ledger.until or not is_known:
            self._ledger.tables = tuple(_listed(self._second, self._project, self._table.database))
            self._ledger.until = time.monotonic() + LISTING_SECONDS
        return self._ledger.tables


def _listed(second: SecondConnection, project: str, own: str) -> Iterator[_Table]:
    dialect = second.dialect
    schemas = {schema for schema, _ in dialect.tables_named(second.query, (TABLE,))} | {own}
    found: dict[str, dict[str, list[str]]] = {}
    for schema, table, name, comment, _ in dialect.attributes(second.query):
        if schema in schemas and name is not None and is_file_comment(comment) and not table.startswith("~"):
            found.setdefault(schema, {}).setdefault(table, []).append(name)
    for schema, tables in found.items():
        if schema != own and not _stores_in(second, schema, project):
            continue
        for table, columns in dialect.columns(second.query, schema, sorted(tables)).items():
            key = frozenset(column.name for column in columns if column.is_key)
            yield _Table(schema, table, tuple(tables[table]), key)


def _stores_in(second: SecondConnection, schema: str, project: str) -> bool:
    """Tell whether a schema has stored files in a project; of one that may not be asked a warning says so."""
    sql = f"SELECT 1 FROM {second.dialect.quoted(schema, TABLE)} WHERE project = %s LIMIT 1"
    try:
        return bool(second.query(sql, (project,)))
    except MissingTableError:
        return False
    except AccessError as error:
        told = f"{schema} is not counted in quotas: it may be of project {project!r}, but cannot be asked: {error}"
        warn(f"{told}. GRANT this user the right to read it, if it is", JournalWarning)
        return False
