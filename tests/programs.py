"""Python programs that begin at once: forked from a process that has imported the libraries, and nothing under test.

The libraries take a second to import, and a run of the tests starts a thousand programs. DataJoint and this package,
which read their environment as they are imported, are imported by each program anew. What is about the start of the
interpreter itself, or is to be used from a terminal, needs a real process instead.

Run as ``python -m tests.programs FD``, with a socket that brings orders.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import botocore.session

LIBRARIES = (
    "click",
    "fsspec.implementations.local",
    "httpx",
    "networkx",
    "pandas",
    "psycopg2",
    "pydantic_settings",
    "pymysql",
    "pyparsing",
    "rich.console",
    "rich.table",
    "s3fs",
    "tqdm",
)
ROOT = Path(__file__).parents[1]


def share_descriptions() -> None:
    """Let all clients of S3 in this process know what one has read: it is a megabyte of JSON for each of them."""
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)


class Programs:
    """Starts programs. Use as a context, which ends the process that they are forked from."""

    def __enter__(self) -> Programs:
        self._orders, theirs = socket.socketpair()
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # none that a fork would lose
        self._parent = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._parent.wait()

    def run(
        self,
        *words: str,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        given: str = "",
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script, or ``-m`` a module, with its arguments; return what it gave, as `subprocess.run` does.

        Raises
        ------
        subprocess.TimeoutExpired
            It has not ended in time; it is killed.
        """
        order = {"words": words, "cwd": str(cwd or Path.cwd()), "environment": dict(environment or os.environ)}
        with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as stdin:
            written.write(json.dumps(order).encode())
            stdin.write(given.encode())
            for file in (written, stdin):
                file.seek(0)
            with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
                files = [file.fileno() for file in (written, stdin, stdout, stderr)]
                status = self._run(files, words, timeout)
                said = []
                for file in (stdout, stderr):
                    file.seek(0)
                    said.append(file.read().decode().replace("\r\n", "\n"))
        return subprocess.CompletedProcess(words, status, *said)

    def _run(self, files: list[int], words: tuple[str, ...], timeout: float) -> int:
        told, theirs = socket.socketpair()
        with told, told.makefile() as lines:
            with theirs:
                socket.send_fds(self._orders, [b"!"], [theirs.fileno(), *files])
            told.settimeout(timeout)
            child = int(lines.readline())
            try:
                return int(lines.readline())
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout) from None


def main(orders: socket.socket) -> None:
    """Fork a program for each order, until nobody is left to give one."""
    for library in LIBRARIES:
        importlib.import_module(library)
    share_descriptions()
    botocore.session.Session().create_client("s3", region_name="us-east-1")
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who waits for a program ends unwaited for
    while True:
        message, files, _, _ = socket.recv_fds(orders, 1, 5)
        if not message:
            return
        if os.fork() == 0:
            break
        for file in files:
            os.close(file)
    orders.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _begin(*files)


def _begin(told: int, written: int, *files: int) -> None:
    """Become the program that is *written*, with *files* 0 to 2; the process before waits, and tells its end."""
    child = os.fork()
    if child == 0:
        os.close(told)
        with os.fdopen(written) as text:
            order = json.load(text)
        for wanted, file in enumerate(files):
            os.dup2(file, wanted)
            os.close(file)
        _become(**order)
        return
    with suppress(BrokenPipeError):  # nobody waits any longer
        os.write(told, b"%d\n" % child)
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def _become(words: list[str], cwd: str, environment: dict[str, str]) -> None:
    """Go on as ``python *words``."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(  # type: ignore[misc]
        2, "w", closefd=False, errors="backslashreplace", buffering=1
    )
    module: Any = types.ModuleType("__main__")
    if words[0] == "-m":
        module.__spec__ = find_spec(words[1])
        module.__package__ = module.__spec__.parent
        words = [module.__spec__.origin, *words[2:]]
    sys.path[0] = cwd if module.__spec__ else str(Path(words[0]).resolve().parent)
    sys.argv = words
    module.__file__ = words[0]
    sys.modules["__main__"] = module
    exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), vars(module))


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
