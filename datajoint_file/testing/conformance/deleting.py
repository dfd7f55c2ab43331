"""Delete: exactly one object, and no complaint when it is gone already."""

from __future__ import annotations

import io

import pytest

from datajoint_file.errors import UnsafePathError
from datajoint_file.model.names import encode_component
from datajoint_file.storage import StorageBackend
from datajoint_file.testing.conformance.fixtures import BackendFixtures, unsafe_keys
from datajoint_file.testing.raw import RawStore

_GLOBS = [*map(encode_component, ["scan[1].dat", "scan*.dat", "scan?.dat", "*", "[a-z]"]), "scan1.dat", "a", "scan"]


class DeletingTests(BackendFixtures):
    """What a delete removes, and what it leaves."""

    def test_deleted_object_is_gone(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        backend.upload(key, io.BytesIO(b"spikes"))
        backend.delete(key)
        assert not raw.exists(key)
        assert backend.exists(key) is False
        assert list(backend.list(key)) == []

    def test_deleting_again_is_success(self, backend: StorageBackend, key: str) -> None:
        backend.upload(key, io.BytesIO(b"spikes"))
        backend.delete(key)
        backend.delete(key)

    def test_deleting_what_was_never_there_is_success(self, backend: StorageBackend, key: str) -> None:
        backend.delete(key)
        assert backend.exists(key) is False

    def test_key_of_a_deleted_object_is_free(self, backend: StorageBackend, raw: RawStore, key: str) -> None:
        backend.upload(key, io.BytesIO(b"noise"))
        backend.delete(key)
        backend.upload(key, io.BytesIO(b"spikes"))
        assert raw.get(key) == b"spikes"

    @pytest.mark.parametrize("name", _GLOBS)
    def test_delete_spares_the_siblings(self, backend: StorageBackend, raw: RawStore, prefix: str, name: str) -> None:
        for sibling in _GLOBS:
            raw.put(f"{prefix}/{sibling}", b"spikes")
        backend.delete(f"{prefix}/{name}")
        assert set(raw.keys(prefix)) == {f"{prefix}/{other}" for other in _GLOBS if other != name}

    def test_deleting_a_prefix_leaves_what_is_below(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        raw.put(f"{prefix}/a/b", b"spikes")
        backend.delete(f"{prefix}/a")
        assert raw.get(f"{prefix}/a/b") == b"spikes"

    def test_what_is_no_key_is_not_deleted(self, backend: StorageBackend) -> None:
        for key in unsafe_keys(self.project):
            with pytest.raises(UnsafePathError):
                backend.delete(key)
