"""Manifests that are kept: how many, for how long, and what that costs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from datajoint_file.model.manifest import Member, lines, read_manifest
from datajoint_file.pipeline import manifests
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.manifests import _Kept
from tests.unit.conftest import InChild


def text_of(count: int, of: int) -> bytes:
    return b"".join(lines(Member(f"{number:06}-{of}.npy", 3, "0" * 64) for number in range(count)))


@pytest.mark.parametrize("count", [0, 1, 100])
def test_manifests_that_are_kept_take_no_more_than_is_said(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_KEPT_BYTES", 2_000_000)
    kept = _Kept()
    tracemalloc.start()
    for number in range(4_000):
        kept.keep(f"sha256:{number:064}", read_manifest(text_of(count, number)))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 500_000 < used < 2_000_000
    assert kept.get(f"sha256:{0:064}") is None
    assert kept.get(f"sha256:{3_999:064}") is not None


def test_what_was_used_last_is_kept_however_large_and_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = read_manifest(text_of(1_000, 0)), read_manifest(text_of(1, 0))
    monkeypatch.setattr(manifests, "_KEPT_BYTES", 3 * small.memory)
    kept = _Kept()
    for digest in "abc":
        kept.keep(digest, small)
    for _ in range(10):
        kept.keep("a", small)
    assert [kept.get(digest) is not None for digest in "abc"] == [True] * 3
    kept.keep("d", small)
    assert [kept.get(digest) is not None for digest in "abcd"] == [True, False, True, True]
    kept.keep("e", large)
    assert [kept.get(digest) is not None for digest in "acde"] == [False, False, False, True]
    kept.keep("a", small)
    assert [kept.get(digest) is not None for digest in "ae"] == [True, False]


def test_child_keeps_what_its_parent_has_read(
    stored_directory: Callable[..., DirectoryRef], root: Path, in_child: InChild
) -> None:
    ref = stored_directory({"a.npy": b"1"})
    assert ref.listdir() == ["a.npy"]
    (manifest,) = root.rglob("~manifest")
    manifest.unlink()
    with manifests._kept._lock:  # as if another thread were at it
        assert in_child(ref.listdir) == ["a.npy"]
