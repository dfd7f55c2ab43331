"""Tier 2: random schedules of many operations, several actors and several faults, from a seed.

Actors take turns by step numbers, not by chance: one stops at a step, others run to their end, and it goes on. So a
seed is all that is needed to see a failure again. A schedule that fails is shortened before it is reported.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from tests.torture import checks, places
from tests.torture.attempts import attempt, perform
from tests.torture.checks import Deed, Observed
from tests.torture.classes import violation_class
from tests.torture.operations import (
    Collect,
    Copy,
    Create,
    Delete,
    Insert,
    Key,
    Operation,
    Populate,
    Refused,
    Stage,
    Transaction,
    Undelete,
    Update,
)
from tests.torture.overheard import Overheard
from tests.torture.places import Damage, Mirror, Read, Repair
from tests.torture.subjects import GRACE_SECONDS
from tests.torture.surroundings import LASTING, Change, Surround
from tests.torture.trees import is_checkpoint_or_fence
from tests.torture.values import ANSWERS, INTERLEAVINGS, KINDS, Case, Fault, Finding, Kind, Outcome, State, Violation
from tests.torture.world import World

KEYS: tuple[Key, ...] = ((1, 1), (1, 2), (2, 1))
MOST_STEPS = 14
_NOT_DRAWN = ("interleave-copy", "interleave-revert", "interleave-read")
MOST_SHRINKING_RUNS = 80


@dataclass(frozen=True, slots=True)
class Move:
    """One operation of the user under test, what goes wrong in it, and what others do at that moment."""

    operation: Operation
    fault: Fault | None = None
    others: tuple[Operation, ...] = ()
    by_other: bool = False

    def __str__(self) -> str:
        who = "other" if self.by_other else "user"
        meanwhile = f", meanwhile {' and '.join(map(str, self.others))}" if self.others else ""
        return f"{who}: {self.operation}" + (f"; {self.fault}{meanwhile}" if self.fault else "")


def draw(
    case: Case,
    *,
    collects: bool,
    replaces: bool,
    lies: bool = False,
    undoes: bool = False,
    trees: bool = False,
    mirrors: bool = False,
    changes: Sequence[Change] = (),
    moves: int = 0,
) -> list[Move]:
    """Return the schedule of a case: ten to twenty moves, a third of them with a fault, and some of the surroundings.

    *changes* are those of the surroundings that can be; with *trees* some values are directories, and some links.
    """
    generator = case.randomness()
    able = {
        "collects": collects,
        "replaces": replaces,
        "lies": lies,
        "undoes": undoes,
        "trees": trees,
        "mirrors": mirrors,
    }
    dealer = _Dealer(generator, changes=changes, **able)
    return [dealer.move(f"m{index}") for index in range(moves or generator.randint(10, 20))]


class _Dealer:
    """Draws moves."""

    def __init__(
        self,
        generator: random.Random,
        *,
        collects: bool,
        replaces: bool,
        lies: bool,
        undoes: bool,
        trees: bool,
        mirrors: bool,
        changes: Sequence[Change],
    ) -> None:
        self._generator = generator
        self._collects = collects
        self._replaces = replaces
        self._undoes = undoes
        self._trees = trees
        self._mirrors = mirrors
        self._kinds = [kind for kind in KINDS if kind not in _NOT_DRAWN and (lies or kind not in ANSWERS)]
        self._changes = changes
        self._there: list[Change] = []

    def move(self, token: str) -> Move:
        change = self._change()
        return Move(change, by_other=True) if change else self._usual_move(token)

    def _change(self) -> Surround | None:
        """Draw a change of the surroundings, or none; what is so stays for three moves or so."""
        if self._there and self._generator.random() < 0.3:
            return Surround(self._there.pop(self._generator.randrange(len(self._there))), ends=True)
        if not self._changes or self._generator.random() > 0.08:
            return None
        what = self._generator.choice(self._changes)
        if what in LASTING and what not in self._there:
            self._there.append(what)
        return Surround(what)

    def _usual_move(self, token: str) -> Move:
        chance = self._generator.random()
        operation = self.operation(token)
        if chance < 0.15:
            return Move(operation, by_other=True)
        if chance < 0.55 or isinstance(operation, Undelete | Damage):  # of which nobody could say how far it came
            return Move(operation)
        kind: Kind = self._generator.choice(self._kinds)
        others = (self.operation(f"{token}o"),) if kind in INTERLEAVINGS else ()
        if kind.startswith("interleave-gc"):
            others = (self._collect(),) if self._collects else others
        return Move(operation, Fault(kind, self._generator.randint(1, MOST_STEPS)), others)

    def operation(self, token: str) -> Operation:
        generator, key = self._generator, self._generator.choice(KEYS)
        chance = generator.random() if self._trees else 1.0
        token = f"tree-{token}" if chance < 0.3 else f"link-{token}" if chance < 0.4 else token
        choices: list[tuple[int, Callable[[], Operation]]] = [
            (5, lambda: Insert(token, (key,))),
            (2, lambda: Insert(token, KEYS[:2], attributes=("data", "notes"))),
            (2, lambda: Insert(token, KEYS, skip=True)),
            (2 * self._replaces, lambda: Insert(token, (key,), replace=True)),
            (3, lambda: Update(token, key, generator.choice(("data", "notes")))),
            (1, lambda: Copy(key, "Backup")),
            (1, lambda: Copy(key, "Archive")),
            (3, lambda: Delete(key)),
            (2 * self._undoes, lambda: Undelete(key)),
            (2, lambda: self._transaction(token)),
            (1, lambda: Populate(token, key, "Spectrum")),
            (1, lambda: Populate(token, key, "Summary")),
            (2, lambda: Stage(token, key)),
            (self._trees, lambda: Create(f"tree-{token}", key)),
            (3 * self._collects, self._collect),
            (3 * self._mirrors, lambda: Mirror(verify=generator.random() < 0.6)),
            (1 * self._mirrors, Repair),
            (2 * self._mirrors, Read),
            (4 * self._mirrors, lambda: self._damage(key)),
        ]
        [choice] = generator.choices([choice for _, choice in choices], [weight for weight, _ in choices])
        return choice()

    def _transaction(self, token: str) -> Operation:
        first, second = self._generator.sample(KEYS, 2)
        inserts = (Insert(f"{token}a", (first,)), Insert(f"{token}b", (second,)))
        return Transaction(inserts, rolls_back=self._generator.random() < 0.4)

    def _damage(self, key: Key) -> Operation:
        choice = self._generator.choice
        return Damage(key, choice(("first", "second")), choice(("flip", "delete", "truncate")), choice(range(4)))

    def _collect(self) -> Operation:
        return Collect(int(GRACE_SECONDS * self._generator.choice((0, 0, 0.3, 0.9, 2.0))))


class Schedules:
    """Tier 2 over one cell.

    Parameters
    ----------
    world : World
        The cell, made ready.
    seed : int
        Where all schedules come from.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed

    def run(self, number: int) -> list[Violation]:
        """Run the schedule of that number; if it fails, shorten it and return what it breaks."""
        case = Case("T2", self.world.cell, (str(number),), self.seed)
        subject = self.world.subject
        replaces = subject.can_replace(self.world.cell.database)
        able = {"collects": subject.collects, "lies": self.world.lies, "undoes": subject.journals}
        able |= {"trees": subject.journals, "mirrors": self.world.second is not None}
        changes = self.world.surroundings.possible() if subject.journals and not self.world.second else ()
        moves = draw(case, replaces=replaces, changes=changes, **able)
        violations = self.play(case, moves)
        if not violations:
            return []
        return self.play(case, self._shrunk(case, moves, violations[0])) or violations

    def play(self, case: Case, moves: list[Move]) -> list[Violation]:
        """Play *moves* and return what they break."""
        game = Game(self.world)
        with Overheard() as overheard:
            findings = list(game.play(moves))
        findings += checks.secrecy(self.world, [*overheard.texts, *game.texts])
        return [self._violation(case, game, *finding) for finding in findings]

    def _violation(self, case: Case, game: Game, invariant: str, message: str) -> Violation:
        operation, outcome = game.deeds[-1] if game.deeds else (Collect(), Outcome("success"))
        kind = game.moves[-1].fault.kind if game.moves and game.moves[-1].fault else "none"
        name = violation_class(invariant, message, operation, kind, outcome)
        return Violation(invariant, name, case.name, message, self.seed, tuple(game.log))

    def _shrunk(self, case: Case, moves: list[Move], target: Violation) -> list[Move]:
        """Leave out what is not needed for a violation of the same invariant."""
        for candidate in islice(_smaller(moves), MOST_SHRINKING_RUNS):
            if any(found.invariant == target.invariant for found in self.play(case, candidate)):
                return self._shrunk(case, candidate, target)
        return moves


