"""Captured files are what the block has made, as it was at its end; each thing that can be wrong has its own error."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datajoint_file
from datajoint_file.errors import (
    DestinationError,
    JobError,
    NothingMatchesError,
    OutputConflictError,
    OutputMissingError,
    ProgramError,
    ScratchError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
    SourceNotRegularError,
    UnknownRootError,
    UnsafePathError,
    UnsupportedValueError,
)
from datajoint_file.jobs.outputs import Outputs, collected
from datajoint_file.jobs.patterns import Patterns
from datajoint_file.jobs.scratch import Scratch
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.sources import as_source
from tests.unit.conftest import InChild

Left = Callable[[], list[str]]

PATIENCE_SECONDS = 60


def make(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(path)


def test_outputs_keep_their_tree_and_come_one_by_one(store_tree: Callable[[object], dict[str, bytes]]) -> None:
    before = Path.cwd()
    with datajoint_file.capture(put={"df.csv": "the main output", "plots/*.png": None, "results/": None}) as run:
        assert Path.cwd() == run.path
        assert run.origin == before
        make("df.csv", "plots/b.png", "plots/a.png", "plots/n.txt", "results/run 1/x", "other")
        Path("results/empty").mkdir()
    assert Path.cwd() == before
    assert [file.path for file in run.files] == ["df.csv", "plots/a.png", "plots/b.png", "results/run 1/x"]
    assert [file.title for file in run.files] == ["the main output", None, None, None]
    assert [file.name for file in run.glob("plots/*")] == ["a.png", "b.png"]
    assert repr(run["results"]) == "CapturedDirectory('results', 1 file, 15 B)"
    assert store_tree(run["results/"]) == {"run%201/x": b"results/run 1/x"}
    assert run["results/run 1/x"] == run.files[3]
    assert set(store_tree(run.directory)) == {"df.csv", "plots/a.png", "plots/b.png", "results/run%201/x"}
    assert as_source(datajoint_file.File(run.directory, name="sorted", title="by KS4")).name == "sorted"
    with pytest.raises(OutputMissingError, match=r"other is not among what was captured: df.csv, plots/a.png"):
        run["other"]


@pytest.fixture
def store_tree(pipeline: Pipeline, cell: Cell, root: Path) -> Callable[[object], dict[str, bytes]]:
    """Store a directory, and read what the disk has of it."""

    def store(value: object) -> dict[str, bytes]:
        upload = pipeline.plan(as_source(value), cell)
        assert upload.source.tree is not None
        made = DirectoryUpload(pipeline, upload, upload.source.tree)
        made.send_all()
        home = root.joinpath(*made.finish().path.split("/")[1:])
        return {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}

    return store


def test_a_file_matched_twice_is_there_once_and_the_summary_has_the_hashes_of_rows(
    stored: Callable[..., FileMetadata],
) -> None:
    with datajoint_file.capture(put=["*.csv", "a.csv", "**/*"], log=True) as run:
        make("a.csv", "b/c.csv")
        print("working")
    summary = run.summary()
    assert list(summary["outputs"]) == ["a.csv", "b/c.csv"]
    assert (summary["count"], summary["size"], summary["log"]) == (2, 12, True)
    metadata = stored(run["a.csv"])
    expected = {"size": 5, "hash": f"sha256:{hashlib.sha256(b'a.csv').hexdigest()}"}
    assert summary["outputs"]["a.csv"] == expected == {"size": metadata.size, "hash": metadata.hash}
    assert stored(run.log).original_name == "execution.log"


@pytest.mark.parametrize(
    ("put", "error", "message"),
    [
        ("df.csv", OutputMissingError, r"df.csv was not made by the job; nothing was stored. There is: other.txt\."),
        (["df.csv", "*.png"], OutputMissingError, r"df.csv, \*.png was not made"),
        (
            "*.a",
            NothingMatchesError,
            r"There is: deep/x\.a, other\.txt\. A star ends at a slash: \*\*/\*\.a takes deep/x\.a\. ",
        ),
        ("results/", OutputMissingError, r"results/ was not made"),
        ("*.png", NothingMatchesError, r"\*.png matches nothing that the job has made.*name their directory instead"),
        ("pipe", SourceNotRegularError, r"pipe is a FIFO, socket or device, not a regular file; nothing was stored"),
        ("link", SourceNotRegularError, r"link is a symbolic link to /etc/hostname, outside the directory"),
        ("bad/*", datajoint_file.DataJointFileError, r"is not a file name: it holds a control"),
    ],
)
def test_what_cannot_be_taken_is_an_error_and_is_kept(
    put: object, error: type[Exception], message: str, left: Left, disk: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        with datajoint_file.capture(put=put):
            make("other.txt")
            if put == "*.a":
                make("deep/x.a")
            if put == "pipe":
                os.mkfifo("pipe")
            if put == "link":
                Path("link").symlink_to("/etc/hostname")
            if put == "bad/*":
                make("bad/a\nb")
    (kept,) = disk.glob("*/kept-*")
    assert f"kept in {kept}; remove it" in str(caught.value)
    assert left() == [kept.name]
    assert (kept / "work/other.txt").read_text() == "other.txt"


def test_what_is_not_asked_for_hinders_nobody() -> None:
    with datajoint_file.capture(put=["df.csv", "empty/"]) as run:
        make("df.csv")
        os.mkfifo("pipe")
        Path("out").symlink_to("/etc")
        Path("empty").mkdir()
    assert [file.path for file in run.files] == ["df.csv"]
    assert repr(run["empty"]) == "CapturedDirectory('empty', 0 files, 0 B)"


@pytest.mark.parametrize("how", ["append", "same size and time", "replace", "remove", "link"])
def test_an_output_that_changes_before_it_is_inserted_is_refused(
    how: str, stored: Callable[..., FileMetadata], root: Path
) -> None:
    with datajoint_file.capture(put=["x", "d/"]) as run:
        make("x", "d/y")
    for value, path in ((run["x"], run.path / "x"), (run.directory.value("d/y"), run.path / "d" / "y")):
        status = path.stat()
        if how == "append":
            with path.open("a") as file:
                file.write("more")
        elif how == "same size and time":
            path.write_text("z" * status.st_size)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            path.rename(path.with_name("moved"))
        if how == "replace":
            path.write_text("z" * status.st_size)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif how == "link":
            path.symlink_to("moved")
        expected = SourceError if how == "remove" else SourceChangedError
        with pytest.raises(expected, match=r"nothing was stored|has disappeared"):
            stored(value)
    assert [path for path in root.rglob("*") if path.is_file() and "objects" in path.parts] == []


def test_a_failed_block_leaves_nothing_or_what_it_was_asked_to_keep(
    left: Left, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError), datajoint_file.capture(put="x", log=True):
        make("x")
        _ = 1 / 0
    assert left() == []
    with pytest.raises(ZeroDivisionError) as caught:
        with datajoint_file.capture(put="y", log=True, on_failure="keep") as run:
            make("x")
            print("as far as that")
            _ = 1 / 0
    (name,) = left()
    kept = run.path.parent.with_name(name)
    assert run.kept == kept
    assert (kept / "work" / "x").read_text() == "x"
    log = (kept / "execution.log").read_text()
    assert log.startswith("as far as that\nTraceback")
    assert log.endswith("ZeroDivisionError: division by zero\n")
    assert f"is kept in {kept}" in caplog.text
    if sys.version_info >= (3, 11):
        assert f"is kept in {kept}" in caught.value.__notes__[0]
    with pytest.raises(OutputMissingError), datajoint_file.capture(put="y", on_failure="keep"):
        make("z")
    assert sorted(left())[0] != sorted(left())[1]
    with pytest.raises(JobError, match=r"^no spikes\. What the job has made is kept in "):
        with datajoint_file.capture(put="y", on_failure="keep"):
            raise JobError("no spikes")
    with pytest.raises(ZeroDivisionError), datajoint_file.capture(on_failure="keep") as run:
        shutil.rmtree(run.path.parent)
        _ = 1 / 0
    assert "could not be kept" in caplog.text
    with pytest.raises(ScratchError, match=r"a disk was full.* are .* free"), datajoint_file.capture() as run:
        shutil.rmtree(run.path.parent.parent)
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(UnsupportedValueError, match="the outputs are there when the block has ended well"):
        _ = run.files
    with pytest.raises(UnsupportedValueError, match="there is no log"):
        _ = run.log


def test_blocks_nest_and_the_working_directory_comes_back_even_if_it_has_gone() -> None:
    Path("gone").mkdir()
    os.chdir("gone")
    with datajoint_file.capture(put="outer") as outer:
        make("outer")
        with datajoint_file.capture(put="inner") as inner:
            make("inner")
        assert Path.cwd() == outer.path
        outer.origin.rmdir()
    assert [file.path for run in (outer, inner) for file in run.files] == ["outer", "inner"]
    with pytest.raises(FileNotFoundError):
        Path.cwd()


def test_threads_share_the_working_directory_and_so_leave_it_alone() -> None:
    before, both = Path.cwd(), threading.Barrier(2, timeout=30)

    def work(number: int) -> datajoint_file.Run:
        with datajoint_file.capture(put=f"{number}.txt") as run:
            both.wait()
            (run.path / f"{number}.txt").write_text(str(number))
            assert Path.cwd() == before
        return run

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(work, range(2)))
        assert [run.files[0].name for run in runs] == ["0.txt", "1.txt"]
        with datajoint_file.capture(log=True):
            for options in ({"chdir": True}, {"log": True}):
                with pytest.raises(UnsupportedValueError, match="another thread captures it at this moment: "):
                    pool.submit(_enter, options).result()


def _enter(options: dict[str, bool]) -> None:
    with datajoint_file.capture(**options):  # type: ignore[arg-type]
        pass


def test_a_run_stays_where_it_is_and_its_values_say_what_they_are_elsewhere() -> None:
    with datajoint_file.capture(put="x") as run:
        make("x")
    with pytest.raises(UnsupportedValueError, match="not sent to another process"):
        pickle.dumps(run)
    there = pickle.loads(pickle.dumps(run["x"]))
    assert there == run["x"]
    (run.path / "x").write_text("changed")
    with pytest.raises(SourceChangedError):
        as_source(there)


def test_a_child_that_leaves_the_block_of_its_parent_is_told(in_child: InChild, left: Left) -> None:
    block = datajoint_file.capture(put="x", log=True)
    run = block.__enter__()
    make("x")
    with pytest.raises(JobError, match="left by a child that was forked in it"):
        in_child(lambda: block.__exit__(None, None, None))
    print("still there")
    block.__exit__(None, None, None)
    assert Path(run.log).read_text() == "still there\n"
    assert run.files


def test_decorated_function_returns_its_run_and_what_it_returns_is_a_file() -> None:
    @datajoint_file.captures(put="history.csv", returns="model.npz", log=True)
    def train(epochs: int) -> dict[str, np.ndarray]:
        """Train."""
        make("history.csv")
        print("epoch", epochs)
        return {"weights": np.arange(epochs)}

    run = train(3)
    assert train.__doc__ == "Train."
    assert [file.path for file in run.files] == ["history.csv", "model.npz"]
    assert np.load(run.files[1])["weights"].tolist() == run.result["weights"].tolist() == [0, 1, 2]
    assert Path(run.log).read_text() == "epoch 3\n"


@pytest.mark.parametrize("result", [object(), {1, 2}, None])
def test_what_no_format_writes_is_refused(result: object, left: Left) -> None:
    with pytest.raises(UnsupportedValueError, match="no format writes"):
        datajoint_file.captures(returns="x.npy")(lambda: result)()
    (kept,) = left()
    assert kept.startswith("kept-")


def test_a_run_is_kept_for_another_try_or_closed() -> None:
    with datajoint_file.capture("x", log=True) as run:
        make("x")
        print("made")
    kept = run.keep()
    assert run.kept == run.keep() == kept
    run.close()
    assert ((kept / "work/x").read_text(), (kept / "execution.log").read_text()) == ("x", "made\n")
    uses: list[Callable[[], object]] = [
        run.summary,
        lambda: run.save("y", b"y"),
        lambda: run.command(["true"]),
        lambda: run.notebook("y.ipynb"),
        lambda: as_source(run.directory),
        lambda: as_source(run.log).open(),
    ]
    for use in uses:
        with pytest.raises(SourceNotFoundError, match="has gone with its run"):
            use()
    with datajoint_file.capture("x") as run:
        make("x")
    run.close()
    with pytest.raises(SourceNotFoundError):
        run.keep()


SORTER = """
import sys
import datajoint_file
from pathlib import Path

