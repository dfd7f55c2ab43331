"""Server process that ends with the process which has started it, however that ends; and programs that prepare one.

A shell beside the server reads from a pipe of ours, which the system closes when we are gone, and then kills it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datajoint_file.errors import DrillError, printable

_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_WATCHED = (
    'ending=$1; shift; exec 3<&0; "$@" </dev/null 3<&- & server=$!; '
    '{ read -r _ <&3; kill -"$ending" $server 2>/dev/null; } & watcher=$!; '
    "wait $server; code=$?; kill $watcher 2>/dev/null; exit $code"
)
_STOP_SECONDS = 20
_TAIL = 2_000


def environment(directory: Path, **more: str) -> dict[str, str]:
    """Return the variables that programs get: none of ours names a server, or holds a secret, that is not given."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(directory), "TMPDIR": str(directory), "LC_ALL": "C", **more}


def run(command: Sequence[str], directory: Path, *, log: Path, stdin: Any = None, **options: Any) -> None:
    """Run a program to its end.

    Raises
    ------
    DrillError
        If it fails, with the end of its log.
    """
    with log.open("ab") as output:
        code = subprocess.run(  # noqa: S603 - programs of this machine
            command,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(directory),
            cwd=directory,
            start_new_session=True,
            check=False,
            **options,
        ).returncode
    if code:
        raise DrillError(f"{Path(command[0]).name} ended with {code} before the scratch server was up: {tail(log)}")


@contextmanager
def serving(
    command: Sequence[str], directory: Path, *, log: Path, ending: signal.Signals, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for as long as the block lasts, and no longer than this process."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _WATCHED, "sh", ending.name.removeprefix("SIG"), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment(directory),
            cwd=directory,
            start_new_session=True,
            **options,
        )
    try:
        yield process
    finally:
        with suppress(OSError):
            if process.stdin:
                process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except BaseException:  # noqa: BLE001 - interrupted once more, or it does not end: without asking, then
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def tail(log: Path) -> str:
    """Return the end of a log, on one line."""
    with suppress(OSError):
        text = log.read_bytes()[-_TAIL:].decode("utf-8", "replace")
        return printable(" ".join(text.split())[-_TAIL // 2 :])
    return ""
