"""Run comparisons: every case in a fresh process, the contenders in turn, round after round.

What is measured is decided in the process, what it means in `judging`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.machine import missing
from benchmarks.places import Ground, Places
from benchmarks.sources import Sources
from benchmarks.values import ROOT, Comparison, Contender, Figures, Outcome, Task

TIMEOUT_SECONDS = 1800.0

Prepared = tuple[Ground, list[str]]
"""Where something is stored, and under which keys."""


class CaseError(Exception):
    """A process failed; the message is the end of what it said."""


class Runner:
    """Run comparisons in a directory.

    Parameters
    ----------
    directory : Path
        On the disk that is measured.
    places : Places
        The servers and stores.
    waits : bool
        Whether what a case has left to write is written before the next begins.
    """

    def __init__(self, directory: Path, places: Places, *, waits: bool) -> None:
        self._places = places
        self._waits = waits
        self._sources = Sources(directory / "sources")

    def run(self, comparison: Comparison, rounds: int) -> list[Outcome]:
        """Return what became of each contender. One that fails takes part in no further round."""
        outcomes = [Outcome(each.name, each.is_ours, left_out=missing(each.needs)) for each in comparison.contenders]
        try:
            with self._prepared(comparison) as prepared:
                for _ in range(rounds):
                    outcomes = [
                        self._turn(comparison, contender, outcome, prepared)
                        for contender, outcome in zip(comparison.contenders, outcomes, strict=True)
                    ]
        except CaseError as error:
            return [replace(outcome, error=str(error)) for outcome in outcomes]
        return outcomes

    def run_series(self, series: Sequence[Comparison], rounds: int) -> list[list[Outcome]]:
        """Return what became of each comparison of a series, all of which are run in turn."""
        outcomes = [self.run(comparison, 1) for comparison in series]
        for _ in range(rounds - 1):
            outcomes = [_joined(earlier, self.run(each, 1)) for each, earlier in zip(series, outcomes, strict=True)]
        return outcomes

    def _turn(
        self, comparison: Comparison, contender: Contender, outcome: Outcome, prepared: Prepared | None
    ) -> Outcome:
        if outcome.left_out or outcome.error:
            return outcome
        try:
            return replace(outcome, rounds=[*outcome.rounds, self._case(comparison, contender, prepared)])
        except CaseError as error:
            return replace(outcome, error=str(error))

    @contextmanager
    def _prepared(self, comparison: Comparison) -> Iterator[Prepared | None]:
        """Yield the ground and the object keys that all contenders share, if they do."""
        if not comparison.prepare:
            yield None
            return
        with self._places.ground(comparison.workload) as ground, self._places.scratch() as scratch:
            task = self._task(comparison, Contender("", comparison.prepare), ground, scratch, [])
            yield ground, _in_process(task, "prepare")

    def _case(self, comparison: Comparison, contender: Contender, prepared: Prepared | None) -> Figures:
        with self._ground(comparison, prepared) as (ground, keys), self._places.scratch() as scratch:
            task = self._task(comparison, contender, ground, scratch, keys)
            if self._waits:
                os.sync()
            return Figures(**_in_process(task))

    @contextmanager
    def _ground(self, comparison: Comparison, prepared: Prepared | None) -> Iterator[Prepared]:
        if prepared:
            yield prepared
            return
        with self._places.ground(comparison.workload) as ground:
            yield ground, []

    def _task(
        self, comparison: Comparison, contender: Contender, ground: Ground, scratch: Path, keys: list[str]
    ) -> Task:
        return Task(
            function=contender.function,
            options=dict(contender.options),
            number=comparison.workload.number,
            files=str(self._sources.files(comparison.workload)),
            small_file=str(self._sources.small_file),
            storage=ground.storage,
            scratch=str(scratch),
            database=ground.database,
            schema=ground.schema,
            keys=keys,
            checkout=contender.checkout,
        )


def _joined(earlier: Sequence[Outcome], later: Sequence[Outcome]) -> list[Outcome]:
    return [
        replace(one, rounds=[*one.rounds, *other.rounds], error=one.error or other.error)
        for one, other in zip(earlier, later, strict=True)
    ]


def _in_process(task: Task, *arguments: str) -> Any:
    """Do a task in a fresh process; return what it wrote last."""
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-m", "benchmarks.worker", *arguments],
        input=json.dumps(asdict(task)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise CaseError(done.stderr[-4000:] or f"the process ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
