"""Parser of comparisons: what `where` is given for names, sizes, times, … as values that say what is meant.

No SQL but the patterns of ``LIKE``, which all databases have alike, and nothing of DataJoint.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from numbers import Real
from typing import Any

from datajoint_file.errors import QueryError, brief
from datajoint_file.model.metadata import format_timestamp, is_hash
from datajoint_file.model.wording import parse_size

ESCAPE = "|"
"""What stands, in the pattern of a `Like`, before a character that stands for itself."""

MAX_NUMBER = 10**18
"""No row has a number that is as large."""


@dataclass(frozen=True, slots=True)
class Like:
    """Text of this pattern: ``%`` stands for any characters, ``_`` for one. Of no such pattern, if negated."""

    pattern: str
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Equal:
    """Text that is the same, character by character."""

    text: str


@dataclass(frozen=True, slots=True)
class Between:
    """A number, or a time as rows write it, that is not outside of these bounds."""

    low: int | str | None
    high: int | str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """A file of which this is not recorded."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A file that stays where it is, or one that does not."""

    is_linked: bool


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of these."""

    parts: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each of these."""

    parts: tuple[Comparison, ...]


Comparison = Like | Equal | Between | Missing | Linked | AnyOf | AllOf

_HAS_DOT, _ENDS_WITH_DOT = "_%.%", "%."
_NO_SUFFIX = AnyOf((Like(_HAS_DOT, is_negated=True), Like(_ENDS_WITH_DOT)))

_COMPARED = re.compile(r"\s*(<=|>=|<|>|=|)\s*(.*?)\s*", re.DOTALL)
_PERIOD = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)
_UNKEPT = re.compile(r"[\0\ud800-\udfff]")
_SECOND = timedelta(seconds=1)


