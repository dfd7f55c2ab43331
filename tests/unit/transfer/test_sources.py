"""What users give: recognised without reading a byte, read once, and refused with its own clear error."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import pickle
import socket
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pytest

from datajoint_file.errors import (
    DataJointFileError,
    MetadataError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceIsDirectoryError,
    SourceNotFoundError,
    SourceNotRegularError,
    SourceWarning,
    UnsafeNameError,
    UnsupportedValueError,
)
from datajoint_file.model.media_types import HEAD_SIZE
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.sources import ACCEPTED, File, Source, as_source

BYTES = b"12 spikes"
LONG = os.urandom(3 * HEAD_SIZE + 1)


def read(source: Source, size: int = -1) -> bytes:
    """Read *source* to its end in pieces of *size*, as a backend does."""
    with source.open() as reader:
        if size < 0:
            return reader.read()
        pieces = []
        while piece := reader.read(size):
            pieces.append(piece)
        return b"".join(pieces)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "recording.dat"
    path.write_bytes(BYTES)
    os.utime(path, (1_700_000_000, 1_700_000_000))  # long ago: whatever changes it now, changes its time
    return path


class Bytes:
    """A path of bytes, as `os.PathLike` allows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


# paths


@pytest.mark.parametrize(
    "form", [str, Path, Bytes, lambda path: PurePosixPath(path)], ids=["str", "Path", "bytes", "Pure"]
)
def test_path_of_any_form_is_a_source(path: Path, form: Callable[[Path], Any]) -> None:
    source = as_source(form(path))
    assert (source.name, source.size, source.mime_type, source.hash) == ("recording.dat", len(BYTES), None, None)
    assert read(source) == source.head() == BYTES


def test_relative_path_means_the_file_of_the_moment_it_was_given(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    source = as_source("recording.dat")
    monkeypatch.chdir("/")
    assert read(source) == BYTES


def test_relative_path_in_a_removed_directory_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SourceNotFoundError, match=r"which was removed\)/etc/hostname does not exist"):
        as_source("etc/hostname")


def test_link_is_followed_and_its_own_name_kept(path: Path) -> None:
    link = path.with_name("link.dat")
    link.symlink_to(path)
    source = as_source(link)
    assert (source.name, source.size, read(source)) == ("link.dat", len(BYTES), BYTES)


@pytest.mark.parametrize("name", ["[1]*?.dat", "a b#c%d.dat", "-rf", "s3:x", "~", "ü.dat", "{a}.dat", "$HOME"])
def test_odd_name_of_a_file_is_literal(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BYTES)
    (tmp_path / "1x.dat").write_bytes(b"another")
    assert (as_source(tmp_path / name).name, read(as_source(tmp_path / name))) == (name, BYTES)


def test_recognising_a_path_reads_nothing(path: Path) -> None:
    os.truncate(path, 2**40)
    assert as_source(path).size == 2**40


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "the path is empty"),
        ("/nowhere/x.dat", "/nowhere/x.dat does not exist"),
        ("/etc/hostname/x", "/etc/hostname/x does not exist"),
        ("s3://bucket/x.dat", "s3://bucket/x.dat is a URL, not the path of a file here; open it and give the stream"),
        ("file:///etc/hostname", "is a URL"),
        ("https://x/y", "is a URL"),
        ("~/x", "/~/x does not exist"),
        ("/nowhere/\n2026 ERROR", r"'/nowhere/\n2026 ERROR' does not exist"),
    ],
)
def test_missing_path_is_named(given: str, message: str) -> None:
    with pytest.raises(SourceNotFoundError) as caught:
        as_source(given)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_path_of_a_shell_is_refused_with_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.dat", "b.dat", "c.dat", "d.dat", "e.csv"):
        (tmp_path / name).touch()
    with pytest.raises(SourceNotFoundError, match=rf"exist; `~` is not expanded: give {tmp_path}/a.dat"):
        as_source("~/a.dat")
    for pattern in (f"{tmp_path}/*.dat", Path("~/[abcd].dat")):
        with pytest.raises(SourceNotFoundError, match="not expanded: give one file, such as") as caught:
            as_source(pattern)
        found = str(caught.value).partition(" such as ")[2].split(", ")
        assert len(found) == 3
        assert {Path(name) for name in found} < {tmp_path / f"{letter}.dat" for letter in "abcd"}
    with pytest.raises(SourceNotFoundError, match="and no file matches"):
        as_source(tmp_path / "*.h5")


