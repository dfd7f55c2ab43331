"""What a process remembers of the objects that it has stored."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline import receipts
from datajoint_file.pipeline.receipts import Receipts
from datajoint_file.storage.backend import ObjectStat, Receipt


def test_it_proves_what_was_stored_here_and_not_written_to_since(
    stored: Callable[..., FileMetadata],
) -> None:
    mine, other = stored(("a.dat", b"1")), stored(("a.dat", b"2"))
    known = Receipts()
    known.keep(mine, Receipt("tag"))
    assert known.prove(mine, ObjectStat(mine.path, 1, None, "tag"))
    assert not known.prove(mine, ObjectStat(mine.path, 1, None, "another"))
    assert not known.prove(other, ObjectStat(other.path, 1, None, "tag"))


def test_a_store_that_tells_no_tag_proves_nothing(stored: Callable[..., FileMetadata]) -> None:
    mine, known = stored(), Receipts()
    known.keep(mine, Receipt())
    assert not known.prove(mine, ObjectStat(mine.path, mine.size, None))


def test_what_was_stored_first_is_forgotten_first(
    stored: Callable[..., FileMetadata], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "MOST", 2)
    known, files = Receipts(), [stored(("a.dat", b"1")) for _ in range(3)]
    for metadata in files:
        known.keep(metadata, Receipt("tag"))
    found = [known.prove(metadata, ObjectStat(metadata.path, 1, None, "tag")) for metadata in files]
    assert found == [False, True, True]
