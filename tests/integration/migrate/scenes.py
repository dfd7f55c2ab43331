"""A migration in the middle of a verb, killed at any of its statements and verbs of the store, seen by other doors."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datajoint as dj
from datajoint.objectref import ObjectRef

import datajoint_file
from datajoint_file import DirectoryRef, FileRef, Migration, gc
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.migrate import moving
from tests.integration.collector.collecting import LATER, has_table, make_older, own
from tests.integration.migrate.conftest import put_old
from tests.projects import Store, connect, unique
from tests.tables import drop_schema, recording_of
from tests.torture.relay import Relay
from tests.torture.sql import watch
from tests.torture.steps import Steps
from tests.torture.stores import NumberedBackend, watching_file
from tests.torture.values import Fault

TYPES = {"attach": "<attach@main>", "object": "<object@main>", "path": "varchar(300)"}
"""Kinds of old attributes, and their types."""

BEFORE: dict[str, tuple[str, ...]] = {
    "run": (),
    "check": ("run",),
    "finish": ("run", "check", "write"),
    "back": ("run", "check", "write", "finish", "change"),
    "forget": ("run", "check", "write", "finish", "change"),
}
"""What has been done before a verb. ``write`` and ``change`` are done by a user."""

_NEW, _BESIDE, _SWAPPED, _OVER = (
    frozenset(names.split()) for names in ("raw", "raw raw__file", "raw raw__before", "raw")
)
STAGES = {
    "run": (_NEW, _BESIDE),
    "check": (_BESIDE,),
    "finish": (_BESIDE, _SWAPPED),
    "back": (_SWAPPED, _BESIDE),
    "forget": (_SWAPPED, _OVER),
}
"""The attributes that a table may have when a verb is cut off."""

Content = dict[str, bytes]
"""What a value is: the bytes of a file under no name, those of a folder's files under theirs."""


