"""One corner of the matrix made ready: servers, users, schemas, tables and actors, reused from case to case.

What is done there, and what must hold afterwards, is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import datajoint as dj
import fsspec.asyn

from tests.projects import toml
from tests.servers import Servers
from tests.torture import trees
from tests.torture.bare import BucketObjects, Database, DiskObjects, Objects
from tests.torture.operations import Actor, Copy, Insert
from tests.torture.originals import Originals, is_original
from tests.torture.places import Second
from tests.torture.relay import Relay
from tests.torture.sql import be_quick, is_idle, is_open, watch
from tests.torture.steps import Steps
from tests.torture.stores import forget_mirrors
from tests.torture.subjects import FileSubject, ObjectSubject, Subject, document_of
from tests.torture.surroundings import Surroundings
from tests.torture.tables import RawTables, declare
from tests.torture.values import ANSWERS, Cell
from tests.wire.answers import LyingProxy

SUBJECTS: dict[str, type[Subject]] = {"file": FileSubject, "object": ObjectSubject}
SETTLE_SECONDS = 15.0


def canary() -> str:
    """Return a secret that is recognised wherever it turns up."""
    return f"canary{secrets.token_hex(12)}"


@dataclass
class Place:
    """A project in a store: the table ``[storage]``, also past the proxy that lies, and the other door to it."""

    storage: dict[str, Any]
    project: str
    objects: Objects
    directory: Path
    secrets: tuple[str, ...]
    direct: dict[str, Any]  # for those who are not lied to
    proxy: LyingProxy | None = None  # before the store, where it speaks HTTP


def make_second(place: Place, write: str) -> Second:
    """Give a project a second place, on a disk."""
    root = place.directory / "second"
    root.mkdir()
    mirror = {"backend": "file", "path": str(root), "write": write}
    for table in (place.storage, place.direct):
        table["mirror"] = mirror
    return Second(root, place.project, write)


def exchanged(place: Place) -> dict[str, Any]:
    """Return the table ``[storage]`` of when the two places are exchanged."""
    first = dict(place.direct)
    second = dict(first.pop("mirror"))
    write = second.pop("write")
    return {**second, "mirror": {**first, "write": write}}


def make_place(servers: Servers, store: str) -> Place:
    """Make a project in a store."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="torture-", dir=memory if memory.is_dir() else None))
    project = f"project-{secrets.token_hex(6)}"
    if store == "local":
        root = directory / "store"
        root.mkdir()
        on_disk = {"backend": "file", "path": str(root)}
        return Place(on_disk, project, DiskObjects(root, project), directory, (), on_disk)
    s3 = servers.s3()
    storage: dict[str, object] = {
        "backend": "s3",
        "bucket": s3.bucket,
        "endpoint_url": s3.endpoint_url,
        "region": s3.region,
        "credentials": {"key": s3.key, "secret": s3.secret},
    }
    proxy = LyingProxy(urlsplit(s3.endpoint_url).port or 0)
    through = {**storage, "endpoint_url": f"http://127.0.0.1:{proxy.port}"}
    return Place(
        through, project, BucketObjects(storage, project, s3.filer_url), directory, (s3.secret,), storage, proxy
    )


