"""Watching and freeing directories: looks one by one, with what can happen to files and rows between two of them."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import (
    AlreadyWatchedError,
    DestinationError,
    RuleError,
    SourceError,
    SourceNotFoundError,
    StorageUnavailableError,
)
from datajoint_file.intake.free import free
from datajoint_file.intake.local_values import LocalValue, _aside
from datajoint_file.intake.receipts import ImportReceipt, read_receipt
from datajoint_file.intake.watch import Look, Watch
from datajoint_file.intake.watch_loop import _may_pass, keep_watching
from datajoint_file.transfer.pinned_directory import PinnedDirectory
from tests.flushes import Flushed, flushes_noted
from tests.projects import Store, connect, over_local_and_s3, over_mysql
from tests.tables import recording_of

RULE = "session{session_id}*.dat"


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(schema, "session_id : int32\n---\nraw : file")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "rig 3"
    made.mkdir()
    return made


@pytest.fixture
def watched(table: Any, root: Path) -> Watch:
    return Watch(root, RULE, table, still=0.05)


def settle(watched: Watch) -> Look:
    """Look until nothing has to wait for the time alone; return the last look, and what was done in all."""
    first = watched.look()
    time.sleep(0.06)
    last = watched.look()
    return replace(last, done=(*first.done, *last.done))


def receipt_of(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.with_name(f"{path.name}.receipt.json").read_bytes())
    return document


def said(look: Look) -> dict[str, tuple[str, str]]:
    return {one.path: (one.state, one.text) for one in look.problems}


@over_local_and_s3
def test_a_file_is_inserted_when_it_is_still_and_closed(watched: Watch, table: Any, root: Path, store: Store) -> None:
    path = root / "session1 ü.dat"
    with path.open("wb") as file:
        for piece in range(3):
            file.write(b"spikes")
            file.flush()
            assert watched.look().waiting == (path.name,), piece
            time.sleep(0.06)
        assert watched.look().waiting == (path.name,)  # still, but open
    assert len(table()) == 0
    (news,) = watched.look().done
    assert (news.state, news.path) == ("inserted", path.name)
    ref = table.fetch1("raw")
    assert (ref.size, ref.original_name, store.content(ref.path)) == (18, path.name, b"spikes" * 3)
    receipt = receipt_of(path)
    assert {**receipt, "verified": ""} == {
        "receipt of": "datajoint-file watch",
        "format": 1,
        "table": f"{table.database}.Recording",
        "attribute": "raw",
        "key": {"session_id": "1"},
        "path": ref.path,
        "size": 18,
        "hash": ref.hash,
        "modified": path.stat().st_mtime_ns,
        "verified": "",
    }
    assert receipt["verified"].startswith("20")
    last = watched.look()
    assert (last.done, last.problems, last.waiting, last.settled) == ((), (), (), 1)
    (root / ".datajoint-file-watch-lab.Recording.raw.lock").touch()
    assert len(datajoint_file.scan(root, RULE, table=table).require_all()) == 1


def test_the_database_says_what_is_done(table: Any, root: Path) -> None:
    """A watch that was killed between row and receipt; whose receipt is lost, or another's."""
    for number in range(3):
        (root / f"session{number}.dat").write_bytes(b"%d" % number)
    table.insert({"session_id": n, "raw": root / f"session{n}.dat"} for n in range(2))
    (root / "session1.dat.receipt.json").write_text("{")
    look = settle(Watch(root, RULE, table, still=0.05))
    assert sorted((one.path, one.state) for one in look.done) == [
        ("session0.dat", "there already"),
        ("session1.dat", "there already"),
        ("session2.dat", "inserted"),
    ]
    assert len(table()) == 3
    assert receipt_of(root / "session1.dat")["path"] == (table & "session_id = 1").fetch1("raw").path
    assert Watch(root, RULE, table, still=0.05).look().settled == 3


