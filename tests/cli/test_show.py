"""``datajoint-file show``, on real databases."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from click.testing import Result
from PIL import Image

from tests.projects import Store, over_mysql
from tests.tables import recording_of

from .conftest import Run

Command = Callable[..., Result]


def picture() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (960, 640), "red").save(written, "PNG")
    return written.getvalue()


@pytest.fixture
def table(schema: dj.Schema, tmp_path: Path) -> Any:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "a.csv").write_bytes(b"t,v\n1,2\n")
    made = recording_of(schema)
    made.insert(
        [
            {"id": 0, "raw": ("scan.png", picture()), "extra": None},
            {"id": 1, "raw": ("trials.csv", b"t,v\n1,2\n"), "extra": tmp_path / "result"},
            {"id": 2, "raw": ("a.dat", b"123"), "extra": None},
        ]
    )
    return made


@pytest.fixture
def command(project_run: Run, table: Any) -> Command:
    def start(*arguments: str, of: str = "", what: str = "show") -> Result:
        return project_run(what, f"{table().database}.Recording{of}", *arguments)

    return start


def test_one_row_is_shown_as_a_card_and_several_as_lines(command: Command, table: Any) -> None:
    ref = (table & "id = 1").fetch1("raw")
    one = command("id=1", of=".raw")
    assert (one.exit_code, one.stderr) == (0, "")
    first, *lines = one.stdout.splitlines()
    assert first == f"{table.database}.Recording.raw (id=1)"
    assert dict(line.split(maxsplit=1) for line in lines) == {
        "name": "trials.csv",
        "size": "8 B (8 bytes)",
        "type": "text/csv",
        "stored": ref.to_dict()["timestamp"],
        "hash": ref.hash,
        "path": ref.path,
    }
    both = command("--key", "id=1")
    assert "files   1" in both.stdout
    assert "result" in both.stdout
    all_ = command()
    assert all_.exit_code == 0
    assert [line.partition(".Recording.")[2] for line in all_.stdout.splitlines()] == [
        "raw (id=0)  scan.png, " + all_.stdout.split("scan.png, ")[1].splitlines()[0],
        "extra (id=0)  no file",
        "raw (id=1)  trials.csv, 8 B",
        "extra (id=1)  result/, 8 B",
        "raw (id=2)  a.dat, 3 B",
        "extra (id=2)  no file",
    ]
    few = command("--limit", "1", "--attribute", "raw")
    assert "There are more than 1 row: --limit shows more" in few.stdout


def test_preview_is_printed_and_its_picture_saved(command: Command, directory: Path) -> None:
    shown = command("id=1", "--preview")
    assert shown.exit_code == 0, shown.stderr
    assert "8 B, text/csv, 1 row of 2 columns\n  t  v\n  1  2\n" in shown.stdout
    assert "result/: 1 file, 8 B\n  a.csv  8 B\n" in shown.stdout
    saved = command("id=0", "--attribute", "raw", "--preview", "--save", "small.png")
    assert saved.exit_code == 0, saved.stderr
    assert "960 x 640 pixels" in saved.stdout
    with Image.open(directory / "small.png") as small:
        assert small.size == (480, 320)
    again = command("id=0", "--attribute", "raw", "--save", "small.png")
    assert again.exit_code == 2
    assert "small.png is there already, and stays" in again.stderr
    document = json.loads(command("id=1", "--json", "--preview", of=".extra").stdout)
    assert document[0]["key"] == {"id": "1"}
    assert document[0]["file"]["files"] == 1
    assert "a.csv" in document[0]["preview"]


@over_mysql
def test_what_is_not_there_and_what_is_damaged_have_codes_of_their_own(
    command: Command, table: Any, store: Store
) -> None:
    nothing = command("id=99")
    assert (nothing.exit_code, nothing.stdout) == (1, "There is no such row.\n")
    for wrong, said in {
        ("--attribute", "nothing"): "its `file` attributes are raw, extra",
        ("color=red",): "has no color",
        ("id",): "is not of the form subject_id=1",
        ("--preview",): "for one row, and there are more",
        ("id=2", "--save", "x.png", "--attribute", "extra"): "there are 0: give --attribute",
    }.items():
        failed = command(*wrong)
        assert failed.exit_code == 2, wrong
        assert said in " ".join(failed.stderr.split()), failed.stderr
    assert command(of="s").exit_code == 2
    assert "no picture to save" in command("id=2", "--save", "x.png", of=".raw").stderr
    connection = table().connection
    row = (table & "id = 2").fetch1("raw").to_dict()
    for k, document in ((2, {**row, "original_name": "<b>\x1b[2J"}), (1, {"path": "lab/../x"})):
        connection.query(f"UPDATE {table().full_table_name} SET raw = %s WHERE id = {k}", (json.dumps(document),))
    shown = command(of=".raw")
    assert shown.exit_code == 1
    assert "\x1b" not in shown.stdout
    assert "lab/../x" in shown.stdout
    store.remove((table & "id = 0").fetch1("raw").path)
    gone = command("id=0", "--preview", of=".raw")
    assert gone.exit_code == 1
    assert "there is no such object in the store" in gone.stderr


@over_mysql
def test_files_are_brought_and_members_listed(command: Command, table: Any, store: Store, directory: Path) -> None:
    done = command("--to", "here", "--layout", "key", of=".raw", what="download")
    assert (done.exit_code, done.stdout) == (0, "3 files in here\n")
    assert (directory / "here" / "id=2" / "a.dat").read_bytes() == b"123"
    done = command("id=1", "--to", "there", "--json", what="download")
    assert sorted(Path(path).name for path in json.loads(done.stdout)) == ["result", "trials.csv"]
    (directory / "there" / "trials.csv").write_bytes(b"other")
    done = command("id=1", "--to", "there", what="download")
    assert (done.exit_code, "trials.csv" in done.stderr) == (1, True)
    assert command("id=1", "--to", "there", "--overwrite", "--quiet", what="download").stdout == ""
    assert command("id=7", "--to", "there", what="download").exit_code == 1
    assert command("nothing=7", "--to", "there", what="download").exit_code == 2

    done = command("id=1", of=".extra", what="members")
    assert [line.split() for line in done.stdout.splitlines()] == [["8", "B", "a.csv"], ["1", "file,", "8", "B"]]
    (member,) = json.loads(command("id=1", "--json", of=".extra", what="members").stdout)
    assert member == {"path": "a.csv", "size": 8, "hash": (table & "id = 1").fetch1("raw").hash}
    for key, of, code in (("id=1", "", 2), ("id=1", ".raw", 2), ("id=7", ".extra", 1)):
        assert command(key, of=of, what="members").exit_code == code
    assert command(of=".extra", what="members").exit_code == 1
