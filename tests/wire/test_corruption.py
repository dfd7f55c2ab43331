"""Bytes that are changed between a client and a store never become a row, nor a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from datajoint_file.testing import generated
from tests.wire.conftest import Wire

SMALL = 100_000
LARGE = 20 * 2**20
MIDDLE = 50_000
"""Where a bit is flipped: behind the headers, and in the body, of small files and of parts."""

FOR_EVER = 10**6

CASES = [
    pytest.param(
        kind,
        size,
        tls,
        engine,
        id=f"{kind}-{name}-{'tls' if tls else 'plain'}-{engine}",
        marks=pytest.mark.release if kind == "azure" and tls == (size == LARGE) else (),
    )
    for kind in ("s3", "gcs", "azure")
    for name, size in (("small", SMALL), ("large", LARGE))
    for tls in (False, True)
    for engine in ("fsspec", "obstore")
    # The emulator of gcs knows nothing of what obstore asks for, and has large uploads sent to an address without TLS.
    if kind != "gcs" or (engine == "fsspec" and (size, tls) != (LARGE, True))
]
PLAIN_CASES = [case for case in CASES if not case.values[2]]

over_all_cases = pytest.mark.parametrize(("kind", "size", "tls", "engine"), CASES)
over_plain_cases = pytest.mark.parametrize(("kind", "size", "tls", "engine"), PLAIN_CASES)


def check(wire: Wire, outcome: dict[str, str], content: bytes) -> None:
    """There is a row whose object has these very bytes, or no row; what was read back and is wrong may stay."""
    rows = wire.rows()
    assert (len(rows) == 1) == (outcome["error"] == ""), outcome
    assert [wire.store.content(row["path"]) == content for row in rows] == [True] * len(rows)
    left = set(wire.store.object_keys()) - {row["path"] for row in rows}
    assert len(left) <= (outcome["error"] == "UploadCorruptedError")


@over_all_cases
def test_byte_that_is_changed_once_on_its_way_to_the_store_is_sent_again_or_told(
    wire: Wire, kind: str, size: int, tls: bool, engine: str, tmp_path: Path
) -> None:
    content = generated(size)
    path = tmp_path / "recording.dat"
    path.write_bytes(content)
    wire.proxy.flip("upload", at=MIDDLE, times=1)
    outcome = wire.do("insert", path)
    assert wire.proxy.flipped == 1
    check(wire, outcome, content)
    assert outcome["error"] in ("", "StorageUnavailableError" if tls else "UploadCorruptedError"), outcome
    if engine == "fsspec" and (tls or kind == "s3"):
        assert outcome["error"] == "", outcome


@over_plain_cases
def test_bytes_that_are_always_changed_on_their_way_to_the_store_are_told(
    wire: Wire, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "recording.dat"
    path.write_bytes(generated(size))
    wire.proxy.flip("upload", at=MIDDLE, times=FOR_EVER)
    outcome = wire.do("insert", path)
    assert outcome["error"] == "UploadCorruptedError", outcome
    check(wire, outcome, b"")


@over_all_cases
def test_byte_that_is_changed_on_its_way_from_the_store_never_gets_into_a_file(
    wire: Wire, size: int, tls: bool, tmp_path: Path
) -> None:
    content = generated(size)
    path = tmp_path / "recording.dat"
    path.write_bytes(content)
    assert wire.do("insert", path)["error"] == ""
    target = tmp_path / "copy.dat"
    wire.proxy.flip("download", at=MIDDLE, times=1)
    outcome = wire.do("download", target)
    assert wire.proxy.flipped == 1
    assert outcome["error"] in (("", "StorageUnavailableError") if tls else ("HashMismatchError",)), outcome
    assert target.exists() == (outcome["error"] == "")
    assert not target.exists() or target.read_bytes() == content
