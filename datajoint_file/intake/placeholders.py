"""Placeholder of a path rule: what a value of an attribute looks like in a path, and which value a text is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datajoint_file.errors import InvalidKeyError, PathMismatchError, RuleError, brief
from datajoint_file.model.key_values import key_value, kind_of

STRETCH = "\0"
"""After what may be long or short, in an expression: it becomes ``?`` where the shortest is tried first."""

_TEXT = f"[^/]+{STRETCH}"

TEXT_GROUP = f"({_TEXT})"

_DIGITS = f"[0-9]+{STRETCH}"

_TEXTS_OF = {
    "int": _DIGITS,
    "bool": "[01]|true|false",
    "decimal": rf"{_DIGITS}(?:\.{_DIGITS})?{STRETCH}",
    "float": rf"{_DIGITS}(?:\.{_DIGITS})?{STRETCH}",
    "date": rf"[0-9]{{4}}-[0-9]{{1,2}}{STRETCH}-[0-9]{{1,2}}{STRETCH}|[0-9]{{8}}",
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
    "f": f"[0-9]{{1,6}}{STRETCH}",
    **dict.fromkeys("bBaAp", rf"[^\W\d_]+{STRETCH}"),
    "%": "%",
}
"""What a directive of ``strftime`` may look like."""

_NUMBER = re.compile(r"(?P<sign>[+-]?)(?P<width>0[1-9][0-9]*)?(?:\.(?P<places>[0-9]+))?(?P<type>[df]?)")
"""The format specifications of numbers that can be read back."""

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
