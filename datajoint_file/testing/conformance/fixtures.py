"""What every suite needs: the backend under test, another door to its store, a fresh key.

The first two are the author's to give.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from datajoint_file.storage import StorageBackend
from datajoint_file.testing.raw import RawStore


class BackendFixtures:
    """Fixtures and facts to override; see `StorageBackendTests`.

    Attributes
    ----------
    project : str
        The first part of every key.
    part_size : int
        Bytes of one part of a large object, as the backend under test was made.
    page_size : int
        How many objects the store lists in one reply, as the backend under test was made; 0 if there are no pages.
    in_process : bool
        Whether the store lies in this process's memory, which is then not bounded, and not shared with children.
    races_in_parts : bool
        Whether two large uploads that race are told apart, as ``atomic_create`` says; some emulators are not as good
        as the store they stand for.
    """

    project = "conformance"
    part_size = 2**16
    page_size = 0
    in_process = False
    races_in_parts = True

    @pytest.fixture
    def backend(self) -> StorageBackend:
        """Give the backend under test."""
        raise NotImplementedError("override the fixture `backend`: it gives the StorageBackend under test")

    @pytest.fixture
    def raw(self) -> RawStore:
        """Give another door to the same objects."""
        raise NotImplementedError("override the fixture `raw`: it gives a RawStore of the same objects")

    @pytest.fixture
    def secrets(self) -> tuple[str, ...]:
        """Give what no URL and no message may show."""
        return ()

    @pytest.fixture
    def prefix(self) -> str:
        """Give leading components of keys that no other test has."""
        return f"{self.project}/{uuid.uuid4().hex}"

    @pytest.fixture
    def key(self, prefix: str) -> str:
        """Give the key of an object that is not there."""
        return f"{prefix}/recording.dat"


def read(backend: StorageBackend, key: str) -> bytes:
    """Return an object's bytes, as the backend gives them."""
    with backend.open(key) as file:
        return file.read()


OBJECT_VERBS: dict[str, Callable[[StorageBackend, str], object]] = {
    "open": read,
    "stat": lambda backend, key: backend.stat(key),
    "exists": lambda backend, key: backend.exists(key),
    "delete": lambda backend, key: backend.delete(key),
}
"""The verbs that take an object's key and no more, by name."""


def unsafe_keys(project: str) -> list[str]:
    """Return what is no object key; rows are untrusted, so every verb refuses it."""
    components = ["..", ".", "", "*", "[a]", "a b", "a\x00b", "a\nb", "a\\b", "ä", "a?versionId=1", "a#1", "a" * 1024]
    return [
        "",
        "/",
        "recording.dat",
        "/etc/passwd",
        f"../{project}/a",
        f"s3://{project}/a",
        *(f"{project}/{component}" for component in components),
        *(f"{project}/{component}/../../b" for component in components),
        f"{project}/a/~partial-0123456789abcdef",
        f"{project}/~partial-0123456789abcdef/a",
    ]


def check_time(modified: datetime | None) -> None:
    """Accept no time, or an aware one of about now: stores have clocks of their own."""
    if modified is not None:
        assert modified.tzinfo is not None
        assert abs(datetime.now(timezone.utc) - modified) < timedelta(days=1)
