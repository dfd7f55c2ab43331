"""Facts of a database server that the collector must know before it trusts what it reads there.

Its clock, whether it is a replica, which schemas there are and may be read, and how old the oldest transaction is.
What follows is decided in `preflight`; only a user who does not see all of it is refused here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from datajoint_file.collector.plan import Refusal, refuse
from datajoint_file.collector.preflight import SchemaState
from datajoint_file.collector.snapshot import Snapshot, refusing
from datajoint_file.journal.history_table import TABLE as HISTORY
from datajoint_file.journal.intent_table import TABLE as INTENTS
from datajoint_file.journal.schema_registry import TABLE as REGISTRY
from datajoint_file.model.wording import NOT_AS_MADE, TAKE_AWAY, counted


@dataclass(frozen=True, slots=True)
class OwnTables:
    """Which schemas have which of this package's tables, sorted."""

    intents: tuple[str, ...]
    history: tuple[str, ...]
    registry: tuple[str, ...]


def clock(snapshot: Snapshot) -> datetime:
    """Return the database's time, aware, in UTC."""
    moment: datetime = snapshot.query(f"SELECT {snapshot.dialect.utc(snapshot.dialect.now)}")[0][0]
    return moment.replace(tzinfo=timezone.utc)


def is_replica(snapshot: Snapshot) -> bool:
    """Tell whether the server only follows another one, perhaps late."""
    return bool(snapshot.query(snapshot.dialect.is_replica)[0][0])


def own_tables(snapshot: Snapshot) -> OwnTables:
    """Find this package's tables in every schema."""
    names = (INTENTS, HISTORY, REGISTRY)
    with refusing("the list of all tables"):
        found = snapshot.dialect.relations(snapshot.try_query, names)
    if foreign := [f"{schema}.{table}" for schema, table, is_plain in found if not is_plain]:
        raise refuse(Refusal("foreign-table", f"{', '.join(foreign[:3])}: {NOT_AS_MADE}", TAKE_AWAY))
    return OwnTables(*(tuple(sorted(schema for schema, table, _ in found if table == name)) for name in names))


def schema_states(
    snapshot: Snapshot, project: str, tables: OwnTables, marked: Collection[str]
) -> dict[str, SchemaState]:
    """Return what the database tells of the *marked* schemas and of those whose registry names the project."""
    states = {}
    for schema in sorted({*marked, *tables.registry}):
        with refusing(f"the schema {schema}"):
            presence = snapshot.dialect.presence(snapshot.try_query, schema)
        epochs = []
        if presence == "there" and schema in tables.registry:
            where = f"{snapshot.name(schema, REGISTRY)} WHERE project = '{project}'"  # which needs no quoting
            sql = f"SELECT epoch, schema_id, token, is_marked FROM {where} ORDER BY epoch DESC"
            epochs = snapshot.query(sql, f"{schema}.{REGISTRY}")
        if epochs or schema in marked:
            tokens = {int(epoch): token for epoch, _, token, _ in epochs}
            was_marked = any(is_marked for *_, is_marked in epochs)
            states[schema] = SchemaState(presence, epochs[0][1] if epochs else "", tokens, was_marked)
    return states


def require_sight(snapshot: Snapshot) -> None:
    """Refuse unless this user sees every schema, and every open transaction, of the server.

    What is hidden from it may refer to any object, and a row copied there before the original was deleted is seen by
    nobody else.
    """
    with refusing("what this user may see"):
        unseen = list(snapshot.dialect.unseen(snapshot.try_query))
    if unseen:
        other = "; or run the collector as another user"
        raise refuse(*(Refusal(f"hidden-{found.what}", found.detail, f"{found.fix}{other}") for found in unseen))


def oldest_transaction(snapshot: Snapshot) -> tuple[datetime, str]:
    """Return a moment, by the database's clock, before which nothing began that is open now, and a note on it.

    An older one can still copy a reference that nobody else sees. When one began that is prepared, nobody tells: then
    it is long ago. Refused if there are some that this user does not see.
    """
    require_sight(snapshot)
    moment = clock(snapshot)  # asked before the ages, which grow
    with refusing("how old open transactions are"):
        seconds, prepared = snapshot.dialect.oldest_transaction(snapshot.try_query)
    note = f"{counted(prepared, 'prepared transaction')} not ended yet: nothing is deleted" if prepared else ""
    return moment - timedelta(seconds=1e9 if prepared else min(seconds, 1e9)), note
