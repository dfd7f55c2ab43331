"""``datajoint-file browse`` as a process: what it prints, whom it lets in, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from datajoint_file.browse.address import Address
from datajoint_file.journal.second_connection import second_connection_of
from tests.projects import Store, over_mysql

from .conftest import PROGRAM, Process, Run, mysql_variables, write_configuration

BROWSER = """#!{python}
import pathlib, sys, urllib.request, urllib.parse
pathlib.Path({noted!r}).write_text("\\n".join(sys.argv[1:]))
page = pathlib.Path(urllib.parse.urlsplit(sys.argv[1]).path)
pathlib.Path({noted!r} + ".page").write_text(f"{{page.parent.stat().st_mode & 0o777:o}} {{page.read_text()}}")
"""


@pytest.fixture
def variables(directory: Path, mysql: Any, store: Store) -> dict[str, str]:
    write_configuration(directory, store.table, store.project)
    return {**os.environ, **mysql_variables(mysql)}


@pytest.fixture
def started(directory: Path, variables: dict[str, str]) -> Iterator[Any]:
    """Start the command, and give it with the address that it prints."""
    running = list[subprocess.Popen[str]]()

    def start(*arguments: str, **more: str) -> tuple[subprocess.Popen[str], str]:
        command = [PROGRAM, "browse", *arguments]
        process = subprocess.Popen(
            command, env={**variables, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout
        first = process.stdout.readline()
        found = re.search(r"http://\S+", first)
        assert found, first + (process.stderr.read() if process.stderr else "")
        return process, found[0]

    yield start
    for process in running:
        process.kill()
        process.communicate()


@over_mysql
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_ended(started: Any, table: Any, number: signal.Signals) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"1"), "extra": None})
    process, address = started("--no-open")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/enter\?secret=[\w-]{43}", address)
    with httpx.Client(base_url=address.partition("/enter")[0]) as client:
        assert client.get("/").status_code == 403
        assert client.get(address).status_code == 200
        assert table.database in client.get("/").text
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert output.endswith("Ended.\n")
    assert address not in output


@over_mysql
def test_what_takes_long_does_not_keep_it_from_ending(started: Any, table: Any, store: Store) -> None:
    """A page waits for a database that waits for a lock, and a download breaks off; it ends, and says nothing."""
    table.insert1({"id": 1, "raw": ("large.dat", b"x" * 3 * 2**20), "extra": None})
    store.damage(table.fetch1("raw").path, b"y" * 3 * 2**20)
    process, address = started("--no-open")
    second = second_connection_of(table.connection)
    second.execute(f"LOCK TABLES {table.full_table_name} WRITE")
    address_of = Address(table.database, "Recording", "raw")
    with httpx.Client(base_url=address.partition("/enter")[0]) as client:
        client.get(address)
        with pytest.raises(httpx.ReadTimeout):
            client.get(address_of.url("sum"), timeout=httpx.Timeout(30, read=1))
        second.execute("UNLOCK TABLES")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(address_of.url("download", (1,)))
        second.execute(f"LOCK TABLES {table.full_table_name} WRITE")
        with pytest.raises(httpx.ReadTimeout):
            client.get(address_of.url("files"), timeout=httpx.Timeout(30, read=1))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    second.execute("UNLOCK TABLES")
    assert (process.returncode, errors) == (0, "")
    assert output.endswith("Ended.\n")


@over_mysql
def test_it_listens_to_this_machine_alone(started: Any, table: Any) -> None:
    _, address = started("--no-open")
    port = int(re.findall(r":(\d+)/", address)[0])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [one[1] for one in listening if one[3] == "0A" and int(one[1].partition(":")[2], 16) == port] == [
        f"0100007F:{port:04X}"
    ]
    bound = [line.split()[1] for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    assert not [one for one in bound if int(one.rpartition(":")[2], 16) == port]


@over_mysql
def test_a_browser_is_opened_without_the_secret_among_its_arguments(started: Any, table: Any, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    browser = tmp_path / "browser"
    browser.write_text(BROWSER.format(python=sys.executable, noted=str(noted)))
    browser.chmod(0o700)
    page = noted.with_name("noted.page")
    os.mkfifo(page)
    process, address = started(BROWSER=str(browser))
    mode, html = page.read_text().split(" ", 1)  # waits until it is written
    arguments = noted.read_text()
    assert re.fullmatch(r"file:///\S+/open\.html", arguments)
    assert mode == "700"
    entrance = re.findall(r"url=([^\"]+)", html)[0]
    assert entrance.partition("=")[0] == f"{address.partition('?')[0]}?pass"
    assert entrance.partition("=")[2] not in arguments
    with httpx.Client() as client:
        assert client.get(entrance, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200
        assert client.get(entrance).status_code == 403
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert not Path(arguments.removeprefix("file://")).parent.exists()


@over_mysql
def test_a_port_that_is_taken_is_said(started: Any, variables: dict[str, str], table: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [PROGRAM, "browse", "--no-open", "--port", port]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"--port {port}" in done.stderr


def test_a_database_that_does_not_answer_is_said_at_once(process: Process) -> None:
    done = process("browse", "--no-open", DJ_HOST="127.0.0.1", DJ_PORT="1", DJ_USER="anna", DJ_PASS="not to be shown")
    assert done.returncode == 4
    assert "anna@127.0.0.1:1" in done.stderr
    assert "not to be shown" not in done.stdout + done.stderr


def test_packages_that_are_missing_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("datajoint_file.browse")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("datajoint_file.browse", raising=False)  # or the package would keep what is imported here
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = run("browse")
    assert result.exit_code == 4
    assert "pip install starlette uvicorn jinja2 matplotlib" in result.stderr
