"""Growth: the results of a run as series of points, from small to large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.documents import Document, Result
from benchmarks.judging import Verdict, judge_growth, middle
from benchmarks.values import Figures

TITLES = {
    "size-local": "size of a file, disk",
    "size-s3": "size of a file, S3",
    "rows-local": "number of rows, disk",
}


class Point(NamedTuple):
    """A size in bytes or rows, and the medians that belong to it."""

    size: int
    figures: Figures


def points(document: Document) -> dict[str, list[Result]]:
    """Return the results of each series, by its title."""
    names = dict.fromkeys(result.name for result in document.results)
    return {TITLES[name]: [result for result in document.results if result.name == name] for name in names}


def medians(results: Sequence[Result]) -> list[Point]:
    """Return the points that were measured."""
    measured = [(result, outcome) for result in results for outcome in result.outcomes if outcome.rounds]
    return [Point(result.size or result.number, middle(outcome.rounds)) for result, outcome in measured]


def verdicts_of_growth(results: Sequence[Result]) -> list[Verdict]:
    """Judge a series; nothing can be said of fewer than three points."""
    found = medians(results)
    return judge_growth(*zip(*found, strict=True)) if len(found) > 2 else []
