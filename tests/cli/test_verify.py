"""``datajoint-file verify`` as cron and people call it: a process of its own, on real databases and stores."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

from datajoint_file.verification.open_findings import OpenFindings
from tests.projects import Store, over_local_and_s3

from .conftest import Process, Run, mysql_variables, postgresql_variables, write_configuration

on_mysql = pytest.mark.parametrize("database", ["mysql"], indirect=True)

Verify = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def recording(schema: dj.Schema) -> Any:
    @schema
    class Recording(dj.Manual):
        definition = """
        recording_id : int32
        ---
        raw : file
        """

        class Trace(dj.Part):
            definition = """
            -> master
            trace : int32
            ---
            samples : file
            """

    Recording.insert({"recording_id": n, "raw": ("raw.dat", b"spikes %d" % n)} for n in range(5))
    Recording.Trace.insert1({"recording_id": 1, "trace": 1, "samples": ("t.bin", b"trace")})
    return Recording


@pytest.fixture
def verify(process: Process, directory: Path, database: Any, recording: Any, store: Store) -> Verify:
    """Run the command where the project's ``datajoint.toml`` is, connected as DataJoint is configured to."""
    write_configuration(directory, store.table)
    path = directory / "datajoint.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"lab"', f'"{store.project}"'), encoding="utf-8")
    is_postgresql = "postgres" in type(database).__name__.lower()
    variables = postgresql_variables(database) if is_postgresql else mysql_variables(database)

    def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return process("verify", *arguments, **{**variables, "DJ_LOG_LEVEL": "ERROR", **environment})

    return start


def path_of(table: Any, attribute: str, condition: str) -> str:
    return str((table & condition).fetch1(attribute).path)


@over_local_and_s3
def test_sound_schema_ends_with_0_and_a_damaged_one_with_1(verify: Verify, recording: Any, store: Store) -> None:
    sound = verify(recording.database)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert sound.stdout.startswith("6 files checked (content, 45 B read) in ")
    assert sound.stdout.endswith(": no problem\n")

    path = path_of(recording.Trace, "samples", "trace = 1")
    store.damage(path, b"tracf")
    damaged = verify(recording.database)
    assert damaged.returncode == 1
    problem, fix, summary = damaged.stdout.splitlines()
    where = f"{recording.database}.Recording.Trace.samples (recording_id=1, trace=1)"
    assert problem.split(None, 2)[1] == "hash"
    assert f"{where}: {path}: expected sha256:" in problem
    assert fix.strip().startswith("fix: it was damaged or replaced: restore it")
    assert "1 problem (1 hash)" in summary


@on_mysql
def test_all_is_instead_of_names(verify: Verify, recording: Any, directory: Path) -> None:
    state = str(directory / "state.json")
    assert json.loads(verify("--all", "--json", "--level", "size", "--state", state).stdout)["checked"] == 6
    for arguments in ([], ["--all", recording.database]):
        wrong = verify(*arguments)
        assert (wrong.returncode, "or --all and no names" in wrong.stderr) == (2, True)
    path = directory / "datajoint.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('name = "', 'name = "other_'), encoding="utf-8")
    nothing = verify("--all")
    assert (nothing.returncode, "has files of the project 'other_" in nothing.stderr) == (2, True)


def test_tables_are_named_as_people_write_them(verify: Verify, recording: Any) -> None:
    name = recording.database
    for arguments, count in (
        ([f"{name}.Recording"], 5),
        ([f"{name}.Recording.Trace"], 1),
        ([f"{name}.recording__trace", f"{name}.Recording"], 6),
    ):
        report = json.loads(verify(*arguments, "--json", "--level", "size", "--workers", "2").stdout)
        assert report == {
            "ok": True,
            "level": "size",
            "checked": count,
            "directories": 0,
            "members": 0,
            "size": 0,
            "seconds": report["seconds"],
            "remaining": 0,
            "position": None,
            "interruption": "",
            "findings": [],
            "mended": [],
        }


