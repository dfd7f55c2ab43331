"""What a stored file and a member of a directory offer alike: names, ranges, text, paths, titles, links."""

from __future__ import annotations

import copy
import gc
import hashlib
import importlib
import io
import json
import logging
import os
import pickle
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datajoint_file.errors import (
    HashMismatchError,
    MemberNotFoundError,
    MetadataError,
    SigningError,
    SizeMismatchError,
    UnsupportedValueError,
    VerificationError,
)
from datajoint_file.model.manifest import Member, encode_path, lines, read_manifest
from datajoint_file.model.metadata import FileMetadata, is_title
from datajoint_file.pipeline import checked_reads, filesystem, reads
from datajoint_file.pipeline.cache_keys import entry_key
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.manifests import _kept
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.pipeline.signing import seconds_of
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.fetch import fetch
from datajoint_file.transfer.sources import File, as_source
from tests.unit.conftest import settings_of

yaml: Any = importlib.import_module("yaml")

TEXT = "Größe\tµm\r\nβ\n" * 50
CONTENT = TEXT.encode()

Stored = Callable[..., FileMetadata]


@pytest.fixture
def ref_of(pipeline: Pipeline, stored: Stored, tmp_path: Path) -> Callable[[object], FileRef]:
    remember(str(tmp_path), pipeline)
    return lambda value: FileRef(stored(value), str(tmp_path))


@pytest.fixture
def ref(ref_of: Callable[[object], FileRef]) -> FileRef:
    return ref_of(("tabelle.utf8.txt", CONTENT))


@pytest.fixture
def changed(ref_of: Callable[[object], FileRef], on_disk: Callable[[FileMetadata], Path]) -> FileRef:
    """One whose bytes are others, as many, and which nobody has read before."""
    ref = ref_of(("new.dat", os.urandom(len(CONTENT))))
    path = on_disk(ref.metadata)
    path.chmod(0o644)
    path.write_bytes(b"#" * len(CONTENT))
    return ref


# names


@pytest.mark.parametrize("name", ["a.dat", "movie.ome.tif", ".zarray", "Makefile", "x.tar.gz", "Köln 1.5%.csv", "a..b"])
def test_names_are_those_of_pathlib(name: str) -> None:
    row = {"size": 1, "hash": "sha256:" + "0" * 64, "timestamp": "2025-01-15T10:30:00Z", "original_name": name}
    path = "lab/ephys/objects/Recording-raw/bqlo5vw7tqnu6k23-i7j3wtcqaoc2jopgqwnwly6uqe/x"
    for found in (
        FileRef.from_row({**row, "path": path}, ""),
        DirectoryRef.from_row({**row, "path": f"{path}/", "files": 0, "format": 2}, ""),
    ):
        same = PurePosixPath(name)
        assert (found.name, found.stem, found.suffix, found.suffixes) == (name, same.stem, same.suffix, same.suffixes)


# ranges

_bound = st.none() | st.integers(-2 * len(CONTENT), 2 * len(CONTENT))


@pytest.mark.parametrize("verified", [0, 10**6])
@pytest.mark.parametrize("policy", ["always", "first", "size", "never"])
def test_range_is_that_of_a_slice(ref: FileRef, verified: int, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_reads, "VERIFIED_BYTES", verified)

    @given(start=_bound, stop=_bound)
    @settings(max_examples=60, deadline=None)
    def check(start: int | None, stop: int | None) -> None:
        assert ref.read(start=start, stop=stop, verify=policy) == CONTENT[start:stop]

    check()


