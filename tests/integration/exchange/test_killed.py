"""``kill -9``: an export leaves nothing that looks like one; an import goes on where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.integration.exchange.conftest import Side
from tests.projects import unique

ROWS = 6

_PROGRAM = """
import json, os, signal, sys
import datajoint as dj
import datajoint_file
from datajoint_file.exchange import export, importing, rebuild

arguments = json.loads(sys.argv[1])
instance = dj.Instance(use_tls=False, **arguments["database"])
datajoint_file.configure(arguments["configuration"], connection=instance)
left = [arguments["left"]]


def die(*_):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)


if arguments["verb"] == "import":
    importing._ROWS_AT_ONCE = 1
    judged = importing._Import._inserted
    importing._Import._inserted = lambda *given: (die(), judged(*given))[1]
    datajoint_file.import_(arguments["out"], connection=instance.connection)
elif arguments["verb"] == "rebuild":
    rebuild._ROWS_AT_ONCE = 1
    alike = rebuild._alike
    rebuild._alike = lambda rows: (die(), alike(rows))[1]
    datajoint_file.rebuild(dj.FreeTable(instance.connection, arguments["table"]))
else:
    export.Packing.add = die
    table = dj.FreeTable(instance.connection, arguments["table"])
    datajoint_file.export(table, arguments["out"])
raise SystemExit("it was not killed")
"""


def given(side: Side, **arguments: Any) -> str:
    """Return what a program in another process needs to know, as JSON."""
    connection = side.connection
    info = connection.conn_info
    database = {"host": info["host"], "user": info["user"], "password": info["passwd"], "port": info["port"]}
    return json.dumps(
        {
            "database": {**database, "backend": connection.adapter.backend},
            "configuration": side.store.configuration(),
            **arguments,
        }
    )


def killed(side: Side, **arguments: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, given(side, **arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


@pytest.fixture
def recording(sides: tuple[Side, Side]) -> Any:
    schema = sides[0].schema()

    class Recording(dj.Manual):
        definition = "n : int32\n---\nraw : file"

    schema(Recording, context=None)
    Recording.insert({"n": n, "raw": ("r.dat", b"%d" % n)} for n in range(ROWS))
    return Recording


def test_killed_export_leaves_nothing_that_looks_complete(
    sides: tuple[Side, Side], recording: Any, tmp_path: Path
) -> None:
    killed(sides[0], verb="export", left=3, out=str(tmp_path / "out"), table=recording().full_table_name)
    assert not (tmp_path / "out").exists()
    datajoint_file.export(recording, tmp_path / "out")
    assert (tmp_path / "out" / "bagit.txt").exists()


@pytest.mark.parametrize("left", [1, 4])
def test_killed_import_goes_on(sides: tuple[Side, Side], recording: Any, tmp_path: Path, left: int) -> None:
    _, target = sides
    datajoint_file.export(recording, tmp_path / "out")
    name = target.note(recording().database)
    killed(target, verb="import", left=left, out=str(tmp_path / "out"))
    there = target.table(f"{name}.recording")
    assert [row["raw"].read() for row in there.to_dicts(order_by="n")] == [b"%d" % n for n in range(left - 1)]
    report = datajoint_file.import_(tmp_path / "out", connection=target.connection)
    assert (sum(report.present.values()), sum(report.inserted.values())) == (left - 1, ROWS - left + 1)
    assert [row["raw"].read() for row in there.to_dicts(order_by="n")] == [b"%d" % n for n in range(ROWS)]


def test_killed_rebuild_goes_on_and_its_objects_stay(sides: tuple[Side, Side], tmp_path: Path) -> None:
    side, name = sides[0], sides[0].note(unique("slice"))
    configuration = {**side.store.configuration(), "object_storage": {"self_describing": True}}
    instance = dj.Instance(
        *(side.connection.conn_info[one] for one in ("host", "user", "passwd")),
        port=side.connection.conn_info["port"],
        use_tls=False,
        backend=side.connection.adapter.backend,
    )
    instance.config.safemode = False
    datajoint_file.configure(configuration, connection=instance)
    recording = instance.Schema(name)(type("Recording", (dj.Manual,), {"definition": "n : int32\n---\nraw : file"}))
    recording.insert({"n": n, "raw": ("r.dat", b"%d" % n)} for n in range(ROWS))
    recording.connection.query(f"DELETE FROM {recording().full_table_name}")
    killed(side, verb="rebuild", left=3, out="", table=recording().full_table_name)
    intents = recording.connection.adapter.make_full_table_name(name, "~file_intent")
    states = {row[0] for row in recording.connection.query(f"SELECT state FROM {intents}").fetchall()}
    assert states == {"sharing"}, "no collector deletes their objects"
    done = datajoint_file.rebuild(recording)
    assert (sum(done.present.values()), sum(done.inserted.values())) == (2, ROWS - 2)
    assert [row["raw"].read() for row in recording.to_dicts(order_by="n")] == [b"%d" % n for n in range(ROWS)]
    instance.connection.close()
