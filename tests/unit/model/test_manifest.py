"""Manifests: written and read back, looked up, and refused when anybody else has written them."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datajoint_file.errors import MetadataError, UnsafeNameError
from datajoint_file.model.manifest import HEADING, Manifest, Member, decode_path, encode_path, lines, read_manifest
from datajoint_file.model.names import check_name

DIGEST = "0" * 64
MANY = [f"c/{number:04d}" for number in range(1000)]
"""Of more than are checked at a time."""


def text_of(*names: str, empty: tuple[str, ...] = ()) -> bytes:
    return b"".join(lines([Member(name, 1, DIGEST) for name in names], empty))


def is_name(name: str) -> bool:
    try:
        check_name(name)
        encode_path(name)
    except UnsafeNameError:
        return False
    return True


names = st.text(min_size=1, max_size=12).filter(is_name)
paths = st.lists(st.one_of(names, st.sampled_from(["a", "a.b", "a0", "b", "A", ".x", "…"])), min_size=1, max_size=4)
trees = st.lists(st.tuples(*[paths.map("/".join)], st.booleans()), max_size=20)


def made(tree: list[tuple[str, bool]]) -> tuple[list[str], list[str]]:
    """Files and empty directories of a tree that can be, in the order of a manifest."""
    files, empty = set[str](), set[str]()
    for path, is_file in tree:
        name = encode_path(path)
        above = {name[:position] for position, letter in enumerate(name) if letter == "/"}
        others = files | {one.rstrip("/") for one in empty}
        if above & others or any(one == name or one.startswith(f"{name}/") for one in others):
            continue
        (files if is_file else empty).add(name if is_file else f"{name}/")
    return sorted(files), sorted(empty)


@given(trees)
def test_what_is_written_is_read_back_and_looked_up(tree: list[tuple[str, bool]]) -> None:
    files, empty = made(tree)
    manifest = read_manifest(text_of(*files, empty=tuple(empty)))
    assert [member.name for member in manifest] == files
    assert list(manifest.empty()) == empty
    assert (manifest.files, manifest.size) == (len(files), len(files))
    for name in files:
        assert manifest.find(name) == Member(name, 1, DIGEST)
        assert not manifest.is_directory(name)
    directories = {name[: name.rindex("/")] for name in files if "/" in name} | {name[:-1] for name in empty}
    for directory in directories:
        assert manifest.is_directory(directory)
        assert manifest.find(directory) is None
        below = [name for name in files if name.startswith(f"{directory}/")]
        assert [member.name for member in manifest.below(directory)] == below
        inner = {
            name[len(directory) + 1 :].partition("/")[0]
            for name in [*files, *empty]
            if name.startswith(f"{directory}/")
        }
        assert {name for name, _ in manifest.children(directory)} == inner - {""}
    assert manifest.find("no such file") is None


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5000])
def test_names_that_begin_alike_are_looked_up(count: int) -> None:
    files = sorted(f"0.{number}" for number in range(count))
    manifest = read_manifest(text_of(*files, empty=("logs/",)))
    assert (manifest.files, list(manifest.empty()), [member.name for member in manifest]) == (count, ["logs/"], files)
    assert all(manifest.find(name) == Member(name, 1, DIGEST) for name in files)
    assert manifest.find("0.x") is manifest.find("ö") is manifest.find("logs") is None


@given(names)
def test_names_are_encoded_one_to_one(name: str) -> None:
    assert decode_path(encode_path(name)) == name
    assert encode_path(name).isascii()


def test_sha256sum_accepts_a_manifest_of_odd_names(tmp_path: Path) -> None:
    odd = ["a b", "#x", "-rf", "*", "~", "ö", "a%20b", "x" * 255, "a=1", ".hidden", "…", "$HOME", "'q'", '"q"']
    members = []
    for name in sorted(map(encode_path, odd)):
        (tmp_path / name).write_bytes(name.encode())
        members.append(Member(name, len(name), hashlib.sha256(name.encode()).hexdigest()))
    text = b"".join(lines(members, ["~logs".replace("~", "%7E") + "/"]))
    done = subprocess.run(["sha256sum", "-c", "--strict"], cwd=tmp_path, input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout.count(b": OK"), done.stderr) == (0, len(odd), b"")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "does not begin"),
        (b"# 1\n" + DIGEST.encode() + b"  a\n", "does not begin"),
        (text_of("a")[:-1], "cannot be read from"),
        (text_of("a") + b"x", "cannot be read from"),
        (text_of("a") + b"\n", "cannot be read from"),
        (text_of("a").replace(b"# 1\n", b""), "cannot be read from"),
        (text_of("a").replace(b"# 1\n", b"# 01\n"), "cannot be read from"),
        (text_of("a").replace(b"# 1\n", b"# -1\n"), "cannot be read from"),
        (text_of("a").replace(b"# 1\n", b"# 99999999999999999999\n"), "cannot be read from"),
        (text_of("a").replace(DIGEST.encode(), DIGEST.upper().encode()[:-1] + b"G"), "cannot be read from"),
        (text_of("a").replace(b"  a", b" *a"), "cannot be read from"),
        (text_of("a").replace(b"  a", b"  a/"), "cannot be read from"),
        (text_of("b", "a"), "not in its place"),
        (text_of("a", "a"), "given twice"),
        (text_of("a", empty=("a/",)), "both a file and a directory"),
        (text_of("a", "a/b"), "both a file and a directory"),
        (text_of("a", "a.b", "a/b"), "both a file and a directory"),
        (text_of("a", "a.b", "a/b/c"), "both a file and a directory"),
        (text_of("a/b", empty=("a/",)), "given twice"),
        (text_of("../x"), "not a file name"),
        (text_of("a/../x"), "not a file name"),
        (text_of("/etc/passwd"), "not a file name"),
        (text_of("a//b"), "not a file name"),
        (text_of("./a"), "not a file name"),
        (text_of("a/."), "not a file name"),
        (text_of("a%2F..%2Fb"), "not a file name"),
        (text_of("%2e%2e"), "not a file name"),
        (text_of("a b"), "not a percent-encoded"),
        (text_of("%61"), "not a percent-encoded"),
        (text_of("a%"), "not a percent-encoded"),
        (text_of("a~"), "not a percent-encoded"),
        (text_of("a%00b"), "not a file name"),
        (text_of("x" * 256), "not a"),
        (HEADING + b"# " + b"../x/\n", "not a file name"),
        (HEADING + b"# /\n", "not a file name"),
        (HEADING + b"# a//\n", "not a file name"),
        (HEADING + b"# a/../\n", "not a file name"),
        (text_of("a").replace(b"  a", b"  \xff"), "not a"),
        (text_of(*MANY, "c/0999/../x"), "not a file name"),
        (text_of(*MANY, "c/0999/0"), "both a file and a directory"),
        (text_of(*MANY, "c/0999.0", "c/0999/0"), "both a file and a directory"),
        (text_of(*MANY, "c/0999"), "given twice"),
        (text_of(*MANY, "c/0500"), "not in its place"),
        (text_of(*MANY) + b"x", "cannot be read from b'x'"),
        (
            text_of(*MANY[:-1]) + text_of("b").removeprefix(HEADING) + text_of(MANY[-1]),
            "not in its place|cannot be read",
        ),
        (text_of("x" * 2**17), "cannot be read from"),
    ],
)
def test_hostile_manifest_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(MetadataError, match=said):
        read_manifest(text)


def test_manifest_of_an_empty_directory_is_read() -> None:
    manifest = read_manifest(HEADING)
    assert (list(manifest), list(manifest.children()), manifest.is_directory("")) == ([], [], True)
    assert isinstance(manifest, Manifest)
