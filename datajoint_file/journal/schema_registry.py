"""Registration of schemas in a project's store: which databases hold rows that refer to its objects.

A table ``~file_registry`` in each schema counts epochs, and a mark in the store says the newest; what a collector
makes of them is decided in `collector.preflight`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from datajoint_file.errors import (
    BucketNotFoundError,
    ConfigurationError,
    DataJointFileError,
    JournalWarning,
    ObjectExistsError,
    StorageAccessError,
    StorageError,
    StorageMissingError,
    StorageUnavailableError,
    warn,
)
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal.second_connection import SecondConnection, second_connection_of
from datajoint_file.journal.store_marks import NESTED, Identity, Mark, MarkName, MarkStore, Registration
from datajoint_file.model.wording import RIGHT_PLACE
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage import StorageBackend

TABLE = "~file_registry"

_RETRY_SECONDS = 10
"""How long after a failure it is not tried, and warned of, again."""

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
    is_marked BOOLEAN DEFAULT FALSE NOT NULL,
    PRIMARY KEY (project, epoch)
"""

_registered: dict[tuple[object, ...], tuple[float, str]] = {}
"""Until when each schema counts as registered, and its mark, by process, server, schema, pipeline and project. Those of
a parent process do not count in its children; two threads that find nothing do the same twice, which does no harm."""

_looked_above: set[tuple[int, str]] = set()
"""The pipelines, by process, whose project was seen not to lie in another one."""


def identity_of(second: SecondConnection) -> Identity:
    """Return which database a connection talks to. The answer outlives restarts, and differs for a restored copy."""
    return Identity(*second.dialect.identity(second.query))


def ensure_marked(pipeline: Pipeline, connection: Any, schema: str, project: str = "") -> None:
    """Make sure that the project's store knows that rows of *schema* may refer to its objects.

    Called before bytes are stored for a schema. Within ten minutes of the last time it does nothing, but for looking on
    a disk, which may have been unmounted since, whether the mark is there. Else it takes a statement and a listing of
    the marks, and, where the newest is older than ten minutes, a new one. The transaction of *connection* is not
    touched. *project* is another one of the configuration, whose files rows are going to name.

    Raises
    ------
    ConfigurationError
        If the project lies inside another one, or its place is another project's.
    StorageError
        If the store fails, or is empty though the database knows that it was not: its disk may not be mounted. If the
        database fails, there is a `JournalWarning`.
    """
    project = project or pipeline.project
    key = (*_place(connection, schema), pipeline.digest, project)
    until, mark = _registered.get(key, (0.0, ""))
    if time.monotonic() < until and _is_still_there(pipeline.stores.of_project(project), mark):
        return
    mark, seconds = "", EPOCH_SECONDS
    try:
        mark = _register(pipeline, second_connection_of(connection), schema, project)
    except (StorageError, ConfigurationError):
        raise
    except Exception as error:  # noqa: BLE001 - a right that is missing, a lost connection: the insert goes on
        _warn(f"{schema}: the schema could not be registered in the store ({_text(error)})")
        seconds = _RETRY_SECONDS
    _registered[key] = time.monotonic() + seconds, mark


def _is_still_there(backend: StorageBackend, mark: str) -> bool:
    if mark and backend.capabilities.is_mounted:
        try:
            backend.open(mark).close()
        except StorageError:
            return False
    return True


def forget(connection: Any, schema: str) -> None:
    """Have *schema* registered again by the next insert: it was dropped, or made anew."""
    place = _place(connection, schema)
    for key in [key for key in list(_registered) if key[: len(place)] == place]:
        _registered.pop(key, None)


def _place(connection: Any, schema: str) -> tuple[object, ...]:
    info = connection.conn_info
    return os.getpid(), info["host"], info["port"], info.get("database_name"), schema


def _register(pipeline: Pipeline, second: SecondConnection, schema: str, project: str) -> str:
    """Do it, and return the key of the mark; empty where there are others that contradict it."""
    schema = _as_spelled(second, schema)
    registry = RegistryTable(second, schema, project)
    mark_store = MarkStore(pipeline.stores.for_marks(project), project)
    identity, problem, is_marked = identity_of(second), "", False
    try:
        registry.prepare()
        is_marked = any(row.is_marked for row in registry.rows())
    except Exception as error:  # noqa: BLE001 - most often the right to create tables; the schema is marked anyway
        problem = f"{schema}: the table {TABLE} could not be made or read ({_text(error)})"
    names = _checked_names(mark_store, schema, is_marked=is_marked)
    seen = os.getpid(), pipeline.digest
    if project == pipeline.project and seen not in _looked_above:
        refuse_nested(mark_store)
        _looked_above.add(seen)
    if problem:
        bare = Mark(Registration(identity, project, schema, ""), 0, "", registry.clock())
        _put(mark_store, bare)
        _warn(problem)
        return mark_store.key_of(bare)
    if not (mark := refresh(registry, mark_store, identity, names)):
        _warn(
            f"{schema}: the store knows epochs of this schema that the database does not: was it restored, or copied?"
        )
    return mark_store.key_of(mark) if mark else ""


