"""Manifest of a stored directory: its files with sizes and digests, and its empty directories, sorted by path.

Text that ``sha256sum -c --strict`` takes inside the stored directory, and equal for equal trees. Names are those of the
store, percent-encoded; sizes and empty directories stand in comments. Values only: it is read and written elsewhere.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from datajoint_file.errors import MetadataError, UnsafeNameError, brief
from datajoint_file.model.names import decode_member, encode_member

MAX_BYTES = 2**29
"""Bytes of the largest manifest: some five million files. Whoever reads one holds it in memory."""

HEADING = b"# Files of a directory stored by datajoint-file; check in it: sha256sum -c --strict ../~manifest\n"

_ENTRY = re.compile(
    rb"# (?:(?P<size>0|[1-9]\d{0,18})\n(?P<digest>[0-9a-f]{64})  (?P<file>[^\n]*[^\n/])|(?P<empty>[^\n]*/))\n"
)


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


class Manifest:
    """The text of a manifest, and where in it each entry begins: some eight bytes an entry beside the text.

    Made by `read_manifest`, which has checked it.
    """

    __slots__ = ("_starts", "_text", "files", "size")

    def __init__(self, text: bytes, starts: array[int], files: int, size: int) -> None:
        self._text = text
        self._starts = starts
        self.files = files
        self.size = size

    def __iter__(self) -> Iterator[Member]:
        """Give the files, sorted by name."""
        return (member for index in range(len(self._starts)) if (member := self._member(index)) is not None)

    def find(self, name: str) -> Member | None:
        """Return the file *name*, as the store calls it, if there is one."""
        index = self._index(name)
        return self._member(index) if index < len(self._starts) and self._name(index) == name else None

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
        return (member for index in self._within(directory) if (member := self._member(index)) is not None)

    def empty(self, directory: str = "") -> Iterator[str]:
        """Give the directories without files below a directory, each with a slash at its end."""
        names = map(self._name, self._within(directory))
        return (name for name in names if name.endswith("/") and name != f"{directory}/")

    def part(self, directory: str) -> bytes:
        """Return the text of the manifest that a directory in it would have, stored by itself."""
        start = len(directory) + 1
        files = (Member(member.name[start:], member.size, member.digest) for member in self.below(directory))
        return b"".join(lines(files, [name[start:] for name in self.empty(directory)]))

    def _within(self, directory: str) -> Iterator[int]:
        if not directory:
            yield from range(len(self._starts))
            return
        beginning = f"{directory}/"
        index = self._index(beginning)
        while self._begins(index, beginning):
            yield index
            index += 1

    def _begins(self, index: int, beginning: str) -> bool:
        return index < len(self._starts) and self._name(index).startswith(beginning)

    def _index(self, name: str) -> int:
        return bisect_left(range(len(self._starts)), name, key=self._name)

    def _name(self, index: int) -> str:
        match = self._match(index)
        return (match["file"] or match["empty"]).decode()

    def _member(self, index: int) -> Member | None:
        match = self._match(index)
        if match["file"] is None:
            return None
        return Member(match["file"].decode(), int(match["size"]), match["digest"].decode())

    def _match(self, index: int) -> re.Match[bytes]:
        match = _ENTRY.match(self._text, self._starts[index])
        if match is None:
            raise MetadataError("the manifest has changed since it was read")
        return match


def read_manifest(text: bytes) -> Manifest:
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
    if not text.startswith(HEADING):
        raise MetadataError("it does not begin as a manifest does")
    starts, files, size, position = array("Q"), 0, 0, len(HEADING)
    manifest = Manifest(text, starts, 0, 0)
    before, directory = "", ""
    for match in _ENTRY.finditer(text, position):
        if match.start() != position:
            break
        name = (match["file"] or match["empty"]).decode("latin-1")
        if name <= before or (before.endswith("/") and name.startswith(before)):
            raise MetadataError(f"{brief(name)} is given twice, or not in its place")
        bare = name if match["empty"] is None else name[:-1]
        parent = bare[: bare.rfind("/") + 1]
        if match["file"] is None or not directory.startswith(parent):
            _check_is_new(manifest, name if match["file"] is None else parent)
        _check_components(bare[len(parent) :])
        if match["file"] is not None:
            files, size = files + 1, size + int(match["size"])
        starts.append(position)
        before, directory, position = name, parent, match.end()
    if position != len(text):
        raise MetadataError(f"it cannot be read from {brief(text[position : position + 60])} on")
    manifest.files, manifest.size = files, size
    return manifest


def _check_is_new(manifest: Manifest, directory: str) -> None:
    """Raise unless *directory* has a sound path, of which no part is a file before it."""
    parts = directory[:-1].split("/") if directory else []
    for count, part in enumerate(parts, 1):
        _check_components(part)
        if manifest.find("/".join(parts[:count])) is not None:
            raise MetadataError(f"{brief('/'.join(parts[:count]))} is both a file and a directory")


def _check_components(component: str) -> None:
    try:
        decode_member(component)
    except UnsafeNameError as error:
        raise MetadataError(str(error)) from error


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
