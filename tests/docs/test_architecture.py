"""The page *Architecture* shows the house as it is: drawn from the contract, with every room on its floor."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT

PACKAGE = ROOT / "datajoint_file"
REMEDY = "out of date: `make docs` draws it anew; commit what it writes"


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "site" / "architecture.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


architecture = _generator()


def _rooms_on_disk() -> set[str]:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return folders | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def test_the_picture_is_what_the_contract_says() -> None:
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.picture(), REMEDY


def test_the_table_is_what_the_docstrings_say() -> None:
    text = architecture.PAGE.read_text(encoding="utf-8")
    assert text == architecture.page(text), REMEDY
    assert architecture.table() in text


def test_each_room_is_drawn_once_and_on_its_floor() -> None:
    names = re.findall(r'<text class="strong mono" x="\d+" y="(\d+)"[^>]*>(\w+)<', architecture.picture())
    assert sorted(name for _, name in names) == sorted(_rooms_on_disk())
    heights = {name: int(height) for height, name in names}
    drawn = [{heights[room] for room in rooms} for rooms in architecture.floors()]
    assert all(len(floor) == 1 for floor in drawn)
    assert drawn == sorted(drawn, key=min), "the roof is above"


def test_each_room_says_what_it_is_in_one_sentence() -> None:
    for room in _rooms_on_disk():
        assert re.fullmatch(r"[A-Z].{10,150}\.", architecture.sentence(room)), room


def test_a_newcomer_can_take_the_house_in() -> None:
    assert len(architecture.floors()) <= 14
    opened = sum(len(architecture.rooms_within(room)) for room in _rooms_on_disk())
    assert len(_rooms_on_disk()) + opened <= 36


def test_tests_are_kept_by_the_names_of_rooms() -> None:
    for kind in ("unit", "integration"):
        folders = {Path(path).parent.name for path in (ROOT / "tests" / kind).glob("*/*.py")}
        assert folders <= _rooms_on_disk(), kind
    assert not list((ROOT / "tests" / "integration").glob("test_*.py"))
