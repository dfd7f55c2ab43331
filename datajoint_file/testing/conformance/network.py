"""What can be wrong with a store behind a network, and what the backend then says.

The author gives backends that are wrong on purpose.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from datajoint_file.errors import BucketNotFoundError, StorageAccessError, StorageError, StorageUnavailableError
from datajoint_file.storage import StorageBackend
from datajoint_file.testing.conformance.fixtures import OBJECT_VERBS, BackendFixtures
from datajoint_file.testing.readers import GeneratedReader

PATIENCE_SECONDS = 60

Use = Callable[[StorageBackend, str, int], object]
"""What a test does with a backend, a key, and the size of a part."""


def _without_size(verb: Callable[[StorageBackend, str], object]) -> Use:
    return lambda backend, key, part_size: verb(backend, key)


USES: dict[str, Use] = {
    **{name: _without_size(verb) for name, verb in OBJECT_VERBS.items()},
    "list": lambda backend, key, part_size: list(backend.list(key)),
    "upload": lambda backend, key, part_size: backend.upload(key, GeneratedReader(5)),
    "upload_parts": lambda backend, key, part_size: backend.upload(key, GeneratedReader(2 * part_size)),
}
"""Every verb, so that it can fail."""


class NetworkTests(BackendFixtures):
    """That no answer and a refusal are neither "no" nor "done".

    Override the fixtures; each gives a backend of the kind under test.
    """

    @pytest.fixture
    def missing_bucket(self) -> StorageBackend:
        """Give a backend whose bucket does not exist."""
        raise NotImplementedError("override the fixture `missing_bucket`: its bucket does not exist")

    @pytest.fixture
    def forbidden(self) -> StorageBackend:
        """Give a backend whose credentials are wrong."""
        raise NotImplementedError("override the fixture `forbidden`: its credentials are wrong")

    @pytest.fixture
    def unreachable(self) -> StorageBackend:
        """Give a backend at an address where nothing listens, whose client does not try for long."""
        raise NotImplementedError("override the fixture `unreachable`: at its address nothing listens")

    @pytest.mark.parametrize("use", USES)
    def test_missing_bucket_is_no_missing_object(
        self, missing_bucket: StorageBackend, key: str, secrets: tuple[str, ...], use: str
    ) -> None:
        with pytest.raises(BucketNotFoundError) as caught:
            USES[use](missing_bucket, key, self.part_size)
        _check_message(caught.value, key, secrets)

    @pytest.mark.parametrize("use", USES)
    def test_refusal_is_told(self, forbidden: StorageBackend, key: str, secrets: tuple[str, ...], use: str) -> None:
        with pytest.raises(StorageAccessError) as caught:
            USES[use](forbidden, key, self.part_size)
        _check_message(caught.value, key, secrets)

    @pytest.mark.parametrize("use", USES)
    def test_unreachable_store_is_told_soon(
        self, unreachable: StorageBackend, key: str, secrets: tuple[str, ...], use: str
    ) -> None:
        start = time.monotonic()
        with pytest.raises(StorageUnavailableError) as caught:
            USES[use](unreachable, key, self.part_size)
        assert time.monotonic() - start < PATIENCE_SECONDS
        _check_message(caught.value, key, secrets)

    def test_list_of_everything_in_a_missing_bucket_is_not_empty(self, missing_bucket: StorageBackend) -> None:
        with pytest.raises(BucketNotFoundError):
            list(missing_bucket.list())


def _check_message(error: StorageError, key: str, secrets: tuple[str, ...]) -> None:
    assert error.key == key
    assert len(str(error)) < 2000
    assert "\n" not in str(error)
    assert not [secret for secret in secrets if secret in str(error)]
