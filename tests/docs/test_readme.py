"""The README is short: what it is, how to try it, what it promises, where to go."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT, blocks

README = ROOT / "README.md"


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= 560


def test_the_readme_shows_the_card_two_commands_and_five_promises() -> None:
    text = README.read_text(encoding="utf-8")
    picture = re.search(r'<img src="([^"]+)"', text)
    assert picture
    assert (ROOT / picture[1]).is_file()
    assert [command for block in blocks(README) for command in block.commands] == ["make demo", "make test"]
    promises = text.partition("## Five promises")[2].partition("\n## ")[0]
    assert len(re.findall(r"^- \*\*", promises, re.MULTILINE)) == 5