def test_problems_in_json_name_all_there_is_to_know(verify: Verify, recording: Any, store: Store) -> None:
    path = path_of(recording, "raw", "recording_id = 3")
    store.remove(path)
    done = verify(recording.database, "--json", "--level", "exists")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding.pop("advice").startswith("restore it")
    assert finding == {
        "kind": "missing",
        "table": f"{recording.database}.Recording",
        "attribute": "raw",
        "key": {"recording_id": 3},
        "path": path,
        "expected": "an object of 8 bytes",
        "found": "no object",
        "member": "",
        "linked": "",
    }


def test_many_problems_of_a_kind_are_counted(verify: Verify, recording: Any, store: Store) -> None:
    recording.insert({"recording_id": n, "raw": ("raw.dat", b"%d" % n)} for n in range(100, 130))
    for path in (recording & "recording_id >= 100").to_arrays("raw"):
        store.remove(path.path)
    done = verify(recording.database, "--level", "exists")
    assert done.returncode == 1
    assert done.stdout.count("fix: ") == 20
    assert "and 10 more of them (missing); --json names them all" in done.stdout


def test_cron_goes_round_with_a_budget_and_a_state(
    verify: Verify, recording: Any, store: Store, tmp_path: Path
) -> None:
    state = tmp_path / "verify.json"
    arguments = (recording.database, "--budget", "16B", "--state", str(state), "--json")
    store.remove(path_of(recording, "raw", "recording_id = 0"))
    reports = []
    for _ in range(4):
        done = verify(*arguments)
        reports.append(json.loads(done.stdout))
        assert (done.returncode, reports[-1]["ok"]) == (1, False)  # it is missing all the time
        assert json.loads(state.read_text())["position"] == reports[-1]["position"]
    assert [(report["checked"], report["remaining"]) for report in reports] == [(3, 3), (2, 1), (1, 0), (2, 4)]
    assert [len(report["findings"]) for report in reports] == [1, 0, 0, 0]  # it is looked at first, so is its turn last
    assert [(len(report["remembered"]), report["mended"]) for report in reports] == [(0, 0), (1, 0), (1, 0), (1, 0)]
    names = sorted(entry.name for entry in tmp_path.iterdir() if "verify" in entry.name)
    assert names == ["verify.json", "verify.json.lock"]

    other_task = json.loads(verify(f"{recording.database}.Recording", *arguments[1:]).stdout)
    assert other_task["checked"] == 2  # a position in another task is none in this one: it begins with the oldest
    *_, last, earlier = verify(*arguments[:-1]).stdout.splitlines()
    assert last.endswith(" files not checked yet")
    assert earlier == "1 earlier problem still not mended, 0 mended since the last run"


def test_finding_is_said_again_until_it_is_mended_or_its_row_is_gone(
    verify: Verify, recording: Any, store: Store, tmp_path: Path
) -> None:
    state = ("--state", str(tmp_path / "state"), "--quiet")
    paths = [path_of(recording, "raw", f"recording_id = {n}") for n in range(3)]
    contents = [store.content(path) for path in paths]
    for path in paths:
        store.damage(path, b"damaged!")
    first = verify(f"{recording.database}.Recording", *state)
    assert first.returncode == 1
    assert first.stdout.count(" hash ") == 3
    rest = (f"{recording.database}.Recording.Trace", "--level", "exists", *state)  # another task, less closely
    again = verify(*rest)
    assert again.returncode == 1
    assert again.stdout.count(" since 20") == 3
    assert again.stdout.count("fix: ") == 3
    store.damage(paths[0], contents[0])
    summary = verify(*rest[:-1]).stdout.splitlines()[-1]
    assert summary == "2 earlier problems still not mended, 1 mended since the last run"
    (recording & "recording_id = 1").delete(prompt=False)
    recording.update1({"recording_id": 2, "raw": ("new.dat", b"new")})
    mended = verify(*rest)
    assert (mended.returncode, mended.stdout, mended.stderr) == (0, "", "")
    assert json.loads((tmp_path / "state").read_text())["open"] == []


