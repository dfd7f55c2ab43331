"""Notebooks of a job: run with parameters, in its directory, and kept with what they have shown, also if they fail."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

import datajoint_file
from datajoint_file.errors import OutputConflictError, ProgramError, SourceError, UnsupportedValueError


def write(name: str, *cells: str, tagged: int | None = None) -> None:
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    if tagged is not None:
        made[tagged].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=made), name)


def test_a_notebook_runs_in_the_directory_with_its_parameters_and_stays_as_it_was() -> None:
    write("a.ipynb", "limit, name = 1, 'none'", "open('out.txt', 'w').write(f'{limit} {name}')", tagged=0)
    before = Path("a.ipynb").read_bytes()
    with datajoint_file.capture(["out.txt", "*.ipynb"], log=True) as run:
        run.notebook("a.ipynb", parameters={"limit": 4.5, "name": "a 'b'"})
    assert (run.path / "out.txt").read_text() == "4.5 a 'b'"
    assert (run.origin / "a.ipynb").read_bytes() == before
    assert [file.name for file in run.files] == ["a.ipynb", "out.txt"]


def test_a_notebook_that_fails_ends_the_job_and_is_kept_as_far_as_it_came() -> None:
    write("a.ipynb", "print('so far')", "1 / 0", "print('never')")
    with pytest.raises(ProgramError, match=r"the notebook a.ipynb has failed by ZeroDivisionError: division by zero"):
        with datajoint_file.capture(log=True, on_failure="keep") as run:
            run.notebook("a.ipynb")
    assert run.kept
    assert "so far\nTraceback" in (run.kept / "execution.log").read_text()
    cells = nbformat.read(run.kept / "work" / "a.ipynb", as_version=4).cells
    assert [len(cell.outputs) for cell in cells] == [1, 1, 0]


def test_what_is_no_notebook_is_an_error() -> None:
    Path("b.ipynb").write_text("{")
    write("c.ipynb", "x = 1")
    for name, options, error, message in (
        ("nowhere.ipynb", {}, SourceError, "does not exist"),
        ("b.ipynb", {}, SourceError, "is no notebook that can be read"),
        ("c.ipynb", {"parameters": {"x": object()}}, UnsupportedValueError, "the parameter 'x'"),
        ("c.ipynb", {"parameters": {"x; y": 1}}, UnsupportedValueError, "the parameter 'x; y'"),
    ):
        with pytest.raises(error, match=message), datajoint_file.capture() as run:
            run.notebook(name, **options)
    with pytest.raises(OutputConflictError, match=r"c\.ipynb is in the working directory already"):
        with datajoint_file.capture() as run:
            (run.path / "c.ipynb").touch()
            run.notebook("c.ipynb")
