"""A fair sample of the harness in every test run; all of it is ``make torture``.

Each scene of tier 1 in each cell meets a few faults, chosen by a fixed seed as different in kind as can be. The harness
itself is tried on planted bugs, and on the known faults of DataJoint's own attribute type.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.projects import in_turn
from tests.servers import Servers
from tests.torture import baseline, command, planted, power
from tests.torture.damage import Damages
from tests.torture.kills import Kills
from tests.torture.migrations import Migrations
from tests.torture.scenes import SCENES
from tests.torture.schedules import Schedules
from tests.torture.singles import Singles
from tests.torture.values import Case, Cell, Violation
from tests.torture.world import World, close_all, world_of

SEED = 20261122
CASES_A_SCENE = {"local": 7, "s3": 3}
SCHEDULES, KILLS, DAMAGES, CUTS = {"local": 3, "s3": 1}, 2, 60, 8
MIGRATIONS = {"local": 3, "s3": 1}

CELLS = [
    Cell("file", database, store) for database, store in itertools.product(("mysql", "postgresql"), ("local", "s3"))
]

DIAGONALS = [[CELLS[0], CELLS[3]], [CELLS[1], CELLS[2]]]
"""Each has both databases and both stores."""

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def shown(violations: list[Violation]) -> str:
    return "\n".join(map(str, violations))


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers that nobody else uses: the collector reads all schemas, and other tests drop theirs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="djf-torture-", ignore_cleanup_errors=True) as directory:
        made = Servers(Path(directory), os.getpid())
        yield made
        made.stop_all()


@pytest.fixture(scope="module")
def worlds(servers: Servers) -> Iterator[dict[Cell, World]]:
    made: dict[Cell, World] = {}
    yield made
    close_all(made)


@pytest.fixture(params=CELLS, ids=str, scope="module")
def world(request: pytest.FixtureRequest, servers: Servers, worlds: dict[Cell, World]) -> World:
    return world_of(request.param, servers, worlds)


@pytest.fixture(scope="module")
def singles(world: World) -> Singles:
    return Singles(world, SEED)


@pytest.mark.parametrize(("world", "scene"), in_turn(SCENES, DIAGONALS), indirect=["world"], ids=str)
def test_one_fault_breaks_no_invariant(singles: Singles, scene: str) -> None:
    if scene not in singles.scenes():
        return
    violations = singles.rehearse(scene)
    for case in singles.sample(scene, CASES_A_SCENE[singles.world.cell.store]):
        violations += singles.run(*case)
    assert not violations, shown(violations)


PLACES = [
    *((("mysql", "local+both"), scene) for scene in ("insert1", "tree-insert1", "mirror-mend", "mirror-repair")),
    *((("postgresql", "local+later"), scene) for scene in ("gc-purge", "mirror-fill", "mirror-move")),
]
"""Scenes of projects in two places; ``make torture`` plays all."""


@pytest.mark.parametrize(("where", "scene"), PLACES, ids=lambda one: "-".join(one) if isinstance(one, tuple) else one)
def test_one_fault_breaks_no_invariant_of_two_places(
    where: tuple[str, str], scene: str, servers: Servers, worlds: dict[Cell, World]
) -> None:
    singles = Singles(world_of(Cell("file", *where), servers, worlds), SEED)
    violations = singles.rehearse(scene)
    for case in singles.sample(scene, 2):
        violations += singles.run(*case)
    assert not violations, shown(violations)


def test_random_schedules_break_no_invariant(world: World) -> None:
    schedules = Schedules(world, SEED)
    violations = [found for number in range(SCHEDULES[world.cell.store]) for found in schedules.run(number)]
    assert not violations, shown(violations)


def test_migrations_beside_others_break_no_invariant(world: World) -> None:
    migrations = Migrations(world, SEED)
    violations = [found for number in range(MIGRATIONS[world.cell.store]) for found in migrations.run(number)]
    assert not violations, shown(violations)


def test_killed_processes_break_no_invariant(world: World) -> None:
    kills = Kills(world, SEED)
    violations = [found for number in range(KILLS) for found in kills.run(number)]
    assert not violations, shown(violations)


def test_damage_in_the_store_is_noticed_by_every_reader(world: World) -> None:
    damages = Damages(world, SEED)
    damages.prepare()
    violations = [found for number in range(DAMAGES) for found in damages.run(number)]
    assert not violations, shown(violations)


def test_power_cuts_lose_no_byte_of_a_durable_row() -> None:
    assert not power.check(SEED, CUTS)


SWIFT = [
    "autocommit insert",
    "adopt without digest check",
    "intent after upload",
    "intent delete outside the transaction",
    "no fencing count",
    "no digest check on read",
    "no directory fsync",
    "no common flush",
    "names before bytes",
    "downloads named before bytes",
    "fixed temp name",
    "rename instead of link",
    "path taken from row unchecked",
    "skip second look",
    "history not written by delete",
    "open transactions ignored",
    "entries of one schema only",
    "unexpired entries ignored",
    "shares taken for uploads",
    "judge before check",
    "gone schema taken for dropped",
    "commit believed without its row",
    "older dump believed",
    "grace from client clock",
    "retention ignored",
    "collector takes a link for its own",
    "claim without a look at the object",
    "adopted unread",
    "source hashed for each leftover",
    "hidden transactions not missed",
    "nested projects accepted",
    "mark of another project accepted",
    "conflict told to one side",
    "stored, and told as failed",
    "member after manifest",
    "collector takes members for unknown objects",
    "members deleted before their manifest",
    "resumed without comparing",
    "rewritten file keeps its old digest",
    "mirror copies unverified",
    "fallback without verification",
    "mends before the other is read",
    "row before its mirror",
    "collector forgets the mirror",
    "move swaps unread",
    "finish without a look for late rows",
    "what was changed is taken for moved",
]
"""Planted bugs that are found within a second or two; ``make torture PLANTED=1`` plants all.

