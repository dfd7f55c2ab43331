"""Members of a directory: objects below one key, deeper than others, whose names may begin with a dot."""

from __future__ import annotations

import io

import pytest

from datajoint_file.model.object_keys import MANIFEST
from datajoint_file.storage import StorageBackend
from datajoint_file.testing.conformance.fixtures import BackendFixtures, read
from datajoint_file.testing.raw import RawStore

MEMBERS = (".zattrs", "0/.zarray", "0/0.0", "0/0.1", "a.b", "a/b", "raw%20data/x", ".hidden/.x/y", "n" * 255)


class DirectoryTests(BackendFixtures):
    """What a store does with the members of a directory, and with its manifest."""

    @pytest.fixture
    def home(self, prefix: str) -> str:
        """Give what all keys of one directory begin with, as an insert makes them."""
        return f"{prefix}/schema/objects/Table-data/{'a' * 16}-{'b' * 26}"

    @pytest.fixture
    def keys(self, backend: StorageBackend, home: str) -> dict[str, bytes]:
        """Store a directory, and give its objects."""
        keys = {f"{home}/x.zarr/{name}": name[:9].encode() for name in MEMBERS} | {f"{home}/{MANIFEST}": b"manifest"}
        for key, content in keys.items():
            backend.upload(key, io.BytesIO(content))
        return keys

    def test_members_are_objects(self, backend: StorageBackend, raw: RawStore, keys: dict[str, bytes]) -> None:
        for key, content in keys.items():
            assert read(backend, key) == raw.get(key) == content
            assert backend.stat(key).size == len(content)

    def test_members_are_listed(self, backend: StorageBackend, home: str, keys: dict[str, bytes]) -> None:
        assert {found.key for found in backend.list(home)} == set(keys)
        assert {found.key for found in backend.list(f"{home}/x.zarr")} == {key for key in keys if "/x.zarr/" in key}
        assert {found.key for found in backend.list(f"{home}/x.zarr/0")} == {key for key in keys if "/x.zarr/0/" in key}

    def test_members_are_stored_in_a_group(self, backend: StorageBackend, raw: RawStore, home: str) -> None:
        group = backend.group()
        for name in MEMBERS:
            group.upload(f"{home}/x.zarr/{name}", io.BytesIO(name.encode()), len(name))
        group.publish()
        assert {found.key for found in backend.list(home)} == {f"{home}/x.zarr/{name}" for name in MEMBERS}
        assert raw.get(f"{home}/x.zarr/0/0.1") == b"0/0.1"

    def test_member_is_deleted_alone(
        self, backend: StorageBackend, raw: RawStore, home: str, keys: dict[str, bytes]
    ) -> None:
        left = set(keys)
        for key in sorted(keys, reverse=True):
            backend.delete(key)
            left.remove(key)
            assert {found.key for found in backend.list(home)} == left
        assert not any(raw.exists(key) for key in keys)
