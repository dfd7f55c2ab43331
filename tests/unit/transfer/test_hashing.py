"""The engine: bytes are hashed as they pass, checked to the end, and a download takes its place in one moment."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.errors import DestinationError, HashMismatchError, SizeMismatchError, VerificationError
from datajoint_file.storage.backend import CHUNK_SIZE
from datajoint_file.transfer.atomic_write import atomic_write
from datajoint_file.transfer.hashing import HashingReader, VerifyingReader, copy, drain, hash_file

SIZES = [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE + 7]


def content_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def ignore(_count: int) -> None: ...


@contextmanager
def replaced(target: Path) -> Iterator[Callable[[bytes], None]]:
    """Give what writes one piece behind the other."""
    with atomic_write(target) as new:
        position = 0

        def write(chunk: bytes) -> None:
            nonlocal position
            new.write(position, chunk)
            position += len(chunk)

        yield write


class Short:
    """Gives less than it is asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self.content.read(size if size < 2 else max(size // 3, 1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reader", [io.BytesIO, Short])
def test_what_passes_is_hashed_counted_and_told(size: int, reader: Callable[[bytes], Any]) -> None:
    content, told, target = content_of(size), [0], io.BytesIO()
    hashing = HashingReader(reader(content), told.append)
    copy(hashing, target.write)
    assert target.getvalue() == content
    assert (hashing.size, hashing.hash, sum(told)) == (size, sha256(content), size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [-1, 1000, CHUNK_SIZE, 2 * CHUNK_SIZE])
def test_expected_bytes_pass_the_check(size: int, step: int) -> None:
    content = content_of(size)
    reader = VerifyingReader(io.BytesIO(content), size, sha256(content), ignore)
    pieces = [reader.read(step)]
    while pieces[-1]:
        pieces.append(reader.read(step))
    assert b"".join(pieces) == content


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], type[VerificationError]]] = {
    "cut": (lambda content: content[:-1], SizeMismatchError),
    "emptied": (lambda content: b"", SizeMismatchError),
    "longer": (lambda content: content + b"x", SizeMismatchError),
    "doubled": (lambda content: content * 2, SizeMismatchError),
    "first bit": (lambda content: bytes([content[0] ^ 1]) + content[1:], HashMismatchError),
    "last bit": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), HashMismatchError),
    "swapped": (lambda content: content[::-1] if content != content[::-1] else b"y", HashMismatchError),
}


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_at_the_end(size: int, damage: str) -> None:
    content = content_of(size)
    change, error = DAMAGES[damage]
    reader = VerifyingReader(Short(change(content)), size, sha256(content), ignore)
    with pytest.raises(error, match=r"expected .*found"):
        drain(reader)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_by_a_single_read_of_everything(damage: str) -> None:
    content = content_of(1000)
    change, error = DAMAGES[damage]
    with pytest.raises(error):
        VerifyingReader(io.BytesIO(change(content)), 1000, sha256(content), ignore).read()


def test_byte_where_none_is_expected_is_found() -> None:
    with pytest.raises(SizeMismatchError, match="expected 0 bytes, found more"):
        drain(VerifyingReader(io.BytesIO(b"x"), 0, sha256(b""), ignore))


class Endless:
    """A tampered object that would fill a disk."""

    count = 0

    def read(self, size: int = -1) -> bytes:
        self.count += size
        return bytes(size)


def test_reading_stops_at_the_first_byte_too_many() -> None:
    endless, target = Endless(), io.BytesIO()
    reader = VerifyingReader(endless, 10 * CHUNK_SIZE + 1, sha256(b""), ignore)
    with pytest.raises(SizeMismatchError, match="found more"):
        copy(reader, target.write)
    assert endless.count == 11 * CHUNK_SIZE
    assert len(target.getvalue()) == 10 * CHUNK_SIZE


@pytest.mark.parametrize("size", SIZES)
def test_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    (tmp_path / "x").write_bytes(content_of(size))
    assert hash_file(tmp_path / "x") == sha256(content_of(size))


# taking the place of a file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads/recording.dat"


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


@pytest.mark.parametrize("before", [None, b"before"])
def test_target_is_absent_or_what_it_was_until_all_is_there(target: Path, before: bytes | None) -> None:
    if before is not None:
        target.write_bytes(before)
    with replaced(target) as write:
        for _ in range(3):
            write(b"after")
            assert (target.read_bytes() if target.exists() else None) == before
    assert target.read_bytes() == b"afterafterafter"
    assert names(target) == ["recording.dat"]


@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize("written", [0, 1, 5])
@pytest.mark.parametrize("error", [OSError(5, "x"), ValueError("x"), KeyboardInterrupt(), SystemExit()], ids=type)
def test_failure_at_any_step_leaves_the_target_and_nothing_else(
    target: Path, before: bytes | None, written: int, error: BaseException
) -> None:
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(type(error)) as caught:
        with replaced(target) as write:
            for _ in range(written):
                write(content_of(CHUNK_SIZE))
            raise error
    assert caught.value is error
    assert (target.read_bytes() if target.exists() else None) == before
    assert names(target) == ([] if before is None else ["recording.dat"])


