"""The storage of a project on a real disk: what is stored where, and that only the right bytes leave."""

from __future__ import annotations

import errno
import hashlib
import io
import mmap
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import Settings, load_settings
from datajoint_file.errors import (
    ConfigurationError,
    ConfigurationNotFoundError,
    DestinationError,
    DestinationExistsError,
    HashMismatchError,
    InvalidKeyError,
    ObjectNotFoundError,
    ReadOnlyStorageError,
    SizeMismatchError,
    SourceChangedError,
    SourceError,
    StorageUnavailableError,
    UnknownProjectError,
    UnsafeNameError,
    UnsafePathError,
    VerificationError,
)
from datajoint_file.model.key_values import key_value
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import own_name, pipeline_named, remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.transfer.sources import File, as_source

SIZES = [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 7]

Store = Callable[..., FileMetadata]
OnDisk = Callable[[FileMetadata], Path]


def content_of(size: int) -> bytes:
    return (b"\0\1spikes of cell" * (size // 16 + 1))[:size]


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if not path.is_dir()]


def tamper(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


# storing


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["path", "stream", "bytes"])
def test_file_is_stored_byte_for_byte_and_described(
    stored: Store, on_disk: OnDisk, tmp_path: Path, size: int, form: str
) -> None:
    content = content_of(size)
    (tmp_path / "recording.dat").write_bytes(content)
    values: dict[str, Any] = {
        "path": tmp_path / "recording.dat",
        "stream": ("recording.dat", io.BytesIO(content)),
        "bytes": ("recording.dat", content),
    }
    metadata = stored(values[form])
    assert on_disk(metadata).read_bytes() == content
    assert (metadata.size, metadata.hash) == (size, f"sha256:{hashlib.sha256(content).hexdigest()}")
    assert (metadata.original_name, metadata.mime_type) == ("recording.dat", "application/octet-stream")


def test_time_recorded_is_when_the_upload_finished_to_the_second(stored: Store) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    moment = stored().timestamp
    assert before <= moment <= datetime.now(timezone.utc)
    assert (moment.tzinfo, moment.microsecond) == (timezone.utc, 0)


def test_what_is_recorded_can_be_read_from_a_row(stored: Store) -> None:
    metadata = stored()
    assert FileMetadata.from_json(metadata.to_json()) == metadata


def test_object_is_where_the_pattern_and_the_layout_say(
    root: Path, make_settings: Callable[..., Settings], stored: Store, cell: Cell
) -> None:
    pipeline = Pipeline(make_settings(root, pattern="subject{subject_id:03d}/{absent}"))
    stored(in_=pipeline)
    (found,) = files_below(root)
    *directories, key_id, name = found.relative_to(root).parts
    assert directories == ["subject007", "ephys", "objects", "Recording-raw_data"]
    assert (len(key_id), name) == (16 + 1 + 26, "recording.dat")


def test_every_write_is_an_object_of_its_own(stored: Store, root: Path) -> None:
    first, second = stored(), stored()
    assert first.path != second.path
    assert len(files_below(root)) == 2


def test_objects_cannot_be_written_to(stored: Store, on_disk: OnDisk) -> None:
    assert not on_disk(stored()).stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)


@pytest.mark.parametrize(
    "name", ["[1]*?.dat", "a b#c%2Fd.dat", "..x", "x..", "ü🐁.dat", "x" * 255, "🐁" * 63, "~", "CON"]
)
def test_odd_name_is_stored_within_the_project_and_read_back(
    stored: Store, root: Path, pipeline: Pipeline, tmp_path: Path, name: str
) -> None:
    metadata = stored((name, b"spikes"))
    assert metadata.original_name == name
    assert files_below(tmp_path) == files_below(root)
    assert pipeline.read(metadata) == b"spikes"


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "raw_data.png"), (b"\x89HDF\r\n\x1a\n", "raw_data.h5"), (b"", "raw_data")],
)
def test_file_without_a_name_is_called_after_its_attribute_and_its_type(stored: Store, head: bytes, name: str) -> None:
    assert stored(io.BytesIO(head)).original_name == name
    assert stored(File(head)).original_name == name


