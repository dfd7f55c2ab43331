"""Fixtures of tests about jobs: a scratch disk of each test's own, and programs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scratch disk; the working directory is another one."""
    for name in ("disk", "here"):
        (tmp_path / name).mkdir(exist_ok=True)
    monkeypatch.setenv("DATAJOINT_FILE__SCRATCH__PATH", str(tmp_path / "disk"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "disk"


@pytest.fixture
def left(disk: Path) -> Callable[[], list[str]]:
    """Say what is on the scratch disk."""
    return lambda: sorted(path.name for path in disk.glob("*/*"))


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program of its own, where descriptors 1 and 2 are not pytest's."""

    def run(text: str, *, code: int = 0) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "program.py"
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, str(file)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    return run
