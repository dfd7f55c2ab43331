"""Path rule: a glob with placeholders, compiled to a regular expression that gives typed values. The inverse of format.

Text only: which paths there are is the business of `scan`, and what a value looks like of `placeholders`. Nothing is
guessed: a path that can be read in two ways is refused, and so is a sign of a number that nobody has spoken of.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

from datajoint_file.errors import PathMismatchError, RuleError, brief, printable
from datajoint_file.intake.placeholders import STRETCH, TEXT_GROUP, Placeholder
from datajoint_file.model.wording import nearest

_Order = Literal["shortest", "longest"]
"""Which of several readings of a path is tried first."""

_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^]/][^]/]*\]|.", re.DOTALL)

_GLOBS = {
    "**/": f"(?:[^/]+/)*{STRETCH}",
    "**": f".+{STRETCH}",
    "*": f"[^/]*{STRETCH}",
    "?": "[^/]",
}


class Rule:
    """A rule for paths below a directory: ``subject{subject_id}/session{session_id:03d}/*.dat``.

    It is text, with the globs of `pathlib` (``*``, ``?``, ``[abc]``, and ``**`` for any directories) and placeholders.
    One that stands twice must have the same value in both places. A slash at the end is for directories.

    Parameters
    ----------
    text : str
        The rule.
    types : mapping, optional
        The types of the attributes that placeholders can name; nothing is known of them if not given.
    patterns : mapping of str
        What values look like, as regular expressions, by name.

    Raises
    ------
    RuleError
        If it cannot be used.

    Examples
    --------
    >>> rule = Rule("subject{subject_id}/{day:%Y%m%d}_*.dat", {"subject_id": "int32", "day": "date"})
    >>> rule.match("subject007/20250131_left.dat")
    {'subject_id': 7, 'day': datetime.date(2025, 1, 31)}
    >>> rule.match("subject007/notes.txt") is None
    True
    """

    def __init__(
        self, text: str, types: Mapping[str, str] | None = None, patterns: Mapping[str, str] | None = None
    ) -> None:
        self.text = text
        self.is_for_directories = text.endswith("/")
        self._types = types
        self._patterns = patterns or {}
        self._parts = list(self._read())
        self._check()
        self._typed = self._compiled(is_loose=False)

    @cached_property
    def _ending(self) -> str:
        """What each path ends with."""
        last = self._parts[-1]
        return re.split(r"[*?\]]", last)[-1] if isinstance(last, str) else ""

    @property
    def names(self) -> list[str]:
        """The names of its placeholders, each once."""
        return list(dict.fromkeys(part.name for part in self._parts if isinstance(part, Placeholder)))

    def match(self, path: str) -> dict[str, Any] | None:
        """Return the values in a path, relative, its parts between slashes; None if it is not of this form at all.

        Raises
        ------
        PathMismatchError
            If it is of this form, and what stands for a value is none; or if it can be read in several ways.
        """
        normal = unicodedata.normalize("NFC", path)
        if not normal.endswith(self._ending):  # asked first: a long name can be tried in a great many ways
            return None
        shortest = self._typed["shortest"].fullmatch(normal)
        if shortest is None:
            self._require_another_form(normal)
            return None
        longest = self._typed["longest"].fullmatch(normal)
        found = self._values(shortest)
        if longest is not None and longest.regs[1:] != shortest.regs[1:]:
            other = self._values(longest)
            raise PathMismatchError(
                f"it can be read in several ways: {_told(found)}; or {_told(other)}. Say what a value looks like "
                "with patterns="
            )
        return found

    def _require_another_form(self, path: str) -> None:
        """Raise if a value alone keeps a path out, which has the form of the rule otherwise."""
        loose = self._loose["shortest"].fullmatch(path)
        if loose is None:
            return
        for place, text in zip(self._places, loose.groups(), strict=True):
            place.value(text)
            if place.pattern and not re.fullmatch(place.pattern, text):
                raise PathMismatchError(f"{place.name} = {brief(text)} does not look like {place.pattern}")
            if not re.fullmatch(place.expression().replace(STRETCH, ""), text):
                raise PathMismatchError(f"{place.name} = {brief(text)} is no value of type {place.type or place.kind}")

    @property
    def _places(self) -> list[Placeholder]:
        return [part for part in self._parts if isinstance(part, Placeholder)]

    @cached_property
    def _loose(self) -> dict[_Order, re.Pattern[str]]:
        return self._compiled(is_loose=True)

    def _values(self, match: re.Match[str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for place, text in zip(self._places, match.groups(), strict=True):
            value = place.value(text)
            if values.setdefault(place.name, value) != value:
                raise PathMismatchError(f"{place.name} has two values: {values[place.name]} and {value}")
        return values

    def _read(self) -> Iterator[str | Placeholder]:
        if not self.text.strip("/ "):
            raise self._error("it has nothing but slashes; it is such as 'subject{subject_id}/*.dat'")
        if "\0" in self.text:
            raise self._error("no path has a NUL")
        try:
            parsed = list(string.Formatter().parse(unicodedata.normalize("NFC", self.text.removesuffix("/"))))
        except ValueError as error:
            raise self._error(f"{error}") from error
        for literal, name, spec, conversion in parsed:
            if literal:
                yield literal
            if name is not None:
                yield self._placeholder(name, spec or "", conversion)

    def _placeholder(self, name: str, spec: str, conversion: str | None) -> Placeholder:
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
            raise self._error(f"{{{name}}} is not the name of an attribute")
        if conversion or "{" in spec:
            raise self._error(f"the placeholder {{{name}}} may have a plain format specification only")
        if self._types is not None and name not in self._types:
            raise self._error(f"the table has no attribute {name!r}{nearest(name, list(self._types))}")
        return Placeholder(name, (self._types or {}).get(name, ""), spec, self._patterns.get(name, ""))

    def _check(self) -> None:
        outline = "".join(part if isinstance(part, str) else "x" for part in self._parts)
        for component in outline.split("/"):
            if component in ("", ".", ".."):
                raise self._error(f"its part {component!r} is empty or has a meaning of its own; a rule is relative")
            if "**" in component and component != "**":
                raise self._error("`**` stands for whole directories, between slashes")
        if unknown := sorted(set(self._patterns) - set(self.names)):
            raise self._error(f"there is a pattern for {unknown[0]}, and no such placeholder")
        for place in self._places:
            place.expression()

    def _compiled(self, *, is_loose: bool) -> dict[_Order, re.Pattern[str]]:
        neighbours = zip(["", *self._parts], self._parts, [*self._parts[1:], ""], strict=False)
        expression = "".join(
            _globbed(one) if isinstance(one, str) else TEXT_GROUP if is_loose else one.between(before, after)
            for before, one, after in neighbours
        )
        return {
            "shortest": re.compile(expression.replace(STRETCH, "?"), re.DOTALL),
            "longest": re.compile(expression.replace(STRETCH, ""), re.DOTALL),
        }

    def _error(self, what: str) -> RuleError:
        return RuleError(f"the rule {brief(self.text)}: {what}")


def _globbed(literal: str) -> str:
    """Return the part of a rule between placeholders as a regular expression."""
    return "".join(map(_glob_expression, _GLOB.findall(literal)))


def _glob_expression(token: str) -> str:
    if len(token) > 2 and token.startswith("["):
        is_negated = token[1] == "!"
        letters = token[1 + is_negated : -1].replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
        return f"(?!/)[{'^' * is_negated}{letters}]"
    return _GLOBS.get(token) or re.escape(token)


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={printable(str(value))}" for name, value in values.items())
