"""Uploads that were begun and not finished: told, and discarded one by one.

Writers are killed in forked children, as `kill -9` and power cuts do it.
"""

from __future__ import annotations

import io
import signal
from dataclasses import replace

import pytest

from datajoint_file.errors import StorageError, UnsafePathError
from datajoint_file.storage import StorageBackend, UnfinishedUpload
from datajoint_file.testing.conformance.concurrency import forked
from datajoint_file.testing.conformance.fixtures import BackendFixtures, check_time, unsafe_keys
from datajoint_file.testing.faults import Fault, FaultyBackend, kill
from datajoint_file.testing.raw import RawStore
from datajoint_file.testing.readers import GeneratedReader, SlowReader


class UnfinishedTests(BackendFixtures):
    """What is left of uploads that never became objects, and how it goes."""

    def test_finished_uploads_are_not_unfinished(self, backend: StorageBackend, prefix: str) -> None:
        backend.upload(f"{prefix}/a", GeneratedReader(5))
        backend.upload(f"{prefix}/b", GeneratedReader(2 * self.part_size))
        assert list(backend.unfinished(prefix)) == []
        assert list(backend.unfinished(f"{prefix}/a")) == []
        assert list(backend.unfinished(f"{prefix}/nothing")) == []

    def test_upload_is_unfinished_while_it_is_under_way(self, backend: StorageBackend, key: str) -> None:
        seen: list[list[UnfinishedUpload]] = []
        reader = SlowReader(GeneratedReader(3 * self.part_size), lambda: seen.append(list(backend.unfinished(key))))
        backend.upload(key, reader)
        assert list(backend.unfinished(key)) == []
        if backend.capabilities.lists_unfinished:
            assert [upload.may_become(key) for upload in seen[-1]] == [True]
        else:
            assert not any(seen)

    def test_killed_upload_is_told_and_discarded_and_never_appears(
        self, backend: StorageBackend, raw: RawStore, key: str
    ) -> None:
        for upload in self._killed(backend, key):
            assert upload.may_become(key)
            check_time(upload.started)
            assert list(backend.unfinished(key.rpartition("/")[0])) == [upload]
            backend.discard(upload)
            backend.discard(upload)
        assert list(backend.unfinished(key)) == []
        assert not raw.unfinished(key.rpartition("/")[0])
        assert not raw.keys(key.rpartition("/")[0])
        assert backend.exists(key) is False

    def test_discard_spares_other_uploads_and_objects(
        self, backend: StorageBackend, raw: RawStore, prefix: str
    ) -> None:
        keys = [f"{prefix}/{name}" for name in ("a/1", "ab/1", "a/1/2")]
        raw.put(f"{prefix}/a/object", b"spikes")
        uploads = {key: self._killed(backend, key) for key in keys}
        before = set(raw.unfinished(prefix))
        for upload in uploads[keys[0]]:
            backend.discard(upload)
        assert set(backend.unfinished(prefix)) == {*uploads[keys[1]], *uploads[keys[2]]}
        assert len(raw.unfinished(prefix)) == max(len(before) - 1, 0)
        assert set(raw.keys(prefix)) == {f"{prefix}/a/object"}
        for upload in backend.unfinished(prefix):
            backend.discard(upload)
        assert not raw.unfinished(prefix)

    def test_unfinished_takes_whole_components(self, backend: StorageBackend, prefix: str) -> None:
        uploads = {name: self._killed(backend, f"{prefix}/{name}/recording.dat") for name in ("a", "ab", "a%20")}
        for name, expected in uploads.items():
            assert list(backend.unfinished(f"{prefix}/{name}")) == list(expected)
            for upload in expected:
                backend.discard(upload)

    def test_discard_leaves_the_object_of_a_later_upload(
        self, backend: StorageBackend, raw: RawStore, key: str
    ) -> None:
        for upload in self._killed(backend, key):
            backend.upload(key, io.BytesIO(b"spikes"))
            backend.discard(upload)
            assert raw.get(key) == b"spikes"
        assert not raw.unfinished(key.rpartition("/")[0])

    def test_objects_cannot_be_discarded(self, backend: StorageBackend, raw: RawStore, prefix: str) -> None:
        raw.put(f"{prefix}/a/b", b"spikes")
        forged = UnfinishedUpload(f"{prefix}/a", "b", None, None)
        for upload in (forged, replace(forged, key=f"{prefix}/a/b"), replace(forged, key=prefix, id="a/b")):
            self._discard_or_refuse(backend, upload)
        assert raw.get(f"{prefix}/a/b") == b"spikes"

    def test_nothing_outside_the_project_is_told_or_discarded(self, backend: StorageBackend) -> None:
        outside = [*unsafe_keys(self.project), f"{self.project}2/a"]
        for key in outside:
            with pytest.raises(UnsafePathError):
                backend.discard(UnfinishedUpload(key, "~partial-0123456789abcdef", None, None))
            if key:
                with pytest.raises(UnsafePathError):
                    list(backend.unfinished(key))

    def _killed(self, backend: StorageBackend, key: str) -> list[UnfinishedUpload]:
        """Return what a killed writer has left of an upload to *key*; nothing from stores that do not tell."""
        if not self.in_process:
            middle = Fault("upload", moment="during", after_bytes=2 * self.part_size + 9, action=kill)
            faulty = FaultyBackend(backend, middle)
            status, report = forked(lambda: faulty.upload(key, GeneratedReader(3 * self.part_size)))
            assert (status, report) == (-signal.SIGKILL, "")
            assert backend.exists(key) is False
        left = list(backend.unfinished(key))
        told = backend.capabilities.lists_unfinished and not self.in_process
        assert len(left) == int(told)
        return left

    def _discard_or_refuse(self, backend: StorageBackend, upload: UnfinishedUpload) -> None:
        try:
            backend.discard(upload)
        except (UnsafePathError, StorageError):
            return
