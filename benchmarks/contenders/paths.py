"""The source files of a task, the programs of this machine, and what results are checked against.

Nothing but the standard library is imported: a program that is started takes over the peak memory of its parent.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

from benchmarks.values import Task


def sources(task: Task) -> list[Path]:
    """Return the paths of the source files, in order."""
    return sorted(Path(task.files).iterdir())


def find_program(name: str) -> str | None:
    """Return the path of a program: one that came with a Python package first, without the script in front of it."""
    inside = Path(sysconfig.get_path("platlib")) / name / "bin"
    places = os.pathsep.join([str(inside), sysconfig.get_path("scripts")])
    return shutil.which(name, path=places) or shutil.which(name)


def check_size(directory: Path, task: Task) -> None:
    """Raise unless the files below a directory have, together, the size of the source files."""
    expected = sum(path.stat().st_size for path in sources(task))
    found = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    if found != expected:
        raise RuntimeError(f"{found} bytes in {directory}, expected {expected}")
