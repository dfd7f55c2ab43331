"""What can go wrong with a server of the test-suite.

Nothing here skips a test: a server that is missing or broken fails the run.

::

    RuntimeError
    └── ServerError
        ├── MissingServerError    not installed; the message ends with the command that installs it
        ├── StartError            installed, but it did not come up; the message ends with its log
        └── StopError             it came up, and was gone when a later test asked for it
"""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 25


class ServerError(RuntimeError):
    """A server of the test-suite cannot be used."""


class MissingServerError(ServerError):
    """A server is not installed.

    Parameters
    ----------
    server : str
        What is missing, as a person would call it.
    command : str
        The exact command that installs it.
    """

    def __init__(self, server: str, command: str) -> None:
        super().__init__(f"{server} is not installed, and the tests need it. Install it with:\n    {command}")
        self.server = server
        self.command = command

    def __reduce__(self) -> tuple[type[MissingServerError], tuple[str, str]]:
        return type(self), (self.server, self.command)


class StartError(ServerError):
    """A server did not come up."""


class StopError(ServerError):
    """A server went away during the run, or would not go at its end."""


def log_tail(log: Path) -> str:
    """Return the last lines of a server's log, indented, or a note that there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return f"    ({log} does not exist)"
    return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:]) or f"    ({log} is empty)"
