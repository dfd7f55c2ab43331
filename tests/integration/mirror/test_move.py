"""Moves of a project to another store: complete, certified, begun again wherever they were cut short."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import datajoint_file
from datajoint_file import gc, mirror
from datajoint_file.config import load_settings
from datajoint_file.errors import CollectionRefusedError, ConfigurationError, StorageAccessError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.testing.faults import Fault, FaultyBackend, kill
from tests.integration.mirrors import CONTENT, contents, one_warning, tree
from tests.projects import Store, connect, toml, unique
from tests.tables import drop_schema, recording_of

NOTE = "/~registry/mirror.json"


@dataclass(frozen=True)
class Moving:
    """A project, and the two configurations: of now, and of then."""

    old: Store
    new: Store
    old_toml: Path
    new_toml: Path
    database: Any
    schema: str

    def opened(self, toml: Path) -> Any:
        """Return the table, seen by a program that uses *toml*."""
        instance = connect(self.database)
        datajoint_file.configure(toml, connection=instance)
        return recording_of(instance.Schema(self.schema))

    def alike(self) -> bool:
        return contents(self.old) == contents(self.new)

    def notes(self) -> tuple[bool, bool]:
        return tuple(any(key.endswith(NOTE) for key in store.all_keys()) for store in (self.old, self.new))  # type: ignore[return-value]


@pytest.fixture(params=["local"])
def moving(request: pytest.FixtureRequest, database: Any, local_storage: dict[str, Any], tmp_path: Path) -> Any:
    project = unique("project")
    (tmp_path / "new").mkdir()
    there = {"backend": "file", "path": str(tmp_path / "new")}
    if request.param == "s3":
        there = request.getfixturevalue("s3_storage")
    files = []
    for name, storage in (("old", local_storage), ("new", {**there, "mirror": {**local_storage, "write": "both"}})):
        files.append(tmp_path / f"{name}.toml")
        files[-1].write_text(f'[project]\nname = "{project}"\n\n{toml(storage, "storage")}\n')
    old, new = files
    made = Moving(Store(local_storage, project), Store(there, project), old, new, database, unique("schema"))
    table = made.opened(made.old_toml)
    table.insert({"id": number, "raw": (f"{number}.dat", CONTENT + bytes([number]))} for number in range(5))
    table.insert1({"id": 9, "raw": tree(tmp_path)})
    (table & "id = 1").delete()
    yield made
    drop_schema(table.connection, made.schema)


over_s3_too = pytest.mark.parametrize("moving", ["local", "s3"], indirect=True)


@over_s3_too
def test_a_project_moves_with_a_certificate(moving: Moving) -> None:
    table = moving.opened(moving.old_toml)
    found = mirror.move(moving.new_toml, table.connection)
    assert found
    assert found.is_swapped
    assert moving.alike()
    assert moving.notes() == (True, False)
    hashes = sorted(row["raw"].hash for row in table.to_dicts())
    gone = f"sha256:{hashlib.sha256(CONTENT + bytes([1])).hexdigest()}"
    whole = "".join(f"{one}\n" for one in sorted([*hashes, gone]))
    size = 5 * (len(CONTENT) + 1) + sum(range(1000, 1005))
    for side in (found.old, found.new):
        assert side.digest == f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"
        assert (side.values, side.files, side.size) == (6, 11, size)
    document = json.dumps(found.to_dict())
    assert "secret" not in document
    later = moving.opened(moving.new_toml)
    assert (later & "id = 2").fetch1("raw").read() == CONTENT + bytes([2])
    later.insert1({"id": 20, "raw": ("new.dat", b"new")})
    assert moving.alike()  # for those who use the old file yet
    assert (moving.opened(moving.old_toml) & "id = 20").fetch1("raw").read() == b"new"


@pytest.mark.parametrize("key", [-1, 50])
def test_two_rows_that_say_different_things_of_one_object_are_no_certificate(moving: Moving, key: int) -> None:
    table = moving.opened(moving.old_toml)
    right = (table & "id = 2").fetch1("raw").metadata.to_json()
    wrong = json.dumps({**right, "hash": f"sha256:{'0' * 64}"})
    table.connection.query(f"INSERT INTO {table.full_table_name} (id, raw) VALUES (%s, %s)", (key, wrong))
    found = mirror.move(moving.new_toml, table.connection)
    assert (bool(found), found.is_swapped) == (False, False)
    assert [path for path, _ in found.report.problems] == [right["path"]]


def test_who_uses_the_old_file_yet_loses_nothing(moving: Moving) -> None:
    table = moving.opened(moving.old_toml)
    mirror.move(moving.new_toml, table.connection)
    table.insert1({"id": 30, "raw": ("late.dat", b"late")})
    later = moving.opened(moving.new_toml)
    with one_warning():
        assert (later & "id = 30").fetch1("raw").read() == b"late"
    assert mirror.run(later.connection).restored == 1
    assert moving.alike()
    table.insert1({"id": 31, "raw": ("later.dat", b"later")})
    again = mirror.move(moving.new_toml, table.connection)
    assert again.is_swapped
    assert again.report.copied == 1
    assert moving.alike()


def test_what_waits_for_its_row_moves_too(moving: Moving, tmp_path: Path) -> None:
    table = moving.opened(moving.old_toml)
    one = datajoint_file.stage(table, {"id": 40}, "raw", ("staged.dat", b"staged"))
    (tmp_path / "other").mkdir()
    other = datajoint_file.stage(table, {"id": 41}, "raw", tree(tmp_path / "other"))
    (moving.opened(moving.old_toml) & "id = 2").delete()
    found = mirror.move(moving.new_toml, table.connection)
    assert (bool(found), found.new.values, found.new.files) == (True, 8, 18)
    assert moving.alike()
    later = moving.opened(moving.new_toml)
    later.insert([{"id": 40, "raw": one}, {"id": 41, "raw": other}])
    for path in Path(moving.old.table["path"]).rglob("staged.dat"):
        path.unlink()
    assert (later & "id = 40").fetch1("raw").read() == b"staged"
    assert ((later & "id = 41").fetch1("raw") / "c" / "3").read() == bytes([3]) * 1003


def test_what_was_given_up_does_not_hinder(moving: Moving) -> None:
    table = moving.opened(moving.old_toml)
    staged = datajoint_file.stage(table, {"id": 40}, "raw", ("staged.dat", b"staged"))
    moving.old.remove(staged.path)
    table.connection.query(f"UPDATE `{moving.schema}`.`~file_intent` SET state = 'reclaimed', metadata = NULL")
    assert mirror.move(moving.new_toml, table.connection).is_swapped


def test_no_collector_deletes_in_the_old_store(moving: Moving) -> None:
    table = moving.opened(moving.old_toml)
    mirror.move(moving.new_toml, table.connection)
    (refusal,) = gc.plan(table.connection).refusals
    assert refusal.kind == "mark"
    assert refusal.way_on.startswith("Use the datajoint.toml whose [storage] that is.")
    with pytest.raises(CollectionRefusedError, match="it says that this place is the mirror of"):
        gc.execute(gc.plan(table.connection))
    later = moving.opened(moving.new_toml)
    assert not gc.plan(later.connection).refusals


def test_a_check_exchanges_nothing(moving: Moving) -> None:
    table = moving.opened(moving.old_toml)
    found = mirror.move(moving.new_toml, table.connection, check=True)
    assert (bool(found), found.is_swapped, moving.alike()) == (True, False, True)
    assert moving.notes() == (False, True)


def test_what_is_wrong_in_the_store_keeps_it_where_it_is(moving: Moving) -> None:
    table = moving.opened(moving.old_toml)
    key = next(key for key in moving.old.object_keys() if key.endswith("2.dat"))
    moving.old.damage(key, b"?")
    found = mirror.move(moving.new_toml, table.connection)
    assert (bool(found), found.is_swapped) == (False, False)
    assert [path for path, _ in found.report.problems] == [key]
    assert (found.old.values, found.new.values) == (5, 5)
    assert key not in moving.new.object_keys()


def test_each_place_is_counted_by_what_was_read_there(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    table = moving.opened(moving.old_toml)
    key = next(key for key in moving.old.object_keys() if key.endswith("2.dat"))

    def refuse(asked: str) -> None:
        if asked == key:
            raise StorageAccessError(f"{key} may not be written").of(key)

    made = mirror.project_move.Pipeline  # type: ignore[attr-defined]
    bare = made(load_settings(moving.new_toml)).first.backend
    faulty = FaultyBackend(bare, Fault("upload", action=refuse, lasting=True))
    monkeypatch.setattr("datajoint_file.mirror.project_move.Pipeline", lambda settings: _with(made(settings), faulty))
    found = mirror.move(moving.new_toml, table.connection)
    assert (bool(found), found.is_swapped) == (False, False)
    assert (found.old.values, found.new.values) == (6, 5)
    assert (found.old.files, found.new.files) == (11, 10)
    assert found.old.size - found.new.size == len(CONTENT) + 1
    assert found.old.digest != found.new.digest


def test_files_that_do_not_fit_are_refused(moving: Moving, tmp_path: Path) -> None:
    table = moving.opened(moving.old_toml)
    text = moving.new_toml.read_text()
    (tmp_path / "no_mirror.toml").write_text(text.partition("[storage.mirror]")[0])
    (tmp_path / "other.toml").write_text(text.replace(moving.old.project, "other"))
    for name, why in (("no_mirror", "storage.mirror"), ("other", "its project is 'other'"), ("old", "is in already")):
        with pytest.raises(ConfigurationError, match=why):
            mirror.move(tmp_path / f"{name}.toml", table.connection)
    assert moving.new.all_keys() == []


def test_schemas_that_are_not_seen_are_not_left_behind(moving: Moving) -> None:
    other = connect(moving.database)
    datajoint_file.configure(moving.old_toml, connection=other)
    gone = recording_of(other.Schema(unique("schema")))
    gone.insert1({"id": 1, "raw": ("x.dat", b"x")})
    drop_schema(other.connection, gone.database)
    table = moving.opened(moving.old_toml)
    with pytest.raises(ConfigurationError, match=f"marks of {gone.database}"):
        mirror.move(moving.new_toml, table.connection)
    assert mirror.move(moving.new_toml, table.connection, dropped=[gone.database]).is_swapped


def _move_and_die(moving: Moving, side: str, verb: Any, call: int) -> None:
    """Move in another process, which is killed at a verb of a place."""
    table = moving.opened(moving.old_toml)
    pipeline = pipeline_of(table.connection)
    if side == "old":
        inner = pipeline.first.backend
        pipeline.first.stores._backends[pipeline.project] = FaultyBackend(inner, Fault(verb, call=call, action=kill))
    else:
        bare = Pipeline(load_settings(moving.new_toml)).first.backend
        faulty = FaultyBackend(bare, Fault(verb, call=call, action=kill))
        vars(mirror.project_move)["Pipeline"] = lambda settings: _with(Pipeline(settings), faulty)
    mirror.move(moving.new_toml, table.connection, workers=1)


def _with(pipeline: Pipeline, backend: Any) -> Pipeline:
    pipeline.first.stores._backends[pipeline.project] = backend
    return pipeline


STEPS = [
    *(("new", "upload", call) for call in (1, 2, 5, 13, 14)),  # the note, some objects, the marks
    ("new", "delete", 1),  # the note again, when the old store has its own
    ("old", "upload", 1),  # the old store's note
    ("old", "open", 3),
]


@pytest.mark.parametrize(("side", "verb", "call"), STEPS)
def test_a_killed_move_is_begun_again(moving: Moving, side: str, verb: str, call: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=_move_and_die, args=(moving, side, verb, call))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert moving.notes() != (False, False) or call == 1
    table = moving.opened(moving.old_toml)
    assert mirror.move(moving.new_toml, table.connection).is_swapped
    assert moving.notes() == (True, False)
    assert moving.alike()
    assert not gc.plan(moving.opened(moving.new_toml).connection).refusals


def _move(moving: Moving) -> None:
    mirror.move(moving.new_toml, moving.opened(moving.old_toml).connection)


def test_two_moves_at_once_do_no_harm(moving: Moving) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=_move, args=(moving,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    table = moving.opened(moving.old_toml)
    assert mirror.move(moving.new_toml, table.connection).is_swapped
    assert moving.alike()
    assert moving.notes() == (True, False)
