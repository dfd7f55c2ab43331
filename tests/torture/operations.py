"""The operations that are tortured: what each does through DataJoint, and what it does to the committed rows.

`run` is the deed, `effect` the model of it; which faults happen meanwhile is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Protocol

from datajoint.errors import DuplicateError

import datajoint_file
from datajoint_file.errors import StorageError
from tests.torture.originals import Linked
from tests.torture.subjects import Subject
from tests.torture.tables import ATTRIBUTES, KEYS, Tables
from tests.torture.trees import EMPTY, Tree
from tests.torture.values import State

Key = tuple[int, ...]

GONE = "gone "
"""Begins the slots of a state that stand for rows which were deleted last, and are in no table."""

_DEPENDENT = ("Recording", "Trace", "Spectrum", "Summary")
"""The tables that a deletion reaches."""


class Refused(Exception):
    """The model's word for an operation that the database must refuse."""


class RolledBack(Exception):
    """Raised inside a transaction so that it ends."""


@dataclass
class Actor:
    """Somebody at work: his connection, his tables, and a directory of his own for downloads."""

    name: str
    subject: Subject
    connection: Any
    tables: Tables
    directory: Path
    collect: Callable[[int], Any]
    surroundings: Any = None  # of the project, who can change them


class Operation(Protocol):
    """One thing a user does."""

    @property
    def writes_files(self) -> bool: ...
    def run(self, actor: Actor) -> Any: ...
    def effect(self, state: State) -> State: ...


def payload(token: str, table: str, key: Key, attribute: str) -> bytes:
    """Return the bytes that the operation *token* stores there: up to some kilobytes, sometimes none.

    Twins are of one size; large ones take several parts of an upload; those of a tree are a directory's, those of a
    link a file's that stays where it is.
    """
    content = _payload(token, table, key, attribute)
    if token.startswith("link"):
        return Linked(content)
    return Tree(content) if token.startswith("tree") else content


def _payload(token: str, table: str, key: Key, attribute: str) -> bytes:
    seed = hashlib.sha256(f"{token}|{table}|{key}|{attribute}".encode()).digest()
    generator = random.Random(seed)
    if "twin" in token:
        return generator.randbytes(2500)
    if token.startswith("large"):
        return generator.randbytes(6 * 2**20)
    return generator.randbytes(0 if generator.random() < 0.03 else generator.randrange(1000, 4000))


def _as_dict(table: str, key: Key) -> dict[str, int]:
    return dict(zip(KEYS[table], key, strict=True))


def _values(actor: Actor, token: str, table: str, key: Key, attributes: Sequence[str]) -> dict[str, Any]:
    return {name: actor.subject.value(f"{name}.dat", payload(token, table, key, name)) for name in attributes}


def _row(token: str, table: str, key: Key, attributes: Sequence[str]) -> dict[str, bytes | None]:
    return {name: payload(token, table, key, name) if name in attributes else None for name in ATTRIBUTES[table]}


@dataclass(frozen=True, slots=True)
class Insert:
    """``insert`` or ``insert1``, plain, skipping duplicates or replacing."""

    token: str
    keys: tuple[Key, ...]
    table: str = "Recording"
    attributes: tuple[str, ...] = ("data",)
    skip: bool = False
    replace: bool = False
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        rows = [
            {**_as_dict(self.table, key), **_values(actor, self.token, self.table, key, self.attributes)}
            for key in self.keys
        ]
        actor.tables[self.table].insert(rows, skip_duplicates=self.skip, replace=self.replace)

    def effect(self, state: State) -> State:
        present = [key for key in self.keys if (self.table, key) in state]
        if present and not (self.skip or self.replace):
            raise Refused(f"{self.table} has {present}")
        if self.table == "Trace" and any(("Recording", key[:2]) not in state for key in self.keys):
            raise Refused("the master is not there")
        new = [key for key in self.keys if self.replace or key not in present]
        return {**state, **{(self.table, key): _row(self.token, self.table, key, self.attributes) for key in new}}


