"""Downloads of directories to where one is already: what is written, what is read, and what is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import Settings, parse_settings
from datajoint_file.errors import DestinationError, DestinationExistsError
from datajoint_file.pipeline.directoryref import DirectoryRef
from tests.unit.conftest import NOBODY, InChild

FILES = {"params.py": b"fs = 1", "raw/day1.csv": b"1,2", "raw/day2.csv": b"3,4", "logs/": b""}

Stored = Callable[..., DirectoryRef]


@pytest.fixture
def settings(root: Path) -> Settings:
    """Of a store whose files are none of this machine."""
    return parse_settings({"project": {"name": "lab"}, "storage": {"backend": "memory", "path": str(root)}}, "test")


def content_of(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def test_directory_that_is_there_is_completed_where_its_parent_cannot_be_written(
    stored_directory: Stored, public_directory: Path, as_nobody: InChild
) -> None:
    ref = stored_directory(FILES)
    target = ref.download(public_directory / "parent" / "tree")
    (target / "raw" / "day2.csv").unlink()
    (target / "logs").rmdir()
    if os.geteuid() == 0:
        for path in (target, *target.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    target.parent.chmod(0o555)
    as_nobody(_download, ref, target)
    assert content_of(target) == {name: content for name, content in FILES.items() if content}
    assert sorted(path.name for path in target.iterdir()) == ["logs", "params.py", "raw"]
    target.chmod(0o555)
    as_nobody(_download, ref, target)  # nothing is to come, and nothing is written
    with pytest.raises(DestinationError, match="cannot be written"):
        as_nobody(_download, stored_directory({"more.csv": b"5"}), target)
    target.chmod(0o755)
    target.parent.chmod(0o755)


def _download(ref: DirectoryRef, target: Path) -> None:
    assert ref.download(target.parent) == target


def bytes_read() -> int:
    """Return how many bytes this process has read from files."""
    return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux tells what is read")
def test_getting_over_a_directory_that_is_there_reads_none_of_it(stored_directory: Stored, tmp_path: Path) -> None:
    ref = stored_directory({"a/large.bin": bytes(range(256)) * 2**12})
    fs: Any = ref.fs
    target = tmp_path / "copy"
    fs.get("", str(target), recursive=True)
    (target / "a" / "large.bin").chmod(0o644)
    (target / "a" / "large.bin").write_bytes(b"#" * 2**20)
    before = bytes_read()
    fs.get("", f"{target}/", recursive=True)
    assert bytes_read() - before < 2**19
    assert (target / "a" / "large.bin").read_bytes() == bytes(range(256)) * 2**12


def test_getting_over_a_directory_brings_nothing_that_datajoint_reads_unless_it_is_there(
    stored_directory: Stored, tmp_path: Path
) -> None:
    ref = stored_directory({"a/datajoint.json": b"{}", "a/b.csv": b"1"})
    fs: Any = ref.fs
    (tmp_path / "copy").mkdir()
    with pytest.raises(DestinationExistsError, match=r"DataJoint would read 'a/datajoint\.json'"):
        fs.get("", f"{tmp_path}/copy/", recursive=True)
    assert content_of(tmp_path / "copy") == {}
    (tmp_path / "copy" / "a").mkdir()
    (tmp_path / "copy" / "a" / "datajoint.json").write_bytes(b"{}")
    fs.get("", f"{tmp_path}/copy/", recursive=True)
    assert content_of(tmp_path / "copy") == {"a/datajoint.json": b"{}", "a/b.csv": b"1"}
