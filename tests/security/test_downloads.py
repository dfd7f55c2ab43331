"""Attacks by what waits at a destination: links, other files, directories, names that clash."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.errors import DestinationError, DestinationExistsError, UnsafeNameError
from datajoint_file.transfer.atomic_write import atomic_write
from tests.security.attacks import attacks
from tests.security.conftest import BYSTANDER, OUTSIDE, Arena, by_store, on_disk


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


@on_disk
@attacks(50)
def test_destination_with_a_line_feed_breaks_no_line_of_a_log(arena: Arena, tmp_path: Path) -> None:
    directory = tmp_path / "a\nERROR"
    directory.write_bytes(b"")
    with pytest.raises(DestinationError) as caught:
        arena.fetch(1).download(directory / "x")
    assert str(caught.value).isprintable()
