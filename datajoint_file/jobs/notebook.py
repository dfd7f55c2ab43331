"""Notebook execution by nbclient: with parameters, in a kernel of its own, kept with what it has shown.

Which notebook, and where, is the business of `capture`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datajoint_file.errors import (
    MissingLibraryError,
    ProgramError,
    SourceError,
    SourceNotFoundError,
    UnsupportedValueError,
    brief,
    printable,
)
from datajoint_file.model.wording import pip_install

_VERSION = 4


def run_notebook(source: Path, target: Path, parameters: Mapping[str, Any], timeout: float | None) -> None:
    """Run the notebook *source* in the directory of *target*, and write it there, also if it fails.

    See `Run.notebook`, which is this.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
    except ImportError as error:
        raise MissingLibraryError(f"notebooks are run by nbclient: {pip_install('notebook')} ({error})") from error
    name = printable(source.name)
    try:
        notebook = nbformat.read(source, as_version=_VERSION)
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{printable(str(source))} does not exist: give its path, from run.origin") from error
    except Exception as error:
        raise SourceError(f"{printable(str(source))} is no notebook that can be read: {brief(str(error))}") from error
    if parameters:
        _insert(notebook, nbformat.v4.new_code_cell(_assignments(parameters)))
    client = NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(target.parent)}}, on_cell_executed=_say
    )
    try:
        client.execute()
    except CellExecutionError as error:
        told = printable(f"{error.ename}: {error.evalue}"[:200])
        raise ProgramError(f"the notebook {name} has failed by {told}; nothing was stored") from error
    except (CellControlSignal, DeadKernelError) as error:
        raise ProgramError(f"the notebook {name} was stopped: {brief(str(error), 200)}; nothing was stored") from error
    finally:
        nbformat.write(notebook, target)


def _assignments(parameters: Mapping[str, Any]) -> str:
    lines = ["# parameters of this run"]
    for name, value in parameters.items():
        if not name.isidentifier() or not _is_literal(value):
            raise UnsupportedValueError(
                f"the parameter {brief(name)} = {brief(value)}: give names, and numbers, texts, None, or lists and "
                "dictionaries of these; paths as text"
            )
        lines.append(f"{name} = {value!r}")
    return "\n".join(lines)


def _is_literal(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


def _insert(notebook: Any, cell: Any) -> None:
    """Put a cell behind the first that is tagged ``parameters``, as papermill does, or in front."""
    tagged = (n for n, one in enumerate(notebook.cells) if "parameters" in one.get("metadata", {}).get("tags", ()))
    notebook.cells.insert(next(tagged, -1) + 1, cell)


def _say(cell: Any, cell_index: int, execute_reply: Any) -> None:  # nbclient calls it by these names
    """Say what a cell has: its kernel's streams do not come by standard output."""
    for output in cell.get("outputs", ()):
        if output.get("output_type") == "stream":
            print(output.get("text", ""), end="", flush=True)  # noqa: T201 - for the log
