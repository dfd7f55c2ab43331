"""Facts about the running program that are noted with what it inserts: who, where, which program, which commit.

No arguments of the command line, which can be secret, and no environment; a home directory is ``~``.
"""

from __future__ import annotations

import functools
import getpass
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from datajoint_file.concurrency.progress import is_kernel
from datajoint_file.errors import UnsupportedValueError, brief
from datajoint_file.journal.git_state import git_state

_MAX_LENGTH = 200

_program: ContextVar[dict[str, str] | None] = ContextVar("program", default=None)
"""What the user calls the program."""


@contextmanager
def program(name: str, *, version: str | None = None) -> Iterator[None]:
    """Give a name and a version to what inserts in the block, for `source`, in place of the path of the program.

    Parameters
    ----------
    name : str
        Such as ``"spike-sorting"``: printable, up to 200 characters.
    version : str, optional
        Such as ``"1.4"``.

    Raises
    ------
    UnsupportedValueError
        If one of them is no such text.

    Examples
    --------
    >>> import datajoint_file
    >>> with datajoint_file.program("rig-3 upload", version="1.4"):
    ...     pass  # Recording.insert1(…)
    """
    named = {"program": _text(name)} | ({} if version is None else {"version": _text(version)})
    token = _program.set(named)
    try:
        yield
    finally:
        _program.reset(token)


def _text(text: Any) -> str:
    if isinstance(text, str) and 0 < len(text) <= _MAX_LENGTH and text.isprintable():
        return text
    raise UnsupportedValueError(f"{brief(text)}: give printable text of 1 to {_MAX_LENGTH} characters")


def facts() -> dict[str, Any]:
    """Return what is known of this process, by short names; what is not known is not there."""
    return {**_of_process(os.getpid()), **(_program.get() or {})}


def person() -> dict[str, Any]:
    """Return the user and the machine, as the operating system calls them."""
    return {name: one for name, one in _of_process(os.getpid()).items() if name in ("user", "host")}


@functools.lru_cache(maxsize=1)
def _of_process(_pid: int) -> dict[str, Any]:
    found: dict[str, Any] = {"host": socket.gethostname(), "package": version_of("datajoint-file")}
    with suppress(Exception):  # a user without a name, as in some containers
        found["user"] = getpass.getuser()
    name, directory = _running()
    found["program"] = name[:_MAX_LENGTH]
    state = git_state(directory) if directory else None
    if state is not None:
        found |= {"commit": state.commit} | ({} if state.is_dirty is None else {"dirty": state.is_dirty})
    return found


def _running() -> tuple[str, Path | None]:
    """Return what runs, as people call it, and the directory that its code is in."""
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if is_kernel() and not spec:
        return _notebook(main)
    if spec and spec.name:
        return f"python -m {spec.name.removesuffix('.__main__')}", Path(spec.origin).parent if spec.origin else None
    if file:
        path = Path(file).absolute()
        return _shown(path), path.parent
    return ("python -c" if sys.argv[:1] == ["-c"] else "python"), _working_directory()


def _notebook(main: Any) -> tuple[str, Path | None]:
    """Return the notebook of this kernel, as far as Jupyter or Visual Studio Code tell it."""
    given = getattr(main, "__vsc_ipynb_file__", None) or os.environ.get("JPY_SESSION_NAME", "")
    if str(given).endswith(".ipynb"):
        path = Path(given).absolute()
        return _shown(path), path.parent
    directory = _working_directory()
    return f"a notebook in {_shown(directory)}" if directory else "a notebook", directory


def _working_directory() -> Path | None:
    with suppress(OSError):
        return Path.cwd()
    return None


def _shown(path: Path) -> str:
    """Return a path as it is noted: names of homes are nobody's business, and differ from machine to machine."""
    with suppress(OSError, ValueError, RuntimeError):
        for home in (Path.home(), Path.home().resolve()):  # which may be behind a link
            if path.is_relative_to(home):
                return str(Path("~") / path.relative_to(home))
    return str(path)
