"""The page on security says which attacks are tried, and these are the ones."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "security.md"

_ROW = re.compile(r"^\| (\d+) \|.*\| ([^|]+) \|$", re.MULTILINE)
_TRIED = re.compile(r"\battacks?\(([\d, ]+)")


def states() -> dict[int, str]:
    return {int(number): state.strip() for number, state in _ROW.findall(PAGE.read_text(encoding="utf-8"))}


def tried() -> set[int]:
    texts = [path.read_text(encoding="utf-8") for path in HERE.glob("*.py") if path.name != "test_documented.py"]
    found = [match for text in texts for match in _TRIED.findall(text)]
    return {int(number) for numbers in found for number in numbers.split(",") if number.strip()}


def test_every_attack_is_listed_once() -> None:
    assert list(states()) == list(range(1, 54))


def test_attacks_that_are_said_to_be_tested_are_the_ones_that_are() -> None:
    said = {number for number, state in states().items() if "tested" in state}
    assert said == tried()


def test_attacks_that_are_not_tested_say_why() -> None:
    for number, state in states().items():
        assert "tested" in state or state.startswith("not yet: "), number
