"""Log and warning filters while the command ``datajoint-file`` starts.

DataJoint speaks while it is imported: a warning where there is no ``datajoint.json``, and a line on standard output,
where a command's results go, where there is one. So this is imported before DataJoint. Other programs are left alone.
What a terminal would obey is escaped here, as warnings and tracebacks need it from the start.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

COMMAND = "datajoint-file"


def is_command() -> bool:
    """Tell whether this process is the command, by the name it was started under: no script ``datajoint-file.py``."""
    return Path(next(iter(sys.argv), "")).name in (COMMAND, f"{COMMAND}.exe")


def be_silent() -> None:
    """Keep DataJoint's log, and those of the stores' clients, off the terminal; results and errors say it all."""
    warnings.filterwarnings("ignore", message="No datajoint.json found")
    logging.getLogger("datajoint").disabled = True
    logging.getLogger().addHandler(logging.NullHandler())


def be_printable() -> None:
    """Let a terminal that is not UTF-8 get an escape for what it cannot show, and not end in a UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def be_harmless() -> None:
    """Escape what a terminal would run in warnings and tracebacks, also in those that others make."""
    original = warnings.formatwarning

    def shown(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> str:
        is_ours = category.__module__.startswith("datajoint_file.")  # whose users are not helped by a line of code
        text = f"{category.__name__}: {message}\n" if is_ours else original(message, category, *args, **kwargs)
        return escaped(text)

    warnings.formatwarning = shown
    sys.excepthook = _show_error


def _show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(escaped("".join(traceback.format_exception(kind, error, trace))))


def escaped(text: str) -> str:
    r"""Return *text* with escapes for what a terminal would run, or what hides what it says. Line feeds stay.

    Unlike `datajoint_file.errors.printable`, it is for whole messages: only such characters change.

    Examples
    --------
    >>> escaped("Größe of t\x1b[2J")
    'Größe of t\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def on_one_line(text: str) -> str:
    """Return *text* as `escaped` does, line feeds escaped as well: none of its lines looks like one of ours."""
    return escaped(text).replace("\n", "\\n")


if is_command():
    be_silent()
    be_printable()
    be_harmless()
