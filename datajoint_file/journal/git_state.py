"""Git commit of the directory of a program, read from ``.git`` without git; git itself says whether it was changed."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REFERENCE = re.compile(r"ref: (refs/[\w./+@-]+)")
_ANOTHERS = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"})
"""Variables that name the repository whose hook has started the program."""
_STATUS_SECONDS = 2.0
_MAX_BYTES = 2**24

_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Directories of installed packages: a repository around them is another program's."""


class GitState(NamedTuple):
    """Which commit is checked out, and whether tracked files differ from it; None if git did not say so in time."""

    commit: str
    is_dirty: bool | None


@functools.cache
def git_state(directory: Path) -> GitState | None:
    """Return the state of the repository around *directory*, as it was when it was first asked for in this process.

    None if there is none, or no commit in it yet. Never raises.
    """
    if _INSTALLED.intersection(directory.parts):
        return None
    with suppress(OSError, ValueError, RuntimeError):
        for top in (directory, *directory.parents):
            if (top / ".git").exists():
                commit = _commit(_git_directory(top / ".git"))
                return GitState(commit, _is_dirty(top)) if commit else None
    return None


def _git_directory(path: Path) -> Path:
    """Return where git keeps things: of a worktree or submodule, a file says it."""
    if path.is_dir():
        return path
    return path.parent / _read(path).strip().removeprefix("gitdir: ")


def _commit(git: Path) -> str:
    head = _read(git / "HEAD").strip()
    if named := _REFERENCE.fullmatch(head):
        head = next(_values(git, named[1]), "")
    return head if _COMMIT.fullmatch(head) else ""


def _values(git: Path, reference: str) -> Iterator[str]:
    """Give what a branch is at, from where git looks for that; a worktree has branches in common with others."""
    common = git / _read(git / "commondir").strip() if (git / "commondir").exists() else git
    if ".." in reference:
        return
    for place in (git, common):
        with suppress(OSError):
            yield _read(place / reference).strip()
    with suppress(OSError):
        for line in _read(common / "packed-refs").splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                yield commit


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode(errors="replace")


def _is_dirty(top: Path) -> bool | None:
    """Ask git, once a process, and not for long; it writes nothing, and starts no monitor."""
    others = {name: value for name, value in os.environ.items() if name not in _ANOTHERS}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(top), "status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(  # noqa: S603 - the git of this machine, as the user would run it
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_STATUS_SECONDS,
            env={**others, "GIT_OPTIONAL_LOCKS": "0"},
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(done.stdout.strip())