def parse(keyword: str, value: object) -> Comparison:
    """Return what *value*, given for *keyword*, says.

    Raises
    ------
    QueryError
        If it is in no form that there is.

    Examples
    --------
    >>> parse("name", "*.tif"), parse("size", (">1 MB",))
    (Like(pattern='%.tif', is_negated=False), AllOf(parts=(Between(low=1000001, high=None),)))
    >>> parse("suffix", [".dat", ".bin"])
    AnyOf(parts=(Like(pattern='_%.dat', is_negated=False), Like(pattern='_%.bin', is_negated=False)))
    """
    if value is None:
        return Missing()
    if isinstance(value, tuple):
        return _range(keyword, value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return AnyOf(tuple(parse(keyword, one) for one in value))
    return KEYWORDS[keyword](keyword, value)


def like_pattern(glob: str) -> str:
    """Return the pattern of `Like` for one with ``*`` and ``?``.

    Examples
    --------
    >>> like_pattern("50%_*.dat"), like_pattern("scan?.tif")
    ('50|%|_%.dat', 'scan_.tif')
    """
    return _literally(glob).replace("*", "%").replace("?", "_")


def _literally(text: str) -> str:
    return re.sub(r"[|%_]", r"|\g<0>", text)


def _range(keyword: str, parts: tuple[object, ...]) -> Comparison:
    is_range = parts and all(isinstance(part, str) and part.lstrip()[:1] in ("<", ">") for part in parts)
    if keyword not in ("size", "files", "stored") or not is_range:
        raise QueryError(
            f"{keyword}={brief(parts)}: give several values in a list, of which any may be the file's; a tuple is a "
            'range, such as size=(">1e6", "<1 GB")'
        )
    return AllOf(tuple(parse(keyword, part) for part in parts))


def _text(keyword: str, value: object) -> str:
    if not isinstance(value, str):
        raise QueryError(f"{keyword}={brief(value)}: expected text, several in a list, or None")
    if _UNKEPT.search(value):
        raise QueryError(f"{keyword}={brief(value)} has characters that no database keeps")
    return value


def _glob(keyword: str, value: object) -> Comparison:
    text = _text(keyword, value)
    if "[" in text:
        advice = "; like= takes brackets as they are" if keyword == "name" else ""
        raise QueryError(
            f"{keyword}={brief(text)}: only * and ? stand for other characters, for databases have no [a-z]. Give "
            f"several patterns in a list, or ? for one character, also for a bracket{advice}"
        )
    return Like(like_pattern(text))


def _like(keyword: str, value: object) -> Comparison:
    r"""Return a pattern of ``LIKE`` as databases have it, with ``\`` before what stands for itself."""
    text = _text(keyword, value)
    parts = re.findall(r"\\(.)|([%_])|([^\\%_]+)", text, re.DOTALL)
    if sum(len(part[0]) + bool(part[0]) + len(part[1]) + len(part[2]) for part in parts) != len(text):
        raise QueryError(f"{keyword}={brief(text)} ends in a backslash, which stands before %, _ or another backslash")
    return Like("".join(_literally(escaped or plain) + wild for escaped, wild, plain in parts))


def _stem(keyword: str, value: object) -> Comparison:
    stem = _literally(_plain(keyword, value, "name='{}.*'"))
    whole = AllOf((Like(stem), _NO_SUFFIX))
    return AnyOf((whole, AllOf((Like(f"{stem}._%"), Like(f"{stem}.%.%", is_negated=True)))))


def _suffix(keyword: str, value: object) -> Comparison:
    text = _plain(keyword, value, "name='*{}'")
    if not text:
        return _NO_SUFFIX
    if not re.fullmatch(r"\.[^.]+", text, re.DOTALL):
        name = f"*{text}" if text.startswith(".") else f"*.{text}"
        raise QueryError(
            f"suffix={brief(text)}: a suffix is what follows the last dot, and the dot, such as '.tif'; for more of a "
            f"name, name={name!r}"
        )
    return Like(f"_%{_literally(text)}")


def _plain(keyword: str, value: object, advice: str) -> str:
    text = _text(keyword, value)
    if "*" in text or "?" in text:
        raise QueryError(
            f"{keyword}={brief(text)} is compared as it is, without * and ?: give {advice.format(text)} instead"
        )
    return text


def _hash(keyword: str, value: object) -> Comparison:
    text = _text(keyword, value).strip().lower()
    digest = text if ":" in text else f"sha256:{text}"
    if not is_hash(digest):
        raise QueryError(f"{keyword}={brief(value)}; expected sha256: and 64 hexadecimal digits, all of them")
    return Equal(digest)


def _size(keyword: str, value: object) -> Comparison:
    return _compared(keyword, value, _bytes, "bytes, such as 1000, '>1e6', '<=1.5 GB'")


def _files(keyword: str, value: object) -> Comparison:
    return _compared(keyword, value, Decimal, "a number, such as 10 or '>10'")


def _bytes(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(parse_size(text))


def _compared(keyword: str, value: object, read: Callable[[str], Decimal], expected: str) -> Comparison:
    if isinstance(value, bool) or not isinstance(value, str | Real):
        raise QueryError(f"{keyword}={brief(value)}; expected {expected}")
    operator, text = _taken_apart(str(value))
    try:
        number = min(max(read(text), Decimal(-1)), Decimal(MAX_NUMBER))
        return _bounds(operator, number)
    except (InvalidOperation, ValueError) as error:
        raise QueryError(f"{keyword}={brief(value)}; expected {expected}") from error


def _bounds(operator: str, number: Decimal) -> Between:
    """Return whole numbers as bounds."""
    below, above = math.floor(number), math.ceil(number)
    found = {
        "<": Between(None, above - 1),
        "<=": Between(None, below),
        ">": Between(below + 1, None),
        ">=": Between(above, None),
    }
    return found.get(operator, Between(above, below))


def _taken_apart(text: str) -> tuple[str, str]:
    match = _COMPARED.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def _moment(keyword: str, value: object) -> Comparison:
    operator, text = _taken_apart(value.isoformat() if isinstance(value, date) else str(value))
    try:
        start, end = _period(text if isinstance(value, str | date) else "")
        return _within(operator, start, end)
    except (ValueError, OverflowError) as error:
        raise QueryError(
            f"{keyword}={brief(value)}; expected a time in UTC, or with its zone, such as '<2026-01-01', '2026-03', "
            "'>=2026-01-01T10:30+01:00', or a date or datetime"
        ) from error


def _period(text: str) -> tuple[datetime, datetime]:
    """Return the beginning of a year, month, day, minute or second, and that of the next."""
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second, zone = match.groups()
    offset = datetime.strptime("+00:00" if zone in (None, "Z") else zone, "%z").tzinfo
    start = datetime(
        int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=offset
    )
    if day is None:
        months = int(year) * 12 + (int(month) if month else 12)  # counted from 0, the month after
        return start, start.replace(year=months // 12, month=months % 12 + 1)
    length = timedelta(days=1) if hour is None else timedelta(minutes=1) if second is None else _SECOND
    return start, start + length


def _within(operator: str, start: datetime, end: datetime) -> Between:
    """Return bounds to the second, as rows have it."""
    first, last = start.astimezone(timezone.utc), end.astimezone(timezone.utc) - _SECOND
    if operator == "<":
        return Between(None, format_timestamp(first - _SECOND))
    if operator == "<=":
        return Between(None, format_timestamp(last))
    if operator == ">":
        return Between(format_timestamp(last + _SECOND), None)
    return Between(format_timestamp(first), None if operator == ">=" else format_timestamp(last))


def _linked(keyword: str, value: object) -> Comparison:
    if not isinstance(value, bool):
        raise QueryError(f"{keyword}={brief(value)}; expected True or False")
    return Linked(value)


KEYWORDS: dict[str, Callable[[str, Any], Comparison]] = {
    "name": _glob,
    "like": _like,
    "stem": _stem,
    "suffix": _suffix,
    "size": _size,
    "hash": _hash,
    "media_type": _glob,
    "stored": _moment,
    "files": _files,
    "linked": _linked,
    "title": _glob,
}
"""How a value of each keyword is read."""
