"""The contract through wrappers, and what each of them changes."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from datajoint_file.config import parse_settings
from datajoint_file.errors import ObjectNotFoundError, ReadOnlyStorageError
from datajoint_file.storage import StorageBackend, UnfinishedUpload, open_backend
from datajoint_file.storage.disk.backend import LocalBackend
from datajoint_file.storage.remote.filesystem import FilesystemBackend
from datajoint_file.storage.wrappers import LoggedBackend, ReadOnlyBackend
from datajoint_file.testing import DirectoryStore, FaultyBackend, RawStore, ReadingTests, StorageBackendTests
from tests.contract.conftest import PROJECT

KEY = f"{PROJECT}/subject1/recording.dat"


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture
def local(root: Path) -> LocalBackend:
    return LocalBackend(root, PROJECT, "none")


@pytest.fixture
def raw(root: Path) -> RawStore:
    return DirectoryStore(root, PROJECT)


class WrapperFixtures:
    """The bare local store behind each wrapper."""

    @pytest.fixture
    def raw(self, raw: RawStore) -> RawStore:
        return raw


class TestLogged(WrapperFixtures, StorageBackendTests):
    @pytest.fixture
    def backend(self, local: LocalBackend) -> StorageBackend:
        return LoggedBackend(local)

    def test_each_verb_is_logged(self, backend: StorageBackend, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "datajoint_file.storage")
        backend.upload(KEY, io.BytesIO(b"spikes"))
        backend.open(KEY).close()
        assert backend.exists(KEY)
        list(backend.list(PROJECT))
        list(backend.unfinished(PROJECT))
        backend.discard(UnfinishedUpload(PROJECT, "~partial-0123", None, None))
        backend.delete(KEY)
        said = [record.getMessage().split(" in ")[0] for record in caplog.records]
        assert said == [
            *(f"{verb} {KEY} done" for verb in ("upload", "open", "stat")),
            *(f"{verb} {PROJECT} done" for verb in ("list", "unfinished", "discard")),
            f"delete {KEY} done",
        ]

    def test_failure_is_logged_as_one(self, backend: StorageBackend, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "datajoint_file.storage")
        with pytest.raises(ObjectNotFoundError):
            backend.stat(KEY)
        assert [record.getMessage().split(" in ")[0] for record in caplog.records] == [f"stat {KEY} failed"]

    def test_nothing_is_said_unless_asked(self, backend: StorageBackend, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        backend.upload(KEY, io.BytesIO(b"spikes"))
        assert not caplog.records


class TestFaultyWithoutFaults(WrapperFixtures, StorageBackendTests):
    @pytest.fixture
    def backend(self, local: LocalBackend) -> StorageBackend:
        return FaultyBackend(local)


class TestReadOnly(WrapperFixtures, ReadingTests):
    @pytest.fixture
    def backend(self, root: Path) -> StorageBackend:
        document = {"project": {"name": "other"}, "storage": {"backend": "file", "path": str(root)}}
        return open_backend(parse_settings(document, "the test").storage, PROJECT, read_only=True)

    def test_nothing_is_added(self, backend: StorageBackend, raw: RawStore) -> None:
        with pytest.raises(ReadOnlyStorageError) as caught:
            backend.upload(KEY, io.BytesIO(b"noise"))
        assert caught.value.key == KEY
        assert isinstance(caught.value, PermissionError)
        assert not raw.keys(PROJECT)

    def test_nothing_is_removed(self, backend: StorageBackend, raw: RawStore) -> None:
        raw.put(KEY, b"spikes")
        with pytest.raises(ReadOnlyStorageError) as caught:
            backend.delete(KEY)
        assert caught.value.key == KEY
        assert raw.get(KEY) == b"spikes"

    def test_nothing_is_discarded(self, backend: StorageBackend, raw: RawStore) -> None:
        raw.put(f"{PROJECT}/a/~partial-0123", b"half")
        (upload,) = backend.unfinished()
        with pytest.raises(ReadOnlyStorageError) as caught:
            backend.discard(upload)
        assert caught.value.key == f"{PROJECT}/a"
        assert raw.unfinished(PROJECT) == {f"{PROJECT}/a/~partial-0123"}


class TestOtherProtocol(WrapperFixtures, StorageBackendTests):
    """The backend of any fsspec protocol, over one that keeps files where they can be looked at."""

    @pytest.fixture
    def backend(self, root: Path) -> StorageBackend:
        return FilesystemBackend("local", str(root), LocalFileSystem, project=PROJECT)


def test_wrappers_of_wrappers_keep_what_the_inner_ones_change(local: LocalBackend) -> None:
    backend = LoggedBackend(FaultyBackend(ReadOnlyBackend(local)))
    with pytest.raises(ReadOnlyStorageError):
        backend.upload(KEY, io.BytesIO(b"noise"))
