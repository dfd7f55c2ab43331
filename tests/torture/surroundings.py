"""Surroundings of a project in random schedules: copies, renamings, other servers, projects around and inside.

Each comes and goes as a step of a schedule. What collectors and inserts must refuse meanwhile is looked at here; that
nothing live is lost, by the checks that every step has.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import datajoint as dj

import datajoint_file
from datajoint_file import gc
from datajoint_file.errors import (
    CollectionRefusedError,
    ConfigurationError,
    ObjectExistsError,
    StorageError,
    VerificationError,
)
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.journal import schema_registry
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.journal.store_marks import Mark, MarkStore
from datajoint_file.model.object_keys import new_write_id, object_key
from tests.torture.bare import REGISTRY, Database
from tests.torture.operations import Actor, Insert
from tests.torture.tables import RawTables
from tests.torture.values import Finding, State

if TYPE_CHECKING:
    from tests.torture.world import World

Change = Literal["copy", "rename", "clone", "rival", "inner", "outer"]

REFUSED: dict[Change, frozenset[str]] = {
    "copy": frozenset(),
    "rename": frozenset({"gone"}),
    "clone": frozenset({"clone", "other-database"}),
    "rival": frozenset({"other-database"}),
    "inner": frozenset({"nested"}),
    "outer": frozenset({"nested"}),
}
"""What a collector must refuse for while it is so. ``copy``: a schema copied under another name, with the package's own
tables. ``rename``: a schema renamed by SQL. ``clone``: the store's marks are those of a server that this one is a copy
of. ``rival``: another server whose rows name objects of the project. ``inner``, ``outer``: a project inside this one's
place, or around it."""

LASTING: tuple[Change, ...] = ("copy", "rival", "inner", "outer")
"""What stays while others work; the rest comes and goes in one step."""

_SEEN_LATER: tuple[Change, ...] = ("rename", "rival")
"""What is tried on a plan that was made before as well. A project inside is seen by a listing, which is made once."""

_CONTENT = b"somebody else's spikes" * 40


@dataclass(frozen=True, slots=True)
class Surround:
    """Something around the project begins to be so, or ends; what is found wrong then is its result."""

    what: Change
    ends: bool = False
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> list[Finding]:
        found: list[Finding] = actor.surroundings.change(self.what, ends=self.ends)
        return found

    def effect(self, state: State) -> State:
        return state


class Surroundings:
    """What is around the project of a world.

    Attributes
    ----------
    there : set
        What is so now.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.there: set[Change] = set()
        self._neighbours: dict[Change, Neighbour] = {}
        self._copy: RawTables | None = None
        self._inside: dict[str, bytes] = {}

    def possible(self) -> list[Change]:
        """Return what can be here: around a bucket's project there is the bucket, which others use."""
        return [what for what in REFUSED if what != "outer" or self.world.place.proxy is None]

    @property
    def refused(self) -> frozenset[str]:
        """What a collector must refuse for now."""
        return frozenset().union(*(REFUSED[what] for what in self.there))

    def change(self, what: Change, *, ends: bool) -> list[Finding]:
        """Let something begin, or end, unless it is so already."""
        if ends == (what not in self.there):
            return []
        with self.world.steps.unwatched():
            if ends:
                self.there.discard(what)
                return list(getattr(self, f"_end_{what}")())
            return list(self._begin(what))

    def _begin(self, what: Change) -> Iterator[Finding]:
        before = self._plan() if what in _SEEN_LATER else None
        keys = set(self.world.place.objects.keys())
        self.there.add(what)
        yield from getattr(self, f"_begin_{what}")()
        if self.refused:
            yield from self._must_refuse(what, before)
            for key in sorted(keys - set(self.world.place.objects.keys())):
                yield "I3", f"{what}: {key} was deleted by a collector that must refuse"
        if what not in LASTING:
            self.there.discard(what)
            yield from getattr(self, f"_end_{what}")()

    def _must_refuse(
        self, what: Change, before: gc.Plan | None = None, connection: Any = None, kind: str = ""
    ) -> Iterator[Finding]:
        """Yield if a collector does not refuse, for *kind* or what is so, also to carry out a plan made *before*."""
        plan = self._plan(connection)
        kinds, expected = {refusal.kind for refusal in plan.refusals}, self.refused | ({kind} if kind else set())
        if not kinds or not kinds <= expected:
            yield "I8", f"{what}: the collector refuses for {sorted(kinds) or 'nothing'}, not for {sorted(expected)}"
        for some in filter(None, (before, plan)):
            with suppress(CollectionRefusedError):
                gc.execute(some, force=True, progress=False)
                yield "I8", f"{what}: the collector has carried out a plan"

    def _plan(self, connection: Any = None) -> gc.Plan:
        return gc.plan(connection or self.world.other.connection, unknown=True, progress=False)

    def findings(self, keys: frozenset[str], paths: frozenset[str]) -> Iterator[Finding]:
        """Yield what others have lost whose rows name objects of this place, seen that *keys* are there."""
        if self._copy:
            mine = self._references()
            needed = {key for value in mine.values() for key in self.world.objects_of(value)}
            yield from (("I1", f"a copied row, and its object {key} is gone") for key in sorted(needed - keys))
            database, history = self.world.database, database_name(self._copy, "~file_history")
            for path, state in database.run(f"SELECT path, state FROM {history} WHERE path IS NOT NULL"):
                if state in ("condemned", "purged") and path in paths | mine.keys():
                    yield "I8", f"{path} is {state} in a copied history, and a row refers to it"
        for neighbour in self._neighbours.values():
            yield from neighbour.findings()
        for key, content in self._inside.items():
            if self.world.place.objects.get(key) != content:
                yield "I1", f"the object {key} of a project inside this one is gone"

    def hidden_tables(self) -> list[tuple[str, str]]:
        """Return the package's tables in copies."""
        if not self._copy:
            return []
        schema = self._copy.schemas[0]
        return [(schema, name) for name in self.world.database.tables(schema) if name.startswith("~file")]

    def clear(self) -> list[Finding]:
        """End all that is so."""
        return [finding for what in sorted(self.there) for finding in self.change(what, ends=True)]

    def close(self) -> None:
        """Drop what was made elsewhere."""
        for neighbour in self._neighbours.values():
            neighbour.close()

    # ---- in the same server ----

    def _begin_copy(self) -> Iterator[Finding]:
        database, schema = self.world.database, self.world.schema_names[0]
        copy = f"{schema}_copy_{secrets.token_hex(3)}"
        self._copy = RawTables(database, copy, self.world.schema_names[1])
        statements = [f"CREATE SCHEMA {database.quoted(copy)}"]
        for table, columns in database.columns(schema).items():
            old, new, names = database.quoted(schema, table), database.quoted(copy, table), ", ".join(columns)
            like = f"(LIKE {old} INCLUDING ALL)" if database.is_postgresql else f"LIKE {old}"
            overriding = "OVERRIDING SYSTEM VALUE" if database.is_postgresql else ""
            statements.append(f"CREATE TABLE {new} {like}")
            statements.append(f"INSERT INTO {new} ({names}) {overriding} SELECT {names} FROM {old}")
        database.run("; ".join(statements))
        yield from ()

    def _end_copy(self) -> Iterator[Finding]:
        assert self._copy is not None
        database, schema = self.world.database, self._copy.schemas[0]
        for key, value in self._references().items():
            content = self.world.content_of(value)
            if content is None or not self.world.subject.describes(value, content):
                yield "I1", f"a copied row, and its object {key} has other bytes"
        self._copy = None
        database.drop(schema)
        if marks := self._marks(schema):  # a collector has registered it: that it is gone is for a person to settle
            yield from self._must_refuse("copy", kind="gone")
        for mark in marks:
            self._mark_store.remove(self._mark_store.key_of(mark))

    def _references(self) -> dict[str, Any]:
        assert self._copy is not None
        values = (value for row in self._copy.rows() for value in row.values.values() if value is not None)
        return {self.world.subject.object_key(value, self.world.place.project): value for value in values}

    def _begin_rename(self) -> Iterator[Finding]:
        schema = self.world.schema_names[0]
        self._before = self._marks(schema)
        self.world.database.rename(schema, f"{schema}_renamed")
        yield from ()

    def _end_rename(self) -> Iterator[Finding]:
        schema = self.world.schema_names[0]
        self.world.database.rename(f"{schema}_renamed", schema)
        for mark in self._marks(f"{schema}_renamed"):  # of a collector with a planted bug
            self._mark_store.remove(self._mark_store.key_of(mark))
        for mark in self._before:  # which such a one has forgotten
            with suppress(ObjectExistsError):
                self._mark_store.write(mark)
        yield from ()

    # ---- other servers ----

    @property
    def _mark_store(self) -> MarkStore:
        return MarkStore(pipeline_of(self.world.other.connection).backend, self.world.place.project)

    def _marks(self, schema: str) -> list[Mark]:
        return [mark for mark in self._mark_store.read()[0] if mark.registration.schema == schema]

    def _begin_clone(self) -> Iterator[Finding]:
        """Let the marks be those of another host; then this one writes, which both must learn of."""
        store, connection = self._mark_store, self.world.other.connection
        us = schema_registry.identity_of(second_connection_of(connection))
        elsewhere = replace(us, host="elsewhere", directory="/elsewhere")
        self._own = [mark for mark in store.read()[0] if mark.registration.identity == us]
        self._theirs = [replace(m, registration=replace(m.registration, identity=elsewhere)) for m in self._own]
        for theirs, own in zip(self._theirs, self._own, strict=True):
            store.write(theirs)
            store.remove(store.key_of(own))
        yield from self._must_refuse("clone")
        if "outer" in self.there:  # nobody stores anything then
            return
        with _as_a_new_process():
            schema_registry.ensure_marked(pipeline_of(connection), connection, self.world.schema_names[0])
        if not any(mark.registration.identity == us for mark in store.read()[0]):
            yield "I8", "clone: a server has stored a file beside the one that it is a copy of, and no mark tells it"

    def _end_clone(self) -> Iterator[Finding]:
        store = self._mark_store
        for theirs, own in zip(self._theirs, self._own, strict=True):
            with suppress(ObjectExistsError):
                store.write(own)
            store.remove(store.key_of(theirs))
        yield from ()

    def _begin_rival(self) -> Iterator[Finding]:
        rival = self._neighbour("rival")
        if "outer" in self.there:
            yield from self._refused_insert("rival", rival.insert)
            self.there.discard("rival")
            return
        rival.insert()
        yield from self._must_refuse("rival", connection=rival.connection)

    def _end_rival(self) -> Iterator[Finding]:
        self._neighbour("rival").leave()
        yield from ()

    def _neighbour(self, what: Change) -> Neighbour:
        if what not in self._neighbours:
            world, place = self.world, self.world.place
            address, storage, project = world.address, place.direct, f"{what}-{secrets.token_hex(3)}"
            if what == "rival":
                is_mysql = world.cell.database == "mysql"
                address, project = world.servers.postgresql() if is_mysql else world.servers.mysql(), place.project
            elif what == "outer":
                storage = {**storage, "path": str(place.directory)}
            elif place.proxy is None:
                storage = {**storage, "path": f"{storage['path']}/students/inner"}
            else:
                storage = {**storage, "prefix": f"{place.project}/students"}
            self._neighbours[what] = Neighbour(world, address, storage, project)
        return self._neighbours[what]

    # ---- projects inside and around ----

    def _begin_inner(self) -> Iterator[Finding]:
        """Insert into a project inside, which is refused; and let one be there that is older than this one."""
        inner, project = self._neighbour("inner"), self.world.place.project
        before = self.world.place.objects.keys()
        if "path" in inner.storage:
            self.world.place.directory.joinpath("store/students/inner").mkdir(parents=True, exist_ok=True)
        yield from self._refused_insert("inner", inner.insert)
        if self.world.place.objects.keys() != before:
            yield "I3", "inner: an insert that must be refused has stored something"
        place = f"{project}/students/{'' if 'path' in inner.storage else 'old'}inner"
        key = object_key(place, "spikes.dat", new_write_id())
        self._inside = {key: _CONTENT, f"{place}{REGISTRY}{'a' * 26}-{1:010d}-{'0' * 32}.json": b"{}"}
        for key, content in self._inside.items():
            self.world.place.objects.put(key, content)

    def _end_inner(self) -> Iterator[Finding]:
        self.world.place.objects.delete(self._inside)
        self._inside = {}
        self._neighbour("inner").leave()
        yield from ()

    def _begin_outer(self) -> Iterator[Finding]:
        """Let a project begin around this one: its collector must see this one, and new processes here see it."""
        outer = self._neighbour("outer")
        outer.insert()
        yield from self._must_refuse("outer", connection=outer.connection)
        rows = Insert("refused", ((9, 9),))
        yield from self._refused_insert("outer", lambda: rows.run(self.world.other))

    def _end_outer(self) -> Iterator[Finding]:
        self._neighbour("outer").leave()
        yield from ()

    def _refused_insert(self, what: Change, insert: Any) -> Iterator[Finding]:
        with _as_a_new_process(), suppress(ConfigurationError):
            insert()
            yield "I8", f"{what}: the first insert of a process was not refused, though one project lies in another"


