"""`Budget` of a run: how much it may read, or how long it may take, from what people write.

Values only. Who keeps to it decides what is begun.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from datajoint_file.errors import brief

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_SIZE = re.compile(r"([kmgtp]?)(i?)b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes that may be read, or seconds that may pass, before nothing more is begun; None is without limit.

    Examples
    --------
    >>> Budget.parse("10 GB"), Budget.parse("30min").seconds
    (Budget(bytes=10000000000, seconds=None), 1800.0)
    """

    bytes: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, value: Budget | int | str | timedelta | None) -> Budget:
        """Read a budget: a number of bytes, ``"10 GB"``, ``"30 min"``, a `timedelta`, or None for none.

        Raises
        ------
        ValueError
            If it is none of these, or nothing could be done within it.
        """
        if isinstance(value, Budget):  # what is left of one: perhaps nothing
            return value
        budget = _parsed(value)
        if budget is None or (budget.bytes is not None and budget.bytes < 1) or (budget.seconds or 1) <= 0:
            raise ValueError(
                f"budget = {brief(value)}: give bytes (a number, '500 MB', '10GB', '1 GiB') or a time "
                "('90s', '30min', '2h', '1d', a timedelta), more than nothing"
            )
        return budget

    def allows(self, bytes_: int, seconds: float) -> bool:
        """Tell whether something may be begun after so many bytes and seconds."""
        return (self.bytes is None or bytes_ < self.bytes) and (self.seconds is None or seconds < self.seconds)

    def less(self, bytes_: int, seconds: float) -> Budget:
        """Return what is left after so many bytes and seconds."""
        return Budget(
            None if self.bytes is None else max(self.bytes - bytes_, 0),
            None if self.seconds is None else max(self.seconds - seconds, 0.0),
        )


def _parsed(value: object) -> Budget | None:
    if value is None:
        return Budget()
    if isinstance(value, timedelta):
        return Budget(seconds=value.total_seconds()) if value > timedelta(0) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return Budget(bytes=value)
    return _parsed_text(value.strip()) if isinstance(value, str) else None


def _parsed_text(text: str) -> Budget | None:
    if re.fullmatch(r"\d+", text, re.ASCII):
        return Budget(bytes=int(text))
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    number, unit = float(match[1]), match[2]
    if unit.lower() in _SECONDS:
        return Budget(seconds=number * _SECONDS[unit.lower()]) if number else None
    size = _SIZE.fullmatch(unit)
    return Budget(bytes=int(number * (1024 if size[2] else 1000) ** _UNITS[size[1].lower()])) if size else None
