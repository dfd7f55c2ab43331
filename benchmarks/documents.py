"""The JSON documents: every raw figure, what it was compared with, and the machine.

Written once by a run; tables and plots are made from them alone, so they can be made again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.values import Figures, Outcome, Target

Kind = Literal["comparisons", "growth"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one comparison, or of one point of a series.

    Parameters
    ----------
    name : str
        Of the comparison, or of the series.
    title : str
        For people.
    place : str
        ``local`` or ``s3``.
    number, size : int
        The workload.
    targets : list of Target
        What was to come out.
    outcomes : list of Outcome
        What came out.
    """

    name: str
    title: str
    place: str
    number: int
    size: int
    targets: list[Target]
    outcomes: list[Outcome]


@dataclass(frozen=True, slots=True)
class Document:
    """One run.

    Parameters
    ----------
    kind : str
        ``comparisons`` or ``growth``.
    scale : str
        ``full`` or ``small``.
    rounds : int
        How many turns each contender had.
    started : str
        When, in UTC.
    machine : dict
        What the figures depend on.
    results : list of Result
        In order.
    """

    kind: Kind
    scale: str
    rounds: int
    started: str
    machine: dict[str, str]
    results: list[Result]

    @property
    def succeeded(self) -> bool:
        """Whether everything that was started came to its end."""
        return not any(outcome.error for result in self.results for outcome in result.outcomes)

    def write(self, path: Path) -> None:
        """Write the document."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> Document:
    """Read a document that a run has written."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Document(**{**found, "results": [_result(each) for each in found["results"]]})


def _result(found: dict[str, Any]) -> Result:
    targets = [Target(**{**each, "against": tuple(each["against"])}) for each in found["targets"]]
    return Result(**{**found, "targets": targets, "outcomes": [_outcome(each) for each in found["outcomes"]]})


def _outcome(found: dict[str, Any]) -> Outcome:
    return Outcome(**{**found, "rounds": [Figures(**each) for each in found["rounds"]]})
