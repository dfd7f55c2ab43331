"""The public package for tests stands apart from the rest, and needs pytest only where it must."""

from __future__ import annotations

import subprocess
import sys

import pytest

import datajoint_file.testing


def _run(script: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_package_loads_neither_its_testing_nor_pytest() -> None:
    script = "import sys, datajoint_file; print({'pytest', 'datajoint_file.testing'} & set(sys.modules))"
    assert _run(script) == "set()"


def test_faults_and_readers_need_no_pytest() -> None:
    script = """
import sys
sys.modules["pytest"] = None
from datajoint_file.testing import FaultyBackend, ShortReader
print(ShortReader(b"recording", most=4).read())
"""
    assert _run(script) == "b'reco'"


@pytest.mark.parametrize("name", datajoint_file.testing.__all__)
def test_public_names_are_there_and_documented(name: str) -> None:
    assert getattr(datajoint_file.testing, name).__doc__


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'StorageTests'"):
        datajoint_file.testing.StorageTests  # noqa: B018


def test_assertions_of_the_suites_say_what_they_compared() -> None:
    """As those of a test file do: pytest has rewritten them."""
    from datajoint_file.testing import StorageBackendTests

    module = sys.modules[StorageBackendTests.__module__.replace(".conformance", ".conformance.deleting")]
    assert "AssertionRewritingHook" in repr(module.__loader__)