def test_link_to_nothing_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(SourceNotFoundError, match="link does not exist"):
        as_source(tmp_path / "link")


@pytest.mark.parametrize("given", ["a\0b", "x" * 300, "/" + "x/" * 3000])
def test_impossible_path_cannot_be_looked_at(given: str) -> None:
    with pytest.raises(SourceError, match="cannot be looked at"):
        as_source(given)


def test_links_in_a_circle_cannot_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(SourceError, match="cannot be looked at"):
        as_source(tmp_path / "a")


@pytest.mark.parametrize("given", [".", "..", "sub/..", "sub/", "sub/."])
def test_directory_is_called_what_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    (tmp_path / "run" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "run")
    source = as_source(given)
    assert source.name == {"..": tmp_path.name, "sub/": "sub", "sub/.": "sub"}.get(given, "run")
    assert source.tree is not None


def test_root_directory_has_no_name() -> None:
    with pytest.raises(UnsafeNameError, match="is empty"):
        as_source("/")
    assert as_source(Directory("/", name="all")).name == "all"


def test_directory_is_of_a_path_that_is_one(path: Path, tmp_path: Path) -> None:
    for given, said in ((Directory(path), "is no directory"), (Directory(3), "of a path, not of a value of type int")):
        with pytest.raises(UnsupportedValueError, match=said):
            as_source(given)
    with pytest.raises(UnsupportedValueError, match="no media type of its own"):
        as_source(File(tmp_path, mime_type="text/plain"))
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        as_source(Directory(tmp_path / "nowhere"))
    bad: list[Any] = ["", [""], [3], "/"]
    for globs in bad:
        with pytest.raises(UnsupportedValueError, match="give patterns"):
            Directory(tmp_path, exclude=globs)
    with pytest.raises(UnsupportedValueError, match="nothing would be stored"):
        Directory(tmp_path, include=[])
    assert Directory(tmp_path, include=Path("a/b")).include == ("a/b",)


def test_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceNotRegularError, match="fifo is a FIFO, socket or device"):
        as_source(tmp_path / "fifo")


def test_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # addresses of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(SourceNotRegularError, match="FIFO, socket or device"):
            as_source("socket")


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/urandom"])
def test_device_is_refused(device: str) -> None:
    with pytest.raises(SourceNotRegularError, match="device"):
        as_source(device)


def test_file_that_may_not_be_read_is_refused(public_directory: Path, as_nobody: Callable[..., Any]) -> None:
    path = public_directory / "recording.dat"
    path.write_bytes(BYTES)
    path.chmod(0o000)
    with pytest.raises(SourceAccessError, match="may not be read by this user"):
        as_nobody(as_source, path)


def test_file_in_a_directory_that_may_not_be_entered_is_refused(
    public_directory: Path, as_nobody: Callable[..., Any]
) -> None:
    closed = public_directory / "closed"
    closed.mkdir(mode=0o700)
    (closed / "recording.dat").write_bytes(BYTES)
    closed.chmod(0o000)
    try:
        with pytest.raises(SourceAccessError, match="may not be looked at by this user"):
            as_nobody(as_source, closed / "recording.dat")
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize("name", ["a\nb.dat", "\u202ea.dat", "C:x", "a\\b"])
def test_file_of_an_impossible_name_needs_another(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BYTES)
    with pytest.raises(UnsafeNameError, match=r"Give it another name with File\(path, name=…\)"):
        as_source(tmp_path / name)
    assert read(as_source(File(tmp_path / name, name="b.dat"))) == BYTES