@on_mysql
@pytest.mark.parametrize(("kind", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_what_was_found_is_remembered_though_a_signal_ends_the_run(
    run: Run,
    verify: Verify,
    recording: Any,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: int,
    code: int,
) -> None:
    state = ("--state", str(tmp_path / "state"))
    store.remove(path_of(recording, "raw", "recording_id = 2"))
    settle = OpenFindings.settle

    def interrupted(findings: OpenFindings, *given: Any) -> bool:
        is_new = settle(findings, *given)
        if given[2] is not None:
            os.kill(os.getpid(), kind)
        return is_new

    with monkeypatch.context() as patch:
        patch.setattr("datajoint_file.cli.verify.connect", lambda: recording.connection)
        patch.setattr(OpenFindings, "settle", interrupted)
        assert run("verify", f"{recording.database}.Recording", "--workers", "1", *state).exit_code == code
    remembered = json.loads((tmp_path / "state").read_text())
    assert len(remembered["open"]) == 1
    rest = json.loads(verify(f"{recording.database}.Recording", "--json", *state).stdout)
    assert json.loads(remembered["position"])["key"]
    assert 3 <= rest["checked"] < 5


@on_mysql
def test_a_budget_is_one_for_open_findings_and_all_others(
    verify: Verify, recording: Any, store: Store, tmp_path: Path
) -> None:
    state = ("--state", str(tmp_path / "state"), "--json")
    store.damage(path_of(recording, "raw", "recording_id = 0"), b"damaged!")
    store.damage(path_of(recording.Trace, "samples", "trace = 1"), b"tracf")
    assert verify(recording.database, *state).returncode == 1
    seen = []
    for _ in range(2):  # what does not fit today is first tomorrow
        verify(recording.database, "--budget", "1B", *state)
        seen.append(json.loads((tmp_path / "state").read_text())["open"][0]["table"])
    assert len(set(seen)) == 2
    report = json.loads(verify(recording.database, "--budget", "14B", *state).stdout)
    assert report["checked"] == 1  # 13 bytes were read of the open ones


@on_mysql
def test_finding_of_a_table_that_is_gone_is_forgotten(
    verify: Verify, recording: Any, store: Store, tmp_path: Path
) -> None:
    state = ("--state", str(tmp_path / "state"), "--quiet")
    store.remove(path_of(recording.Trace, "samples", "trace = 1"))
    assert verify(recording.database, *state).returncode == 1
    recording.Trace().drop_quick()
    assert verify(recording.database, *state).returncode == 0


@on_mysql
def test_quiet_run_prints_findings_only(verify: Verify, recording: Any, store: Store) -> None:
    sound = verify(recording.database, "--quiet")
    assert (sound.returncode, sound.stdout, sound.stderr) == (0, "", "")
    as_json = verify(recording.database, "--quiet", "--json")
    assert (as_json.returncode, as_json.stdout, as_json.stderr) == (0, "", "")
    store.remove(path_of(recording, "raw", "recording_id = 0"))
    damaged = verify(recording.database, "--quiet")
    assert damaged.returncode == 1
    assert "missing" in damaged.stdout


@on_mysql
def test_second_run_with_a_state_leaves_it_to_the_first(verify: Verify, recording: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with (tmp_path / "state.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(json.dumps({"pid": 17, "host": "abc", "since": "1999-01-01T00:00:00Z", "command": "x"}))
        lock.flush()
        done = verify(recording.database, "--state", str(state), "--quiet")  # said all the same: it is perhaps stuck
        assert (done.returncode, done.stdout) == (3, "")
        assert "Another `x` is at it (process 17 on abc, since 1999-01-01T00:00:00Z): nothing was done." in done.stderr
    assert not state.exists()


@on_mysql
def test_few_files_of_a_store_that_is_gone_are_no_damage(
    verify: Verify, recording: Any, store: Store, tmp_path: Path
) -> None:
    Path(store.table["path"]).rename(tmp_path / "unmounted")
    assert verify(recording.database).returncode == 4


def test_store_that_is_gone_ends_with_4(verify: Verify, recording: Any, store: Store, tmp_path: Path) -> None:
    recording.insert({"recording_id": n, "raw": ("raw.dat", b"x")} for n in range(10, 25))
    Path(store.table["path"]).rename(tmp_path / "unmounted")
    done = verify(recording.database, "--state", str(tmp_path / "state"))
    assert done.returncode == 4
    assert "21 files not checked yet; stopped: the store cannot be reached: 10 objects in a row" in done.stdout
    assert "is its disk mounted?" in done.stdout
    (tmp_path / "unmounted").rename(store.table["path"])
    assert verify(recording.database, "--state", str(tmp_path / "state")).stdout.startswith("21 files checked")


def test_empty_mount_point_is_pointed_at(verify: Verify, recording: Any, store: Store, tmp_path: Path) -> None:
    Path(store.table["path"]).rename(tmp_path / "unmounted")
    Path(store.table["path"]).mkdir()
    Path(store.table["path"], "README").write_text("not mounted")
    done = verify(recording.database)
    assert done.returncode == 4
    assert "no mark of any schema, and a row names" in done.stdout
    assert "is its disk mounted, and is this the right bucket" in done.stdout
    shutil.copytree(tmp_path / "unmounted" / "~registry", Path(store.table["path"], "~registry"))
    done = verify(recording.database)
    assert done.returncode == 1
    assert "Not one object is there: is its disk mounted" in done.stdout


def test_wrong_names_are_answered_with_the_nearest(verify: Verify, recording: Any) -> None:
    done = verify(f"{recording.database}x")
    assert done.returncode == 2
    assert f"there is no schema '{recording.database}x' on this server" in done.stderr
    done = verify(f"{recording.database}.Recordings")
    assert done.returncode == 2
    assert f"there is no table 'Recordings' in {recording.database}; did you mean 'Recording'?" in done.stderr


def test_missing_configuration_is_an_error_not_usage(verify: Verify, recording: Any, directory: Path) -> None:
    (directory / "datajoint.toml").unlink()
    done = verify(recording.database)
    assert done.returncode == 4
    assert "no datajoint.toml" in done.stderr


def test_thread_safe_mode_is_respected(verify: Verify, recording: Any) -> None:
    assert verify(recording.database, DJ_THREAD_SAFE="true").returncode == 0


def test_missing_database_settings_are_an_error(process: Process) -> None:
    done = process("verify", "lab", DJ_USER="", DJ_HOST="127.0.0.1", DJ_PORT="1")
    assert done.returncode == 4
    assert "no database password is configured" in done.stderr
    assert "Traceback" not in done.stderr


def test_server_that_does_not_answer_is_an_error(process: Process) -> None:
    done = process("verify", "lab", DJ_USER="u", DJ_PASS="CANARY", DJ_HOST="127.0.0.1", DJ_PORT="1")
    assert done.returncode == 4
    assert "u@127.0.0.1:1: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "CANARY" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give the names of schemas or tables, or --all"),
        (("lab", "--level", "hash"), "'exists', 'size', 'content'"),
        (("lab", "--budget", "much"), "budget = 'much': give bytes"),
        (("lab", "--workers", "0"), "0 is not in the range x>=1"),
        (("lab", "--state", "nowhere/state"), "is no directory to write in"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_connected_to(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    done = run("verify", *arguments)
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize("content", ["", "[]", '{"ok": true}', "\x00"])
def test_file_of_somebody_else_is_not_taken_for_a_state(run: Run, directory: Path, content: str) -> None:
    (directory / "results.json").write_text(content)
    done = run("verify", "lab", "--state", "results.json")
    assert done.exit_code == 2
    assert "is not a file that `datajoint-file verify` has written, and was left as it is" in done.output
    assert (directory / "results.json").read_text() == content


@pytest.mark.parametrize("open_", ["{}", "[1]", '[{"no": 1}]', '[{"schema": "a", "finding": {}}]'])
def test_state_with_findings_of_another_form_is_not_used(run: Run, directory: Path, open_: str) -> None:
    (directory / "state").write_text(f'{{"state of": "datajoint-file verify", "open": {open_}}}')
    done = run("verify", "lab", "--state", "state")
    assert done.exit_code == 2
    assert "is not a file that `datajoint-file verify` has written" in done.output


def test_state_that_cannot_be_read_is_told_as_such(run: Run, directory: Path) -> None:
    (directory / "state").symlink_to("state")
    done = run("verify", "lab", "--state", "state")
    assert done.exit_code == 2
    assert "--state state cannot be read: " in done.output
