"""Tier 6: an attribute of paths becomes one of files while others write, delete, undo and collect at each of its steps.

Migrations are forgotten at the end of each schedule. Kills of a migration alone are tests of their own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import datajoint as dj

import datajoint_file
from tests.torture import checks
from tests.torture.attempts import attempt, perform
from tests.torture.bare import as_json
from tests.torture.operations import Actor, Collect, Operation
from tests.torture.overheard import Overheard
from tests.torture.subjects import GRACE_SECONDS
from tests.torture.values import Case, Fault, Finding, State, Violation
from tests.torture.world import World

IDS = (1, 2, 3, 4)
MOVES = 9
MOST_STEPS = 60
TABLE = "old_recording"
DEFINITION = "id : int32\n---\nraw : varchar(300)"
STEPS = ("run", "check", "finish", "back")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the migration."""

    name: str
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> Any:
        return getattr(datajoint_file.Migration(table_of(actor), "raw", progress=False), self.name)()

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Write:
    """A row inserted, or its value changed, as a program does that has just been started: by a path, or as a file."""

    key: int
    path: Path
    writes_files: ClassVar[bool] = True

    def run(self, actor: Actor) -> bool:
        """Return whether it was written as a file."""
        table = table_of(actor)
        is_file = "raw__before" in table.heading.names
        row = {"id": self.key, "raw": self.path if is_file else str(self.path)}
        table.update1(row) if len(table & {"id": self.key}) else table.insert1(row)
        return is_file

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Remove:
    """A row deleted."""

    key: int
    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> None:
        (table_of(actor) & {"id": self.key}).delete(prompt=False)

    def effect(self, state: State) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Undo:
    """All rows restored that were deleted."""

    writes_files: ClassVar[bool] = False

    def run(self, actor: Actor) -> None:
        datajoint_file.undelete(table_of(actor), since=timedelta(days=3650))

    def effect(self, state: State) -> State:
        return state


def table_of(actor: Actor) -> Any:
    schema = actor.tables["Recording"].database
    return dj.FreeTable(actor.connection, actor.connection.adapter.make_full_table_name(schema, TABLE))


