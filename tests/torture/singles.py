"""Tier 1: every operation, with every kind of fault, at every step of it. One fault a case, until none is left.

As SQLite's tests do it: the fault comes at step 1, 2, 3, … until the operation completes without meeting it.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import zip_longest

from tests.torture import checks, places
from tests.torture.attempts import attempt, in_child, perform
from tests.torture.bare import REGISTRY
from tests.torture.checks import Deed
from tests.torture.classes import violation_class
from tests.torture.operations import (
    Collect,
    Create,
    Download,
    OwnTransaction,
    Refused,
    Revert,
)
from tests.torture.overheard import Overheard
from tests.torture.places import Mirror, Move
from tests.torture.scenes import ACTORS, ADOPTION_SECONDS, IN_TWO_PLACES, KEY, OF_PLACES, OTHER_KEY, SCENES, Scene
from tests.torture.stores import forget_mirrors
from tests.torture.values import (
    ANSWERS,
    CRASHES,
    DROPS,
    INTERLEAVINGS,
    KINDS,
    Case,
    Fault,
    Finding,
    Kind,
    Outcome,
    State,
    Violation,
)
from tests.torture.world import World


class Singles:
    """Tier 1 over one cell.

    Parameters
    ----------
    world : World
        The cell, made ready.
    seed : int
        Printed with each violation; the cases themselves are exhaustive.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.traces: dict[tuple[str, bool], tuple[str, ...]] = {}

    def scenes(self) -> list[str]:
        """Return the operations that this subject has."""
        unable = {*OF_PLACES} if self.world.second is None else {*SCENES} - {*IN_TWO_PLACES}
        if not self.world.subject.collects:
            unable |= {"gc-mark", "gc-purge"}
        if not self.world.subject.can_replace(self.world.cell.database):
            unable.add("replace")
        if not self.world.subject.journals:
            unable |= {name for name in SCENES if name.startswith(("tree-", "link-"))}
        unable.add("caught" if self.world.cell.database == "postgresql" else "")
        unable.add("" if self.world.place.proxy else "large")
        return [name for name in SCENES if name not in unable]

    def cases(self, scene: str) -> Iterator[tuple[str, Kind | None, int]]:
        """Yield kind and step of all cases of a scene whose steps are known from a run without a fault."""
        yield scene, None, 0
        for kind in self._kinds():
            if kind == "interleave-revert" and not isinstance(SCENES[scene].operation, Collect):
                continue
            for number, line in _distinct(self.traces[scene, kind in CRASHES]):
                if self._is_wanted(scene, line) and line.split()[1] in KINDS[kind] and _is_possible(kind, line):
                    yield scene, kind, number

    def _is_wanted(self, scene: str, line: str) -> bool:
        verbs = SCENES[scene].verbs
        return not verbs or (
            line.split()[1] == "store" and line.split()[2].partition("@")[0] in verbs and REGISTRY not in f"{line}/"
        )

    def sample(self, scene: str, count: int) -> list[tuple[str, Kind | None, int]]:
        """Return *count* cases of a scene, as different in kind as can be, chosen by the seed."""
        generator = Case("T1", self.world.cell, (scene,), self.seed).randomness()
        by_kind: dict[Kind | None, list[tuple[str, Kind | None, int]]] = {}
        for case in self.cases(scene):
            by_kind.setdefault(case[1], []).append(case)
        groups = list(by_kind.values())
        for group in groups:
            generator.shuffle(group)
        generator.shuffle(groups)
        return [case for row in zip_longest(*groups) for case in row if case is not None][:count]

    def _kinds(self) -> list[Kind]:
        unable = {*ANSWERS} - ({"answer-lost", "answer-instead"} if self.world.lies else set())  # schedules draw all
        unable |= set() if self.world.subject.collects else {"interleave-gc", "interleave-gc-now"}
        unable |= set() if self.world.subject.journals else {"interleave-revert"}
        unable |= set() if self.world.second else {"interleave-read"}
        return [kind for kind in KINDS if kind not in unable]

    def rehearse(self, scene: str) -> list[Violation]:
        """Run a scene twice without a fault, the second time for its steps, and check it; and once in a child."""
        self.run(scene, None, 0)
        violations = self.run(scene, None, 0)
        case = Case("T1", self.world.cell, (scene, "none", "0"), self.seed)
        trial = Trial(self.world, SCENES[scene])
        with Overheard():
            findings = list(trial.rehearse_in_child())
        self.traces[scene, True] = trial.outcome.trace
        return violations + [self._violation(case, trial, *finding) for finding in findings]

    def run(self, scene: str, kind: Kind | None, step: int) -> list[Violation]:
        """Run one case and return what it broke."""
        fault = None if kind is None else Fault(kind, step)
        case = Case("T1", self.world.cell, (scene, kind or "none", str(step)), self.seed)
        trial = Trial(self.world, SCENES[scene])
        with Overheard() as overheard:
            findings = list(trial.run(fault))
        findings += checks.secrecy(self.world, [*overheard.texts, *trial.texts])
        if fault is None:
            self.traces[scene, False] = trial.outcome.trace
        elif trial.outcome.ending == "success" and len(trial.outcome.trace) < step and not findings:
            return self.run(scene, kind, len(trial.outcome.trace))  # the fault never came: fewer steps than rehearsed
        return [self._violation(case, trial, *finding) for finding in findings]

    def _violation(self, case: Case, trial: Trial, invariant: str, message: str) -> Violation:
        kind = violation_class(invariant, message, SCENES[case.what[0]].operation, case.what[1], trial.outcome)
        told = f"{message} (the caller was told: {trial.outcome})"
        return Violation(invariant, kind, case.name, told, self.seed, trial.outcome.trace)


