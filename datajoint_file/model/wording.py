"""Message formatting: counts with their nouns, durations, and what to install for a part of the package.

Nothing is decided here.
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Collection, Sequence
from datetime import timedelta

from datajoint_file.errors import brief, printable

_PACKAGES = {
    "s3": ("s3fs", "obstore"),
    "gcs": ("gcsfs", "obstore"),
    "azure": ("adlfs", "obstore"),
    "postgres": ("psycopg2-binary",),
    "keyring": ("keyring",),
    "arrow": ("pyarrow",),
    "notebook": ("ipykernel", "nbclient"),
    "plot": ("matplotlib",),
    "browse": ("starlette", "uvicorn", "jinja2", "matplotlib"),
}
"""What the extras of this package bring; the names are for wherever it was installed from."""

RIGHT_PLACE = "is its disk mounted, and is this the right bucket, prefix or directory in datajoint.toml?"
"""What to ask first where objects are missing that should be there."""

ROLLED_BACK = (
    "The server has rolled the transaction back, as it does at a deadlock: nothing of it was inserted or deleted. "
    "Begin it again; what is stored is not sent again"
)

NOT_AS_MADE = (
    "a view, or a table with triggers, rules, policies, checks, defaults or indexes that this package does not make: "
    "what is noted there is not read, as code of its owner could run with this user's rights"
)
"""Why one of this package's tables is not trusted by a user who has more rights than its owner."""

TAKE_AWAY = "Let its owner take them away, or drop the schema. If it is no table of this package, give it another name"

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(w|weeks?|d|days?|h|hours?|min|minutes?|s|seconds?)")
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "min": 60, "s": 1}


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


def duration(text: str) -> timedelta:
    """Return the amount of time that a text stands for.

    Raises
    ------
    ValueError
        If it is of another form.

    Examples
    --------
    >>> duration("30 days") == duration("30d"), duration("1.5 h"), duration("2 weeks").days
    (True, datetime.timedelta(seconds=5400), 14)
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not of the form 30 days, 36h, 90min, 10s or 2w")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2][: 3 if match[2].startswith("mi") else 1]])


def timespan(given: timedelta | float | str, name: str) -> timedelta:
    """Return the amount of time that is meant by seconds, a `timedelta`, or a text as `duration` reads it.

    Raises
    ------
    ValueError, TypeError
        If it is no amount of time; *name* says what it was given as.

    Examples
    --------
    >>> timespan("1 hour", "expires") == timespan(3600, "expires") == timedelta(hours=1)
    True
    """
    if isinstance(given, timedelta):
        return given
    if isinstance(given, str):
        return duration(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{name} = {brief(given)}: give seconds, a timedelta, or a text such as '1 hour'")
    return timedelta(seconds=given)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return what to add to "there is no such name": the nearest that is known, or which there are.

    Examples
    --------
    >>> nearest("lab_ephy", ["lab_ephys", "other"]), nearest("x", ["lab_ephys"])
    ("; did you mean 'lab_ephys'?", '; there are lab_ephys')
    """
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return (
        f"; there are {', '.join(map(printable, sorted(known)[:10]))}"
        if known
        else "; there are none that this user may see"
    )


def as_dropped(schema: str) -> str:
    """Return how the collector is told that a schema is gone for good, in Python and on a command line.

    Examples
    --------
    >>> as_dropped("my lab")
    "dropped=['my lab'] (--dropped 'my lab')"
    """
    return f"dropped={[schema]} (--dropped {shlex.quote(schema)})"


def not_dropped(schema: str, known: Collection[str]) -> str:
    """Return why a schema that is said to be gone is not; *known* are those that a store's marks name."""
    if schema in known:
        return f"the schema {schema} is there, or hidden from this user: its rows need their files"
    return f"no mark of this database names a schema {schema}{nearest(schema, sorted(known))}"


def pip_install(extra: str) -> str:
    """Return the command that brings what *extra* of this package needs.

    Examples
    --------
    >>> pip_install("postgres")
    'pip install psycopg2-binary'
    """
    packages = [name for name in _PACKAGES[extra] if name != "obstore" or sys.version_info >= (3, 11)]
    return f"pip install {' '.join(packages)}"


_SIZE_UNITS = ("kB", "MB", "GB", "TB", "PB")


_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(|[KMGTP]i?)B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return how many bytes *text* stands for: kB, MB, GB, TB and PB in powers of 1000, KiB to PiB of 1024.

    Raises
    ------
    ValueError
        If it is of another form.

    Examples
    --------
    >>> parse_size("50 GB"), parse_size("1.5MiB"), parse_size("0")
    (50000000000, 1572864, 0)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not of the form 50 GB, 1.5 TB or 500 MiB")
    unit = match[2].lower()
    return int(float(match[1]) * (1024 if unit.endswith("i") else 1000) ** ("kmgtp".find(unit[:1]) + 1 if unit else 0))


def format_size(size: int) -> str:
    """Return *size* bytes for people: ``12.3 MB``, in powers of 1000.

    Examples
    --------
    >>> format_size(12_345_678), format_size(999), format_size(0)
    ('12.3 MB', '999 B', '0 B')
    """
    if size < 1000:
        return f"{size} B"
    power = next((power for power in range(1, len(_SIZE_UNITS)) if size < 999.95 * 1000**power), len(_SIZE_UNITS))
    return f"{size / 1000**power:.1f} {_SIZE_UNITS[power - 1]}"
