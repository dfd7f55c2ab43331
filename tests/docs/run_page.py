"""Carry out the blocks of one page, in order and in one namespace: a program of its own, as a reader's would be.

It reads the blocks as JSON from standard input, ends with the first that fails, and prints the directory it came to;
what blocks should be is not decided here.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any


class Page:
    """A page on its way: the namespace its blocks share, and what the last of them printed."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.printed = ""

    def carry_out(self, block: dict[str, Any]) -> None:
        if block["file"]:
            Path(block["file"]).write_text(block["content"], encoding="utf-8")
        else:
            getattr(self, f"_{block['language']}")(block)

    def _python(self, block: dict[str, Any]) -> None:
        source = "\n" * (block["line"] - 1) + block["content"]
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(source, block["page"], "exec"), self.namespace)
        self.printed = out.getvalue()

    def _console(self, block: dict[str, Any]) -> None:
        shown = ""
        for line in block["content"].splitlines():
            if not line.startswith("$ "):
                continue
            shown += f"{line}\n{_carried_out(line[2:])}"
        if any(line and not line.startswith("$ ") for line in block["content"].splitlines()):
            _compare(block["content"], shown)

    def _text(self, block: dict[str, Any]) -> None:
        _compare(block["content"], self.printed)


def _carried_out(command: str) -> str:
    """Return what a shell command prints; ``cd`` holds for all that follows."""
    if command.startswith("cd "):
        os.chdir(command[3:])
        return ""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}{done.stderr}\nended with {done.returncode}")
    return done.stdout


def _compare(expected: str, found: str) -> None:
    """Raise unless *found* is *expected*, where ``…`` alone on a line is any lines, and within one any characters."""
    lines = (r"(.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in _lines(expected))
    if not re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _lines(found))):
        raise SystemExit(f"it should print\n{expected}\nand it prints\n{found}")


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def main() -> None:
    """Carry out the blocks that standard input holds."""
    page = Page()
    given = json.load(sys.stdin)
    sys.path.insert(0, "")  # modules are found in the working directory, as at a prompt
    sys.stdin = io.StringIO()  # nobody answers a question
    for block in given:
        try:
            page.carry_out(block)
        except BaseException as error:
            print(f"{block['page']}:{block['line']} failed", file=sys.stderr)
            if isinstance(error, SystemExit):
                print(error.code, file=sys.stderr)
            else:
                traceback.print_exc()
            sys.exit(1)
    print(Path.cwd())


if __name__ == "__main__":
    main()