@over_mysql
def test_a_row_that_is_there_is_never_changed(watched: Watch, table: Any, root: Path, store: Store) -> None:
    path = root / "session1.dat"
    path.write_bytes(b"first")
    settle(watched)
    kept = table.fetch1("raw")
    before = store.object_keys()
    for content in (b"other", b"longer than that"):
        path.write_bytes(content)
        ((state, text),) = said(settle(watched)).values()
        assert state == "differs"
        assert "Recording.raw (session_id=1) has another file, of 5 bytes" in text
        assert said(watched.look()) == {"session1.dat": (state, text)}
    assert (table.fetch1("raw"), store.object_keys()) == (kept, before)
    (problem,) = free(root, table.connection, execute=True)
    assert problem.state == "kept"
    assert "it was changed since it was inserted: `datajoint-file watch` compares it again" in problem.reason
    path.write_bytes(b"first")
    (news,) = settle(watched).done
    assert news.state == "there already"


@over_mysql
def test_what_has_no_row_is_told_and_left_alone(
    watched: Watch, root: Path, tmp_path: Path, table: Any, schema: Any
) -> None:
    (tmp_path / "secret.dat").write_bytes(b"secret")
    (root / "session1.dat").symlink_to(tmp_path / "secret.dat")
    (root / "session2a.dat").symlink_to("session3.dat")
    for name in ("session3.dat", "session04.dat", "session4.dat", "notes.txt", "sessionX.dat"):
        (root / name).write_bytes(b"x")
    look = settle(watched)
    assert [one.path for one in look.done] == ["session3.dat"]
    states = {path: state for path, (state, _) in said(look).items()}
    assert states == {
        "session1.dat": "no match",
        "session2a.dat": "failed",
        "session04.dat": "several paths",
        "session4.dat": "several paths",
        "notes.txt": "no match",
        "sessionX.dat": "no match",
    }
    assert "a symbolic link" in said(look)["session2a.dat"][1]
    assert table.to_arrays("session_id").tolist() == [3]
    with pytest.raises(RuleError):
        Watch(root, "session{sesion_id}.dat", table)
    with pytest.raises(RuleError, match="takes no row without by"):
        Watch(root, RULE, recording_of(schema, "session_id : int32\n---\nby : varchar(8)\nraw : file", "Signed"))


def test_a_row_without_its_parent_waits_for_it(schema: dj.Schema, root: Path) -> None:
    parent = recording_of(schema, "session_id : int32", "Session")
    child = schema(
        type("Recording", (dj.Manual,), {"definition": "-> Session\n---\nraw : file"}), context={"Session": parent}
    )
    watched = Watch(root, RULE, child, still=0.05)
    for number in (1, 2):
        (root / f"session{number}.dat").write_bytes(b"x")
    parent.insert1({"session_id": 1})
    look = settle(watched)
    assert [one.path for one in look.done] == ["session1.dat"]
    state, text = said(look)["session2.dat"]
    assert state == "failed"
    assert f"{schema.database}.Session has no row that it refers to. Insert that one: this file is tried" in text
    parent.insert1({"session_id": 2})
    assert [one.path for one in settle(watched).done] == ["session2.dat"]