class World:
    """A subject on a database and a store, with a user under test and another actor.

    Parameters
    ----------
    servers : Servers
        Where they run.
    cell : Cell
        Which.

    Attributes
    ----------
    collected : set
        Situations that the collector has been seen to leave right.
    has_parts : bool
        Whether uploads are large enough to have parts, which a store may keep when they are cut off.
    steps : Steps
        The steps of the user under test.
    user, other : Actor
        He and the other one, each on a connection of his own.
    """

    def __init__(self, servers: Servers, cell: Cell, subject: Subject | None = None) -> None:
        self.cell = cell
        self.subject = subject or SUBJECTS[cell.subject]()
        self.steps = Steps()
        self.steps.stop()
        store, _, write = cell.store.partition("+")
        self.place = make_place(servers, store)
        self.second = make_second(self.place, write) if write else None
        if write:
            self.steps.second = self.place.storage["mirror"]["path"]
            self.new_toml = self.place.directory / "new.toml"
            document = document_of(exchanged(self.place), self.place.project)
            self.new_toml.write_text("\n\n".join(toml(table, name) for name, table in document.items()))
        if (proxy := self.place.proxy) is not None:
            self.steps.lie = lambda kind: proxy.spoil(ANSWERS[kind], ".", is_done=kind != "answer-instead")
        self.servers = servers
        self.subject.trees = self.place.directory / "trees"
        self.originals = Originals(self.place)
        if isinstance(self.subject, FileSubject):
            self.subject.originals = self.originals
        self._manifests: dict[str, bytes] = {}
        self.address = servers.mysql() if cell.database == "mysql" else servers.postgresql()
        self.database = Database(self.address)
        self.relay = Relay(self.address.host, self.address.port)
        mark = secrets.token_hex(5)
        self.password = canary()
        self.secrets = (self.password, *self.place.secrets)
        self.schema_names = (f"torture_{mark}_main", f"torture_{mark}_other")
        self._watching = self.subject.watching(self.steps)
        self._watching.__enter__()
        self._schemas: dict[str, list[Any]] = {}
        self._moments_of: dict[tuple[str, str], list[str]] = {}
        self.collected: set[object] = set()
        self.has_parts = False
        self.user_name, self.other_name = f"torture_{mark}_u", f"torture_{mark}_o"
        self.late_name = f"torture_{mark}_l"
        for name in (self.user_name, self.other_name, self.late_name):
            self.database.make_user(name, self.password)
        self.user = self._actor(self.user_name)
        self.other = self._actor(self.other_name)
        self._drivers: list[Any] = []
        watch(self.user.connection, self.steps, self.relay, self._drivers)
        self.reconnect()
        be_quick(self.other.connection)
        self.raw = RawTables(self.database, *self.schema_names)
        self.hidden = self.raw.hidden_tables()
        self.surroundings = self.other.surroundings = self.user.surroundings = Surroundings(self)
        self._late: Actor | None = None
        for relayed in (True, False):
            self.reconnect(relayed=relayed)
            self._warm_up()

    def _warm_up(self) -> None:
        """Do what is done only once in a process, so that later every case has the same steps."""
        self.clear()
        for actor in (self.user, self.other):
            Insert("warm", ((1, 1),), replace=self.subject.can_replace(self.cell.database)).run(actor)
            Copy((1, 1), "Archive").run(actor)
            self.clear()
            if self.subject.journals:
                Insert("tree-warm", ((1, 1),)).run(actor)
                self.clear()
        self.settle_marks()

    def settle_marks(self) -> None:
        """Let the user under test know the marks of the store as they are now."""
        with self.steps.unwatched():
            self.subject.settled(self.user.connection, self.schema_names)

    def connect(self, name: str, password: str) -> dj.Instance:
        """Connect as a user, with the subject's store."""
        address, backend = self.address, self.cell.database
        instance = dj.Instance(address.host, name, password, port=address.port, use_tls=False, backend=backend)
        instance.config.safemode = False
        instance.connection.conn_info["ssl"] = False  # PyMySQL takes 20 ms to prepare for TLS
        storage = self.place.storage if name == self.user_name else self.place.direct
        storage = exchanged(self.place) if name == self.late_name else storage
        self.subject.attach(instance, storage, self.place.project)
        return instance

    @property
    def damaged(self) -> set[str]:
        """What the first place has wrong, and the second right."""
        return self.second.damaged["first"] if self.second else set()

    def second_keys(self) -> frozenset[str]:
        """Return what is in the second place, if there is one."""
        return frozenset(self.second.keys() if self.second else ())

    @property
    def collecting(self) -> Actor:
        """Who runs the collector, and mirrors: after a move somebody who has the new ``datajoint.toml``."""
        if not self.is_moved():
            return self.other
        if self._late is None:
            self._late = self._actor(self.late_name)
            be_quick(self._late.connection)
        return self._late

    def is_moved(self) -> bool:
        """Tell whether the places were exchanged, to the end."""
        if self.second is None:
            return False
        return self.second.get(self.second.note) is None and self.place.objects.get(self.second.note) is not None

    def _move_back(self) -> None:
        """Exchange the notes again that tell which of the places is the mirror."""
        if self.second is not None and (note := self.place.objects.get(self.second.note)) is not None:
            assert isinstance(self.place.objects, DiskObjects)
            theirs = self.second.path(self.second.note).parent
            ours = self.place.objects.path(self.second.note).parent
            shutil.rmtree(ours)
            theirs.rename(ours)  # with the marks of who had the new file: the database knows those
            theirs.mkdir()
            self.second.put(self.second.note, note)
            forget_mirrors()

    def _actor(self, name: str) -> Actor:
        instance = self.connect(name, self.password)
        schemas = [instance.Schema(schema) for schema in self.schema_names]
        tables = declare(schemas[0], schemas[1], self.subject.attribute)
        directory = self.place.directory / name
        directory.mkdir()
        self._schemas[name] = schemas

        def collect(seconds: int) -> Any:
            return self._collect(schemas, instance.connection, seconds)

        return Actor(name, self.subject, instance.connection, tables, directory, collect)

    def _collect(self, schemas: list[Any], connection: Any, seconds: int) -> Any:
        with self.steps.unwatched():
            self.age(seconds)
        return self.subject.collect(schemas, connection)

    def declare_in_main(self, table: Any) -> Any:
        """Declare one more table in the main schema."""
        return self._schemas[self.other_name][0](table)

    def collect_main(self) -> Any:
        """Run the collector over the main schema alone."""
        return self.subject.collect(self._schemas[self.other_name][:1], self.other.connection)

    def count_flushes(self, act: Callable[[], object]) -> int:
        """Return how often *act* flushed a file or directory to the disk."""
        system: Any = os
        flush, count = os.fsync, itertools.count()

        def counted(descriptor: int) -> None:
            next(count)
            flush(descriptor)

        system.fsync = counted
        try:
            act()
        finally:
            system.fsync = flush
        return next(count)

    def age(self, seconds: int) -> None:
        """Let *seconds* pass: move every moment that the package has noted in the database back."""
        if not seconds:
            return
        self.steps.elapsed += seconds
        self.hidden = self.raw.hidden_tables()
        for schema, table in (*self.hidden, *self.surroundings.hidden_tables()):
            if columns := self._moments(schema, table):
                self.database.age(self.database.quoted(schema, table), columns, seconds)

    def _moments(self, schema: str, table: str) -> list[str]:
        known = self._moments_of.get((schema, table))
        if known is not None:
            return known
        query = (
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
            "AND (data_type LIKE 'timestamp%%' OR data_type LIKE 'datetime%%')"
        )
        found = self._moments_of[schema, table] = [name for (name,) in self.database.run(query, (schema, table))]
        return found

    def clear(self) -> None:
        """Make everything as it was at the beginning: no rows, no objects, no downloads, everybody connected."""
        self.relay.refuse(refuse=False)
        self.surroundings.clear()
        self.steps.elapsed = 0
        self.hidden = self.raw.hidden_tables()
        self.raw.clear([pair for pair in self.hidden if pair[1] != "~file_registry"])
        self.place.objects.clear()
        if self.second is not None:
            self.second.clear()
            self._move_back()
        self.originals.written.clear()
        self._manifests.clear()
        for actor in (self.user, self.other):
            for file in actor.directory.iterdir():
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        shutil.rmtree(self.subject.trees, ignore_errors=True)
        self.subject.trees.mkdir()

    def objects_of(self, value: Any) -> frozenset[str]:
        """Return the keys of all objects that a row's value stands for: of a directory as its manifest says."""
        key = self.subject.object_key(value, self.place.project)
        if is_original(key):
            return frozenset()
        if not trees.is_directory(key):
            return frozenset({key})
        manifest = trees.manifest_key(key)
        return frozenset({manifest, *(f"{key}{name}" for name in trees.listed(self.manifest(manifest)))})

    def manifest(self, key: str) -> bytes:
        """Return the manifest that is stored under *key*; nothing if there is none. It is read but once."""
        if key not in self._manifests:
            text = self.place.objects.get(key)
            if text is None:
                return b""
            self._manifests[key] = text
        return self._manifests[key]

    def content_of(self, value: Any) -> bytes | None:
        """Return the bytes that are stored of a row's value: of a directory those of its files; None if one is gone."""
        key, objects = self.subject.object_key(value, self.place.project), self.place.objects
        if not trees.is_directory(key):
            return objects.get(key)
        manifest = objects.get(trees.manifest_key(key))
        if manifest is None or value["hash"] != f"sha256:{hashlib.sha256(manifest).hexdigest()}":
            return None
        found = [objects.get(f"{key}{name}") for name in trees.listed(manifest)]
        return None if None in found else trees.Tree(b"".join(filter(None, found)))

    @property
    def lies(self) -> bool:
        """Whether something can become of the answers of the store, and the subject is one that looks at them."""
        return self.place.proxy is not None and self.subject.name == "file"

    def be_honest(self) -> None:
        """Let all further answers of the store through."""
        if self.place.proxy is not None:
            self.place.proxy.rules = []

    def reconnect(self, *, relayed: bool = False) -> None:
        """Give the user under test new connections, as a new process has them; through the relay if *relayed*."""
        connection = self.user.connection
        connection.conn_info["port"] = self.relay.port if relayed else self.address.port
        with self.steps.unwatched():
            self._hang_up()
            connection.connect()
            connection._in_transaction = False

    def settle(self) -> None:
        """Wait until the server has ended the sessions that the user under test has lost or left in a transaction."""
        self.relay.refuse(refuse=False)
        if self._is_untouched(self.user.connection) and self._has_only_open_sessions():
            return
        self._hang_up()
        self._wait(self._has_only_open_sessions)
        self.reconnect()

    def settle_other(self) -> None:
        """Wait until the server has ended the sessions that a killed child of the other actor had."""
        connection = self.other.connection
        connection.close()
        self.subject.restarted(connection)
        self._wait(lambda: not self.database.sessions(self.other_name))
        connection.connect()

    def _wait(self, is_settled: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while not is_settled():
            if time.monotonic() > deadline:
                raise TimeoutError("sessions do not end")
            time.sleep(0.001)

    def _is_untouched(self, connection: Any) -> bool:
        is_direct = connection.conn_info["port"] == self.address.port
        return is_direct and not connection._in_transaction and is_idle(connection._conn)

    def _has_only_open_sessions(self) -> bool:
        self._drivers[:] = [driver for driver in self._drivers if is_open(driver)]
        return self.database.sessions(self.user_name) <= len(self._drivers)

    def _hang_up(self) -> None:
        with suppress(Exception):
            self.user.connection.close()
        self.subject.restarted(self.user.connection)

    def be_child(self, actor: Actor) -> None:
        """Prepare a forked process that *actor* works in: a connection of its own, no event loop of its parent's."""
        self._inherited = self.database  # its destructor must not say goodbye in the parent's name
        self.database = self.raw.database = Database(self.address)
        fsspec.asyn.reset_lock()
        fsspec.asyn.iothread[0] = None
        fsspec.asyn.loop[0] = None
        actor.connection.connect()

    def close(self) -> None:
        """Drop the schemas and forget everything."""
        for actor in filter(None, (self.user, self.other, self._late)):
            with suppress(Exception):
                actor.connection.close()
        self.surroundings.close()
        for name in self.schema_names:
            self.database.drop(name)
        self.place.objects.clear()
        self.relay.close()
        if self.place.proxy is not None:
            self.place.proxy.close()
        self.database.close()
        self._watching.__exit__(None, None, None)
        shutil.rmtree(self.place.directory, ignore_errors=True)


def world_of(cell: Cell, servers: Servers, worlds: dict[Cell, World]) -> World:
    """Return the one of *worlds* that is the cell's, making it at the first call."""
    for other in worlds.values():
        other.steps.elapsed = 0  # what one world opens, those made before it watch as well
    if cell not in worlds:
        worlds[cell] = World(servers, cell)
    return worlds[cell]


def close_all(worlds: dict[Cell, World]) -> None:
    """Close them, the last one first: each puts back what it found when it was made."""
    while worlds:
        worlds.popitem()[1].close()
