"""What tests of the collector share: a table with files, time that passes at once, and its tables seen by raw SQL."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.journal.store_marks import MarkStore
from datajoint_file.testing import Fault, FaultyBackend, kill
from tests.projects import Store, unique

PASSWORD = "CANARY-password"

GRACE = timedelta(days=7)
LATER = timedelta(days=8)


@dataclass(frozen=True)
class Area:
    """A part of a server, as one test knows it.

    Parameters
    ----------
    backend, host, port, user, password
        How to get there.
    database : str
        The database; on MySQL what all schemas begin with.
    admin : cursor
        One that may do everything, also elsewhere.
    """

    backend: str
    host: str
    port: int
    user: str
    password: str
    database: str
    admin: Any

    def schema(self) -> str:
        """A name for a schema."""
        return unique(f"{self.database}_" if self.backend == "mysql" else "schema")


def connect_to(area: Area, user: str = "", password: str = "") -> dj.Instance:
    options: dict[str, Any] = {"database__name": area.database} if area.backend == "postgresql" else {}
    instance = dj.Instance(
        area.host,
        user or area.user,
        password or area.password,
        port=area.port,
        use_tls=False,
        backend=area.backend,
        **options,
    )
    instance.config.safemode = False
    return instance


def connected(area: Area, store: Store, user: str = "", password: str = "", **tables: Any) -> Any:
    """Another connection with the same pipeline, and other settings in *tables*, closed at the end of a block."""
    instance = connect_to(area, user, password)
    datajoint_file.configure(store.configuration(**tables), connection=instance)
    return closing(instance.connection)


def drop_all(cursor: Any, beginning: str) -> None:
    cursor.execute(
        "SELECT schema_name FROM information_schema.schemata WHERE LEFT(schema_name, %s) = %s",
        (len(beginning), beginning),
    )
    for (name,) in cursor.fetchall():
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute(f"DROP DATABASE `{name}`")


def declare(schema: dj.Schema, name: str = "Recording") -> Any:
    definition = """
    recording_id : int32
    ---
    raw = null : file
    """
    return schema(type(name, (dj.Manual,), {"definition": definition}))


def insert(table: Any, *keys: int, content: bytes = b"spikes") -> None:
    for key in keys:
        table.insert1({"recording_id": key, "raw": (f"{key}.dat", content)})


def path_of(table: Any, key: int) -> str:
    return str((table & {"recording_id": key}).fetch1("raw").path)


def objects(store: Store) -> set[str]:
    """The objects of the project in the store, marks apart."""
    return set(store.object_keys())


def marks(store: Store) -> list[str]:
    return [key for key in store.all_keys() if "/~registry/" in key]


def registry_of(connection: Any) -> MarkStore:
    pipeline = pipeline_of(connection)
    return MarkStore(pipeline.backend, pipeline.project)


def own(connection: Any, schema: str, table: str) -> str:
    return str(connection.adapter.make_full_table_name(schema, table))


def is_mysql(connection: Any) -> bool:
    return str(connection.adapter.backend) == "mysql"


def make_older(
    connection: Any, schema: str, table: str, attribute: str, by: timedelta = LATER, *, missing_ok: bool = False
) -> None:
    """Let time pass for the rows of one of its tables."""
    if missing_ok and not has_table(connection, schema, table):
        return
    interval = f"INTERVAL {int(by.total_seconds())} SECOND" if is_mysql(connection) else f"INTERVAL '{by}'"
    connection.query(f"UPDATE {own(connection, schema, table)} SET {attribute} = {attribute} - {interval}")


RETENTION = timedelta(days=30)


def let_grace_pass(connection: Any, schema: str, by: timedelta = RETENTION + timedelta(days=1)) -> None:
    """Let what was removed from rows have been removed long ago, and a run have seen that, long ago as well."""
    make_older(connection, schema, "~file_history", "at", by)
    sql = f"UPDATE {own(connection, schema, '~file_history')} SET due_at = at WHERE state <> 'purged'"
    connection.query(sql)


class Interruption(Exception):
    """Ends a transaction."""


def give_up(table: Any, *keys: int, by: timedelta = LATER) -> None:
    """Upload in a transaction that is rolled back, long ago."""
    with pytest.raises(Interruption), table().connection.transaction:
        insert(table, *keys)
        raise Interruption
    make_older(table().connection, table.database, "~file_intent", "lease_until", by)


def intents(table: Any, attributes: str = "state") -> list[Any]:
    return _noted(table, "~file_intent", attributes)


def history(table: Any, attributes: str = "state") -> list[Any]:
    return _noted(table, "~file_history", attributes)


def _noted(table: Any, name: str, attributes: str) -> list[Any]:
    connection = table().connection
    sql = f"SELECT {attributes} FROM {own(connection, table.database, name)} ORDER BY number"
    return list(connection.query(sql).fetchall())


def sweep(connection: Any, *, force: bool = False, **options: Any) -> gc.Collected:
    """Run the collector without a listing."""
    return gc.execute(gc.plan(connection, **options), force=force)


def faulty(connection: Any, *faults: Fault) -> FaultyBackend:
    """Put a store that fails on purpose, and keeps account of what is asked of it, in the place of the pipeline's."""
    pipeline = pipeline_of(connection)
    backend = FaultyBackend(pipeline.backend, *faults)
    pipeline.stores._backends[pipeline.project] = backend
    return backend


def kill_at_statement(step: int) -> None:
    """End this process before its n-th writing statement."""
    execute, count = SecondConnection.execute, iter(range(10_000))

    def counted(self: SecondConnection, sql: str, args: Any = ()) -> int:
        if next(count) == step:
            kill("")
        return execute(self, sql, args)

    SecondConnection.execute = counted  # type: ignore[method-assign] # of a child process that ends here


def in_child(act: Callable[[], object]) -> int:
    """Run *act* in a forked child; return the signal that ended it, or 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    try:
        act()
    finally:
        os._exit(0)


def scan(connection: Any, **options: Any) -> gc.Plan:
    return gc.plan(connection, scan=True, **options)


def kinds(plan: gc.Plan) -> set[str]:
    return {refusal.kind for refusal in plan.refusals}


def collect(connection: Any, *, force: bool = False, **options: Any) -> gc.Collected:
    return gc.execute(scan(connection, **options), force=force)


def execute_sql(connection: Any, sql: str) -> None:
    connection.query(sql)


def raw_json(table: Any, key: int) -> dict[str, Any]:
    value = (
        table()
        .connection.query(f"SELECT raw FROM {table().full_table_name} WHERE recording_id = %s", (key,))
        .fetchone()[0]
    )
    found: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return found


def set_raw_json(table: Any, key: int, value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    table().connection.query(f"UPDATE {table().full_table_name} SET raw = %s WHERE recording_id = %s", (text, key))


def drop_by_sql(connection: Any, schema: str) -> None:
    """As other programs do, who note nothing anywhere."""
    cascade = "" if is_mysql(connection) else " CASCADE"
    second = second_connection_of(connection)
    second.execute(f"DROP SCHEMA {connection.adapter.quote_identifier(schema)}{cascade}")


def has_table(connection: Any, schema: str, table: str) -> bool:
    sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
    return connection.query(sql, (schema, table)).fetchone() is not None
