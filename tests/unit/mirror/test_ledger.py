"""The ledger of a run: what each place has, added up on disk, with the digest of the sorted list."""

from __future__ import annotations

import hashlib
import resource
from datetime import datetime, timezone

from datajoint_file.mirror.ledger import Sum, is_alike, ledger
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.verification.mend import Holding

_NOW = datetime.now(timezone.utc)


def value(number: int) -> FileMetadata:
    digest = hashlib.sha256(str(number % 30_000).encode()).hexdigest()
    return FileMetadata(f"project/{number}/a.dat", number, f"sha256:{digest}", "a.dat", _NOW)


def whole(number: int) -> Holding:
    return Holding(is_whole=True, files=1, size=number)


def test_each_place_has_its_own_sum() -> None:
    with ledger() as found:
        for number in (3, 1, 2):
            assert found.add(value(number))
            found.settle(value(number), (whole(number), whole(number) if number != 2 else Holding()), is_fine=False)
        ours, theirs = found.sum(0, "old"), found.sum(1, "new")
    lines = {n: f"{value(n).hash}\n" for n in (1, 2, 3)}
    digest = hashlib.sha256("".join(sorted(lines.values())).encode()).hexdigest()
    assert ours == Sum("old", 3, 3, 6, f"sha256:{digest}")
    assert (theirs.values, theirs.files, theirs.size) == (2, 2, 4)
    assert not is_alike(ours, theirs)


def test_what_is_right_at_last_counts_once() -> None:
    with ledger() as found:
        found.add(value(1))
        found.settle(value(1), (whole(1), Holding()), is_fine=False)
        assert found.add(value(1))
        found.settle(value(1), (whole(1), whole(1)), is_fine=True)
        assert not found.add(value(1))
        assert is_alike(found.sum(0, "old"), found.sum(1, "new"))
        assert found.sum(1, "new").values == 1


def test_many_values_take_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    expected = list[str]()
    with ledger() as found:
        for number in range(40_000):
            one = value(number)
            found.add(one)
            found.settle(one, (whole(1), whole(1)), is_fine=True)
        ours, theirs = found.sum(0, "old"), found.sum(1, "new")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 20_000  # KiB; the values alone are some 20 MB
    expected = sorted(f"{value(number).hash}\n" for number in range(40_000))
    assert ours.digest == f"sha256:{hashlib.sha256(''.join(expected).encode()).hexdigest()}"
    assert is_alike(ours, theirs)
    assert ours.values == 40_000
