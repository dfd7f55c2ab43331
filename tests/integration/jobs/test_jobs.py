"""Jobs in tables: captured outputs in simple and three-part `make`, by processes, and stored files as inputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from datajoint_file import Link
from datajoint_file.errors import (
    HashMismatchError,
    OutputConflictError,
    SourceChangedError,
    UnsafeNameError,
    UnsupportedValueError,
)
from tests.conftest import CACHE_VARIABLE
from tests.projects import Store, over_local_and_s3, over_mysql

SORT = "import sys; open('times.csv', 'w').write(open('raw.dat').read().upper()); print('sorted by a program')"


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "disk").mkdir()
    monkeypatch.setenv("DATAJOINT_FILE__SCRATCH__PATH", str(tmp_path / "disk"))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "disk"


def make_tables(schema: dj.Schema, keys: int = 4) -> tuple[Any, Any]:
    @schema
    class Recording(dj.Manual):
        definition = """
        k : int32
        ---
        raw : file
        """

    @schema
    class Sorting(dj.Computed):
        definition = """
        -> Recording
        ---
        pid     : int32
        outputs : file
        log     : file
        """

        class Plot(dj.Part):
            definition = """
            -> master
            name : varchar(60)
            ---
            plot : file
            """

        def make(self, key: dict[str, Any]) -> None:
            raw = (Recording & key).fetch1("raw")
            with datajoint_file.capture(
                ["times.csv", "plots/*.png", "logs/"], inputs={"raw.dat": raw}, log=True
            ) as run:
                run.command([sys.executable, "-c", SORT])
                Path("plots/best").mkdir(parents=True)
                for name in ("a", "b", "best/c"):
                    Path(f"plots/{name}.png").write_text(f"{name} of {key['k']}")
                Path("logs").mkdir()
                print("key", key["k"])
            self.insert1({**key, "pid": os.getpid(), "outputs": run.directory, "log": run.log})
            self.Plot.insert({**key, "name": file.path, "plot": file} for file in run.glob("plots/*.png"))

    Recording.insert([{"k": k, "raw": ("raw.bin", b"spikes of %d" % k)} for k in range(keys)])
    return Recording, Sorting


@pytest.mark.parametrize(("database", "store"), [("mysql", "s3"), ("postgresql", "local")], indirect=True)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_populate_by_processes_stores_what_each_job_has_made(schema: dj.Schema, store: Store, disk: Path) -> None:
    _, sorting = make_tables(schema)
    sorting.populate(processes=2)
    rows = sorting.to_dicts()
    assert len(rows) == 4
    assert os.getpid() not in {row["pid"] for row in rows}
    for row in rows:
        assert store.content(f"{row['outputs'].path.rstrip('/')}/times.csv") == b"SPIKES OF %d" % row["k"]
        assert row["outputs"].listdir() == ["logs", "plots", "times.csv"]
        assert store.content(row["log"].path) == b"sorted by a program\nkey %d\n" % row["k"]
    plots = (sorting.Plot & "k = 2").to_dicts(order_by="name")
    assert [(one["name"], store.content(one["plot"].path)) for one in plots] == [
        ("plots/a.png", b"a of 2"),
        ("plots/b.png", b"b of 2"),
    ]
    with datajoint_file.capture():
        pass  # sweeps what a worker may have left that was ended before it could
    assert list(disk.glob("*/*")) == []


@over_mysql
def test_three_part_make_hands_a_run_on_and_stages_its_values(schema: dj.Schema, store: Store) -> None:
    recording, _ = make_tables(schema, 2)

    @schema
    class Analysis(dj.Computed):
        definition = """
        -> recording
        ---
        rate    : float
        outputs : file
        movie   : file
        """

        def make_fetch(self, key: dict[str, Any]) -> tuple[Any, ...]:
            return ((recording & key).fetch1("raw"),)

        def make_compute(self, key: dict[str, Any], raw: Any) -> tuple[Any, ...]:
            run = analyse(raw)
            return run, datajoint_file.stage(self, key, "movie", run["movie"])

        def make_insert(self, key: dict[str, Any], run: Any, movie: Any) -> None:
            self.insert1({**key, "rate": run.result["rate"], "outputs": run["rate.json"], "movie": movie})

    @datajoint_file.captures(put="movie/", returns="rate.json")
    def analyse(raw: Any) -> dict[str, int]:
        Path("movie").mkdir()
        Path("movie/frame 1").write_bytes(raw.read())
        return {"rate": raw.size}

    Analysis.populate()
    row = (Analysis & "k = 1").fetch1()
    assert (row["rate"], row["outputs"].load()) == (11, {"rate": 11})
    assert store.content(f"{row['movie'].path.rstrip('/')}/frame%201") == b"spikes of 1"


@over_mysql
def test_a_job_that_fails_stores_nothing(schema: dj.Schema, store: Store, disk: Path) -> None:
    recording, _ = make_tables(schema, 2)

    @schema
    class Failing(dj.Computed):
        definition = """
        -> recording
        ---
        outputs : file
        """

        def make(self, key: dict[str, Any]) -> None:
            on_failure: Any = "keep" if key["k"] else "discard"
            with datajoint_file.capture("df.csv", log=True, on_failure=on_failure) as run:
                print("began", key["k"])
                Path("df.csv").write_text("half")
                if key["k"]:
                    raise ValueError("no spikes")
            (run.path / "df.csv").write_text("other bytes")
            self.insert1({**key, "outputs": run.directory})

    before = store.object_keys()
    errors = Failing.populate(suppress_errors=True, return_exception_objects=True)["error_list"]
    assert {key["k"]: type(error) for key, error in errors} == {0: SourceChangedError, 1: ValueError}
    assert len(Failing()) == 0
    assert store.object_keys() == before
    (kept,) = disk.glob("*/kept-*")
    assert (kept / "execution.log").read_text().startswith("began 1\nTraceback")
    assert (kept / "work" / "df.csv").read_text() == "half"


@over_mysql
@over_local_and_s3
def test_inputs_are_there_under_given_names_without_a_copy_and_gone_at_the_end(
    table: Any, store: Store, tmp_path: Path, disk: Path
) -> None:
    atlas = tmp_path / "an atlas"
    (atlas / "regions" / "empty").mkdir(parents=True)
    (atlas / "regions" / "ca 1.csv").write_text("ca1")
    table.insert1({"id": 1, "raw": ("raw data.bin", b"spikes"), "extra": atlas})
    raw, extra = table.fetch1("raw", "extra")
    cached = raw.cache(), (extra / "regions/ca 1.csv").cache()
    before = [path.stat().st_ino for path in (cached[0], extra.cache() / "regions" / "ca 1.csv")]

    for _ in range(2):
        with datajoint_file.inputs(
            {"run/raw.dat": raw, "atlas": extra, "one.csv": extra / "regions/ca 1.csv"}
        ) as given:
            assert (given / "run" / "raw.dat").read_bytes() == b"spikes"
            assert (given / "atlas" / "regions" / "ca 1.csv").read_text() == (given / "one.csv").read_text() == "ca1"
            assert (given / "atlas" / "regions" / "empty").is_dir()
            assert disk in given.parents
            assert [(given / name).stat().st_ino for name in ("run/raw.dat", "atlas/regions/ca 1.csv")] == before
            assert (given / "run" / "raw.dat").stat().st_mode & 0o222 == 0
        assert list(disk.glob("*/*")) == []
    raw._pipeline().cache._known.clear()  # as another process comes
    after = [path.stat().st_ino for path in (raw.cache(), extra.cache() / "regions" / "ca 1.csv")]
    assert after == before, "not brought again"

    with datajoint_file.capture("**/*", inputs={"raw.dat": raw, "atlas/": extra}) as run:
        Path("out.txt").write_text(Path("raw.dat").read_text())
        Path("raw.dat").unlink()  # is its own: what is stored, and the cache, stay
    assert [file.path for file in run.files] == ["out.txt"]
    assert raw.cache().read_bytes() == raw.read() == b"spikes"
    wrong: list[tuple[Any, type[Exception]]] = [
        ({"../raw.dat": raw}, UnsafeNameError),
        ({"a": raw, "a/b": extra}, OutputConflictError),
        ({"a": "raw.dat"}, UnsupportedValueError),
        ([raw], UnsupportedValueError),
    ]
    for names, error in wrong:
        with pytest.raises(error), datajoint_file.inputs(names):
            pass
    with pytest.raises(OutputConflictError), datajoint_file.capture("raw.dat", inputs={"raw.dat": raw}):
        pass


@over_mysql
@over_local_and_s3
def test_a_damaged_input_is_refused(table: Any, store: Store, disk: Path) -> None:
    table.insert1({"id": 1, "raw": ("raw.bin", b"spikes")})
    ref = table.fetch1("raw")
    store.damage(ref.path, b"spokes")
    with pytest.raises(HashMismatchError), datajoint_file.inputs({"raw.dat": ref}):
        pass
    assert list(disk.glob("*/*")) == []


@pytest.fixture
def nas(store: Store, tmp_path: Path, instance: dj.Instance) -> Path:
    """A root, which the pipeline knows."""
    (tmp_path / "nas" / "derived").mkdir(parents=True)
    datajoint_file.configure(store.configuration(roots={"nas": {"path": str(tmp_path / "nas")}}), connection=instance)
    return tmp_path / "nas"


@pytest.fixture
def pipeline(nas: Path, instance: dj.Instance) -> dj.Instance:
    return instance


@over_mysql
def test_large_outputs_stay_below_a_root_and_small_ones_are_stored(nas: Path, schema: dj.Schema, store: Store) -> None:

    @schema
    class Processed(dj.Manual):
        definition = """
        k : int32
        ---
        data    : file
        frames  : file
        summary : file
        """

    keep: Any = {"*.parquet": "link", "frames/": "link"}
    with datajoint_file.capture(".", keep=keep, link_to=nas / "derived") as run:
        Path("processed.parquet").write_bytes(b"large")
        Path("summary.csv").write_text("small")
        Path("frames").mkdir()
        Path("frames/1").write_text("frame")
    values = {"data": run["processed.parquet"], "frames": run["frames"], "summary": run["summary.csv"]}
    Processed.insert1({"k": 1, **values})
    row = Processed.fetch1()
    assert row["data"].path.startswith("nas/derived/")
    assert (row["data"].read(), row["summary"].read(), (row["frames"] / "1").read()) == (b"large", b"small", b"frame")
    assert [key.rpartition("/")[2] for key in store.object_keys() if "/objects/" in key] == ["~manifest", "summary.csv"]


@over_mysql
def test_a_job_that_writes_to_its_inputs_reaches_no_original(table: Any, nas: Path) -> None:
    (nas / "frames/empty").mkdir(parents=True)
    for name, mode in (("raw.dat", 0o644), ("frames/1", 0o644), ("safe.dat", 0o444)):
        (nas / name).write_bytes(b"spikes")
        (nas / name).chmod(mode)
    table.insert1({"id": 1, "raw": Link(nas / "raw.dat"), "extra": Link(nas / "frames", name="frames")})
    table.insert1({"id": 2, "raw": Link(nas / "safe.dat")})
    raw, safe = table.to_arrays("raw")
    extra = (table & "id = 1").fetch1("extra")
    with datajoint_file.inputs({"raw.dat": raw, "frames": extra, "safe.dat": safe}) as given:
        assert (given / "safe.dat").samefile(nas / "safe.dat"), "as it is without a copy"
        for path in (given / "raw.dat", given / "frames/1"):
            assert (path.read_bytes(), path.stat().st_mode & 0o222) == (b"spikes", 0)
            path.chmod(0o644)
            path.write_bytes(b"SPIKES")
    assert ((nas / "raw.dat").read_bytes(), (nas / "frames/1").read_bytes()) == (b"spikes", b"spikes")
    assert raw.read() == b"spikes"


@over_mysql
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_what_a_job_has_written_to_a_cached_directory_is_not_given_to_the_next(table: Any, tmp_path: Path) -> None:
    (tmp_path / "atlas/ca1").mkdir(parents=True)
    (tmp_path / "atlas/ca1/map.csv").write_text("ca1")
    table.insert1({"id": 1, "raw": tmp_path / "atlas"})
    ref = table.fetch1("raw")

    def used(given: Path) -> str:
        path = given / "atlas/ca1/map.csv"
        found = path.read_text()
        path.chmod(0o644)  # as root need not
        path.write_text("CA1")
        return found

    with datajoint_file.inputs({"atlas": ref}) as first:
        assert used(first) == "ca1"
        with datajoint_file.inputs({"atlas": ref}) as second:
            assert used(second) == "ca1"
    assert (ref.cache() / "ca1/map.csv").read_text() == "ca1"
