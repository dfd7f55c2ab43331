"""Terminal and JSON output of commands: lines with marks for people, JSON for programs.

Text is never read as markup, and lines are folded for terminals only, so that ``grep`` finds them whole.
"""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from datajoint_file.doctor import Check, Status

_MARKS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "+", "green"),
    "warning": ("!", "!", "yellow"),
    "failed": ("✗", "x", "bold red"),
}
_NAME_WIDTH = 17
_INDENT = 4 + _NAME_WIDTH
_UNFOLDED = 100_000


def console() -> Console:
    """Return the console of standard output, as it is now."""
    made = Console(highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = _UNFOLDED
    return made


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    click.echo(json.dumps(value, indent=2))


def print_check(to: Console, check: Check) -> None:
    """Print a check on one line, and what to do about it on the next."""
    mark, plain_mark, style = _MARKS[check.status]
    start = Text.assemble("  ", (plain_mark if to.options.ascii_only else mark, style), f" {check.name:<{_NAME_WIDTH}}")
    _print_folded(to, start, Text(check.detail))
    if check.fix:
        _print_folded(to, Text(" " * _INDENT), Text.assemble(("fix: ", style), check.fix))


def _print_folded(to: Console, start: Text, text: Text) -> None:
    """Print *text* after *start*, its further lines below its beginning."""
    for line in text.wrap(to, max(to.width - _INDENT, _INDENT)):
        line.rstrip()
        to.print(start + line, soft_wrap=True)
        start = Text(" " * _INDENT)