def test_range_of_a_small_file_is_verified_and_of_a_large_one_complete(
    changed: FileRef, on_disk: Callable[[FileMetadata], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HashMismatchError):
        changed.read(start=0, stop=1)
    monkeypatch.setattr(checked_reads, "VERIFIED_BYTES", 10)
    assert changed.read(start=0, stop=1) == b"#"
    on_disk(changed.metadata).write_bytes(b"#" * 20)
    for policy in ("always", "first", "size"):
        with pytest.raises(SizeMismatchError, match=f"expected {len(CONTENT)} bytes, found 20"):
            changed.read(start=0, stop=1, verify=policy)
    with pytest.raises(SizeMismatchError, match="expected 10 bytes from 15 on, found 5"):
        changed.read(start=15, stop=25, verify="never")
    assert changed.read(start=15, stop=20, verify="never") == b"#####"
    assert changed.read(start=5, stop=5) == b""


def test_range_of_a_row_that_tells_another_size_is_not_one_of_what_was_verified(ref: FileRef) -> None:
    assert ref.read(start=1, stop=3) == CONTENT[1:3]
    for size in (len(CONTENT) + 100, len(CONTENT) - 100):
        other = FileRef(replace(ref.metadata, size=size), ref.pipeline)
        with pytest.raises(SizeMismatchError):
            other.read(start=1, stop=3)
    assert ref.read(start=1, stop=3) == CONTENT[1:3]


def test_size_by_position_is_an_error_that_says_what_to_give(ref: FileRef) -> None:
    """As libraries call `read` that take it for an open file; yaml and others would go on with half of it."""
    for ask in (lambda: ref.read(10), lambda: ref.read(-1), lambda: yaml.safe_load(ref)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"is no open file.*\.open\(\) returns"):
            ask()
    with pytest.raises(TypeError, match="positional"):
        ref.read(1, 2)  # type: ignore[call-arg, arg-type]


# text


@pytest.mark.parametrize("newline", [None, "", "\n"])
def test_text_is_what_the_built_in_open_gives(ref: FileRef, tmp_path: Path, newline: str | None) -> None:
    path = tmp_path / "same.txt"
    path.write_bytes(CONTENT)
    with ref.open("r", newline=newline) as ours, path.open(encoding="utf-8", newline=newline) as theirs:
        assert [ours.read(7), ours.readline(), *ours] == [theirs.read(7), theirs.readline(), *theirs]
        assert isinstance(ours, io.TextIOBase)
    with ref.open("rt", encoding="latin-1") as ours:
        assert ours.read(3) == "GrÃ"
    with ref.open("r", encoding="ascii", errors="replace") as ours:
        assert ours.read(4) == "Gr\ufffd\ufffd"
    assert ref.read_text() == TEXT
    assert ref.read_text("latin-1") == CONTENT.decode("latin-1")
    assert ref.read_text("ascii", errors="ignore") == CONTENT.decode("ascii", "ignore")


def test_copies_of_a_text_go_on_where_it_stands(ref: FileRef) -> None:
    with ref.open("r", newline="\n") as file:
        file.readline()
        copies = [copy.copy(file), pickle.loads(pickle.dumps(file))]
        rest = file.read()
    assert rest
    for other in copies:
        assert (other.read(), other.newlines is None) == (rest, True)
        other.close()
    with ref.open("r") as file:
        next(file)
        with pytest.raises(OSError, match="telling position disabled"):
            pickle.dumps(file)


def test_what_is_of_a_text_is_refused_for_bytes_and_unknown_codecs_leave_nothing_open(ref: FileRef) -> None:
    with pytest.raises(ValueError, match="encoding = 'utf-8': that is of a text"):
        ref.open("rb", encoding="utf-8")
    with pytest.raises(LookupError, match="unknown encoding"):
        ref.open("r", encoding="klingon")
    with pytest.raises(UnsupportedValueError, match="text stream"), ref.open("r") as file:
        as_source(file)


# how much is checked


def test_policies_check_what_they_say(ref: FileRef, on_disk: Callable[[FileMetadata], Path], tmp_path: Path) -> None:
    reads: list[Callable[..., Any]] = [
        ref.read,
        lambda verify: ref.download(tmp_path / "copy", overwrite=True, verify=verify).read_bytes(),
    ]
    path, size = on_disk(ref.metadata), len(CONTENT)
    path.chmod(0o644)
    for read in reads:
        path.write_bytes(b"#" * size)
        for policy in ("always", "first"):
            with pytest.raises(HashMismatchError):
                read(verify=policy)
        assert read(verify="size") == read(verify="never") == b"#" * size
        path.write_bytes(b"#" * (size + 1))
        for policy in ("always", "first", "size"):
            with pytest.raises(SizeMismatchError):
                read(verify=policy)
        assert read(verify="never") == b"#" * size
        path.write_bytes(b"#" * (size - 1))
        for policy in ("always", "first", "size", "never"):
            with pytest.raises(SizeMismatchError):
                read(verify=policy)
        with pytest.raises(ValueError, match="verify = 'often': allowed are"):
            read(verify="often")
    with pytest.raises(VerificationError):
        ref.verify()


def test_first_hashes_an_object_again_when_it_is_another(
    ref: FileRef, on_disk: Callable[[FileMetadata], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []

    def told(*args: Any, **options: Any) -> None:
        checks.append(options.get("checks", "always"))
        fetch(*args, **options)

    monkeypatch.setattr(reads, "fetch", told)
    assert [ref.read(verify="first") == CONTENT for _ in range(3)] == [True] * 3
    assert checks == ["always", "size", "size"]
    assert ref.read() == CONTENT
    path = on_disk(ref.metadata)
    path.unlink()
    path.write_bytes(CONTENT)  # equal, but for all that anybody knows
    assert ref.read(verify="first") == CONTENT
    assert checks[3:] == ["always", "always"]
    path.write_bytes(b"#" * len(CONTENT))
    with pytest.raises(HashMismatchError):
        ref.read(verify="first")


def test_configuration_decides_if_the_call_does_not(root: Path, stored: Stored, tmp_path: Path) -> None:
    lax = Pipeline(settings_of(root, object_storage={"verify": "size"}))
    assert lax.digest == Pipeline(settings_of(root)).digest  # it is the same place
    remember(name := str(tmp_path / "lax"), lax)
    metadata = stored(("a.dat", b"spikes"))
    ref = FileRef(metadata, name)
    path = root.joinpath(*metadata.path.split("/")[1:])
    path.chmod(0o644)
    path.write_bytes(b"SPIKES")
    assert ref.read() == ref.read(start=0, stop=6) == ref.fs.cat_file("a.dat") == b"SPIKES"
    assert ref.read(start=1, stop=3) == b"PI"
    assert ref.fs.open("a.dat").read() == b"SPIKES"
    for wrong in (lambda: ref.read(verify="always"), lambda: ref.read(start=1, verify="first"), ref.verify):
        with pytest.raises(VerificationError):
            wrong()


# a filesystem and paths of its own


def test_file_has_a_filesystem_of_its_own(ref_of: Callable[[object], FileRef]) -> None:
    name = "Köln #1 a?b%41::c.csv"
    ref = ref_of((name, CONTENT))
    fs = pickle.loads(pickle.dumps(ref.fs))
    assert fs.find("") == fs.ls("", detail=False) == [name]
    assert fs.ls(name)[0]["size"] == fs.size(name) == len(CONTENT)
    assert (fs.isdir(""), fs.isfile(name), fs.exists("other")) == (True, True, False)
    assert fs.cat_file(name, start=-3) == CONTENT[-3:]
    with fs.open(name, "r", encoding="utf-8", newline="") as file:
        assert file.read() == TEXT
    with pytest.raises(MemberNotFoundError, match="'other' is not here; there is"):
        fs.open("other")
    with pytest.raises(OSError, match="never changed"):
        fs.rm(name)
    assert json.loads(fs.to_json())["args"] == [json.dumps(ref.to_dict()), ref.pipeline]


def test_universal_paths_read_files_and_directories(
    ref_of: Callable[[object], FileRef], stored_directory: Callable[..., DirectoryRef]
) -> None:
    path = ref_of(File(CONTENT, name="tabelle #1.utf8.txt")).upath
    for one in (path, pickle.loads(pickle.dumps(path)), copy.deepcopy(path)):
        assert (one.name, one.suffixes, one.stat().st_size) == ("tabelle #1.utf8.txt", [".utf8", ".txt"], len(CONTENT))
        assert one.read_bytes() == CONTENT
        assert (one.exists(), one.is_file(), (one.parent / "other").exists()) == (True, True, False)
    assert list(path.parent.iterdir()) == [path]
    directory = stored_directory({"params.py": b"x = 1\n", "raw/day 1.csv": b"1, 2", "raw/day 2.csv": b"3, 4"})
    top = directory.upath
    assert sorted(entry.name for entry in top.iterdir()) == ["params.py", "raw"]
    assert (top / "raw" / "day 1.csv").read_bytes() == b"1, 2"
    assert sorted(found.read_text() for found in top.glob("**/*.csv")) == ["1, 2", "3, 4"]
    assert [entry.read_bytes() for entry in (directory / "raw").upath.iterdir()] == [b"1, 2", b"3, 4"]
    assert (directory / "raw/day 1.csv").upath.read_text() == "1, 2"
    assert (top / "raw").is_dir()
    assert "sha256" not in repr(top / "raw")
    with pytest.raises(OSError, match="never changed"):
        (top / "params.py").unlink()


class _Weak(weakref.WeakSet[Any]):
    """Filesystems that are there still."""


def test_filesystems_go_with_their_last_use_and_are_equal(
    ref_of: Callable[[object], FileRef], stored_directory: Callable[..., DirectoryRef]
) -> None:
    zarr: Any = importlib.import_module("zarr")
    array = b'{"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|u1", "compressor": null, "fill_value": 0, '
    array += b'"order": "C", "filters": null}'
    file, directory = (
        ref_of(("a.csv", b"a\n1\n")),
        stored_directory({".zarray": array, "0": b"\x01\x02", "b/c.csv": b"1"}),
    )
    alive = _Weak()
    for ref in (file, directory):
        fs: Any = ref.fs
        alive.add(fs)
        for same in (ref.fs, pickle.loads(pickle.dumps(fs)), type(fs).from_json(fs.to_json())):
            assert (same == fs, hash(same) == hash(fs)) == (True, True)
            alive.add(same)
    assert file.fs != directory.fs
    mapping = pickle.loads(pickle.dumps(directory.fsmap))
    alive.add(mapping.fs)
    store = zarr.storage.FsspecStore.from_mapper(mapping, read_only=True)
    assert store == zarr.storage.FsspecStore.from_mapper(directory.fsmap, read_only=True)
    assert zarr.open(store, mode="r")[:].tolist() == zarr.open(mapping, mode="r")[:].tolist() == [1, 2]
    path = directory.upath / "b" / "c.csv"
    alive.add(path.fs)
    assert pickle.loads(pickle.dumps(path)) == path == directory.upath / "b/c.csv"
    assert (path.read_text(), [*path.parent.iterdir()]) == ("1", [path])
    del fs, same, mapping, store, path
    deadline = time.monotonic() + 60
    while alive and time.monotonic() < deadline:  # the thread of the event loop lets go of its last task, too
        gc.collect()
        time.sleep(0.01)
    assert len(alive) == 0


def test_file_that_is_read_whole_is_verified_whatever_its_size(
    changed: FileRef, stored_directory: Callable[..., DirectoryRef], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = stored_directory({"a/large.txt": CONTENT})
    path = root.joinpath(*(directory / "a/large.txt").path.split("/")[1:])
    path.chmod(0o644)
    path.write_bytes(b"#" * len(CONTENT))
    for module in (filesystem, checked_reads):
        monkeypatch.setattr(module, "VERIFIED_BYTES", 10)
    for ref, name in ((changed, "new.dat"), (directory, "a/large.txt")):
        fs: Any = ref.fs
        upath = ref.upath / name if ref is directory else ref.upath
        for read in (
            lambda fs=fs, name=name: fs.cat_file(name),
            lambda fs=fs, name=name: fs.read_bytes(name),
            lambda fs=fs, name=name: fs.read_text(name),
            lambda fs=fs, name=name: fs.get_mapper("")[name],
            upath.read_bytes,
            upath.read_text,
        ):
            with pytest.raises(HashMismatchError):
                read()


def test_texts_of_filesystems_and_paths_are_those_of_pathlib(ref: FileRef, tmp_path: Path) -> None:
    path = tmp_path / ref.name
    path.write_bytes(CONTENT)
    for options in ({"encoding": "utf-8"}, {"encoding": "latin-1"}, {"encoding": "ascii", "errors": "ignore"}):
        expected = path.read_text(**options)
        assert ref.upath.read_text(**options) == ref.fs.read_text(ref.name, **options) == expected
    assert ref.fs.read_text(ref.name, encoding="utf-8", newline="") == TEXT


_NAMES = st.lists(st.lists(st.sampled_from(["a", "b", "a.b", "ö", "x y"]), min_size=1, max_size=3), max_size=6)


@given(_NAMES, st.lists(st.sampled_from(["", "a", "a/b", "/a", "x y", "a/", "nothing", "a/../b"]), min_size=1))
@settings(max_examples=60, deadline=None)
def test_find_gives_what_fsspec_does_by_going_through_each_directory(paths: list[list[str]], asked: list[str]) -> None:
    names = sorted({encode_path("/".join(path)) for path in paths})
    names = [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
    manifest = read_manifest(b"".join(lines([Member(name, 3, "0" * 64) for name in names], ["empty/"])))
    digest = f"sha256:{hashlib.sha256(repr(names).encode()).hexdigest()}"
    row = {"size": manifest.size, "hash": digest, "timestamp": "2025-01-15T10:30:00Z", "original_name": "run"}
    path = "lab/ephys/objects/Recording-raw/bqlo5vw7tqnu6k23-i7j3wtcqaoc2jopgqwnwly6uqe/run/"
    with TemporaryDirectory() as place:
        remember("found", Pipeline(settings_of(Path(place))))
        ref = DirectoryRef.from_row({**row, "path": path, "files": manifest.files, "format": 2}, "found")
        _kept.keep(entry_key(ref._pipeline().stores, ref.metadata), manifest)
        for fs in (ref.fs, *((ref / "a").fs for _ in range("a" in ref and (ref / "a").is_dir()))):
            for below in asked:
                assert fs.find(below) == [*fs.find(below, maxdepth=99)]
                assert fs.find(below, detail=True).keys() == fs.find(below, maxdepth=99, detail=True).keys()
            assert fs.find("", detail=True) == fs.find("", maxdepth=99, detail=True)
            assert sorted(fs.get_mapper("")) == fs.find("")


def test_members_offer_what_files_do(stored_directory: Callable[..., DirectoryRef], root: Path, tmp_path: Path) -> None:
    directory = stored_directory({"raw/day.1.csv": b"1, 2\n", "note.json": b"[1]"}, title="Two days")
    assert directory.load("note.json") == [1]
    member = directory / "raw/day.1.csv"
    assert isinstance(member, FileRef)
    assert (member.stem, member.suffixes, (directory / "raw").stem) == ("day.1", [".1", ".csv"], "raw")
    assert directory.read("raw/day.1.csv", start=-3) == member.read(start=2) == b" 2\n"[-3:]
    with directory.open("raw/day.1.csv", "r") as file:
        assert file.readline() == "1, 2\n"
    assert (directory.title, member.title, (directory / "raw").title) == ("Two days", None, None)
    with pytest.raises(SigningError, match=r"a link is for one file: \(ref / 'a/b.npy'\).sign"):
        directory.sign("1 day")
    path = root.joinpath(*member.path.split("/")[1:])
    path.chmod(0o644)
    path.write_bytes(b"9, 9\n")
    assert directory.read("raw/day.1.csv", verify="size") == b"9, 9\n"
    copied = directory.download(tmp_path / "copy", verify="size")
    assert (copied / "raw" / "day.1.csv").read_bytes() == b"9, 9\n"
    with pytest.raises(HashMismatchError):
        directory.download(tmp_path / "other")


# titles

TITLES = ["Anderson's Iris flower dataset", "<b>Ødegård & sons</b> 🧠", "x" * 255]
NO_TITLES = ["", " ", "two\nlines", "x" * 256, "\u202eright to left", "\x1b[2J", "\ud800"]


@pytest.mark.parametrize("title", TITLES)
def test_title_is_kept_in_the_row_and_shown_in_the_card(ref_of: Callable[[object], FileRef], title: str) -> None:
    ref = ref_of(File(b"1", name="iris.csv", title=title))
    row = ref.to_dict()
    assert (ref.title, row["title"], "format" in row) == (title, title, False)
    again = FileRef.from_row(json.loads(json.dumps(row)), ref.pipeline)
    assert (again, again.title) == (ref, title)
    card = ref._repr_html_()
    assert card.count("<b>") == 0
    assert "&lt;b&gt;" in card if "<" in title else title.replace("'", "&#x27;") in card
    assert title not in repr(ref)
    assert as_source(ref).title == title
    assert as_source(File(ref, title="Another")).title == "Another"
    assert pickle.loads(pickle.dumps(as_source(File(b"1", name="a", title=title)))).here().title == title


@pytest.mark.parametrize("title", [*NO_TITLES, 7, b"x"])
def test_what_is_no_title_is_refused_and_not_believed(title: Any, tmp_path: Path, ref: FileRef) -> None:
    for value in (File(b"1", name="a.dat", title=title), Directory(tmp_path, title=title)):
        with pytest.raises(UnsupportedValueError, match="is not a line of 1 to 255 printable characters"):
            as_source(value)
    broken = FileRef.from_row({**ref.to_dict(), "title": title}, ref.pipeline)
    with pytest.raises(MetadataError, match="title = "):
        broken.read()
    assert not {"\n", "\u202e"} & set(repr(broken) + broken._repr_html_())


def test_rows_without_a_title_have_none(ref: FileRef) -> None:
    assert (ref.title, "title" in ref.to_dict()) == (None, False)
    assert FileRef.from_row({**ref.to_dict(), "title": None}, "").title is None
    assert "title" not in ref._repr_html_()


@given(st.text(max_size=300))
def test_titles_are_one_line_that_shows_what_it_is(text: str) -> None:
    assert not is_title(text) or (text.isprintable() and 0 < len(text) <= 255)


# links


def test_disk_makes_no_links(ref: FileRef, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SigningError, match=r"a disk makes no links.*ref\.full_path"), caplog.at_level(logging.DEBUG):
        ref.sign()


@pytest.mark.parametrize(
    ("expires", "seconds"), [("1 hour", 3600), (timedelta(minutes=1), 60), (59.2, 60), (1, 1), ("7 days", 604_800)]
)
def test_links_last_as_long_as_is_said(expires: Any, seconds: int) -> None:
    assert seconds_of(expires) == seconds


@pytest.mark.parametrize(
    "expires", [0, -1, "8 days", timedelta(days=7, seconds=1), float("nan"), float("inf"), "soon", True, None, b"1"]
)
def test_links_last_neither_for_ever_nor_for_no_time(expires: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        seconds_of(expires)
