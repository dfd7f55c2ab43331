"""Message formatting: counts with their nouns, durations, and what to install for a part of the package.

Nothing is decided here.
"""

from __future__ import annotations

import sys
from datetime import timedelta

_PACKAGES = {
    "s3": ("s3fs", "obstore"),
    "gcs": ("gcsfs", "obstore"),
    "azure": ("adlfs", "obstore"),
    "postgres": ("psycopg2-binary",),
    "keyring": ("keyring",),
}
"""What the extras of this package bring; the names are for wherever it was installed from."""

RIGHT_PLACE = "is its disk mounted, and is this the right bucket, prefix or directory in datajoint.toml?"
"""What to ask first where objects are missing that should be there."""

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return *number* with its noun.

    Examples
    --------
    >>> counted(1, "object"), counted(12_000, "object"), counted(0, "entry", "entries")
    ('1 object', '12,000 objects', '0 entries')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def spoken(duration: timedelta) -> str:
    """Return *duration* in days, hours, minutes and seconds; fractions of a second only if there is nothing else.

    Examples
    --------
    >>> spoken(timedelta(days=7)), spoken(timedelta(hours=36)), spoken(timedelta(seconds=0.25))
    ('7 days', '1 day 12 hours', '0.25 seconds')
    """
    if duration < timedelta(0):
        return f"minus {spoken(-duration)}"
    rest, words = round(duration.total_seconds()), []
    for unit, seconds in _UNITS:
        number, rest = divmod(rest, seconds)
        words += [counted(number, unit)] if number else []
    return " ".join(words) or f"{duration.total_seconds():g} seconds"


def pip_install(extra: str) -> str:
    """Return the command that brings what *extra* of this package needs.

    Examples
    --------
    >>> pip_install("postgres")
    'pip install psycopg2-binary'
    """
    packages = [name for name in _PACKAGES[extra] if name != "obstore" or sys.version_info >= (3, 11)]
    return f"pip install {' '.join(packages)}"
