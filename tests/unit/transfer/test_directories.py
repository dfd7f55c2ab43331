"""The walk of a local tree: what it says of what cannot be stored."""

from __future__ import annotations

import os
from array import array
from pathlib import Path

import pytest

from datajoint_file.errors import InvalidKeyError, UnsafeNameError
from datajoint_file.pipeline.directory_upload import check_members
from datajoint_file.transfer.directories import Directory, Listing, walk
from datajoint_file.transfer.pinned_directory import PinnedDirectory


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
