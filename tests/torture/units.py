"""Pieces of a run that worker processes take one after the other, and what they report.

A worker keeps the worlds it has made; how pieces are shared out and shown is the command's business.
"""

from __future__ import annotations

import atexit
import faulthandler
import logging
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.servers import Servers
from tests.torture import baseline, planted, power
from tests.torture.damage import Damages
from tests.torture.kills import Kills
from tests.torture.migrations import Migrations
from tests.torture.schedules import Schedules
from tests.torture.singles import Singles
from tests.torture.values import Case, Cell, Violation
from tests.torture.world import World, close_all, world_of

STUCK_SECONDS = 180
SCHEDULES_A_UNIT, KILLS_A_UNIT, DAMAGES_A_UNIT, CUTS_A_UNIT, MIGRATIONS_A_UNIT = 25, 20, 250, 25, 25


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a run: a tier in a cell, and which part of it: a scene, a range of numbers, or a planted bug."""

    tier: str
    cell: Cell
    part: str = ""
    numbers: tuple[int, int] = (0, 0)
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a unit has found."""

    unit: Unit
    cases: int
    violations: tuple[Violation, ...]
    seconds: float
    error: str = ""


class Worker:
    """One process of a run, with servers of its own: what others declare and drop would make a collector refuse.

    Parameters
    ----------
    directory : Path
        Where the run keeps its servers.
    seed : int
        Of the whole run.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self._directory = directory / str(os.getpid())
        self._servers = Servers(self._directory, os.getpid())
        self._seed = seed
        self._worlds: dict[Cell, World] = {}
        self._singles: dict[Cell, Singles] = {}
        atexit.register(self.close)

    def run(self, unit: Unit) -> Report:
        """Run a unit; what goes wrong with the harness itself is reported as an error."""
        began, found, cases = time.monotonic(), list[Violation](), 0
        error = ""
        try:
            for violations in _TIERS[unit.tier](self, unit):
                faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
                cases += 1
                found += violations
        except Exception:
            error = traceback.format_exc()
            self._begin_anew()
        finally:
            faulthandler.cancel_dump_traceback_later()
        return Report(unit, cases, tuple(found), time.monotonic() - began, error)

    def replay(self, case: Case) -> list[Violation]:
        """Run one case again."""
        world = self.world(case.cell)
        if case.tier == "T1":
            scene, kind, step = case.what
            singles = self.singles(case.cell)
            rehearsed = singles.rehearse(scene)
            return rehearsed + singles.run(scene, None if kind == "none" else kind, int(step))  # type: ignore[arg-type]
        number = int(case.what[-1])
        if case.tier == "T5":
            damages = Damages(world, self._seed)
            damages.prepare()
            return damages.run(number)
        if case.tier == "T6":
            migrations = Migrations(world, self._seed)
            return migrations.late(number) if case.what[0] == "late" else migrations.run(number)
        return (Schedules if case.tier == "T2" else Kills)(world, self._seed).run(number)

    def world(self, cell: Cell) -> World:
        """Return the world of a cell, making it at the first call."""
        return world_of(cell, self._servers, self._worlds)

    def singles(self, cell: Cell) -> Singles:
        """Return tier 1 of a cell; time that passed in other worlds would pass in it as well."""
        world = self.world(cell)
        if cell not in self._singles:
            self._singles[cell] = Singles(world, self._seed)
        return self._singles[cell]

    def close(self) -> None:
        """Remove what the worlds have made, and stop the servers."""
        close_all(self._worlds)
        self._servers.stop_all()

    def _begin_anew(self) -> None:
        """Start other servers for the next unit: one of these may have died."""
        while self._worlds:
            with suppress(Exception):
                self._worlds.popitem()[1].close()
        self._singles.clear()
        self._directory = self._directory.with_name(f"{self._directory.name}-again")
        self._servers.stop_all()
        self._servers = Servers(self._directory, os.getpid())

    def first(self, unit: Unit) -> Iterator[list[Violation]]:
        """Tier 1: one scene with every fault, or a sample of them."""
        singles = self.singles(unit.cell)
        if unit.part not in singles.scenes():
            return
        yield singles.rehearse(unit.part)
        cases = singles.sample(unit.part, unit.sample) if unit.sample else list(singles.cases(unit.part))
        for case in cases:
            yield singles.run(*case)

    def second(self, unit: Unit) -> Iterator[list[Violation]]:
        """Tier 2: random schedules."""
        schedules = Schedules(self.world(unit.cell), self._seed)
        yield from (schedules.run(number) for number in range(*unit.numbers))

    def third(self, unit: Unit) -> Iterator[list[Violation]]:
        """Tier 3: real kills."""
        kills = Kills(self.world(unit.cell), self._seed)
        yield from (kills.run(number) for number in range(*unit.numbers))

    def fourth(self, unit: Unit) -> Iterator[list[Violation]]:
        """Tier 4: power cuts."""
        for number in range(*unit.numbers):
            case = Case("T4", unit.cell, (str(number),), self._seed)
            problems = power.check(hash((self._seed, number)), 1)
            yield [Violation("I1", "I1:power", case.name, problem, self._seed) for problem in problems]

    def fifth(self, unit: Unit) -> Iterator[list[Violation]]:
        """Tier 5: damage in the store."""
        damages = Damages(self.world(unit.cell), self._seed)
        damages.prepare()
        yield from (damages.run(number) for number in range(*unit.numbers))

    def sixth(self, unit: Unit) -> Iterator[list[Violation]]:
        """Tier 6: migrations beside others."""
        migrations = Migrations(self.world(unit.cell), self._seed)
        yield from (migrations.run(number) for number in range(*unit.numbers))

    def base(self, unit: Unit) -> Iterator[list[Violation]]:
        """Run the baseline: what DataJoint's own attribute type breaks."""
        yield baseline.run(self._servers, unit.cell, self._seed)

    def bug(self, unit: Unit) -> Iterator[list[Violation]]:
        """Plant a bug and look for it; what is found proves that the harness sees it."""
        yield planted.hunt(self._servers, unit.part, self.world, self._seed)


_TIERS: dict[str, Callable[[Worker, Unit], Iterator[list[Violation]]]] = {
    "1": Worker.first,
    "2": Worker.second,
    "3": Worker.third,
    "4": Worker.fourth,
    "5": Worker.fifth,
    "6": Worker.sixth,
    "baseline": Worker.base,
    "planted": Worker.bug,
}

_workers: list[Worker] = []


def begin(directory: Path, seed: int) -> None:
    """Make this process a worker."""
    warnings.simplefilter("ignore")
    logging.getLogger("datajoint").handlers.clear()
    faulthandler.enable()
    _workers[:] = [Worker(directory, seed)]


def run(unit: Unit) -> Report:
    """Run a unit in a worker process."""
    return _workers[0].run(unit)


def worker() -> Worker:
    """Return this process's worker."""
    return _workers[0]
