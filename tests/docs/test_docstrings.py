"""The examples in docstrings do what they show.

Which names have an example is a matter of style; what is shown has to be true.
"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from tests.docs.pages import modules

WITH_EXAMPLES = [name for name in modules() if not name.startswith("datajoint_file.testing.conformance")]


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORE_KEY", "")  # an example sets it; this takes it back


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of_a_module_run(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert not outcome.failed


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [test for name in WITH_EXAMPLES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 25
