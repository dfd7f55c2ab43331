"""`FileRef`: a value that travels, shows itself without I/O, and finds its bytes wherever it arrives."""

from __future__ import annotations

import copy
import dataclasses
import json
import operator
import os
import pickle
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from deepdiff import DeepDiff, DeepHash
from fsspec.caching import caches
from scipy.io import loadmat

from datajoint_file.errors import DestinationExistsError, MetadataError, UnsafePathError
from datajoint_file.model.metadata import DIRECTORY_TYPE, FileMetadata
from datajoint_file.model.wording import format_size
from datajoint_file.pipeline.directoryref import DirectoryRef, Subdirectory
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.remote.readahead import FIRST, MOST, cache_of
from datajoint_file.transfer.sources import as_source

ROW: dict[str, Any] = {
    "path": "lab/ephys/objects/Recording-raw_data/k7-x2/recording.dat",
    "size": 12_345_678,
    "hash": "sha256:" + "0123456789abcdef" * 4,
    "original_name": "recording.dat",
    "timestamp": "2025-01-15T10:30:00Z",
    "mime_type": "application/octet-stream",
}
NOWHERE = "/nowhere/datajoint.toml"


def made(**changes: Any) -> FileRef:
    return FileRef.from_row({**ROW, **changes}, NOWHERE)


@pytest.fixture
def ref(pipeline: Pipeline, stored: Callable[..., FileMetadata], tmp_path: Path) -> FileRef:
    """A reference that can be read in this process."""
    remember(str(tmp_path), pipeline)
    return FileRef(stored(), str(tmp_path))


# a value


def test_reference_shows_what_the_row_says() -> None:
    found = made()
    assert (found.path, found.size, found.hash) == (ROW["path"], ROW["size"], ROW["hash"])
    assert (found.original_name, found.mime_type) == ("recording.dat", "application/octet-stream")
    assert found.timestamp.isoformat() == "2025-01-15T10:30:00+00:00"
    assert found.to_dict() == ROW
    assert json.loads(json.dumps(found.to_dict())) == ROW


BAD = [
    ({"path": "lab/../../etc/passwd"}, UnsafePathError, "path = "),
    ({"path": None}, MetadataError, "path = None"),
    ({"size": -1}, MetadataError, "size = -1"),
    ({"hash": "md5:0"}, MetadataError, "hash = 'md5:0'"),
    ({"original_name": "../x"}, MetadataError, "original_name"),
    ({"original_name": "\x1b[2J\n\u202e" * 1000}, MetadataError, "original_name"),
    ({"timestamp": "\ud800\n"}, MetadataError, "timestamp"),
    ({"mime_type": "<script>\n/x"}, MetadataError, "mime_type"),
    ({"format": 3}, MetadataError, "newer than format 2"),
]

