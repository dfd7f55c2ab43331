"""Path rule: a glob with placeholders, compiled to a regular expression that gives typed values. The inverse of format.

Text only: which paths there are is the business of `scan`. Nothing is guessed: a path that can be read in two ways is
refused, and so is a number that may have a sign where nobody has said so.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from datajoint_file.errors import InvalidKeyError, PathMismatchError, RuleError, brief, printable
from datajoint_file.model.key_values import key_value, kind_of
from datajoint_file.model.wording import nearest

_STRETCH = "\0"
"""After what may be long or short, in an expression: it becomes ``?`` where the shortest is tried first."""

_TEXT = f"[^/]+{_STRETCH}"

_TEXT_GROUP = f"({_TEXT})"

_DIGITS = f"[0-9]+{_STRETCH}"

_TEXTS_OF = {
    "int": _DIGITS,
    "bool": "[01]|true|false",
    "decimal": rf"{_DIGITS}(?:\.{_DIGITS})?{_STRETCH}",
    "float": rf"{_DIGITS}(?:\.{_DIGITS})?{_STRETCH}",
    "date": rf"[0-9]{{4}}-[0-9]{{1,2}}{_STRETCH}-[0-9]{{1,2}}{_STRETCH}|[0-9]{{8}}",
    "datetime": r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?|[0-9]{8}T[0-9]{6}",
    "time": r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?",
    "uuid": r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "str": _TEXT,
}
"""What a value of a kind may look like in a path, if its placeholder does not say: no signs, no exponents."""

_COMPACT = {"date": "%Y%m%d", "datetime": "%Y%m%dT%H%M%S"}
"""How a moment is written without separators."""

_DIRECTIVES = {
    **dict.fromkeys("mdHMSyIUW", "[0-9]{2}"),
    "Y": "[0-9]{4}",
    "j": "[0-9]{3}",
    "f": f"[0-9]{{1,6}}{_STRETCH}",
    **dict.fromkeys("bBaAp", rf"[^\W\d_]+{_STRETCH}"),
    "%": "%",
}
"""What a directive of ``strftime`` may look like."""

_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<width>0[1-9][0-9]*)?(?:\.(?P<places>[0-9]+))?(?P<type>[df]?)")
"""The format specifications of numbers that can be read back."""

_Order = Literal["shortest", "longest"]
"""Which of several readings of a path is tried first."""

_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^]/][^]/]*\]|.", re.DOTALL)

_GLOBS = {
    "**/": f"(?:[^/]+/)*{_STRETCH}",
    "**": f".+{_STRETCH}",
    "*": f"[^/]*{_STRETCH}",
    "?": "[^/]",
}

_BITS = {
    **{f"int{bits}": bits for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": bits for bits in (8, 16, 32, 64)},
    "tinyint": 8,
    "smallint": 16,
    "mediumint": 24,
    "int": 32,
    "integer": 32,
    "bigint": 64,
}


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A place in a rule where a value stands."""

    name: str
    type: str  # of its attribute, as declared; empty if nobody knows
    spec: str  # how it is written, as a format specification
    pattern: str  # what it may look like, as a regular expression that a user gave

    @property
    def kind(self) -> str:
        """The kind of its values."""
        if self.type:
            return kind_of(self.type)
        if "%" in self.spec:
            return "datetime" if re.search("%[HMSIpf]", self.spec) else "date"
        return {"d": "int", "f": "float"}.get(self.spec[-1:], "str")

    @property
    def choices(self) -> list[str]:
        """The values of an ``enum``, if it is one and the database says which there are."""
        return re.findall(r"'((?:[^']|'')*)'", self.type) if self.type.lower().startswith("enum") else []

    def expression(self) -> str:
        """Return what its value may look like, as a regular expression.

        Raises
        ------
        RuleError
            If there can be none.
        """
        if self.pattern:
            return _checked(self.pattern, self.name)
        if self.choices and not self.spec:
            return "|".join(map(re.escape, sorted(self.choices, key=len, reverse=True)))
        if self.kind not in _TEXTS_OF:
            raise RuleError(f"{{{self.name}}}: a value of type {self.type} cannot be read from a path")
        return self._as_specified() if self.spec else _TEXTS_OF[self.kind]

    def between(self, before: str | Placeholder, after: str | Placeholder) -> str:
        """Return the group that its value is read by: all digits that stand together, if it is made of digits."""
        group = f"({self.expression()})"
        if not self._is_number:
            return group
        begins = "" if _ends_in_digits(before) else "(?<![0-9])"
        ends = "" if _begins_with_digits(after) else r"(?!\.?[0-9])" if self._has_point else "(?![0-9])"
        return begins + group + ends

    @property
    def _is_number(self) -> bool:
        return self.kind in ("int", "decimal", "float", "date", "datetime", "time") and not self.pattern

    @property
    def _has_point(self) -> bool:
        return self.kind in ("decimal", "float")

    def _as_specified(self) -> str:
        number = _NUMBER.fullmatch(self.spec)
        if self.kind in ("int", "decimal", "float") and number and not (self.kind == "int" and number["places"]):
            return _number_expression(number)
        if self.kind in ("date", "datetime", "time") and "%" in self.spec:
            return "".join(self._moment_parts())
        raise RuleError(
            f"{{{self.name}:{self.spec}}}: values of type {self.type or 'text'} cannot be read back from this format. "
            "For whole numbers it is such as 03d, for others .2f, for times such as %Y%m%d; for a text give patterns="
        )

    def _moment_parts(self) -> Iterator[str]:
        for directive, letter in re.findall(r"%(.)|([^%])", self.spec, re.DOTALL):
            if directive and directive not in _DIRECTIVES:
                raise RuleError(f"{{{self.name}:{self.spec}}}: %{directive} cannot be read back from a path")
            yield _DIRECTIVES[directive] if directive else re.escape(letter)

    def value(self, text: str) -> Any:
        """Return what *text* stands for.

        Raises
        ------
        PathMismatchError
            If it is no value of the type, or not written as the placeholder says.
        """
        try:
            found = key_value(self.name, self.type or self.kind, self._parsed(text)).value
        except (InvalidKeyError, ValueError) as error:
            raise self._mismatch(text) from error
        if self.spec and not self._is_written_so(found, text):
            raise PathMismatchError(f"{self.name} = {brief(text)} is not written as {{{self.name}:{self.spec}}}")
        if not self._has_room(found):
            raise self._mismatch(text)
        return bool(found) if self.kind == "bool" else found

    def _parsed(self, text: str) -> Any:
        if "%" in self.spec:
            moment = datetime.strptime(text, self.spec)
            return moment.time() if self.kind == "time" else moment
        if self.kind in _COMPACT and text.replace("T", "").isdigit():
            return datetime.strptime(text, _COMPACT[self.kind])
        if self.kind in ("int", "decimal", "float") and not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
            raise ValueError("Python would read more as a number than people write in a path")
        return text

    def _is_written_so(self, value: Any, text: str) -> bool:
        return "%" in self.spec or unicodedata.normalize("NFC", format(value, self.spec)) == text

    def _has_room(self, value: Any) -> bool:
        """Tell whether the attribute takes the value, as far as its declaration tells."""
        declared = self.type.lower()
        if self.choices:
            return str(value) in self.choices
        if self.kind == "int":
            return _is_in_range(int(value), declared)
        length = re.fullmatch(r"(?:var)?char\w*\s*\((\d+)\)", declared.replace("character varying", "varchar"))
        return length is None or len(value) <= int(length[1])

    def _mismatch(self, text: str) -> PathMismatchError:
        return PathMismatchError(f"{self.name} = {brief(text)} is no value of type {self.type or self.kind}")


