"""Words of messages: one of a thing is one thing, and what is advised to install is what the extras bring."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from datajoint_file.model.wording import counted, pip_install, spoken

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("extra", ["s3", "gcs", "azure", "postgres", "keyring", "arrow"])
def test_what_is_advised_to_install_is_what_the_extra_brings(extra: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    brought = {re.split(r"[<>=;\[ ]", package)[0] for package in extras[extra]}
    assert brought - ({"obstore"} if sys.version_info < (3, 11) else set()) == set(pip_install(extra).split()[2:])


def test_nothing_advises_to_install_this_package_from_an_index() -> None:
    files = [*(ROOT / "datajoint_file").rglob("*.py"), *(ROOT / "datajoint_file").rglob("*.toml")]
    advice = re.compile(r"pip install[^\n]*datajoint-file")
    assert [path for path in files if advice.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(days=7), "7 days"),
        (timedelta(days=1, hours=1), "1 day 1 hour"),
        (timedelta(minutes=90), "1 hour 30 minutes"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(), "0 seconds"),
        (timedelta(milliseconds=250), "0.25 seconds"),
        (timedelta(hours=-2), "minus 2 hours"),
    ],
)
def test_duration_is_said_as_people_say_it(duration: timedelta, words: str) -> None:
    assert spoken(duration) == words


def test_one_of_a_thing_is_one_thing() -> None:
    assert (counted(1, "object"), counted(2, "object"), counted(0, "entry", "entries")) == (
        "1 object",
        "2 objects",
        "0 entries",
    )
