"""List: everything below a prefix, and nothing else.

Objects are planted through the other door.
"""

from __future__ import annotations

import pytest

from datajoint_file.errors import UnsafePathError
from datajoint_file.storage import StorageBackend
from datajoint_file.testing.conformance.fixtures import BackendFixtures, check_time, unsafe_keys
from datajoint_file.testing.raw import RawStore


class ListingTests(BackendFixtures):
    """What a listing gives."""

    def test_list_describes_every_object(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        sizes = {f"{prefix}/a/{number}/recording.dat": number for number in range(12)} | {f"{prefix}/b": 77}
        for key, size in sizes.items():
            raw.put(key, bytes(size))
        found = list(backend.list(prefix))
        assert {one.key: one.size for one in found} == sizes
        assert len(found) == len(sizes)
        for one in found:
            check_time(one.modified)

    def test_list_takes_whole_components(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        for key in ("a/b/1", "a/b/2/3", "a/bc", "a/bc%20/1", "a/b0/1"):
            raw.put(f"{prefix}/{key}", b"spikes")
        assert {found.key for found in backend.list(f"{prefix}/a/b")} == {f"{prefix}/a/b/1", f"{prefix}/a/b/2/3"}

    def test_list_of_a_missing_prefix_is_empty(self, backend: StorageBackend, prefix: str) -> None:
        assert list(backend.list(prefix)) == []
        assert list(backend.list(f"{prefix}/a/b")) == []

    def test_list_of_everything_has_everything(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        keys = {f"{prefix}/1/a", f"{prefix}/2/b"}
        for key in keys:
            raw.put(key, b"spikes")
        assert keys <= {found.key for found in backend.list()}
        assert keys <= {found.key for found in backend.list(self.project)}

    def test_list_is_complete_beyond_one_page(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        keys = {f"{prefix}/{number}" for number in range(2 * self.page_size + 1)}
        for key in keys:
            raw.put(key, b"")
        found = [found.key for found in backend.list(prefix)]
        assert set(found) == keys
        assert len(found) == len(keys)

    def test_what_is_no_prefix_is_not_listed(self, backend: StorageBackend) -> None:
        for prefix in unsafe_keys(self.project):
            if prefix not in ("", "recording.dat"):
                with pytest.raises(UnsafePathError):
                    list(backend.list(prefix))
