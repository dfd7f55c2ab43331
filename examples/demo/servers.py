"""A database server of one's own, in a directory of its own: started, or found running, and stopped at the end.

Which programs that takes is the business of `postgresql` and `mysql`; here it is one process with a log, a file with
its process number, and a port of the loopback interface that only those who know a password can use.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HOST = "127.0.0.1"
USER = "demo"

START_SECONDS = 60.0
STOP_SECONDS = 60.0
LEFT_SECONDS = 10.0
POLL_SECONDS = 0.05
LOG_LINES = 15


class ServerError(Exception):
    """The database server is not installed, does not start, or does not stop."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens, and the password of its one user."""

    port: int
    password: str


class Server(Protocol):
    """One database server: the programs that serve it and its directory."""

    backend: str
    stop_signal: signal.Signals

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def directory(self) -> Path:
        """Its own; holds the data directory and the log."""

    @property
    def data(self) -> Path:
        """The data directory."""

    @property
    def pid_file(self) -> Path:
        """Where it writes its process number."""

    def initialise(self, password: str) -> None:
        """Make the data directory, unless it is there."""

    def command(self, address: Address) -> list[str]:
        """Return the command that serves it."""

    def data_directory_at(self, address: Address) -> str:
        """Ask whoever listens at *address* for its data directory; empty if nobody does, or the password is wrong."""


@contextmanager
def running(server: Server, address: Address) -> Iterator[None]:
    """Have the server running at *address* meanwhile, and stop it at the end.

    It may be running already: the demo that started it was killed. Then it is used, and stopped at the end as well.

    Raises
    ------
    ServerError
        If it does not start; the message ends with its log.
    """
    process = None if answers(server, address) else _start(server, address)
    try:
        yield
    finally:
        stop(server)
        if process:
            process.wait()


def choose_address(server: Server, recorded: Address | None) -> Address:
    """Return the recorded address if the server is there, or can be; otherwise a new one. The password stays."""
    if recorded and (_is_free(recorded.port) or answers(server, recorded)):
        return recorded
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    return Address(port, recorded.password if recorded else secrets.token_urlsafe(18))


def answers(server: Server, address: Address) -> bool:
    """Tell whether this very server, and not another that has taken its port, listens at *address*."""
    found = server.data_directory_at(address)
    return bool(found) and Path(found).resolve() == server.data.resolve()


def stop(server: Server) -> None:
    """Stop the server that runs in its directory, if one does, and wait until it has.

    Raises
    ------
    ServerError
        If it is still there after a minute.
    """
    pid = _running_pid(server)
    if not pid:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, server.stop_signal)
    deadline = time.monotonic() + STOP_SECONDS
    while _running_pid(server):
        if time.monotonic() > deadline:
            raise ServerError(f"{server.name}, process {pid}, does not stop; its log is {_log(server)}")
        time.sleep(POLL_SECONDS)


def stop_left(server: Server, recorded: Address | None) -> None:
    """Stop the server that a killed demo may have left; it may have left it only just starting."""
    deadline = time.monotonic() + LEFT_SECONDS
    while recorded and _running_pid(server) and time.monotonic() < deadline:
        if answers(server, recorded):
            stop(server)
        time.sleep(POLL_SECONDS)


@contextmanager
def being_made(data: Path) -> Iterator[Path]:
    """Give a directory in which to make one called `data`; at the end, when that is complete, it becomes *data*."""
    for left_by_a_killed_demo in data.parent.glob("new-*"):
        shutil.rmtree(left_by_a_killed_demo, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix="new-", dir=data.parent))
    yield new
    (new / "data").rename(data)
    shutil.rmtree(new)


def run(purpose: str, command: list[str], text: str = "") -> None:
    """Run a program to its end, giving it *text* to read.

    Raises
    ------
    ServerError
        If it fails, with *purpose* and the end of what it said.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ServerError(f"This failed: {purpose}. It ended with\n{_last_lines(done.stderr)}")


def _start(server: Server, address: Address) -> subprocess.Popen[bytes] | None:
    """Start the server; return its process, or None if one that a killed demo left has come up meanwhile."""
    server.directory.mkdir(parents=True, exist_ok=True)
    server.initialise(address.password)
    with _log(server).open("ab") as log:
        process = subprocess.Popen(
            server.command(address), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_until_answering(server, address, process)
    except BaseException:
        _kill(process)
        raise
    if _running_pid(server) == process.pid:
        return process
    _kill(process)
    return None


def _wait_until_answering(server: Server, address: Address, process: subprocess.Popen[bytes]) -> None:
    """Wait for *process*, or for one that a killed demo had begun to start, which keeps *process* from starting."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(server, address):
        has_failed = process.poll() is not None and not _running_pid(server)
        if has_failed or time.monotonic() > deadline:
            log = _log(server)
            raise ServerError(
                f"{server.name} does not start. {log} ends with\n{_last_lines(log.read_text(errors='replace'))}"
            )
        time.sleep(POLL_SECONDS)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server((HOST, port)):
        return True
    return False


def _running_pid(server: Server) -> int:
    """Return the process number of the server that runs in its directory, 0 if none does."""
    try:
        pid = int(server.pid_file.read_text().split()[0])  # the server removes the file when it ends
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # a child of ours that was killed would seem alive until it is waited for
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, IndexError, ProcessLookupError):
        return 0
    except PermissionError:  # the number has been given to somebody else's process since
        return 0
    return pid


def _log(server: Server) -> Path:
    return server.directory / "log"


def _last_lines(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-LOG_LINES:])
