"""Notebook runner: executes `files.ipynb` in a kernel of its own, from the top, and writes a copy with the outputs.

    python -m examples.demo.notebook TARGET

The kernel works in the directory of *TARGET*, and reaches the database as DataJoint does from there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "files.ipynb"

CELL_SECONDS = 120


def execute(target: Path) -> None:
    """Write the executed notebook to *target*.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails. Nothing is written then.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(target.parent)}},
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute(env={**os.environ, "DJ_LOG_LEVEL": "WARNING"})
    for cell in notebook.cells:
        _join_printed(cell)
    notebook.metadata["language_info"] = {"name": "python"}  # not the version that was at hand
    nbformat.write(notebook, target)


def _join_printed(cell: nbformat.NotebookNode) -> None:
    """Join what a cell has printed, which came in as many pieces as chance would have it."""
    joined: list[nbformat.NotebookNode] = []
    for output in cell.get("outputs", []):
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    if joined:
        cell.outputs = joined


if __name__ == "__main__":
    execute(Path(sys.argv[1]).absolute())
