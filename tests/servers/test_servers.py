"""The servers of the suite start once, fail with their log, and never outlive the run.

Whether each real server works is shown by the tests that use it, and by ``python -m tests.servers``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import MissingServerError, Servers, StartError, StopError
from tests.servers.environment import ambient_variables, isolated_environment
from tests.servers.mysql import GIVEN, find_program, parse_given
from tests.servers.probe import status
from tests.servers.process import HOST, Run, Server, free_ports

PATIENCE_SECONDS = 20.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


@pytest.fixture
def run(directory: Path) -> Iterator[Run]:
    run = Run(directory, os.getpid())
    yield run
    run.stop_all()


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def web_server(directory: Path) -> tuple[Server, int]:
    [port] = free_ports(1)
    command = [sys.executable, "-I", "-m", "http.server", "--bind", HOST, str(port)]
    return Server([command], lambda: status(f"http://{HOST}:{port}/") == 200), port


def is_listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while directory.exists():
        assert time.monotonic() < deadline, f"{directory} is still there"
        time.sleep(0.02)


def test_a_server_answers_until_the_run_ends(directory: Path) -> None:
    run = Run(directory, os.getpid())
    port = run.start("web", web_server)
    assert is_listening(port)
    run.stop_all()
    assert not is_listening(port)
    assert not directory.exists()


def test_a_server_ends_with_its_owner(directory: Path, owner: subprocess.Popen[bytes]) -> None:
    port = Run(directory, owner.pid).start("web", web_server)
    owner.kill()
    wait_until_gone(directory)
    assert not is_listening(port)


def test_a_server_that_has_not_come_up_ends_with_its_owner_too(
    directory: Path, owner: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    mark = tmp_path / "started"

    def kill_owner_after_start() -> bool:
        if mark.exists():
            owner.kill()
        return False

    def plan(directory: Path) -> tuple[Server, None]:
        return Server([["/bin/sh", "-c", f"touch {mark}; exec sleep 600"]], kill_owner_after_start), None

    with pytest.raises((StartError, FileNotFoundError)):
        Run(directory, owner.pid).start("slow", plan)
    wait_until_gone(directory)


def test_an_owner_that_does_not_exist_is_refused(directory: Path, owner: subprocess.Popen[bytes]) -> None:
    owner.kill()
    owner.wait()
    with pytest.raises(StartError, match=str(owner.pid)):
        Run(directory, owner.pid).start("web", web_server)


def test_what_a_server_leaves_elsewhere_is_removed(run: Run, tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)

    def plan(directory: Path) -> tuple[Server, None]:
        command = ["/bin/sh", "-c", f"touch {file}; exec sleep 600"]
        return Server([command], file.exists, leftovers=(file, folder)), None

    run.start("untidy", plan)
    run.stop_all()
    assert not file.exists()
    assert not folder.exists()


def test_a_server_that_exits_is_tried_again_with_other_ports(run: Run) -> None:
    attempts: list[Path] = []

    def plan(directory: Path) -> tuple[Server, int]:
        attempts.append(directory)
        return web_server(directory) if len(attempts) == 2 else (Server([["false"]], lambda: False), 0)

    assert is_listening(run.start("unlucky", plan))
    assert not attempts[0].exists()


@pytest.mark.parametrize(
    "steps", [[["sh", "-c", "echo no disk; exit 3"]], [["sh", "-c", "echo no disk; exit 3"], ["sleep", "9"]]]
)
def test_a_server_that_exits_reports_the_end_of_its_log(run: Run, steps: list[list[str]]) -> None:
    with pytest.raises(StartError, match=r"broken exited while it started(.|\n)*no disk"):
        run.start("broken", lambda directory: (Server(steps, lambda: False), None))
    assert list(run.directory.glob("broken-*")) == []


def test_a_program_that_does_not_exist_is_named(run: Run) -> None:
    with pytest.raises(StartError, match="no-such-program"):
        run.start("absent", lambda directory: (Server([["no-such-program"]], lambda: False), None))


def test_a_server_that_never_answers_reports_the_end_of_its_log(run: Run) -> None:
    command = ["sh", "-c", "echo waiting for nothing; exec sleep 600"]
    with pytest.raises(StartError, match=r"mute does not answer after 0.5 seconds(.|\n)*waiting for nothing"):
        run.start("mute", lambda directory: (Server([command], lambda: False, start_seconds=0.5), None))
    assert list(run.directory.glob("mute-*")) == []


def test_a_server_that_died_since_is_reported(run: Run, tmp_path: Path) -> None:
    end = tmp_path / "end"
    command = ["sh", "-c", f"echo out of memory; until test -e {end}; do sleep 0.05; done"]
    run.start("mortal", lambda directory: (Server([command], lambda: True), None))
    run.check_is_running("mortal")
    end.touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    with pytest.raises(StopError, match=r"mortal was started(.|\n)*out of memory"):
        while time.monotonic() < deadline:
            run.check_is_running("mortal")
            time.sleep(0.02)


def test_all_who_ask_at_once_get_the_same_server(directory: Path) -> None:
    everyone = [Servers(directory, os.getpid()) for _ in range(8)]
    with ThreadPoolExecutor(len(everyone)) as pool:
        addresses = list(pool.map(Servers.gcs, everyone))
    assert len(set(addresses)) == 1
    assert len(list(directory.glob("fake-gcs-*"))) == 1
    everyone[0].stop_all()


def test_a_failed_start_is_reported_to_all_and_tried_once(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    script = f'case "$*" in *--version*) echo mysqld MySQL;; *) echo start >>{calls}; echo broken; exit 1;; esac'
    (programs / "mysqld").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "mysqld").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.delenv(GIVEN, raising=False)
    servers = Servers(directory, os.getpid())
    with pytest.raises(StartError, match="broken"):
        servers.mysql()
    tried = calls.read_text()
    with pytest.raises(StartError, match="broken"):
        Servers(directory, os.getpid()).mysql()
    assert calls.read_text() == tried
    servers.stop_all()


def test_a_missing_server_is_an_error_that_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("tests.servers.mysql.DIRECTORIES", ())
    with pytest.raises(MissingServerError, match="apt-get install mariadb-server-core"):
        find_program()


@pytest.mark.parametrize(
    ("given", "account"),
    [
        ("db:3307", ("db", 3307, "root", "")),
        ("db", ("db", 3306, "root", "")),
        ("ann:p%40ss@127.0.0.1:3306", ("127.0.0.1", 3306, "ann", "p@ss")),
    ],
)
def test_a_given_server_is_read(given: str, account: tuple[str, int, str, str]) -> None:
    assert parse_given(given) == account


def test_a_given_server_without_a_host_is_refused() -> None:
    with pytest.raises(StartError, match="names no host"):
        parse_given(":3306")


def test_variables_of_the_user_are_not_seen_by_tests() -> None:
    assert ambient_variables(["AWS_PROFILE", "DJ_HOST", "HOME", "DJF_TEST_MYSQL"]) == ["AWS_PROFILE", "DJ_HOST"]
    assert isolated_environment()["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] == "false"