def test_media_type_that_is_given_is_recorded(stored: Store) -> None:
    assert stored(File(b"x", name="a.png", mime_type="x/special")).mime_type == "x/special"


def test_key_that_suits_no_pattern_is_found_before_anything_is_stored(
    root: Path, make_settings: Callable[..., Settings]
) -> None:
    pipeline = Pipeline(make_settings(root, pattern="{label:03d}"))
    cell = Cell("ephys", "Recording", "raw", (key_value("label", "varchar(9)", "x"),))
    with pytest.raises(ConfigurationError, match="cannot be formatted"):
        pipeline.check(as_source(("x", b"")), cell)
    long = Cell("s" * 180, "Recording", "raw", (key_value("label", "varchar(200)", "x" * 190),))
    with pytest.raises(InvalidKeyError, match="object stores allow"):
        Pipeline(make_settings(root, pattern="/".join(["{label}"] * 5))).check(as_source(("x", b"")), long)
    with pytest.raises(InvalidKeyError, match="object stores allow"):
        Pipeline(make_settings(root, pattern="/".join(["p" * 180] * 4))).check(as_source(("x" * 190, b"")), long)
    assert files_below(root) == []


class Failing(io.RawIOBase):
    """Gives a chunk, then raises."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = None
        self.later = error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.error:
            raise self.error
        self.error = self.later
        return content_of(CHUNK_SIZE)


@pytest.mark.parametrize("error", [OSError("broken"), ValueError("broken"), KeyboardInterrupt()], ids=type)
def test_source_that_fails_midway_leaves_no_object_and_no_rest(stored: Store, root: Path, error: BaseException) -> None:
    with pytest.raises((SourceError, KeyboardInterrupt)):
        stored(("x.dat", Failing(error)))
    assert files_below(root) == []


def test_progress_is_told_of_every_byte(pipeline: Pipeline, cell: Cell) -> None:
    told: list[int] = []
    pipeline.ingest(pipeline.plan(as_source(("x", content_of(SIZES[-1]))), cell), told.append)
    assert sum(told) == SIZES[-1]


def test_missing_directory_is_an_unmounted_disk_and_is_not_made(stored: Store, root: Path) -> None:
    root.rmdir()
    with pytest.raises(StorageUnavailableError, match="is its disk mounted"):
        stored()
    assert not root.exists()


def test_directory_given_by_a_reference_starts_at_the_configuration(
    stored: Store, make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = make_settings(Path("${env:LAB_DATA}/lab"))
    monkeypatch.chdir("/")
    monkeypatch.setenv("LAB_DATA", "mounted")
    (tmp_path / "mounted/lab").mkdir(parents=True)
    stored(in_=Pipeline(settings))
    assert len(files_below(tmp_path / "mounted/lab")) == 1


def test_making_a_pipeline_needs_no_store(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    pipeline = Pipeline(make_settings(tmp_path / "nowhere"))
    assert repr(pipeline) == f"Pipeline('lab', 'file: {tmp_path / 'nowhere'}')"


# reading


@pytest.mark.parametrize("size", SIZES)
def test_what_was_stored_is_what_is_read(stored: Store, pipeline: Pipeline, tmp_path: Path, size: int) -> None:
    content = content_of(size)
    metadata = stored(("x.dat", content))
    assert pipeline.read(metadata) == content
    assert pipeline.download(metadata, tmp_path / "copy.dat").read_bytes() == content
    with pipeline.open(metadata) as file:
        assert file.read() == content
    pipeline.verify(metadata)
    assert pipeline.exists(metadata)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], type[VerificationError]]] = {
    "cut": (lambda content: content[:-1], SizeMismatchError),
    "emptied": (lambda content: b"", SizeMismatchError),
    "longer": (lambda content: content + b"x", SizeMismatchError),
    "flipped": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), HashMismatchError),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", SIZES[1:])
def test_no_byte_of_a_damaged_object_is_handed_out(
    stored: Store, on_disk: OnDisk, pipeline: Pipeline, tmp_path: Path, damage: str, size: int
) -> None:
    content, (change, error) = content_of(size), DAMAGES[damage]
    metadata = stored(("x.dat", content))
    tamper(on_disk(metadata), change(content))
    target = tmp_path / "downloads"
    target.mkdir()
    for verb in (pipeline.read, pipeline.verify, lambda stored: pipeline.download(stored, target)):
        with pytest.raises(error, match=f"{metadata.path}: expected .* restore it from a backup"):
            verb(metadata)
    assert list(target.iterdir()) == []


def test_objects_that_were_swapped_are_found(stored: Store, on_disk: OnDisk, pipeline: Pipeline) -> None:
    one, other = stored(("x", b"aaa")), stored(("x", b"bbb"))
    tamper(on_disk(one), b"bbb")
    tamper(on_disk(other), b"aaa")
    for metadata in (one, other):
        with pytest.raises(HashMismatchError):
            pipeline.read(metadata)


def test_open_notices_another_size(stored: Store, on_disk: OnDisk, pipeline: Pipeline) -> None:
    metadata = stored(("x", b"aaa"))
    tamper(on_disk(metadata), b"aa")
    with pytest.raises(SizeMismatchError, match="expected 3 bytes, found 2"):
        pipeline.open(metadata)


def test_open_is_seekable_from_the_start(stored: Store, pipeline: Pipeline) -> None:
    with pipeline.open(stored(("x", b"0123456789"))) as file:
        assert file.tell() == 0
        file.seek(-3, os.SEEK_END)
        assert file.read() == b"789"
        file.seek(2)
        assert file.read(3) == b"234"


def test_object_that_is_gone_is_missing(stored: Store, on_disk: OnDisk, pipeline: Pipeline, tmp_path: Path) -> None:
    metadata, _ = stored(), stored()
    on_disk(metadata).unlink()
    assert not pipeline.exists(metadata)
    for verb in (pipeline.read, pipeline.open, pipeline.verify, lambda stored: pipeline.download(stored, tmp_path)):
        with pytest.raises(ObjectNotFoundError) as caught:
            verb(metadata)
        assert caught.value.key == metadata.path


def test_unmounted_disk_is_no_answer_to_whether_an_object_exists(stored: Store, pipeline: Pipeline, root: Path) -> None:
    metadata = stored()
    root.rename(root.with_name("unmounted"))
    with pytest.raises(StorageUnavailableError):
        pipeline.exists(metadata)


@pytest.mark.parametrize(
    "path", ["lab/../../etc/passwd", "lab/x/../../../etc/passwd", "/etc/passwd", "lab//etc/passwd"]
)
def test_path_that_leaves_the_project_is_refused_whoever_made_the_metadata(
    pipeline: Pipeline, stored: Store, path: str
) -> None:
    sound = stored()
    forged = FileMetadata(path, sound.size, sound.hash, "x", sound.timestamp)
    for verb in (pipeline.read, pipeline.open, pipeline.exists, pipeline.url):
        with pytest.raises((UnsafePathError, UnknownProjectError)):
            verb(forged)


def test_link_planted_in_the_store_is_not_followed(
    pipeline: Pipeline, stored: Store, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "out").symlink_to(tmp_path)
    (root / "link").symlink_to(tmp_path / "secret")
    digest = f"sha256:{hashlib.sha256(b'secret').hexdigest()}"
    for path, error in (("lab/out/secret", UnsafePathError), ("lab/link", ObjectNotFoundError)):
        with pytest.raises(error):
            pipeline.read(FileMetadata(path, 6, digest, "x", stored().timestamp))


def test_url_is_the_objects_address(stored: Store, on_disk: OnDisk, pipeline: Pipeline) -> None:
    metadata = stored()
    assert pipeline.url(metadata) == on_disk(metadata).as_uri()


# names and the system's encoding

IN_ASCII = """
import pathlib, sys
import datajoint_file
from datajoint_file.config import parse_settings
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.sources import as_source