with datajoint_file.capture("x", on_failure="keep") as run:
    Path("x").write_text("half")
    child = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
    run.command([sys.executable, "-c", child])
"""


def test_sigterm_ends_the_program_of_a_job_and_keeps_what_it_has_made(tmp_path: Path, disk: Path) -> None:
    script = tmp_path / "sorter.py"
    script.write_text(SORTER)
    environment = {**os.environ, "PYTHONPATH": str(Path(datajoint_file.__file__).parents[1])}
    running = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not any(path.read_text() for path in disk.glob("*/*/work/pid")):
            assert time.monotonic() < end
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
    finally:
        running.kill()
    (kept,) = disk.glob("*/kept-*")
    assert (kept / "work/x").read_text() == "half"
    with pytest.raises(ProcessLookupError):
        os.kill(int((kept / "work/pid").read_text()), 0)


def test_a_handler_of_sigterm_is_left_alone_and_a_child_dies_of_it() -> None:
    def handle(number: int, frame: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, handle)
    try:
        with datajoint_file.capture():
            assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)
    with datajoint_file.capture():
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_two_outputs_of_one_name_are_refused() -> None:
    with pytest.raises(OutputConflictError, match=r"result\.json is there already"):
        datajoint_file.captures(returns="result.json")(lambda: make("result.json"))()
    with datajoint_file.capture(put="*") as run:
        run.save("a.bin", b"1")
        with pytest.raises(OutputConflictError):
            run.save("a.bin", b"2")
    assert Path(run["a.bin"]).read_bytes() == b"1"  # type: ignore[arg-type]


def test_options_that_are_none_are_refused(left: Left) -> None:
    wrong: list[Any] = [
        {"on_failure": "never"},
        {"put": "../x"},
        {"name": "a/b"},
        {"inputs": {"x": "y"}},
        {"inputs": [1]},
    ]
    for options in wrong:
        with pytest.raises(datajoint_file.DataJointFileError), datajoint_file.capture(**options):
            pass
    assert left() == []


def test_a_program_that_fails_ends_the_job_without_showing_its_arguments(left: Left) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    fail = [sys.executable, "-c", "import sys; sys.exit(3)", "--password=secret"]
    for command, options, message in (
        (fail, {}, r"ended with 3; nothing was stored"),
        (sleep, {"timeout": 0.2}, r"was stopped after 0.2 seconds"),
        (["no-such-program"], {}, r"the program no-such-program cannot be run: No such file"),
        ([sys.executable, "-c", "import os; os.abort()"], {}, r"was ended by signal 6"),
    ):
        with pytest.raises(ProgramError, match=message) as caught, datajoint_file.capture() as run:
            run.command(command, **options)
        assert "secret" not in str(caught.value)
    said = [sys.executable, "-c", "print('first\\n\\n\\tlast \\x1b[1m', end=''); 1 / 0"]
    with pytest.raises(ProgramError) as caught, datajoint_file.capture(log=True) as run:
        print("before")
        run.command(said)
    _, *lines = str(caught.value).splitlines()
    assert lines[:2] == ["  first", "  '        last \\x1b[1mTraceback (most recent call last):'"]
    assert lines[-1] == "  ZeroDivisionError: division by zero"
    with pytest.raises(ProgramError, match=r"stored\. It said nothing"), datajoint_file.capture(log=True) as run:
        print("before")
        run.command(fail)
    with pytest.raises(UnsupportedValueError, match="in a list"), datajoint_file.capture() as run:
        run.command("ls -l")
    assert left() == []
    assert issubclass(ProgramError, JobError)
    with datajoint_file.capture(put="made") as run:
        run.command([sys.executable, "-c", "open('made', 'w').write('by a program')"])
    assert Path(run["made"]).read_text() == "by a program"  # type: ignore[arg-type]


@pytest.mark.parametrize("is_same_disk", [True, False])
def test_what_is_linked_is_moved_to_a_place_of_its_own(tmp_path: Path, left: Left, is_same_disk: bool) -> None:
    place = tmp_path / "nas" if is_same_disk else Path("/dev/shm", tmp_path.parent.name + tmp_path.name)
    place.mkdir()
    if not is_same_disk:
        assert place.stat().st_dev != tmp_path.stat().st_dev
    _configure(place)
    try:
        _link_to(place)
    finally:
        if not is_same_disk:
            shutil.rmtree(place)
    assert left() == []


def test_a_place_below_no_root_is_told_before_the_job_runs(tmp_path: Path) -> None:
    Path("datajoint.toml").write_text("[project]\nname = 'lab'\n[storage]\nbackend = 'file'\npath = 'store'\n")
    for place, error, said in (
        (Path(), UnknownRootError, "here lies below no root of datajoint.toml.*add.*:\n\n(.*\n)*.*here"),
        (Path("store/objects"), UnsafePathError, "where the project keeps what is stored"),
    ):
        place.mkdir(parents=True, exist_ok=True)
        with pytest.raises(error, match=said), datajoint_file.capture(".", keep={"*": "link"}, link_to=place):
            pytest.fail("the job runs")


def _configure(place: Path) -> None:
    configuration = "[project]\nname = 'lab'\n[storage]\nbackend = 'file'\npath = 'store'\n"
    Path("datajoint.toml").write_text(f"{configuration}[roots.derived]\npath = '{place}'\n")


def _link_to(place: Path) -> None:
    keep: Any = {"small.parquet": "copy", "*.parquet": "link", "movie/": "link"}
    for _ in range(2):
        with datajoint_file.capture(put={"*": "all of it"}, keep=keep, link_to=place) as run:
            make("small.parquet", "large.parquet", "summary.csv", "movie/0/1", "movie/2")
        assert [file.path for file in run.files] == ["small.parquet", "summary.csv"]
        assert run.directory.original_name == "outputs"
        assert list(run.links) == ["large.parquet", "movie/0/1", "movie/2"]
        link = run["large.parquet"]
        assert isinstance(link, datajoint_file.Link)
        assert link == run.links["large.parquet"]
        assert (link.title, link.hash) == ("all of it", f"sha256:{hashlib.sha256(b'large.parquet').hexdigest()}")
        assert Path(link.path).read_bytes() == b"large.parquet"
        assert Path(link.path).stat().st_mode & 0o777 == 0o444
        movie = run["movie/"]
        assert isinstance(movie, datajoint_file.Link)
        assert (Path(movie.path) / "0" / "1").read_text() == "movie/0/1"
        assert run.summary()["outputs"]["movie/2"]["linked"] == str(Path(movie.path) / "2")
        with pytest.raises(OutputMissingError, match=r"small.parquet, summary.csv"):
            run["other"]
    first, second = sorted(place.iterdir())
    typo: Any = {"*.parquet": "link", "moovie/": "link"}
    with pytest.raises(
        NothingMatchesError, match=r"keep: moovie/ matches nothing .*There is: large\.parquet, movie/2\. "
    ):
        with datajoint_file.capture(".", keep=typo, link_to=place) as run:
            make("large.parquet", "movie/2")
    assert run.kept is not None
    shutil.rmtree(run.kept)
    assert sorted(path.name for path in first.rglob("*")) == ["0", "1", "2", "large.parquet", "movie"]
    with pytest.raises(OutputMissingError), datajoint_file.capture(put="x", keep=keep, link_to=place) as run:
        make("large.parquet")
    assert run.kept is not None
    shutil.rmtree(run.kept)
    assert sorted(place.iterdir()) == [first, second]


def test_links_need_a_place_that_is_there(tmp_path: Path, left: Left) -> None:
    for options, error, message in (
        ({"keep": {"x": "link"}}, UnsupportedValueError, "say where they go"),
        ({"keep": {"x": "move"}}, UnsupportedValueError, "one of copy, link"),
        ({"keep": {"x": "link"}, "link_to": tmp_path / "nas"}, DestinationError, "is its disk mounted"),
    ):
        with pytest.raises(error, match=message), datajoint_file.capture(put="x", **options):
            pass
    assert left() == []


def test_workers_of_other_processes_take_captured_directories_for_what_they_were() -> None:
    with datajoint_file.capture(put="d/") as run:
        make("d/x", "d/y")
    source = pickle.loads(pickle.dumps(as_source(run["d"]))).here()
    assert (source.name, source.tree.listing.names) == ("d", ["x", "y"])
    member = as_source(pickle.loads(pickle.dumps(source.tree.value("x"))))
    with member.open() as reader:
        assert reader.read() == b"d/x"
    (run.path / "d" / "x").write_text("z")
    with pytest.raises(SourceChangedError):
        as_source(source.tree.value("x"))


def test_what_cannot_be_linked_costs_nothing_that_was_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_still_written(name: str, scratch: Scratch, patterns: Patterns) -> Outputs:
        found = collected(name, scratch, patterns)
        (scratch.work / "b.dat").write_text("more")
        return found

    monkeypatch.setattr("datajoint_file.jobs.run.collected", and_still_written)
    place = tmp_path / "nas"
    place.mkdir()
    _configure(place)
    options: Any = {"keep": {"*.dat": "link"}, "link_to": place, "on_failure": "keep"}
    with pytest.raises(SourceChangedError), datajoint_file.capture("*.dat", **options) as run:
        make("a.dat", "b.dat")
    assert run.kept is not None
    kept = {path.name: path.read_text() for path in (run.kept / "work").iterdir()}
    assert kept == {"a.dat": "a.dat", "b.dat": "more"}
    assert list(place.iterdir()) == []
