"""Attacks by what is given to be stored: links, devices, files that are swapped, texts that could be paths."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from datajoint_file import File
from datajoint_file.errors import (
    DataJointFileError,
    SourceChangedError,
    SourceError,
    SourceNotRegularError,
    UnsafeNameError,
    UnsupportedValueError,
)
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.source_readers import head_of, open_file
from datajoint_file.transfer.sources import as_source
from tests.security.attacks import attack, attacks
from tests.security.conftest import Arena, by_database, by_store, on_disk


@by_store
@attacks(14)
def test_link_to_a_file_is_the_file_and_nothing_but_its_name_is_the_links(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(b"real")
    link = tmp_path / "link.dat"
    link.symlink_to(tmp_path / "real.bin")
    ref = arena.fetch(arena.insert(link))
    assert (ref.original_name, ref.read()) == ("link.dat", b"real")
    assert str(tmp_path) not in str(arena.stored_json(arena.plant(ref.to_dict())))


@by_database
@attacks(15)
@pytest.mark.parametrize("kind", ["directory", "link to a directory", "link loop", "dangling link"])
def test_what_is_no_file_is_refused(arena: Arena, tmp_path: Path, kind: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "shadow").symlink_to("/etc/shadow")
    (tmp_path / "link to a directory").symlink_to(tmp_path / "directory")
    (tmp_path / "link loop").symlink_to(tmp_path / "link loop")
    (tmp_path / "dangling link").symlink_to(tmp_path / "nowhere")
    refuse(arena, tmp_path / kind, SourceError)


@on_disk
@pytest.mark.parametrize(
    "path",
    [
        attack(16, "/dev/zero"),
        attack(16, "/dev/null"),
        attack(16, "/dev/stdin"),
        attack(16, "/proc/self/mem"),
        attack(16, "/proc/self/environ"),
        attack(16, "/proc/self/fd/0"),
        attack(16, "/proc/self/root"),
    ],
)
def test_devices_and_windows_into_the_kernel_are_refused(arena: Arena, path: str) -> None:
    refuse(arena, path, SourceError)
    refuse(arena, File(path, name="x"), SourceError)


@on_disk
@attacks(16)
def test_fifos_and_sockets_are_refused_without_waiting(arena: Arena, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket"))
    for name in ("fifo", "socket"):
        refuse(arena, tmp_path / name, SourceNotRegularError)
    listening.close()


@on_disk
@attacks(17)
@pytest.mark.parametrize("becomes", ["fifo", "device", "directory"])
def test_file_that_is_swapped_after_it_was_looked_at_is_looked_at_again(
    arena: Arena, tmp_path: Path, becomes: str
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"x")
    source = as_source(path)
    path.unlink()
    makers: dict[str, Any] = {
        "fifo": os.mkfifo,
        "directory": os.mkdir,
        "device": lambda p: p.symlink_to("/dev/zero"),
    }
    makers[becomes](path)
    with pytest.raises(SourceError), source.open():
        pass
    with pytest.raises(SourceError):
        head_of(path)


@on_disk
@attacks(17)
def test_file_that_is_swapped_while_it_is_read_is_refused(arena: Arena, tmp_path: Path) -> None:
    path, other = tmp_path / "x.bin", tmp_path / "other"
    path.write_bytes(b"good")
    other.write_bytes(b"evil")
    with pytest.raises(SourceChangedError), open_file(path) as reader:
        assert reader.read(4) == b"good"
        other.replace(path)
        reader.read(4)


@on_disk
@attacks(15, 17)
@pytest.mark.parametrize("exchanged", ["z/id", "z", ""])
def test_link_put_into_a_directory_while_its_first_files_are_stored_is_not_followed(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: str
) -> None:
    home, run, waiting, rows = tmp_path / "home", tmp_path / "run", Lock(), arena.row_keys()
    for path in (home / "id", home / "z" / "id", run / "z" / "id", *(run / f"{index:02}" for index in range(20))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"secret" if home in path.parents else b"fine")
    ingest = Pipeline.ingest

    def exchange(self: Pipeline, *args: Any) -> Any:
        if waiting.acquire(blocking=False):
            (run / exchanged).rename(tmp_path / "moved")
            (run / exchanged).symlink_to(home / exchanged)
        return ingest(self, *args)

    monkeypatch.setattr(Pipeline, "ingest", exchange)
    with pytest.raises(SourceChangedError, match="has become a symbolic link"):
        arena.insert(run)
    assert waiting.locked()
    stored = [path.read_bytes() for path in Path(arena.store.table["path"]).rglob("*") if path.is_file()]
    assert not [content for content in stored if b"secret" in content]
    assert arena.row_keys() == rows
    arena.check_unharmed()


@by_database
@attacks(13)
def test_path_that_is_no_text_is_refused(arena: Arena, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.bin"))
    path.write_bytes(b"x")
    message = refuse(arena, str(path), UnsafeNameError)
    assert "File(path, name=" in message
    assert arena.fetch(arena.insert(File(path, name="x.bin"))).read() == b"x"


@on_disk
@pytest.mark.parametrize(
    "value",
    [
        attack(9, "x/" * 2048 + "x", name="path of 4096 bytes"),
        attack(9, "x" * 256, name="name of 256 bytes"),
        attack(5, "a\0b", name="NUL"),
        attack(5, "a\nb", name="line feed"),
        attack(11, "https://host/x", name="url"),
        attack(11, "file:///etc/hostname", name="url of a file"),
        attack(11, "s3://bucket/x", name="url of an object"),
        attack(11, "~root/x", name="somebody's home"),
        attack(11, "$HOME/.bashrc", name="variable"),
        attack(12, "x; cat /etc/passwd", name="shell"),
        attack(12, "|id", name="pipe"),
        attack(12, "-", name="dash"),
        attack(10, "/etc/host*", name="glob"),
    ],
)
def test_text_that_is_no_path_of_a_file_is_refused(arena: Arena, value: str) -> None:
    refuse(arena, value, SourceError)


@by_database
@attacks(18)
def test_text_means_a_path_and_bytes_never_do(arena: Arena, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"x")
    path = str(tmp_path / "x.bin")
    assert arena.fetch(arena.insert(path)).read() == b"x"
    for value in (path.encode(), bytearray(path.encode()), memoryview(path.encode())):
        refuse(arena, value, UnsupportedValueError)
    assert arena.fetch(arena.insert(("x.bin", path.encode()))).read() == path.encode()
    for no_value in (("x.bin", path), ("x.bin", Path(path)), (path,), [path], {path}):
        refuse(arena, no_value, UnsupportedValueError)


class _Hostile(io.RawIOBase):
    """A stream that does whatever a test orders."""

    def __init__(self, read: Any, name: Any = "x.bin") -> None:
        self._ordered = read
        self.name = name

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> Any:
        return self._ordered(size)


@on_disk
@attacks(5, 6, 11)
@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "a\nb", "\u202egpj.exe", "..", "", "a\0b", 7, None, object()]
)
def test_name_of_a_stream_is_its_last_part_or_not_used(arena: Arena, name: Any) -> None:
    pieces = [b"x", b""]
    k = arena.insert(_Hostile(lambda _: pieces.pop(0) if pieces else b"", name))
    stored = arena.stored_json(k)["original_name"]
    assert stored in ("x", "passwd", "raw")


@on_disk
@attacks(31)
def test_stream_that_gives_something_else_than_bytes_leaves_nothing(arena: Arena) -> None:
    for given in ("text", None, 7, [b"x"], object()):
        refuse(arena, _Hostile(lambda _, given=given: given), DataJointFileError)


def refuse(arena: Arena, value: Any, error: type[Exception]) -> str:
    """Insert *value*, which must fail by *error* and leave neither row nor object. Returns the message."""
    before, rows = arena.store.object_keys(), arena.row_keys()
    with pytest.raises(error) as caught:
        arena.insert(value)
    assert isinstance(caught.value, DataJointFileError)
    assert str(caught.value).isprintable()
    assert (arena.store.object_keys(), arena.row_keys()) == (before, rows)
    arena.check_unharmed()
    return str(caught.value)
