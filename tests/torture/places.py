"""A project in two places: what is done to such, by users and behind their backs, and what must hold of the second.

The world has them (`World.second`); which faults happen meanwhile, and what must hold of the first, is told elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

import datajoint_file
from datajoint_file.errors import StorageError
from tests.torture.bare import DiskObjects
from tests.torture.operations import Actor, Key, Operation
from tests.torture.originals import is_original
from tests.torture.tables import StoredRow
from tests.torture.trees import Tree, is_checkpoint_or_fence, is_directory, listed, manifest_key
from tests.torture.values import Finding, Outcome, State

if TYPE_CHECKING:
    from tests.torture.world import World

Side = Literal["first", "second"]
NOTE = "~registry/mirror.json"


class NotAll(StorageError):
    """A run has told that one of the places has not got all: as an error, which the model understands."""


class WrongRead(Exception):
    """A reader was refused what one of the places has, or got other bytes."""


class Second(DiskObjects):
    """The second place, past the package.

    Attributes
    ----------
    write : str
        When inserts store there: ``both`` or ``later``.
    damaged : dict
        Of each place the keys of objects that were damaged, and are not known to be mended.
    before : frozenset of str
        What was in it when the operation under test began.
    may_waste : bool
        A collector was at work while something was copied, of which it may have what nobody needs.
    note : str
        The key of the note that it is the mirror.
    """

    def __init__(self, root: Any, project: str, write: str) -> None:
        super().__init__(root, project)
        self.write = write
        self.damaged: dict[Side, set[str]] = {"first": set(), "second": set()}
        self.before: frozenset[str] = frozenset()
        self.may_waste = False
        self.note = f"{project}/{NOTE}"

    def clear(self) -> None:
        super().clear()
        self.damaged = {"first": set(), "second": set()}
        self.before, self.may_waste = frozenset(), False


@dataclass(frozen=True, slots=True)
class Mirror:
    """Bring the second place up to date, and the first."""

    verify: bool = False
    writes_files: ClassVar[bool] = False
    mends: ClassVar[tuple[Side, ...]] = ("first", "second")

    def run(self, actor: Actor) -> None:
        report = datajoint_file.mirror.run(actor.connection, verify=self.verify, progress=False)
        if not report:
            raise NotAll(str(report))

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Repair:
    """``verify --repair`` of the main schema: what the first place has wrong comes from the second."""

    writes_files: ClassVar[bool] = False
    mends: ClassVar[tuple[Side, ...]] = ("first",)

    def run(self, actor: Actor) -> None:
        for name in ("Recording", "Backup"):
            report = datajoint_file.verify(actor.tables[name], repair=True, progress=False)
            if not report:
                raise NotAll(str(report))

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Move:
    """Exchange the places; others go on with the old ``datajoint.toml``."""

    writes_files: ClassVar[bool] = False
    mends: ClassVar[tuple[Side, ...]] = ("first", "second")

    def run(self, actor: Actor) -> None:
        certificate = datajoint_file.mirror.move(actor.surroundings.world.new_toml, actor.connection, progress=False)
        if not certificate.is_swapped:
            raise NotAll(str(certificate.report))

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Damage:
    """Spoil one object of a row in one place behind everybody's back, if the other place has it right."""

    key: Key
    side: Side
    how: Literal["flip", "delete", "truncate"] = "flip"
    which: int = 0
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> None:
        world: World = actor.surroundings.world
        sides: dict[Side, Any] = {"first": world.place.objects, "second": world.second}
        found = [one.values["data"] for one in world.raw.rows() if one.table == "Recording" and one.key == self.key]
        objects = sorted(key for value in found if value for key in world.objects_of(value))
        if not objects:
            return
        key = objects[self.which % len(objects)]
        ours, theirs = (sides[side].get(key) for side in ("first", "second"))
        if ours is None or ours != theirs:
            return
        assert world.second is not None
        world.second.damaged[self.side].add(key)
        if self.how == "delete":
            sides[self.side].delete([key])
        else:
            spoilt = bytes([ours[0] ^ 1]) + ours[1:] if self.how == "flip" and ours else ours[:-1] or b"?"
            sides[self.side].put(key, spoilt)

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Read:
    """Read all that rows name, wherever it is: bytes that are right in one of the places must come, and no others."""

    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> None:
        world: World = actor.surroundings.world
        for row in actor.tables["Recording"].to_dicts():
            for value in (row["data"], row["notes"]):
                if value is not None:
                    self._read(world, value)

    def _read(self, world: World, value: Any) -> None:
        if not is_directory(value.path):
            wanted = {"": (value, value.hash.removeprefix("sha256:"))}
        else:
            members = listed(world.manifest(manifest_key(value.path)))
            wanted = {name: (value / name.replace("%20", " "), digest) for name, (_, digest) in members.items()}
        for name, (one, digest) in wanted.items():
            try:
                content = one.read()
            except Exception as error:
                if str(error).count("injected fault") > 1:  # neither place was to be reached: it is refused, and told
                    raise
                raise WrongRead(f"{value.path}{name}: {type(error).__name__}: {error}") from error
            if hashlib.sha256(content).hexdigest() != digest:
                raise WrongRead(f"{value.path}{name}: other bytes")

    def effect(self, state: State) -> State:
        return state


