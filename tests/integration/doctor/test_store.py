"""``datajoint-file doctor`` on configurations and stores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from datajoint_file.config import parse_settings
from datajoint_file.doctor import check_store
from tests.cli.conftest import Process, Run, write_configuration
from tests.conftest import CACHE_VARIABLE
from tests.projects import bare_filesystem, unique

from .conftest import Report, report

CANARY = "CANARY/in+a/secret=="
STORE = {"backend", "reachable", "place", "write", "read", "ranged read", "list", "size", "exclusive create", "delete"}


@pytest.fixture
def local(directory: Path) -> Path:
    """The directory of a project on a local disk."""
    (directory / "store").mkdir()
    write_configuration(directory, {"backend": "file", "path": "store"})
    return directory / "store"


@pytest.fixture
def echoing_server() -> Iterator[str]:
    """A server that has no object, refuses all else, and repeats all that it is told."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = escape(" ".join(f"{CANARY} {self.path} {self.headers}".split()))
            body = f"<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>".encode()
            self.send_response(404 if self.command == "HEAD" else 403, "No")
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def store_report(run: Run) -> Report:
    result = run("doctor", "--skip", "database", "--json")
    found = report(result.output)
    assert result.exit_code == (1 if found.status == "failed" else 0)
    return found


def test_directory_passes_and_nothing_is_left(run: Run, local: Path) -> None:
    found = store_report(run)
    assert set(found.statuses("store")) == STORE
    assert set(found.statuses("configuration")) == {"file", "contents", "secrets", "other stores"}
    assert found.status == "ok"
    assert list(local.iterdir()) == []


def test_directories_of_others_are_left(run: Run, local: Path) -> None:
    (local / "datajoint-file-doctor" / "objects" / "mine").mkdir(parents=True)
    assert store_report(run).status == "ok"
    assert (local / "datajoint-file-doctor" / "objects" / "mine").is_dir()


def test_another_protocol_passes_and_no_object_is_left(run: Run, directory: Path) -> None:
    root = f"/{unique('memory')}"
    write_configuration(directory, {"backend": "memory", "path": root})
    found = store_report(run)
    assert set(found.statuses("store")) == STORE | {"clock"}
    assert found.status == "ok"
    assert "not by the store itself" in found.checks["store", "exclusive create"]["detail"]
    assert fsspec.filesystem("memory").find(root) == []


def test_bucket_passes_and_nothing_is_left(run: Run, directory: Path, s3_storage: dict[str, Any]) -> None:
    write_configuration(directory, s3_storage)
    found = store_report(run)
    assert set(found.statuses("store")) == STORE | {"endpoint", "clock"}
    assert found.status == "ok"
    left = bare_filesystem(s3_storage).find(f"{s3_storage['bucket']}/lab", detail=True)
    assert [name for name, found in left.items() if found["type"] == "file"] == []


def test_missing_bucket_is_told(run: Run, directory: Path, s3_storage: dict[str, Any]) -> None:
    write_configuration(directory, {**s3_storage, "bucket": "no-such-bucket"})
    check = store_report(run).checks["store", "reachable"]
    assert check["status"] == "failed"
    assert "create the bucket no-such-bucket" in check["fix"]


def test_wrong_credentials_are_told_and_not_shown(run: Run, directory: Path, s3_storage: dict[str, Any]) -> None:
    write_configuration(
        directory, {**s3_storage, "credentials": {"key": s3_storage["credentials"]["key"], "secret": CANARY}}
    )
    result = run("doctor", "--skip", "database", "--json")
    assert report(result.output).checks["store", "reachable"]["fix"].startswith("correct [storage.credentials]")
    assert CANARY not in result.output
    assert s3_storage["credentials"]["key"] not in result.output


def test_missing_directory_is_told_with_the_command_that_makes_it(run: Run, local: Path) -> None:
    local.rmdir()
    found = store_report(run)
    assert found.statuses("store") == {"backend": "ok", "reachable": "failed"}
    assert f"mkdir -p {local}" in found.checks["store", "reachable"]["fix"]
    assert not local.exists()


def test_failing_store_does_not_hide_the_database(run: Run, local: Path) -> None:
    local.rmdir()
    found = report(run("doctor", "--json").output)
    assert found.statuses("store")["reachable"] == "failed"
    assert found.statuses("database")


def test_missing_configuration_is_told_with_the_command_that_writes_one(run: Run) -> None:
    found = store_report(run)
    assert found.checks["configuration", "file"]["status"] == "failed"
    assert "datajoint-file init" in found.checks["configuration", "file"]["fix"]
    assert found.statuses("store") == {}


def test_store_that_cannot_be_checked_is_said_so(run: Run) -> None:
    assert "not checked" in run("doctor").output


