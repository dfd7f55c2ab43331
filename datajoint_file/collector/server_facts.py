"""Facts of a database server that the collector must know before it trusts what it reads there.

Its clock, whether it is a replica, which schemas there are and may be read, and how old the oldest transaction is.
What follows is decided in `run` and `collector.preflight`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datajoint_file.collector.book_tables import QUARANTINE
from datajoint_file.collector.plan import refuse
from datajoint_file.collector.preflight import Presence, SchemaState, unreadable
from datajoint_file.collector.snapshot import Snapshot, evidence
from datajoint_file.journal.intent_table import TABLE as INTENTS
from datajoint_file.journal.schema_registry import TABLE as REGISTRY
from datajoint_file.journal.store_marks import Identity
from datajoint_file.model.wording import counted

_NOT_THERE = frozenset({1049, 1146})
"""MySQL's codes for a schema or table that is not there: told only to those who might read it."""

_DENIED = frozenset({1044, 1142, 1143})

_TABLES = {
    "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_name IN %s",
    "postgresql": """
        SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND c.relname IN %s""",
}
_SCHEMAS = """
    SELECT schema_name FROM information_schema.schemata
    WHERE schema_name NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')
"""
"""MariaDB 10.11 can crash over one query for the tables of all schemas."""

_CLOCK = {"mysql": "SELECT UTC_TIMESTAMP(6)", "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'"}
_REPLICA = {"mysql": "SELECT @@GLOBAL.read_only", "postgresql": "SELECT pg_is_in_recovery()"}

_OLDEST = {
    "mysql": """
        SELECT COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())) + 2, 0), 0, 0
        FROM information_schema.innodb_trx WHERE trx_mysql_thread_id <> CONNECTION_ID()""",
    "postgresql": """
        SELECT COALESCE(EXTRACT(EPOCH FROM clock_timestamp() - MIN(xact_start)), 0),
            COUNT(*) FILTER (WHERE query = '<insufficient privilege>'),
            (SELECT COUNT(*) FROM pg_prepared_xacts WHERE database = current_database())
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'""",
}


@dataclass(frozen=True, slots=True)
class OwnTables:
    """Which schemas have which of this package's tables, sorted.

    Parameters
    ----------
    intents, quarantine, registry : tuple of str
        Names of schemas.
    """

    intents: tuple[str, ...]
    quarantine: tuple[str, ...]
    registry: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OldestTransaction:
    """How old the oldest transaction on the server is, and whether that is all that can be said.

    Parameters
    ----------
    age_seconds : float
        Its age; infinite if one is prepared, whose beginning nobody tells.
    note : str
        What could not be seen.
    """

    age_seconds: float
    note: str = ""


def clock(snapshot: Snapshot) -> datetime:
    """Return the database's time, in UTC, without a time zone."""
    moment: datetime = snapshot.query(_CLOCK[snapshot.backend])[0][0]
    return moment


def is_replica(snapshot: Snapshot) -> bool:
    """Tell whether the server only follows another one, perhaps late."""
    return bool(snapshot.query(_REPLICA[snapshot.backend])[0][0])


def own_tables(snapshot: Snapshot) -> OwnTables:
    """Find this package's tables in every schema."""
    names = (INTENTS, QUARANTINE, REGISTRY)
    if snapshot.is_mysql:
        schemas = [row[0] for row in snapshot.query(_SCHEMAS, what="the list of all schemas")]
        found = [
            (schema, row[0])
            for schema in schemas
            for row in snapshot.query(_TABLES["mysql"], (schema, names), f"the list of tables of {schema}")
        ]
    else:
        found = snapshot.query(_TABLES["postgresql"], (names,), "the list of all tables")
    return OwnTables(*(tuple(sorted(schema for schema, table in found if table == name)) for name in names))


def schema_states(
    snapshot: Snapshot, identity: Identity, project: str, tables: OwnTables, marked: Collection[str]
) -> dict[str, SchemaState]:
    """Return what the database tells of the *marked* schemas and of those whose registry names the project."""
    states = {}
    for schema in sorted({*marked, *tables.registry}):
        presence = _presence(snapshot, schema)
        epochs = _epochs(snapshot, schema, project) if presence == "there" and schema in tables.registry else []
        if epochs or schema in marked:
            schema_id = epochs[0][1] if epochs else ""
            states[schema] = SchemaState(presence, schema_id, {int(epoch): token for epoch, _, token in epochs})
    return states


def _epochs(snapshot: Snapshot, schema: str, project: str) -> list[tuple[Any, ...]]:
    table = snapshot.name(schema, REGISTRY, formatted=True)
    sql = f"SELECT epoch, schema_id, token FROM {table} WHERE project = %s ORDER BY epoch DESC"
    return snapshot.query(sql, (project,), f"{schema}.{REGISTRY}")


def _presence(snapshot: Snapshot, schema: str) -> Presence:
    if not snapshot.is_mysql:
        sql = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"
        return "there" if snapshot.query(sql, (schema,)) else "gone"
    sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
    is_listed = bool(snapshot.query(sql, (schema,)))
    if not _may_read_all(snapshot, schema):
        return "unreadable"
    return "there" if is_listed else "gone"


def require_all(snapshot: Snapshot, schemas: Collection[str]) -> None:
    """Refuse unless all of *schemas*, which refer to the project and are not registered, may be read completely."""
    for schema in sorted(schemas):
        if _presence(snapshot, schema) == "unreadable":
            raise refuse(unreadable(schema))


def _may_read_all(snapshot: Snapshot, schema: str) -> bool:
    """Tell whether the user may read every table of a schema, also where there are some that he could not even list.

    MySQL says that a table is not there only to those who could have read it: so one is asked for that cannot be.
    """
    table = snapshot.name(schema, f"~file_probe_{secrets.token_hex(8)}")
    with evidence(f"the schema {schema}"):
        try:
            snapshot.try_query(f"SELECT 1 FROM {table} LIMIT 0")
        except Exception as error:
            if error.args[:1] and error.args[0] in _NOT_THERE:
                return True
            if error.args[:1] and error.args[0] in _DENIED:
                return False
            raise
    return True


def oldest_transaction(snapshot: Snapshot) -> OldestTransaction:
    """Return how old the oldest open transaction is: an older one can still copy a reference that nobody else sees."""
    try:
        seconds, hidden, prepared = snapshot.try_query(_OLDEST[snapshot.backend])[0]
    except Exception as error:  # noqa: BLE001 - without the right PROCESS, MySQL tells nothing
        text = " ".join(str(error.args[-1] if error.args else error).split())
        return OldestTransaction(0.0, f"how old open transactions are could not be seen: {text}")
    if prepared:
        return OldestTransaction(
            float("inf"), f"{counted(prepared, 'prepared transaction')} not ended yet: nothing is deleted"
        )
    note = (
        f"{counted(hidden, 'session')} of other users could not be seen; their transactions may be old"
        if hidden
        else ""
    )
    return OldestTransaction(float(seconds), note)
