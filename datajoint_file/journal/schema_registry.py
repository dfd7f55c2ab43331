"""Registration of schemas in a project's store: which databases hold rows that refer to its objects.

A table ``~file_registry`` in each schema counts epochs, and a mark in the store says the newest; what a collector
makes of them is decided in `collector.preflight`.
"""

from __future__ import annotations

import os
import secrets
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from datajoint_file.errors import JournalWarning, ObjectExistsError, StorageAccessError, StorageError
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.journal.store_marks import Identity, Mark, MarkName, MarkStore, Registration

TABLE = "~file_registry"

EPOCH_SECONDS = 600
"""A schema that is written to gets a new epoch after so long: what a restored dump can lack and nobody notices."""

_KEPT_DAYS = 30
"""Epochs are remembered at least so long after their marks are gone."""

_ATTRIBUTES = """
    project VARCHAR(100) {ascii} NOT NULL,
    epoch BIGINT NOT NULL,
    schema_id CHAR(32) {ascii} NOT NULL,
    token CHAR(32) {ascii} NOT NULL,
    bumped_at {moment} NOT NULL,
    PRIMARY KEY (project, epoch)
"""

_registered: dict[tuple[object, ...], float] = {}
"""When each schema was last seen to be registered, by process, server, project and name. Entries of a parent process do
not count in its children; two threads that find nothing do the same thing twice, which does no harm."""


def identity_of(second: SecondConnection) -> Identity:
    """Return which database a connection talks to. The answer outlives restarts, and differs for a restored copy."""
    return Identity(*second.dialect.identity(second.query))


def ensure_marked(pipeline: Any, connection: Any, schema: str) -> None:
    """Make sure that the project's store knows that rows of *schema* may refer to its objects.

    Called before bytes are stored for a schema. Within ten minutes of the last time it does nothing; else it takes a
    statement and a listing of the marks, and, where the newest is older than ten minutes, a new one. The transaction of
    *connection* is not touched.

    Raises
    ------
    StorageError
        If the store fails: then nothing could be stored anyway. If the database does, there is a `JournalWarning`.
    """
    info = connection.conn_info
    key = (os.getpid(), info["host"], info["port"], info.get("database_name"), pipeline.digest, schema)
    if time.monotonic() < _registered.get(key, 0.0):
        return
    try:
        _register(pipeline, second_connection_of(connection), schema)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001 - a right that is missing, a lost connection: the insert goes on
        _warn(f"{schema}: the schema could not be registered in the store ({_text(error)})")
    _registered[key] = time.monotonic() + EPOCH_SECONDS


def _register(pipeline: Any, second: SecondConnection, schema: str) -> None:
    schema = _as_spelled(second, schema)
    registry = RegistryTable(second, schema, pipeline.project)
    mark_store = MarkStore(pipeline.backend, pipeline.project)
    identity = identity_of(second)
    try:
        registry.prepare()
    except Exception as error:  # noqa: BLE001 - most often the right to create tables; the schema is marked anyway
        _put(mark_store, Mark(Registration(identity, pipeline.project, schema, ""), 0, "", registry.clock()))
        _warn(f"{schema}: the table {TABLE} could not be made or read ({_text(error)})")
        return
    if not refresh(registry, mark_store, identity):
        _warn(f"{schema}: the store knows epochs of this schema that the database does not: was it restored?")


def _as_spelled(second: SecondConnection, schema: str) -> str:
    """Return a schema's name as the server has it: some take capitals for small letters."""
    found = second.query("SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s", (schema,))
    return str(found[0][0]) if found else schema


def _warn(problem: str) -> None:
    warnings.warn(
        f"{problem}. Files are stored as ever; `datajoint-file gc` will refuse until this is settled",
        JournalWarning,
        stacklevel=2,
    )


