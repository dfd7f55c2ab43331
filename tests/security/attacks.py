"""The inputs of the attacks, by number: what `docs/reference/security.md` lists, and tests try on both sides.

Values only; what must become of each is said by the test that uses it.
"""

from __future__ import annotations

from typing import Any

import pytest


def attack(number: int, *values: Any, name: str = "") -> Any:
    """Return one case of a table of attacks, whose id begins with the attack's number."""
    return pytest.param(*values, id=f"attack{number}-{name or ascii(values[0])[:24]}")


def attacks(*numbers: int) -> pytest.MarkDecorator:
    """Say of a test which attacks it is about; the numbers stand in its id."""
    return pytest.mark.parametrize("_attacks", [numbers], indirect=True, ids=[f"attack{'-'.join(map(str, numbers))}"])


REFUSED_NAMES = [
    attack(1, "../x"),
    attack(1, "a/../../x"),
    attack(1, "....//x"),
    attack(2, "/etc/passwd"),
    attack(2, "C:\\x"),
    attack(2, "\\\\host\\share"),
    attack(2, "c:x"),
    attack(2, "C:"),
    attack(3, "..\\..\\x"),
    attack(3, "a\\b"),
    attack(4, "", name="empty"),
    attack(4, "."),
    attack(4, ".."),
    attack(4, "   ", name="spaces"),
    attack(4, " .. . ", name="dots and spaces"),
    attack(5, "a\0b", name="NUL"),
    attack(5, "a\nb", name="line feed"),
    attack(5, "a\rb", name="carriage return"),
    attack(5, "a\x1b[2Jb", name="escape"),
    attack(5, "a\x7fb", name="delete"),
    attack(5, "a\x85b", name="next line"),
    attack(5, "a\u2028b", name="line separator"),
    attack(5, "a\u2029b", name="paragraph separator"),
    attack(6, "cod\u202egpj.exe", name="right to left"),
    attack(6, "a\u2066b\u2069.txt", name="isolate"),
    attack(6, "\u200fa.txt", name="mark"),
    attack(8, "a:b", name="stream of a drive letter"),
    attack(9, "x" * 256, name="256 bytes"),
    attack(9, "é" * 128, name="256 bytes of 128 letters"),
    attack(9, "x" * 1_000_000, name="a million bytes"),
    attack(13, "a\udcffb", name="surrogate"),
    attack(13, "\ud800", name="lone surrogate"),
    attack(50, "a\n2026-11-21 12:00:00 ERROR stolen", name="a line of a log"),
]
"""Names that nobody may have: refused when inserted, and in a row."""

KEPT_NAMES = [
    attack(6, "zero\u200bwidth.txt", name="zero width"),
    attack(6, "\ufeffbom.txt", name="byte order mark"),
    attack(7, "caf\u00e9.txt", name="composed"),
    attack(7, "cafe\u0301.txt", name="decomposed"),
    attack(7, "Recording.DAT"),
    attack(7, "recording.dat"),
    attack(8, "CON"),
    attack(8, "nul.txt"),
    attack(8, "aux."),
    attack(8, "trailing space ", name="trailing space"),
    attack(8, "file.txt:stream"),
    attack(9, "x" * 255, name="255 bytes"),
    attack(9, "é" * 127, name="254 bytes of 127 letters"),
    attack(10, "report[1].csv"),
    attack(10, "report1.csv"),
    attack(10, "*"),
    attack(10, "**"),
    attack(10, "x?"),
    attack(10, "x*"),
    attack(10, "{a,b}"),
    attack(11, "ab::c"),
    attack(11, "zip:x::s3:y"),
    attack(11, "x#frag"),
    attack(11, "x?versionId=1"),
    attack(11, "%2e%2e%2fx"),
    attack(11, "%2E%2E"),
    attack(11, "a%00b"),
    attack(11, "a%2Fb"),
    attack(11, "a+b"),
    attack(11, "a%20b"),
    attack(11, "a b"),
    attack(11, "~"),
    attack(11, "~partial-0123456789abcdef"),
    attack(12, "-rf"),
    attack(12, "--help"),
    attack(12, ";rm -rf ."),
    attack(12, "$(id)`id`|&"),
    attack(33, "page.html"),
    attack(33, "drawing.svg"),
    attack(34, "<script>alert(1)"),
    attack(34, '"onmouseover="alert(1)'),
    attack(35, "=cmd|' !A1'"),
    attack(35, "@SUM(1)"),
    attack(47, "x'); DROP TABLE recording;--"),
    attack(47, "%s%(a)s%%{0}{name}"),
    attack(47, '"; DELETE FROM x;'),
    attack(47, "`x`"),
    attack(47, "$$x$$ :p ?"),
]
"""Names that are odd and nobody's harm: kept, literal in the key, and apart from one another."""

OUTSIDE_PATHS = [
    attack(1, "{project}/../outside.txt", name="parent"),
    attack(1, "{project}/a/../../outside.txt", name="parent inside"),
    attack(1, "../outside.txt", name="parent first"),
    attack(1, "{project}/..", name="ends in parent"),
    attack(1, "{project}/./x", name="here"),
    attack(2, "/etc/hostname", name="absolute"),
    attack(2, "//etc/hostname", name="absolute twice"),
    attack(2, "{project}//etc/hostname", name="empty component"),
    attack(2, "C:/x", name="drive"),
    attack(3, "{project}\\..\\outside.txt", name="backslash"),
    attack(3, "{project}/..\\..\\outside.txt", name="backslash inside"),
    attack(4, "", name="empty"),
    attack(4, "{project}", name="project only"),
    attack(4, "{project}/", name="no name"),
    attack(5, "{project}/a\nb", name="line feed"),
    attack(9, "{project}/" + "x" * 1100, name="1100 bytes"),
    attack(9, "{project}/" + "x/" * 2048 + "x", name="4096 bytes"),
    attack(10, "{project}/*", name="glob"),
    attack(10, "{project}/[a-z]", name="class"),
    attack(11, "s3://other/x", name="url"),
    attack(11, "file:///etc/hostname", name="file url"),
    attack(11, "{project}/x::file:///etc/hostname", name="chained"),
    attack(11, "{project}/x?versionId=1", name="query"),
    attack(11, "{project}/x#y", name="fragment"),
    attack(12, "{project}/x;id", name="shell"),
    attack(13, "{project}/\u2025/x", name="two dot leader"),
    attack(13, "{project}/\uff0e\uff0e/x", name="full-width dots"),
    attack(50, "{project}/x\n2026-11-21 ERROR", name="a line of a log"),
]
"""Paths of rows that are no object key inside a project."""

FOREIGN_PATHS = [
    attack(20, "another_project/x/y", name="other project"),
    attack(20, "../y", name="parent as project"),
    attack(21, "{project}2/x/y", name="project with the same beginning"),
    attack(49, "#{project}/x", name="hash as project"),
]
"""Paths of rows that belong to nobody this pipeline knows."""
