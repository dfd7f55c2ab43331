"""The commands of *Move a project* move one: from a disk to S3 and on to another disk, with rclone."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import gc
from tests.docs.pages import ROOT, arguments, blocks
from tests.projects import connect, unique

PAGE = ROOT / "docs" / "how-to" / "move-a-project.md"
CONTENTS = {
    "day1.npy": b"1" * 100_000,
    "nothing.dat": b"",
    "K\u00f6ln \uff0f 50% \u201b[1]*?.dat": b"2",  # what rclone itself puts in place of other characters
    ".hidden. ": b"3",
    "~a&b+c.dat": b"4",
}


class Laboratory:
    """One schema, looked at by programs that start one after the other with different configurations."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._name = unique("place_cells")

    def configured(self, storage: dict[str, Any]) -> Any:
        """Start a program whose ``datajoint.toml`` has this ``[storage]``; return its table."""
        instance = connect(self._database)
        datajoint_file.configure({"project": {"name": "place_cells"}, "storage": storage}, connection=instance)
        self.schema = instance.Schema(self._name)
        definition = "session_id : int32\n---\ntraces : file"
        return self.schema(type("Session", (dj.Manual,), {"definition": definition}))


def _insert(table: Any, first: int, contents: dict[str, bytes]) -> None:
    rows = enumerate(contents.items(), start=first)
    table.insert({"session_id": number, "traces": (name, content)} for number, (name, content) in rows)


def _require_everything(table: Any, laboratory: Laboratory) -> None:
    report = datajoint_file.verify(table)
    assert report, str(report)
    plan = gc.plan(laboratory.schema, scan=True)
    assert [*plan.missing, *plan.refusals, *plan.entries()] == [], str(plan)


@pytest.fixture
def run(s3_storage: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Carry out the page's commands that name a target, and only those of the machine's own programs."""
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": s3_storage["endpoint_url"],
        "ACCESS_KEY_ID": s3_storage["credentials"]["key"],
        "SECRET_ACCESS_KEY": s3_storage["credentials"]["secret"],
    }
    for key, value in remote.items():
        monkeypatch.setenv(f"RCLONE_CONFIG_LAB_{key}", value)
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
    lines = [command for block in blocks(PAGE) if block.language == "console" for command in block.commands]

    def carry_out(program: str, *mentioned: str) -> None:
        chosen = [line for line in lines if arguments(line)[0] == program and all(word in line for word in mentioned)]
        assert chosen, (program, mentioned)
        for line in chosen:
            words = [word.replace("recordings", s3_storage["bucket"]) for word in arguments(line)]
            words[0] = str(Path(sys.executable).with_name("rclone")) if program == "rclone" else program
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"

    return carry_out


def test_a_project_moves_from_a_disk_to_s3_and_on_to_another_disk(
    mysql: Any, s3_storage: dict[str, Any], tmp_path: Path, run: Any
) -> None:
    for name in ("store", "archive"):
        (tmp_path / name).mkdir()
    laboratory = Laboratory(mysql)
    _insert(laboratory.configured({"backend": "file", "path": str(tmp_path / "store")}), 0, CONTENTS)
    (tmp_path / "store" / "~partial-0123456789abcdef").write_bytes(b"cut short")

    run("rclone", " store lab:")
    in_bucket = laboratory.configured(s3_storage)
    _require_everything(in_bucket, laboratory)
    _insert(in_bucket, 100, CONTENTS)

    run("rclone", " archive", "lab:recordings/place_cells archive")
    run("find", "archive")
    on_disk = laboratory.configured({"backend": "file", "path": str(tmp_path / "archive")})
    assert len(on_disk()) == 2 * len(CONTENTS)
    _require_everything(on_disk, laboratory)
    assert not any(path.stat().st_mode & 0o222 for path in (tmp_path / "archive").rglob("*") if path.is_file())
    assert not list((tmp_path / "archive").rglob("~partial-*"))
    laboratory.schema.drop(prompt=False)
