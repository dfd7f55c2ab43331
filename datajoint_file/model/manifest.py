"""Manifest of a stored directory: its files with sizes and digests, and its empty directories, sorted by path.

Text that ``sha256sum -c --strict`` takes inside the stored directory, and equal for equal trees. Names are those of the
store, percent-encoded; sizes and empty directories stand in comments. Values only: it is read and written elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import accumulate, islice
from mmap import mmap
from operator import lt
from typing import TypeAlias

from datajoint_file.errors import MetadataError, UnsafeNameError, brief
from datajoint_file.model.names import MAX_NAME_BYTES, decode_member, encode_member

Text: TypeAlias = bytes | mmap
"""The text of a manifest: in memory of its own, or mapped."""

_KEPT_PARTS = 1_000
"""Directories in it of which a manifest keeps what was asked."""

_OBJECT = 1024
"""Bytes that the smallest costs to keep, beside its text."""

MAX_BYTES = 2**29
"""Bytes of the largest manifest: some five million files. Whoever reads one holds it in memory."""

HEADING = b"# Files of a directory stored by datajoint-file; check in it: sha256sum -c --strict ../~manifest\n"

_ENTRY = re.compile(rb"# (?:(0|[1-9]\d{0,18})\n[0-9a-f]{64}  ([^\n]*[^\n/])|([^\n]*/))\n")
"""Of a file its size and name; of an empty directory its name."""

_BLOCK = 2**16
"""Bytes that are checked at a time: what a call of Python costs is shared by some hundred entries."""

_ENTRIES = 1_000
"""Names that are checked at a time before they are written."""

_ODD = re.compile(rb"[^A-Za-z0-9._=/\n-]|\.[/\n]|//|\n/")
"""Is in no list of names, a line each, whose components `encode_member` gives as they are; they may be too long."""

_FIELDS = len("\n") + 64 + len("  ")
"""Between the size and the name of a file."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a directory.

    Parameters
    ----------
    name : str
        Its path within the directory, as the store has it: components percent-encoded.
    size : int
        Its bytes.
    digest : str
        SHA-256, 64 hexadecimal digits.
    """

    name: str
    size: int
    digest: str


def lines(members: Iterable[Member], empty: Sequence[str] = ()) -> Iterator[bytes]:
    """Give the text of a manifest, a line or two at a time.

    Parameters
    ----------
    members : iterable of Member
        Sorted by name.
    empty : sequence of str
        Directories without files, sorted, as the store would call them, each with a slash at its end.

    Examples
    --------
    >>> print(b"".join(lines([Member("a.npy", 3, "0" * 64)], ["logs/"])).decode(), end="")  # doctest: +ELLIPSIS
    # Files of a directory ...
    # 3
    0000000000000000000000000000000000000000000000000000000000000000  a.npy
    # logs/
    """
    yield HEADING
    waiting = iter(empty)
    other = next(waiting, "")
    for member in members:
        while other and other < member.name:
            yield b"# %s\n" % other.encode()
            other = next(waiting, "")
        yield b"# %d\n%s  %s\n" % (member.size, member.digest.encode(), member.name.encode())
    while other:
        yield b"# %s\n" % other.encode()
        other = next(waiting, "")


def check_entries(names: Iterable[str], empty: Iterable[str] = ()) -> None:
    """Raise a `MetadataError` unless the text that `lines` gives of these can be read."""
    order, entries = _Order(), merge(names, empty)
    while some := [name.encode(errors="replace") for name in islice(entries, _ENTRIES)]:
        _check_components(some)
        order.check(some)


class Manifest:
    """The text of a manifest, and where in it each entry begins: some eight bytes an entry beside the text.

    Made by `read_manifest`, which has checked it.
    """

    __slots__ = ("_parts", "_starts", "_text", "files", "size")

    def __init__(self, text: Text, starts: array[int], files: int, size: int) -> None:
        self._text = text
        self._starts = starts  # and where the last entry ends
        self._parts: dict[str, tuple[int, int, str]] = {}
        self.files = files
        self.size = size

    @property
    def memory(self) -> int:
        """About how many bytes it holds: its text, where entries begin, and what keeping any object costs."""
        return len(self._text) + 8 * len(self._starts) + _OBJECT

    def __len__(self) -> int:
        """Count the entries: files and empty directories."""
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Member]:
        """Give the files, sorted by name."""
        return (member for index in range(len(self)) if (member := self.member(index)) is not None)

    def find(self, name: str) -> Member | None:
        """Return the file *name*, as the store calls it, if there is one."""
        index = self.number_of(name)
        return self.member(index) if index >= 0 else None

    def number_of(self, name: str) -> int:
        """Return which entry *name* is, as the store calls it, -1 if it is none: for notes of a few bits a file."""
        index = self._index(name)
        return index if index < len(self) and self._name(index) == name else -1

    def is_directory(self, name: str) -> bool:
        """Tell whether there is a directory *name*; the directory itself has none."""
        return not name or self._begins(self._index(f"{name}/"), f"{name}/")

    def children(self, directory: str = "") -> Iterator[tuple[str, bool]]:
        """Give what is in a directory, sorted: each name, and whether it is a directory itself."""
        beginning = f"{directory}/" if directory else ""
        index = self._index(beginning)
        while self._begins(index, beginning):
            name, slash, _ = self._name(index)[len(beginning) :].partition("/")
            if name:
                yield name, bool(slash)
            index = self._index(f"{beginning}{name}0") if slash else index + 1  # "0" comes next after "/"

    def below(self, directory: str) -> Iterator[Member]:
        """Give all files below a directory, sorted by name."""
        return (member for index in self._within(directory) if (member := self.member(index)) is not None)

    def empty(self, directory: str = "") -> Iterator[str]:
        """Give the directories without files below a directory, each with a slash at its end."""
        names = map(self._name, self._within(directory))
        return (name for name in names if name.endswith("/") and name != f"{directory}/")

    def part(self, directory: str) -> bytes:
        """Return the text of the manifest that a directory in it would have, stored by itself."""
        start = len(directory) + 1
        files = (Member(member.name[start:], member.size, member.digest) for member in self.below(directory))
        return b"".join(lines(files, [name[start:] for name in self.empty(directory)]))

    def described(self, directory: str) -> tuple[int, int, str]:
        """Return how many files a directory in it has, their size, and the digest of `part`: computed once."""
        if directory not in self._parts:
            part = read_manifest(text := self.part(directory))
            if len(self._parts) >= _KEPT_PARTS:
                self._parts = {}
            self._parts[directory] = part.files, part.size, hashlib.sha256(text).hexdigest()
        return self._parts[directory]

    def _within(self, directory: str) -> Iterator[int]:
        if not directory:
            yield from range(len(self))
            return
        beginning = f"{directory}/"
        index = self._index(beginning)
        while self._begins(index, beginning):
            yield index
            index += 1

    def _begins(self, index: int, beginning: str) -> bool:
        return index < len(self) and self._name(index).startswith(beginning)

    def _index(self, name: str) -> int:
        return bisect_left(range(len(self)), name.encode(errors="replace"), key=self._bytes)

    def _bytes(self, index: int) -> bytes:
        """Return the name of an entry; the comment of a file ends before its name, that of a directory with it."""
        start, end = self._starts[index], self._starts[index + 1]
        comment = self._text.find(b"\n", start) + 1
        return self._text[comment + _FIELDS - 1 : end - 1] if comment < end else self._text[start + 2 : end - 1]

    def _name(self, index: int) -> str:
        return self._bytes(index).decode()

    def member(self, index: int) -> Member | None:
        """Return an entry by its number; None if it is a directory."""
        start, end = self._starts[index], self._starts[index + 1]
        size, _, line = self._text[start + 2 : end - 1].partition(b"\n")
        return Member(line[66:].decode(), int(size), line[:64].decode()) if line else None


def read_manifest(text: Text) -> Manifest:
    """Check the text of a manifest, which anybody may have written, and return what it says.

    Raises
    ------
    MetadataError
        If it is malformed; if a path leaves the directory, is given twice, is not sorted, or is both a file and a
        directory; if it is not written as `lines` does.

    Examples
    --------
    >>> manifest = read_manifest(b"".join(lines([Member("c/0", 3, "0" * 64), Member("c/1", 4, "1" * 64)], ["logs/"])))
    >>> manifest.files, manifest.size, list(manifest.children()), manifest.find("c/1").size
    (2, 7, [('c', True), ('logs', True)], 4)
    """
    if text[: len(HEADING)] != HEADING:
        raise MetadataError("it does not begin as a manifest does")
    starts, files, size, order = array("Q", [len(HEADING)]), 0, 0, _Order()
    for start, end in _blocks(text):
        entries = _ENTRY.findall(text, start, end)
        names = [file or empty for _, file, empty in entries]
        lengths = (len(size) + _FIELDS + len(file) + 3 if file else len(empty) + 3 for size, file, empty in entries)
        starts.extend(islice(accumulate(lengths, initial=start), 1, None))
        if starts[-1] != end:  # what does not match is passed over
            raise MetadataError(f"it cannot be read from {brief(text[_malformed(text, start) :][:60])} on")
        _check_components(names)
        order.check(names)
        sizes = [int(size) for size, _, _ in entries if size]
        files, size = files + len(sizes), size + sum(sizes)
    return Manifest(text, starts, files, size)


def _blocks(text: Text) -> Iterator[tuple[int, int]]:
    """Give where parts of a manifest begin and end, of whole entries if they are well-formed."""
    start = len(HEADING)
    while start < len(text):
        end = min(start + _BLOCK, len(text))
        if end < len(text):  # no entry is longer than a block
            end = text.rfind(b"\n#", start, end) + 1 or end
        yield start, end
        start = end


def _malformed(text: Text, start: int) -> int:
    """Return where the first entry after *start* begins that is none."""
    while match := _ENTRY.match(text, start):
        start = match.end()
    return start


def _check_components(names: Sequence[bytes]) -> None:
    """Raise unless all paths are of components that `encode_member` has made."""
    if max(map(len, names)) <= MAX_NAME_BYTES and not _ODD.search(b"\n%s\n" % b"\n".join(names)):
        return
    for component in dict.fromkeys(b"/".join([name.removesuffix(b"/") for name in names]).split(b"/")):
        try:
            decode_member(component.decode("latin-1"))
        except UnsafeNameError as error:
            raise MetadataError(str(error)) from error


class _Order:
    """Judge of the order of names, some at a time: sorted, none given twice, none both a file and a directory.

    What a name is the beginning of comes straight after it. So a name that the next one does not continue is no longer
    of interest; of all others a stack is kept, each of which continues the one below.
    """

    def __init__(self) -> None:
        self._begun = [b"\n"]  # which is in no name

    def check(self, names: Sequence[bytes]) -> None:
        """Raise a `MetadataError` unless *names* can follow those before."""
        before = [self._begun[-1], *names[:-1]]
        if not all(map(lt, before, names)):
            wrong = next(name for last, name in zip(before, names, strict=True) if not last < name)
            raise MetadataError(f"{_shown(wrong)} is given twice, or not in its place")
        if len(self._begun) > 1 or any(map(bytes.startswith, names, before)):
            for name in names:
                self._check_beginning(name)
        else:
            self._begun = [names[-1]]

    def _check_beginning(self, name: bytes) -> None:
        begun = self._begun
        while begun and not name.startswith(begun[-1]):
            begun.pop()
        above = begun[-1] if begun else b""
        if above.endswith(b"/"):
            raise MetadataError(f"{_shown(name)} is given twice, or not in its place")
        if above and name[len(above) :].startswith(b"/"):
            raise MetadataError(f"{_shown(above)} is both a file and a directory")
        begun.append(name)


def _shown(name: bytes) -> str:
    return brief(name.decode("latin-1"))


def encode_path(path: str) -> str:
    """Return what the store calls a path within a directory.

    Raises
    ------
    UnsafeNameError
        If a component is no file name.

    Examples
    --------
    >>> encode_path("raw data/.zarray")
    'raw%20data/.zarray'
    """
    return "/".join(map(encode_member, path.split("/")))


def decode_path(name: str) -> str:
    """Return the path within a directory that the store calls *name*.

    Raises
    ------
    UnsafeNameError
        If it leaves the directory, or is not written as `encode_path` does.
    """
    return "/".join(map(decode_member, name.split("/")))