here = sys.argv[1]

def pipeline(path):
    return Pipeline(parse_settings({"project": {"name": "lab"}, "storage": {"backend": "file", "path": path}}, "test"))

def store(pipeline):
    return pipeline.ingest(pipeline.plan(as_source(("\\xfc.dat", b"spikes")), Cell("ephys", "Recording", "raw", ())))

def attempt(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        print(type(error).__name__, ascii(str(error)))

pathlib.Path(here, "store").mkdir()
good = pipeline(here + "/store")
stored = store(good)
attempt(good.download, stored, here)
attempt(good.download, stored, here + "/\\xfc/x.dat")
attempt(as_source, here + "/\\xfc.dat")
attempt(lambda: store(pipeline(here + "/\\xfc")))
attempt(datajoint_file.configure, here + "/\\xfc.toml")
print(repr(datajoint_file.FileRef(stored, "")).replace("\\xfc", ""))
"""


def test_name_that_the_encoding_of_the_system_lacks_is_an_error_of_ours_that_names_the_cause(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-W", "ignore", "-c", IN_ASCII, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **ascii_only}, capture_output=True, text=True, check=False)
    *errors, shown = done.stdout.splitlines()
    assert [line.split()[0] for line in errors] == [
        *["DestinationError"] * 2,
        "SourceError",
        *["ConfigurationError"] * 2,
    ], done.stderr
    assert all("file names are ascii here" in line and "PYTHONUTF8=1" in line for line in errors)
    assert shown.startswith("FileRef('.dat', 6 B")


# downloading


def test_tilde_of_a_destination_is_the_home(
    stored: Store, pipeline: Pipeline, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(downloads))
    monkeypatch.chdir(downloads)
    for given, target in (
        ("~/a.dat", "a.dat"),
        (Path("~/b.dat"), "b.dat"),
        ("~", "recording.dat"),
        ("~/c/", "c/recording.dat"),
    ):
        assert pipeline.download(stored(), given) == downloads / target
        assert (downloads / target).is_file()
    assert not (downloads / "~").exists()


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


def test_directory_receives_the_file_under_its_original_name(
    stored: Store, pipeline: Pipeline, downloads: Path
) -> None:
    assert pipeline.download(stored(), downloads) == downloads / "recording.dat"
    assert [path.name for path in downloads.iterdir()] == ["recording.dat"]


@pytest.mark.parametrize("ending", ["/", "//"])
def test_what_ends_in_a_slash_is_a_directory_that_is_made(
    stored: Store, pipeline: Pipeline, downloads: Path, ending: str
) -> None:
    assert pipeline.download(stored(), f"{downloads}/a/b{ending}") == downloads / "a/b/recording.dat"
    assert (downloads / "a/b/recording.dat").read_bytes() == b"spikes"


def test_what_is_no_directory_and_ends_in_no_slash_is_the_file(
    stored: Store, pipeline: Pipeline, downloads: Path
) -> None:
    assert pipeline.download(stored(), downloads / "a/b") == downloads / "a/b"
    assert (downloads / "a/b").read_bytes() == b"spikes"


def test_file_in_the_place_of_a_directory_is_told_how_to_mean_one(
    stored: Store, pipeline: Pipeline, downloads: Path
) -> None:
    (downloads / "all").write_bytes(b"mine")
    with pytest.raises(DestinationExistsError, match="to mean a directory, end it in / or make it first"):
        pipeline.download(stored(), downloads / "all")
    (downloads / "recording.dat").write_bytes(b"mine")
    with pytest.raises(DestinationExistsError, match=r"give another destination$"):
        pipeline.download(stored(), downloads)


@pytest.mark.parametrize("links", [True, False])
def test_file_that_somebody_makes_while_another_comes_stays(
    stored: Store, pipeline: Pipeline, downloads: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", _no_links)
    with pytest.raises(DestinationExistsError, match="overwrite=True"):
        pipeline.download(stored(), downloads, advance=lambda _: (downloads / "recording.dat").write_bytes(b"mine"))
    assert {path.name: path.read_bytes() for path in downloads.iterdir()} == {"recording.dat": b"mine"}


@pytest.mark.parametrize(("overwrite", "other"), [(True, b"mine"), (False, b"spikes")])
def test_file_that_may_be_replaced_or_is_equal_is_no_obstacle(
    stored: Store, pipeline: Pipeline, downloads: Path, overwrite: bool, other: bytes
) -> None:
    target = downloads / "recording.dat"
    pipeline.download(stored(), downloads, overwrite=overwrite, advance=lambda _: target.write_bytes(other))
    assert {path.name: path.read_bytes() for path in downloads.iterdir()} == {"recording.dat": b"spikes"}


def _no_links(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_link_to_a_directory_is_a_directory(stored: Store, pipeline: Pipeline, downloads: Path) -> None:
    downloads.with_name("link").symlink_to(downloads)
    pipeline.download(stored(), downloads.with_name("link"))
    assert (downloads / "recording.dat").read_bytes() == b"spikes"


def test_relative_destination_starts_at_the_working_directory(
    stored: Store, pipeline: Pipeline, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(downloads)
    pipeline.download(stored(), "copy.dat")
    pipeline.download(stored(), ".")
    assert sorted(path.name for path in downloads.iterdir()) == ["copy.dat", "recording.dat"]


def test_equal_file_is_kept_and_nothing_is_transferred(
    stored: Store, on_disk: OnDisk, pipeline: Pipeline, downloads: Path
) -> None:
    metadata = stored()
    path = pipeline.download(metadata, downloads)
    before = path.stat()
    on_disk(metadata).unlink()
    for overwrite in (False, True):
        assert pipeline.download(metadata, downloads, overwrite=overwrite) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("other", [b"", b"spikez", b"spikes and more", b"s"])
def test_different_file_is_refused_with_the_way_out_and_kept(
    stored: Store, pipeline: Pipeline, downloads: Path, other: bytes
) -> None:
    (downloads / "recording.dat").write_bytes(other)
    with pytest.raises(DestinationExistsError, match="Pass overwrite=True to replace it"):
        pipeline.download(stored(), downloads)
    assert (downloads / "recording.dat").read_bytes() == other
    pipeline.download(stored(), downloads, overwrite=True)
    assert (downloads / "recording.dat").read_bytes() == b"spikes"


@pytest.mark.parametrize("damage", DAMAGES)
def test_failed_overwrite_leaves_what_was_there(
    stored: Store, on_disk: OnDisk, pipeline: Pipeline, downloads: Path, damage: str
) -> None:
    metadata = stored()
    tamper(on_disk(metadata), DAMAGES[damage][0](b"spikes"))
    (downloads / "recording.dat").write_bytes(b"before")
    with pytest.raises(VerificationError):
        pipeline.download(metadata, downloads, overwrite=True)
    assert [path.read_bytes() for path in downloads.iterdir()] == [b"before"]


@pytest.mark.parametrize("broken", [True, False])
def test_link_at_the_destination_is_replaced_and_not_written_through(
    stored: Store, pipeline: Pipeline, downloads: Path, broken: bool
) -> None:
    elsewhere = downloads.with_name("elsewhere")
    if not broken:
        elsewhere.write_bytes(b"precious")
    (downloads / "recording.dat").symlink_to(elsewhere)
    with pytest.raises(DestinationExistsError):
        pipeline.download(stored(), downloads)
    pipeline.download(stored(), downloads, overwrite=True)
    assert (downloads / "recording.dat").read_bytes() == b"spikes"
    assert not (downloads / "recording.dat").is_symlink()
    assert (elsewhere.read_bytes() if elsewhere.exists() else None) == (None if broken else b"precious")


def test_directory_of_the_files_name_is_in_the_way(stored: Store, pipeline: Pipeline, downloads: Path) -> None:
    (downloads / "recording.dat").mkdir()
    for overwrite in (False, True):
        with pytest.raises(DestinationError, match="is a directory"):
            pipeline.download(stored(), downloads, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["x\0y", "x\0/", "~/x\0y"])
def test_destination_that_no_path_can_be_is_refused(
    stored: Store, pipeline: Pipeline, name: str, overwrite: bool
) -> None:
    with pytest.raises(DestinationError, match="cannot be written: a path has no null byte"):
        pipeline.download(stored(), name, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_fifo_at_the_destination_is_left_alone(
    stored: Store, pipeline: Pipeline, downloads: Path, overwrite: bool
) -> None:
    os.mkfifo(downloads / "fifo")
    with pytest.raises(DestinationError, match="is a FIFO, socket or device"):
        pipeline.download(stored(), downloads / "fifo", overwrite=overwrite)
    assert stat.S_ISFIFO((downloads / "fifo").stat().st_mode)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", ".", "", "a/b", "a\\b", "C:\\x", "a\0b", "a\nb", "\u202ex"])
def test_hostile_original_name_is_written_nowhere(
    stored: Store, pipeline: Pipeline, downloads: Path, name: str
) -> None:
    sound = stored()
    forged = FileMetadata(sound.path, sound.size, sound.hash, name, sound.timestamp)
    for destination in (downloads, f"{downloads}/", f"{downloads}/inner/"):
        with pytest.raises(UnsafeNameError):
            pipeline.download(forged, destination)
    assert list(downloads.iterdir()) == []
    assert pipeline.download(forged, downloads / "safe.dat").read_bytes() == b"spikes"


@pytest.mark.parametrize("name", ["🐁" * 63, "x" * 255, "ü" * 127 + "x", "-rf", "[1]*?", "a b", "%2F", "~", "$HOME"])
def test_odd_original_name_is_written_as_it_was(stored: Store, pipeline: Pipeline, downloads: Path, name: str) -> None:
    pipeline.download(stored((name, b"spikes")), downloads)
    assert [path.name for path in downloads.iterdir()] == [name]


def test_equal_file_that_may_not_be_read_is_an_error_of_the_destination(
    public_directory: Path, make_settings: Callable[..., Settings], cell: Cell, as_nobody: Callable[..., Any]
) -> None:
    (public_directory / "project").mkdir(mode=0o755)
    (public_directory / "downloads").mkdir(mode=0o755)
    pipeline = Pipeline(make_settings(public_directory / "project"))
    metadata = pipeline.ingest(pipeline.plan(as_source(("x.dat", b"spikes")), cell))
    target = pipeline.download(metadata, public_directory / "downloads")
    target.chmod(0o000)
    with pytest.raises(DestinationError):
        as_nobody(pipeline.download, metadata, public_directory / "downloads")


# stored files as sources


@pytest.fixture
def ref(stored: Store, pipeline: Pipeline, tmp_path: Path) -> FileRef:
    remember(str(tmp_path), pipeline)
    return FileRef(stored(File(content_of(SIZES[-1]), name="movie.gif", mime_type="image/gif")), str(tmp_path))


def test_stored_file_is_copied_to_an_object_of_its_own(stored: Store, on_disk: OnDisk, ref: FileRef) -> None:
    copied = stored(ref)
    assert copied.path != ref.path
    assert (copied.size, copied.hash, copied.original_name) == (ref.size, ref.hash, ref.original_name)
    assert copied.mime_type == "image/gif"
    assert on_disk(copied).read_bytes() == on_disk(ref.metadata).read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_not_copied(stored: Store, on_disk: OnDisk, ref: FileRef, root: Path, damage: str) -> None:
    path = on_disk(ref.metadata)
    tamper(path, DAMAGES[damage][0](path.read_bytes()))
    with pytest.raises(VerificationError):
        stored(ref)
    assert files_below(root) == [path]


# other projects


@pytest.fixture
def upstream(tmp_path: Path, make_settings: Callable[..., Settings]) -> Pipeline:
    (tmp_path / "upstream").mkdir()
    return Pipeline(make_settings(tmp_path / "upstream", name="upstream"))


@pytest.fixture
def downstream(tmp_path: Path, root: Path, make_settings: Callable[..., Settings]) -> Pipeline:
    projects = {"upstream": {"backend": "file", "path": str(tmp_path / "upstream")}}
    return Pipeline(make_settings(root, projects=projects))


def test_file_of_another_project_is_read_where_the_configuration_says(
    stored: Store, upstream: Pipeline, downstream: Pipeline, downloads: Path
) -> None:
    metadata = stored(in_=upstream)
    assert metadata.path.startswith("upstream/")
    assert downstream.read(metadata) == b"spikes"
    assert downstream.download(metadata, downloads).read_bytes() == b"spikes"


def test_other_projects_are_read_only(stored: Store, upstream: Pipeline, downstream: Pipeline) -> None:
    backend = downstream.stores.of_project("upstream")
    metadata = stored(in_=upstream)
    with pytest.raises(ReadOnlyStorageError):
        backend.upload("upstream/x", io.BytesIO(b"x"))
    with pytest.raises(ReadOnlyStorageError):
        backend.delete(metadata.path)
    assert upstream.read(metadata) == b"spikes"


def test_project_that_is_not_configured_is_named_with_the_table_to_write(
    stored: Store, upstream: Pipeline, pipeline: Pipeline
) -> None:
    metadata = stored(in_=upstream)
    for verb in (pipeline.read, pipeline.open, pipeline.exists, pipeline.url, pipeline.verify):
        with pytest.raises(UnknownProjectError, match=r"belongs to the project 'upstream'.*\[projects\.upstream\]"):
            verb(metadata)


# finding a pipeline by name


def toml(directory: Path, project: str, more: str = "") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "datajoint.toml"
    path.write_text(f'[project]\nname = "{project}"\n[storage]\nbackend = "file"\npath = "objects"\n{more}')
    return path


def test_pipeline_is_found_by_the_name_it_was_registered_by(pipeline: Pipeline) -> None:
    remember("by hand", pipeline)
    assert pipeline_named("by hand", "lab") is pipeline


def test_registering_equal_settings_keeps_the_pipeline_that_is_open(settings: Settings, tmp_path: Path) -> None:
    first = remember(str(tmp_path), Pipeline(settings))
    assert remember(str(tmp_path), Pipeline(settings)) is first


def test_registering_other_settings_replaces_the_pipeline(
    settings: Settings, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    first = remember(str(tmp_path), Pipeline(settings))
    second = remember(str(tmp_path), Pipeline(make_settings(tmp_path / "elsewhere")))
    assert second is not first
    assert pipeline_named(str(tmp_path), "lab") is second


def test_pipeline_is_found_by_the_file_it_is_named_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(tmp_path / "conf", "lab")
    monkeypatch.chdir("/")
    assert pipeline_named(str(path), "lab").settings.storage.path == str(tmp_path / "conf/objects")


def test_pipeline_of_a_file_that_has_changed_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = str(toml(tmp_path / "conf", "lab"))
    first = pipeline_named(path, "lab")
    changed = Pipeline(load_settings(toml(tmp_path / "conf", "lab", 'durability = "none"\n')))
    name = own_name(path, changed.settings)
    assert name == f"{path}#{changed.digest}" == own_name(name, changed.settings)
    assert own_name(path, first.settings) == path
    found = pipeline_named(name, "lab")  # as in a process that has read the file before it was changed
    assert found.settings == changed.settings
    assert pipeline_named(name, "lab") is found
    assert pipeline_named(path, "lab") is first


def test_renewed_credentials_take_the_place_of_the_old_ones(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    old, new = (make_settings(tmp_path).model_copy(update={"directory": Path(where)}) for where in "ab")
    first = remember(own_name(str(tmp_path), old), Pipeline(old))
    assert remember(own_name(str(tmp_path), new), Pipeline(new)) is not first
    assert pipeline_named(str(tmp_path), "lab").settings == new


@pytest.mark.parametrize("name", ["", "/on/another/machine/datajoint.toml", "configure('lab')"])
def test_pipeline_is_found_by_this_processs_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    toml(tmp_path / "here", "lab")
    monkeypatch.chdir(tmp_path / "here")
    assert pipeline_named(name, "lab").settings.storage.path == str(tmp_path / "here/objects")


def test_own_file_of_another_project_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(tmp_path, "lab")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownProjectError, match=rf"'elsewhere'.*{path}.*'lab'.*\[projects\.elsewhere\]"):
        pipeline_named("", "elsewhere")


def test_own_file_that_names_the_other_project_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml(tmp_path, "lab", '[projects.elsewhere]\nbackend = "file"\npath = "other"\n')
    monkeypatch.chdir(tmp_path)
    assert pipeline_named("", "elsewhere").project == "lab"


@pytest.mark.parametrize("name", ["", "/on/another/machine/datajoint.toml", "x" * 5000])
def test_no_configuration_at_all_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(ConfigurationNotFoundError, match=r"project 'lab'.*DATAJOINT_TOML.*datajoint_file\.configure"):
        pipeline_named(name, "lab")


def test_timestamp_of_a_copy_is_its_own(stored: Store, ref: FileRef) -> None:
    assert stored(ref).timestamp - ref.timestamp < timedelta(minutes=1)


def test_missing_object_of_a_project_that_is_not_there_at_all_says_what_to_correct(
    pipeline: Pipeline, cell: Cell
) -> None:
    """After a move, with another bucket or prefix or with an empty directory, every file is missing."""
    sources = [as_source((name, b"x")) for name in ("a.dat", "b.dat")]
    kept, lost = [pipeline.ingest(pipeline.plan(source, cell)) for source in sources]
    pipeline.backend.delete(lost.path)
    with pytest.raises(ObjectNotFoundError):
        pipeline.read(lost)
    assert not pipeline.exists(lost)
    pipeline.backend.delete(kept.path)
    for verb in (pipeline.read, pipeline.open, pipeline.exists):
        with pytest.raises(
            StorageUnavailableError, match=r"no object of the project lab .*is its disk mounted"
        ) as told:
            verb(lost)
        assert told.value.key == lost.path


@pytest.mark.parametrize("size", [2**16, 3 * 2**20], ids=["read", "copied by the system"])
def test_hash_is_of_the_stored_bytes_whatever_a_mapping_of_the_source_does(
    tmp_path: Path, stored: Callable[..., FileMetadata], on_disk: Callable[[FileMetadata], Path], size: int
) -> None:
    path, stop = tmp_path / "mapped.bin", threading.Event()
    path.write_bytes(bytes(size))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:

        def keep_writing() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                mapped[number * 4097 % size] = number % 256

        writer = threading.Thread(target=keep_writing)
        writer.start()
        try:
            for _ in range(20):
                with suppress(SourceChangedError):  # noticed, which is not promised
                    metadata = stored(path)
                    content = on_disk(metadata).read_bytes()
                    assert metadata.hash == f"sha256:{hashlib.sha256(content).hexdigest()}"
        finally:
            stop.set()
            writer.join()
