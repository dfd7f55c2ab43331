"""Docstrings speak of what there is: each name in backticks is the name of something."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

from tests.docs.pages import ROOT

_PACKAGE = ROOT / "datajoint_file"
_FOREIGN = {"concurrent", "futures", "Executor", "ProcessPoolExecutor", "dj", "Schema", "a", "pathlib"}
_BACKTICKS = re.compile(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)")


def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_PACKAGE.rglob("*.py"))}


def _names_of(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        for field in ("name", "arg", "id", "attr", "asname"):
            names.update(str(getattr(node, field, None)).split("."))
    return names


def _texts(tree: ast.AST) -> list[str]:
    """Return the docstrings, also those below constants."""
    return [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]


_TREES = _trees()
_KNOWN = _FOREIGN.union(dir(builtins), *(_names_of(tree) for tree in _TREES.values()))
_KNOWN |= {part for path in _TREES for part in (path.stem, path.parent.name)}


def test_every_name_in_backticks_is_the_name_of_something() -> None:
    unknown = {
        f"{path.relative_to(_PACKAGE)}: {name}"
        for path, tree in _TREES.items()
        for text in _texts(tree)
        for name in _BACKTICKS.findall(text)
        if not _KNOWN.issuperset(name.split("."))
    }
    assert not unknown
