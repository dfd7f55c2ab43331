"""Bulk verbs with an executor: threads, processes and a cluster do the work, and a worker that dies loses nothing."""

from __future__ import annotations

import copyreg
import hashlib
import io
import json
import os
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file.errors import (
    ConfigurationError,
    HashMismatchError,
    SourceNotFoundError,
    UnsupportedValueError,
    WorkerError,
)
from datajoint_file.insert.stage import stage
from datajoint_file.verification import Finding
from datajoint_file.verification.verify import verify
from tests.integration.executors import KINDS, Disturbed, Inline, Killed, executor_of, write_toml
from tests.projects import Store, over_local_and_s3, unique

ROWS = 40

over_all_executors = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A cluster of two worker processes. Dask changes how exceptions are pickled: other tests shall not see that."""
    before = dict(copyreg.dispatch_table)
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"processes": True, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        yield client
    copyreg.dispatch_table.clear()
    copyreg.dispatch_table.update(before)


@pytest.fixture
def pipeline(instance: dj.Instance, store: Store, tmp_path: Path) -> dj.Instance:
    """A connection whose pipeline is configured by a file, which workers can read."""
    datajoint_file.configure(write_toml(store, tmp_path), connection=instance)
    return instance


@pytest.fixture
def executor(request: pytest.FixtureRequest, kind: str) -> Iterator[Executor]:
    client = request.getfixturevalue("client") if kind == "dask" else None
    with executor_of(kind, client) as made:
        yield made


@pytest.fixture
def recording(schema: dj.Schema) -> Any:
    return declared(schema)


@pytest.fixture
def filled(recording: Any) -> Any:
    recording.insert({"k": k, "raw": (f"{k}.dat", content(k))} for k in range(ROWS))
    return recording


def declared(schema: dj.Schema) -> Any:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    return Recording


def content(k: int) -> bytes:
    return b"spikes %d" % k


def paths(table: Any) -> dict[int, str]:
    """Ask the database past the package where objects are."""
    rows = table.connection.query(f"SELECT k, raw FROM {table.full_table_name}").fetchall()
    return {k: (raw if isinstance(raw, dict) else json.loads(raw))["path"] for k, raw in rows}


def files(directory: Path, count: int) -> list[Path]:
    made = [directory / f"{k}.dat" for k in range(count)]
    for k, path in enumerate(made):
        path.write_bytes(content(k))
    return made


def keys(count: int) -> list[dict[str, int]]:
    return [{"k": k} for k in range(count)]


# ---- verify ----


@over_local_and_s3
@over_all_executors
def test_workers_find_what_is_damaged_and_nothing_else(
    filled: Any, store: Store, executor: Executor, kind: str
) -> None:
    where = paths(filled)
    store.remove(where[3])
    store.damage(where[17], b"spikez 17")
    store.damage(where[ROWS - 1], b"short")

    report = verify(filled, executor=executor)
    assert [(finding.kind, finding.key["k"]) for finding in report.findings] == [
        ("missing", 3),
        ("hash", 17),
        ("size", ROWS - 1),
    ]
    assert (report.checked, report.position, report.interruption) == (ROWS, None, "")
    assert report.size == sum(len(content(k)) for k in range(ROWS) if k not in (3, ROWS - 1))
    assert verify(filled, "exists", executor=executor).counts == {"missing": 1}
    assert executor.submit(len, "abc").result() == 3, "the executor was shut down"


def test_findings_and_positions_are_those_without_an_executor(filled: Any, store: Store) -> None:
    for k in (0, 5, 6, 30):
        store.remove(paths(filled)[k])
    with ThreadPoolExecutor(3) as executor:
        found: list[Finding] = []
        position = None
        while True:
            report = verify(filled, budget=20, after=position, executor=executor)
            found += report.findings
            position = report.position
            if report.is_complete:
                break
    assert sorted(finding.key["k"] for finding in found) == [0, 5, 6, 30]
    assert [finding.problem for finding in found] == [finding.problem for finding in verify(filled).findings]


# ---- download ----


@over_local_and_s3
@over_all_executors
def test_workers_bring_verified_files_and_tell_of_damaged_ones(
    filled: Any, store: Store, executor: Executor, kind: str, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    brought = datajoint_file.download(filled, here, executor=executor)
    assert [path.name for path in brought] == [f"{k}.dat" for k in range(ROWS)]
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {f"{k}.dat": content(k) for k in range(ROWS)}

    store.damage(paths(filled)[17], b"spikez 17")
    with pytest.raises(HashMismatchError, match=r"17\.dat"):
        datajoint_file.download(filled, tmp_path / "again", executor=executor)
    assert not (tmp_path / "again" / "17.dat").exists()
    assert executor.submit(len, "abc").result() == 3, "the executor was shut down"


@pytest.mark.parametrize("kind", ["spawned", "dask"])
def test_pipeline_configured_from_a_dictionary_is_one_clear_error(
    instance: dj.Instance, store: Store, executor: Executor, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datajoint_file.configure(store.configuration(), connection=instance)
    schema = instance.Schema(unique("schema"))
    recording = declared(schema)
    recording.insert({"k": k, "raw": (f"{k}.dat", content(k))} for k in range(ROWS))
    with pytest.raises(ConfigurationError, match=r"worker \d+ on .*from a dictionary.*datajoint.toml") as caught:
        verify(recording, executor=executor)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="from a dictionary"):
        stage(recording, [{"k": 99}], "raw", [("a.dat", b"a")], executor=executor)
    assert len(store.object_keys()) == ROWS
    schema.drop(prompt=False)


def test_pipeline_configured_from_a_dictionary_is_known_to_threads(filled: Any, store: Store) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert verify(filled, executor=executor).checked == ROWS


@pytest.mark.parametrize("kind", ["spawned"])
def test_worker_with_another_store_is_told_from_lost_files(
    filled: Any, store: Store, executor: Executor, tmp_path: Path, kind: str
) -> None:
    other = Store({**store.table, "path": str(tmp_path / "other")}, store.project)
    (tmp_path / "other").mkdir()
    write_toml(other, tmp_path)  # from now on, what workers read
    with pytest.raises(ConfigurationError, match="is not the one of the project"):
        verify(filled, executor=executor)
    with pytest.raises(ConfigurationError, match="Nothing was done there"):
        stage(filled, [{"k": 99}], "raw", [("a.dat", b"a")], executor=executor)
    assert other.all_keys() == []


def test_run_whose_workers_fail_goes_on_behind_what_they_did(filled: Any, store: Store) -> None:
    class Exhausted(Inline):
        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if len(self.results) >= 6:
                raise BrokenExecutor("no worker is left")
            return super().submit(function, *args, **kwargs)

    store.remove(paths(filled)[0])
    report = verify(filled, executor=Exhausted())
    assert [finding.key["k"] for finding in report.findings] == [0]
    rest = verify(filled, after=report.position)
    assert 0 < report.checked < ROWS
    assert (rest.counts, rest.checked) == ({}, ROWS - report.checked)


def test_worker_that_is_killed_loses_no_finding(filled: Any, store: Store) -> None:
    store.remove(paths(filled)[0])
    with executor_of("spawned") as processes:
        report = verify(filled, executor=Killed(processes, 6))
    assert not report
    assert "A worker was killed" in report.interruption
    assert report.position is not None
    assert [finding.key["k"] for finding in report.findings] == [0]
    assert 0 < report.checked < ROWS
    rest = verify(filled, after=report.position)
    assert rest
    assert rest.checked == ROWS - json.loads(report.position)["key"][0] - 1


def test_worker_of_a_cluster_that_is_killed_is_replaced(filled: Any, store: Store, client: Any) -> None:
    store.remove(paths(filled)[7])

    class Decimated(Disturbed):
        def happen(self) -> None:
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    with executor_of("dask", client) as executor:
        report = verify(filled, executor=Decimated(executor, 6))
    assert (report.interruption, report.checked, report.counts) == ("", ROWS, {"missing": 1})


def test_executor_that_was_shut_down_is_a_clear_interruption(filled: Any) -> None:
    with ThreadPoolExecutor(2) as executor:
        pass
    report = verify(filled, executor=executor)
    assert "ThreadPoolExecutor could not do their work (RuntimeError: cannot schedule" in report.interruption
    assert verify(filled, after=report.position).checked == ROWS


@pytest.mark.parametrize("kind", ["threads", "spawned", "dask"])
def test_interrupt_takes_back_what_no_worker_has_begun(filled: Any, executor: Executor, kind: str) -> None:
    disturbed = Disturbed(executor, 5)
    with pytest.raises(KeyboardInterrupt):
        verify(filled, executor=disturbed)
    assert len(disturbed.futures) == 5
    assert verify(filled, executor=executor).checked == ROWS


def test_client_of_dask_is_answered_with_what_to_give_instead(filled: Any, client: Any) -> None:
    with pytest.raises(TypeError, match=r"client.get_executor\(\)"):
        verify(filled, executor=client)


def test_what_is_sent_to_a_worker_has_no_secret_in_it(filled: Any, store: Store, s3_storage: dict[str, Any]) -> None:
    sent: list[bytes] = []

    class Listening(Disturbed):
        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            sent.append(pickle.dumps((function, args)))
            return super().submit(function, *args, **kwargs)

    with ThreadPoolExecutor(1) as executor:
        assert verify(filled, executor=Listening(executor, 0)).checked == ROWS
        stage(filled, keys(3), "raw", [(f"{k}.dat", b"x") for k in range(3)], executor=Listening(executor, 0))
    assert sent
    assert max(map(len, sent)) < 100_000
    assert all(b"credentials" not in parcel and b"secret" not in parcel for parcel in sent)


# ---- stage ----


@over_local_and_s3
@over_all_executors
def test_workers_store_what_is_staged_and_rows_take_it(
    recording: Any, store: Store, executor: Executor, tmp_path: Path, kind: str
) -> None:
    paths_ = files(tmp_path, 12)
    staged = stage(recording, keys(12), "raw", paths_, executor=executor)
    assert [one.metadata.original_name for one in staged] == [path.name for path in paths_]
    assert [store.content(one.path) for one in staged] == [content(k) for k in range(12)]
    assert [one.hash for one in staged] == [f"sha256:{hashlib.sha256(content(k)).hexdigest()}" for k in range(12)]
    recording.insert({"k": k, "raw": one} for k, one in enumerate(pickle.loads(pickle.dumps(staged))))
    assert set(paths(recording).values()) == set(store.object_keys())
    assert verify(recording).checked == 12


@over_local_and_s3
@pytest.mark.parametrize("workers", [None, 1, 3])
def test_many_files_are_staged_without_an_executor(
    recording: Any, store: Store, workers: int | None, tmp_path: Path
) -> None:
    sources = [*files(tmp_path, 3), ("3.dat", content(3)), ("4.dat", io.BytesIO(content(4)))]
    staged = stage(recording(), keys(5), "raw", sources, workers=workers)
    recording.insert({"k": k, "raw": one} for k, one in enumerate(staged))
    assert {k: store.content(path) for k, path in paths(recording).items()} == {k: content(k) for k in range(5)}


def test_staging_again_sends_nothing(recording: Any, store: Store, tmp_path: Path) -> None:
    sources = files(tmp_path, 6)
    with ThreadPoolExecutor(2) as executor:
        first = stage(recording, keys(6), "raw", sources, executor=executor)
        again = stage(recording, keys(6), "raw", sources, executor=executor)
    assert [one.path for one in again] == [one.path for one in first]
    assert len(store.object_keys()) == 6


@pytest.mark.parametrize("kind", ["spawned", "dask"])
def test_stream_is_refused_before_anything_is_stored(
    recording: Any, store: Store, executor: Executor, kind: str
) -> None:
    with pytest.raises(UnsupportedValueError, match=r"row 1.*a stream cannot be sent to a worker in another process"):
        stage(recording, keys(2), "raw", [("a", b"a"), ("b", io.BytesIO(b"b"))], executor=executor)
    assert store.object_keys() == []


def test_single_file_goes_through_an_executor_as_well(recording: Any, store: Store) -> None:
    with executor_of("spawned") as executor:
        staged = stage(recording, {"k": 1}, "raw", ("a.dat", b"spikes"), executor=executor)
    assert store.content(staged.path) == b"spikes"


@pytest.mark.parametrize("kind", ["threads", "spawned"])
def test_file_that_fails_keeps_what_was_stored(
    recording: Any, store: Store, executor: Executor, tmp_path: Path, kind: str
) -> None:
    sources = files(tmp_path, 8)

    class Removing(Disturbed):
        def happen(self) -> None:
            self.futures[0].result()
            sources[7].unlink()

    with pytest.raises(SourceNotFoundError, match=r"k=7\), row 7: no row was written; \d other files? (is|are) stored"):
        stage(recording, keys(8), "raw", sources, executor=Removing(executor, 2))
    before = set(store.object_keys())
    assert before
    sources[7].write_bytes(content(7))
    staged = stage(recording, keys(8), "raw", sources, executor=executor)
    assert len(store.object_keys()) == 8
    assert before < {one.path for one in staged}


def test_worker_that_is_killed_while_it_stores_leaves_what_a_retry_adopts(
    recording: Any, store: Store, tmp_path: Path
) -> None:
    sources = files(tmp_path, 20)
    with executor_of("spawned") as processes, pytest.raises(WorkerError, match="A worker was killed"):
        stage(recording, keys(20), "raw", sources, executor=Killed(processes, 6))
    staged = stage(recording, keys(20), "raw", sources)
    recording.insert({"k": k, "raw": one} for k, one in enumerate(staged))
    assert {k: store.content(path) for k, path in paths(recording).items()} == {k: content(k) for k in range(20)}


def test_interrupted_staging_leaves_only_what_intents_name(recording: Any, store: Store, tmp_path: Path) -> None:
    sources = files(tmp_path, 30)
    with executor_of("spawned") as executor:
        executor.submit(len, "").result()

        class Interrupting(Disturbed):
            def happen(self) -> None:
                import _thread

                _thread.interrupt_main()  # as Ctrl-C does: it is the main thread that is interrupted

        with pytest.raises(KeyboardInterrupt):
            stage(recording, keys(30), "raw", sources, executor=Interrupting(executor, 4))
    table = f"{recording.database}.~file_intent"
    quoted = recording.connection.adapter.make_full_table_name(*table.split("."))
    intents = {path for (path,) in recording.connection.query(f"SELECT path FROM {quoted}").fetchall()}
    assert set(store.object_keys()) <= intents
    assert len(stage(recording, keys(30), "raw", sources)) == 30


def test_work_that_an_executor_does_twice_is_done_once(recording: Any, store: Store) -> None:
    class Twice(Disturbed):
        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            super().submit(function, *args, **kwargs).result()
            return super().submit(function, *args, **kwargs)

    with executor_of("spawned") as executor:
        staged = stage(recording, keys(3), "raw", [(f"{k}", content(k)) for k in range(3)], executor=Twice(executor, 0))
    assert [store.content(one.path) for one in staged] == [content(k) for k in range(3)]
    recording.insert({"k": k, "raw": one} for k, one in enumerate(staged))
    fetched = recording.to_arrays("raw", order_by="k")
    assert [(one.original_name, one.mime_type) for one in fetched] == [
        (f"{k}", "application/octet-stream") for k in range(3)
    ]
    assert [one.read() for one in fetched] == [content(k) for k in range(3)]


def test_error_that_a_worker_sends_back_brings_no_error_of_a_client(
    recording: Any, store: Store, tmp_path: Path
) -> None:
    sources = files(tmp_path, 1)

    class Removing(Inline):
        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            sources[0].unlink()
            return super().submit(function, *args, **kwargs)

    executor = Removing()
    with pytest.raises(SourceNotFoundError):
        stage(recording, keys(1), "raw", sources, executor=executor)
    told = executor.results[0].value.error
    assert isinstance(told, SourceNotFoundError)
    assert (told.__cause__, told.__context__, told.__traceback__) == (None, None, None)


@pytest.mark.parametrize(
    ("keys_", "sources", "error", "words"),
    [
        ([{"k": 1}], [], ValueError, "1 keys and 0 sources"),
        ([{"k": 1}], "a.dat", UnsupportedValueError, "as many sources"),
        ([{"k": 1}], [None], UnsupportedValueError, "row 0: nothing cannot be staged"),
        ([1], ["a.dat"], UnsupportedValueError, "key 0 is 1"),
        ([{"k": 1}], [("a", b"")] * 2, ValueError, "1 keys and 2 sources"),
    ],
)
def test_keys_and_sources_must_fit(
    recording: Any, store: Store, keys_: Any, sources: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        stage(recording, keys_, "raw", sources)
    assert store.object_keys() == []


def test_nothing_to_stage_is_nothing(recording: Any, store: Store) -> None:
    assert stage(recording, [], "raw", []) == []