def test_file_whose_name_is_no_text_needs_another(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.dat")
    path.write_bytes(BYTES)
    with pytest.raises(UnsafeNameError, match="surrogate"):
        as_source(path)
    assert as_source(File(path, name="x.dat")).name == "x.dat"


# a file that changes while it is read


def change_while_reading(path: Path, change: Callable[[], object], size: int = 4) -> None:
    with as_source(path).open() as reader:
        reader.read(size)
        change()
        while reader.read(size):
            pass


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    path.write_bytes(BYTES[::-1])


def truncate(path: Path) -> None:
    os.truncate(path, 6)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(BYTES)
    os.utime(other, (1_700_000_000, 1_700_000_000))
    other.replace(path)


@pytest.mark.parametrize("change", [append, rewrite, truncate, empty, replace])
@pytest.mark.parametrize("size", [1, 4, len(BYTES)])
def test_file_that_changes_while_it_is_read_is_an_error(path: Path, change: Callable[[Path], None], size: int) -> None:
    with pytest.raises(SourceChangedError, match=r"while it was read.*; nothing was stored"):
        change_while_reading(path, lambda: change(path), size)


@pytest.mark.parametrize("change", [append, rewrite, truncate, replace])
def test_file_that_changes_while_it_is_read_at_once_is_an_error(path: Path, change: Callable[[Path], None]) -> None:
    with pytest.raises(SourceChangedError):
        with as_source(path).open() as reader:
            change(path)
            reader.read()


def test_file_removed_while_it_is_read_was_what_it_was(path: Path) -> None:
    change_while_reading(path, path.unlink)


@pytest.mark.parametrize("change", [append, rewrite, truncate, replace])
def test_file_that_changed_before_it_is_read_is_read_as_it_is(path: Path, change: Callable[[Path], None]) -> None:
    source = as_source(path)
    change(path)
    assert read(source, 4) == path.read_bytes()


def test_file_that_goes_away_before_it_is_read_is_missing(path: Path) -> None:
    source = as_source(path)
    path.unlink()
    with pytest.raises(SourceNotFoundError, match="has disappeared since the insert began"):
        read(source)


@pytest.mark.parametrize(
    ("swap", "error"),
    [(Path.mkdir, SourceIsDirectoryError), (os.mkfifo, SourceNotRegularError)],
    ids=["directory", "fifo"],
)
def test_what_is_opened_is_looked_at_again(
    path: Path, swap: Callable[[Path], None], error: type[DataJointFileError]
) -> None:
    source = as_source(path)
    path.unlink()
    swap(path)
    with pytest.raises(error):
        read(source)


def test_path_swapped_for_a_link_to_a_device_is_refused(path: Path) -> None:
    source = as_source(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(SourceNotRegularError):
        read(source)


@pytest.mark.parametrize("path", ["/proc/self/status", "/sys/devices/system/cpu/online"])
@pytest.mark.parametrize("size", [-1, 100])
def test_file_that_the_system_makes_up_is_refused_and_its_stream_is_not(path: str, size: int) -> None:
    with pytest.raises(SourceNotRegularError, match=r"bytes, and the system says .*open\(path, 'rb'\)"):
        read(as_source(path), size)
    with Path(path).open("rb") as stream:
        assert read(as_source(stream))


def test_no_descriptor_stays_open(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        source = as_source(path)
        source.head()
        read(source)
        with pytest.raises(SourceChangedError):
            change_while_reading(path, lambda: append(path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# streams


def pipe_of(content: bytes) -> Any:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return os.fdopen(reading, "rb")


class Trickle:
    """Gives a byte or two at a time, and has nothing but ``read``."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        return self.content.read(min(size, 2))


class Generous(Trickle):
    """Gives more than it is asked for."""

    def read(self, size: int) -> bytes:
        return self.content.read(size + 7)


class Views(Trickle):
    def read(self, size: int) -> Any:
        return memoryview(bytearray(self.content.read(size)))


STREAMS: dict[str, Callable[[Path, bytes], Any]] = {
    "BytesIO": lambda path, content: io.BytesIO(content),
    "file": lambda path, content: path.open("rb"),
    "unbuffered": lambda path, content: path.open("rb", buffering=0),
    "pipe": lambda path, content: pipe_of(content),
    "gzip": lambda path, content: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(content))),
    "fsspec": lambda path, content: fsspec.open(f"file://{path}", "rb").open(),
    "trickle": lambda path, content: Trickle(content),
    "generous": lambda path, content: Generous(content),
    "views": lambda path, content: Views(content),
    "temporary": lambda path, content: _temporary(content),
    "zip": lambda path, content: _zipped(path, content),
}


def _temporary(content: bytes) -> Any:
    file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed by the test
    file.write(content)
    file.seek(0)
    return file


def _zipped(path: Path, content: bytes) -> Any:
    archive = path.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as zip_file:
        zip_file.writestr("inner/x.dat", content)
    return zipfile.ZipFile(archive).open("inner/x.dat")


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("size", [-1, 1000, HEAD_SIZE, 2**20])
@pytest.mark.parametrize("looks_ahead", [True, False])
def test_stream_is_read_to_its_end_and_never_closed(path: Path, kind: str, size: int, looks_ahead: bool) -> None:
    path.write_bytes(LONG)
    stream = STREAMS[kind](path, LONG)
    source = as_source(stream)
    if looks_ahead:
        assert source.head() == source.head() == LONG[:HEAD_SIZE]
    assert read(source, size) == LONG
    assert getattr(stream, "closed", False) is False
    getattr(stream, "close", lambda: None)()


@pytest.mark.parametrize("kind", ["BytesIO", "file", "unbuffered", "gzip", "fsspec", "temporary"])
@pytest.mark.parametrize("looks_ahead", [True, False])
def test_stream_is_read_from_its_position(path: Path, kind: str, looks_ahead: bool) -> None:
    path.write_bytes(LONG)
    with STREAMS[kind](path, LONG) as stream:
        stream.read(10)
        with pytest.warns(SourceWarning, match="stands at byte 10: what precedes is not stored"):
            source = as_source(stream)
        assert stream.tell() == 10
        if looks_ahead:
            assert source.head() == LONG[10 : HEAD_SIZE + 10]
        assert read(source) == LONG[10:]


class Old(Trickle):
    """A temporary file of Python 3.10: no ``seekable``."""

    def seek(self, position: int) -> None:
        self.content.seek(position)

    def tell(self) -> int:
        return self.content.tell()


WRITTEN: dict[str, Callable[[Path], Any]] = {
    "BytesIO": lambda path: io.BytesIO(),
    "file": lambda path: path.open("w+b"),
    "unbuffered": lambda path: path.open("w+b", buffering=0),
    "temporary": lambda path: tempfile.TemporaryFile(),  # noqa: SIM115 - closed by the test
    "named": lambda path: tempfile.NamedTemporaryFile(),  # noqa: SIM115 - closed by the test
    "spooled": lambda path: tempfile.SpooledTemporaryFile(),  # noqa: SIM115 - closed by the test
    "spooled to disk": lambda path: tempfile.SpooledTemporaryFile(max_size=1),  # noqa: SIM115 - closed by the test
    "fsspec": lambda path: fsspec.open("memory://written.dat", "w+b").open(),
}


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize(
    "form", [lambda stream: stream, lambda stream: ("x", stream), File], ids=["bare", "pair", "File"]
)
def test_stream_that_was_written_and_not_put_back_is_refused(path: Path, kind: str, form: Callable[[Any], Any]) -> None:
    with WRITTEN[kind](path) as stream:
        stream.write(BYTES)
        with pytest.raises(SourceError, match=r"stands at its end, after 9 bytes.*put it back with seek\(0\)"):
            as_source(form(stream))
        assert stream.tell() == len(BYTES)
        stream.seek(0)
        assert read(as_source(form(stream))) == BYTES


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("position", [0, 5])
def test_empty_stream_is_an_empty_file_wherever_it_stands(path: Path, kind: str, position: int) -> None:
    with WRITTEN[kind](path) as stream:
        stream.seek(position)
        assert read(as_source(stream)) == b""


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_stream_that_was_read_to_its_end_is_refused(path: Path, kind: str) -> None:
    with STREAMS[kind](path, LONG) as stream:
        stream.read()
        with pytest.raises(SourceError, match="stands at its end"):
            as_source(stream)


def test_stream_of_an_old_temporary_file_is_refused_at_its_end() -> None:
    stream = Old(BYTES)
    stream.seek(len(BYTES))
    with pytest.raises(SourceError, match="stands at its end"):
        as_source(stream)


def test_stream_is_warned_of_where_the_caller_gave_it_and_once() -> None:
    stream = io.BytesIO(LONG)
    stream.seek(10)
    with pytest.warns(SourceWarning) as warned:
        source = as_source(stream)
    assert [warning.filename for warning in warned] == [__file__]
    assert read(source) == LONG[10:]
    source.rewind()
    assert read(source) == LONG[10:]


@pytest.mark.parametrize("position", [1, len(LONG), 10**6])
def test_stream_whose_position_is_no_truth_is_read_as_it_is(position: int) -> None:
    class Lying(Trickle):
        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return position

        def seek(self, *_: int) -> int:
            raise AssertionError("would move it")

    with pytest.warns(SourceWarning):
        source = as_source(Lying(LONG))
    assert not source.can_reread
    assert read(source, 1000) == LONG


class Asynchronous:
    """As uploads of Starlette and FastAPI are."""

    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)
        self.filename = "a.dat"

    async def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


class Awaitable:
    """Gives something to wait for, as files of obstore do that are open for asyncio."""

    def read(self, size: int) -> Any:
        return Asynchronous(BYTES).read(size)


def test_asynchronous_stream_is_refused_with_the_one_to_give() -> None:
    upload = Asynchronous(BYTES)
    for value in (upload, ("x", upload), File(upload, name="x")):
        with pytest.raises(
            UnsupportedValueError, match=r"read\(\) of Asynchronous is asynchronous.*give .*upload\.file"
        ):
            as_source(value)
    assert read(as_source(upload.file)) == BYTES
    with pytest.raises(UnsupportedValueError, match=r"is asynchronous.*await stream\.read\(\)"):
        read(as_source(Awaitable()))


def test_upload_of_a_form_is_called_as_its_file() -> None:
    stream = Trickle(BYTES)
    stream.name, stream.filename = "field", "a.dat"  # type: ignore[attr-defined]
    assert as_source(stream).name == "a.dat"


@pytest.mark.parametrize("size", [-1, 1000, 2**20])
def test_file_of_obstore_is_a_stream(size: int) -> None:
    obstore = pytest.importorskip("obstore")  # it wants Python 3.11
    store = obstore.store.MemoryStore()
    obstore.put(store, "x/a.dat", LONG)
    for looks_ahead in (True, False):
        source = as_source(("a.dat", obstore.open_reader(store, "x/a.dat")))
        assert not looks_ahead or source.head() == LONG[:HEAD_SIZE]
        assert read(source, size) == LONG
        source.rewind()
        assert read(source, size) == LONG


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/data/a.dat", "a.dat"),
        ("a.dat", "a.dat"),
        (b"/data/a.dat", "a.dat"),
        ("<stdin>", ""),
        ("<fdopen>", ""),
        (5, ""),
        (None, ""),
        ("", ""),
        ("..", ""),
        ("a\nb", ""),
        ("dir\\a.dat", ""),
        ("s3://bucket/x/a.dat", "a.dat"),
    ],
)
def test_name_of_a_stream_is_taken_if_it_is_one(name: object, expected: str) -> None:
    stream = Trickle(BYTES)
    stream.name = name  # type: ignore[attr-defined]
    assert as_source(stream).name == expected


def test_stream_without_a_size_promises_none(path: Path) -> None:
    with path.open("rb") as stream:
        assert as_source(stream).size is None


class Failing(Trickle):
    """Raises after some bytes."""

    def __init__(self, error: BaseException, after: int) -> None:
        super().__init__(LONG)
        self.error, self.after = error, after

    def read(self, size: int) -> bytes:
        if self.content.tell() >= self.after:
            raise self.error
        return self.content.read(min(size, 100))


@pytest.mark.parametrize("after", [0, 1, HEAD_SIZE, 2 * HEAD_SIZE])
@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), ValueError("broken"), RuntimeError("gone")], ids=type
)
def test_stream_that_raises_midway_is_an_error_that_says_so(error: Exception, after: int) -> None:
    with pytest.raises(SourceError, match=r"the stream cannot be read: .*(Input/output error|broken|gone)") as caught:
        read(as_source(Failing(error, after)), 1000)
    assert caught.value.__cause__ is error


def test_error_of_this_package_in_a_stream_comes_through() -> None:
    with pytest.raises(MetadataError, match=r"^as it was$"):
        read(as_source(Failing(MetadataError("as it was"), 0)), 10)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_a_stream_comes_through(interrupt: type[BaseException]) -> None:
    with pytest.raises(interrupt):
        read(as_source(Failing(interrupt(), 100)), 10)


class Giving:
    """Gives something else than bytes."""

    def __init__(self, *given: object) -> None:
        self.given = list(given)

    def read(self, size: int = -1) -> Any:
        return self.given.pop(0) if self.given else b""


@pytest.mark.parametrize(
    "given", ["text", "", 5, 0, True, ["x"], {}, 1.5, object()], ids=lambda given: type(given).__name__
)
def test_stream_that_gives_no_bytes_is_refused_when_it_is_read(given: object) -> None:
    with pytest.raises(UnsupportedValueError, match="not bytes"):
        read(as_source(Giving(b"some", given)), 10)


def test_stream_that_would_block_is_refused() -> None:
    with pytest.raises(SourceError, match="non-blocking"):
        read(as_source(Giving(None)), 10)


TEXT_STREAMS: dict[str, Callable[[Path], Any]] = {
    "open": lambda path: path.open(),
    "open r+": lambda path: path.open("r+"),
    "StringIO": lambda path: io.StringIO("text"),
    "wrapper": lambda path: io.TextIOWrapper(io.BytesIO(b"text")),
    "gzip": lambda path: gzip.open(io.BytesIO(gzip.compress(b"text")), "rt"),  # noqa: SIM115 - closed by the test
    "named": lambda path: tempfile.NamedTemporaryFile("w+"),  # noqa: SIM115 - closed by the test
    "spooled": lambda path: tempfile.SpooledTemporaryFile(mode="w+"),  # noqa: SIM115 - closed by the test
    "codecs": lambda path: codecs.getreader("utf-8")(io.BytesIO(b"text")),
    "codecs r/w": lambda path: codecs.StreamReaderWriter(
        io.BytesIO(b"text"), codecs.getreader("utf-8"), codecs.getwriter("utf-8")
    ),
    "fsspec": lambda path: fsspec.open(f"file://{path}", "rt").open(),
    "write only": lambda path: path.open("w"),
}


@pytest.mark.parametrize("kind", TEXT_STREAMS)
@pytest.mark.parametrize(
    "form", [lambda stream: stream, lambda stream: ("x", stream), File], ids=["bare", "pair", "File"]
)
def test_text_stream_is_refused_before_it_is_read(path: Path, kind: str, form: Callable[[Any], Any]) -> None:
    with TEXT_STREAMS[kind](path) as stream:
        with pytest.raises(UnsupportedValueError, match=r"text stream; open the file in binary mode \('rb'\)"):
            as_source(form(stream))
        assert not stream.closed


def test_closed_stream_is_refused_before_anything_is_stored(path: Path) -> None:
    for kind in ("file", "unbuffered", "BytesIO", "gzip"):
        with STREAMS[kind](path, BYTES) as stream:
            pass
        with pytest.raises(SourceError, match="the stream is closed"):
            as_source(stream)


def test_stream_for_writing_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as stream, pytest.raises(SourceError, match="open for writing only"):
        as_source(stream)


# pairs, bytes, File


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("content", [b"", b"x", LONG], ids=len)
def test_bytes_with_a_name_are_a_source(form: Callable[[bytes], Any], content: bytes) -> None:
    for value in (("notes.txt", form(content)), File(form(content), name="notes.txt")):
        source = as_source(value)
        assert (source.name, source.size) == ("notes.txt", len(content))
        assert (source.head(), read(source, 1000)) == (content[:HEAD_SIZE], content)


def test_bytes_are_those_of_the_moment_they_were_given() -> None:
    content = bytearray(b"before")
    source = as_source(("x", content))
    content[:] = b"after!"
    assert read(source) == b"before"


def test_bytes_in_a_file_without_a_name_have_none() -> None:
    assert as_source(File(BYTES)).name == ""


def test_stream_with_a_name_is_a_source() -> None:
    source = as_source(("a.dat", io.BytesIO(BYTES)))
    assert (source.name, source.size, read(source)) == ("a.dat", None, BYTES)


def test_file_gives_another_name_and_media_type(path: Path) -> None:
    source = as_source(File(path, name="b.csv", mime_type="text/x-special"))
    assert (source.name, source.mime_type, source.size, read(source)) == ("b.csv", "text/x-special", len(BYTES), BYTES)


def test_file_keeps_the_name_it_is_not_given(path: Path) -> None:
    assert as_source(File(path, mime_type="a/b")).name == "recording.dat"


def test_fsspec_file_that_knows_its_path_is_read_as_the_stream_it_is(path: Path) -> None:
    with fsspec.open(f"file://{path}", "rb") as stream:
        stream.read(3)
        with pytest.warns(SourceWarning):
            source = as_source(("x.dat", stream))
        assert read(source) == BYTES[3:]


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".", "a\0", "C:\\x", "\\\\host\\share", "..\\x", "\ud800", "x" * 256]
)
def test_given_name_that_no_backend_could_hold_is_refused(name: str) -> None:
    for value in ((name, BYTES), (name, io.BytesIO(BYTES)), File(BYTES, name=name)):
        with pytest.raises(UnsafeNameError, match="is not a file name"):
            as_source(value)


@pytest.mark.parametrize("mime_type", ["text", "", "a/b\nX: y", 5, b"a/b", "a b/c"])
def test_media_type_of_another_form_is_refused(mime_type: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="is not of the form type/subtype"):
        as_source(File(BYTES, name="x", mime_type=mime_type))


@pytest.mark.parametrize("name", [5, b"x", Path("x"), ("x",)])
def test_name_that_is_no_text_is_refused(name: Any) -> None:
    with pytest.raises(UnsupportedValueError, match="a file's name is text"):
        as_source(File(BYTES, name=name))


@pytest.mark.parametrize("value", [b"bytes", bytearray(b"x"), memoryview(b"x")])
def test_bare_bytes_need_a_name(value: object) -> None:
    with pytest.raises(UnsupportedValueError, match=r"bytes need a name: give \(name, bytes\)"):
        as_source(value)


@pytest.mark.parametrize(
    "value", [("x",), (), ("x", b"y", b"z"), (5, b"x"), (b"x", b"y"), (Path("x"), b"y"), (None, b"")]
)
def test_other_tuples_are_refused(value: tuple[object, ...]) -> None:
    with pytest.raises(UnsupportedValueError, match=r"a tuple must be \(name, stream\) or \(name, bytes\)"):
        as_source(value)


@pytest.mark.parametrize("content", [Path("/etc/hostname"), "/etc/hostname", None, 5, {}, File(BYTES)], ids=type)
def test_pair_of_a_name_and_something_else_is_refused_with_what_to_give(content: object) -> None:
    with pytest.raises(UnsupportedValueError, match=r"to store a path under another name give File\(path, name=…\)"):
        as_source(("x.dat", content))


@pytest.mark.parametrize("content", [File(BYTES, name="x"), ("x", BYTES)], ids=type)
def test_file_holds_no_other_form(content: object) -> None:
    with pytest.raises(UnsupportedValueError, match="the content of a File is a path, a binary stream or bytes"):
        as_source(File(content))


@pytest.mark.parametrize(
    "value",
    [None, 5, 1.5, True, [], ["/etc/hostname"], {}, {"path": "x", "size": 3}, set(), object(), int, iter([b"x"]), len],
    ids=type,
)
def test_anything_else_is_refused_with_what_is_accepted(value: object) -> None:
    for given in (value, File(value)):
        with pytest.raises(UnsupportedValueError) as caught:
            as_source(given)
        assert f"a value of type {type(value).__name__} is not a file; accepted: {ACCEPTED}" in str(caught.value)
        assert isinstance(caught.value, TypeError)


def test_object_that_answers_to_every_name_is_no_stored_file() -> None:
    class Everything:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name) if name.startswith("__") else RuntimeError(name)

    with pytest.raises(RuntimeError):
        as_source(Everything())


# stored files


@pytest.fixture
def ref(pipeline: Pipeline, stored: Callable[..., FileMetadata], tmp_path: Path) -> FileRef:
    remember(str(tmp_path), pipeline)
    return FileRef(stored(File(LONG, name="movie.gif", mime_type="image/gif")), str(tmp_path))


def test_stored_file_is_a_source_with_all_that_is_known_of_it(ref: FileRef) -> None:
    source = as_source(ref)
    assert (source.name, source.size, source.mime_type, source.hash) == ("movie.gif", len(LONG), "image/gif", ref.hash)
    assert read(source, 1000) == LONG


def test_stored_file_may_get_another_name(ref: FileRef) -> None:
    source = as_source(File(ref, name="other.gif"))
    assert (source.name, source.hash, read(source)) == ("other.gif", ref.hash, LONG)


@pytest.mark.parametrize("name", ["raw data ü.bin", "movie.gif", "100%.csv"])
def test_stored_file_that_is_open_has_its_own_name(
    ref: FileRef, stored: Callable[..., FileMetadata], name: str
) -> None:
    with FileRef(stored(File(LONG, name=name)), ref.pipeline).open() as file:
        assert as_source(file).name == name
        assert as_source(pickle.loads(pickle.dumps(file))).name == name


def test_stored_file_that_is_open_and_unpacked_is_named_after_what_is_in_it(
    ref: FileRef, stored: Callable[..., FileMetadata]
) -> None:
    packed = FileRef(stored(File(gzip.compress(LONG), name="raw data ü.csv.gz")), ref.pipeline)
    with packed.open() as file, gzip.open(file) as unpacked:
        assert as_source(unpacked).name == "raw data ü.csv"


def test_recognising_a_stored_file_needs_no_store(ref: FileRef) -> None:
    assert as_source(FileRef(ref.metadata, "a pipeline that nobody knows")).size == len(LONG)


def test_stored_file_made_by_hand_with_an_impossible_name_is_refused(ref: FileRef) -> None:
    forged = FileMetadata("lab/x/y", 3, ref.hash, "../x", ref.timestamp)
    with pytest.raises(UnsafeNameError):
        as_source(FileRef(forged, ref.pipeline))