def _checked_names(mark_store: MarkStore, schema: str, *, is_marked: bool) -> list[MarkName]:
    """List the marks, if this user may: a writer need not have the right. Refuse a store that is not the one meant."""
    try:
        names = mark_store.names()
    except StorageAccessError:
        return []
    except StorageMissingError as error:
        raise StorageMissingError(f"{error} Nothing was stored") if is_marked else error.for_new() from error
    except BucketNotFoundError as error:
        if not is_marked:
            raise
        raise emptied(mark_store, schema) from error
    refuse_foreign(mark_store, names)
    if is_marked and not names:
        raise emptied(mark_store, schema)
    return names


def refuse_foreign(mark_store: MarkStore, names: Sequence[MarkName]) -> None:
    """Raise `ConfigurationError` if the marks with these *names* are another project's."""
    project = mark_store.project
    for name in names:
        if not name.is_of(project) and (theirs := mark_store.project_of(name)) not in ("", project):
            raise ConfigurationError(
                f"{mark_store.place} belongs to the project {theirs!r}, and is configured as {project!r}; nothing was "
                f"stored. Give the project its name {theirs!r} back in datajoint.toml, or a place of its own"
            )


def emptied(mark_store: MarkStore, schema: str) -> StorageUnavailableError:
    """Return the error for a store without marks, which the database knows to have had one of *schema*."""
    return StorageUnavailableError(
        f"{mark_store.place} has no mark of any schema, and the database knows that there was one of {schema}: "
        f"{RIGHT_PLACE} Nothing was stored. If it was emptied on purpose, `datajoint-file gc --take-over --execute` "
        "begins it anew"
    )


def refuse_nested(mark_store: MarkStore) -> None:
    """Raise `ConfigurationError` if the project's place lies inside another's."""
    if outer := mark_store.above():
        raise ConfigurationError(
            f"{NESTED.format(project=mark_store.project, outer=outer)}; nothing was stored. Give it a place of its "
            "own in [storage] of datajoint.toml"
        )


def dropping(connection: Any, schema: str) -> DroppedSchema:
    """Read what the books of *schema* say about its marks, before it is dropped.

    Only a look. ``dropping(connection, schema).note()`` is to be called when the schema is gone. Books that cannot be
    read say nothing; the collector then asks for ``--dropped``.
    """
    second, marks = second_connection_of(connection), []
    with suppress(Exception):  # a right that is missing, or no such table: the schema is dropped all the same
        spelled = _as_spelled(second, schema)
        identity = identity_of(second)
        for project in RegistryTable.projects(second, spelled):
            registry = RegistryTable(second, spelled, project)
            moment = registry.clock()
            for row in registry.rows():
                registration = Registration(identity, project, spelled, row.schema_id)
                marks.append(Mark(registration, row.epoch, row.token, moment))
    return DroppedSchema(connection, schema, tuple(marks))


@dataclass(frozen=True, slots=True)
class DroppedSchema:
    """What the books of a schema said about its marks, before it was dropped."""

    connection: Any
    schema: str
    marks: tuple[Mark, ...]  # of all epochs and projects, newest first

    def note(self) -> None:
        """Tell the stores that the schema was dropped: by a mark of its newest epoch, in place of its others.

        Only after it is gone. It cannot fail: a `JournalWarning` says which store could not be told.
        """
        forget(self.connection, self.schema)
        for project in dict.fromkeys(mark.registration.project for mark in self.marks):
            try:
                mark_store = MarkStore(pipeline_of(self.connection, self.schema).stores.for_marks(project), project)
                _mark_dropped(mark_store, [mark for mark in self.marks if mark.registration.project == project])
            except (DataJointFileError, OSError) as error:
                warn(
                    f"{self.schema} was dropped, and the store of the project {project!r} could not be told "
                    f"({_text(error)}): `datajoint-file gc` will ask for --dropped {self.schema}",
                    JournalWarning,
                )


def record_conflict(pipeline: Pipeline, connection: Any, schemas: Sequence[str]) -> None:
    """Have the store know the history that this database has of *schemas*, where it knows another one too.

    The other one may be a copy's, which learns of this one only so, and refuses as well. It cannot fail: what cannot be
    recorded is left to the next insert.
    """
    project, second = pipeline.project, second_connection_of(connection)
    mark_store = MarkStore(pipeline.stores.for_marks(project), project)
    for schema in schemas:
        with suppress(Exception):  # a right that is missing: who calls has refused already
            registry = RegistryTable(second, schema, project)
            if registry.is_there() and registry.rows():
                refresh(registry, mark_store, identity_of(second), mark_store.names())


