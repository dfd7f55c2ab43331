"""What the doctor says of a store that is not the one that the rows of this database are about."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.config import Settings, parse_settings
from datajoint_file.doctor import Check
from datajoint_file.doctor.schemas import check_schemas
from datajoint_file.doctor.store import check_store
from datajoint_file.errors import StorageMissingError, StorageUnavailableError
from datajoint_file.journal.schema_registry import TABLE
from datajoint_file.sql import dialect_of
from tests.projects import Store, connect, over_local_and_s3


def settings_of(store: Store, **changes: Any) -> Settings:
    document = store.configuration()
    document["storage"] = {**document["storage"], **changes}
    return parse_settings(document, "test")


def look(store: Store, table: Any, **changes: Any) -> Check:
    return check_schemas(settings_of(store, **changes), table.connection)


@pytest.fixture
def recording(table: Any) -> Any:
    table.insert({"id": n, "raw": (f"{n}.dat", b"%d" % n)} for n in range(5))
    return table()


@over_local_and_s3
def test_the_right_store_is_fine(store: Store, recording: Any) -> None:
    assert look(store, recording).status == "ok"


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_wrong_prefix_takes_no_file_and_fails_also_where_something_is(
    database: Any, store: Store, recording: Any
) -> None:
    astray = Store({**store.table, "prefix": "astray"}, store.project)
    instance = connect(database)
    datajoint_file.configure(astray.configuration(), connection=instance)
    stray = dj.FreeTable(instance.connection, recording.full_table_name)
    with pytest.raises(StorageUnavailableError, match="is this the right bucket"):
        stray.insert1({"id": 99, "raw": ("99.dat", b"99")})
    astray.damage(f"{store.project}/astray/99.dat", b"99")
    check = look(astray, recording)
    assert check.status == "failed"
    assert f"astray/{store.project} has no mark of any schema, and the database knows" in check.detail
    assert look(store, recording).status == "ok"
    instance.connection.close()


def test_a_directory_that_is_not_there_is_none_that_was_emptied(
    database: Any, store: Store, recording: Any, tmp_path: Path
) -> None:
    away = Store({**store.table, "path": str(tmp_path / "away")}, store.project)
    instance = connect(database)
    datajoint_file.configure(away.configuration(), connection=instance)
    theirs = dj.FreeTable(instance.connection, recording.full_table_name)
    with pytest.raises(
        StorageMissingError, match=r"does not exist: is its disk mounted\? Nothing was stored"
    ) as caught:
        theirs.insert1({"id": 99, "raw": ("99.dat", b"99")})
    check = look(away, recording)
    assert (check.status, "does not exist" in check.detail) == ("failed", True)
    assert "take-over" not in f"{caught.value}{check.detail}{check.fix}"
    instance.connection.close()


def test_a_directory_one_level_too_high_fails(store: Store, recording: Any) -> None:
    check = look(store, recording, path=str(Path(store.table["path"]).parent))
    assert check.status == "failed"
    assert recording.database in check.detail
    assert "has no mark of any schema, and the database knows" in check.detail
    assert "is this the right bucket, prefix or directory in datajoint.toml?" in check.detail
    assert "delete" not in check.fix


def test_marks_without_their_objects_fail(store: Store, recording: Any) -> None:
    for key in store.object_keys():
        store.remove(key)
    check = look(store, recording)
    assert check.status == "failed"
    assert "of 3 objects looked for not one" in check.detail


def test_a_copy_without_marks_fails(store: Store, recording: Any) -> None:
    shutil.rmtree(Path(store.table["path"], "~registry"))
    check = look(store, recording)
    assert check.status == "failed"
    assert "has no mark of any schema, and the database knows that there was one of" in check.detail
    assert "~registry too" in check.fix


def test_a_schema_that_is_dropped_meanwhile_says_nothing(
    store: Store, recording: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = type(dialect_of(recording.connection))
    original = dialect.tables_named

    def tables_named(self: Any, *args: Any) -> list[tuple[str, str]]:
        return [*original(self, *args), ("dropped_meanwhile", TABLE)]

    monkeypatch.setattr(dialect, "tables_named", tables_named)
    assert look(store, recording).status == "ok"


def test_some_objects_missing_is_a_warning_that_names_one(store: Store, recording: Any) -> None:
    path = (recording & "id = 0").fetch1("raw").path
    store.remove(path)
    check = look(store, recording)
    assert check.status == "warning"
    assert path in check.detail
    assert f"verify --level exists {recording.database}" in check.fix


def test_an_emptied_store_fails_in_the_words_of_the_insert_also_without_files(store: Store, table: Any) -> None:
    table.insert1({"id": 1, "raw": ("1.dat", b"1")})
    table.delete()
    Path(store.table["path"]).rename(Path(store.table["path"]).with_name("unmounted"))
    assert look(store, table()).status == "failed"
    Path(store.table["path"]).mkdir()
    check = look(store, table())
    with pytest.raises(StorageUnavailableError) as refused:
        table.insert1({"id": 2, "raw": ("1.dat", b"1")})
    assert check.detail in str(refused.value)
    assert (check.status, "mkdir" in check.fix) == ("failed", False)


def test_a_place_of_another_project_fails_in_the_words_of_the_insert(store: Store, table: Any) -> None:
    table.insert1({"id": 1, "raw": ("1.dat", b"1")})
    path = Path(store.table["path"])
    (path / "inner").mkdir()
    before = store.all_keys()
    for settings, found in (
        (parse_settings(Store(store.table, "other").configuration(), "test"), "belongs to the project"),
        (settings_of(store, path=str(path / "inner")), "lies inside another one, whose marks are in"),
        (settings_of(store, path=str(path.parent)), "another project has its objects inside this one's, in"),
    ):
        *_, last = check_store(settings)
        assert (last.name, last.status, found in last.detail) == ("place", "failed", True)
    assert store.all_keys() == before