@over_mysql
def test_many_files_are_listed_once_and_looked_at_again_before_they_are_inserted(
    table: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked, walk = list[str](), os.walk

    def counted(top: Any, **options: Any) -> Any:
        walked.append(str(top))
        return walk(top, **options)

    monkeypatch.setattr(os, "walk", counted)
    monkeypatch.setattr("datajoint_file.intake.watch._AT_ONCE", 2)
    monkeypatch.setattr("datajoint_file.intake.watch._FRESH_SECONDS", 600)
    for number in range(6):
        (root / f"session{number}.dat").write_bytes(b"%d" % number)
    (root / "notes.txt").write_text("6 sessions")
    watched = Watch(root, RULE, table, still=0)
    first = watched.look()
    (root / "session2.dat").unlink()
    (root / "session4.dat").write_bytes(b"grown")
    (root / "session6.dat").write_bytes(b"6")
    second, third = watched.look(), watched.look()
    assert [[one.path[:8] for one in look.done] for look in (first, second, third)] == [
        ["session0", "session1"],
        ["session3"],
        ["session5"],
    ]
    assert [look.is_more for look in (first, second, third)] == [True, True, False]
    assert [list(said(look)) for look in (first, second, third)] == [["notes.txt"]] * 3
    assert third.waiting == ("session2.dat", "session4.dat")
    assert walked.count(str(root)) == 1
    fourth = watched.look()
    assert [one.path for one in fourth.done] == ["session4.dat", "session6.dat"]
    assert (fourth.is_more, fourth.waiting, fourth.settled) == (False, (), 6)
    assert table.to_arrays("session_id").tolist() == [0, 1, 3, 4, 5, 6]


@over_mysql
def test_directories_are_watched_and_freed_as_a_whole(table: Any, root: Path) -> None:
    run = root / "session1"
    (run / "deep" / "er").mkdir(parents=True)
    (run / "empty").mkdir()
    (run / "a.npy").write_bytes(b"a")
    (run / "deep" / "er" / "ü b.npy").write_bytes(b"b")
    watched = Watch(root, "session{session_id}/", table, still=0.05)
    with (run / "deep" / "c.npy").open("wb") as file:
        file.write(b"c")
        file.flush()
        assert settle(watched).waiting == ("session1",)
    (news,) = settle(watched).done
    assert news.state == "inserted"
    assert {one.name for one in table.fetch1("raw").files()} == {"a.npy", "c.npy", "ü b.npy"}
    (run / "a.npy").write_bytes(b"A")
    ((state, text),) = said(settle(watched)).values()
    assert (state, "a.npy: its hash is" in text) == ("differs", True)
    assert [one.state for one in free(root, table.connection, execute=True)] == ["kept"]
    (run / "a.npy").write_bytes(b"a")
    assert [one.state for one in settle(watched).done] == ["there already"]
    (run / "more.npy").write_bytes(b"")
    os.utime(run / "more.npy", (0, 0))
    os.utime(run, ns=(receipt_of(run)["modified"],) * 2)
    assert [one.state for one in free(root, table.connection, execute=True)] == ["kept"]
    (run / "more.npy").unlink()
    os.utime(run, ns=(receipt_of(run)["modified"],) * 2)
    assert [one.state for one in free(root, table.connection)] == ["stored"]
    flushed, stored = Flushed(), Path(table.fetch1("raw").full_path)
    with flushes_noted(flushed):
        assert [one.state for one in free(root, table.connection, execute=True)] == ["freed"]
    assert flushed.has(stored / "a.npy")  # the insert need not have waited for the disk: durability = "none"
    assert [path.name for path in root.iterdir()] == ["session1.receipt.json"]
    table.fetch1("raw").verify()


@over_local_and_s3
def test_only_what_is_stored_now_is_freed(watched: Watch, table: Any, root: Path, store: Store) -> None:
    for number in range(9):
        (root / f"session{number}.dat").write_bytes(b"spikes %d" % number)
    settle(watched)
    paths = dict(zip(*table.to_arrays("session_id", "raw"), strict=True))
    before = {path.name: path.read_bytes() for path in root.glob("*.dat")}

    def touched(number: int, content: bytes) -> None:
        path = root / f"session{number}.dat"
        moment = path.stat().st_mtime_ns
        path.write_bytes(content)
        os.utime(path, ns=(moment, moment))

    touched(1, b"Spikes 1")  # same size and time
    store.damage(paths[2].path, b"Spikes 2")
    store.remove(paths[3].path)
    (table & "session_id = 4").delete(prompt=False)
    table.update1({"session_id": 5, "raw": ("other.dat", b"other")})
    (root / "session6.dat.receipt.json").unlink()
    os.utime(root / "session7.dat", ns=(0, 0))
    writer = (root / "session8.dat").open("ab")
    expected = {
        "session0.dat": ("stored", paths[0].path),
        "session1.dat": ("kept", "it is not what its row names: its hash is"),
        "session2.dat": ("kept", "what is stored is not sound"),
        "session3.dat": ("kept", "what is stored is not sound"),
        "session4.dat": ("kept", "there is no such row"),
        "session5.dat": ("kept", "names another file, or none"),
        "session7.dat": ("kept", "it was changed since it was inserted"),
        "session8.dat": ("kept", "somebody has it open for writing"),
    }
    found = {one.path: one for one in free(root, table.connection)}
    assert {path: one.state for path, one in found.items()} == {path: state for path, (state, _) in expected.items()}
    assert {path for path, (_, text) in expected.items() if text not in found[path].reason} == set(), found
    assert {**before, "session1.dat": b"Spikes 1"} == {path.name: path.read_bytes() for path in root.glob("*.dat")}
    states = [one.state for one in free(root, table.connection, execute=True)]
    assert states == ["freed", *["kept"] * 7]
    writer.close()
    assert not (root / "session0.dat").exists()
    assert len(list(root.glob("*.dat"))) == 8
    assert [one.state for one in free(root, table.connection, execute=True, level="size")].count("freed") == 2
    assert not list(root.glob(".*.freed"))
    assert (table & "session_id = 0").fetch1("raw").read() == b"spikes 0"


Forged = Callable[[dict[str, Any]], Any]


@over_mysql
@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (lambda one: "no JSON", "no JSON"),
        (lambda one: [], "none of"),
        (lambda one: {**one, "format": 2}, "newer version"),
        (lambda one: {**one, "size": "6"}, "no size"),
        (lambda one: {**one, "key": {"session_id": 1}}, "no key that can be used"),
        (lambda one: {**one, "key": {}}, "no key of its table"),
        (lambda one: {**one, "key": {"session_id": "1 OR 1=1"}}, "no value of type"),
        (lambda one: {**one, "table": "mysql.user"}, "names what is no"),
        (lambda one: {**one, "table": "nothing.Here"}, "names a table that is not there"),
        (lambda one: {**one, "attribute": "session_id"}, "names what is no `file` attribute"),
        (lambda one: {**one, "key": {"session_id": "2"}}, "names another file, or none"),
    ],
)
def test_a_forged_receipt_frees_nothing(watched: Watch, table: Any, root: Path, forge: Forged, reason: str) -> None:
    (root / "session1.dat").write_bytes(b"spikes")
    (root / "session2.dat").write_bytes(b"waves")
    settle(watched)
    (root / "session2.dat").unlink()
    receipt = root / "session1.dat.receipt.json"
    forged = forge(json.loads(receipt.read_text()))
    receipt.write_text(forged if isinstance(forged, str) else json.dumps(forged))
    one, gone = free(root, table.connection, execute=True)
    assert (one.state, gone.state) == ("kept", "gone")
    assert reason in one.reason
    assert (root / "session1.dat").exists()


