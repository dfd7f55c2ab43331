"""Runs of the mirror: what one place lacks or has wrong comes from the other, verified; and nothing else is touched."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest

import datajoint_file
from datajoint_file import mirror
from datajoint_file.errors import ConfigurationError, StorageUnavailableError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.testing.faults import Fault, FaultyBackend, kill
from datajoint_file.verification.mend import Sides, mend
from tests.integration.mirrors import CONTENT, Make, Places, contents, tree
from tests.projects import connect
from tests.tables import recording_of


def filled(places: Make, tmp_path: Path, **options: Any) -> Places:
    found = places(write="later", **options)
    found.table.insert({"id": number, "raw": (f"{number}.dat", CONTENT + bytes([number]))} for number in range(5))
    found.table.insert1({"id": 9, "raw": tree(tmp_path)})
    return found


def run(found: Places, **options: Any) -> mirror.MirrorReport:
    return mirror.run(found.connection, [found.table.database], **options)


def assert_alike(found: Places) -> None:
    assert contents(found.first) == contents(found.mirror)


def test_a_run_copies_what_is_missing_and_a_second_has_nothing_to_do(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    assert found.mirror.object_keys() == []
    report = run(found)
    assert (bool(report), report.values, report.copied, report.restored) == (True, 6, 12, 0)
    assert_alike(found)
    assert (run(found).copied, run(found, verify=True).copied) == (0, 0)


def test_what_is_kept_for_undo_is_mirrored(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    (found.table & "id = 1").delete()
    (found.table & "id = 9").delete()
    assert run(found).copied == 12
    assert_alike(found)


@pytest.mark.parametrize("fault", ["missing", "damaged", "cut short"])
@pytest.mark.parametrize("side", ["first", "mirror"])
def test_either_place_is_mended_from_the_other(places: Make, tmp_path: Path, side: str, fault: str) -> None:
    found = filled(places, tmp_path)
    run(found)
    harmed = found.first if side == "first" else found.mirror
    keys = harmed.object_keys()
    whole = {key: harmed.content(key) for key in keys}
    hurt = [next(key for key in keys if key.endswith(end)) for end in ("1.dat", "/c/3", "~manifest")]
    for key in hurt:
        if fault == "missing":
            harmed.remove(key)
        else:
            harmed.damage(key, b"?" + whole[key][1:] if fault == "damaged" else whole[key][:-1])
    report = run(found, verify=True)
    assert (report.restored, report.copied) == ((3, 0) if side == "first" else (0, 3))
    assert {key: harmed.content(key) for key in harmed.object_keys()} == whole
    assert_alike(found)


def test_what_both_have_wrong_is_told_and_left(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    run(found)
    one, two, three = (next(key for key in found.first.object_keys() if key.endswith(f"{n}.dat")) for n in (1, 2, 3))
    found.first.damage(one, b"first")
    found.mirror.damage(one, b"mirror")
    found.first.damage(two, b"?")
    found.mirror.remove(three)
    report = run(found, verify=True)
    assert [path for path, _ in report.problems] == [one]
    where = f"{found.table.database}.Recording.raw (id=1)"
    assert report.rows == {one: (where,)}
    assert f"{where}: {one}: the store: " in str(report)
    assert [problem["rows"] for problem in report.to_dict()["problems"]] == [[where]]
    assert "rows" not in report.to_dict()
    assert (bool(report), report.damaged) == (False, 1)
    assert (found.first.content(one), found.mirror.content(one)) == (b"first", b"mirror")
    assert (report.restored, report.copied) == (1, 1)
    assert found.first.content(two)[-1] == 2
    assert found.mirror.content(three)[-1] == 3


def test_a_member_is_told_with_the_rows_of_its_directory(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    found.table.insert1({"id": 5, "raw": (found.table & "id = 9").fetch1("raw")})  # shares it
    run(found)
    member = next(key for key in found.first.object_keys() if key.endswith("/c/3"))
    found.first.damage(member, b"?")
    found.mirror.damage(member, b"?")
    report = run(found, verify=True)
    name = f"{found.table.database}.Recording.raw"
    assert report.rows == {member: (f"{name} (id=5)", f"{name} (id=9)")}
    assert f"{name} (id=5) and others: {member}: " in str(report)


def test_what_is_deleted_while_a_run_looks_is_no_loss(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    run(found)
    one, two = (next(key for key in found.first.object_keys() if key.endswith(f"{n}.dat")) for n in (1, 2))

    def delete(_: str) -> None:
        for key in (one, two):
            found.mirror.remove(key)
            found.first.remove(key)
        found.connection.query(f"DELETE FROM {found.table.full_table_name} WHERE id = 1")

    second = pipeline_of(found.connection).second
    assert second is not None
    faulty = FaultyBackend(second.backend, Fault("stat", action=delete))
    second.stores._backends[second.project] = faulty
    report = run(found, workers=1)
    assert ([path for path, _ in report.problems], report.damaged) == ([two], 1)


def test_a_place_that_does_not_answer_ends_the_run_and_changes_nothing(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    found.table.insert({"id": number, "raw": (f"{number}.dat", b"x")} for number in range(10, 30))
    run(found)
    before = found.both()
    first = pipeline_of(found.connection).first
    faults = [Fault(verb, lasting=True) for verb in ("stat", "open", "read")]
    first.stores._backends[first.project] = FaultyBackend(first.backend, *faults)
    report = run(found)
    assert "cannot be reached" in report.interruption
    assert found.both() == before
    shutil.move(found.first.table["path"], tmp_path / "unmounted")
    first.stores.close()
    with pytest.raises(StorageUnavailableError):
        run(found)


def test_places_that_do_not_answer_damage_nothing(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    run(found)
    directory = (found.table & "id = 9").fetch1("raw").metadata
    pipeline = pipeline_of(found.connection)
    assert pipeline.second is not None
    sides = Sides(pipeline.first, pipeline.second)
    for side in (sides.first, sides.second):
        faults = [Fault(verb, lasting=True) for verb in ("stat", "open", "read")]
        side.stores._backends[side.project] = FaultyBackend(side.backend, *faults)
    done = mend(sides, directory, by_hash=False)
    assert (done.is_unreachable, len(done.problems), done.damaged) == (True, 1, 0)


def test_a_place_that_fails_at_any_look_at_a_directory_is_told(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    run(found)
    directory = (found.table & "id = 9").fetch1("raw").metadata
    pipeline = pipeline_of(found.connection)
    assert pipeline.second is not None
    sides = Sides(pipeline.first, pipeline.second)
    first = sides.first.backend
    for call in range(1, 4):
        sides.first.stores._backends[sides.first.project] = FaultyBackend(first, Fault("stat", call=call, lasting=True))
        done = mend(sides, directory, by_hash=False)
        assert (done.copied, done.restored, done.damaged) == (0, 0, 0)


def test_an_emptied_store_is_not_filled_unasked(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    run(found)
    shutil.rmtree(found.first.table["path"])
    Path(found.first.table["path"]).mkdir()
    report = run(found)
    assert not report
    assert report.restored == 0
    assert found.first.all_keys() == []


def test_a_mirror_that_is_unmounted_meanwhile_is_not_filled(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    run(found)
    found.table.insert({"id": number, "raw": (f"{number}.dat", b"x")} for number in range(10, 16))
    place, away = Path(found.mirror.table["path"]), tmp_path / "unmounted"

    def unmount(key: str) -> None:
        if "~registry" not in key and not away.exists():
            shutil.move(place, away)
            place.mkdir()

    second = pipeline_of(found.connection).second
    assert second is not None
    faulty = FaultyBackend(second.backend, Fault("stat", action=unmount, lasting=True))
    second.stores._backends[second.project] = faulty
    report = run(found)
    assert not report
    assert report.damaged == 0
    assert found.mirror.all_keys() == []


def _mirror_and_die(document: dict[str, Any], database: Any, name: str, side: str, verb: Any, call: int) -> None:
    """Run the mirror in another process, which is killed at a verb of a place."""
    instance = connect(database)
    datajoint_file.configure(document, connection=instance)
    pipeline = pipeline_of(instance.connection)
    chosen = pipeline.first if side == "first" else pipeline.second
    assert chosen is not None
    chosen.stores._backends[chosen.project] = FaultyBackend(chosen.backend, Fault(verb, call=call, action=kill))
    mirror.run(instance.connection, [name], workers=1, verify=True)


STEPS = [
    ("mirror", "upload", 1),
    ("mirror", "upload", 3),
    ("mirror", "delete", 1),
    ("first", "open", 2),
    ("first", "delete", 1),
    ("first", "upload", 1),
]


@pytest.mark.parametrize(("side", "verb", "call"), STEPS)
def test_a_killed_run_is_finished_by_the_next(
    places: Make, tmp_path: Path, database: Any, side: str, verb: str, call: int
) -> None:
    found = filled(places, tmp_path)
    run(found)
    keys = found.first.object_keys()
    whole = {key: found.first.content(key) for key in keys}
    dats = [key for key in keys if key.endswith(".dat")]
    found.first.damage(dats[0], b"?")
    found.mirror.damage(dats[1], b"?")
    for key in dats[2:]:
        found.mirror.remove(key)
    for key in (key for key in keys if "run.zarr" in key):
        found.mirror.remove(key)
    context = multiprocessing.get_context("fork")
    process = context.Process(
        target=_mirror_and_die, args=(found.document, database, found.table.database, side, verb, call)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert run(found, verify=True)
    assert {key: found.first.content(key) for key in found.first.object_keys()} == whole
    assert {key: found.mirror.content(key) for key in found.mirror.object_keys() if "~partial" not in key} == whole


def _mirror(document: dict[str, Any], database: Any, name: str) -> None:
    instance = connect(database)
    datajoint_file.configure(document, connection=instance)
    assert mirror.run(instance.connection, [name], workers=2, verify=True)


def test_two_runs_at_once_do_no_harm(places: Make, tmp_path: Path, database: Any) -> None:
    found = filled(places, tmp_path)
    found.table.insert({"id": number, "raw": (f"{number}.dat", b"x" * number)} for number in range(10, 40))
    context = multiprocessing.get_context("fork")
    arguments = (found.document, database, found.table.database)
    processes = [context.Process(target=_mirror, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert_alike(found)


def test_verify_repairs_from_the_mirror(places: Make, tmp_path: Path) -> None:
    found = filled(places, tmp_path)
    run(found)
    keys = found.first.object_keys()
    hurt = [next(key for key in keys if key.endswith(end)) for end in ("1.dat", "2.dat", "/c/3")]
    whole = [found.first.content(key) for key in keys]
    for key in hurt:
        found.first.damage(key, b"?")
    lost = next(key for key in keys if key.endswith("2.dat"))
    found.mirror.damage(lost, b"?")
    assert len(datajoint_file.verify(found.table).findings) == 3
    report = datajoint_file.verify(found.table, repair=True)
    assert [one.path for one in report.findings] == [lost]
    assert len(report.mended) == 2
    assert [found.first.content(key) for key in keys if key != lost] == [
        content for key, content in zip(keys, whole, strict=True) if key != lost
    ]


def test_repair_gives_nothing_to_a_place_that_is_no_mirror(
    places: Make, s3_storage: dict[str, Any], tmp_path: Path
) -> None:
    found = places(s3_storage, write="later")
    found.table.insert1({"id": 1, "raw": tree(tmp_path)})
    hurt = next(key for key in found.first.object_keys() if key.endswith("/c/3"))
    found.first.damage(hurt, b"?")
    assert len(datajoint_file.verify(found.table, repair=True).findings) == 1
    assert found.mirror.all_keys() == []


def _repair_and_die(document: dict[str, Any], database: Any, name: str, verb: Any, call: int) -> None:
    """Repair in another process, which is killed at a verb of the store."""
    instance = connect(database)
    datajoint_file.configure(document, connection=instance)
    first = pipeline_of(instance.connection).first
    first.stores._backends[first.project] = FaultyBackend(first.backend, Fault(verb, call=call, action=kill))
    datajoint_file.verify(recording_of(instance.Schema(name)), repair=True, workers=1)


@pytest.mark.parametrize(("verb", "call"), [("delete", 1), ("upload", 1), ("upload", 2)])
def test_a_killed_repair_is_finished_by_the_next(
    places: Make, tmp_path: Path, database: Any, verb: str, call: int
) -> None:
    found = filled(places, tmp_path)
    run(found)
    keys = found.first.object_keys()
    whole = {key: found.first.content(key) for key in keys}
    for end in ("1.dat", "2.dat", "/c/3"):
        found.first.damage(next(key for key in keys if key.endswith(end)), b"?")
    arguments = (found.document, database, found.table.database, verb, call)
    process = multiprocessing.get_context("fork").Process(target=_repair_and_die, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert datajoint_file.verify(found.table, repair=True)
    assert {key: found.first.content(key) for key in keys} == whole
    assert_alike(found)


def test_no_mirror_no_repair(table: Any) -> None:
    with pytest.raises(ConfigurationError, match="names no mirror"):
        datajoint_file.verify(table, repair=True)
    with pytest.raises(ConfigurationError, match="names no mirror"):
        mirror.run(table.connection)


def test_a_mirror_in_a_bucket_and_a_store_in_one(places: Make, s3_storage: dict[str, Any], tmp_path: Path) -> None:
    found = filled(places, tmp_path, mirror=s3_storage)
    assert run(found).copied == 12
    assert_alike(found)
    key = next(key for key in found.mirror.object_keys() if key.endswith("/c/3"))
    found.mirror.damage(key, b"?")
    found.first.remove(next(key for key in found.first.object_keys() if key.endswith("1.dat")))
    report = run(found, verify=True)
    assert (report.copied, report.restored) == (1, 1)
    assert_alike(found)
