"""Collector diagnostics: whether a user sees all that the collector has to see, and may note what it does.

Nothing is changed: rights on tables are found out by statements that concern no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datajoint_file.doctor.check import Check
from datajoint_file.journal import history_table, intent_table, schema_registry
from datajoint_file.model.wording import NOT_AS_MADE, TAKE_AWAY, counted
from datajoint_file.sql import Dialect, Query, Rows, dialect_of

_TABLES = {intent_table.TABLE: "path", history_table.TABLE: "path", schema_registry.TABLE: "project"}
"""What the collector changes, and an attribute of each."""

_CONCERNING_NOTHING = (
    "INSERT INTO {table} ({name}) SELECT {name} FROM {table} WHERE 1 = 0",
    "UPDATE {table} SET {name} = {name} WHERE 1 = 0",
    "DELETE FROM {table} WHERE 1 = 0",
)


def check_sight(connection: Any) -> Check:
    """Look whether the user sees every schema and every open transaction, as the collector asks it."""
    unseen = list(dialect_of(connection).unseen(_asking(connection)))
    if unseen:
        fixes = dict.fromkeys(found.fix for found in unseen)
        return Check("sight", "failed", "; ".join(found.detail for found in unseen), "; ".join(fixes))
    return Check("sight", "ok", "sees every schema and every open transaction")


def check_notes(connection: Any, project: str = "") -> Check:
    """Look whether the user may change the tables in which it is noted what becomes of the objects of *project*."""
    dialect, query = dialect_of(connection), _asking(connection)
    relations = dialect.relations(query, tuple(_TABLES))
    if foreign := [f"{schema}.{table}" for schema, table, is_plain in relations if not is_plain]:
        return Check("notes", "failed", f"{', '.join(foreign)}: {NOT_AS_MADE}", TAKE_AWAY)
    found = [(schema, table) for schema, table, _ in relations]
    users = {schema for schema, table in found if table == schema_registry.TABLE}
    ours = {schema for schema in users if _is_used(query, dialect.quoted(schema, schema_registry.TABLE), project)}
    tables = sorted((schema, table) for schema, table in found if schema in ours)
    lacking = [dialect.quoted(*names) for names in tables if _is_denied(dialect, query, *names)]
    if not lacking:
        return Check("notes", "ok", f"may change the tables ~file_… of {counted(len(ours), 'schema')}")
    grants = "; ".join(f"GRANT INSERT, UPDATE, DELETE ON {table} TO {dialect.grantee(query)}" for table in lacking)
    return Check("notes", "failed", f"may not change {', '.join(lacking)}", f"an administrator can {grants}")


def _is_used(query: Query, registry: str, project: str) -> bool:
    """Tell whether a schema is known to use *project*; it may, where it cannot be read."""
    try:
        return not project or bool(query(f"SELECT 1 FROM {registry} WHERE project = %s LIMIT 1", (project,)))
    except Exception:  # noqa: BLE001 - each driver has exceptions of its own
        return True


def _is_denied(dialect: Dialect, query: Query, schema: str, table: str) -> bool:
    """Tell whether the user may not change a table; what fails for another reason, after that was looked at, he may."""
    for statement in _CONCERNING_NOTHING:
        try:
            query(statement.format(table=dialect.quoted(schema, table), name=_TABLES[table]))
        except Exception as error:  # noqa: BLE001
            if dialect.is_denied(error):
                return True
    return False


def _asking(connection: Any) -> Query:
    """Return what asks the server past DataJoint: errors are those of the driver, which dialects know."""

    def query(sql: str, args: Sequence[Any] = ()) -> Rows:
        with connection._conn.cursor() as cursor:
            cursor.execute(sql, tuple(args) or None)
            return list(cursor.fetchall()) if cursor.description else []

    return query
