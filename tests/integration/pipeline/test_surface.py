"""Titles in rows; ranges, text and links over real stores; how much a download of a query checks."""

from __future__ import annotations

import json
import logging
import os
import pickle
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Directory, File
from datajoint_file.errors import HashMismatchError, ObjectNotFoundError, SigningError, SizeMismatchError
from datajoint_file.pipeline.checked_reads import VERIFIED_BYTES
from tests.integration.executors import executor_of, write_toml
from tests.projects import Store, over_local_and_s3, over_mysql, unique
from tests.tables import drop_schema, recording_of

IRIS = "Anderson's Iris flower dataset"


def row_of(table: Any, id_: int, name: str = "raw") -> dict[str, Any]:
    """Return the JSON of a row as the database has it, by plain SQL."""
    quote = table.connection.adapter.quote_identifier
    sql = f"SELECT {quote(name)} FROM {table.full_table_name} WHERE id = %s"
    ((found,),) = table.connection.query(sql, args=(id_,))
    row: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return row


def test_title_goes_with_the_file(table: Any, store: Store, tmp_path: Path) -> None:
    """Through copies, updates, histories and directories, on every database; a new title moves no bytes."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.txt").write_bytes(b"a")
    table.insert1({"id": 1, "raw": File(b"5.1,3.5", name="iris.csv", title=IRIS)})
    table.insert1({"id": 2, "raw": Directory(tmp_path / "run", title="A run")})
    table.insert1({"id": 3, "raw": ("plain.csv", b"1"), "extra": File(tmp_path / "run" / "a.txt", title="Ä")})
    assert row_of(table, 1)["title"] == IRIS
    assert (row_of(table, 2)["title"], row_of(table, 2)["format"]) == ("A run", 2)
    assert ("title" in row_of(table, 3), row_of(table, 3, "extra")["title"]) == (False, "Ä")
    first, run = (table & "id = 1").fetch1("raw"), (table & "id = 2").fetch1("raw")
    before = store.object_keys()
    table.insert([{"id": 4, "raw": first}, {"id": 5, "raw": File(first, title="Irises")}, {"id": 6, "raw": run}])
    table.insert1({"id": 7, "raw": File(run, title="Another run")})
    table.update1({"id": 1, "raw": File(first, title="Only another title")})
    assert store.object_keys() == before
    titles = {id_: (table & {"id": id_}).fetch1("raw").title for id_ in (1, 3, 4, 5, 6, 7)}
    assert titles == {1: "Only another title", 3: None, 4: IRIS, 5: "Irises", 6: "A run", 7: "Another run"}
    assert not datajoint_file.history(table & "id = 1")  # the file is the same
    table.update1({"id": 1, "raw": ("other.csv", b"2")})
    assert datajoint_file.history(table & "id = 1")[0].file.title == "Only another title"
    assert datajoint_file.revert(table & "id = 1", "raw").title == row_of(table, 1)["title"] == "Only another title"
    assert (table & "id = 5").fetch1("raw").read() == b"5.1,3.5"
    assert (table & "id = 7").fetch1("raw").read("a.txt") == b"a"
    (table & "id = 4").delete(prompt=False)
    datajoint_file.undelete(table, event=datajoint_file.history(table, key={"id": 4})[0].event)
    assert (table & "id = 4").fetch1("raw").title == IRIS
    with datajoint_file.create(table, {"id": 8}, "raw", "new", title="A new one") as new, new.open("b.txt") as file:
        file.write(b"b")
    staged = datajoint_file.stage(table, {"id": 9}, "raw", File(b"9", name="9.txt", title="Staged"))
    table.insert([{"id": 8, "raw": new.value}, {"id": 9, "raw": staged}])
    assert [row_of(table, id_)["title"] for id_ in (8, 9)] == ["A new one", "Staged"]
    assert datajoint_file.verify(table)


@over_mysql
def test_title_of_a_retry_is_the_one_that_was_given_last(table: Any, store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.txt").write_bytes(b"a")

    def insert(title: str | None) -> None:
        table.insert(
            [
                {"id": 1, "raw": File(b"5.1", name="iris.csv", title=title)},
                {"id": 2, "raw": Directory(tmp_path / "run", title=title)},
            ]
        )

    with pytest.raises(ZeroDivisionError), table.connection.transaction:
        insert("First")
        1 / 0  # noqa: B018
    before = store.object_keys()
    insert("Second")
    assert store.object_keys() == before
    assert [row_of(table, id_)["title"] for id_ in (1, 2)] == ["Second", "Second"]


@over_mysql
def test_workers_of_other_processes_keep_titles(instance: dj.Instance, store: Store, tmp_path: Path) -> None:
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    table = recording_of(instance.Schema(unique("schema")))
    values, keys = [File(b"1", name="1.txt", title=IRIS), File(b"2", name="2.txt")], [{"id": 1}, {"id": 2}]
    with executor_of("spawned") as executor:
        staged = datajoint_file.stage(table, keys, "raw", values, executor=executor)
        table.insert([{**key, "raw": value} for key, value in zip(keys, staged, strict=True)])
        paths = datajoint_file.download(table, tmp_path / "copies", executor=executor, verify="size")
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]
    assert [ref.title for ref in table.to_arrays("raw", order_by="id")] == [IRIS, None]
    drop_schema(instance.connection, table.database)


@over_local_and_s3
@over_mysql
def test_ranges_texts_and_policies_over_a_store(table: Any, store: Store, tmp_path: Path) -> None:
    text = "µm,β\n" * 300_000
    large = os.urandom(VERIFIED_BYTES + 12_345)
    table.insert1({"id": 1, "raw": ("table.csv", text.encode()), "extra": ("large.dat", large)})
    ref, big = (table & "id = 1").fetch1("raw", "extra")
    for start, stop in ((None, 10), (-10, None), (VERIFIED_BYTES - 3, VERIFIED_BYTES + 3), (5, 5), (7, -7)):
        assert big.read(start=start, stop=stop) == large[start:stop]
        assert ref.read(start=start, stop=stop) == text.encode()[start:stop]
    with ref.open("r", newline="") as file:
        assert file.readline() == "µm,β\n"
        copied = pickle.loads(pickle.dumps(file))
        assert copied.readline() == "µm,β\n"
        copied.close()
        assert file.read() == text[10 // 2 :]
    assert ref.upath.read_text(encoding="utf-8") == text
    assert ref.fs.cat_file(ref.name, start=-2) == text.encode()[-2:]
    assert big.read(verify="first") == big.read(verify="first") == large
    store.damage(big.path, bytes(len(large)))
    store.damage(ref.path, b"#" * ref.size)
    query = table.proj("extra")
    for read in (lambda how: big.read(verify=how), lambda how: _copied(query, tmp_path, how)):
        for policy in ("always", "first"):
            with pytest.raises(HashMismatchError):
                read(policy)
        assert read("size") == read("never") == bytes(len(large))
    store.damage(big.path, bytes(100))
    assert big.read(start=10, stop=20, verify="never") == bytes(10)
    for how in ({"verify": "never"}, {"start": 90, "stop": 110, "verify": "never"}, {"start": 10, "stop": 20}):
        with pytest.raises(SizeMismatchError):
            big.read(**how)
    with pytest.raises(ValueError, match="verify = 'sometimes'"):
        datajoint_file.download(table, tmp_path, verify="sometimes")


def _copied(query: Any, directory: Path, policy: str) -> bytes:
    (path,) = datajoint_file.download(query, directory / "copies", overwrite=True, verify=policy)
    content = path.read_bytes()
    path.unlink()
    return content


@over_mysql
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_link_to_a_fetched_file_works_for_anybody_and_shows_no_secret(
    table: Any, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run" / "raw").mkdir(parents=True)
    (tmp_path / "run" / "raw" / "Köln 50%.csv").write_bytes(b"1, 2")
    table.insert1({"id": 1, "raw": tmp_path / "run", "extra": ("a b.txt", b"spikes")})
    run, file = (table & "id = 1").fetch1("raw", "extra")
    member = run / "raw/Köln 50%.csv"
    with caplog.at_level(logging.DEBUG):
        urls = [file.sign("1 min"), file.sign(60, inline=True), member.sign()]
    found = []
    for url in urls:
        with build_opener(ProxyHandler({})).open(url, timeout=30) as answer:
            found.append((answer.read(), answer.headers["Content-Disposition"]))
    assert found[0] == (b"spikes", "attachment; filename=\"a b.txt\"; filename*=UTF-8''a%20b.txt")
    assert found[1][1].startswith("inline; ")
    assert (found[2][0], found[2][1].rpartition("''")[2]) == (b"1, 2", "K%C3%B6ln%2050%25.csv")
    secret = store.table["credentials"]["secret"]
    assert not any(text in caplog.text + repr(file) for text in (secret, *(url[-64:] for url in urls)))
    store.damage(file.path, b"another")
    with pytest.raises(SizeMismatchError):
        file.sign()
    store.remove(file.path)
    with pytest.raises(ObjectNotFoundError):
        file.sign()
    with pytest.raises(HTTPError, match="403"):
        build_opener(ProxyHandler({})).open(urls[0][:-1] + ("0" if urls[0][-1] != "0" else "1"), timeout=30)


@over_mysql
def test_files_of_a_disk_have_no_links(table: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.txt", b"a")})
    with pytest.raises(SigningError, match="a disk makes no links"):
        table.fetch1("raw").sign(60)
