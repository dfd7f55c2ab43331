"""Scratch directories: there as long as something refers to them, and swept when their process was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import datajoint_file
from datajoint_file.config.loader import find_configuration
from datajoint_file.config.paths import configuration_start
from datajoint_file.errors import ConfigurationError, ScratchError
from datajoint_file.jobs.scratch import Scratch
from tests.docs.pages import ROOT
from tests.unit.conftest import InChild

Left = Callable[[], list[str]]


def capture_one(name: str = "x.txt") -> datajoint_file.Run:
    with datajoint_file.capture(put=name) as run:
        Path(name).write_text("x")
    return run


def test_it_goes_with_the_last_value_of_its_run(left: Left) -> None:
    run = capture_one()
    value = run["x.txt"]
    assert isinstance(value, datajoint_file.CapturedFile)
    directory = run.directory
    del run
    assert Path(value).read_text() == "x"
    del value
    assert len(left()) == 2  # it, and its lock
    del directory
    assert left() == []


def test_it_goes_with_the_process_and_when_it_is_closed(left: Left, program: Callable[..., object]) -> None:
    program(
        "import datajoint_file\nwith datajoint_file.capture(put='x') as run:\n    open('x', 'w').close()\n"
        "kept = run['x']\n"
    )
    assert left() == []
    run = capture_one()
    run.close()
    run.close()
    assert left() == []
    with pytest.raises(datajoint_file.DataJointFileError, match=r"x\.txt has gone with its run, which was closed"):
        run.summary()


KILLED = """
import sys, time
from pathlib import Path
import datajoint_file
with datajoint_file.capture(put='x', log=True) as run:
    Path('x').write_text('half of it')
    Path('locked').mkdir()
    Path('locked/y').touch()
    Path('locked').chmod(0o500)
    Path(sys.argv[1]).touch()
    time.sleep(60)
"""


def test_what_a_killed_process_has_left_is_swept_by_the_next_and_nothing_else(
    disk: Path, left: Left, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    alive = capture_one()
    command = [sys.executable, "-c", KILLED, str(mark)]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)
    try:
        while not mark.exists():
            assert child.poll() is None
            time.sleep(0.05)
        during = set(left())
        capture_one().close()
        assert set(left()) == during, "it is at work"
    finally:
        child.kill()
        child.wait()
    (base,) = disk.iterdir()
    for name in ("elsewhere-0123.lock", "elsewhere-0123", "kept-1"):
        (base / name).mkdir() if not name.endswith("lock") else (base / name).touch()
    before = set(left())
    assert len(before) == 7
    capture_one().close()
    names = {alive.path.parent.name, f"{alive.path.parent.name}.lock"}
    assert set(left()) == names | {"elsewhere-0123.lock", "elsewhere-0123", "kept-1"}


def test_children_made_by_fork_leave_it_to_their_parent(in_child: InChild, left: Left) -> None:
    run = capture_one()

    def forget() -> None:
        run.close()

    in_child(forget)
    assert Path(run.path / "x.txt").exists()
    in_child(lambda: capture_one().close())  # sweeps, and finds the lock taken
    assert Path(run.path / "x.txt").exists()


def test_where_it_is_can_be_chosen_and_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fast").mkdir()
    with datajoint_file.capture(scratch="../fast") as run:
        assert tmp_path / "fast" in Path.cwd().parents
        assert run.origin == tmp_path / "here"
    with pytest.raises(ScratchError, match=r"unmounted: No such file or directory; name another disk by capture"):
        Scratch.made(tmp_path / "unmounted")
    toml = '[project]\nname = "lab"\n[storage]\nbackend = "file"\npath = "store"\n[scratch]\npath = "../toml"\n'
    monkeypatch.delenv("DATAJOINT_FILE__SCRATCH__PATH")
    Path("datajoint.toml").write_text(toml)
    (tmp_path / "toml").mkdir()
    with datajoint_file.capture() as run, datajoint_file.capture() as inner:
        assert tmp_path / "toml" in run.path.parents
        assert tmp_path / "toml" in inner.path.parents, "datajoint.toml is found from within a block, too"
        assert find_configuration(configuration_start()) == tmp_path / "here" / "datajoint.toml"
    monkeypatch.setenv("DATAJOINT_FILE__SCRATCH__PATH", "$SCRATCH")
    with pytest.raises(ConfigurationError, match=r"\[scratch\] path"), datajoint_file.capture():
        pass


def test_a_place_that_others_can_change_is_refused(disk: Path) -> None:
    base = disk / f"datajoint-file-scratch-{os.geteuid()}"
    base.mkdir(mode=0o700)
    base.chmod(0o777)
    with pytest.raises(ScratchError, match="no directory of this user alone"):
        Scratch.made(disk)
    base.rmdir()
    base.symlink_to(disk.parent)
    with pytest.raises(ScratchError, match="no directory of this user alone"):
        Scratch.made(disk)


def test_a_full_disk_has_an_error_of_its_own(tmp_path: Path, in_child: InChild, left: Left) -> None:
    with pytest.raises(ScratchError, match=r"a disk was full while the job ran; .* free: free some"):
        with datajoint_file.capture(put="x"), Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")
    assert left() == []
    in_child(_on_a_small_disk, tmp_path / "small")


def _on_a_small_disk(disk: Path) -> None:
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=1m none {disk} 2>/dev/null"):
        return
    try:
        with pytest.raises(ScratchError, match=r"a disk was full .*, are 0 B free"):
            with datajoint_file.capture(put="x", log=True, scratch=disk):
                Path("x").write_bytes(bytes(2**21))
        assert list(disk.glob("*/*")) == []
    finally:
        os.system(f"umount {disk}")
