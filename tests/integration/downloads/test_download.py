"""`download` and `prefetch`: many files of a query, here, verified; layouts, collisions, damage, bad rows."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import (
    DataJointFileError,
    DestinationExistsError,
    HashMismatchError,
    MetadataError,
    ObjectNotFoundError,
    UnsupportedValueError,
)
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.testing.faults import Fault, FaultyBackend
from tests.projects import Store, over_all_stores, over_local_and_s3, over_mysql
from tests.tables import recording_of

CONTENTS = {number: bytes([number]) * (1000 + number) for number in range(1, 9)}


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(
        schema,
        """
        subject : varchar(20)
        session : int32
        ---
        raw = null : file
        video = null : file
        """,
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory apart from that of a local store."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def filled(table: Any) -> Any:
    table.insert(
        {"subject": "a/b", "session": number, "raw": (f"{number}.dat", content)} for number, content in CONTENTS.items()
    )
    return table


def files_below(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@over_all_stores
def test_all_files_of_a_query_come_under_their_names_in_the_order_of_rows(filled: Any, here: Path) -> None:
    paths = datajoint_file.download(filled, here / "new")
    assert [path.name for path in paths] == [f"{number}.dat" for number in CONTENTS]
    assert files_below(here / "new") == {f"{number}.dat": content for number, content in CONTENTS.items()}


def test_tilde_is_the_home(filled: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.chdir(here)
    (path,) = datajoint_file.download(filled & "session = 1", "~/new")
    assert path == here / "new" / "1.dat"
    with datajoint_file.prefetch(filled & "session = 1", directory="~") as rows:
        assert here in next(rows)["raw"].parents
    assert not (here / "~").exists()


def test_table_is_called_as_its_class(schema: dj.Schema, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @schema
    class SpikeSorting2(dj.Manual):
        definition = "k : int32"

        class File(dj.Part):
            definition = """
            -> master
            ---
            raw : file
            """

    SpikeSorting2.insert1({"k": 1})
    SpikeSorting2.File.insert1({"k": 1, "raw": ("x.dat", b"x")})
    name = f"{schema.database}.SpikeSorting2.File"
    datajoint_file.download(SpikeSorting2.File & "k = 1", here, progress=True)
    assert f"downloading {name}:" in capsys.readouterr().err
    message = rf"^{schema.database}\.SpikeSorting2 has no `file` attribute, only k$"
    with pytest.raises(UnsupportedValueError, match=message):
        datajoint_file.download(SpikeSorting2, here)
    with pytest.raises(UnsupportedValueError, match=r"^the query has no `file` attribute, only k$"):
        datajoint_file.download((SpikeSorting2.File * SpikeSorting2).proj(), here)


@over_local_and_s3
def test_layout_key_has_a_directory_for_each_value_and_attribute(table: Any, here: Path) -> None:
    table.insert1({"subject": "a/b", "session": 1, "raw": ("x.dat", b"raw"), "video": ("x.dat", b"video")})
    datajoint_file.download(table, here, layout="key")
    assert files_below(here) == {
        "subject=a%2Fb/session=1/raw/x.dat": b"raw",
        "subject=a%2Fb/session=1/video/x.dat": b"video",
    }


@over_local_and_s3
def test_layout_path_is_that_of_the_store(filled: Any, store: Store, here: Path) -> None:
    datajoint_file.download(filled & "session = 3", here, layout="path")
    (key,) = [key for key in store.object_keys() if key.endswith("/3.dat")]
    assert files_below(here) == {key: CONTENTS[3]}


@over_local_and_s3
@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20 + 1, 8 * 2**20, 8 * 2**20 + 1, 20 * 2**20 + 5])
def test_every_size_arrives_exactly(table: Any, here: Path, size: int) -> None:
    content = os.urandom(size)
    table.insert1({"subject": "a", "session": 1, "raw": ("x.dat", content)})
    (path,) = datajoint_file.download(table, here)
    assert path.read_bytes() == content
    assert (table & "session = 1").fetch1("raw").read() == content


def test_a_projected_and_joined_query_will_do(filled: Any, here: Path) -> None:
    query = (filled & "session < 3").proj(renamed="raw")
    assert [path.name for path in datajoint_file.download(query, here)] == ["1.dat", "2.dat"]


def test_equal_files_that_are_there_are_kept_and_others_refused(filled: Any, here: Path) -> None:
    (first, *_) = datajoint_file.download(filled, here)
    before = first.stat()
    datajoint_file.download(filled, here)
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    first.write_bytes(b"mine")
    with pytest.raises(DestinationExistsError):
        datajoint_file.download(filled, here)
    assert first.read_bytes() == b"mine"
    datajoint_file.download(filled, here, overwrite=True)
    assert first.read_bytes() == CONTENTS[1]


def test_two_different_files_of_one_name_are_refused_with_the_way_on(table: Any, here: Path) -> None:
    table.insert({"subject": "a", "session": n, "raw": ("X.dat" if n == 1 else "x.dat", bytes([n]))} for n in (1, 2))
    with pytest.raises(DestinationExistsError, match='layout="key"'):
        datajoint_file.download(table, here)
    assert len(datajoint_file.download(table, here / "keys", layout="key")) == 2


@over_local_and_s3
def test_damaged_bytes_leave_no_file_under_the_name(filled: Any, store: Store, here: Path) -> None:
    (key,) = [key for key in store.object_keys() if key.endswith("/5.dat")]
    store.damage(key, b"X" * len(CONTENTS[5]))
    with pytest.raises(HashMismatchError, match=r"5\.dat"):
        datajoint_file.download(filled, here, workers=1)
    found = files_below(here)
    assert "5.dat" not in found
    assert all(content == CONTENTS[int(name.split(".")[0])] for name, content in found.items())


@over_local_and_s3
def test_a_large_object_that_is_damaged_cut_or_grown_is_refused(table: Any, store: Store, here: Path) -> None:
    content = b"." + os.urandom(17 * 2**20)
    table.insert1({"subject": "a", "session": 1, "raw": ("x.dat", content)})
    (key,) = store.object_keys()
    for wrong in (content[:-1], content + b"x", b"?" + content[1:]):
        store.damage(key, wrong)
        with pytest.raises(DataJointFileError):
            datajoint_file.download(table, here)
        assert files_below(here) == {}


def test_a_bad_row_is_named(filled: Any, here: Path) -> None:
    connection = filled().connection
    quote = connection.adapter.quote_identifier
    row = json.dumps({"path": "../../etc/passwd", "size": 1})
    connection.query(
        f"UPDATE {filled().full_table_name} SET {quote('raw')} = %s WHERE {quote('session')} = %s", (row, 4)
    )
    with pytest.raises(DataJointFileError, match=r"session=4"):
        datajoint_file.download(filled, here)


def test_names_of_rows_cannot_leave_the_destination(filled: Any, here: Path) -> None:
    connection = filled().connection
    quote = connection.adapter.quote_identifier
    row = (filled & "session = 4").fetch1("raw").to_dict() | {"original_name": "../evil.dat"}
    connection.query(
        f"UPDATE {filled().full_table_name} SET {quote('raw')} = %s WHERE {quote('session')} = %s",
        (json.dumps(row), 4),
    )
    with pytest.raises(MetadataError):
        datajoint_file.download(filled & "session = 4", here / "inner")
    assert not (here / "evil.dat").exists()


def test_an_executor_of_threads_brings_them_too(filled: Any, here: Path) -> None:
    with ThreadPoolExecutor(3) as executor:
        datajoint_file.download(filled, here, executor=executor)
    assert files_below(here) == {f"{number}.dat": content for number, content in CONTENTS.items()}


def test_wrong_arguments_are_refused(filled: Any, here: Path) -> None:
    with pytest.raises(ValueError, match="layout"):
        datajoint_file.download(filled, here, layout="flat")
    with pytest.raises(TypeError):
        datajoint_file.download("not a table", here)
    with pytest.raises(UnsupportedValueError, match="no `file` attribute"):
        datajoint_file.download(filled.proj(), here)


@pytest.mark.parametrize("workers", [0, -1, "4", True, 2.0])
def test_number_of_workers_is_one_or_more_for_each_verb(filled: Any, here: Path, workers: Any) -> None:
    verbs: list[Callable[[], object]] = [
        lambda: datajoint_file.download(filled, here, workers=workers),
        lambda: datajoint_file.prefetch(filled, workers=workers, directory=here),
        lambda: datajoint_file.verify(filled, workers=workers),
        lambda: datajoint_file.stage(filled, [], "raw", [], workers=workers),
    ]
    for verb in verbs:
        with pytest.raises(ValueError, match=f"workers = {workers!r}: give"):
            verb()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("ahead", [-1, "8", True, None])
def test_number_of_rows_to_bring_ahead_is_none_or_more(filled: Any, here: Path, ahead: Any) -> None:
    with pytest.raises(ValueError, match=f"ahead = {ahead!r}: give"):
        datajoint_file.prefetch(filled, ahead=ahead, directory=here)
    assert list(here.iterdir()) == []
    with datajoint_file.prefetch(filled, ahead=0, directory=here) as rows:
        assert len(list(rows)) == len(CONTENTS)


@over_local_and_s3
def test_prefetched_rows_have_verified_local_files_and_leave_none(filled: Any, here: Path) -> None:
    seen = {}
    with datajoint_file.prefetch(filled, ahead=2, directory=here) as rows:
        for row in rows:
            assert row["video"] is None
            seen[row["session"]] = row["raw"].read_bytes()
            assert len(list(here.rglob("*.dat"))) <= 4
    assert seen == CONTENTS
    assert list(here.iterdir()) == []


def test_prefetch_keeps_rows_apart_whose_keys_differ_by_case(table: Any, here: Path) -> None:
    is_postgresql = table().connection.adapter.backend == "postgresql"
    keys = ["a", "A"] if is_postgresql else ["a", "b"]  # to MySQL they would be one key
    table.insert({"subject": key, "session": 1, "raw": ("x.dat", key.encode())} for key in keys)
    with datajoint_file.prefetch(table, directory=here) as rows:
        assert {row["subject"]: row["raw"].read_bytes() for row in rows} == {key: key.encode() for key in keys}


def test_a_row_nested_deeper_than_a_parser_goes_is_named(filled: Any, here: Path) -> None:
    connection = filled().connection
    quote = connection.adapter.quote_identifier
    deep = 20 if connection.adapter.backend == "mysql" else 5000  # MariaDB refuses what is deeper than 32
    connection.query(
        f"UPDATE {filled().full_table_name} SET {quote('raw')} = %s WHERE {quote('session')} = %s",
        ("[" * deep + "]" * deep, 4),
    )
    with pytest.raises(MetadataError, match=r"session=4"):
        datajoint_file.download(filled, here)


def test_prefetch_tells_of_a_missing_object_when_its_row_is_reached(filled: Any, store: Store, here: Path) -> None:
    (key,) = [key for key in store.object_keys() if key.endswith("/2.dat")]
    store.remove(key)
    with datajoint_file.prefetch(filled, directory=here) as rows:
        assert next(rows)["session"] == 1
        with pytest.raises(ObjectNotFoundError):
            next(rows)
        assert next(rows)["raw"].read_bytes() == CONTENTS[3]


@over_mysql
def test_row_of_which_a_file_has_failed_leaves_nothing_behind(schema: dj.Schema, store: Store, here: Path) -> None:
    table = recording_of(schema, "id : int32\n---\na : file\nb : file\nc : file")
    table.insert({"id": id_, **{name: (f"{id_}{name}.dat", b"spikes") for name in "abc"}} for id_ in range(2))
    (lost,) = [key for key in store.object_keys() if key.endswith("/0a.dat")]
    store.remove(lost)
    pipeline, may_go_on = pipeline_of(table), threading.Event()

    def hold(key: str) -> None:
        assert not key.endswith("/0b.dat") or may_go_on.wait(30)

    pipeline.stores._backends[pipeline.project] = FaultyBackend(
        pipeline.backend, Fault("open", lasting=True, action=hold)
    )
    with datajoint_file.prefetch(table, directory=here, workers=1) as rows:
        with pytest.raises(ObjectNotFoundError):
            next(rows)
        threading.Timer(0.2, may_go_on.set).start()
        assert next(rows)["id"] == 1
        assert sorted(path.name for path in here.rglob("*.dat")) == ["1a.dat", "1b.dat", "1c.dat"]


@over_mysql
def test_prefetched_files_are_verified_whatever_the_configuration_says(filled: Any, store: Store, here: Path) -> None:
    pipeline = pipeline_of(filled)
    lax = pipeline.settings.object_storage.model_copy(update={"verify": "never"})
    pipeline.settings = pipeline.settings.model_copy(update={"object_storage": lax})
    (key,) = [key for key in store.object_keys() if key.endswith("/1.dat")]
    store.damage(key, b"#" * len(CONTENTS[1]))
    with datajoint_file.prefetch(filled, directory=here) as rows, pytest.raises(HashMismatchError):
        next(rows)


def test_prefetch_that_is_left_early_leaves_nothing(filled: Any, here: Path) -> None:
    with datajoint_file.prefetch(filled, directory=here) as rows:
        next(rows)
    assert list(here.iterdir()) == []