def _mark_dropped(mark_store: MarkStore, marks: Sequence[Mark]) -> None:
    _put(mark_store, replace(marks[0], is_dropped=True))
    with suppress(StorageError):  # not everybody may delete objects
        there = {name.key for name in mark_store.names()}
        for mark in marks:
            if (key := mark_store.key_of(mark)) in there:
                mark_store.remove(key)


def _as_spelled(second: SecondConnection, schema: str) -> str:
    """Return a schema's name as the server has it: some take capitals for small letters."""
    found = second.query("SELECT schema_name FROM information_schema.schemata WHERE schema_name = %s", (schema,))
    return str(found[0][0]) if found else schema


def _warn(problem: str) -> None:
    warn(f"{problem}. Files are stored as ever; `datajoint-file gc` will refuse until this is settled", JournalWarning)


def _text(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of a registry table."""

    epoch: int
    schema_id: str  # of the schema, the same in all rows
    token: str  # random
    age_seconds: float  # by the database's clock
    is_marked: bool  # the store has had its mark, for certain


class RegistryTable:
    """The table ``~file_registry`` of a schema, as far as it concerns one project."""

    def __init__(self, second: SecondConnection, schema: str, project: str) -> None:
        self.second = second
        self.schema = schema
        self.project = project
        self._dialect = second.dialect
        self._table = self._named(second, schema)

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
            f"SELECT epoch, schema_id, token, {age}, is_marked FROM {self._table} "
            "WHERE project = %s ORDER BY epoch DESC",
            (self.project,),
        )
        return [Epoch(int(epoch), id_, token, float(age), bool(marked)) for epoch, id_, token, age, marked in found]

    @classmethod
    def projects(cls, second: SecondConnection, schema: str) -> list[str]:
        """Return the projects that rows of a schema refer to."""
        return [project for (project,) in second.query(f"SELECT DISTINCT project FROM {cls._named(second, schema)}")]

    @staticmethod
    def _named(second: SecondConnection, schema: str) -> str:
        return second.dialect.quoted(schema, TABLE)

    def clock(self) -> str:
        """Return the database's time as text: ISO 8601, UTC."""
        (moment,) = self.second.query(f"SELECT {self._dialect.utc(self._dialect.now)}")[0]
        return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"

    def bump(self, last: Epoch) -> None:
        """Begin a new epoch after *last*, unless somebody else has."""
        self._insert(last.epoch + 1, last.schema_id)

    def confirm(self, epoch: int) -> None:
        """Note that the store has the mark of *epoch*."""
        sql = f"UPDATE {self._table} SET is_marked = TRUE WHERE project = %s AND epoch = %s"
        self.second.execute(sql, (self.project, epoch))

    def forget(self, kept: Sequence[int]) -> None:
        """Remove epochs that are a month old and have no mark any more."""
        epochs = [row.epoch for row in self.rows()[1:] if row.age_seconds > _KEPT_DAYS * 86_400]
        for epoch in set(epochs) - set(kept):
            self.second.execute(f"DELETE FROM {self._table} WHERE project = %s AND epoch = %s", (self.project, epoch))

    def _insert(self, epoch: int, schema_id: str) -> None:
        attributes, values = "project, epoch, schema_id, token, bumped_at", f"(%s, %s, %s, %s, {self._dialect.now})"
        sql = self._dialect.insert_new(self._table, attributes, values)
        self.second.execute(sql, (self.project, epoch, schema_id, secrets.token_hex(16)))


def refresh(
    registry: RegistryTable, mark_store: MarkStore, identity: Identity, names: Sequence[MarkName], *, bump: bool = False
) -> Mark | None:
    """Bring the store up to the database: the newest epoch marked, a new one if it is time, older marks removed.

    The database first, then the new mark, then the older ones: wherever this is cut short, the store never knows an
    epoch that the database does not. *names* are the marks there are; *bump* begins a new epoch at any rate.

    Returns the newest mark. None if the store knows another history of the schema, whose marks are left as they are:
    then the newest of this one is unknown to the other, which so learns of it.
    """
    rows = registry.rows()
    registration = Registration(identity, registry.project, registry.schema, rows[0].schema_id)
    marks = [name for name in names if name.registration == registration.digest]
    known = {(row.epoch, row.token) for row in registry.rows()}  # anew: another process may just have begun one
    foreign = [name for name in marks if name.is_dropped or (name.epoch, name.token) not in known]
    first = min((name.epoch + name.is_dropped for name in foreign), default=0)
    if bump or rows[0].age_seconds > EPOCH_SECONDS or rows[0].epoch < first:
        registry.bump(rows[0])
    row = registry.rows()[0]
    newest = Mark(registration, row.epoch, row.token, registry.clock())
    if not any(name.token == newest.token and not name.is_dropped for name in marks):
        _put(mark_store, newest)
    if not row.is_marked:
        registry.confirm(row.epoch)
    _remove_older(registry, mark_store, [name for name in marks if name not in foreign], newest)
    return None if foreign else newest


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
