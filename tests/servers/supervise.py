"""Run one server for as long as its owner lives, then stop it and remove what it left.

It knows nothing of particular servers: a ``Job``, read from the ``job.json`` beside the server's log, says what to run.
Started by file name with nothing but the standard library, so that it is up in milliseconds and needs no working
directory.

The owner is the process that began the test run. Its death is noticed by polling, because that also works when it was
killed and when it is not the parent of this process. Whoever starts a supervisor talks to it through files only, as it
may be any process of the run and end before the run does: ``exited`` appears when the server has ended by itself, and a
file ``stop``, in the server's directory or in the one above it, ends the job. A directory that is gone is the sign that
everything is.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

JOB, LOG, EXITED, STOP = "job.json", "log", "exited", "stop"
POLL_SECONDS = 0.1
FIRST_PAUSE_SECONDS = 0.005
GRACE_SECONDS = 5.0
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Job:
    """What to run, for whom, and how to end it; plain values, because they travel as JSON.

    Parameters
    ----------
    owner_pid : int
        The process whose death ends the job.
    owner_started_at : str
        When that process started, so that a later one with the same number is not taken for it.
    steps : list of list of str
        Commands that run one after the other; the last one is the server. A step that fails ends the job.
    environment : dict
        Variables for all steps, in addition to those of this process.
    user : str or None
        System user to run as; None is the current one.
    stop_signal : int
        What asks the server to stop. It is killed when it has not followed after ``GRACE_SECONDS``.
    leftovers : list of str
        Files and directories outside the server's own directory that are removed at the end.
    """

    owner_pid: int
    owner_started_at: str
    steps: list[list[str]]
    environment: dict[str, str]
    user: str | None
    stop_signal: int
    leftovers: list[str]


def started_at(pid: int) -> str | None:
    """Return when a process started, in a form that is good for comparing only; None if it is dead or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _started_at_without_proc(pid)
    return None if fields[0] in "ZX" else fields[19]


def _started_at_without_proc(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    return "unknown"


class Supervisor:
    """Run the job of one directory.

    Parameters
    ----------
    directory : Path
        The server's own directory, inside the directory of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.job = Job(**json.loads((directory / JOB).read_text()))
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Run the steps, wait until the job is over, stop the server, clean up."""
        try:
            if self._run_steps():
                self._wait_for_end()
        finally:
            signal.signal(signal.SIGTERM, _do_nothing)
            self._stop_server()
            self._clean_up()

    def _run_steps(self) -> bool:
        """Run the commands; True when they ended by themselves, False when the job was over first."""
        for step in self.job.steps:
            try:
                self.process = self._start(step)
            except OSError as error:
                return self._note_exit(f"{step[0]}: {error}")
            if not self._wait_for_step(self.process):
                return False
            if self.process.returncode:
                break
        return self._note_exit("")

    def _note_exit(self, reason: str) -> bool:
        with (self.directory / LOG).open("a", encoding="utf-8") as log:
            log.write(reason)
        (self.directory / EXITED).touch()
        return True

    def _wait_for_step(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for a command; False if the job was over first."""
        pause = FIRST_PAUSE_SECONDS
        while not self._is_over():
            if process.poll() is not None:
                return True
            time.sleep(pause)
            pause = min(1.5 * pause, POLL_SECONDS)
        return False

    def _wait_for_end(self) -> None:
        """Keep the log of a server that died, for whoever asks for it."""
        while not self._is_over():
            time.sleep(POLL_SECONDS)

    def _is_over(self) -> bool:
        return self._run_is_over() or (self.directory / STOP).exists() or not self.directory.exists()

    def _run_is_over(self) -> bool:
        owner_is_gone = started_at(self.job.owner_pid) != self.job.owner_started_at
        return owner_is_gone or (self.directory.parent / STOP).exists()

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        user = self.job.user
        with (self.directory / LOG).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env={**os.environ, **self.job.environment},
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def _stop_server(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self._signal(self.job.stop_signal)
        try:
            self.process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _clean_up(self) -> None:
        """Remove what the server left; the last supervisor of a run that is over also removes the run's directory."""
        for leftover in map(Path, self.job.leftovers):
            _remove(leftover)
        run_is_over, run_directory = self._run_is_over(), self.directory.parent
        _remove(self.directory)
        if run_is_over and not any(run_directory.glob(f"*/{JOB}")):
            _remove(run_directory)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _die_with_parent() -> None:
    """Have the kernel kill the server if even the supervisor is killed (Linux)."""
    if sys.platform == "linux":
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Unlike ``SIG_IGN``, a handler is not inherited by the server."""


def main(directory: str) -> None:
    """Return at once, and supervise the job of a directory in the background; SIGTERM ends it early."""
    if os.fork():
        return
    os.setsid()
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGHUP, _do_nothing)
    signal.signal(signal.SIGINT, _do_nothing)
    Supervisor(Path(directory)).run()


if __name__ == "__main__":
    main(sys.argv[1])