@over_mysql
def test_links_are_not_followed(watched: Watch, table: Any, root: Path, store: Store) -> None:
    path = root / "session1.dat"
    path.write_bytes(b"spikes")
    settle(watched)
    receipt = root / "session1.dat.receipt.json"
    outside = root.parent / "outside"
    outside.mkdir()
    os.link(path, outside / "session1.dat")
    receipt.rename(outside / receipt.name)
    (root / "linked").symlink_to(outside)
    receipt.symlink_to(outside / receipt.name)
    (found,) = free(root, table.connection, execute=True)
    assert found.reason == "its receipt is a symbolic link, or reached by one"
    receipt.unlink()
    (outside / receipt.name).rename(receipt)
    path.unlink()
    path.symlink_to(outside / "session1.dat")
    (found,) = free(root, table.connection, execute=True)
    assert (found.state, "symbolic link" in found.reason) == ("kept", True)
    stored = Path(store.table["path"])  # a watched directory that is the store, by mistake
    ref = table.fetch1("raw")
    place = stored / ref.path.partition("/")[2]
    document = receipt_of(path)
    document["modified"] = place.stat().st_mtime_ns
    (place.parent / f"{place.name}.receipt.json").write_text(json.dumps(document))
    (found,) = free(stored, table.connection, execute=True)
    assert found.reason.startswith("it is the stored object itself")
    ref.verify()


def test_a_store_that_is_away_is_no_fault_of_a_file(watched: Watch, table: Any, root: Path, store: Store) -> None:
    (root / "session1.dat").write_bytes(b"spikes")
    watched.look()
    time.sleep(0.06)
    place = Path(store.table["path"])
    place.rename(place.with_name("unmounted"))
    with pytest.raises(StorageUnavailableError):
        watched.look()
    assert not list(root.glob("*.receipt.json"))
    place.with_name("unmounted").rename(place)
    assert [one.state for one in settle(watched).done] == ["inserted"]
    place.rename(place.with_name("unmounted"))
    with pytest.raises(StorageUnavailableError, match="nothing more was removed"):
        list(free(root, table.connection, execute=True))
    assert (root / "session1.dat").exists()
    place.with_name("unmounted").rename(place)


