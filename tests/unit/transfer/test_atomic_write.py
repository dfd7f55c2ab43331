"""Files that take the place of others: whose they are, and who may read them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.transfer.atomic_write import atomic_write, write_text


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o4755])
def test_what_replaces_a_file_is_for_the_same_people(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, 54321, 54321)
    path.chmod(mode)
    with atomic_write(path) as new:
        assert os.fstat(new.descriptor).st_mode & 0o777 == mode & 0o777  # from the first byte on
        new.write(0, b"new")
    status = path.stat()
    assert (path.read_bytes(), status.st_mode & 0o7777) == (b"new", mode & 0o777)
    assert (status.st_uid, status.st_gid) == (54321, 54321)


def test_group_that_cannot_be_kept_gets_nothing_instead(public_directory: Path, as_nobody: Callable[..., Any]) -> None:
    path = public_directory / "x"
    path.write_bytes(b"old")
    os.chown(public_directory, 65534, -1)
    path.chmod(0o640)
    as_nobody(write_text, path, "new")
    assert path.read_text() == "new"
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (65534, 0o600)


def test_new_file_and_one_in_place_of_a_link_are_as_the_umask_says(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", tmp_path / "link"
    secret.write_bytes(b"")
    secret.chmod(0o600)
    link.symlink_to(secret)
    before = os.umask(0o027)
    try:
        for path in (tmp_path / "new", link):
            write_text(path, "text")
            assert path.lstat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)
