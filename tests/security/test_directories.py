"""Attacks by manifests: what a stored directory is said to have, by whoever may write to the store and to the rows."""

from __future__ import annotations

import hashlib
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import datajoint_file
from datajoint_file.errors import DestinationError, DestinationExistsError, MetadataError
from datajoint_file.model import manifest
from datajoint_file.model.manifest import HEADING, Member, lines, read_manifest
from tests.security.attacks import attack, attacks
from tests.security.conftest import Arena, on_disk

DIGEST = hashlib.sha256(b"evil").hexdigest()


def line(name: str, size: int = 4) -> bytes:
    return f"# {size}\n{DIGEST}  {name}\n".encode()


MANIFESTS = [
    attack(28, line("../../evil"), name="leaves"),
    attack(28, line("a/../../evil"), name="leaves in the middle"),
    attack(28, line("%2E%2E/evil"), name="leaves, encoded"),
    attack(28, line("..%2Fevil"), name="separator, encoded"),
    attack(28, line("/etc/evil"), name="absolute"),
    attack(28, line("evil") + line("evil"), name="twice"),
    attack(28, line("evil") + line("evil/x"), name="file and directory"),
    attack(28, line("evil", 5), name="another size"),
    attack(28, line("evil") + line("more"), name="more files"),
    attack(28, b"# ../evil/\n" + line("x"), name="empty directory that leaves"),
]


@on_disk
@pytest.mark.parametrize("body", MANIFESTS)
def test_manifest_that_fits_its_row_and_no_directory_is_refused(arena: Arena, tmp_path: Path, body: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evil").write_bytes(b"evil")
    k = arena.insert(tmp_path / "run")
    row, text = arena.stored_json(k), HEADING + body
    home = row["path"].removesuffix("run/")
    arena.store.damage(f"{home}~manifest", text)
    forged = arena.plant({**row, "hash": f"sha256:{hashlib.sha256(text).hexdigest()}"})
    ref: Any = arena.fetch(forged)
    for act in (lambda: ref.download(tmp_path / "out" / "here"), lambda: list(ref.files()), lambda: ref.fs.find("")):
        with pytest.raises(MetadataError):
            act()
    arena.remove_planted()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "run", tmp_path / "run" / "evil"]


@on_disk
@attacks(51)
def test_what_datajoint_reads_comes_in_a_new_directory_and_is_put_into_none_that_is_there(
    arena: Arena, tmp_path: Path
) -> None:
    hostile = {
        "a/DataJoint.toml": b"evil",
        ".bashrc": b"evil",
        "datajoint.json": b"{}",
        ".secrets/database.user": b"me",
    }
    for name, content in hostile.items():
        path = tmp_path / "given" / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    k = arena.insert(tmp_path / "given" / "work")
    ref: Any = arena.fetch(k)
    query = arena.table & {"k": k}
    ref.download(tmp_path / "new")  # data, and all of it
    assert datajoint_file.download(query, tmp_path / "all") == [tmp_path / "all" / "work"]
    for came in ("new", "all/work"):
        assert {name: (tmp_path / came / name).read_bytes() for name in hostile} == hostile
    ref.download(tmp_path / "new")  # nothing is missing
    mine = tmp_path / "home" / "work" / "mine.py"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"")
    for overwrite in (False, True):
        for act in (ref.download, partial(datajoint_file.download, query)):
            with pytest.raises(DestinationExistsError, match=r"DataJoint would read .* is there already"):
                act(tmp_path / "home", overwrite=overwrite)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == [mine]


@on_disk
@attacks(51, 27)
def test_get_of_the_filesystem_writes_through_no_link_and_puts_nothing_that_datajoint_reads_into_a_directory(
    arena: Arena, tmp_path: Path
) -> None:
    for name in ("work/sub/in/x", "work/.secrets/database.user", "work/a"):
        path = tmp_path / "given" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"stored")
    ref: Any = arena.fetch(arena.insert(tmp_path / "given" / "work"))
    outside, here = tmp_path / "outside", tmp_path / "here"
    outside.mkdir()
    here.mkdir()
    (here / "a").write_bytes(b"mine")
    for source in ("", "*"):
        with pytest.raises(DestinationExistsError, match=r"DataJoint would read .* is there already"):
            ref.fs.get(source, f"{here}/", recursive=True)
    (here / "in").symlink_to(outside)
    for source in ("sub", "s*", "sub/"):
        with pytest.raises(DestinationError, match="through a symbolic link"):
            ref.fs.get(source, f"{here}/", recursive=True)
    assert (list(outside.iterdir()), (here / "a").read_bytes(), len(list(here.iterdir()))) == ([], b"mine", 2)
    ref.fs.get("a*", f"{here}/")
    assert (here / "a").read_bytes() == b"stored"
    ref.fs.get("sub", str(tmp_path / "new"), recursive=True)
    assert (tmp_path / "new" / "in" / "x").read_bytes() == b"stored"
    assert not list(tmp_path.rglob("*.partial"))


@on_disk
@attacks(32)
def test_manifest_of_very_many_files_takes_little_memory_and_one_that_is_larger_is_not_read(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    count = 50_000
    text = b"".join(lines(Member(f"c/{index:08d}", 1, DIGEST) for index in range(count)))
    tracemalloc.start()
    read = read_manifest(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (read.files, peak < 40 * count) == (count, True)
    (tmp_path / "run").mkdir()
    ref: Any = arena.fetch(arena.insert(tmp_path / "run"))
    monkeypatch.setattr(manifest, "MAX_BYTES", 10)
    with pytest.raises(MetadataError, match="and no manifest more than 10"):
        list(ref.files())
