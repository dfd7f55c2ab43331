"""Attacks by what waits at a destination: links, other files, directories, names that clash."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

import datajoint_file
from datajoint_file.cache.entries import Cache
from datajoint_file.errors import CacheError, DestinationError, DestinationExistsError, UnsafeNameError
from datajoint_file.pipeline.reads import Reads
from datajoint_file.storage.disk.looks import look_through
from datajoint_file.storage.disk.walk import enter
from datajoint_file.transfer import arriving_directory
from datajoint_file.transfer.arriving_directory import arriving
from datajoint_file.transfer.atomic_write import atomic_write, publish_now
from tests.security.attacks import attack, attacks
from tests.security.conftest import BYSTANDER, OUTSIDE, Arena, by_database, by_store, on_disk


@by_store
@attacks(27)
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("named", ["by file", "by directory"])
def test_link_at_the_destination_is_never_written_through(
    arena: Arena, overwrite: bool, named: str, tmp_path: Path
) -> None:
    link = tmp_path / "bystander.txt"
    link.symlink_to(arena.outside)
    destination = link if named == "by file" else tmp_path
    if overwrite:
        assert arena.fetch(1).download(destination, overwrite=True).read_bytes() == BYSTANDER
        assert not link.is_symlink()
    else:
        with pytest.raises(DestinationExistsError):
            arena.fetch(1).download(destination)
        assert link.is_symlink()
    arena.check_unharmed()


@by_store
@attacks(27)
def test_dangling_link_at_the_destination_makes_nothing_where_it_points(arena: Arena, tmp_path: Path) -> None:
    link, nowhere = tmp_path / "x", tmp_path / "nowhere"
    link.symlink_to(nowhere)
    with pytest.raises(DestinationExistsError):
        arena.fetch(1).download(link)
    arena.fetch(1).download(link, overwrite=True)
    assert (nowhere.exists(), link.is_symlink(), link.read_bytes()) == (False, False, BYSTANDER)


@by_store
@attacks(27)
@pytest.mark.parametrize("kind", ["directory", "link to a directory", "fifo", "device"])
def test_what_is_no_file_at_the_destination_is_left_alone(arena: Arena, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bystander.txt"
    makers: dict[str, Any] = {
        "directory": os.mkdir,
        "link to a directory": lambda p: p.symlink_to("/tmp"),
        "fifo": os.mkfifo,
        "device": lambda p: p.symlink_to("/dev/null"),
    }
    makers[kind](path)
    before = os.lstat(path)
    for overwrite in (False, True):
        with pytest.raises(DestinationError):
            arena.fetch(1).download(tmp_path, overwrite=overwrite)
    assert os.path.samestat(before, os.lstat(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["bystander.txt"]


@attacks(27)
def test_partial_download_has_a_name_nobody_can_wait_for(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with atomic_write(tmp_path / "x"):
            names |= {path.name for path in tmp_path.iterdir()} - {"x"}
    assert len(names) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@attacks(43)
@pytest.mark.parametrize("what", ["open to everybody", "a link", "another's"])
def test_cache_that_others_could_fill_is_refused(tmp_path: Path, what: str) -> None:
    place = tmp_path / "cache"
    place.mkdir(0o700)
    if what == "open to everybody":
        place.chmod(0o777)
    elif what == "a link":
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
    elif os.geteuid() == 0:
        os.chown(place, 65534, 65534)
    else:
        place.chmod(0o707)
    with pytest.raises(CacheError, match=r"is a link, or belongs to another user, or others may write to it"):
        Cache(place, 10**6).get("ab" * 32, "a.dat", 6, lambda path: path.write_bytes(b"spikes"))
    assert [path.name for path in tmp_path.rglob("*.dat")] == []


@attacks(43)
@pytest.mark.parametrize("what", ["a link", "other bytes", "another's", "a record of its own"])
def test_entry_of_a_cache_that_is_not_what_came_is_brought_again(tmp_path: Path, what: str) -> None:
    def get() -> Path:
        return Cache(tmp_path, 10**6).get("ab" * 32, "a.dat", 6, lambda path: path.write_bytes(b"spikes"))

    path = get()
    times = path.stat()
    path.rename(tmp_path / "moved")
    if what == "a link":
        (tmp_path / "evil").write_bytes(b"SPIKES")
        path.symlink_to(tmp_path / "evil")
    else:
        path.write_bytes(b"SPIKES")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if what == "another's" and os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    if what == "a record of its own":
        record = path.parent.with_suffix(".json")
        (tmp_path / "forged").write_text(json.dumps({"a.dat": [look_through(str(path)), 6]}))
        record.unlink()
        record.symlink_to(tmp_path / "forged")
    assert (get().read_bytes(), get().is_symlink()) == (b"spikes", False)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory where others may write, beside a home where only the victim may, which has a file."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine").write_bytes(b"mine")
    return tmp_path / "shared"


def exchange(shared: Path, becomes: str) -> None:
    """Put something else in the place of what is unfinished; a whole directory of the victim's, for one."""
    unfinished = min(shared.rglob(".datajoint-file-*.partial"), key=lambda path: len(path.parts))
    unfinished.rename(shared.parent / "moved")
    if becomes == "link":
        unfinished.symlink_to(shared.parent / "home")
    else:
        (shared.parent / "home").rename(unfinished)


