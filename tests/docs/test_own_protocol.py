"""The protocol of *Bring a protocol of your own* is found by the command line, by its entry point alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, blocks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = ROOT / "docs" / "how-to" / "own-protocol.md"


def _install(directory: Path) -> None:
    """Leave what pip leaves of the page's package: its module, and its entry points."""
    files = {block.title: block.content for block in blocks(PAGE) if block.title}
    (directory / "lab_shelf.py").write_text(files["lab_shelf.py"])
    (directory / "datajoint.toml").write_text(files["datajoint.toml"])
    project = tomllib.loads(files["pyproject.toml"])["project"]
    metadata = directory / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = "\n".join(f"{name} = {target}" for name, target in project["entry-points"]["fsspec.specs"].items())
    (metadata / "entry_points.txt").write_text(f"[fsspec.specs]\n{points}\n")


def test_the_doctor_finds_a_protocol_by_its_entry_point(tmp_path: Path) -> None:
    _install(tmp_path)
    command = [str(Path(sys.executable).with_name("datajoint-file")), "doctor", "--skip", "database"]
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shelf" in done.stdout
    assert (tmp_path / "shelf.db").stat().st_size > 0
