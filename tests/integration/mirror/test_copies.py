"""Copies between places of one store or disk: made there, of bytes that were found right, and real second copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datajoint_file import mirror
from datajoint_file.errors import VerificationError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.pipeline.mirroring import copy_object
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import NO_HEADERS, ContentHeaders
from datajoint_file.storage.shared import DelegatingBackend
from datajoint_file.testing.faults import Fault, FaultyBackend
from tests.integration.mirrors import CONTENT, Make, Places, contents, tree

LARGE = bytes(range(256)) * 20_000


@pytest.fixture
def beside(places: Make, s3_storage: dict[str, Any], tmp_path: Path) -> Places:
    """Two places in one bucket, of which the second is empty."""
    found = places({**s3_storage, "prefix": "second"}, {**s3_storage, "prefix": "first"}, write="later")
    found.table.insert([{"id": 1, "raw": ("1.dat", CONTENT)}, {"id": 8, "raw": ("large.dat", LARGE)}])
    found.table.insert1({"id": 9, "raw": tree(tmp_path)})
    return found


def second_of(found: Places) -> Pipeline:
    second = pipeline_of(found.connection).second
    assert second is not None
    return second


def sent_to(found: Places) -> list[str]:
    """Return a list of the keys that are going to be sent to the mirror."""
    sent = list[str]()
    second = second_of(found)
    fault = Fault("upload", action=sent.append, lasting=True)
    second.stores._backends[second.project] = FaultyBackend(second.backend, fault)
    return sent


def test_a_bucket_copies_by_itself(beside: Places) -> None:
    sent = sent_to(beside)
    report = mirror.run(beside.connection, [beside.table.database], verify=True)
    assert (bool(report), report.copied) == (True, 9)
    assert contents(beside.first) == contents(beside.mirror)
    assert [key for key in sent if "~registry" not in key] == []


def test_what_is_wrong_is_not_copied(beside: Places) -> None:
    keys = [next(key for key in beside.first.object_keys() if key.endswith(end)) for end in ("/1.dat", "large.dat")]
    for key in keys:
        beside.first.damage(key, b"?" + beside.first.content(key)[1:])
    report = mirror.run(beside.connection, [beside.table.database])
    assert sorted(path for path, _ in report.problems) == sorted(keys)
    assert set(beside.first.object_keys()) - set(beside.mirror.object_keys()) == set(keys)


class _Refused(DelegatingBackend):
    """A store whose credentials may not read the other place, which it is asked for."""

    asked = 0

    def take(self, address: str, size: int, key: str, headers: ContentHeaders = NO_HEADERS) -> bool:
        self.asked += 1
        return False


def test_bytes_are_sent_where_the_credentials_do_not_do(beside: Places) -> None:
    second = second_of(beside)
    refused = second.stores._backends[second.project] = _Refused(second.backend)
    assert mirror.run(beside.connection, [beside.table.database], workers=1)
    assert contents(beside.first) == contents(beside.mirror)
    assert 1 <= refused.asked <= 5  # several members of a directory at a time


def test_by_other_credentials_a_bucket_may_be_another_one(
    places: Make, s3_storage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_MIRROR", s3_storage["credentials"]["key"])
    theirs = {**s3_storage["credentials"], "key": "${env:KEY_OF_THE_MIRROR}"}
    found = places(
        {**s3_storage, "prefix": "second", "credentials": theirs}, {**s3_storage, "prefix": "first"}, write="later"
    )
    found.table.insert1({"id": 1, "raw": ("1.dat", CONTENT)})
    sent = sent_to(found)
    assert mirror.run(found.connection, [found.table.database])
    assert set(found.first.object_keys()) <= set(sent)


def test_what_is_there_is_compared_and_not_replaced(beside: Places) -> None:
    metadata = (beside.table & "id = 1").fetch1("raw").metadata
    first, second = pipeline_of(beside.connection).first, second_of(beside)
    copy_object(first, second, metadata, lambda _: None)
    copy_object(first, second, metadata, lambda _: None)
    wrong = b"?" + CONTENT[1:]
    beside.mirror.damage(metadata.path, wrong)
    with pytest.raises(VerificationError):
        copy_object(first, second, metadata, lambda _: None)
    assert beside.mirror.content(metadata.path) == wrong


def test_a_disk_has_a_second_copy_and_no_second_name(places: Make) -> None:
    found = places()
    found.table.insert1({"id": 1, "raw": ("large.dat", LARGE)})
    (key,) = found.first.object_keys()
    one, other = (Path(side.table["path"]) / key.partition("/")[2] for side in (found.first, found.mirror))
    assert one.read_bytes() == other.read_bytes() == LARGE
    assert not one.samefile(other)
    assert one.stat().st_nlink == other.stat().st_nlink == 1


def test_a_disk_does_not_copy_what_is_wrong(places: Make) -> None:
    found = places(write="later")
    found.table.insert({"id": number, "raw": ("large.dat", LARGE + bytes([number]))} for number in range(2))
    one, other = found.first.object_keys()
    found.first.damage(one, LARGE + b"?")
    report = mirror.run(found.connection, [found.table.database])
    assert [path for path, _ in report.problems] == [one]
    assert found.mirror.object_keys() == [other]
