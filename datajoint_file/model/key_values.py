"""Canonical primary-key values: one form, whatever Python type they were given in.

The database's type decides, not Python's: ``"2024-01-01"`` and ``date(2024, 1, 1)`` are the same key. Naming objects
after keys is the business of `object_keys`.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation, Overflow
from functools import lru_cache
from typing import Any

import numpy as np

from datajoint_file.errors import InvalidKeyError, brief

_MOMENT = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d{1,6}))?)?)?", re.ASCII
)

_DECIMALS = Context(prec=1100, Emin=-1100, Emax=1100, rounding=ROUND_HALF_UP, traps=[InvalidOperation, Overflow])
"""Decimals as databases have them: up to 1000 digits, and a half is rounded away from zero."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyValue:
    """One attribute of a primary key: its name, the kind of value, and the value in that kind's Python type.

    Two are equal if their names, kinds and canonical spellings are, which is what the digest of a key is made of.
    """

    name: str
    kind: str  # int, bool, decimal, float, date, datetime, time, uuid, bytes or str
    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyValue) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str, str]:
        return self.name, self.kind, self.text

    @property
    def text(self) -> str:
        """The canonical spelling: different values of one kind never share one."""
        if self.kind in ("date", "datetime", "time"):
            return str(self.value.isoformat()) if hasattr(self.value, "isoformat") else str(self.value)
        if self.kind == "decimal":
            return format(self.value, "f")
        if self.kind == "bytes":
            return str(self.value.hex())
        return repr(self.value) if self.kind == "float" else str(self.value)


def key_value(name: str, declared_type: str, value: Any) -> KeyValue:
    """Return *value*, which a user gave or the database returned, in the canonical form of the attribute *name*.

    Its type is spelled as by DataJoint or the database: ``int32``, ``varchar(32)``, ``datetime(6)``, ``numeric(8,3)``.

    Raises
    ------
    InvalidKeyError
        If *value* is missing or is no value of that type.

    Examples
    --------
    >>> key_value("day", "date", "2024-01-31")
    KeyValue(name='day', kind='date', value=datetime.date(2024, 1, 31))
    >>> key_value("dose", "decimal(6,3)", 1.5).text
    '1.500'
    """
    where = f"the key attribute {name}"
    if is_missing(value):
        raise InvalidKeyError(f"{where} has no value; objects are named after the complete primary key")
    kind = kind_of(declared_type)
    try:
        return KeyValue(name, kind, _as_stored(_CONVERT[kind](_plain(value)), kind, declared_type))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise InvalidKeyError(f"{where} = {brief(value)} is no value of type {declared_type}") from error


def is_missing(value: Any) -> bool:
    """Tell whether *value* is ``None``, or what NumPy and pandas have in its place (``NaN``, ``NaT``, ``NA``)."""
    if isinstance(value, _CAN_BE_MISSING):
        return bool(value != value)
    return value is None or type(value).__name__ == "NAType"


_CAN_BE_MISSING = (float, datetime, np.floating, np.datetime64, np.timedelta64)


def _plain(value: Any) -> Any:
    """Return Python's own value for a scalar of NumPy; other values as they are."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return _microseconds(value)
    if isinstance(value, np.floating):
        return float(str(value))  # DataJoint sends the shortest spelling: 0.1 as float32 is stored as 0.1
    if isinstance(value, np.ndarray):
        raise TypeError("an array")
    return value.item() if isinstance(value, np.generic) else value


def _microseconds(moment: Any) -> Any:
    """Round *moment* to what databases keep; NumPy gives Python's type for no finer unit."""
    whole = moment.astype(f"{moment.dtype.kind}8[us]")
    return (whole + np.timedelta64(int(moment - whole >= np.timedelta64(500, "ns")), "us")).item()


def _as_stored(value: Any, kind: str, declared_type: str) -> Any:
    """Return what the database keeps of *value*: decimals to their scale, ``float32`` to its precision."""
    if kind == "decimal":
        return _quantized(value, declared_type)
    return _single(value) if declared_type.strip().lower() == "float32" else value


_KINDS = (
    (r"bool(ean)?|tinyint\(1\)", "bool"),
    (r"u?int(2|4|8|16|32|64)|((tiny|small|medium|big)?int|integer|(small|big)?serial|year)\b.*", "int"),
    (r"(decimal|numeric|dec|fixed)\b.*", "decimal"),
    (r"float(4|8|32|64)?\b.*|double\b.*|real\b.*", "float"),
    (r"date", "date"),
    (r"(datetime|timestamp(tz)?)\b.*", "datetime"),
    (r"time(tz)?\b.*", "time"),
    (r"uuid", "uuid"),
    (r"bytes|bytea|(var)?binary\b.*|.*blob", "bytes"),
)