class Migrations:
    """Tier 6 over one cell.

    Parameters
    ----------
    world : World
        The cell, made ready.
    seed : int
        Where all schedules come from.

    Attributes
    ----------
    log : list of str
        What was done in the schedule that was played last, and how it ended.
    old, now : dict
        By row: the path that the old attribute must have, and the bytes that were written last, in whichever form.
    gone : dict
        The same two of rows that were deleted.
    own : set of int
        Rows whose file was written as a file: their old value is none, or older.
    was_swapped : bool
        `finish` has exchanged the names, in this schedule.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.seed = world, seed
        self._begin()

    def _begin(self) -> None:
        self.log: list[str] = []
        self.old: dict[int, Path | None] = {}
        self.now: dict[int, bytes | None] = {}
        self.gone: dict[int, tuple[Path | None, bytes | None]] = {}
        self.own: set[int] = set()
        self.was_swapped = False

    def run(self, number: int) -> list[Violation]:
        """Play the schedule of that number, and return what it breaks."""
        case = Case("T6", self.world.cell, (str(number),), self.seed)
        return self._violations(case, self._played(case.randomness()))

    def _violations(self, case: Case, moves: Iterator[Iterator[Finding]]) -> list[Violation]:
        self._begin()
        self.world.clear()
        self._declare()
        try:
            with Overheard():
                findings = next(filter(None, map(list, moves)), [])
        finally:
            self._drop()
        return [Violation(one, f"{one}:migrate", case.name, text, self.seed, tuple(self.log)) for one, text in findings]

    def late(self, step: int) -> list[Violation]:
        """Let another program write at a step of ``finish``, or (0) before it, and return what that breaks."""
        case = Case("T6", self.world.cell, ("late", str(step)), self.seed)
        return self._violations(case, self._written_late(case.randomness(), step))

    def _written_late(self, generator: random.Random, step: int) -> Iterator[Iterator[Finding]]:
        for key in IDS:
            yield self._by_other(self._write(generator, key))
        for name in ("run", "check"):
            yield self._step(name, must_be_fine=True)
        late = self._write(generator, IDS[0])
        if not step:
            yield self._by_other(late)
        yield self._step("finish", Fault("interleave-writer", step), [late] if step else [], must_be_fine=True)

    def _declare(self) -> None:
        world, schema = self.world, self.world.schema_names[0]
        if not world.database.is_postgresql:
            world.other.connection.query("SET SESSION lock_wait_timeout = 1")
        self.name = world.database.quoted(schema, TABLE)
        self._drop()
        world.declare_in_main(type("OldRecording", (dj.Manual,), {"definition": DEFINITION}))
        self.place = world.place.directory / "old"
        self.place.mkdir(exist_ok=True)

    def _drop(self) -> None:
        self.world.settle()
        self.world.database.run(f"DROP TABLE IF EXISTS {self.name}")

    def _played(self, generator: random.Random) -> Iterator[Iterator[Finding]]:
        """Give what each move of a schedule has broken."""
        for key in IDS[:3]:
            yield self._by_other(self._write(generator, key))
        yield self._step("run", must_be_fine=True)
        for _ in range(MOVES):
            if generator.random() < 0.3:
                yield self._by_other(self._others(generator))
                continue
            others = [self._others(generator) for _ in range(generator.randint(0, 2))]
            fault = Fault("interleave-writer", generator.randint(1, MOST_STEPS)) if others else None
            yield self._step(generator.choices(STEPS, (3, 3, 5, 1))[0], fault, others)
        for name in ("run", "check", "finish"):
            yield self._step(name, must_be_fine=True)
        for _ in range(3):
            yield self._by_other(Collect(2 * GRACE_SECONDS))
        yield self._step("forget", must_be_fine=True)

    def _others(self, generator: random.Random) -> Operation:
        key = generator.choice(IDS)
        choices: list[Operation] = [
            self._write(generator, key),
            Remove(key),
            Undo(),
            Collect(generator.choice((0, 2 * GRACE_SECONDS))),
        ]
        return generator.choices(choices, (5, 2, 1, 2))[0]

    def _write(self, generator: random.Random, key: int) -> Write:
        path = self.place / f"{generator.getrandbits(64):016x}.dat"
        path.write_bytes(generator.randbytes(generator.randint(1, 2000)))
        return Write(key, path)

    def _step(
        self, name: str, fault: Fault | None = None, others: Sequence[Operation] = (), *, must_be_fine: bool = False
    ) -> Iterator[Finding]:
        loud: list[Finding] = []

        def act() -> None:
            for other in others:
                loud.extend(self._done_by_other(other))

        was_swapped = self._stage() == "swapped"
        outcome = attempt(self.world, Step(name), fault, act)
        self.log.append(f"user: {name}; {fault} -> {outcome} {outcome.result}{' [fired]' if outcome.fired else ''}")
        yield from loud
        yield from checks.silence(self.world, (Step(name), outcome), [])
        if outcome.ending == "hang":
            yield "I11", str(outcome.error)
        if must_be_fine and not outcome.result:
            yield "I7", f"{name}: {outcome} {outcome.result}, and nothing was in the way"
        if was_swapped and name == "back":
            self.now = {key: path.read_bytes() if path else None for key, path in self.old.items()}
            self.now |= dict.fromkeys(self.own)
        yield from self._wrong()

    def _by_other(self, operation: Operation) -> Iterator[Finding]:
        yield from self._done_by_other(operation)
        yield from self._wrong()

    def _done_by_other(self, operation: Operation) -> Iterator[Finding]:
        outcome = perform(self.world.other, operation)
        self.log.append(f"  other: {operation} -> {outcome}")
        yield from checks.silence(self.world, (operation, outcome), [(operation, outcome)])
        if outcome.ending != "success":
            return
        if isinstance(operation, Write):
            key, is_file = operation.key, bool(outcome.result)
            self.now[key] = operation.path.read_bytes()
            self.old[key] = self.old.get(key) if is_file else operation.path
            (self.own.add if is_file else self.own.discard)(key)
        elif isinstance(operation, Remove) and operation.key in self.old:
            self.gone[operation.key] = (self.old.pop(operation.key), self.now.pop(operation.key))
        elif isinstance(operation, Undo):
            for key in {key for key, *_ in self._rows()} - self.old.keys():
                self.old[key], self.now[key] = self.gone[key]

    def _columns(self) -> list[str]:
        world = self.world
        return [name.strip('`"') for name in world.database.columns(world.schema_names[0])[TABLE]]

    def _stage(self) -> str:
        names = self._columns()
        if "raw__before" in names:
            return "swapped"
        return "beside" if "raw__file" in names else "alone"

    def _rows(self) -> list[tuple[int, str | None, Any]]:
        """Return the rows: id, old value, file."""
        names = self._columns()
        is_over = self._stage() == "alone" and self.was_swapped
        self.was_swapped |= "raw__before" in names
        old = "raw__before" if "raw__before" in names else "NULL" if is_over else "raw"
        new = "raw" if "raw__before" in names or is_over else "raw__file" if "raw__file" in names else "NULL"
        return [
            (key, path, as_json(value))
            for key, path, value in self.world.database.run(f"SELECT id, {old}, {new} FROM {self.name}")
        ]

    def _wrong(self) -> Iterator[Finding]:
        """Yield what rows have lost, or hold that nobody has put there."""
        world, rows, stage = self.world, self._rows(), self._stage()
        if {key for key, *_ in rows} != self.old.keys():
            yield "I6", f"found the rows {sorted(key for key, *_ in rows)}, and there must be {sorted(self.old)}"
            return
        has_name = stage == "swapped" or (stage == "alone" and self.was_swapped)
        for key, path, value in rows:
            if path != (str(self.old[key]) if self.old[key] else None) and not (stage == "alone" and has_name):
                yield "I2", f"{key}: the old value is {path}, and was {self.old[key]}"
            content = None if value is None else world.place.objects.get(value["path"])
            if value is not None and (content is None or not world.subject.describes(value, content)):
                yield "I1", f"{key}: the object {value['path']} is gone, or has other bytes than its row says"
            elif has_name and self.now[key] is not None and content != self.now[key]:
                yield "I1", f"{key}: its file ({value and value['path']}) has not the bytes that were written last"
