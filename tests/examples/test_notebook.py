"""The notebook: run from the top on a real database it gives what is committed, which tells nothing of a machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CACHE_VARIABLE
from tests.projects import connect
from tests.tables import drop_schema

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "files.ipynb"

VARYING = {
    r"\b[a-z2-7]{16}-[a-z2-7]{26}\b": "ID",
    r"\bsha256:[0-9a-f]+": "HASH",
    r"\b\d[\d.,]* (B|kB|MB)\b": "SIZE",
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z?": "TIME",
    r"[+-]{3,}": "---",
    r"[ \n]+": " ",
}
"""What two runs, or two versions of a library, have in different ways."""


def cells(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text(encoding="utf-8"))["cells"])


def shown(cell: dict[str, Any]) -> list[tuple[str, set[str], str]]:
    """Return of each output its kind, the media types that it has, and its text."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text = "".join(output.get("text", "")) or "".join(data.get("text/plain", ""))
        for pattern, name in VARYING.items():
            text = re.sub(pattern, name, text)
        found.append((output["output_type"], set(data), text))
    return found


def test_notebook_gives_the_outputs_that_are_committed(postgresql: Any, tmp_path: Path) -> None:
    pytest.importorskip("zarr", "3")  # which wants Python 3.11
    (tmp_path / "datajoint.json").write_text("{}")
    environment = {name: value for name, value in os.environ.items() if name != CACHE_VARIABLE} | {
        "DJ_BACKEND": "postgresql",
        "DJ_HOST": postgresql.host,
        "DJ_PORT": str(postgresql.port),
        "DJ_USER": postgresql.user,
        "DJ_PASS": postgresql.password,
        "DJ_USE_TLS": "false",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-W", "ignore", "-m", "examples.demo.notebook", str(tmp_path / "files.ipynb")]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    finally:
        connection = connect(postgresql).connection
        drop_schema(connection, "notebook_files")
        connection.close()
    assert done.returncode == 0, done.stderr
    for committed, found in zip(cells(NOTEBOOK), cells(tmp_path / "files.ipynb"), strict=True):
        assert shown(found) == shown(committed), "".join(committed["source"])
    assert (tmp_path / "downloads" / "left.png").is_file()


def test_committed_outputs_are_no_errors_and_name_no_machine() -> None:
    outputs = [output for cell in cells(NOTEBOOK) for output in cell.get("outputs", [])]
    assert {output["output_type"] for output in outputs} == {"stream", "execute_result"}
    assert all(output.get("name", "stdout") == "stdout" for output in outputs)
    assert not re.search(r"site-packages|/(tmp|home|Users|root|var|work|private)/|\bDJ_PASS", NOTEBOOK.read_text())
    assert len([output for output in outputs if "text/html" in output.get("data", {})]) >= 5