@dataclass(frozen=True, slots=True)
class Stage:
    """A staged write: bytes first, then the row that takes them."""

    token: str
    key: Key
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        content = payload(self.token, "Recording", self.key, "data")
        actor.subject.staged_insert(actor.tables["Recording"], _as_dict("Recording", self.key), "data", content)

    def effect(self, state: State) -> State:
        return Insert(self.token, (self.key,)).effect(state)


_SCRATCH = os.fsdecode(b"~ \xff")
"""What no store could name, of a program that is at work."""


@dataclass(frozen=True, slots=True)
class Create:
    """A directory that is made in the store, one file of it twice and one by a path, and then its row."""

    token: str
    key: Key
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        table, key = actor.tables["Recording"], _as_dict("Recording", self.key)
        tree = payload(self.token, "Recording", self.key, "data")
        assert isinstance(tree, Tree)
        first, second, third = tree.files
        with datajoint_file.create(table, key, "data", "data.dat") as new:
            (new.path / EMPTY).mkdir()
            (new.path / third).parent.mkdir()
            (new.path / third).write_bytes(tree.files[third])
            (new.path / _SCRATCH).mkdir()
            (new.path / _SCRATCH / _SCRATCH).write_bytes(b"scratch")
            for name, content in ((first, b""), (second, b"a draft"), (second, tree.files[second])):
                new.fs.pipe_file(name, content)
            shutil.rmtree(new.path / _SCRATCH)
        table.insert1({**key, "data": new.value})

    def effect(self, state: State) -> State:
        return Insert(self.token, (self.key,)).effect(state)


@dataclass(frozen=True, slots=True)
class CutShort:
    """An operation that the store cuts short after some uploads; the user catches the error."""

    operation: Operation
    uploads: int = 3
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        with suppress(StorageError), actor.subject.failing(self.uploads):
            self.operation.run(actor)

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Update:
    """``update1`` of one attribute."""

    token: str
    key: Key
    attribute: str = "data"
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        values = _values(actor, self.token, "Recording", self.key, (self.attribute,))
        actor.tables["Recording"].update1({**_as_dict("Recording", self.key), **values})

    def effect(self, state: State) -> State:
        row = state.get(("Recording", self.key))
        if row is None:
            raise Refused("no such row")
        content = payload(self.token, "Recording", self.key, self.attribute)
        return {**state, ("Recording", self.key): {**row, self.attribute: content}}


@dataclass(frozen=True, slots=True)
class Copy:
    """``INSERT … SELECT`` into another table: the row there shares the object."""

    key: Key
    target: str
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> None:
        source = (actor.tables["Recording"]() & _as_dict("Recording", self.key)).proj("data", "notes")
        actor.tables[self.target].insert(source)

    def effect(self, state: State) -> State:
        row = state.get(("Recording", self.key))
        if row is None:
            return state
        if (self.target, self.key) in state:
            raise Refused(f"{self.target} has {self.key}")
        return {**state, (self.target, self.key): row}


@dataclass(frozen=True, slots=True)
class Revert:
    """Insert again the file that the row of a key held last, which *token* had stored; by its history no byte moves."""

    token: str
    key: Key
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        table, key = actor.tables["Recording"], _as_dict("Recording", self.key)
        table.insert1({**key, "data": datajoint_file.history(table, "data", key=key)[0].file})

    def effect(self, state: State) -> State:
        if ("Recording", self.key) in state:
            raise Refused("the row is there")
        return Insert(self.token, (self.key,)).effect(state)


@dataclass(frozen=True, slots=True)
class Delete:
    """``delete`` with cascade: the row, its parts and what was computed from it."""

    key: Key
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> None:
        (actor.tables["Recording"]() & _as_dict("Recording", self.key)).delete(prompt=False)

    def effect(self, state: State) -> State:
        after = dict(state)
        for (table, key), row in state.items():
            if table in _DEPENDENT and key[:2] == self.key:
                del after[table, key]
                after[f"{GONE}{table}", key] = row
        return after