def test_watches_that_are_killed_at_any_moment_leave_one_row_each(
    table: Any, root: Path, database: Any, store: Store
) -> None:
    expected = {number: b"spikes %d " % number * 1000 for number in range(40)}
    for number, content in expected.items():
        (root / f"session{number}.dat").write_bytes(content)
    name, generator = table.full_table_name, random.Random(1)
    for _ in range(8):
        child = os.fork()
        if child == 0:
            instance = connect(database)
            datajoint_file.configure(store.configuration(), connection=instance)
            watched = Watch(root, RULE, dj.FreeTable(instance.connection, name), still=0.01)
            while True:
                watched.look()
        time.sleep(generator.uniform(0.1, 0.6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with_receipt = len(list(root.glob("*.receipt.json")))
    rows = len(table())
    assert with_receipt <= rows
    look = settle(Watch(root, RULE, table, still=0.05))
    assert (look.settled, look.problems, look.waiting) == (40, (), ())
    ids, refs = table.to_arrays("session_id", "raw")
    assert {int(number): ref.read() for number, ref in zip(ids, refs, strict=True)} == expected
    assert {receipt_of(root / f"session{number}.dat")["path"] for number in expected} == {ref.path for ref in refs}
    killed = LocalValue(PinnedDirectory.at(str(root)), "session7.dat")
    (root / "session7.dat").rename(root / _aside("session7.dat"))  # as a removal that is killed leaves it
    assert killed.snapshot() is None
    assert [one.state for one in free(root, table.connection)].count("gone") == 1
    assert [one.state for one in free(root, table.connection, execute=True)] == ["freed"] * 40
    assert not list(root.glob("*.freed"))


@over_mysql
def test_it_is_looked_at_intervals_where_nothing_tells_of_events(
    watched: Watch, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)  # as if it were not installed
    (root / "session1.dat").write_bytes(b"spikes")
    looks: list[Look] = []
    how: dict[str, Any] = {"still": timedelta(seconds=0.05), "interval": timedelta(seconds=30)}
    last = keep_watching(watched, root, told=looks.append, failed=pytest.fail, once=True, **how)
    assert (last.settled, last.waiting, len(looks) > 1) == (1, (), True)

    def stop(look: Look) -> None:
        looks.append(look)
        if len(looks) == 3:
            raise KeyboardInterrupt

    def damaged(text: str) -> None:
        failures.append(text)
        away.rename(root)

    looks.clear()
    failures: list[str] = []
    away = root.with_name("away")

    def told(look: Look) -> None:
        if not looks:
            root.rename(away)  # as a disk that is unmounted
        stop(look)

    how = {**how, "interval": timedelta(seconds=0.01)}
    with pytest.raises(KeyboardInterrupt):
        keep_watching(watched, root, told=told, failed=damaged, **how)
    assert len(failures) == 1
    assert "does not exist" in failures[0]


@over_mysql
def test_a_watch_of_python_ends_when_it_is_told_to(table: Any, root: Path) -> None:
    (root / "session1.dat").write_bytes(b"spikes")
    stop, looks = threading.Event(), list[Look]()

    def on_look(look: Look) -> None:
        looks.append(look)
        if look.done:
            with pytest.raises(AlreadyWatchedError, match=r"is watched for .*Recording.raw already"):
                datajoint_file.watch(root, RULE, table, once=True)
            stop.set()

    look = datajoint_file.watch(root, RULE, table, still=0.01, interval="1 hour", on_look=on_look, stop=stop)
    assert look is looks[-1]
    assert str(look).startswith("inserted: session1.dat: ")
    assert str(look).endswith("\n1 file with a receipt, 0 growing, 0 problems")
    assert datajoint_file.watch(root, RULE, table, stop=stop) == Look()  # as it was set already
    stored = datajoint_file.free(root, table)
    assert [str(one) for one in stored] == [f"stored: session1.dat (6 B): {table.fetch1('raw').path}"]
    assert [one.state for one in datajoint_file.free(root, table, execute=True)] == ["freed"]
    assert not (root / "session1.dat").exists()
    for wrong in (True, "ten", -1):
        with pytest.raises((TypeError, ValueError)):
            datajoint_file.watch(root, RULE, table, still=wrong)


def test_a_watch_goes_on_when_its_connection_was_lost(watched: Watch, table: Any, root: Path, database: Any) -> None:
    (root / "session1.dat").write_bytes(b"spikes")
    settle(watched)
    (root / "session2.dat").write_bytes(b"waves")
    watched.look()
    time.sleep(0.06)
    other = connect(database).connection
    if "postgres" in type(database).__name__.lower():
        number = table.connection.query("SELECT pg_backend_pid()").fetchone()[0]
        other.query(f"SELECT pg_terminate_backend({number})").fetchall()
    else:
        number = table.connection.query("SELECT CONNECTION_ID()").fetchone()[0]
        other.query(f"KILL CONNECTION {number}")
    try:
        done = watched.look().done
    except Exception as error:
        if not _may_pass(error):  # else it is told, and tried again
            raise
        done = watched.look().done
    assert [one.path for one in done] == ["session2.dat"]
    other.close()


@over_mysql
def test_what_takes_the_place_of_a_still_file_is_not_inserted(table: Any, root: Path) -> None:
    path = root / "session1.dat"
    path.write_bytes(b"spikes")
    value = LocalValue(PinnedDirectory.at(str(root)), path.name)
    snapshot = value.snapshot()
    assert snapshot is not None
    source = value.source(snapshot)
    (root / "next").write_bytes(b"par")
    (root / "next").rename(path)
    with pytest.raises(SourceNotFoundError):
        table.insert1({"session_id": 1, "raw": source})
    assert len(table()) == 0
    snapshot = value.snapshot()
    assert snapshot is not None
    table.insert1({"session_id": 1, "raw": value.source(snapshot)})
    assert table.fetch1("raw").read() == b"par"


@over_mysql
def test_a_receipt_is_not_believed_about_other_tables(table: Any, schema: Any, root: Path) -> None:
    (root / "session1.dat").write_bytes(b"spikes")
    settle(Watch(root, RULE, table, still=0.05))
    other = recording_of(schema, "session_id : int32\n---\nraw : file", "Other")
    assert [one.state for one in settle(Watch(root, RULE, other, still=0.05)).done] == ["inserted"]
    assert datajoint_file.verify(schema)


def test_a_receipt_is_written_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "rig/day1").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    root = PinnedDirectory.at(str(tmp_path / "rig"))
    receipt = ImportReceipt("lab.Recording", "raw", {"id": "1"}, "p", 1, "h", 1)
    receipt.write(root, "day1/a.dat")
    receipt.write(root, "day1/a.dat")
    assert read_receipt(root, "day1/a.dat") == receipt
    assert [path.name for path in (tmp_path / "rig/day1").iterdir()] == ["a.dat.receipt.json"]
    (tmp_path / "rig/day1").rename(tmp_path / "rig/day2")
    (tmp_path / "rig/day1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError):
        receipt.write(root, "day1/a.dat")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_removal_loses_nothing_where_no_rename_refuses_to_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datajoint_file.intake.local_values.rename_new", lambda *_: False)  # as on NFS
    path, aside = tmp_path / "a.dat", tmp_path / _aside("a.dat")
    value = LocalValue(PinnedDirectory.at(str(tmp_path)), "a.dat")
    aside.write_bytes(b"of a removal that was killed")
    value.put_back()
    assert (path.read_bytes(), aside.exists()) == (b"of a removal that was killed", False)
    snapshot = value.snapshot()
    assert snapshot is not None

    def is_not(*_: object) -> bool:
        path.write_bytes(b"a third")
        return False

    with monkeypatch.context() as context, pytest.raises(SourceError):
        context.setattr("datajoint_file.intake.local_values.is_called", is_not)
        value.remove(snapshot)
    assert (path.read_bytes(), aside.read_bytes()) == (b"a third", b"of a removal that was killed")
    snapshot = value.snapshot()
    assert snapshot is not None
    with pytest.raises(SourceError, match="File exists"):
        value.remove(snapshot)
    assert (path.read_bytes(), aside.read_bytes()) == (b"a third", b"of a removal that was killed")