def needed(world: World, rows: tuple[StoredRow, ...], state: State) -> dict[str, bytes]:
    """Return the objects that rows need, with their bytes."""
    found: dict[str, bytes] = {}
    for row in rows:
        for name, value in row.values.items():
            content = state[row.table, row.key][name]
            if value is None or content is None:
                continue
            key = world.subject.object_key(value, world.place.project)
            if isinstance(content, Tree):
                found[manifest_key(key)] = content.manifest
                found |= {f"{key}{quote(member)}": part for member, part in content.files.items()}
            elif not is_original(key):
                found[key] = content
    return found


def second_place(
    world: World, rows: tuple[StoredRow, ...], state: State, *, is_complete: bool = False
) -> Iterator[Finding]:
    """Yield what the second place has lost, or has wrong (I1): of what rows name, what it had and must have.

    *is_complete*: a run that was fine has seen to it. Else it must have what it had, and, where a row means that both
    places have it, all.
    """
    second = world.second
    if second is None:
        return
    is_moved = world.is_moved()
    if second.get(second.note) is None and not is_moved:
        yield "I8", "neither of the places says that it is the mirror: collectors may delete in each by itself"
    for key, content in needed(world, rows, state).items():
        found = second.get(key)
        must_have = is_complete or (second.write == "both" and not is_moved) or key in second.before
        if key in second.damaged["second"] and not is_complete:
            continue
        if found is None and must_have:
            yield "I1", f"a committed row, and the second place has lost its object {key}"
        elif found is not None and found != content:
            yield "I1", f"a committed row, and in the second place its object {key} has other bytes"


def waste(world: World, references: frozenset[str]) -> Iterator[Finding]:
    """Yield what the second place has yet that no row needs, after a collector has run past all periods (I3)."""
    if world.second is not None and not world.second.may_waste:
        for key in sorted(world.second_keys() - references):
            if not is_checkpoint_or_fence(key):
                yield "I3", f"{key} is still in the second place after the collector ran twice past the grace period"


def note_mended(world: World, operation: Operation, outcome: Outcome) -> None:
    """Take for mended what an operation says it has mended."""
    if world.second is not None and outcome.ending == "success" and isinstance(operation, Mirror | Repair | Move):
        for side in operation.mends if getattr(operation, "verify", True) else ():
            world.second.damaged[side].clear()


def brought(world: World) -> Iterator[Finding]:
    """Have both places be made alike, and yield if they are not: nothing is in the way (I7)."""
    if world.second is None:
        return
    try:
        Mirror(verify=True).run(world.collecting)
    except Exception as error:
        yield "I7", f"a run that nothing is in the way of ends with {type(error).__name__}: {error}"
        return
    world.second.damaged = {"first": set(), "second": set()}
