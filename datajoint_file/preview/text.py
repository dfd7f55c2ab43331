"""Readers of text: lines, rows of CSV and TSV, JSON; and bytes that are no text as hex.

The beginning alone is read.
"""

from __future__ import annotations

import codecs
import csv
import json
from contextlib import suppress

from datajoint_file.model.wording import counted
from datajoint_file.preview.shown import LONGEST_LINE, Grid, Lines, Preview
from datajoint_file.preview.stream import Metered, Subject

_BEGINNING = 64 * 1024
_MOST_LINES = 30
_MOST_ROWS = 10
_HEX_BYTES = 128
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def text(stream: Metered, subject: Subject) -> Preview:
    """Show the first lines."""
    return _lines(subject, _decoded(stream.read(min(_BEGINNING, subject.size))), subject.size <= _BEGINNING)


def json_text(stream: Metered, subject: Subject) -> Preview:
    """Show the first lines, indented where the file is small enough to be read."""
    content = _decoded(stream.read(min(_BEGINNING, subject.size)))
    if subject.size <= _BEGINNING and content.count("\n") < _MOST_LINES:
        with suppress(ValueError, RecursionError):
            content = json.dumps(json.loads(content), indent=2, ensure_ascii=False)
    return _lines(subject, content, subject.size <= _BEGINNING)


def table(stream: Metered, subject: Subject) -> Preview:
    """Show the first rows."""
    content = _decoded(stream.read(min(_BEGINNING, subject.size)))
    is_whole = subject.size <= _BEGINNING
    first = content.partition("\n")[0]
    delimiter = max("\t,;|", key=first.count)
    lines = content.splitlines(keepends=True)
    rows = list(csv.reader(lines if is_whole else lines[:-1] or lines, delimiter=delimiter))
    if not rows:
        return Preview(subject.name, ("no rows",))
    width = len(rows[0])
    amount = counted(len(rows) - 1, "row") if is_whole else "first rows"
    return Preview(
        subject.name,
        (f"{amount} of {counted(width, 'column')}",),
        (Grid(tuple(rows[0]), tuple(map(tuple, rows[1 : _MOST_ROWS + 1]))),),
    )


def hexdump(head: bytes) -> Lines:
    """Show the first bytes, sixteen on a line."""
    rows = (head[start : start + 16] for start in range(0, min(len(head), _HEX_BYTES), 16))
    return Lines(tuple(f"{row.hex(' '):<48} {''.join(chr(b) if 32 <= b < 127 else '.' for b in row)}" for row in rows))


def is_text(head: bytes) -> bool:
    r"""Tell whether these first bytes are those of a text.

    Examples
    --------
    >>> is_text("Größe".encode()[:-1]), is_text(b"\x00\x01"), is_text(b"\x89PNG")
    (True, False, False)
    """
    if head.startswith(tuple(bom for bom, _ in _BOMS)):
        return True
    try:
        content = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not any(ord(letter) < 32 and letter not in "\t\n\r\f\x1b" for letter in content)


def _decoded(data: bytes) -> str:
    """Return the beginning of a text, which may end within a letter."""
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    content = codecs.getincrementaldecoder(encoding)("replace").decode(data)
    if "\0" in content:
        raise ValueError("it is no text")
    return content


def _lines(subject: Subject, content: str, is_whole: bool) -> Preview:
    lines = [line.expandtabs(4) for line in content[: _MOST_LINES * LONGEST_LINE * 4].splitlines()]
    is_all = is_whole and len(lines) <= _MOST_LINES
    said = counted(len(lines), "line") if is_all else "first lines"
    return Preview(subject.name, (said,), (Lines(tuple(lines[:_MOST_LINES])),))
