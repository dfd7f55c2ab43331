"""Facts of a database server that the collector must know before it trusts what it reads there.

Its clock, whether it is a replica, which schemas there are and may be read, and how old the oldest transaction is.
What follows is decided in `preflight`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from datajoint_file.collector.plan import refuse
from datajoint_file.collector.preflight import SchemaState, unreadable
from datajoint_file.collector.snapshot import Snapshot, refusing
from datajoint_file.errors import driver_message
from datajoint_file.journal.history_table import TABLE as HISTORY
from datajoint_file.journal.intent_table import TABLE as INTENTS
from datajoint_file.journal.schema_registry import TABLE as REGISTRY
from datajoint_file.model.wording import counted
from datajoint_file.sql import Presence


@dataclass(frozen=True, slots=True)
class OwnTables:
    """Which schemas have which of this package's tables, sorted."""

    intents: tuple[str, ...]
    history: tuple[str, ...]
    registry: tuple[str, ...]


def clock(snapshot: Snapshot) -> datetime:
    """Return the database's time, in UTC, without a time zone."""
    moment: datetime = snapshot.query(f"SELECT {snapshot.dialect.utc(snapshot.dialect.now)}")[0][0]
    return moment


def is_replica(snapshot: Snapshot) -> bool:
    """Tell whether the server only follows another one, perhaps late."""
    return bool(snapshot.query(snapshot.dialect.is_replica)[0][0])


def own_tables(snapshot: Snapshot) -> OwnTables:
    """Find this package's tables in every schema."""
    names = (INTENTS, HISTORY, REGISTRY)
    with refusing("the list of all tables"):
        found = snapshot.dialect.tables_named(snapshot.try_query, names)
    return OwnTables(*(tuple(sorted(schema for schema, table in found if table == name)) for name in names))


def schema_states(
    snapshot: Snapshot, project: str, tables: OwnTables, marked: Collection[str]
) -> dict[str, SchemaState]:
    """Return what the database tells of the *marked* schemas and of those whose registry names the project."""
    states = {}
    for schema in sorted({*marked, *tables.registry}):
        presence = _presence(snapshot, schema)
        epochs = []
        if presence == "there" and schema in tables.registry:
            table = snapshot.name(schema, REGISTRY, formatted=True)
            sql = f"SELECT epoch, schema_id, token FROM {table} WHERE project = %s ORDER BY epoch DESC"
            epochs = snapshot.query(sql, (project,), f"{schema}.{REGISTRY}")
        if epochs or schema in marked:
            schema_id = epochs[0][1] if epochs else ""
            states[schema] = SchemaState(presence, schema_id, {int(epoch): token for epoch, _, token in epochs})
    return states


def _presence(snapshot: Snapshot, schema: str) -> Presence:
    with refusing(f"the schema {schema}"):
        return snapshot.dialect.presence(snapshot.try_query, schema)


def require_all(snapshot: Snapshot, schemas: Collection[str]) -> None:
    """Refuse unless all of *schemas*, which refer to the project and are not registered, may be read completely."""
    for schema in sorted(schemas):
        if _presence(snapshot, schema) == "unreadable":
            raise refuse(unreadable(schema))


def oldest_transaction(snapshot: Snapshot) -> tuple[float, str]:
    """Return how old the oldest open transaction is, in seconds, and what of that could not be seen.

    An older one can still copy a reference that nobody else sees. Infinite if one is prepared, whose beginning nobody
    tells.
    """
    try:
        seconds, hidden, prepared = snapshot.try_query(snapshot.dialect.oldest_transaction)[0]
    except Exception as error:  # noqa: BLE001 - servers tell it only those with a right to know
        return 0.0, f"how old open transactions are could not be seen: {driver_message(error)}"
    if prepared:
        return float("inf"), f"{counted(prepared, 'prepared transaction')} not ended yet: nothing is deleted"
    unseen = f"{counted(hidden, 'session')} of other users could not be seen; their transactions may be old"
    return float(seconds), unseen if hidden else ""