@lru_cache(maxsize=256)
def kind_of(declared_type: str) -> str:
    """Return the kind of values that an attribute of *declared_type* holds; what is not known is text."""
    spelled = declared_type.strip().lower()
    return next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, spelled)), "str")


def _to_int(value: Any) -> int:
    number = int(value) if isinstance(value, str | bytes) else value
    if not -(2**63) <= number < 2**64:  # asked first: int(Decimal("1e999999999")) would not come to an end
        raise ValueError("more than 64 bits")
    if number != int(number):
        raise ValueError("not a whole number")
    return int(number)


def _to_bool(value: Any) -> int:
    return _to_int({"true": 1, "false": 0}.get(value.lower(), value) if isinstance(value, str) else value)


def _to_decimal(value: Any) -> Decimal:
    number = _DECIMALS.create_decimal(str(int(value) if isinstance(value, bool) else value).strip())
    if not number.is_finite():
        raise ValueError("not a finite number")
    return _unsigned_zero(number.normalize(_DECIMALS))


def _quantized(number: Decimal, declared_type: str) -> Decimal:
    digits = re.search(r"\(\s*\d+\s*(?:,\s*(\d+)\s*)?\)", declared_type)
    if digits is None:
        return number
    return _unsigned_zero(number.quantize(Decimal(1).scaleb(-int(digits[1] or 0)), context=_DECIMALS))


def _unsigned_zero(number: Decimal) -> Decimal:
    return _DECIMALS.add(number, Decimal(0))


def _to_float(value: Any) -> float:
    number = float(value) + 0.0  # plus zero: -0.0 is 0.0
    if number != number:
        raise ValueError("not a number")
    return number


def _single(number: float) -> float:
    struct.pack("<f", number)  # raises OverflowError for what float32 cannot hold
    return float(str(np.float32(number))) + 0.0


def _parsed(text: str) -> datetime:
    """Read a moment as databases do, also without leading zeros, and alike in all versions of Python."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    *parts, fraction = match.groups(default="0")
    year, month, day, hour, minute, second = map(int, parts)
    return datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")))


def _to_date(value: Any) -> date:
    moment = _parsed(value) if isinstance(value, str) else value
    if isinstance(moment, datetime):
        return moment.date()
    if not isinstance(moment, date):
        raise TypeError("not a date")
    return moment


def _to_datetime(value: Any) -> datetime:
    if isinstance(value, str):
        return _parsed(value)
    if isinstance(value, datetime):
        return _without_nanoseconds(value) if hasattr(value, "nanosecond") else value
    if not isinstance(value, date):
        raise TypeError("not a date and time")
    return datetime.combine(value, time())


def _without_nanoseconds(moment: Any) -> datetime:
    """Return Python's own type for a pandas ``Timestamp``, rounded as databases round."""
    plain: datetime = moment.to_pydatetime(warn=False)
    return plain + timedelta(microseconds=int(moment.nanosecond >= 500))


def _to_time(value: Any) -> time | timedelta:
    moment = time.fromisoformat(value.strip()) if isinstance(value, str) else value
    if isinstance(moment, timedelta) and timedelta() <= moment < timedelta(days=1):
        return (datetime.min + moment).time()
    if not isinstance(moment, time | timedelta):
        raise TypeError("not a time")
    return moment


def _to_uuid(value: Any) -> uuid.UUID:
    if isinstance(value, uuid.UUID):
        return value
    return uuid.UUID(bytes=bytes(value)) if isinstance(value, bytes | bytearray) else uuid.UUID(str(value))


def _to_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("not bytes")
    return bytes(value)


def _to_str(value: Any) -> str:
    if isinstance(value, Mapping | Set | list | tuple | np.ndarray):  # DataJoint would put it into SQL as it is
        raise TypeError("not a single value")
    text = value.decode() if isinstance(value, bytes | bytearray) else value
    text = str.__str__(text) if isinstance(text, str) else str(text)  # of an Enum of texts, the text
    text.encode()  # raises UnicodeEncodeError for what is no text to a database
    return text


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "int": _to_int,
    "bool": _to_bool,
    "decimal": _to_decimal,
    "float": _to_float,
    "date": _to_date,
    "datetime": _to_datetime,
    "time": _to_time,
    "uuid": _to_uuid,
    "bytes": _to_bytes,
    "str": _to_str,
}
