"""A Python prompt that types by itself: each line is shown and then executed, so that what is seen is what ran."""

from __future__ import annotations

import ast
import inspect
from textwrap import indent
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text


class Session:
    """Lines of Python, executed one after the other.

    Parameters
    ----------
    console : rich.console.Console
        Where they are shown.
    namespace : dict
        What they can use, and where the names they assign go.
    """

    def __init__(self, console: Console, namespace: dict[str, Any]) -> None:
        self.console = console
        self.namespace = namespace

    def heading(self, title: str, text: str = "") -> None:
        """Begin a step."""
        self.console.print()
        self.console.print(Rule(f"[bold]{title}", align="left", style="cyan"))
        if text:
            self.console.print(text)

    def show_source(self, definition: type) -> None:
        """Show the source of a class that the lines use."""
        self._show_code(indent(inspect.getsource(definition), "  "))

    def run(self, line: str, *, show_value: bool = True) -> Any:
        """Show *line*, execute it, and show its value, as a prompt does. Returns the value."""
        self._show_code(f">>> {line}")
        if not isinstance(ast.parse(line).body[0], ast.Expr):
            exec(line, self.namespace)
            return None
        value = eval(line, self.namespace)
        if value is not None and show_value:
            self.console.print(Text(repr(value), style="dim"), soft_wrap=True)
        return value

    def _show_code(self, code: str) -> None:
        text = Syntax("", "python", theme="ansi_dark").highlight(code)
        self.console.print(text, end="", soft_wrap=True)
