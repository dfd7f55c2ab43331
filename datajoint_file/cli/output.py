"""Terminal and JSON output of commands: lines with marks for people, JSON for programs.

Text is never read as markup, what a terminal would run is escaped, whatever is printed, and lines are folded for
terminals only, so that ``grep`` finds them whole.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from datajoint_file.doctor import Check, Status
from datajoint_file.model.wording import counted
from datajoint_file.startup import escaped, on_one_line

_MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "+", "green"),
    "warning": ("!", "!", "yellow"),
    "failed": ("✗", "x", "bold red"),
}
_NAME_WIDTH = 17
_INDENT = 4 + _NAME_WIDTH
_UNFOLDED = 100_000
_ALIKE = 20


class _EscapingConsole(Console):
    """A console that sends a terminal no control characters but its own: names in a database can hold any."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else escaped(text), style, control)


def console() -> Console:
    """Return the console of standard output, as it is now."""
    made = _EscapingConsole(highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = _UNFOLDED
    return made


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    click.echo(json.dumps(value, indent=2))


Line = Sequence[tuple[str, str]]
"""Texts of a line, each with the colour that it has on a terminal, ``"bold"``, or nothing."""


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines as they come: on a terminal through its pager, in colours unless ``NO_COLOR`` is set; else plain."""
    if not sys.stdout.isatty():
        for line in lines:
            click.echo("".join(on_one_line(text) for text, _ in line))
        return
    given = iter(lines)
    if (first := next(given, None)) is not None:
        os.environ.setdefault("LESS", "FRX")  # as git has it: what fits on the screen is only printed
        click.echo_via_pager(_paged(first, given), color=not os.environ.get("NO_COLOR"))


def _paged(first: Line, others: Iterator[Line]) -> Iterator[str]:
    """Give pieces for a pager, which puts a line feed behind the last."""
    yield _styled(first)
    for line in others:
        yield f"\n{_styled(line)}"


def _styled(line: Line) -> str:
    styles: dict[str, dict[str, Any]] = {"": {"reset": False}, "bold": {"bold": True}}
    return "".join(click.style(on_one_line(text), **styles.get(style, {"fg": style})) for text, style in line)


def print_check(to: Console, check: Check) -> None:
    """Print a check on one line, and what to do about it on the next."""
    mark, plain_mark, style = _MARKS[check.status]
    start = Text.assemble(
        "  ", (plain_mark if to.options.ascii_only else mark, style), f" {check.name:<{_NAME_WIDTH - 1}} "
    )
    _print_folded(to, start, Text(on_one_line(check.detail)))
    if check.fix:
        _print_folded(to, Text(" " * _INDENT), Text.assemble(("fix: ", style), on_one_line(check.fix)))


class Abridged:
    """Printer of checks that shows the first twenty of a name, and says how many more there are."""

    def __init__(self, to: Console, more: str) -> None:
        self._to = to
        self._more = more  # where the others are named
        self._counts: Counter[str] = Counter()

    def print(self, check: Check) -> None:
        """Print a check, or only count it."""
        self._counts[check.name] += 1
        if self._counts[check.name] <= _ALIKE:
            print_check(self._to, check)

    def end(self, **counts: int) -> None:
        """Say of each name how many were not shown; *counts* are those of names that were not all printed."""
        for name, count in (self._counts | Counter(counts)).items():
            if count > _ALIKE:
                text = f"    and {counted(count - _ALIKE, 'more of them', 'more of them')} ({name}); {self._more}"
                self._to.print(text, soft_wrap=True)


def _print_folded(to: Console, start: Text, text: Text) -> None:
    """Print *text* after *start*, its further lines below its beginning."""
    for line in text.wrap(to, max(to.width - _INDENT, _INDENT)):
        line.rstrip()
        to.print(start + line, soft_wrap=True)
        start = Text(" " * _INDENT)