@dataclass
class Scene:
    """A table of old values in a schema, a project and stores of its own.

    Parameters
    ----------
    database : object
        The server.
    home : Path
        A directory for all files.
    kind : {"attach", "object", "path"}
        What the old attribute is.
    """

    database: Any
    home: Path
    kind: str
    old: dict[int, Content | None] = field(default_factory=dict)  # what the old attribute should have
    new: dict[int, Content | None] = field(default_factory=dict)  # what the new one should have once all is done

    def __post_init__(self) -> None:
        for name in ("store", "given", "dj", "downloads"):
            (self.home / name).mkdir(parents=True)
        self.store = Store({"backend": "file", "path": str(self.home / "store")}, unique("project"))
        self.name = unique("schema")
        instance = self.opened()
        self.connection = instance.connection
        definition = f"id : int32\n---\nraw : {TYPES[self.kind]}  # the recording"
        self.full_name = recording_of(instance.Schema(self.name), definition)().full_table_name
        for key in (0, 1, 2, 7):
            self.put(key)
        self.sources = self._sources()

    def opened(self, steps: Steps | None = None) -> dj.Instance:
        """Return a new connection with the project; *steps* count what is asked of it."""
        instance = connect(self.database)
        instance.config.download_path = str(self.home / "downloads")
        instance.config.stores = {
            "default": "main",
            "main": {"protocol": "file", "location": str(self.home / "dj")},
        }
        if steps is not None:
            watch(instance.connection, steps, Relay(self.database.host, self.database.port), [])
            instance.connection.connect()
        datajoint_file.configure(self.store.configuration(), connection=instance)
        return instance

    def put(self, key: int) -> None:
        """Insert a row with an old value; each third one is a folder, where the type has some."""
        place = self.home / "given" / f"{key}.dat"
        content: Content = {"": b"%d" % key * 100}
        if key % 3 == 2 and self.kind != "attach":
            content = {"zarr.json": b"{}", "0 %s": b"%d" % key * 50, "1": b""}
        for name, data in content.items():
            path = place / "deep" / name if name else place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if self.kind == "attach":
            put_old(self.table(), {key: str(place)})
        else:
            self.table().insert1({"id": key, "raw": str(place)})
        self.old[key] = self.new[key] = content

    def table(self) -> Any:
        """Return the table as a program sees it that has just been started."""
        return dj.FreeTable(self.connection, self.full_name)

    def migration(self) -> Migration:
        return Migration(self.table(), "raw", progress=False)

    def prepare(self, verb: str) -> None:
        """Do all that comes before *verb*."""
        for step in BEFORE[verb]:
            if step == "write":
                (self.table() & "id = 7").delete(prompt=False)
                del self.old[7], self.new[7]
                self.put(3)
                self.sources = self._sources()
            elif step == "change":
                table = self.table()
                table.insert1({"id": 4, "raw": ("four.dat", b"4")})
                table.update1({"id": 1, "raw": ("one.dat", b"other")})
                self.old[4], self.new[4], self.new[1] = None, {"": b"4"}, {"": b"other"}
            else:
                assert (report := getattr(self.migration(), step)()), report

    def start(self, verb: str, fault: Fault | None, told: int = -1) -> Any:
        """Do *verb* in another process, which meets *fault*; return the process."""
        process = multiprocessing.get_context("fork").Process(target=self._do, args=(verb, fault, told))
        process.start()
        return process

    def _do(self, verb: str, fault: Fault | None, told: int) -> None:
        moving.BATCH_ROWS = 2
        steps = Steps()
        with watching_file(steps, []):
            instance = self.opened(steps)
            pipeline = pipeline_of(instance.connection)
            if not isinstance(pipeline.backend, NumberedBackend):  # it comes from the parent
                pipeline.stores._backends[pipeline.project] = NumberedBackend(pipeline.backend, steps)
            steps.start(fault, told=told)
            migration = Migration(dj.FreeTable(instance.connection, self.full_name), "raw", progress=False)
            if verb == "run":
                assert (plan := migration.plan()), plan
            assert (report := getattr(migration, verb)()), report

    def trace(self, verb: str) -> list[str]:
        """Do *verb* in another process, undisturbed; return its steps."""
        source, target = os.pipe()
        process = self.start(verb, None, target)
        os.close(target)
        with os.fdopen(source) as lines:
            told = lines.read().splitlines()
        process.join(60)
        assert process.exitcode == 0, verb
        return told

    def meet(self, verb: str, fault: Fault) -> None:
        """Do *verb* in another process, which is killed."""
        process = self.start(verb, fault)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, fault

    def assert_readable(self, verb: str) -> None:
        """Check that after a kill of *verb* each attribute that there is has all that was in it, or what is to be."""
        assert self._sources() == self.sources
        names = frozenset(self.table().heading.names) - {"id"}
        assert names in STAGES[verb], names
        is_swapped = "raw__file" not in names and verb not in ("run", "check")
        assert self.read("raw") == (self.new if is_swapped else self.old)
        if "raw__before" in names:
            assert self.read("raw__before") == self.old
        elif "raw__file" in names:
            for key, content in self.read("raw__file").items():
                assert content == self.new[key] or (content is None and verb in ("run", "finish")), key

    def read(self, name: str) -> dict[int, Content | None]:
        """Return what DataJoint's fetch gives."""
        return {row["id"]: _content_of(row[name]) for row in self.table().proj(name).to_dicts()}

    def settled(self) -> dict[str, Any]:
        """Let time pass and the collector run, and return all that is left, as far as two times have it in common."""
        make_older(self.connection, self.name, "~file_intent", "lease_until", LATER, missing_ok=True)
        plan = gc.plan(self.connection, scan=True, progress=False)
        assert not plan.refusals, plan
        assert gc.execute(plan)
        table = self.table()
        left = {
            "described": table.describe(),
            "notes": self._query("~file_migration", "cell, state", "cell"),
            "intents": [one for one in self._query("~file_intent", "state", "number") if one != ("reclaimed",)],
            "history": [
                (*one, sorted(json.loads(text or "{}")))
                for *one, text in self._query("~file_history", "attribute, why, state, row_text", "number")
            ],
            "objects": sorted(len(self.store.content(key)) for key in self.store.object_keys()),
            "verified": bool(datajoint_file.verify(table, progress=False)),
        }
        left["undeleted"] = str(datajoint_file.undelete(table, since="1 h")).replace(self.name, "")
        return left | {name: self.read(name) for name in table.heading.names if name != "id"}

    def picture(self) -> list[Any]:
        """Return all that database and store have of it."""
        sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY 1"
        tables = [name for (name,) in self.connection.query(sql, (self.name,)).fetchall()]
        rows = [(name, sorted(map(str, self._query(name, "*", "1")))) for name in tables]
        return [self.table().heading.names, *rows, [(key, self.store.content(key)) for key in self.store.all_keys()]]

    def _query(self, table: str, columns: str, order: str) -> list[Any]:
        if not has_table(self.connection, self.name, table):
            return []
        sql = f"SELECT {columns} FROM {own(self.connection, self.name, table)} ORDER BY {order}"
        return [tuple(row) for row in self.connection.query(sql).fetchall()]

    def _sources(self) -> dict[str, bytes]:
        """Return all bytes that old values stand for."""
        places = [self.home / "given", self.home / "dj"]
        files = [path for place in places for path in place.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files}

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        drop_schema(self.connection, self.name)
        self.connection.close()
        shutil.rmtree(self.home)


def _content_of(value: Any) -> Content | None:
    if value is None:
        return None
    if isinstance(value, DirectoryRef):
        return {file.name: file.read() for file in value.files()}
    if isinstance(value, ObjectRef):
        value = value.full_path
    if isinstance(value, FileRef):
        return {"": value.read()}
    path = Path(value)
    if path.is_dir():
        return {one.name: one.read_bytes() for one in path.rglob("*") if one.is_file()}
    return {"": path.read_bytes()}
