"""Subprocess of a job: errors say which program it was, and not with which arguments, which can be secret.

Where its output goes is the business of `log`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from datajoint_file.errors import ProgramError, UnsupportedValueError, brief, printable, reason_of
from datajoint_file.jobs.log import last_words


def run_program(
    arguments: Sequence[Any],
    directory: Path,
    log: Path,
    *,
    timeout: float | None = None,
    env: dict[str, str] | None = None,
) -> None:
    """Run a program in a directory and wait for it; it has no input. See `Run.command`, which is this.

    An error quotes the end of what it has said, if that is written down in a *log*.
    """
    if isinstance(arguments, str | bytes) or not arguments:
        raise UnsupportedValueError(
            f"{brief(arguments)}: give a program and its arguments in a list, such as ['ffmpeg', '-i', 'raw.avi']"
        )
    words = [os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in arguments]
    program = printable(words[0])
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # what was said before stands before
            stream.flush()
    said = last_words(log)
    try:
        done = subprocess.run(words, cwd=directory, stdin=subprocess.DEVNULL, timeout=timeout, env=env, check=False)  # noqa: S603 - the user's own
    except subprocess.TimeoutExpired:
        stopped = f"the program {program} was stopped after {timeout} seconds; nothing was stored"
        raise ProgramError(f"{stopped}. {said()}") from None
    except (OSError, ValueError) as error:
        raise ProgramError(f"the program {program} cannot be run: {reason_of(error)}; nothing was stored") from error
    if done.returncode:
        ended = f"was ended by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
        failed = ProgramError(f"the program {program} {ended}; nothing was stored. {said()}")
        failed.returncode = done.returncode
        raise failed