def _distinct(trace: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Number the steps; of reads that are repeated word for word (DataJoint's own) only the first and the last."""
    texts = [line.partition(" ")[2] for line in trace]
    last = {text: number for number, text in enumerate(texts, start=1)}
    seen: set[str] = set()
    for number, (line, text) in enumerate(zip(trace, texts, strict=True), start=1):
        is_read = text.lower().startswith(("sql select", "sql show"))
        if not is_read or text not in seen or last[text] == number:
            yield number, line
        seen.add(text)


def _is_possible(kind: Kind, line: str) -> bool:
    """Leave out what says nothing: half of an upload at a step that sends no bytes."""
    sends = any(f"store {verb} " in line.replace("@second", "") for verb in ("upload", "read", "put_buffer"))
    return sends or kind not in ("torn", "torn-crash")


class Trial:
    """One scene played once: prepared, attempted with a fault, checked, retried, collected.

    Attributes
    ----------
    outcome : Outcome
        How the attempt ended.
    texts : list of str
        What was shown to the user.
    """

    def __init__(self, world: World, scene: Scene) -> None:
        self.world = world
        self.scene = scene
        self.outcome = Outcome("success")
        self.others: list[Deed] = []
        self.once: set[str] = set()
        self.texts: list[str] = []

    def run(self, fault: Fault | None) -> Iterator[Finding]:
        """Play the scene and yield every broken invariant."""
        world = self.world
        world.clear()
        world.has_parts = "large" in str(self.scene.operation)
        before = self._prepare()
        seen = checks.observe(world)
        to_send, sent = self._to_send(before) if fault is None else None, world.subject.uploaded_bytes()
        self.outcome = attempt(world, self.scene.operation, fault, self._actor(fault))
        yield from self._sent_findings("it", to_send, sent)
        self._hear(self.outcome)
        yield from self._outcome_findings(fault)
        yield from checks.order(self.outcome.trace, is_collecting=isinstance(self.scene.operation, Collect))
        if fault is not None and (fault.kind not in INTERLEAVINGS or self.outcome.ending != "success"):
            world.settle()
        yield from self._state_findings(before, seen)

    def rehearse_in_child(self) -> Iterator[Finding]:
        """Go through the steps of the scene in a new process, which has nothing open yet."""
        self.world.clear()
        self._prepare()
        self.outcome = in_child(self.world, self.scene.operation, None)
        self.world.settle()
        yield from self._outcome_findings(None)

    @property
    def may_count(self) -> bool:
        """Whether the bytes of a retry tell something: not where what they were sent for is refused, or given up."""
        text = str(self.scene.operation)
        may_be_given_up = "Tolerant" in text or "rolls_back=True" in text or isinstance(self.scene.operation, Create)
        return self.scene.operation.writes_files and not may_be_given_up

    def _prepare(self) -> State:
        self.world.settle_marks()
        state: State = {}
        for operation in self.scene.before:
            outcome = perform(self.world.user, operation)
            if outcome.error is not None:
                raise outcome.error
            state = operation.effect(state)
        self.world.age(self.scene.seconds)
        if self.world.second is not None:
            self.world.second.before = self.world.second_keys()
        return state

    def _actor(self, fault: Fault | None) -> Callable[[], object]:
        operations = ACTORS.get(fault.kind, (self.scene.operation,)) if fault else ()
        if fault is not None and fault.kind == "interleave-revert":
            operations = (Revert(self.scene.kept, OTHER_KEY),)

        def act() -> None:
            for operation in operations:
                self.others.append((operation, perform(self.world.other, operation)))
                self.once |= checks.references(self.world)

        return act

    def _hear(self, outcome: Outcome) -> None:
        if isinstance(self.scene.operation, Download) and outcome.result is not None:
            self.texts += [repr(outcome.result), pickle.dumps(outcome.result).decode("latin-1")]
        if outcome.error is not None:
            self.texts.append("".join(traceback.format_exception(outcome.error)))

    def _outcome_findings(self, fault: Fault | None) -> Iterator[Finding]:
        if fault is None and self.outcome.ending != "success":
            yield "I7", f"{self.outcome}, and nothing was in the way"
        # Of two collectors at once, one refuses.
        good = ("success", "refused") if isinstance(self.scene.operation, Collect) else ("success",)
        if fault is not None and fault.kind == "interleave-gc-now" and self.outcome.ending not in good:
            yield "I3", f"{self.outcome}: the collector has taken what a live writer owns"
        if fault is not None and fault.kind in DROPS and isinstance(self.scene.operation, OwnTransaction):
            # DataJoint sends a COMMIT of the user's own again, on a new connection: it says nothing of the first.
            self.outcome = replace(self.outcome, ending="interrupted")
        for outcome in (self.outcome, *(outcome for _, outcome in self.others)):
            if outcome.ending == "hang":
                yield "I11", f"{outcome.error}"
        yield from checks.silence(self.world, (self.scene.operation, self.outcome), self.others)

    def _state_findings(self, before: State, seen: checks.Observed) -> Iterator[Finding]:
        world = self.world
        deeds = [*self.others, (self.scene.operation, self.outcome)]
        states = checks.allowed_states(before, deeds)
        observed = checks.observe(world)
        state = checks.matching(world, observed, states)
        places.note_mended(world, self.scene.operation, self.outcome)
        if state is None:
            yield "I6", self._untrue(observed, states)
            return
        yield from checks.answer(world, self.outcome, was_done=state != before)
        yield from checks.integrity(world, observed, state)
        is_done = self.outcome.ending == "success" and not self.others
        is_complete = is_done and isinstance(self.scene.operation, Mirror | Move)
        yield from places.second_place(world, observed.rows, state, is_complete=is_complete)
        yield from checks.leftovers(world, observed, seen, self.once)
        yield from checks.wrongly_condemned(world, observed)
        has_reverted = any(isinstance(operation, Revert) for operation, _ in deeds)
        yield from checks.wrongly_noted(world, observed, has_reverted=has_reverted)
        yield from self._download_findings(before, state)
        if self.outcome.ending != "success":
            state = yield from self._retry_findings(state)
        has_collected = any(isinstance(operation, Collect) for operation, _ in deeds)
        yield from self._alike_findings(state, may_waste=has_collected)
        yield from checks.collection(world, state, is_young=not has_collected)

    def _alike_findings(self, state: State, *, may_waste: bool) -> Iterator[Finding]:
        """Yield what is wrong once the second place was brought up to date."""
        world, is_copying = self.world, isinstance(self.scene.operation, Mirror | Move)
        if world.second is None:
            return
        world.second.may_waste = may_waste and is_copying  # what is copied while a collector deletes it can stay
        yield from places.brought(world)
        observed = checks.observe(world)
        yield from checks.integrity(world, observed, state)
        yield from places.second_place(world, observed.rows, state, is_complete=True)

    def _untrue(self, observed: checks.Observed, states: list[State]) -> str:
        rows = ", ".join(f"{row.table}{row.key}" for row in observed.rows) or "no rows"
        expected = " or ".join(", ".join(f"{t}{k}" for t, k in state) or "no rows" for state in states) or "nothing"
        return f"the caller was told {self.outcome.ending}; found {rows}; possible were {expected}"

    def _download_findings(self, before: State, state: State) -> Iterator[Finding]:
        if not isinstance(self.scene.operation, Download):
            return
        target = self.world.user.directory / "downloaded.dat"
        found = target.read_bytes() if target.exists() else None
        whole = [rows["Recording", KEY]["data"] for rows in (before, state) if ("Recording", KEY) in rows]
        if found not in (None, *whole) or (found is None and self.outcome.ending == "success"):
            yield "I4", f"{target.name} holds {len(found or b'')} bytes that are not the file's"
        left = sorted(path.name for path in target.parent.iterdir() if path != target)
        if left and self.outcome.ending != "killed":
            yield "I4", f"{left} was left beside the destination"

    def _to_send(self, state: State) -> int | None:
        """Return how many bytes the operation has to send in a state; None if nothing can be said."""
        if not self.may_count:
            return None
        try:
            return checks.bytes_to_send(self.world, state, self.scene.operation.effect(state))
        except Refused:
            return None

    def _sent_findings(self, who: str, to_send: int | None, before: int | None) -> Iterator[Finding]:
        after = self.world.subject.uploaded_bytes()
        if None not in (to_send, before, after) and after - before != to_send:  # type: ignore[operator]
            yield "I7", f"{who} sends {after - before} bytes, and {to_send} were not stored yet"  # type: ignore[operator]

    def _retry_findings(self, state: State) -> Generator[Finding, None, State]:
        """Do it again without a fault: it must end as one call that succeeded (I7)."""
        world, operation = self.world, self.scene.operation
        try:
            expected, is_refused = operation.effect(state), False
        except Refused:
            expected, is_refused = state, True
        if self.outcome.ending == "killed":
            world.age(ADOPTION_SECONDS)
            forget_mirrors()  # another process does it again
        to_send, sent = self._to_send(state), world.subject.uploaded_bytes()
        outcome = perform(world.user, operation)
        yield from self._sent_findings("done again, it", to_send, sent)
        places.note_mended(world, operation, outcome)
        if outcome.error is not None and not is_refused:
            yield "I7", f"done again, it ends with {outcome}"
            expected = state
        observed = checks.observe(world)
        if checks.matching(world, observed, [expected]) is None:
            yield "I7", f"done again ({outcome}), it does not leave the rows of one call"
            return state
        yield from (("I7", f"done again: {message}") for _, message in checks.integrity(world, observed, expected))
        return expected
