"""How many files of the package one insert passes through: what somebody reads who follows it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import datajoint_file
from tests.tables import recording_of

MOST = 41


def test_insert_of_a_small_file_passes_through_few_files(schema: Any, tmp_path: Path) -> None:
    table = recording_of(schema)
    file = tmp_path / "recording.dat"
    file.write_bytes(b"spikes")
    table.insert1({"id": 1, "raw": file})
    root, passed = str(Path(datajoint_file.__file__).parent), set[str]()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(root):
            passed.add(frame.f_code.co_filename)

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        table.insert1({"id": 2, "raw": file})
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    assert len(passed) <= MOST, "\n".join(sorted(passed))
