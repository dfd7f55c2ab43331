"""The walk of a local tree: what it says of what cannot be stored."""

from __future__ import annotations

import os
import pickle
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.errors import InvalidKeyError, SourceChangedError, UnsafeNameError
from datajoint_file.pipeline.upload import check_members
from datajoint_file.storage.disk import walk as descriptors
from datajoint_file.transfer.directories import Directory, Listing, LocalTree, TreeMember, walk
from datajoint_file.transfer.pinned_directory import PinnedDirectory
from datajoint_file.transfer.sources import as_source


def test_all_that_cannot_be_stored_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "fine").touch()
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    (tmp_path / "b\nline").touch()
    os.mkfifo(tmp_path / "c")
    told = r"has 3 files and directories .* a/link is a symbolic link to /etc/passwd, outside the directory; "
    with pytest.raises(UnsafeNameError, match=told) as caught:
        walk(Directory(tmp_path), PinnedDirectory.at(str(tmp_path)))
    assert "c is a FIFO" in str(caught.value)
    assert r"'b\nline': " in str(caught.value)
    assert "\n" not in str(caught.value)
    for index in range(12):
        (tmp_path / f"dangling{index:02}").symlink_to("nowhere")
    with pytest.raises(UnsafeNameError, match=r"has 15 files and .*; and 5 more\. Leave them out") as caught:
        walk(Directory(tmp_path), PinnedDirectory.at(str(tmp_path)))
    assert str(caught.value).count("dangling") == 7


def test_all_members_whose_keys_are_too_long_are_told_at_once() -> None:
    names = [f"{index:02}" + "/xxxxxxxx" * 113 for index in range(15)]
    with pytest.raises(
        InvalidKeyError, match=r"member '00/x.* \(likewise of '01/x.*, '09/x[^ ]* and 5 more\): shorten"
    ):
        check_members("project/key", Listing(names, array("Q", [0] * 15)))


SECRET = b"of somebody else"


@pytest.fixture(params=["at once", "step by step"])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a secret, and beside it `run`, which somebody else may change; with `openat2` and without it."""
    if request.param == "step by step":
        monkeypatch.setattr(descriptors, "_syscall", None)
    for name, content in (("home/id", SECRET), ("home/sub/id", SECRET), ("run/id", b"fine"), ("run/sub/id", b"fine")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
    (tmp_path / "run" / "link").symlink_to(tmp_path / "run" / "sub" / "id")
    return tmp_path / "home"


def listed(run: Path) -> LocalTree:
    tree = LocalTree(Directory(run), str(run))
    assert tree.listing.names == ["id", "link", "sub/id"]
    return tree


def exchange(path: Path, target: Path) -> None:
    path.rename(path.with_name(f"moved {path.name}"))
    path.symlink_to(target)


def content_of(member: object) -> bytes:
    with as_source(member).open() as reader:
        return b"".join(iter(lambda: reader.read(7), b""))


@pytest.mark.parametrize("name", ["id", "sub", "sub/id", "", "link"])
def test_nothing_is_read_by_a_link_that_was_put_there_after_the_listing(home: Path, name: str) -> None:
    run = home.parent / "run"
    tree = listed(run)
    assert [content_of(tree.value(one)) for one in tree.listing.names] == [b"fine"] * 3
    sources = [as_source(tree.value(one)) for one in tree.listing.names]
    exchange(run / name, home / (name if name != "link" else "id"))
    for source, value in zip(sources, map(tree.value, tree.listing.names), strict=True):
        for act in (
            lambda value=value: content_of(value),
            lambda source=source: content_of(pickle.loads(pickle.dumps(source)).here().given),
            lambda source=source: source.head(),
        ):
            try:
                assert act() in (b"fine", b"")
            except SourceChangedError:
                continue
    changed = {"": tree.listing.names, "sub": ["sub/id", "link"], "sub/id": ["sub/id", "link"], "link": []}.get(
        name, [name]
    )
    for one in changed:
        with pytest.raises(SourceChangedError, match=r"has become a symbolic link, or|replaced by another file"):
            content_of(tree.value(one))


def test_worker_of_another_machine_takes_its_own_path_if_it_leads_to_the_same_directory(home: Path) -> None:
    run, mount = home.parent / "run", home.parent / "mount"
    exchange(mount_of(mount), run)
    given = PinnedDirectory.at(str(mount))
    assert given.real == str(run)
    there = replace(given, host="another", real=str(home.parent / "not mounted there"))
    for directory in (replace(given, host="another", number=0), there):
        assert content_of(TreeMember(directory, "sub/id")) == b"fine"
    mount.unlink()
    mount.symlink_to(home)
    assert content_of(TreeMember(replace(given, host="another"), "id")) == b"fine"
    exchange(run, home)
    with pytest.raises(SourceChangedError):
        content_of(TreeMember(replace(given, host="another"), "id"))


def mount_of(path: Path) -> Path:
    path.mkdir()
    return path


def test_no_directory_is_listed_by_a_link_that_is_put_there_meanwhile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = home.parent / "run"
    enter, entered = PinnedDirectory.open_directory, list[str]()

    def exchanged(self: PinnedDirectory, below: str) -> int:
        if below == "sub" and "sub" not in entered:
            exchange(run / "sub", home / "sub")
        entered.append(below)
        return enter(self, below)

    monkeypatch.setattr(PinnedDirectory, "open_directory", exchanged)
    with pytest.raises(SourceChangedError, match="sub has become a symbolic link while the directory was listed"):
        walk(Directory(run, exclude="link"), PinnedDirectory.at(str(run)))


def test_link_is_the_file_that_it_was_found_to_end_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = home.parent / "run"
    root = PinnedDirectory.at(str(run))
    _once_after(monkeypatch, os.path, "realpath", lambda: exchange(run / "sub" / "id", home / "id"))
    with pytest.raises(SourceChangedError, match="link has become a symbolic link while"):
        walk(Directory(run, exclude="sub"), root)


def _once_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], object]) -> None:
    """Have somebody else act right after a call of the system's."""
    call, waiting = getattr(module, name), [act]

    def acted(*args: Any, **options: Any) -> Any:
        result = call(*args, **options)
        while waiting:
            waiting.pop()()
        return result

    monkeypatch.setattr(module, name, acted)


def test_directory_within_another_is_reached_by_no_link_below_that(home: Path) -> None:
    top = home.parent / "top"
    top.symlink_to(home.parent)
    tree = LocalTree(Directory(top / "run"), str(top / "run"), str(top))
    assert tree.listing.names == ["id", "link", "sub/id"]
    exchange(home.parent / "run", home)
    with pytest.raises(SourceChangedError, match="run has become a symbolic link"):
        _ = LocalTree(Directory(top / "run"), str(top / "run"), str(top)).listing
