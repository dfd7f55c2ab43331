"""Primary-key values in one canonical form, whatever Python type they were given in.

The database's type decides, not Python's: ``"2024-01-01"`` and ``date(2024, 1, 1)`` are the same key. Naming objects
after keys is the business of `keys`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from datajoint_file.errors import InvalidKeyError


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One attribute of a primary key: its name, the kind of value, and the value in that kind's Python type.

    Parameters
    ----------
    name : str
        The attribute.
    kind : str
        ``int``, ``bool``, ``decimal``, ``float``, ``date``, ``datetime``, ``time``, ``uuid``, ``bytes`` or ``str``.
    value
        The value; `text` is its canonical spelling.
    """

    name: str
    kind: str
    value: Any

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
    """Return *value* in the canonical form of an attribute of type *declared_type*.

    Parameters
    ----------
    name : str
        The attribute's name.
    declared_type : str
        Its type as DataJoint or the database spells it: ``int32``, ``varchar(32)``, ``datetime(6)``, ``numeric(8,3)``.
    value
        What the user gave, or what the database returned.

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
    if value is None:
        raise InvalidKeyError(
            f"the key attribute {name} has no value; objects are named after the complete primary key"
        )
    kind = kind_of(declared_type)
    value = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    try:
        converted = _CONVERT[kind](value)
        converted = _quantized(converted, declared_type) if kind == "decimal" else converted
    except (ValueError, TypeError, InvalidOperation, OverflowError) as error:
        raise InvalidKeyError(f"the key attribute {name} = {value!r} is no value of type {declared_type}") from error
    return KeyValue(name, kind, converted)


_KINDS: tuple[tuple[str, str], ...] = (
    (r"bool(ean)?|tinyint\(1\)", "bool"),
    (r"u?int(8|16|32|64)|((tiny|small|medium|big)?int|integer|(small|big)?serial|year)(\(\d+\))?( unsigned)?.*", "int"),
    (r"(decimal|numeric|dec|fixed)\b.*", "decimal"),
    (r"float(32|64)?\b.*|double\b.*|real\b.*", "float"),
    (r"date", "date"),
    (r"(datetime|timestamp)\b.*", "datetime"),
    (r"time\b.*", "time"),
    (r"uuid", "uuid"),
    (r"bytes|bytea|(var)?binary\b.*|.*blob", "bytes"),
)


def kind_of(declared_type: str) -> str:
    """Return the kind of values that an attribute of *declared_type* holds; what is not known is text."""
    spelled = declared_type.strip().lower()
    return next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, spelled)), "str")


def _to_int(value: Any) -> int:
    number = int(value)
    if not isinstance(value, str | bytes) and number != value:
        raise ValueError("not a whole number")
    return number


def _to_bool(value: Any) -> int:
    number = {"true": 1, "false": 0}.get(value.lower(), value) if isinstance(value, str) else value
    return _to_int(number)


def _to_decimal(value: Any) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError("not a finite number")
    return number.normalize() + 0  # plus zero: -0 is 0


def _quantized(number: Decimal, declared_type: str) -> Decimal:
    digits = re.search(r"\(\s*\d+\s*(?:,\s*(\d+)\s*)?\)", declared_type)
    return number.quantize(Decimal(1).scaleb(-int(digits[1] or 0))) if digits else number


def _to_float(value: Any) -> float:
    return float(value) + 0.0


def _to_date(value: Any) -> date:
    moment = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    if isinstance(moment, datetime):
        return moment.date()
    if not isinstance(moment, date):
        raise TypeError("not a date")
    return moment


def _to_datetime(value: Any) -> datetime:
    moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00")) if isinstance(value, str) else value
    if isinstance(moment, datetime):
        return moment.to_pydatetime(warn=False) if hasattr(moment, "to_pydatetime") else moment
    if not isinstance(moment, date):
        raise TypeError("not a date and time")
    return datetime.combine(moment, time())


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
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


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
