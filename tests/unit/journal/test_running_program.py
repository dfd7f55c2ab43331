"""What is noted of the running program, and the commit around it, compared with what git itself says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.journal.git_state import git_state

_FACTS = "import json; from datajoint_file.journal.running_program import facts; print('FACTS', json.dumps(facts()))"


def git(directory: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(directory), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "code"
    (directory / "deep").mkdir(parents=True)
    (directory / "deep" / "a.py").write_text("print()")
    git(directory, "init", "-q")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "first")
    return directory


def test_a_hook_of_another_repository_changes_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(repository / "nowhere"))
    state = git_state(repository)
    assert state is not None
    assert state.is_dirty is False


@pytest.mark.parametrize("how", ["branch", "packed", "detached", "worktree", "packed worktree"])
def test_the_commit_is_the_one_that_git_names(repository: Path, tmp_path: Path, how: str) -> None:
    directory = repository
    git(repository, "checkout", "-qb", "topic/with-dashes")
    if how == "detached":
        git(repository, "checkout", "-q", "--detach")
    if "worktree" in how:
        directory = tmp_path / "other"
        git(repository, "worktree", "add", "-q", "-b", "other", str(directory))
    if "packed" in how:
        git(repository, "pack-refs", "--all")
    state = git_state(directory / "deep")
    assert state is not None
    assert state == (git(directory, "rev-parse", "HEAD"), False)


def test_changes_of_tracked_files_make_it_dirty_and_others_do_not(repository: Path, tmp_path: Path) -> None:
    (repository / "new.txt").write_text("new")
    clean = git_state(repository)
    (repository / "deep" / "a.py").write_text("print(1)")
    changed = git_state(repository / "deep")
    assert clean is not None
    assert changed is not None
    assert (clean.is_dirty, changed.is_dirty) == (False, True)
    assert git_state(repository) is clean  # once a process
    installed = repository / "site-packages" / "tool"
    installed.mkdir(parents=True)
    assert git_state(installed) is git_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "head", ["ref: refs/heads/../../../secret", "ref: refs/heads/none", "nonsense", "ref: /etc/passwd", ""]
)
def test_what_names_no_commit_is_none(repository: Path, head: str) -> None:
    (repository / ".git" / "HEAD").write_text(head)
    assert git_state(repository) is None


def facts_of(*command: str, cwd: Path, **environment: str) -> dict[str, Any]:
    found = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = (line for line in found.stdout.splitlines() if line.startswith("FACTS"))
    facts: dict[str, Any] = json.loads(line.partition(" ")[2])
    return facts


def test_programs_are_called_as_they_were_started(tmp_path: Path) -> None:
    package = tmp_path / "tools"
    package.mkdir()
    (package / "ingest.py").write_text(_FACTS)
    home = str(tmp_path)
    started = [
        (("-c", _FACTS, "secret"), "python -c"),
        (("tools/ingest.py", "secret"), "~/tools/ingest.py"),
        (("-m", "tools.ingest", "secret"), "python -m tools.ingest"),
    ]
    for command, name in started:
        found = facts_of(*command, cwd=tmp_path, HOME=home, PYTHONPATH=os.pathsep.join(sys.path))
        assert found["program"] == name
        assert "secret" not in json.dumps(found)
    (tmp_path / "link").symlink_to(package.parent)
    found = facts_of("tools/ingest.py", cwd=tmp_path, HOME=str(tmp_path / "link"), PYTHONPATH=os.pathsep.join(sys.path))
    assert found["program"] == "~/tools/ingest.py"


def test_a_notebook_is_called_by_its_path_where_jupyter_tells_it(tmp_path: Path) -> None:
    script = f"""
import nbformat, nbclient
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell({_FACTS!r})])
done = nbclient.NotebookClient(notebook).execute()
print(*(one.get('text') for one in done.cells[0].outputs), sep='')
"""
    environment = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    path = str(tmp_path / "day 1.ipynb")
    assert facts_of("-c", script, cwd=tmp_path, JPY_SESSION_NAME=path, **environment)["program"] == "~/day 1.ipynb"
    nameless = facts_of("-c", script, cwd=tmp_path, JPY_SESSION_NAME="", **environment)
    assert nameless["program"] == "a notebook in ~"
