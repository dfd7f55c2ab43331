"""What measured figures mean: medians, ratios beside their targets, exponents of growth.

Pure functions of what is in the JSON document; see `documents`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TypeVar

from benchmarks.values import MEBI, MEMORY_TARGET, Figures, Outcome, Target

Point = TypeVar("Point")

TIMES = "\N{MULTIPLICATION SIGN}"

EXPONENT_TARGET = (0.95, 1.05)
FLAT_WITHIN = 16 * MEBI
"""Memory counts as flat if the largest case takes at most this much more than the smallest of the larger half."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure beside what it should be.

    Parameters
    ----------
    what : str
        Which figure.
    figure : str
        For people.
    target : str
        For people; nothing if there is none.
    met : bool or None
        Whether it is met; None if there is no target.
    """

    what: str
    figure: str
    target: str
    met: bool | None


def middle(rounds: Sequence[Figures]) -> Figures:
    """Return the medians, each by itself."""
    return Figures(
        median(each.wall_seconds for each in rounds),
        median(each.cpu_seconds for each in rounds),
        round(median(each.memory for each in rounds)),
    )


def judge(targets: Sequence[Target], outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Hold the outcomes of a comparison against its targets, and our memory against that of all."""
    measured = {outcome.contender: outcome for outcome in outcomes if outcome.rounds and not outcome.error}
    times = [verdict for target in targets if (verdict := _time(target, measured))]
    most = {target.subject: target.memory for target in targets if target.memory}
    ours = [outcome for outcome in measured.values() if outcome.is_ours]
    return times + [_memory(outcome, most.get(outcome.contender, MEMORY_TARGET)) for outcome in ours]


def _time(target: Target, measured: dict[str, Outcome]) -> Verdict | None:
    """Compare medians; None where one of the two was not measured."""
    others = [measured[name] for name in target.against if name in measured]
    if target.subject not in measured or not others:
        return None
    subject = measured[target.subject]
    fastest = min(others, key=lambda outcome: middle(outcome.rounds).wall_seconds)
    pairs = list(zip(subject.rounds, fastest.rounds, strict=False))
    ratio = middle(subject.rounds).wall_seconds / middle(fastest.rounds).wall_seconds
    each = [mine.wall_seconds / theirs.wall_seconds for mine, theirs in pairs]
    what = f"{target.subject} / {fastest.contender}"
    if target.at_least is not None or (target.at_most is None and ratio < 1):
        return _faster(target, what, 1 / ratio, sorted(1 / value for value in each))
    figure = f"{ratio:.2f} {TIMES} the time ({min(each):.2f} to {max(each):.2f})"
    if target.at_most is None:
        return Verdict(what, figure, "", None)
    return Verdict(what, figure, f"at most {target.at_most:g} {TIMES}", ratio <= target.at_most)


def _faster(target: Target, what: str, ratio: float, each: list[float]) -> Verdict:
    figure = f"{ratio:.2f} {TIMES} as fast ({each[0]:.2f} to {each[-1]:.2f})"
    if target.at_least is None:
        return Verdict(what, figure, "", None)
    return Verdict(what, figure, f"at least {target.at_least:g} {TIMES} as fast", ratio >= target.at_least)


def _memory(outcome: Outcome, most: int) -> Verdict:
    memory = middle(outcome.rounds).memory
    target = f"at most {in_mebibytes(most)}"
    return Verdict(f"{outcome.contender}, peak memory", in_mebibytes(memory), target, memory <= most)


def judge_growth(sizes: Sequence[float], figures: Sequence[Figures]) -> list[Verdict]:
    """Judge a series of medians, from small to large: whether time is linear, and memory flat."""
    slope, _ = fit(sizes, [each.wall_seconds for each in figures])
    low, high = EXPONENT_TARGET
    half = larger_half(figures)
    growth = half[-1].memory - half[0].memory
    return [
        Verdict("exponent of time", f"{slope:.3f}", f"{low:g} to {high:g}", low <= slope <= high),
        Verdict(
            "peak memory, the smallest of the larger half to the largest",
            f"{in_mebibytes(half[0].memory)} to {in_mebibytes(half[-1].memory)}",
            f"at most {in_mebibytes(FLAT_WITHIN)} more",
            growth <= FLAT_WITHIN,
        ),
    ]


def larger_half(points: Sequence[Point]) -> Sequence[Point]:
    """Return the points that a fit is made of: where what each call costs no longer counts."""
    return points[len(points) // 2 :]


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Return exponent and factor of the power law through the larger half of the points.

    Least squares of logarithms.
    """
    x = [math.log(size) for size in larger_half(sizes)]
    y = [math.log(second) for second in larger_half(seconds)]
    mean_x, mean_y = fmean(x), fmean(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    return slope, math.exp(mean_y - slope * mean_x)


def in_mebibytes(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / MEBI:,.0f} MiB"


def in_words(number: int, size: int) -> str:
    """Return a workload for people: number, times, size."""
    if not size:
        return f"{number:,} rows"
    power = max(power for power in range(4) if size >= 1024**power)
    one = f"{size / 1024**power:g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
    return one if number == 1 else f"{number:,} {TIMES} {one}"
