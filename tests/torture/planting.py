"""What planted bugs are made of: a change of the package, taken back afterwards, and a hunt.

Which there are is told in `planted`, `planted_rules` and `planted_trees`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.torture.singles import Singles
from tests.torture.values import CRASHES, Case, Cell, Kind, Violation
from tests.torture.world import World

Hunt = Callable[[World, int], list[Violation]]

HOUR = 3600
"""Seconds between two runs of the collector: longer than any transaction that a hunt has left open."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug: the change, where it is looked for, and over which database and store."""

    plant: Callable[[], AbstractContextManager[None]]
    hunt: Hunt
    database: str = "postgresql"
    store: str = "local"


@contextmanager
def changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = vars(owner)[name] if isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def scenes(*names: str, kinds: tuple[Kind, ...], tail: int = 0) -> Hunt:
    """Hunt in tier 1: these operations with these faults, at every step, until something is found.

    With *tail*: at so many steps before the end.
    """

    def hunt(world: World, seed: int) -> list[Violation]:
        singles = Singles(world, seed)
        for scene in names:
            if found := singles.rehearse(scene):
                return found
            for case in singles.cases(scene):
                is_late = not tail or case[2] > len(singles.traces[scene, case[1] in CRASHES]) - tail
                if case[1] in kinds and is_late and (found := singles.run(*case)):
                    return found
        return []

    return hunt


def problems_of(name: str, seed: int, problems: list[str]) -> list[Violation]:
    case = Case("P", Cell("file", "none", "local"), (name,), seed)
    return [Violation("planted", f"planted:{name}", case.name, problem, seed) for problem in problems]


def inserted(world: World) -> dict[str, Any]:
    """Insert one row, and return what it holds."""
    world.clear()
    world.user.tables["Recording"].insert1({"subject": 1, "session": 1, "data": ("a.dat", b"x" * 1000)})
    [row] = world.raw.rows()
    found: dict[str, Any] = row.values["data"]
    return found


def deleted(world: World, table: str = "Recording") -> None:
    (world.user.tables[table]() & "subject = 1").delete(prompt=False)


def is_gone(world: World, metadata: dict[str, Any]) -> bool:
    return world.place.objects.get(metadata["path"]) is None
