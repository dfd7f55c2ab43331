"""Arriving directories: what is left of one that cannot be made."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from datajoint_file.errors import DestinationError
from datajoint_file.transfer.arriving_directory import arriving
from tests.unit.conftest import InChild


@pytest.mark.parametrize("left", range(4))
def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, in_child: InChild, left: int) -> None:
    outcome = in_child(_make_with_descriptors, tmp_path, left)
    assert outcome == ("DestinationError" if left < 3 else "made")
    assert list(tmp_path.iterdir()) == []


def _make_with_descriptors(tmp_path: Path, left: int) -> str:
    """Make a directory where only so many descriptors are to be had."""
    highest = os.open(os.devnull, os.O_RDONLY) + 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    for descriptor in taken[:left]:
        os.close(descriptor)
    try:
        with arriving(tmp_path / "run"):
            outcome = "made"
    except DestinationError:
        outcome = "DestinationError"
    for descriptor in taken[left:]:
        os.close(descriptor)
    return outcome
