"""A download is the file that was inserted, or fails where a browser sees it."""

from __future__ import annotations

from typing import Any

import httpx

import datajoint_file
from datajoint_file.browse.address import Address
from datajoint_file.storage.backend import CHUNK_SIZE
from tests.projects import Store, over_local_and_s3, over_mysql

SIZES = (0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 7)


@over_mysql
@over_local_and_s3
def test_files_of_any_size_arrive(site: httpx.Client, table: Any) -> None:
    table.insert({"id": n, "raw": (f"{n}.dat", b"x" * n), "extra": None} for n in SIZES)
    for size in SIZES:
        url = Address(table.database, "Recording", "raw").url("download", (size,))
        assert site.get(url).content == b"x" * size
        looked = site.head(url)
        assert (looked.content, looked.headers["content-length"]) == (b"", str(size))


@over_mysql
@over_local_and_s3
def test_a_damaged_object_never_arrives_whole(site: httpx.Client, table: Any, store: Store) -> None:
    for size in SIZES[1:]:
        table.insert1({"id": size, "raw": ("a.dat", b"x" * size), "extra": None})
        store.damage((table & {"id": size}).fetch1("raw").path, b"x" * (size - 1) + b"y")
        arrived = b""
        try:
            with site.stream("GET", Address(table.database, "Recording", "raw").url("download", (size,))) as answer:
                for piece in answer.iter_bytes():
                    arrived += piece
        except httpx.RemoteProtocolError:
            assert size > len(arrived)
            assert size > CHUNK_SIZE
        else:
            assert answer.status_code == 502, "a transfer that ends well is taken for whole"
            assert b"expected" in arrived


@over_mysql
def test_an_object_of_another_length_is_said(site: httpx.Client, table: Any, store: Store) -> None:
    for number, content in enumerate((b"x" * (2 * CHUNK_SIZE - 1), b"x" * (2 * CHUNK_SIZE + 1), b"")):
        table.insert1({"id": number, "raw": ("a.dat", b"x" * 2 * CHUNK_SIZE), "extra": None})
        store.damage((table & {"id": number}).fetch1("raw").path, content)
        answer = site.get(Address(table.database, "Recording", "raw").url("download", (number,)))
        assert answer.status_code == 502
        assert "expected 2097152 bytes" in answer.text


@over_mysql
def test_it_is_saved_under_its_name(site: httpx.Client, table: Any) -> None:
    names = {
        "run 1.dat": "attachment; filename=\"run 1.dat\"; filename*=UTF-8''run%201.dat",
        "Größe.dat": "attachment; filename=\"Gr__e.dat\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.dat",
        'a";b%0d.dat': "attachment; filename=\"a__b_0d.dat\"; filename*=UTF-8''a_%3Bb%250d.dat",
    }
    for number, (name, said) in enumerate(names.items()):
        table.insert1({"id": number, "raw": datajoint_file.File(b"1", name=name), "extra": None})
        answer = site.head(Address(table.database, "Recording", "raw").url("download", (number,)))
        assert answer.headers["content-disposition"] == said
