"""What the doctor says of a server that is not the one that DataJoint is told it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from datajoint_file.doctor import database as doctor
from datajoint_file.doctor.database import check_answer

_STARTED = "import sys; sys.argv[0] = 'datajoint-file'; from datajoint_file.cli import main; main()"


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", _STARTED, *arguments]
    return subprocess.run(program, env={**os.environ, **variables}, capture_output=True, text=True, timeout=60)


def test_servers_that_answer_are_not_complained_of(mysql: Any, postgresql: Any) -> None:
    assert check_answer(mysql.host, mysql.port, "mysql") is None
    assert check_answer(f"{mysql.host}:{mysql.port}", 9, "mysql") is None
    assert check_answer(postgresql.host, postgresql.port, "postgresql") is None


def test_postgresql_taken_for_mysql_is_told_within_seconds(postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CONNECT_SECONDS", 0.5)
    start = time.monotonic()
    check = check_answer(postgresql.host, postgresql.port, "mysql")
    assert time.monotonic() - start < 5
    assert check is not None
    assert check.status == "failed"
    assert "export DJ_BACKEND=postgresql" in check.fix


def test_what_hangs_up_at_once_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    check = check_answer("127.0.0.1", port, "mysql")
    assert check is not None
    assert f"127.0.0.1:{port} does not answer" in check.detail


@pytest.mark.parametrize("arguments", [("doctor",), ("gc",), ("verify", "lab"), ("doctor", "--help")])
def test_unknown_backend_of_datajoint_is_one_line(arguments: tuple[str, ...]) -> None:
    done = command(*arguments, DJ_BACKEND="postgres")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "DJ_BACKEND: Input should be 'mysql' or 'postgresql'" in line
