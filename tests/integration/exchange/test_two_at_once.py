"""Two imports of one slice at the same time, from two processes: each row and each file is there once."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import datajoint as dj
import pytest
from datajoint.errors import DuplicateError

import datajoint_file
from datajoint_file.errors import ExchangeError
from datajoint_file.exchange import importing
from datajoint_file.journal import server_lock
from tests.integration.exchange.conftest import Side
from tests.integration.exchange.test_killed import given

ROWS = 12

_PROGRAM = """
import json, sys
import datajoint as dj
import datajoint_file
from datajoint_file.exchange import importing

arguments = json.loads(sys.argv[1])
instance = dj.Instance(use_tls=False, **arguments["database"])
datajoint_file.configure(arguments["configuration"], connection=instance)
importing._ROWS_AT_ONCE = 2
print("ready", file=sys.stderr, flush=True)
sys.stdin.readline()
print(json.dumps(datajoint_file.import_(arguments["out"], connection=instance.connection).to_dict()))
"""


def slice_of(side: Side, out: Path) -> str:
    """Export a schema with a foreign key, and return its name."""
    schema = side.schema()

    class Subject(dj.Manual):
        definition = "n : int32"

    class Recording(dj.Manual):
        definition = "-> Subject\n---\nkind : enum('a', 'b')\nraw : file"

    schema(Subject, context=None)
    schema(Recording, context={"Subject": Subject})
    Subject.insert({"n": n} for n in range(ROWS))
    Recording.insert({"n": n, "kind": "a", "raw": ("r.dat", b"%d" % n)} for n in range(ROWS))
    datajoint_file.tag(Recording, "good")
    datajoint_file.export(Recording, out)
    return str(schema.database)


def test_the_second_waits_and_passes_over_what_is_there(sides: tuple[Side, Side], tmp_path: Path) -> None:
    source, target = sides
    name = target.note(slice_of(source, tmp_path / "out"))
    arguments = [sys.executable, "-c", _PROGRAM, given(target, out=str(tmp_path / "out"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(arguments, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for one in both:
        while "ready" not in (line := one.stderr.readline()):
            assert line, "it has ended before it began"
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    told = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    reports = [json.loads(out.splitlines()[-1]) for out, _ in told]
    assert sorted(sum(one["inserted"].values()) for one in reports) == [0, 2 * ROWS]
    assert sorted(sum(one["present"].values()) for one in reports) == [0, 2 * ROWS]
    there = target.table(f"{name}.recording")
    assert sorted(ref.read() for ref in there.to_arrays("raw")) == sorted(b"%d" % n for n in range(ROWS))
    assert len([key for key in target.store.object_keys() if "/objects/" in key]) == ROWS
    assert datajoint_file.tags(there) == {"good": ROWS}


def test_locks_are_taken_in_one_order_however_names_are_written(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    monkeypatch.setattr(server_lock, "_take", lambda own, number, waiting: taken.append(number))
    for names in (["B", "a"], ["A", "b"]):
        with server_lock.server_lock(sides[0].connection, "import", names, nullcontext):
            pass
    assert taken[:2] == taken[2:]


def test_rows_that_others_insert_meanwhile_are_told(
    sides: tuple[Side, Side], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = sides
    name = target.note(slice_of(source, tmp_path / "out"))

    def interfered(*_: object) -> None:
        raise DuplicateError("Duplicate entry '3' for key 'PRIMARY'")

    with monkeypatch.context() as patched:
        patched.setattr(importing, "put", interfered)
        with pytest.raises(ExchangeError, match=rf"{name}.Subject: while its rows .*'3'.*Call it again"):
            datajoint_file.import_(tmp_path / "out", connection=target.connection)
    assert datajoint_file.import_(tmp_path / "out", connection=target.connection).inserted
