"""`Preview`, the rendered description of a file: texts, tables and pictures, as HTML and as plain text.

What files hold is untrusted: it is escaped here, and here alone, whatever a reader has put into the parts.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.startup import on_one_line

LONGEST_LINE = 160
LONGEST_CELL = 24
MOST_COLUMNS = 10
_BARS = "▁▂▃▄▅▆▇█"
_CELL = 'style="text-align:left;padding:0 1em 0 0"'


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of text, in letters of one width."""

    lines: tuple[str, ...]

    def text(self) -> list[str]:
        """Return the lines for a terminal."""
        return [cut(line) for line in self.lines]

    def html(self) -> str:
        """Return the lines for a notebook."""
        return f'<pre style="margin:.3em 0">{escape(chr(10).join(self.text()))}</pre>'


@dataclass(frozen=True, slots=True)
class Grid:
    """First rows of a table."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> list[str]:
        """Return the rows for a terminal, in columns."""
        rows = [[cut(cell, LONGEST_CELL) for cell in row[:MOST_COLUMNS]] for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*_filled(rows), strict=True)]
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in _filled(rows)] + self._others()

    def html(self) -> str:
        """Return the rows for a notebook."""
        cells = (
            "".join(f"<{tag} {_CELL}>{escape(cut(cell, LONGEST_CELL))}</{tag}>" for cell in row[:MOST_COLUMNS])
            for tag, row in (("th", self.header), *(("td", row) for row in self.rows))
        )
        table = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table>{table}</table>{''.join(map(escape, self._others()))}"

    def _others(self) -> list[str]:
        others = len(self.header) - MOST_COLUMNS
        return [f"… and {others:,} more columns"] if others > 0 else []


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture, made anew: no byte of it is of the file."""

    png: bytes
    width: int
    height: int

    def text(self) -> list[str]:
        """Return what a terminal shows in its place."""
        return [f"[picture of {self.width} x {self.height} pixels: .save('picture.png') writes it]"]

    def html(self) -> str:
        """Return the picture for a notebook."""
        data = base64.b64encode(self.png).decode()
        return f'<img src="data:image/png;base64,{data}" width="{self.width}" height="{self.height}" alt="">'


@dataclass(frozen=True, slots=True)
class Outline:
    """Peaks over time, from 0 to 1."""

    peaks: tuple[float, ...]

    def text(self) -> list[str]:
        """Return a line of bars."""
        return ["".join(_BARS[min(int(peak * len(_BARS)), len(_BARS) - 1)] for peak in self.peaks)]

    def html(self) -> str:
        """Return a drawing."""
        bars = "".join(f"M{4 * i + 2} {32 - 30 * peak:.1f}V{32 + 30 * peak:.1f}" for i, peak in enumerate(self.peaks))
        path = f'<path d="{bars}" stroke="currentColor" stroke-width="3" fill="none"/>'
        return f'<svg width="{4 * len(self.peaks) + 4}" height="64" role="img">{path}</svg>'


Part = Lines | Grid | Picture | Outline


@dataclass(frozen=True, slots=True, repr=False)
class Preview:
    """What there is to see of a file or directory, for people: shown by notebooks and by ``print``.

    It is a value: nothing is read when it is shown. What was read for it is *not* verified against the hash.

    Parameters
    ----------
    name : str
        Of the file or directory.
    facts : tuple of str
        What is known of the whole: size, type, shape.
    parts : tuple
        Lines, tables and pictures.
    notes : tuple of str
        Why there is no more: too large, damaged, a library that is missing.

    Examples
    --------
    >>> print(Preview("a.csv", ("12 B", "text/csv"), (Grid(("t", "v"), (("0", "1.5"),)),)))
    a.csv: 12 B, text/csv
      t  v
      0  1.5
    """

    name: str
    facts: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def png(self) -> bytes | None:
        """A picture of it as PNG, of at most 480 pixels on a side; None if there is none."""
        return next((part.png for part in self.parts if isinstance(part, Picture)), None)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture, a PNG, to a new file and return its path.

        Raises
        ------
        UnsupportedValueError
            If there is no picture.
        FileExistsError
            If the file is there.
        """
        if self.png is None:
            raise UnsupportedValueError(": ".join([f"{on_one_line(self.name)} has no picture to save", *self.notes]))
        target = Path(path)
        with target.open("xb") as file:
            file.write(self.png)
        return target

    def with_facts(self, *facts: str) -> Preview:
        """Return it with *facts* before its own."""
        return replace(self, facts=(*facts, *self.facts))

    def __str__(self) -> str:
        said = ", ".join(map(on_one_line, self.facts))
        lines = [line for part in self.parts for line in part.text()]
        return "\n".join(
            [f"{on_one_line(self.name)}: {said}", *(f"  {line}" for line in lines), *(f"  {n}" for n in self._notes())]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        said = escape(", ".join(map(on_one_line, self.facts)))
        notes = "".join(f"<div><em>{escape(note)}</em></div>" for note in self._notes())
        return (
            '<div style="border:1px solid #8886;border-radius:6px;padding:.5em 1em;display:inline-block">'
            f"<div><strong>{escape(on_one_line(self.name))}</strong> {said}</div>"
            f"{''.join(part.html() for part in self.parts)}{notes}</div>"
        )

    def _repr_png_(self) -> bytes | None:
        return self.png

    def _notes(self) -> list[str]:
        return [cut(note, 2 * LONGEST_LINE) for note in self.notes]


def cut(text: str, length: int = LONGEST_LINE) -> str:
    r"""Return *text* on one line, of at most so many characters, with escapes for what a terminal would run.

    Examples
    --------
    >>> cut("a\x1b[2J"), cut("abcdef", 4)
    ('a\\x1b[2J', 'abc…')
    """
    line = on_one_line(text[: length + 1])
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _filled(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return rows of equal length."""
    longest = max(map(len, rows))
    return [[*row, *[""] * (longest - len(row))] for row in rows]
