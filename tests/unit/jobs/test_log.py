"""The log of a job has all that was said, in order, by whatever; and it was shown as well."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import nbformat
import pytest

import datajoint_file
from tests.unit.conftest import InChild

Program = Callable[..., subprocess.CompletedProcess[str]]

EVERYTHING = """
import ctypes, logging, multiprocessing, os, subprocess, sys, threading, warnings
import datajoint_file

def say(what):
    print(what)

warnings.simplefilter("ignore", DeprecationWarning)  # that a process with a thread is forked
logging.basicConfig(format="%(message)s")
quiet = logging.getLogger("quiet")
quiet.addHandler(logging.FileHandler(sys.argv[0] + ".log"))
quiet.propagate = False
libc = ctypes.CDLL(None)
print("before")
with datajoint_file.capture(log=True) as run:
    print("printed")
    print("error", file=sys.stderr)
    libc.puts(b"by C"); libc.fflush(None)
    os.write(2, b"by descriptor\\n")
    os.system("echo by a shell")
    run.command(["sh", "-c", "echo by a program >&2"])
    multiprocessing.get_context("fork").Process(target=say, args=["by a fork"]).start()
    multiprocessing.active_children()[0].join()
    thread = threading.Thread(target=say, args=["by a thread"]); thread.start(); thread.join()
    logging.getLogger("known").warning("logged")
    quiet.warning("only to a file")
    warnings.warn("warned")
    libc.printf(b"x" * 200_000 + b"\\n"); libc.fflush(None)
    print("ünï")
print("after")
text = open(run.log, encoding="utf-8").read().replace("x" * 200_000, "many x")
expected = ["printed", "error", "by C", "by descriptor", "by a shell", "by a program", "by a fork", "by a thread",
            "logged", "WARNING:quiet:only to a file", "UserWarning: warned", 'warnings.warn("warned")', "many x", "ünï"]
found = [line.rpartition(": UserWarning")[1].strip(": ") + line.rpartition(": UserWarning")[2] if "UserWarning" in line
         else line.strip() for line in text.splitlines()]
assert found == expected, found
"""


def test_all_that_is_said_is_written_in_order_and_shown(program: Program) -> None:
    done = program(EVERYTHING)
    shown = done.stdout.splitlines()
    assert (shown[0], shown[1], shown[-2], shown[-1]) == ("before", "printed", "ünï", "after")
    assert "by a program" in shown
    assert "x" * 200_000 in shown


NO_TERMINAL = """
import os, sys
import datajoint_file
os.close(1)
os.close(2)
sys.stdout = sys.stderr = None
with datajoint_file.capture(log=True) as run:
    os.write(1, b"said")
    print("said, too")
assert open(run.log).read() == "saidsaid, too\\n"
try:
    os.write(1, b"x")
except OSError:
    pass
else:
    sys.exit(2)
assert sys.stdout is None
"""


def test_a_process_without_a_terminal_has_a_log(program: Program) -> None:
    program(NO_TERMINAL)


def test_streams_of_notebooks_and_tests_get_what_is_said_and_are_put_back() -> None:
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    logger = logging.getLogger("a notebook's")
    logger.addHandler(handler)
    logger.propagate = False
    with redirect_stdout(shown):
        with datajoint_file.capture(log=True) as outer:
            print("outer")
            with datajoint_file.capture(log=True) as inner:
                print("inner")
                os.system("echo child")
                logger.warning("logged")
            print("outer again")
        assert sys.stdout is shown
    assert handler.stream is shown
    assert Path(inner.log).read_text() == "inner\nchild\nlogged\n"
    assert Path(outer.log).read_text() == shown.getvalue() == "outer\ninner\nchild\nlogged\nouter again\n"


def test_what_a_child_says_after_the_block_is_not_in_it() -> None:
    with datajoint_file.capture(log=True) as run:
        print("in time")
        child = subprocess.Popen(["sh", "-c", "read x; echo late"], stdin=subprocess.PIPE)
    before = run.summary()
    child.communicate(b"go\n")
    assert Path(run.log).read_text() == "in time\n"
    assert run.summary() == before


def test_records_that_handlers_leave_out_are_in_it_once(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("a library's")
    logger.addHandler(logging.NullHandler())
    with datajoint_file.capture(log=True) as run:
        logger.warning("at %d percent", 99)
        logger.info("below its level")
    factory: Any = logging.getLogRecordFactory()
    assert factory is logging.LogRecord
    assert Path(run.log).read_text() == "WARNING:a library's:at 99 percent\n"


def test_a_killed_process_leaves_its_terminal_alone(in_child: InChild) -> None:
    """Descriptors are its own: those of the parent stay."""

    def work() -> str:
        with datajoint_file.capture(log=True) as run:
            print("in the child")
        return Path(run.log).read_text()

    with datajoint_file.capture(log=True) as run:
        assert in_child(work) == "in the child\n"
    assert "in the child" in Path(run.log).read_text()


IN_A_NOTEBOOK = """
import logging, os, sys
import datajoint_file
logging.basicConfig(format="%(message)s")
print("before")
with datajoint_file.capture(log=True) as run:
    print("printed")
    os.system("echo child")
    logging.warning("logged")
    print("to the end", end="", file=sys.stderr)
assert open(run.log).read() == "printed\\nchild\\nlogged\\nto the end", open(run.log).read()
print("\\nafter")
os.system("echo child, too")
"""


def test_a_notebook_shows_all_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, a kernel does not look at its descriptors
    cells = [nbformat.v4.new_code_cell(IN_A_NOTEBOOK)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), "in.ipynb")
    with datajoint_file.capture("in.ipynb") as run:
        run.notebook("in.ipynb", timeout=100)
    (cell,) = nbformat.read(run.path / "in.ipynb", as_version=4).cells
    shown = "".join(output.get("text", "") for output in cell.outputs)
    expected = ["before", "printed", "child", "logged", "to the end", "after", "child, too"]
    assert sorted(line for line in shown.splitlines() if line in expected) == sorted(expected)
