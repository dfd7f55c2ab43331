"""Start the servers of one test run, wait until they answer, find them again, stop them.

What a particular server needs is in the module of that server; the watching over a started one is done by `supervise`.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from . import supervise
from .errors import StartError, StopError, log_tail

HOST = "127.0.0.1"
START_ATTEMPTS = 3
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
# Below the range from which kernels take the ports of outgoing connections, which the tests open by the thousand.
PORTS = range(15_000, 32_000)

Address = TypeVar("Address")


@dataclass(frozen=True, slots=True)
class Server:
    """How to run one server, and how to see that it answers.

    Parameters
    ----------
    steps : list of list of str
        Commands to run one after the other in the server's directory; the last one is the server.
    is_ready : callable
        Returns False, or raises OSError, until the server answers.
    environment : mapping
        Variables for all steps, in addition to those of this process.
    user : str or None
        System user to run as; None is the current one.
    stop_signal : Signals
        What stops it. Everything is thrown away afterwards, so most servers need not be given time.
    leftovers : tuple of Path
        What it leaves outside its directory.
    start_seconds : float
        How long it may take until it answers.
    """

    steps: list[list[str]]
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGKILL
    leftovers: tuple[Path, ...] = ()
    start_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the test-suite.

    Parameters
    ----------
    directory : Path
        The run's own, for the servers alone; removed at its end.
    owner_pid : int
        The process whose end is the end of the run.
    """

    directory: Path
    owner_pid: int

    def start(self, name: str, plan: Callable[[Path], tuple[Server, Address]]) -> Address:
        """Start a server in a directory of its own; return its address when it answers.

        Parameters
        ----------
        name : str
            Begins the name of the server's directory.
        plan : callable
            Prepares the directory it is given; returns what to run there and the address it will have. Called again
            with a new directory if the server exits while it starts: another process may have taken a port between
            the choice and its use.

        Raises
        ------
        StartError
            The server does not come up; the message ends with its log, and its directory is gone.
        """
        for attempt in range(START_ATTEMPTS):
            directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
            server, address = plan(directory)
            try:
                self._attempt(name, directory, server)
            except _ExitedError as error:
                if attempt == START_ATTEMPTS - 1:
                    raise StartError(str(error)) from None
            else:
                return address
        raise AssertionError("unreachable")

    def _attempt(self, name: str, directory: Path, server: Server) -> None:
        self._supervise(directory, server)
        try:
            _wait_until_ready(name, directory, server)
        except BaseException:
            _stop([directory], directory)
            raise

    def _supervise(self, directory: Path, server: Server) -> None:
        started_at = supervise.started_at(self.owner_pid)
        if started_at is None:
            raise StartError(f"process {self.owner_pid}, which the servers are started for, does not exist")
        job = supervise.Job(
            owner_pid=self.owner_pid,
            owner_started_at=started_at,
            steps=server.steps,
            environment=dict(server.environment),
            user=server.user,
            stop_signal=server.stop_signal,
            leftovers=[str(path) for path in server.leftovers],
        )
        (directory / supervise.JOB).write_text(json.dumps(asdict(job)))
        with (directory / supervise.LOG).open("ab") as log:
            command = [sys.executable, "-I", "-S", supervise.__file__, str(directory)]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)

    def check_is_running(self, name: str) -> None:
        """Raise StopError if a server that came up has died since; the message ends with its log."""
        for exited in self.directory.glob(f"{name}-*/{supervise.EXITED}"):
            tail = log_tail(exited.with_name(supervise.LOG))
            raise StopError(f"{name} was started for this test run and has died. The end of its log:\n{tail}")

    def stop_all(self) -> None:
        """Stop all servers at once and remove the directory of the run.

        Raises
        ------
        StopError
            A server is still there after ``STOP_SECONDS``; the message names its directory.
        """
        try:
            _stop([job.parent for job in self.directory.glob(f"*/{supervise.JOB}")], self.directory)
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)


class _ExitedError(Exception):
    """The server ended before it answered."""


def _stop(directories: list[Path], common: Path) -> None:
    """Ask the supervisors of these directories to stop, by a file in one of them or above them all; wait for them."""
    with contextlib.suppress(FileNotFoundError):
        (common / supervise.STOP).touch()
    deadline = time.monotonic() + STOP_SECONDS
    while remaining := [str(directory) for directory in directories if directory.exists()]:
        if time.monotonic() > deadline:
            raise StopError(f"not stopped after {STOP_SECONDS:g} seconds: the servers in {', '.join(remaining)}")
        time.sleep(POLL_SECONDS)


def _wait_until_ready(name: str, directory: Path, server: Server) -> None:
    log, deadline = directory / supervise.LOG, time.monotonic() + server.start_seconds
    while not _answers(server):
        if (directory / supervise.EXITED).exists() or not directory.exists():
            raise _ExitedError(f"{name} exited while it started. The end of its log:\n{log_tail(log)}")
        if time.monotonic() > deadline:
            waited = f"{name} does not answer after {server.start_seconds:g} seconds"
            raise StartError(f"{waited}. The end of its log:\n{log_tail(log)}")
        time.sleep(POLL_SECONDS)


def _answers(server: Server) -> bool:
    try:
        return server.is_ready()
    except OSError:
        return False


def free_ports(count: int) -> list[int]:
    """Choose ports on which nothing listens now."""
    ports: list[int] = []
    with contextlib.ExitStack() as sockets:
        for port in random.sample(PORTS, len(PORTS)):
            if len(ports) == count:
                return ports
            with contextlib.suppress(OSError):
                sockets.enter_context(socket.create_server((HOST, port), backlog=1))
                ports.append(port)
    raise StartError(f"there are no {count} free ports on {HOST} from {PORTS.start} to {PORTS.stop - 1}")
