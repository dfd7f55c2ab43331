"""Typed values as JSON: what the database has of a row, written down losslessly, and read back by whoever gets it.

Which type an attribute has, `portable` tells in the words of DataJoint's core types, whatever the server calls it. What
is read may be anybody's.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

Written = dict[str, Any]
"""A row as an export has it."""

INTEGERS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}

_NATIVE = {
    "tinyint": "int8",
    "smallint": "int16",
    "mediumint": "int32",
    "int": "int32",
    "integer": "int32",
    "bigint": "int64",
    "year": "int16",
    "float": "float32",
    "real": "float32",
    "double": "float64",
    "double precision": "float64",
    "boolean": "bool",
    "bytea": "bytes",
    "jsonb": "json",
    "timestamp without time zone": "datetime(6)",
    "time without time zone": "time(6)",
    "time": "time",
    **{f"{size}blob": "bytes" for size in ("tiny", "", "medium", "long")},
    **{f"{size}text": "text" for size in ("tiny", "", "medium", "long")},
}
_UNSIGNED = {"int8": "int16", "int16": "int32", "int32": "int64"}

_PORTABLE = re.compile(
    r"int(?:8|16|32|64)|bool|float(?:32|64)|decimal\(\d{1,2},\d{1,2}\)|(?:var)?char\(\d{1,5}\)|text|date|uuid|bytes|json"
    r"|(?:datetime|timestamp|time)(?:\([0-6]\))?|<(?:blob|attach|file)>|enum\('[^'\"\\%#\x00-\x1f]*'(?:,'[^'\"\\%#\x00-\x1f]*')*\)"
)

MAX_TYPE = 10_000
"""Characters of a type: an enumeration can be long."""


def portable(declared: str) -> str:
    """Return a type as an export has it; nothing, if it cannot be carried.

    Examples
    --------
    >>> portable("int unsigned"), portable("double precision"), portable("enum( 'a', 'b' )"), portable("<blob@raw>")
    ('int64', 'float64', "enum('a','b')", '')
    """
    text = declared.strip()
    if text.lower().startswith("enum"):
        values = re.findall(r"'([^']*)'|\"([^\"]*)\"", text)
        text = "enum(" + ",".join(f"'{single or double}'" for single, double in values) + ")"
    elif text != "<file>":
        text = re.sub(r"\s*([(,)])\s*", r"\1", text.lower())
        text, unsigned, _ = text.partition(" unsigned")
        bare = re.sub(r"\(\d+\)", "", text)
        text = _NATIVE.get(text) or (_NATIVE.get(bare, text) if bare != "time" else text)
        text = re.sub(r"^(?:numeric|dec|fixed)\(", "decimal(", text)
        text = re.sub(r"^decimal\((\d+)\)$", r"decimal(\1,0)", text)
        if unsigned:
            text = _UNSIGNED.get(text, "decimal(20,0)" if text == "int64" else text)
    return text if is_portable(text) else ""


def is_portable(type_: str) -> bool:
    """Tell whether an export can have this type: anybody may have written it."""
    return len(type_) <= MAX_TYPE and _PORTABLE.fullmatch(type_) is not None


def family(type_: str) -> str:
    """Return a type without what is in its brackets.

    Examples
    --------
    >>> family("varchar(32)"), family("<blob>")
    ('varchar', '<blob>')
    """
    return type_.partition("(")[0]


def written(type_: str, value: Any) -> Any:
    """Return a value that the driver gave, as JSON has it. A file's is its JSON as text.

    Raises
    ------
    ValueError
        If it cannot be written down: a date that there is not.
    """
    if value is None:
        return None
    kind = family(type_)
    try:
        write: Callable[[Any], Any] = _WRITE.get(kind, _text)
        return write(value)
    except (TypeError, OverflowError, AttributeError) as error:
        raise ValueError(f"{value!r:.60} cannot be carried as {type_}") from error


def read(type_: str, value: Any) -> Any:
    """Return the value that `written` has written, as an insert takes it. The JSON may be anybody's.

    Raises
    ------
    ValueError
        If it is no value of this type.
    """
    if value is None:
        return None
    kind = family(type_)
    expected = _JSON_TYPES.get(kind, (str,))
    if not isinstance(value, expected) or (isinstance(value, bool) and kind != "bool"):
        raise ValueError(f"{value!r:.60} is no {type_}")
    try:
        found = _READ.get(kind, _same)(value)
    except (ArithmeticError, TypeError, RecursionError) as error:
        raise ValueError(f"{value!r:.60} is no {type_}") from error
    if isinstance(found, str):
        found.encode()  # as a driver does: half a surrogate is no text
    bits = INTEGERS.get(kind)
    if bits and not -(2 ** (bits - 1)) <= found < 2 ** (bits - 1):
        raise ValueError(f"{value!s:.60} is no {type_}")
    if kind == "enum" and found not in re.findall("'([^']*)'", type_):
        raise ValueError(f"{value!r:.60} is no {type_:.100}")
    if kind in ("char", "varchar") and len(found) > int(type_[len(kind) + 1 : -1]):
        raise ValueError(f"{value!r:.60} is longer than {type_}")
    return found


def compared(type_: str, value: Any) -> Any:
    """Return what two written values have in common if they are the same: of JSON, what it says."""
    return json.loads(value, parse_int=_json_integer) if type_ == "json" else read(type_, value)


def _json_integer(text: str) -> int | float:
    """Return an integer of JSON; a long one as a float, which PostgreSQL writes so."""
    return int(text) if len(text) < len(str(2**64)) else float(text)


def require_exact(type_: str, value: Any) -> None:
    """Raise `ValueError` unless a type holds a written value without rounding or cutting it: no server tells."""
    if not _is_exact(type_, value):
        raise ValueError(f"{value!r:.60} would be another value as {type_}")


def _is_exact(type_: str, value: Any) -> bool:
    kind, found = family(type_), read(type_, value)
    digits = [int(number) for number in re.findall(r"\d+", type_.partition("(")[2])]
    if kind == "decimal":
        return -found.as_tuple().exponent <= digits[1] and (not found or found.adjusted() < digits[0] - digits[1])
    if kind == "float32":
        return not math.isfinite(found) or (abs(found) < 2**128 and _single(found) == found)
    if kind in ("datetime", "timestamp"):
        return found.tzinfo is None and found.microsecond % 10 ** (6 - (digits or [0])[0]) == 0
    return kind != "char" or not found.endswith(" ")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value


def _float(value: Any) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _single(value: Any) -> float | str:
    """Return what a float of four bytes has: servers show more or fewer digits of it."""
    return _float(struct.unpack("<f", struct.pack("<f", float(value)))[0])


def _moment(value: Any) -> str:
    if not isinstance(value, date | time):
        raise TypeError(f"{type(value).__name__} is no time")
    return value.isoformat()


def _clock(value: Any) -> str:
    if isinstance(value, time):
        return value.isoformat()
    microseconds = value // timedelta(microseconds=1)
    sign, (seconds, fraction) = "-" if microseconds < 0 else "", divmod(abs(microseconds), 10**6)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{sign}{hours:02}:{minutes:02}:{seconds % 60:02}{f'.{fraction:06}' if fraction else ''}"


def _bytes(value: Any) -> str:
    return base64.b64encode(value).decode()


_CLOCK = re.compile(r"-?\d{2,3}:[0-5]\d:[0-5]\d(?:\.\d{6})?", re.ASCII)


def _read_clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        raise ValueError(f"{value!r:.60} is no time of day")
    return value


def _read_decimal(value: str) -> Decimal:
    if not re.fullmatch(r"-?\d{1,65}(?:\.\d{1,30})?", value, re.ASCII):
        raise ValueError(f"{value!r:.60} is no decimal")
    return Decimal(value)


def _read_float(value: Any) -> float:
    if isinstance(value, str) and value not in ("nan", "inf", "-inf"):
        raise ValueError(f"{value!r:.60} is no number")
    return float(value)


def _read_json(value: str) -> str:
    json.dumps(json.loads(value), ensure_ascii=False).encode()  # half a surrogate is no text
    return value


def _read_bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


def _same(value: Any) -> Any:
    return value


_WRITE: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(INTEGERS, int),
    "bool": bool,
    "float32": _single,
    "float64": _float,
    "decimal": str,
    "char": lambda value: _text(value).rstrip(" "),
    "uuid": lambda value: str(uuid.UUID(bytes=value) if isinstance(value, bytes) else uuid.UUID(str(value))),
    "date": _moment,
    "datetime": _moment,
    "timestamp": _moment,
    "time": _clock,
    **dict.fromkeys(("bytes", "<blob>", "<attach>"), _bytes),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "float32": _read_float,
    "float64": _read_float,
    "decimal": _read_decimal,
    "uuid": uuid.UUID,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "timestamp": datetime.fromisoformat,
    "time": _read_clock,
    "json": _read_json,
    **dict.fromkeys(("bytes", "<blob>", "<attach>"), _read_bytes),
}
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(INTEGERS, (int,)),
    "bool": (bool,),
    "float32": (float, int, str),
    "float64": (float, int, str),
    "<file>": (dict,),
}
