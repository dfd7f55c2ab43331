"""Values that `where` is given: what each form says, and what is refused with advice."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest

from datajoint_file import where
from datajoint_file.errors import QueryError
from datajoint_file.query.comparisons import Between, Equal, Like, Linked, Missing, parse


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("name", "*.ome.tif", Like("%.ome.tif")),
        ("name", r"50%_\|?", Like(r"50|%|_\||_")),
        ("like", r"50\%_%\\|[a]", Like(r"50|%_%\||[a]")),
        ("suffix", ".d_t", Like("_%.d|_t")),
        ("size", 7, Between(7, 7)),
        ("size", 1e3, Between(1000, 1000)),
        ("size", "> 1.5 GB", Between(1_500_000_001, None)),
        ("size", "<=1KiB", Between(None, 1024)),
        ("size", ">0.5", Between(1, None)),
        ("size", "<0.5", Between(None, 0)),
        ("size", 0.5, Between(1, 0)),
        ("size", ">=1e999", Between(10**18, None)),
        ("size", "<-5", Between(None, -2)),
        ("files", ">10", Between(11, None)),
        ("hash", "AB" * 32, Equal(f"sha256:{'ab' * 32}")),
        ("stored", "2026", Between("2026-01-01T00:00:00Z", "2026-12-31T23:59:59Z")),
        ("stored", "2024-02", Between("2024-02-01T00:00:00Z", "2024-02-29T23:59:59Z")),
        ("stored", "<2026-01-01", Between(None, "2025-12-31T23:59:59Z")),
        ("stored", ">2026-01-01", Between("2026-01-02T00:00:00Z", None)),
        ("stored", "<=2026-01-01", Between(None, "2026-01-01T23:59:59Z")),
        ("stored", ">=2026-01-01T10:30+01:00", Between("2026-01-01T09:30:00Z", None)),
        ("stored", date(2026, 1, 1), Between("2026-01-01T00:00:00Z", "2026-01-01T23:59:59Z")),
        (
            "stored",
            datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            Between("2025-12-31T23:00:00Z", "2025-12-31T23:00:00Z"),
        ),
        ("linked", False, Linked(False)),
        ("title", None, Missing()),
    ],
)
def test_values_say_what_people_mean(keyword: str, value: Any, expected: Any) -> None:
    assert parse(keyword, value) == expected


@pytest.mark.parametrize(
    ("keyword", "value", "advice"),
    [
        (
            "name",
            "scan[0-9].tif",
            r"only \* and \? stand for other characters.*several patterns in a list.*like= takes brackets",
        ),
        ("title", "[draft]", r"only \* and \?"),
        ("name", 5, "expected text"),
        ("name", b"a", "expected text"),
        ("name", "a\0b", "characters that no database keeps"),
        ("name", "\udc80", "characters that no database keeps"),
        ("name", ("a", "b"), "several values in a list"),
        ("suffix", (".dat", ".bin"), "several values in a list"),
        ("size", (1, 2), r"a tuple is a range, such as size=\(\">1e6\""),
        ("size", (), "a tuple is a range"),
        ("like", "a\\", "ends in a backslash"),
        ("stem", "rec*", r"give name='rec\*.\*' instead"),
        ("suffix", ".t?f", r"give name='\*.t\?f' instead"),
        ("suffix", "dat", r"name='\*.dat'"),
        ("suffix", ".ome.tif", r"name='\*.ome.tif'"),
        ("size", "much", "'<=1.5 GB'"),
        ("size", True, "expected bytes"),
        ("size", "nan", "expected bytes"),
        ("size", "!=5", "expected bytes"),
        ("files", ">1 kB", "expected a number"),
        ("hash", "abc", "64 hexadecimal digits"),
        ("stored", "yesterday", "expected a time in UTC"),
        ("stored", "2026-13", "expected a time"),
        ("stored", 2026, "expected a time"),
        ("linked", "yes", "True or False"),
    ],
)
def test_what_has_no_meaning_is_refused_with_advice(keyword: str, value: Any, advice: str) -> None:
    with pytest.raises(QueryError, match=advice) as caught:
        where("raw", **{keyword: value})
    assert str(caught.value).startswith(f"{keyword}=")


def test_no_file_is_asked_for_alone() -> None:
    with pytest.raises(QueryError, match="None alone stands for no file; a name is name=…"):
        where("raw", "a.dat")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="None alone stands for no file"):
        where("raw", None, name="a")
    with pytest.raises(QueryError, match=re.escape("None: expected the name of a `file` attribute")):
        where(None)  # type: ignore[arg-type]