def test_file_that_a_variable_names_must_exist(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", "/nowhere/datajoint.toml")
    check = store_report(run).checks["configuration", "file"]
    assert check["status"] == "failed"
    assert "DATAJOINT_TOML" in check["detail"]


def test_invalid_configuration_is_told_with_file_table_and_key(run: Run, directory: Path) -> None:
    write_configuration(directory, {"backend": "s3", "bukket": "recordings"})
    check = store_report(run).checks["configuration", "contents"]
    assert check["status"] == "failed"
    assert f"{directory / 'datajoint.toml'}: [storage] bukket" in check["detail"]


def test_overriding_variables_are_named(run: Run, local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__PATH", str(local))
    detail = store_report(run).checks["configuration", "contents"]["detail"]
    assert "overridden by DATAJOINT_FILE__STORAGE__PATH" in detail


def test_all_missing_secrets_are_told_at_once(run: Run, directory: Path) -> None:
    credentials = {"key": "${env:NO_SUCH_KEY}", "secret": "${file:no-such-file}"}
    write_configuration(directory, {"backend": "memory", "path": "/lab", "credentials": credentials})
    result = run("doctor", "--skip", "database", "--skip", "store")
    assert result.exit_code == 1
    assert "export NO_SUCH_KEY=" in result.output
    assert "write the secret to no-such-file" in result.output


def test_resolved_secrets_are_named_and_not_shown(run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE_SECRET", CANARY)
    credentials = {"secret": "${env:STORE_SECRET}"}
    write_configuration(directory, {"backend": "memory", "path": "/lab", "credentials": credentials})
    result = run("doctor", "--skip", "database")
    assert "${env:STORE_SECRET}" in result.output
    assert CANARY not in result.output


def test_root_inside_a_store_of_datajoint_is_told(process: Process, local: Path) -> None:
    stores = f'{{"main": {{"protocol": "file", "location": "{local.parent}"}}}}'
    found = report(process("doctor", "--json", "--skip", "database", DJ_STORES=stores).stdout)
    assert found.checks["configuration", "other stores"]["status"] == "failed"
    assert "main" in found.checks["configuration", "other stores"]["detail"]


@pytest.mark.parametrize(
    "storage",
    [
        {"backend": "s3", "bucket": "b", "credentials": {"key": "CANARYKEY", "secret": CANARY}},
        {"backend": "s3", "bucket": "b", "credentials": {"key": "CANARYKEY", "secret": "s", "token": CANARY}},
        {"backend": "s3", "bucket": "b", "options": {"key": "CANARYKEY", "secret": CANARY}},
        {"backend": "gcs", "bucket": "b", "credentials": {"token": CANARY}},
        {"backend": "azure", "container": "b", "credentials": {"connection_string": CANARY}},
        {"backend": "azure", "container": "b", "credentials": {"account_name": "lab", "account_key": CANARY}},
    ],
)
def test_server_that_repeats_secrets_makes_no_secret_appear(
    process: Process, directory: Path, echoing_server: str, storage: dict[str, Any]
) -> None:
    write_configuration(directory, {**storage, "endpoint_url": echoing_server})
    result = process("--debug", "doctor", "--skip", "database")
    assert result.returncode == 1
    assert "CANARY" not in result.stdout + result.stderr


def test_server_that_is_not_there_is_found_at_once_and_no_secret_appears(process: Process, directory: Path) -> None:
    storage = {"backend": "s3", "bucket": "b", "endpoint_url": "http://127.0.0.1:9"}
    write_configuration(directory, {**storage, "credentials": {"key": "CANARYKEY", "secret": CANARY}})
    result = process("doctor", "--skip", "database")
    assert result.returncode == 1
    assert "127.0.0.1:9 does not answer" in result.stdout
    assert "CANARY" not in result.stdout + result.stderr


@pytest.mark.parametrize("section", ["storage", "project"])
def test_secret_in_the_wrong_table_does_not_appear(run: Run, directory: Path, section: str) -> None:
    text = '[project]\nname = "lab"\n[storage]\nbackend = "s3"\nbucket = "b"\n'
    header = f"[{section}]\n"
    (directory / "datajoint.toml").write_text(text.replace(header, f'{header}secret = "{CANARY}"\n'))
    result = run("doctor", "--skip", "database")
    assert result.exit_code == 1
    assert CANARY not in result.output


def test_checks_that_are_broken_off_leave_nothing(tmp_path: Path) -> None:
    document = {"project": {"name": "lab"}, "storage": {"backend": "file", "path": str(tmp_path)}}
    checks = check_store(parse_settings(document, "test"))
    assert "write" in [next(checks).name for _ in range(4)]
    assert list(tmp_path.iterdir())
    checks.close()
    assert list(tmp_path.iterdir()) == []


def test_lines_are_whole_and_plain_when_they_are_not_for_a_terminal(process: Process, local: Path) -> None:
    result = process("doctor", "--skip", "database")
    assert result.returncode == 0
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert all(line == line.rstrip() for line in result.stdout.splitlines())
    assert any(line.endswith(str(local.parent / "datajoint.toml")) for line in result.stdout.splitlines())


def test_marks_suit_a_terminal_without_unicode(process: Process, local: Path) -> None:
    result = process("doctor", "--skip", "database", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "  + write" in result.stdout


def test_unknown_part_cannot_be_skipped(run: Run) -> None:
    assert run("doctor", "--skip", "everything").exit_code == 2


def test_roots_are_looked_at_and_those_that_are_elsewhere_are_a_warning(
    run: Run, directory: Path, local: Path, echoing_server: str
) -> None:
    for name in ("nas", "empty"):
        (directory / name).mkdir()
    (directory / "nas" / "day 1").mkdir()
    (directory / "nas" / "day 1" / "run#1.dat").write_bytes(b"spikes")
    text = (directory / "datajoint.toml").read_text()
    for name, path in {"nas": "nas", "empty": "empty", "away": "/nowhere/nas"}.items():
        text += f'\n[roots.{name}]\npath = "{path}"\n'
    text += f'\n[roots.archive]\nurl = "s3://lab"\nendpoint_url = "{echoing_server}"\n'
    text += f'\n[roots.archive.credentials]\nkey = "key"\nsecret = "{CANARY}"\n'
    (directory / "datajoint.toml").write_text(text)
    result = run("doctor", "--skip", "database", "--json")
    found = report(result.output)
    assert found.statuses("roots") == {"nas": "ok", "empty": "warning", "away": "warning", "archive": "failed"}
    assert "DATAJOINT_FILE__ROOTS__AWAY__PATH" in found.checks["roots", "away"]["fix"]
    assert CANARY not in result.output
