"""The plots: time and memory of every comparison, growth with its fit. PNG, for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.documents import Document, Result
from benchmarks.judging import fit, larger_half, middle
from benchmarks.series import Point, medians, points
from benchmarks.values import MEBI, MEMORY_TARGET, Figures, Outcome

OURS, OTHERS, TARGET = "#00796b", "#b0bec5", "#c62828"
COLUMNS = 3
_DPI = 110

Measure = Callable[[Figures], float]


def write_plots(document: Document, directory: Path) -> list[Path]:
    """Write the plots of a run into a directory and return their paths."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        if document.kind == "growth":
            return [_save(_growth(document), directory / "bench-growth.png")]
        time = _bars(document.results, lambda figures: figures.wall_seconds, "seconds")
        memory = _bars(document.results, lambda figures: figures.memory / MEBI, "MiB", MEMORY_TARGET / MEBI)
        return [_save(time, directory / "bench-time.png"), _save(memory, directory / "bench-memory.png")]


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
    return path


def _bars(results: Sequence[Result], measure: Measure, unit: str, target: float | None = None) -> Figure:
    """Draw one panel of horizontal bars a comparison; the whiskers go from the smallest to the largest round."""
    rows = -(-len(results) // COLUMNS)
    figure = Figure(figsize=(4.4 * COLUMNS, 0.6 + 2.1 * rows), layout="constrained")
    panels = iter(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for panel, result in zip(panels, results, strict=False):
        _panel(panel, result, measure, unit)
        if target is not None:
            panel.axvline(target, color=TARGET, linewidth=1, linestyle="--")
    for panel in panels:
        panel.set_axis_off()
    return figure


def _panel(panel: Any, result: Result, measure: Measure, unit: str) -> None:
    measured = [outcome for outcome in result.outcomes if outcome.rounds]
    lengths = [measure(middle(outcome.rounds)) for outcome in measured]
    below, above = _reach(measured, measure, lengths)
    panel.barh(
        [outcome.contender for outcome in measured],
        lengths,
        xerr=[below, above],
        color=[OURS if outcome.is_ours else OTHERS for outcome in measured],
        ecolor="#455a64",
    )
    panel.invert_yaxis()
    panel.set_title(result.title, loc="left", fontsize=10)
    panel.set_xlabel(unit)
    panel.locator_params(axis="x", nbins=5)


def _reach(measured: list[Outcome], measure: Measure, lengths: list[float]) -> tuple[list[float], list[float]]:
    """Return how far the smallest and the largest round are from each median."""
    values = [[measure(figures) for figures in outcome.rounds] for outcome in measured]
    below = [length - min(each) for length, each in zip(lengths, values, strict=True)]
    above = [max(each) - length for length, each in zip(lengths, values, strict=True)]
    return below, above


def _growth(document: Document) -> Figure:
    """Draw time above, memory below, a column a series, both axes logarithmic."""
    series = points(document)
    figure = Figure(figsize=(4.4 * len(series), 6), layout="constrained")
    panels = figure.subplots(2, len(series), squeeze=False)
    for column, (title, results) in enumerate(series.items()):
        found = medians(results)
        unit = "bytes" if results[0].size else "rows"
        _curve(panels[0][column], found, unit)
        panels[0][column].set_title(title, loc="left", fontsize=10)
        _memory(panels[1][column], found, unit)
    return figure


def _curve(panel: Any, found: list[Point], unit: str) -> None:
    sizes, seconds = [point.size for point in found], [point.figures.wall_seconds for point in found]
    panel.loglog(sizes, seconds, "o", color=OURS)
    if len(found) > 2:
        slope, factor = fit(sizes, seconds)
        half = larger_half(sizes)
        panel.loglog(half, [factor * size**slope for size in half], color=OURS, label=f"exponent {slope:.2f}")
        panel.legend(frameon=False)
    panel.set_xlabel(unit)
    panel.set_ylabel("seconds")


def _memory(panel: Any, found: list[Point], unit: str) -> None:
    panel.semilogx([point.size for point in found], [point.figures.memory / MEBI for point in found], "o-", color=OURS)
    panel.axhline(MEMORY_TARGET / MEBI, color=TARGET, linewidth=1, linestyle="--")
    panel.set_ylim(bottom=0)
    panel.set_xlabel(unit)
    panel.set_ylabel("peak memory, MiB")
