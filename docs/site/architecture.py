"""Drawing of the package's rooms, from import-linter's contract in ``pyproject.toml`` and the docstrings of the rooms.

    python docs/site/architecture.py        writes docs/assets/architecture.svg, and the table of the page

Nothing is laid out by hand: a floor is a line of the contract, a room what stands on it. What a room imports is read
from its files.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "datajoint_file"
PICTURE = ROOT / "docs" / "assets" / "architecture.svg"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"

WIDTH, GAP, LINE = 760, 8, 14


def floors() -> list[list[str]]:
    """Return the rooms of each floor, from the roof down, as the contract has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip().removeprefix("datajoint_file.") for name in re.split("[|:]", layer)] for layer in layers]


def rooms_within(room: str) -> list[str]:
    """Return the folders that a room opens into."""
    return sorted(path.parent.name for path in (PACKAGE / room).glob("*/__init__.py"))


def sentence(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    folder = PACKAGE.joinpath(*room.split("."))
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", text.replace("``", "`"), maxsplit=1)[0].replace("\n", " ")


def imported(room: str) -> str:
    """Return which of ``datajoint`` and ``fsspec`` the files of a room import."""
    files = [*(PACKAGE / room).rglob("*.py")] or [PACKAGE / f"{room}.py"]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    return " ".join(name for name in ("datajoint", "fsspec") if re.search(rf"^\s*(from|import) {name}\b", text, re.M))


def picture() -> str:
    """Return the house as SVG, for `extra.css` to colour."""
    shapes, top = [], 0
    for rooms in floors():
        width = (WIDTH - GAP * (len(rooms) - 1)) / len(rooms)
        texts = [textwrap.wrap(sentence(room).replace("`", "").rstrip("."), int((width - 20) / 5.9)) for room in rooms]
        lines = max(len(text) + bool(rooms_within(room)) for text, room in zip(texts, rooms, strict=True))
        height = 30 + LINE * lines
        for number, (room, text) in enumerate(zip(rooms, texts, strict=True)):
            shapes += _room(room, text, number * (width + GAP), top, width, height)
        top += height + GAP
    label = "The rooms of datajoint_file, one floor above the other: an import goes down"
    head = f'<svg class="djf" viewBox="0 0 {WIDTH} {top - GAP}" role="img" aria-label="{label}">'
    return "\n".join([head, *(f"  {shape}" for shape in shapes), "</svg>", ""])


def _room(room: str, text: list[str], left: float, top: int, width: float, height: int) -> Iterator[str]:
    yield f'<rect class="box" x="{left:.0f}" y="{top}" width="{width:.0f}" height="{height}" rx="4"/>'
    kind = {"datajoint": "row", "fsspec": "bytes"}.get(imported(room))
    if kind:
        yield f'<rect class="{kind}" x="{left:.0f}" y="{top}" width="5" height="{height}" rx="2"/>'
    x = f"{left + 14:.0f}"
    yield f'<text class="strong mono" x="{x}" y="{top + 20}" font-size="13">{room}</text>'
    if within := rooms_within(room):
        text = [*text, f"▸ {'  ▸ '.join(within)}"]
    for number, line in enumerate(text):
        yield f'<text class="soft" x="{x}" y="{top + 20 + LINE * (number + 1)}" font-size="11">{escape(line)}</text>'


def table() -> str:
    """Return the rooms and what each is, as a table in Markdown."""
    rows = ["| floor | room | what it is |", "| --- | --- | --- |"]
    for number, rooms in enumerate(floors()):
        for room in rooms:
            rows.append(f"| {len(floors()) - number} | `{room}` | {sentence(room)} |")
            rows += [f"| | `{room}.{inner}` | {sentence(f'{room}.{inner}')} |" for inner in rooms_within(room)]
    return "\n".join(rows)


def page(text: str) -> str:
    """Return the page *text* with its table as it should be."""
    between = r"(?<=<!-- begin rooms -->\n).*(?=<!-- end rooms -->)"
    return re.sub(between, lambda _: f"\n{table()}\n\n", text, flags=re.DOTALL)


def write() -> list[Path]:
    """Write picture and table; return the files that were not as they should be."""
    wanted = {PICTURE: picture(), PAGE: page(PAGE.read_text(encoding="utf-8"))}
    stale = [file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    for file in stale:
        file.write_text(wanted[file], encoding="utf-8")
    return stale


if __name__ == "__main__":
    if stale := write():
        names = ", ".join(str(file.relative_to(ROOT)) for file in stale)
        sys.exit(f"{names}: the rooms have changed; drawn anew. Commit it, and run this again")