def _ends_in_digits(part: str | Placeholder) -> bool:
    """Tell whether digits before a value may be another's."""
    return part[-1:].isdigit() if isinstance(part, str) else part.kind != "str" or bool(part.pattern)


def _begins_with_digits(part: str | Placeholder) -> bool:
    return part[:1].isdigit() if isinstance(part, str) else part.kind != "str" or bool(part.pattern)


def _is_in_range(value: int, declared: str) -> bool:
    name = re.match(r"\w+", declared)
    bits = _BITS.get(name[0] if name else "", 64)
    if declared.startswith("u") or "unsigned" in declared:
        return 0 <= value < 1 << bits
    return -1 << (bits - 1) <= value < 1 << (bits - 1)


def _number_expression(number: re.Match[str]) -> str:
    sign = {"": "", "-": "-?", "+": "[+-]"}[number["sign"]]
    return sign + _DIGITS + (rf"(?:\.{_DIGITS})" if number["places"] not in (None, "0") else "")


def _checked(pattern: str, name: str) -> str:
    try:
        if re.compile(pattern).groups:
            raise RuleError(f"the pattern of {name}, {brief(pattern)}, has groups: write (?:…) for (…)")
    except re.error as error:
        raise RuleError(f"the pattern of {name}, {brief(pattern)}, is no regular expression: {error}") from error
    return f"(?:{unicodedata.normalize('NFC', pattern)})"


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
            if not re.fullmatch(place.expression().replace(_STRETCH, ""), text):
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
            _globbed(one) if isinstance(one, str) else _TEXT_GROUP if is_loose else one.between(before, after)
            for before, one, after in neighbours
        )
        return {
            "shortest": re.compile(expression.replace(_STRETCH, "?"), re.DOTALL),
            "longest": re.compile(expression.replace(_STRETCH, ""), re.DOTALL),
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