@dataclass(frozen=True, slots=True)
class Undelete:
    """``undelete`` of what went with the rows of a key: what comes back is what the model remembers of it."""

    key: Key
    restored: set[tuple[str, Key]] = field(default_factory=set, compare=False)
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> None:
        before = self._rows(actor)
        key = _as_dict("Recording", self.key)
        datajoint_file.undelete(actor.tables["Recording"], since=timedelta(days=3650), key=key)
        self.restored.clear()
        self.restored.update(self._rows(actor) - before)

    def _rows(self, actor: Actor) -> set[tuple[str, Key]]:
        return {(name, tuple(row.values())) for name in _DEPENDENT for row in actor.tables[name]().keys()}  # noqa: SIM118 - of a table

    def effect(self, state: State) -> State:
        after = dict(state)
        for table, key in self.restored:
            if (f"{GONE}{table}", key) not in state:
                raise Refused(f"{table}{key} was never deleted")
            after[table, key] = state[f"{GONE}{table}", key]
        return after


@dataclass(frozen=True, slots=True)
class Transaction:
    """Several operations in one transaction, which is committed, or rolled back on purpose."""

    operations: tuple[Operation, ...]
    rolls_back: bool = False
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        try:
            with actor.connection.transaction:
                for operation in self.operations:
                    operation.run(actor)
                if self.rolls_back:
                    raise RolledBack
        except RolledBack:
            pass

    def effect(self, state: State) -> State:
        after = state
        for operation in self.operations:
            after = operation.effect(after)
        return state if self.rolls_back else after


@dataclass(frozen=True, slots=True)
class OwnTransaction:
    """A transaction that the user opens and commits with SQL of his own, past DataJoint."""

    operations: tuple[Operation, ...]
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        actor.connection.query("BEGIN")
        try:
            for operation in self.operations:
                operation.run(actor)
        except BaseException:
            actor.connection.query("ROLLBACK")
            raise
        actor.connection.query("COMMIT")

    def effect(self, state: State) -> State:
        return Transaction(self.operations).effect(state)


@dataclass(frozen=True, slots=True)
class Tolerant:
    """An operation whose refusal the user catches, to go on in the same transaction."""

    operation: Operation
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        try:
            self.operation.run(actor)
        except DuplicateError:
            if actor.connection.adapter.backend == "postgresql":  # where a refusal spoils the transaction
                raise

    def effect(self, state: State) -> State:
        try:
            return self.operation.effect(state)
        except Refused:
            return state


@dataclass(frozen=True, slots=True)
class Populate:
    """``populate`` of one key, with a simple ``make`` or one of three parts."""

    token: str
    key: Key
    table: str
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> None:
        def computed(table: Any, key: dict[str, int]) -> Any:
            content = payload(self.token, self.table, self.key, "data")
            if self.table == "Summary":
                return actor.subject.staged(table, key, "data", content)
            return actor.subject.value("data.dat", content)

        actor.tables.computed = computed
        actor.tables[self.table].populate(_as_dict("Recording", self.key))

    def effect(self, state: State) -> State:
        if ("Recording", self.key) not in state or (self.table, self.key) in state:
            return state
        return {**state, (self.table, self.key): _row(self.token, self.table, self.key, ("data",))}


@dataclass(frozen=True, slots=True)
class Download:
    """Fetch a reference and download it into the actor's directory."""

    key: Key
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> Any:
        row = actor.tables["Recording"]() & _as_dict("Recording", self.key)
        reference = row.fetch1("data")
        reference.download(actor.directory / "downloaded.dat")
        return reference

    def effect(self, state: State) -> State:
        if ("Recording", self.key) not in state:
            raise Refused("no such row")
        return state


@dataclass(frozen=True, slots=True)
class Collect:
    """Run the collector once, after *seconds* have passed by the clocks it asks."""

    seconds: int = 0
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> Any:
        return actor.collect(self.seconds)

    def effect(self, state: State) -> State:
        return state