def test_missing_directories_are_made(target: Path) -> None:
    with replaced(target.parent / "a/b/c") as write:
        write(b"x")
    assert (target.parent / "a/b/c").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["🐁" * 63, "ü" * 127, "x" * 255, "a\nb", "-rf", "~partial-x"], ids=ascii)
def test_any_name_of_the_target_is_written(target: Path, name: str) -> None:
    with replaced(target.with_name(name)) as write:
        write(b"x")
    assert names(target) == [name]


@pytest.mark.parametrize("kept", [b"elsewhere", None], ids=["link", "broken link"])
def test_link_is_replaced_and_not_written_through(target: Path, kept: bytes | None) -> None:
    elsewhere = target.parent.parent / "elsewhere"
    if kept is not None:
        elsewhere.write_bytes(kept)
    target.symlink_to(elsewhere)
    with replaced(target) as write:
        write(b"after")
    assert not target.is_symlink()
    assert target.read_bytes() == b"after"
    assert (elsewhere.read_bytes() if elsewhere.exists() else None) == kept


def test_link_planted_meanwhile_is_replaced_too(target: Path) -> None:
    elsewhere = target.parent.parent / "elsewhere"
    with replaced(target) as write:
        write(b"after")
        target.symlink_to(elsewhere)
    assert target.read_bytes() == b"after"
    assert not elsewhere.exists()


def test_file_has_the_rights_that_any_new_file_has(target: Path) -> None:
    with replaced(target) as write:
        write(b"x")
    target.with_name("other").touch()
    assert target.stat().st_mode == target.with_name("other").stat().st_mode


def test_target_below_a_file_cannot_be_written(target: Path) -> None:
    target.write_bytes(b"a file")
    with pytest.raises(DestinationError, match=r"cannot be written: .*; nothing was left there"):
        with replaced(target / "inner/x") as write:
            write(b"x")
    assert target.read_bytes() == b"a file"


def test_target_that_became_a_directory_cannot_be_written(target: Path) -> None:
    with pytest.raises(DestinationError, match=r"recording\.dat cannot be written"):
        with replaced(target) as write:
            write(b"x")
            target.mkdir()
    assert names(target) == ["recording.dat"]
    assert list(target.iterdir()) == []


def test_target_whose_directory_went_away_cannot_be_written(target: Path) -> None:
    with pytest.raises(DestinationError):
        with replaced(target) as write:
            write(b"x")
            for path in target.parent.iterdir():
                path.unlink()
            target.parent.rmdir()
    assert not target.parent.exists()


def test_directory_that_may_not_be_written_is_an_error(public_directory: Path, as_nobody: Callable[..., Any]) -> None:
    public_directory.chmod(0o555)
    with pytest.raises(DestinationError, match="Permission denied; nothing was left there"):
        as_nobody(write_all, public_directory / "x", 1, 1)
    assert list(public_directory.iterdir()) == []


def write_all(target: Path, count: int, size: int) -> None:
    with replaced(target) as write:
        for _ in range(count):
            write(content_of(size))


def write_with_little_room(target: Path, room: int, count: int, size: int) -> None:
    """Write as if the disk filled: the system takes *room* bytes of a file and refuses the rest."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    write_all(target, count, size)


@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize(
    ("room", "size"), [(0, 1), (10, 7), (CHUNK_SIZE, CHUNK_SIZE // 3), (CHUNK_SIZE + 5, CHUNK_SIZE)]
)
def test_full_disk_is_one_error_and_leaves_nothing(
    target: Path, in_child: Callable[..., Any], before: bytes | None, room: int, size: int
) -> None:
    if before is not None:
        target.write_bytes(before)
    with pytest.raises(DestinationError, match="File too large; nothing was left there"):
        in_child(write_with_little_room, target, room, 5, size)
    assert (target.read_bytes() if target.exists() else None) == before
    assert names(target) == ([] if before is None else ["recording.dat"])


def test_file_that_just_fits_is_written(target: Path, in_child: Callable[..., Any]) -> None:
    in_child(write_with_little_room, target, 35, 5, 7)
    assert target.read_bytes() == content_of(7) * 5


def die_while_writing(target: Path) -> None:
    with replaced(target) as write:
        write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_process_killed_while_writing_leaves_the_target_as_it_was(target: Path, in_child: Callable[..., Any]) -> None:
    target.write_bytes(b"before")
    with pytest.raises(ChildProcessError, match="killed by signal 9"):
        in_child(die_while_writing, target)
    assert target.read_bytes() == b"before"
    assert [name for name in names(target) if not name.endswith(".partial")] == ["recording.dat"]
