"""Terminal escaping: control characters of text that is printed or logged, which names in a database can hold."""

from __future__ import annotations


def escaped(text: str) -> str:
    r"""Return *text* with escapes for what a terminal would run, or what hides what it says. Line feeds stay.

    Unlike `datajoint_file.errors.printable`, it is for whole messages: only such characters change.

    Examples
    --------
    >>> escaped("Größe of t\x1b[2J")
    'Größe of t\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def on_one_line(text: str) -> str:
    """Return *text* as `escaped` does, line feeds escaped as well: none of its lines looks like one of ours."""
    return escaped(text).replace("\n", "\\n")