Whether the harness can see is tried with every other one; the rest is for ``make release``.
"""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.release] * (number % 2)) for number, name in enumerate(SWIFT)]
)
def test_planted_bug_is_found_and_only_while_it_is_planted(
    name: str, servers: Servers, worlds: dict[Cell, World]
) -> None:
    bug = planted.BUGS[name]
    world = world_of(Cell("file", bug.database, bug.store), servers, worlds)
    assert planted.hunt(servers, name, lambda cell: world, SEED), "the harness is broken: the planted bug was not found"
    violations = planted.control(world, name, SEED)
    assert not violations, shown(violations)


def test_known_faults_of_the_other_attribute_type_are_found(servers: Servers) -> None:
    found = baseline.run(servers, Cell("object", "postgresql", "local"), SEED, leave_out=("V3",))
    assert {violation.kind for violation in found} >= {*baseline.REQUIRED} - {"V3"}


def test_a_case_is_named_so_that_it_can_be_run_again() -> None:
    case = Case("T1", CELLS[0], ("insert1", "drop-reply", "7"), 3)
    assert Case.parse(case.name, 3) == case
    assert case.command == "make torture SEED=3 CASE=T1/file/mysql/local/insert1/drop-reply/7"


def test_randomness_of_a_case_is_the_same_in_every_process() -> None:
    generator: Any = Case("T2", CELLS[0], ("1",), 3).randomness()
    assert [generator.randrange(1000) for _ in range(3)] == [111, 546, 981]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--number", "0"),
        ("--number", "-5"),
        ("--number", "x"),
        ("--processes", "0"),
        ("--tier", "7"),
        ("--databases", "oracle"),
        ("--stores", "floppy"),
        ("--scenes", "x"),
        ("--case", "x"),
        ("--json", "/nowhere/x.json"),
    ],
)
def test_what_is_given_is_checked_before_a_server_is_started(
    arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2
    assert arguments[1] in capsys.readouterr().err
