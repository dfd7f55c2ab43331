"""Which readers count as hashing ones: those that keep the whole promise."""

from __future__ import annotations

from pathlib import Path

from datajoint_file.storage.backend import hashed
from datajoint_file.storage.wrappers import _Sent
from datajoint_file.transfer.hashing import HashingReader
from datajoint_file.transfer.source_readers import open_file


def test_reader_that_does_all_that_is_promised_is_one_and_half_of_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "recording.dat"
    path.write_bytes(b"spikes")
    with open_file(path) as reader:
        hashing = HashingReader(reader, lambda _: None)
        assert hashed(hashing) is hashing
        assert hashed(reader) is None  # knows its file, but no digest
        assert hashed(_Sent(hashing)) is None  # knows the digest, but no file