def _smaller(moves: list[Move]) -> Iterator[list[Move]]:
    """Yield schedules that are a little simpler: halves first, then one move or fault less."""
    half = len(moves) // 2
    if half:
        yield moves[half:]
        yield moves[:half]
    for index, move in enumerate(moves):
        yield moves[:index] + moves[index + 1 :]
        if move.fault is not None:
            yield [*moves[:index], replace(move, fault=None, others=()), *moves[index + 1 :]]


@dataclass
class Game:
    """One schedule being played, with the model beside it.

    Attributes
    ----------
    log : list of str
        What was done, and how it ended.
    """

    world: World
    state: State = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    clock: int = 0
    free_since: dict[str, int] = field(default_factory=dict)
    once: set[str] = field(default_factory=set)
    must_refuse: bool = False

    def play(self, moves: list[Move]) -> Iterator[Finding]:
        """Play all moves and check after each; stop at the first that breaks something."""
        self.world.clear()
        before = checks.observe(self.world)
        for move in moves:
            findings = list(self._play(move, before))
            if findings:
                yield from findings
                return
            before = checks.observe(self.world)
        yield from self.world.surroundings.clear()
        before = checks.observe(self.world)
        yield from checks.integrity(self.world, before, self.state)
        yield from checks.leftovers(self.world, before, Observed(()), self.once)
        yield from checks.collection(self.world, self.state, always=True)

    def _play(self, move: Move, before: Observed) -> Iterator[Finding]:
        self.moves.append(move)
        self.deeds = []
        if self.world.second is not None:
            self.world.second.before = self.world.second_keys()
        self.must_refuse = bool(self.world.surroundings.refused)
        is_faulty = move.fault is not None
        outcome = self._performed(move)
        self.deeds.append((move.operation, outcome))
        self.log.append(f"{move}  -> {outcome}" + (" [fired]" if outcome.fired else ""))
        if outcome.error is not None:
            self.texts.append("".join(traceback.format_exception(outcome.error)))
        if outcome.ending == "hang":
            yield "I11", str(outcome.error)
        mine = (move.operation, outcome)
        yield from checks.silence(self.world, mine, [mine] if move.by_other else self.deeds[:-1])
        if is_faulty or outcome.ending != "success":
            self.world.settle()
        yield from self._judged(move, outcome, before)

    def _performed(self, move: Move) -> Outcome:
        if move.by_other:
            return perform(self.world.other, move.operation)
        return attempt(self.world, move.operation, move.fault, lambda: self._others(move.others))

    def _others(self, operations: tuple[Operation, ...]) -> None:
        for operation in operations:
            outcome = perform(self.world.other, operation)
            self.log.append(f"  meanwhile other: {operation}  -> {outcome}")
            self.deeds.append((operation, outcome))
            if self.world.second is not None and isinstance(operation, Collect):
                self.world.second.may_waste = True  # what is copied while a collector deletes it
            self.once |= checks.observe(self.world).references  # the move that waits may delete it again

    def _judged(self, move: Move, outcome: Outcome, before: Observed) -> Iterator[Finding]:
        states = checks.allowed_states(self.state, self.deeds)
        observed = checks.observe(self.world)
        state = checks.matching(self.world, observed, states)
        if state is None:
            rows = ", ".join(f"{row.table}{row.key}" for row in observed.rows) or "no rows"
            yield "I6", f"{move}: the caller was told {outcome}; found {rows}, which no order of these deeds gives"
            return
        if self._is_refused_for_nothing(move, outcome):
            yield "I7", f"{move}: {outcome}, and nothing was in the way"
        yield from checks.answer(self.world, outcome, was_done=state != self.state) if not move.others else ()
        self.state = state
        self.once |= observed.references
        yield from self._surroundings_findings(outcome, observed)
        for operation, end in self.deeds:
            places.note_mended(self.world, operation, end)
        yield from places.second_place(self.world, observed.rows, state)
        for key in sorted(observed.references - observed.keys - self.world.damaged):
            yield "I1", f"{move}: a committed row, and its object {key} is gone"
        yield from checks.wholeness(self.world, observed)
        yield from self._collected_early(before, observed)
        yield from checks.wrongly_condemned(self.world, observed)
        yield from checks.wrongly_noted(self.world, observed, has_reverted=self._has_undone())

    def _surroundings_findings(self, outcome: Outcome, observed: Observed) -> Iterator[Finding]:
        if isinstance(self.deeds[-1][0], Surround):
            yield from outcome.result or ()
        if self.must_refuse and any(isinstance(deed, Collect) and end.ending == "success" for deed, end in self.deeds):
            yield "I8", f"the collector has not refused, and there is {sorted(self.world.surroundings.there)}"
        yield from self.world.surroundings.findings(observed.keys, observed.paths)

    def _has_undone(self) -> bool:
        """Tell whether a row may have again what the history says that it has lost."""
        played = [operation for move in self.moves for operation in (move.operation, *move.others)]
        return any(isinstance(operation, Undelete) for operation in played)

    def _is_refused_for_nothing(self, move: Move, outcome: Outcome) -> bool:
        if outcome.ending == "success" or move.fault is not None:
            return False
        operation = move.operation
        if isinstance(operation, Collect) and self.must_refuse:
            return False
        if isinstance(operation, Insert) and operation.replace:
            return False  # MySQL's REPLACE deletes first, and what refers to the row forbids it
        try:
            operation.effect(self.state)
        except Refused:
            return False
        return True

    def _collected_early(self, before: Observed, observed: Observed) -> Iterator[Finding]:
        """Keep account of how long each object has been free, and yield those that were collected too early."""
        began = self.clock  # what is stored by a move is free from then on, whatever time passes until it is over
        self.clock += sum(operation.seconds for operation, _ in self.deeds if isinstance(operation, Collect))
        for key in sorted(key for key in before.keys - observed.keys if not is_checkpoint_or_fence(key)):
            since = self.free_since.pop(key, None)
            is_collected = any(isinstance(operation, Collect) for operation, _ in self.deeds)
            is_known = since is not None and self.world.subject.waits
            if is_collected and is_known and self.clock - (since or 0) < GRACE_SECONDS:
                yield "I3", f"{key} was removed {self.clock - (since or 0)} s after it became free"
        for key in observed.free:
            self.free_since.setdefault(key, self.clock if key in before.keys else began)
        for key in observed.references:
            self.free_since.pop(key, None)