@contextmanager
def _as_a_new_process() -> Iterator[None]:
    """Forget meanwhile which schemas are registered."""
    kept = dict(schema_registry._registered), set(schema_registry._looked_above)
    schema_registry._registered.clear()
    schema_registry._looked_above.clear()
    try:
        yield
    finally:
        schema_registry._registered.clear()
        schema_registry._registered.update(kept[0])
        schema_registry._looked_above.update(kept[1])


def database_name(tables: RawTables, name: str) -> str:
    return tables.database.quoted(tables.schemas[0], name)


class Neighbour:
    """A project, or a server, beside the one under test, with a table of its own that has one row, or none."""

    def __init__(self, world: World, address: Any, storage: dict[str, Any], project: str) -> None:
        self.world = world
        self.storage, self.project = storage, project
        self.database = Database(address)
        backend = "postgresql" if self.database.is_postgresql else "mysql"
        instance = dj.Instance(
            address.host, address.user, address.password, port=address.port, use_tls=False, backend=backend
        )
        instance.config.safemode = False
        document = {"project": {"name": project}, "storage": storage}
        datajoint_file.configure(document, connection=instance)
        self.connection = instance.connection
        self.schema = f"{world.schema_names[0]}_{secrets.token_hex(3)}"

        class Neighbouring(dj.Manual):  # type: ignore[misc]
            definition = "id : int32\n---\ndata : file"

        self.table = instance.Schema(self.schema)(Neighbouring)
        self._key = ""

    def insert(self) -> None:
        """Insert the row."""
        self.table.insert1({"id": 1, "data": ("spikes.dat", _CONTENT)})
        self._key = str(self.table.fetch1("data").path)

    def findings(self) -> Iterator[Finding]:
        """Yield if the row has lost its bytes."""
        if self._key and self._content() != _CONTENT:
            yield "I1", f"a row of somebody else, and its object {self._key} is gone"

    def _content(self) -> bytes:
        with suppress(StorageError, VerificationError):
            content: bytes = self.table.fetch1("data").read()
            return content
        return b""

    def leave(self) -> None:
        """Take all away that was stored, and that tells of it."""
        schema_registry.forget(self.connection, self.schema)
        pipeline = pipeline_of(self.connection)
        if self._key:
            pipeline.backend.delete(self._key)
            self._key = ""
        store = MarkStore(pipeline.backend, self.project)
        with suppress(StorageError):
            for mark in store.read()[0]:
                if mark.registration.schema == self.schema:
                    store.remove(store.key_of(mark))
        names = [name for name in self.database.tables(self.schema) if name.startswith("~file") or name[0] != "~"]
        self.database.run("; ".join(f"DELETE FROM {self.database.quoted(self.schema, name)}" for name in names))

    def close(self) -> None:
        """Drop the schema."""
        with suppress(Exception):
            self.connection.close()
            second_connection_of(self.connection).close()
        self.database.drop(self.schema)
        self.database.close()
