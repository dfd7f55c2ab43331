"""Guard of commands by a `FileLock`: one run at a time, for one state or project.

Where no lock can be had a run goes on without one: two at once waste time, and lose nothing.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click

from datajoint_file.cli.exit_codes import PARTLY
from datajoint_file.concurrency.file_lock import FileLock

_NORMAL = timedelta(hours=24)
"""A run that takes longer is perhaps stuck: then somebody should look, also with ``--quiet``."""


@contextmanager
def one_at_a_time(path: Path | None, command: str, *, quiet: bool) -> Iterator[None]:
    """Run the block as the only one with this lock file, or end the command, saying who else is at it."""
    lock = None if path is None else FileLock.opened(path)
    if lock is None:
        yield
        return
    try:
        if not lock.take():
            _refuse(lock.descriptor, command, quiet=quiet)
        now = f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        who = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": now}
        with suppress(OSError):  # it is only told to others
            os.ftruncate(lock.descriptor, 0)
            os.pwrite(lock.descriptor, json.dumps(who).encode(), 0)
        yield
    finally:
        lock.close()


def lock_of_project(name: str) -> Path | None:
    """Return the lock file of what is done to a project by this user; None if there is no place for it."""
    try:
        home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
        directory = Path(home) / "datajoint-file"
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no right, no home
        return None
    return directory / f"{name}.lock"


def _refuse(descriptor: int, command: str, *, quiet: bool) -> None:
    holder = _holder(descriptor)
    since = holder.get("since", "")
    age = timedelta()
    with suppress(ValueError, TypeError):
        age = datetime.now(timezone.utc) - datetime.fromisoformat(since.replace("Z", "+00:00"))
    if not quiet or age > _NORMAL:
        who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {since or '?'}"
        click.echo(f"Another `{holder.get('command', command)}` is at it ({who}): nothing was done.", err=True)
    click.get_current_context().exit(PARTLY)


def _holder(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
