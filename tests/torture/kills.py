"""Tier 3: real ``kill -9`` at random moments, in several processes at work at once. The code under test knows nothing.

Each worker has keys of its own, so that what it was told can be compared with what is there; the collector runs beside.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import NoReturn

from tests.torture import checks
from tests.torture.attempts import HANG_SECONDS, is_refusal, perform
from tests.torture.operations import Actor, Collect, Copy, Create, Delete, Insert, Operation, Populate, Stage, Update
from tests.torture.subjects import GRACE_SECONDS
from tests.torture.values import Case, Finding, Outcome, State, Violation
from tests.torture.world import World

OPERATIONS = 12
_LOUD = "loud"
MOST_SECONDS = 0.25


class Kills:
    """Tier 3 over one cell.

    Parameters
    ----------
    world : World
        The cell, made ready.
    seed : int
        Where workloads and moments come from; when a kill lands is up to the machine.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.log: list[str] = []
        self.loud: list[list[str]] = []

    def run(self, number: int) -> list[Violation]:
        """Let two workers work, kill them, collect, and return what is broken."""
        case = Case("T3", self.world.cell, (str(number),), self.seed)
        generator = case.randomness()
        self.world.clear()
        self.log, self.loud = [], []
        findings = list(self._run(generator))
        return [
            Violation(invariant, f"{invariant}:kill", case.name, message, self.seed, tuple(self.log))
            for invariant, message in findings
        ]

    def _run(self, generator: random.Random) -> Iterator[Finding]:
        world = self.world
        workloads = [(world.user, workload(generator, 1)), (world.other, workload(generator, 2))]
        workers = [self._start(actor, operations) for actor, operations in workloads]
        for (child, _), _ in sorted(zip(workers, workloads, strict=True), key=lambda _: generator.random()):
            time.sleep(generator.uniform(0, MOST_SECONDS))
            os.kill(child, signal.SIGKILL)
        told = [self._told(*worker, operations) for worker, (_, operations) in zip(workers, workloads, strict=True)]
        yield from (("I11", f"without a fault: {' '.join(what)}") for what in self.loud)
        world.settle()
        world.settle_other()
        states: list[State] = [{}]
        for deeds in told:
            states = [after for state in states for after in checks.allowed_states_in_order(state, deeds)]
        observed = checks.observe(world)
        state = checks.matching(world, observed, states)
        if state is None:
            rows = ", ".join(f"{row.table}{row.key}" for row in observed.rows) or "no rows"
            yield "I6", f"found {rows}, which these deeds do not give"
            return
        yield from checks.integrity(world, observed, state)
        yield from checks.collection(world, state, always=True)

    def _start(self, actor: Actor, operations: list[Operation]) -> tuple[int, int]:
        """Fork a worker; return its process id and where it tells of what it has done."""
        source, target = os.pipe()
        child = os.fork()
        if child == 0:
            self._work(actor, operations, target)
        os.close(target)
        return child, source

    def _work(self, actor: Actor, operations: list[Operation], told: int) -> NoReturn:
        signal.alarm(HANG_SECONDS)
        try:
            self.world.be_child(actor)
            for index, operation in enumerate(operations):
                os.write(told, f"begin {index}\n".encode())
                outcome = perform(actor, operation)
                if outcome.error is not None and not is_refusal(actor, outcome.error):
                    os.write(told, f"{_LOUD} {index} {operation}: {' '.join(str(outcome).split())}\n".encode())
                os.write(told, f"{outcome.ending} {index}\n".encode())
        finally:
            os._exit(0)

    def _told(self, child: int, source: int, operations: list[Operation]) -> list[checks.Deed]:
        """Return what a worker has done: all that it told of, and what it had begun."""
        with os.fdopen(source) as lines:
            told = [line.split(maxsplit=2) for line in lines.read().splitlines()]
        os.waitpid(child, 0)
        self.loud += [what for word, _, *what in told if word == _LOUD]
        endings = {int(index): ending for ending, index, *_ in told if ending != _LOUD}
        deeds = []
        for index, ending in sorted(endings.items()):
            outcome = Outcome("killed") if ending == "begin" else Outcome(ending)  # type: ignore[arg-type]
            deeds.append((operations[index], outcome))
            self.log.append(f"{child}: {operations[index]} -> {outcome}")
        return deeds


def workload(generator: random.Random, subject: int) -> list[Operation]:
    """Return what a worker is going to do: to keys of one subject, which nobody else uses."""
    operations: list[Operation] = []
    for index in range(OPERATIONS):
        key, token = (subject, generator.randint(1, 2)), f"{generator.choice(('', '', 'tree-'))}{subject}.{index}"
        choices: list[Operation] = [
            Insert(token, (key,)),
            Insert(token, ((subject, 1), (subject, 2)), attributes=("data", "notes"), skip=True),
            Update(token, key),
            Copy(key, "Archive"),
            Delete(key),
            Populate(token, key, "Spectrum"),
            Stage(token, key),
            Create(f"tree-{token}", key),
            Collect(generator.choice((0, 2 * GRACE_SECONDS))),
        ]
        operations.append(generator.choice(choices))
    return operations
