"""The contract over S3, and what is particular to it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from datajoint_file.errors import BucketNotFoundError, ObjectExistsError, UnsafePathError
from datajoint_file.storage import StorageBackend, UnfinishedUpload
from datajoint_file.storage.backend import ContentHeaders
from datajoint_file.storage.bucket import backend as bucket
from datajoint_file.storage.bucket import s3
from datajoint_file.testing import NetworkTests, RawStore, generated
from tests.contract.conftest import PAGE_SIZE, PROJECT, S3_PART_SIZE, HeaderTests, RacesOfUntold, engine_backend
from tests.contract.stores import S3Store
from tests.servers.environment import NOWHERE

AT_ONCE = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
"""The client's option not to try again."""


class TestS3(RacesOfUntold, HeaderTests, NetworkTests):
    part_size = S3_PART_SIZE
    page_size = PAGE_SIZE
    races_in_parts = False  # SeaweedFS looks at the condition before it completes an upload, not while

    @pytest.fixture
    def backend(self, s3_backend: StorageBackend) -> StorageBackend:
        return s3_backend

    @pytest.fixture
    def raw(self, s3_store: S3Store) -> RawStore:
        return s3_store

    @pytest.fixture
    def secrets(self, s3_storage: dict[str, Any]) -> tuple[str, ...]:
        return (s3_storage["credentials"]["secret"], "wrong-secret")

    @pytest.fixture
    def missing_bucket(self, no_bucket: StorageBackend) -> StorageBackend:
        return no_bucket

    @pytest.fixture
    def forbidden(self, no_access: StorageBackend) -> StorageBackend:
        return no_access

    @pytest.fixture
    def unreachable(self, nowhere: StorageBackend) -> StorageBackend:
        return nowhere

    def test_unfinished_uploads_are_all_told_and_discarded_one_by_one(
        self, backend: StorageBackend, s3_store: S3Store, prefix: str
    ) -> None:
        """More than a page of them, several of one object, and some of others that sort before and after."""
        others = [f"{prefix}-a/x", f"{prefix}0", prefix.replace(PROJECT, f"{PROJECT}2")]
        keys = sorted([f"{prefix}/{number}" for number in range(PAGE_SIZE)] + [f"{prefix}/3"] * (PAGE_SIZE + 2))
        begun = {self._begin(s3_store, key): key for key in [*others, *keys]}
        found = list(backend.unfinished(prefix))
        assert {upload.id: upload.key for upload in found} == {i: k for i, k in begun.items() if k not in others}
        assert len(found) == len(keys)
        assert {begun.get(upload.id) for upload in backend.unfinished()} >= {*keys, *others[:2]}
        assert others[2] not in {upload.key for upload in backend.unfinished()}
        for upload in found:
            backend.discard(upload)
        assert s3_store.unfinished(prefix) == set()
        assert [s3_store.unfinished(other.rpartition("/")[0]) >= {other} for other in others] == [True] * 3

    def test_upload_of_another_project_is_not_discarded(
        self, backend: StorageBackend, s3_store: S3Store, prefix: str
    ) -> None:
        key = f"{prefix}/a".replace(PROJECT, f"{PROJECT}2")
        upload = UnfinishedUpload(key, self._begin(s3_store, key), None, None)
        with pytest.raises(UnsafePathError):
            backend.discard(upload)
        assert s3_store.unfinished(key.rpartition("/")[0]) == {key}

    def test_large_object_is_copied_in_parts_by_the_store_or_not_at_all(
        self, backend: StorageBackend, s3_store: S3Store, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3, "_COPIED_PART", S3_PART_SIZE)
        monkeypatch.setattr(s3, "_COPIED_WHOLE", S3_PART_SIZE)
        content = generated(2 * S3_PART_SIZE + 7)
        s3_store.put(f"{prefix}/a", content)
        for key, is_contested in ((f"{prefix}/b", True), (f"{prefix}/c", False)):
            backend.copy(f"{prefix}/a", key, ContentHeaders("text/csv", "b.csv", is_contested))
            assert (s3_store.get(key), s3_store.headers(key)[0]) == (content, "text/csv")
            assert s3_store.client.head_object(Bucket=s3_store.bucket, Key=key)["ETag"].endswith('-3"')
        with pytest.raises(ObjectExistsError):
            backend.copy(f"{prefix}/a", f"{prefix}/b", ContentHeaders(is_contested=True))
        assert s3_store.unfinished(prefix) == set()

    def test_what_is_elsewhere_in_the_bucket_is_taken_if_it_is_there(
        self, backend: StorageBackend, s3_store: S3Store, prefix: str
    ) -> None:
        s3_store.put(f"elsewhere/{prefix}", b"spikes")
        assert backend.take(f"{s3_store.bucket}/elsewhere/{prefix}", 6, f"{prefix}/a")
        assert s3_store.get(f"{prefix}/a") == b"spikes"
        assert not backend.take(f"{s3_store.bucket}/elsewhere/{prefix}-gone", 6, f"{prefix}/b")
        assert not backend.take(f"{s3_store.bucket}-other/elsewhere/{prefix}", 6, f"{prefix}/b")
        assert not s3_store.exists(f"{prefix}/b")

    def test_bucket_of_many_absent_objects_is_looked_at_once_and_told_when_it_has_gone(
        self, s3_storage: dict[str, Any], s3_store: S3Store, engine: str, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"passing-{s3_store.bucket}"
        s3_store.client.create_bucket(Bucket=name)
        backend, look = engine_backend({**s3_storage, "bucket": name}, engine, S3_PART_SIZE), bucket.BucketBackend
        with patch.object(look, "_look_at_bucket", autospec=True, side_effect=look._look_at_bucket) as looks:
            assert [backend.exists(f"{key}{number}") for number in range(20)] == [False] * 20
        looks.assert_called_once()
        s3_store.client.delete_bucket(Bucket=name)
        monkeypatch.setattr(bucket, "_SEEN_SECONDS", 0.0)
        with pytest.raises(BucketNotFoundError):
            backend.stat(key)

    def _begin(self, store: S3Store, key: str) -> str:
        return str(store.client.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"])


@pytest.fixture(scope="session")
def no_bucket(s3_storage: dict[str, Any], engine: str) -> StorageBackend:
    return engine_backend({**s3_storage, "bucket": "no-such-bucket"}, engine, S3_PART_SIZE)


@pytest.fixture(scope="session", params=["key", "secret"])
def no_access(s3_storage: dict[str, Any], engine: str, request: pytest.FixtureRequest) -> StorageBackend:
    wrong = {**s3_storage["credentials"], request.param: "wrong-secret"}
    return engine_backend({**s3_storage, "credentials": wrong}, engine, S3_PART_SIZE)


@pytest.fixture(scope="session")
def nowhere(s3_storage: dict[str, Any], engine: str) -> StorageBackend:
    table = {**s3_storage, "endpoint_url": f"http://{NOWHERE}", "options": AT_ONCE}
    return engine_backend(table, engine, S3_PART_SIZE)
