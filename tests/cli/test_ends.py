"""How commands end: exit codes of errors, and the lock that keeps a second run away."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from datajoint_file.cli import main
from datajoint_file.cli.mirror import exit_code
from datajoint_file.cli.one_at_a_time import lock_of_project, one_at_a_time
from datajoint_file.errors import CollectionRefusedError, StorageAccessError, StorageUnavailableError
from datajoint_file.mirror import MirrorReport


def ending_with(error: Exception | None, lock: Path | None = None, *, quiet: bool = False) -> Result:
    """Run a command that does nothing but raise *error*, if it comes to it."""

    @click.command()
    def command() -> None:
        with one_at_a_time(lock, "datajoint-file command", quiet=quiet):
            click.echo("at work")
            if error is not None:
                raise error

    main.commands["command"] = command
    try:
        return CliRunner().invoke(main, ["command"])
    finally:
        del main.commands["command"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageUnavailableError("no network"), 4),
        (StorageAccessError("no right"), 4),
        (ZeroDivisionError("a fault of ours"), 4),
        (OSError("no file descriptors"), 4),
        (CollectionRefusedError("refused"), 1),
        (click.UsageError("no such option"), 2),
        (None, 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_told_apart_from_what_was_found(error: Exception | None, code: int) -> None:
    done = ending_with(error)
    assert done.exit_code == code
    assert ("Traceback" in done.output) == isinstance(error, ZeroDivisionError) or type(error) is OSError


def test_one_run_at_a_time_and_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        loud, quiet = ending_with(None, lock), ending_with(None, lock, quiet=True)
    assert (loud.exit_code, quiet.exit_code) == (3, 3)
    assert "Another `datajoint-file command` is at it" in loud.output
    assert quiet.output == ""
    assert ending_with(None, lock).output == "at work\n"
    assert json.loads(lock.read_text())["command"] == "datajoint-file command"
    assert ending_with(None, lock).output == "at work\n"


def test_a_run_without_a_place_for_its_lock_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert lock_of_project("gc-lab-1") is None
    assert ending_with(None, None).output == "at work\n"
    assert ending_with(None, tmp_path / "nowhere" / "lock").output == "at work\n"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert lock_of_project("gc-lab-1") == tmp_path / "state" / "datajoint-file" / "gc-lab-1.lock"


def test_a_lock_is_no_link_that_somebody_else_has_put_there(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    assert ending_with(None, tmp_path / "lock").output == "at work\n"
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize(("damaged", "interruption", "code"), [(1, "away", 1), (1, "", 1), (0, "away", 4), (0, "", 1)])
def test_damage_is_not_hidden_by_what_happened_then(damaged: int, interruption: str, code: int) -> None:
    report = MirrorReport(damaged=damaged, problems=(("a", "?"),), interruption=interruption)
    assert (exit_code(report), exit_code(MirrorReport())) == (code, 0)