def require_unharmed(shared: Path) -> None:
    """Nothing was brought but to the target, and nothing of the victim's is gone."""
    found = {path.name for path in shared.parent.rglob("*") if path.name not in ("home", "moved", "shared", "run")}
    assert {name for name in found if not name.endswith(".partial")} == {"mine"}
    assert [path.read_bytes() for path in shared.parent.rglob("mine")] == [b"mine"]


@on_disk
@attacks(27, 53)
@pytest.mark.parametrize("becomes", ["link", "directory"])
def test_directory_that_is_exchanged_while_its_files_come_gets_them_and_nothing_else_does(
    arena: Arena, shared: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    given = shared.parent / "given" / "run"
    for name in ("a", "sub/b", ".ssh/authorized_keys"):
        (given / name).parent.mkdir(parents=True, exist_ok=True)
        (given / name).write_bytes(name.encode())
    (given / "empty").mkdir()
    k = arena.insert(given)
    ref: Any = arena.fetch(k)
    fill, lock, modes = Reads.fill, Lock(), list[int]()

    def exchanging(self: Reads, *args: Any, **how: Any) -> None:
        with lock:
            if not modes:
                modes.extend(stat.S_IMODE(path.stat().st_mode) for path in shared.glob("*.partial"))
                exchange(shared, becomes)
        fill(self, *args, **how)

    def attacked(act: Callable[[], object]) -> None:
        modes.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Reads, "fill", exchanging)
            with pytest.raises(DestinationError, match="was exchanged by somebody else"):
                act()
        assert modes == [0o700]
        (exchanged,) = shared.iterdir()
        assert [path.name for path in (shared.parent / "moved").iterdir()] == []
        if becomes == "directory":
            exchanged.rename(shared.parent / "home")
        else:
            exchanged.unlink()
        assert [path.name for path in (shared.parent / "home").iterdir()] == ["mine"]
        (shared.parent / "moved").rmdir()

    attacked(lambda: ref.download(shared / "run"))
    attacked(lambda: datajoint_file.download(arena.table & {"k": k}, shared))
    attacked(lambda: ref.fs.get("", str(shared / "run"), recursive=True))
    arena.check_unharmed()
    came = ref.download(shared / "run")
    assert sorted(path.name for path in came.iterdir()) == [".ssh", "a", "empty", "sub"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE(came.stat().st_mode) == 0o777 & ~umask
    (came / "a").unlink()
    with monkeypatch.context() as patch:  # into a directory that is there, all comes all the same
        modes.clear()
        patch.setattr(Reads, "fill", exchanging)
        assert (ref.download(shared) / "a").read_bytes() == b"a"
    assert [path.read_bytes() for path in shared.parent.rglob("mine")] == [b"mine"]


@attacks(27, 53)
@pytest.mark.parametrize("moment", ["made", "named", "renamed"])
@pytest.mark.parametrize("becomes", ["link", "directory"])
def test_directory_that_is_exchanged_between_a_look_and_its_use_is_told(
    shared: Path, monkeypatch: pytest.MonkeyPatch, moment: str, becomes: str
) -> None:
    waiting = [True]

    def before(call: Callable[..., Any]) -> Callable[..., Any]:
        def exchanged(*args: Any, **options: Any) -> Any:
            if waiting:
                waiting.clear()
                exchange(shared, becomes)
            return call(*args, **options)

        return exchanged

    def bring() -> None:
        with arriving(shared / "run") as new:
            new.make("sub")
            with new.file("sub/x", publish_now) as file:
                file.write(0, b"evil")
            if moment == "named":
                exchange(shared, becomes)
            elif moment == "renamed":
                monkeypatch.setattr(os, "rename", before(os.rename))
            new.rename(shared / "run")

    if moment == "made":
        monkeypatch.setattr(arriving_directory, "enter", before(enter))
    with pytest.raises(DestinationError):
        bring()
    require_unharmed(shared)


@attacks(27, 53)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_directory_of_somebody_else_is_not_filled(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given_away(directory: int, name: str, flags: int) -> int:
        os.chown(name, 65534, 65534, dir_fd=directory)
        return enter(directory, name, flags)

    monkeypatch.setattr(arriving_directory, "enter", given_away)
    with pytest.raises(DestinationError, match="was exchanged"), arriving(shared / "run"):
        pass
    require_unharmed(shared)


@attacks(27, 53)
@pytest.mark.parametrize("replaces", [False, True])
def test_file_that_is_exchanged_while_it_comes_gives_its_name_to_no_other(shared: Path, replaces: bool) -> None:
    target = shared / "x"
    with (
        pytest.raises(DestinationError, match="somebody else has exchanged it"),
        atomic_write(target, replaces=replaces) as new,
    ):
        new.write(0, b"verified")
        exchange(shared, "link")
    assert not os.path.lexists(target)
    (shared.parent / "moved").unlink()
    require_unharmed(shared)


@by_store
@attacks(7)
def test_files_of_one_name_do_not_replace_each_other(arena: Arena, tmp_path: Path) -> None:
    one, two = (arena.fetch(arena.insert(("same.bin", content))) for content in (b"one", b"two"))
    assert one.path != two.path
    path = one.download(tmp_path)
    with pytest.raises(DestinationExistsError):
        two.download(tmp_path)
    assert path.read_bytes() == b"one"


@on_disk
@attacks(1, 2, 4, 5)
@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/x", "..", "", "a\0b", "a\nb"])
def test_forged_name_never_leaves_the_directory_it_is_downloaded_to(arena: Arena, name: str, tmp_path: Path) -> None:
    directory = tmp_path / "inner"
    directory.mkdir()
    with pytest.raises(UnsafeNameError):
        arena.forged(original_name=name).download(directory)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner"]
    assert arena.outside.read_bytes() == OUTSIDE


READ_UNASKED = [
    attack(51, ".bashrc"),
    attack(51, ".secrets"),
    attack(51, "datajoint.toml"),
    attack(51, "DataJoint.JSON"),
    attack(51, "datajoint.toml. ", name="trailing dot and space"),
    attack(51, "datajoint.toml::$DATA", name="stream"),
    attack(51, "\u200c.profile", name="ignored before a dot"),
    attack(51, "data\u200djoint.toml", name="ignored inside"),
]


@on_disk
@pytest.mark.parametrize("name", READ_UNASKED)
def test_name_that_a_program_looks_for_is_given_by_no_row(arena: Arena, name: str, tmp_path: Path) -> None:
    ref = arena.fetch(arena.insert((name, b"evil")))
    with pytest.raises(UnsafeNameError, match=r'ref.download\("chosen-name"\)'):
        ref.download(tmp_path)
    query = arena.table & {"k": max(arena.row_keys())}
    for layout in ("name", "key"):
        with pytest.raises(UnsafeNameError, match=r"Recording.raw \(k=\d+\): "):
            datajoint_file.download(query, tmp_path, layout=layout)
    with datajoint_file.prefetch(query, directory=tmp_path) as rows, pytest.raises(UnsafeNameError):
        next(rows)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert ref.download(tmp_path / "chosen").read_bytes() == b"evil"
    assert ref.download(tmp_path / "datajoint.toml").read_bytes() == b"evil"  # by the user's own word


@on_disk
@attacks(51)
def test_path_of_a_row_gives_no_hidden_name_either(arena: Arena, tmp_path: Path) -> None:
    for path in (".ssh/x/y", f"{arena.store.project}/x/datajoint.toml"):
        k = arena.plant(arena.sound_row(path=path))
        with pytest.raises(UnsafeNameError):
            datajoint_file.download(arena.table & {"k": k}, tmp_path, layout="path")
    assert list(tmp_path.iterdir()) == []


@by_database
@attacks(51)
def test_other_files_of_a_query_come_all_the_same(arena: Arena, tmp_path: Path) -> None:
    keys = [arena.insert((name, name.encode())) for name in (".profile", "a.bin", "datajoint.toml", "b.bin")]
    with pytest.raises(UnsafeNameError) as caught:
        datajoint_file.download(arena.table & f"k >= {keys[0]}", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.bin"]
    message = str(caught.value)
    assert f"Recording.raw (k={keys[0]}): " in message
    assert "So would 1 other file. The other files are complete (2)" in message


@on_disk
@attacks(50)
def test_destination_with_a_line_feed_breaks_no_line_of_a_log(arena: Arena, tmp_path: Path) -> None:
    directory = tmp_path / "a\nERROR"
    directory.write_bytes(b"")
    with pytest.raises(DestinationError) as caught:
        arena.fetch(1).download(directory / "x")
    assert str(caught.value).isprintable()
