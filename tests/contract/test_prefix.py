"""A prefix inside a bucket: where objects are in the store, and that no key names it."""

from __future__ import annotations

import io
from typing import Any

import pytest

from datajoint_file.errors import ObjectNotFoundError
from datajoint_file.storage import StorageBackend
from datajoint_file.testing import GeneratedReader
from tests.contract.conftest import PROJECT, S3_PART_SIZE, Told, backend_of
from tests.projects import bare_filesystem, unique

LONG = 2 * S3_PART_SIZE + 1
ENGINES = [("s3", "fsspec"), ("s3", "obstore"), ("gcs", "fsspec"), ("azure", "fsspec"), ("azure", "obstore")]


class Place:
    """A backend with a prefix, and its bucket by another door."""

    def __init__(self, table: dict[str, Any], engine: str) -> None:
        self.bucket = table.get("bucket") or table["container"]
        self.prefix = f"{unique('team')}/ephys"
        self.bare = bare_filesystem(table)
        self.backend: StorageBackend = Told(
            backend_of(table, S3_PART_SIZE, engine=engine, prefix=self.prefix), LONG if engine == "obstore" else 0
        )

    def names(self) -> list[str]:
        return sorted(self.bare.find(f"{self.bucket}/{self.prefix.partition('/')[0]}"))


@pytest.fixture(params=ENGINES, ids=" ".join)
def place(request: pytest.FixtureRequest) -> Place:
    kind, engine = request.param
    return Place(request.getfixturevalue(f"{kind}_storage"), engine)


@pytest.fixture
def directory() -> str:
    return f"{PROJECT}/{unique('subject')}"


@pytest.mark.parametrize("size", [5, LONG])
def test_object_is_below_the_prefix_and_its_key_does_not_say_so(place: Place, directory: str, size: int) -> None:
    key, backend = f"{directory}/a=1_b~%20.dat", place.backend
    backend.upload(key, GeneratedReader(size), size)
    full = f"{place.bucket}/{place.prefix}/{key}"
    assert place.names() == [full]
    assert place.bare.info(full)["size"] == size
    assert (backend.stat(key).key, backend.stat(key).size, backend.exists(key)) == (key, size, True)
    assert bytes(backend.read(key, 0, size)) == b"".join(bytes(c) for c in backend.iter_range(key, 0, size))
    with backend.open(key) as file:
        assert file.read() == place.bare.cat_file(full)
    assert backend.url(key).endswith(f"://{full}")
    backend.delete(key)
    assert full not in place.names()
    with pytest.raises(ObjectNotFoundError, match=f"^{key}"):
        backend.stat(key)


def test_listing_is_of_what_is_below_the_prefix_page_by_page(place: Place, directory: str) -> None:
    keys = [f"{directory}/{number:02d}.dat" for number in range(12)]  # three pages
    for key in keys:
        place.backend.upload(key, io.BytesIO(b"x"), 1)
    outside = f"{place.bucket}/{place.prefix.partition('/')[0]}/ephys2/{directory}/y.dat"
    place.bare.pipe_file(outside, b"y")
    place.bare.pipe_file(f"{place.bucket}/{directory}/z.dat", b"z")
    assert sorted(found.key for found in place.backend.list(directory)) == keys
    assert [found.key for found in place.backend.list(keys[3])] == [keys[3]]
    assert set(keys) <= {found.key for found in place.backend.list()}
    assert all(found.key.startswith(f"{PROJECT}/") for found in place.backend.list())


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_unfinished_upload_is_found_and_discarded_below_the_prefix(
    s3_storage: dict[str, Any], engine: str, directory: str
) -> None:
    place = Place(s3_storage, engine)
    name, elsewhere = f"{place.prefix}/{directory}/a.dat", f"{directory}/a.dat"
    for key in (name, elsewhere):
        place.bare.call_s3("create_multipart_upload", Bucket=place.bucket, Key=key)
    (found,) = place.backend.unfinished()
    assert found.key == f"{directory}/a.dat"
    place.backend.discard(found)
    assert list(place.backend.unfinished()) == []
    left = place.bare.call_s3("list_multipart_uploads", Bucket=place.bucket, Prefix=directory)
    assert [upload["Key"] for upload in left["Uploads"]] == [elsewhere]


def test_what_lies_above_the_prefix_is_seen(place: Place) -> None:
    place.backend.upload(f"{PROJECT}/~registry/own.json", io.BytesIO(b"{}"), 2)
    assert place.backend.above("~registry") == ""
    outer = place.prefix.partition("/")[0]
    for above in (outer, place.prefix):
        place.bare.pipe_file(f"{place.bucket}/{above}/~registry/x.json", b"{}")
        assert place.backend.above("~registry").endswith(f"://{place.bucket}/{above}/")