USES: dict[str, Callable[[FileRef], Any]] = {
    **{
        name: operator.attrgetter(name)
        for name in (*sorted(set(FileMetadata.__slots__) - {"files", "whole"}), "metadata", "url", "name")
    },
    **{
        name: operator.methodcaller(name)
        for name in ("read", "open", "exists", "verify", "to_dict", "read_bytes", "read_text")
    },
    "download": lambda ref: ref.download("/nowhere/at/all/"),
    "hash": hash,
    "equality": lambda ref: ref == made(),
    "equality from the right": lambda ref: made() == ref,
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "replace": lambda ref: dataclasses.replace(ref, pipeline="x"),
    "deep hash": lambda ref: DeepHash(ref)[ref],
    "insert": as_source,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(("change", "error", "named"), BAD, ids=lambda value: ascii(value)[:30])
def test_reference_of_a_bad_row_is_refused_at_every_use(
    change: dict[str, Any], error: type[MetadataError], named: str, use: Callable[[FileRef], Any]
) -> None:
    bad = made(**change)
    for _ in range(2):
        with pytest.raises(error, match=named) as caught:
            use(bad)
        assert str(caught.value).isprintable()
    assert bad.pipeline == NOWHERE


@pytest.mark.parametrize(("change", "error", "named"), BAD, ids=lambda value: ascii(value)[:30])
def test_reference_of_a_bad_row_shows_what_is_wrong(
    change: dict[str, Any], error: type[MetadataError], named: str
) -> None:
    bad = made(**change)
    assert repr(bad).startswith("FileRef(<")
    assert named in repr(bad)
    for shown in (repr(bad), str([bad]), str(pd.DataFrame({"raw": [bad]})["raw"][0]), bad._repr_html_()):
        assert shown.isprintable()
        assert len(shown) < 500
    assert Shown(bad._repr_html_()).tags == {"code"}
    assert Shown(bad._repr_html_()).text.strip() == repr(bad)


@pytest.mark.parametrize("row", [None, [], [1], "lab/x/y", "{}", 3, 1.5, True, b"{}"], ids=repr)
def test_reference_of_what_is_no_object_is_not_made(row: object) -> None:
    with pytest.raises(MetadataError, match="where a `file` attribute has a JSON object"):
        FileRef.from_row(row, NOWHERE)


def test_row_is_read_once_and_kept() -> None:
    found = made()
    assert found.metadata is found.metadata
    assert isinstance(found.metadata, FileMetadata)
    assert FileRef(found.metadata, NOWHERE).metadata is found.metadata


def test_row_may_be_read_by_many_threads_at_once() -> None:
    for _ in range(50):
        found = made()
        barrier = threading.Barrier(8)

        def read(ref: FileRef = found, together: threading.Barrier = barrier) -> FileMetadata:
            together.wait()
            return ref.metadata

        with ThreadPoolExecutor(8) as threads:
            results = [threads.submit(read) for _ in range(8)]
        assert {result.result() for result in results} == {made().metadata}


def test_reference_has_no_attributes_but_its_own() -> None:
    for name in ("nothing", "_metadata", "__array_interface__", "_row_"):
        with pytest.raises(AttributeError, match=name):
            getattr(made(), name)


@pytest.mark.parametrize("name", ["metadata", "pipeline", "path", "size", "new"])
def test_reference_is_frozen(name: str) -> None:
    found = made()
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        setattr(found, name, "x")
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
        delattr(found, name)
    assert not hasattr(found, "__dict__")


def test_references_are_equal_by_what_they_describe() -> None:
    assert made() == made()
    assert hash(made()) == hash(made())
    assert made() == FileRef.from_row(ROW, "another way to the same pipeline")
    assert len({made(), made(), made(size=1)}) == 2
    assert made() != ROW


@pytest.mark.parametrize(
    "change",
    [
        {"path": "lab/x/y"},
        {"size": 1},
        {"hash": "sha256:" + "0" * 64},
        {"original_name": "x"},
        {"timestamp": "2025-01-15T10:30:01Z"},
        {"mime_type": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_reference_to_anything_else_is_another(change: dict[str, Any]) -> None:
    assert made() != made(**change)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reference_survives_a_pickle(protocol: int) -> None:
    found = pickle.loads(pickle.dumps(made(), protocol))
    assert (found, found.pipeline) == (made(), NOWHERE)


def test_pickle_is_small_and_holds_nothing_of_this_process(ref: FileRef) -> None:
    before = pickle.dumps(ref)
    ref.read()
    assert pickle.dumps(ref) == before
    assert len(before) < 1000


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, dataclasses.replace], ids=lambda copied: copied.__name__)
def test_copy_is_the_same_value(copied: Callable[[FileRef], FileRef]) -> None:
    assert (copied(made()), copied(made()).pipeline) == (made(), NOWHERE)


def test_deep_hash_is_the_same_before_and_after_use(ref: FileRef) -> None:
    before = DeepHash(ref)[ref]
    ref.read()
    with ref.open() as file:
        file.read(1)
    assert ref.exists()
    assert DeepHash(ref)[ref] == before
    assert DeepHash(pickle.loads(pickle.dumps(ref)))[ref] == before


def test_reference_looks_the_same_to_deepdiff_before_and_after_its_row_is_read() -> None:
    unread, read, by_hand = made(), made(), FileRef(made().metadata, NOWHERE)
    assert read.size
    hashes = {DeepHash({"f": found})[found] for found in (unread, read, by_hand)}
    assert len(hashes) == 1
    assert DeepDiff(made(), read) == DeepDiff(read, made()) == DeepDiff(made(), by_hand) == {}
    assert DeepDiff(made(), made(size=1)) != {}


def test_pickle_is_the_same_before_and_after_the_row_is_read() -> None:
    unread, read = made(), made()
    assert read.size
    assert pickle.dumps(unread) == pickle.dumps(read)


def test_deep_hash_tells_files_apart() -> None:
    hashes = [DeepHash(found)[found] for found in (made(), made(size=1), made(path="lab/x/y"), made(mime_type=None))]
    assert len(set(hashes)) == 4


@pytest.mark.parametrize(
    "name",
    [
        "__len__",
        "__iter__",
        "__getitem__",
        "__array__",
        "__array_interface__",
        "__buffer__",
        "__bool__",
        "__enter__",
        "seek",
    ],
)
def test_reference_is_nothing_that_libraries_take_apart(name: str) -> None:
    assert not hasattr(made(), name)


def test_numpy_and_pandas_keep_references_whole() -> None:
    array = np.array([made(), made(size=1)])
    assert (array.shape, array.dtype) == ((2,), np.dtype(object))
    assert array[0] == made()
    assert np.array([made()]).shape == (1,)
    assert np.array(made()).item() == made()
    frame = pd.DataFrame({"raw_data": [made(), None], "id": [1, 2]})
    assert frame["raw_data"][0] == made()
    record = np.array([(1, made())], dtype=[("id", int), ("raw_data", object)])
    assert record["raw_data"][0] == made()


# showing itself


def test_repr_is_one_line() -> None:
    assert repr(made()) == f"FileRef('recording.dat', 12.3 MB, sha256:01234567..., '{ROW['path']}')"


@pytest.mark.parametrize("name", ["zero\u200bwidth.dat", "soft\xadhyphen", "no\xa0break", "\ufeffbom"])
def test_repr_escapes_what_cannot_be_seen(name: str) -> None:
    assert repr(made(original_name=name)).startswith(f"FileRef({name!a}, ")


@pytest.mark.parametrize("name", ["a\n2026 ERROR", "\x1b[2J", "a\0", "cod\u202egpj.exe", "\u2028"])
def test_repr_of_a_value_made_by_hand_is_one_printable_line(name: str) -> None:
    sound = made().metadata
    for forged in (dataclasses.replace(sound, original_name=name), dataclasses.replace(sound, path=name)):
        assert repr(FileRef(forged, NOWHERE)).isprintable()


class Shown(HTMLParser):
    """What a browser makes of the card: elements, and the text in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_card_shows_everything_that_is_recorded() -> None:
    shown = Shown(made()._repr_html_()).text
    for part in ("recording.dat", "12.3 MB (12,345,678 bytes)", "application/octet-stream", ROW["hash"], ROW["path"]):
        assert part in shown
    assert "2025-01-15T10:30:00Z" in shown
    assert "None" not in made(mime_type=None)._repr_html_()


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)<script>", "<img src=x onerror=alert(1)>", "\"'><b onmouseover=x>", "&lt;b&gt;", "</div><svg>"],
)
def test_card_shows_hostile_text_as_text(hostile: str) -> None:
    harmless = Shown(made()._repr_html_())
    for field in ("original_name", "path", "mime_type", "hash"):
        change: dict[str, Any] = {field: hostile}
        shown = Shown(FileRef(dataclasses.replace(made().metadata, **change), hostile)._repr_html_())
        assert (shown.tags, shown.attributes) == (harmless.tags, harmless.attributes)
        assert hostile in shown.text


def test_showing_comparing_and_travelling_need_no_store_and_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", "/nowhere/at/all.toml")
    found = made()
    assert all([repr(found), str(found), found._repr_html_(), hash(found), pickle.dumps(found), found.to_dict()])


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (10**9, "1.0 GB"),
        (10**12, "1.0 TB"),
        (10**15, "1.0 PB"),
        (2**63 - 1, "9223.4 PB"),
    ],
)
def test_size_is_written_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


# reading


def test_reference_reads_through_its_pipeline(ref: FileRef, tmp_path: Path) -> None:
    assert ref.read() == b"spikes"
    assert ref.exists()
    ref.verify()
    assert ref.download(tmp_path / "copy").read_bytes() == b"spikes"
    with ref.open() as file:
        assert (file.read(3), file.seek(1), file.read(2)) == (b"spi", 1, b"pi")
    assert ref.url.startswith("file:///")


def test_download_refuses_a_different_file_unless_told(ref: FileRef, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"other")
    with pytest.raises(DestinationExistsError):
        ref.download(tmp_path / "copy")
    assert ref.download(tmp_path / "copy", overwrite=True).read_bytes() == b"spikes"


def test_download_shows_a_bar_if_asked(ref: FileRef, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ref.download(tmp_path / "one", progress=True)
    assert "downloading recording.dat" in capsys.readouterr().err
    ref.download(tmp_path / "two")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", ["w", "wb", "ab", "r+b", "r+", "", "x"])
def test_stored_file_is_opened_for_reading_only(ref: FileRef, mode: str) -> None:
    with pytest.raises(ValueError, match="a stored file is opened with 'rb'"):
        ref.open(mode)


def tarfile_open(taken: Any) -> None:
    tarfile.open(fileobj=taken).close()


DIRECTORY_ROW = {**ROW, "path": f"{ROW['path']}/", "files": 2, "format": 2, "mime_type": DIRECTORY_TYPE}


@pytest.mark.parametrize("library", [np.load, np.memmap, tarfile_open, loadmat], ids=operator.attrgetter("__name__"))
def test_library_that_takes_a_reference_for_an_open_file_is_told_what_to_give(library: Callable[[Any], Any]) -> None:
    directory = DirectoryRef.from_row(DIRECTORY_ROW, NOWHERE)
    for taken, told in ((made(), ".open()"), (directory, ".fsmap"), (Subdirectory(directory, "a"), ".fsmap")):
        with pytest.raises((TypeError, AttributeError)) as caught:
            library(taken)
        assert told in str(caught.value)
        assert ".cache()" in str(caught.value)
        with pytest.raises(AttributeError, match=r"a \w+ has no attribute 'sizes'$"):
            operator.attrgetter("sizes")(taken)


def test_caching_options_are_taken_by_every_store(ref: FileRef) -> None:
    with ref.open(block_size=1024, cache_type="readahead", cache_options={}) as file:
        assert file.read() == b"spikes"


# in another process

READ_THERE = """
import pickle, sys
from datajoint_file.errors import DataJointFileError
for ref in pickle.load(sys.stdin.buffer):
    try:
        print(ref.read().decode())
    except DataJointFileError as error:
        print(type(error).__name__)
"""


def read_in_another_process(refs: list[FileRef], directory: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ_THERE],
        input=pickle.dumps(refs),
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def toml(path: Path, project: str, root: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[project]\nname = "{project}"\n[storage]\nbackend = "file"\npath = "{root}"\n')
    return path


def test_reference_is_read_in_another_process_by_whatever_configuration_there_is(
    stored: Callable[..., FileMetadata], root: Path, tmp_path: Path
) -> None:
    metadata = stored()
    named = toml(tmp_path / "named/datajoint.toml", "lab", root)
    other = dataclasses.replace(metadata, path=metadata.path.replace("lab/", "elsewhere/", 1))
    here = toml(tmp_path / "here/datajoint.toml", "lab", root).parent
    refs = [
        FileRef(metadata, str(named)),
        FileRef(metadata, "configure('lab')"),
        FileRef(metadata, "/on/another/machine/datajoint.toml"),
        FileRef(other, ""),
        FileRef(dataclasses.replace(metadata, hash="sha256:" + "0" * 64), ""),
    ]
    assert read_in_another_process(refs, here) == [*["spikes"] * 3, "UnknownProjectError", "HashMismatchError"]


def test_reference_is_read_in_another_process_by_the_variable_or_by_its_own_file(
    stored: Callable[..., FileMetadata], root: Path, tmp_path: Path
) -> None:
    metadata = stored()
    named = toml(tmp_path / "named/datajoint.toml", "lab", root)
    missing = tmp_path / "missing.toml"
    refs = [FileRef(metadata, str(named)), FileRef(metadata, "")]
    assert read_in_another_process(refs, Path("/"), DATAJOINT_TOML=str(named)) == ["spikes", "spikes"]
    expected = ["spikes", "ConfigurationNotFoundError"]
    assert read_in_another_process(refs, Path("/"), DATAJOINT_TOML=str(missing)) == expected


def test_caches_that_the_description_of_open_names_are_there() -> None:
    named = set(re.findall(r'``"(\w+)"``', str(FileRef.open.__doc__))) - {"rb", "r"}
    assert len(named) >= 5
    assert named <= set(caches)
    for cache_type in named:
        assert cache_of(lambda start, stop: b"spikes"[start:stop], 6, cache_type=cache_type)._fetch(2, 4) == b"ik"


def test_bytes_at_a_time_are_those_that_the_description_of_open_says() -> None:
    assert f"{FIRST // 2**10} KiB at a new place, and up to {MOST // 2**20} MiB" in str(FileRef.open.__doc__)
