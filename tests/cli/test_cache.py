"""`datajoint-file cache`: what there is, where, and emptying it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datajoint_file.cache.entries import Cache
from tests.conftest import CACHE_VARIABLE

from .conftest import Run


def test_cache_is_shown_and_emptied(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(place))
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__SIZE", "1 GB")
    assert run("cache").output == f"0 files, 0 B of 1.0 GB, in {place}\n"
    path = Cache(place, 1000).get("ab" * 32, "a.dat", 6, lambda target: target.write_bytes(b"spikes"))
    assert run("cache", "--path").output == f"{place}\n"
    figures = {"path": str(place), "entries": 1, "size": 6, "limit": 10**9}
    assert json.loads(run("cache", "--json").output) == {"has": figures}
    assert json.loads(run("cache", "--clear", "--json").output) == {"removed": figures}
    assert not path.exists()
    assert run("cache", "--clear").output == f"removed 0 files, 0 B of 1.0 GB, in {place}\n"
    assert run("cache", "--clear", "--path").exit_code == 2
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    refused = run("cache", "--clear")
    assert (refused.exit_code, place.exists()) == (4, True)
    assert "is no cache: there is" in refused.output
    monkeypatch.setenv("DATAJOINT_FILE__CACHE__SIZE", "much")
    assert run("cache").exit_code == 4