def _text(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of a registry table."""

    epoch: int
    schema_id: str  # of the schema, the same in all rows
    token: str  # random
    age_seconds: float  # by the database's clock


class RegistryTable:
    """The table ``~file_registry`` of a schema, as far as it concerns one project."""

    def __init__(self, second: SecondConnection, schema: str, project: str) -> None:
        self.second = second
        self.schema = schema
        self.project = project
        self._dialect = second.dialect
        self._table = self._dialect.quoted(schema, TABLE)

    def prepare(self) -> None:
        """Create the table and its first row, unless they are there."""
        rows = self.rows() if self.is_there() else self._created()
        if not rows:
            self._insert(1, secrets.token_hex(16))

    def is_there(self) -> bool:
        """Tell whether the table can be seen."""
        sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
        return bool(self.second.query(sql, (self.schema, TABLE)))

    def _created(self) -> list[Epoch]:
        try:
            comment = "projects that rows of this schema refer to"
            self.second.execute(self._dialect.create_table(self._table, _ATTRIBUTES, comment=comment))
        except Exception:
            if not self.is_there():  # else two were at it, and the slower one may have been told of a duplicate
                raise
        return self.rows()

    def rows(self) -> list[Epoch]:
        """Return the epochs, newest first."""
        age = self._dialect.age("bumped_at")
        found = self.second.query(
            f"SELECT epoch, schema_id, token, {age} FROM {self._table} WHERE project = %s ORDER BY epoch DESC",
            (self.project,),
        )
        return [Epoch(int(epoch), schema_id, token, float(seconds)) for epoch, schema_id, token, seconds in found]

    def clock(self) -> str:
        """Return the database's time as text: ISO 8601, UTC."""
        (moment,) = self.second.query(f"SELECT {self._dialect.utc(self._dialect.now)}")[0]
        return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"

    def bump(self, last: Epoch) -> None:
        """Begin a new epoch after *last*, unless somebody else has."""
        self._insert(last.epoch + 1, last.schema_id)

    def forget(self, kept: Sequence[int]) -> None:
        """Remove epochs that are a month old and have no mark any more."""
        epochs = [row.epoch for row in self.rows()[1:] if row.age_seconds > _KEPT_DAYS * 86_400]
        for epoch in set(epochs) - set(kept):
            self.second.execute(f"DELETE FROM {self._table} WHERE project = %s AND epoch = %s", (self.project, epoch))

    def _insert(self, epoch: int, schema_id: str) -> None:
        attributes, values = "project, epoch, schema_id, token, bumped_at", f"(%s, %s, %s, %s, {self._dialect.now})"
        sql = self._dialect.insert_new(self._table, attributes, values)
        self.second.execute(sql, (self.project, epoch, schema_id, secrets.token_hex(16)))


def refresh(registry: RegistryTable, mark_store: MarkStore, identity: Identity, *, bump: bool = False) -> Mark | None:
    """Bring the store up to the database: the newest epoch marked, a new one if it is time, older marks removed.

    The database first, then the new mark, then the older ones: wherever this is cut short, the store never knows an
    epoch that the database does not. Returns the newest mark; None, and nothing is changed, if the store does know one.
    *bump* begins a new epoch at any rate.
    """
    rows = registry.rows()
    registration = Registration(identity, registry.project, registry.schema, rows[0].schema_id)
    marks = [name for name in _names(mark_store) if name.registration == registration.digest]
    if not _is_history(marks, registry.rows()):
        return None
    if bump or rows[0].age_seconds > EPOCH_SECONDS:
        registry.bump(rows[0])
        rows = registry.rows()
    newest = Mark(registration, rows[0].epoch, rows[0].token, registry.clock())
    if not any(name.token == newest.token for name in marks):
        _put(mark_store, newest)
    _remove_older(registry, mark_store, marks, newest)
    return newest


def _names(mark_store: MarkStore) -> list[MarkName]:
    """List the marks, if this user may: a writer need not have the right, the collector has."""
    try:
        return mark_store.names()
    except StorageAccessError:
        return []


def _is_history(marks: Sequence[MarkName], rows: Sequence[Epoch]) -> bool:
    known = {(row.epoch, row.token) for row in rows}
    return all((mark.epoch, mark.token) in known for mark in marks)


def _put(mark_store: MarkStore, mark: Mark) -> None:
    with suppress(ObjectExistsError):  # another process was as fast
        mark_store.write(mark)


def _remove_older(registry: RegistryTable, mark_store: MarkStore, marks: Sequence[MarkName], newest: Mark) -> None:
    older = [mark for mark in marks if mark.epoch < newest.epoch]
    removed = 0
    with suppress(StorageError):  # a writer need not have the right to delete objects; the collector has
        for mark in older:
            mark_store.remove(mark.key)
            removed += 1
    with suppress(Exception):  # tidying: the next one does it
        registry.forget([mark.epoch for mark in older[removed:]])
