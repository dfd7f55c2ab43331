"""The tables on the terminal: what each contender took, and every ratio beside its target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.documents import Document, Result
from benchmarks.judging import Verdict, in_mebibytes, judge, middle
from benchmarks.series import TITLES, points, verdicts_of_growth
from benchmarks.values import Outcome

WIDTH = 132
_MARKS = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}


def make_console() -> Console:
    """Return the terminal; what is no terminal is as wide as the tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def show_result(console: Console, result: Result) -> None:
    """Show one comparison."""
    table = _figures_table(result.title)
    for outcome in result.outcomes:
        table.add_row(*_cells(_name(outcome), outcome))
    console.print(table)
    _show_errors(console, result.outcomes)


def show_series(console: Console, results: Sequence[Result]) -> None:
    """Show one series."""
    outcomes = [(result.title, outcome) for result in results for outcome in result.outcomes]
    table = _figures_table(TITLES[results[0].name])
    for title, outcome in outcomes:
        table.add_row(*_cells(escape(title), outcome))
    console.print(table)
    _show_errors(console, [outcome for _, outcome in outcomes])


def _figures_table(title: str) -> Table:
    table = Table("", title=title, title_justify="left")
    for column in ("wall s", "CPU s", "peak memory"):
        table.add_column(column, justify="right")
    return table


def _show_errors(console: Console, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.error:
            console.print(f"{outcome.contender}: {_end(outcome.error)}", markup=False, style="red", soft_wrap=True)


def _end(error: str) -> str:
    """Return the last lines of a traceback; all of it is in the JSON document."""
    return "\n".join(error.rstrip().splitlines()[-5:])


def _name(outcome: Outcome) -> str:
    return f"[bold]{escape(outcome.contender)}[/]" if outcome.is_ours else escape(outcome.contender)


def _cells(name: str, outcome: Outcome) -> tuple[str, ...]:
    if outcome.left_out:
        return name, f"[dim]left out: {escape(outcome.left_out)}[/]", "", ""
    if outcome.error:
        return name, "[red]failed[/]", "", ""
    figures = middle(outcome.rounds)
    return name, f"{figures.wall_seconds:.3f}", f"{figures.cpu_seconds:.3f}", in_mebibytes(figures.memory)


def show_verdicts(console: Console, document: Document) -> None:
    """Show every ratio of a run beside its target."""
    rounds = f"medians of {document.rounds} rounds" if document.rounds > 1 else "one round"
    table = Table("work", "ratio", "measured", "target", "", title=f"Targets ({rounds}, in turn)", title_justify="left")
    for title, verdicts in verdicts_of(document):
        for index, verdict in enumerate(verdicts):
            table.add_row("" if index else escape(title), *_verdict_cells(verdict))
        table.add_section()
    console.print(table)


def _verdict_cells(verdict: Verdict) -> tuple[str, ...]:
    return escape(verdict.what), verdict.figure, verdict.target, _MARKS[verdict.met]


def verdicts_of(document: Document) -> Iterator[tuple[str, Sequence[Verdict]]]:
    """Yield the title of each comparison or series, and what is to be said of it."""
    if document.kind == "growth":
        for series, results in points(document).items():
            yield series, verdicts_of_growth(results)
        return
    for result in document.results:
        yield result.title, judge(result.targets, result.outcomes)
