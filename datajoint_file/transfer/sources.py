"""`Source`, what the user gave, normalised: path of a file or directory, stream, bytes, or what is stored already.

Recognising a value reads nothing but the file system's description of a path; the bytes are read once, later.
"""

from __future__ import annotations

import codecs
import glob
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol, TypeGuard, runtime_checkable

from datajoint_file.config.paths import expanded, working_directory
from datajoint_file.errors import (
    SourceError,
    SourceNotFoundError,
    UnsafeNameError,
    UnsupportedValueError,
    brief,
    printable,
)
from datajoint_file.model.media_types import HEAD_SIZE
from datajoint_file.model.metadata import DIRECTORY_TYPE, TITLE_FORM, FileMetadata, is_hash, is_mime_type, is_title
from datajoint_file.model.names import check_name
from datajoint_file.storage.backend import Reader
from datajoint_file.transfer.directories import Directory, LocalTree, Tree, TreeMember
from datajoint_file.transfer.links import Copied, CopiedTree, Elsewhere, Link, Placed
from datajoint_file.transfer.source_readers import StreamReader, head_of, look_at, open_file
from datajoint_file.transfer.stream_names import is_url, name_of, without_secrets

ACCEPTED = (
    "the path of a file or directory, a binary stream, (name, stream), (name, bytes), (name, object) where the name "
    "has the suffix of a format, a File, a Directory, a Link, a FileRef, a DirectoryRef, or None where nullable"
)


@dataclass(frozen=True, slots=True)
class File:
    """A path, stream, bytes or stored file to insert, with a title, under another name or with a known media type.

    Parameters
    ----------
    content : str, os.PathLike, binary stream or bytes; what a fetch gave; or an object
        What to store: a path, a stream, bytes, a stored file, or an object that the format of *name* writes.
    name : str or None
        The original name to record; that of the path or stream if not given.
    mime_type : str or None
        The media type to record; guessed if not given.
    title : str or None
        What people call it: a line of at most 255 characters. That of a stored file, which ``File(ref, title=…)`` may
        replace, is kept if not given.

    Examples
    --------
    >>> File(b"GIF89a", name="movie.gif", mime_type="image/gif").name
    'movie.gif'
    >>> File("iris.csv", title="Anderson's Iris flower dataset").title
    "Anderson's Iris flower dataset"
    """

    content: Any
    name: str | None = None
    mime_type: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes to store: where they come from, and what is known of them beforehand.

    Only what it was made of travels to another process, which has to make the source anew: see `here`.
    """

    name: str  # the original one; empty if nobody gave one
    open: Callable[[], AbstractContextManager[Reader]]
    head: Callable[[], bytes]  # gives the first bytes without consuming them
    size: int | None = None
    mime_type: str | None = None  # if the caller gave it
    hash: str | None = None  # if they are a stored file's
    copy_of: str = ""  # its key, if it is in the store that this goes to
    is_known: bool = False  # the database proves that it is what it is said to be; else it is read before it is copied
    address: str = ""  # where the store itself may take it, if it can: it is read all the same
    stream: object | None = None  # the user's, if they are read from one: two values cannot share it
    rewind: Callable[[], None] = lambda: None  # puts that stream back to where it stood, if it can be
    can_reread: bool = True  # after `rewind`
    carried: int = 0  # bytes that travel with it to another process: those that were given in memory
    tree: Tree | None = None  # if it is a directory: it has no bytes of its own then, but those of its members
    title: str | None = None  # if the caller gave one
    link: str = ""  # if it stays where it is: where that is, as it was given; or as a row has it
    linked: FileMetadata | None = None  # what a row has of it, if it is one that is linked already
    given: Any = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Callable[[object], Source], tuple[object]]:
        return _of_another_process, (_absolute(self.given),)

    def listed(self) -> Source:
        """Return the source, with the size of a directory as it is listed, if nobody is adding to it."""
        return self if self.tree is None or self.tree.listing.is_open else replace(self, size=self.tree.listing.size)

    def here(self) -> Source:
        """Return the source as this process sees it, having come from another one. Raises as `as_source` does."""
        return as_source(self.given)


@runtime_checkable
class StoredFile(Protocol):
    """A file that is stored already, as `FileRef` is."""

    @property
    def metadata(self) -> FileMetadata:
        """What its row records."""
        ...

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open its bytes."""
        ...


@runtime_checkable
class StoredDirectory(Protocol):
    """A directory that is stored already, or a part of one, as `DirectoryRef` is."""

    @property
    def original_name(self) -> str:
        """What it is called."""
        ...

    @property
    def title(self) -> str | None:
        """What people call it."""
        ...

    def as_tree(self) -> Tree:
        """Return its members, as what is to be stored."""
        ...


def as_source(value: object) -> Source:
    """Return *value* as a source of bytes. A path is looked at, nothing is read; a directory is not listed yet.

    Raises
    ------
    UnsupportedValueError
        If *value* is none of the kinds accepted, or a text stream.
    SourceError
        If a stream is closed, or open for writing only.
    UnsafeNameError
        If its name could not be stored.
    SourceNotFoundError, SourceAccessError, SourceNotRegularError
        If a path is missing, unreadable, or a FIFO, socket or device.

    Examples
    --------
    >>> source = as_source(("notes.txt", b"12 spikes"))
    >>> source.name, source.size
    ('notes.txt', 9)
    """
    return replace(_recognised(value), given=value)


def _recognised(value: object) -> Source:
    for kind, recognise in _OWN.items():
        if isinstance(value, kind):
            return recognise(value)
    if _is_path(value):
        return _from_path(value)
    if isinstance(value, tuple):
        return _from_pair(value)
    if isinstance(value, StoredFile) and isinstance(value.metadata, FileMetadata):
        return _from_stored(value)
    if callable(getattr(value, "read", None)):
        return _from_stream(value)
    if isinstance(value, bytes | bytearray | memoryview):
        raise UnsupportedValueError(f"bytes need a name: give (name, bytes); accepted: {ACCEPTED}")
    raise UnsupportedValueError(f"a value of type {type(value).__name__} is not a file; accepted: {ACCEPTED}")


def _of_another_process(given: object) -> Source:
    def not_yet() -> Any:
        raise NotImplementedError("a source that has come from another process is asked for `here` first")

    return Source("", not_yet, not_yet, given=given)


def _absolute(value: Any) -> Any:
    """Return *value*, a path in it made absolute: workers have other working directories."""
    if isinstance(value, File):
        return replace(value, content=_absolute(value.content))
    if isinstance(value, Directory | Link):
        return replace(value, path=_absolute(value.path))
    return str(working_directory() / os.fsdecode(value)) if _is_path(value) and not _is_url(value) else value


def _is_path(value: object) -> TypeGuard[str | os.PathLike[Any]]:
    """Tell whether *value* names a file. fsspec's open local files know their path, and are streams none the less.

    What is stored has a path here as well, and so has a member: they are taken for what they are.
    """
    if not isinstance(value, os.PathLike):
        return isinstance(value, str)
    return not isinstance(value, io.IOBase | StoredFile | StoredDirectory | TreeMember)


def _from_file(value: File) -> Source:
    if value.mime_type is not None and not is_mime_type(str(value.mime_type)):
        raise UnsupportedValueError(f"mime_type = {brief(value.mime_type)} is not of the form type/subtype")
    if isinstance(value.content, File | Directory | Link | tuple):
        raise UnsupportedValueError("the content of a File is a path, a binary stream or bytes")
    if isinstance(value.content, bytes | bytearray | memoryview):
        source = _from_bytes(value.content)
    elif value.name is not None and _is_path(value.content):
        source = _from_path(value.content, value.name)
    else:
        source = as_source(value.content)
    if source.tree is not None and value.mime_type is not None:
        raise UnsupportedValueError("a directory has no media type of its own: give Directory(path, name=…)")
    name = source.name if value.name is None else _checked_name(value.name)
    title = _checked_title(value.title) or source.title
    return replace(source, name=name, mime_type=value.mime_type or source.mime_type, title=title)


def _from_pair(value: tuple[object, ...]) -> Source:
    if len(value) != 2 or not isinstance(value[0], str):
        raise UnsupportedValueError(f"a tuple must be (name, stream) or (name, bytes); accepted: {ACCEPTED}")
    name, content = value
    if isinstance(content, bytes | bytearray | memoryview):
        return replace(_from_bytes(content), name=_checked_name(name))
    if callable(getattr(content, "read", None)) and not isinstance(content, StoredFile):
        return replace(_from_stream(content), name=_checked_name(name))
    raise UnsupportedValueError(
        f"({brief(name)}, {type(content).__name__}) is neither (name, stream) nor (name, bytes); "
        "to store a path under another name give File(path, name=…)"
    )


def _from_bytes(content: bytes | bytearray | memoryview) -> Source:
    fixed = bytes(content)
    return Source("", lambda: nullcontext(io.BytesIO(fixed)), lambda: fixed[:HEAD_SIZE], len(fixed), carried=len(fixed))


def _from_link(link: Link) -> Source:
    if not _is_path(link.path):
        raise UnsupportedValueError(f"a Link is to a path or URL, not to a value of type {type(link.path).__name__}")
    if link.mime_type is not None and not is_mime_type(str(link.mime_type)):
        raise UnsupportedValueError(f"mime_type = {brief(link.mime_type)} is not of the form type/subtype")
    if link.hash is not None and not is_hash(str(link.hash)):
        raise UnsupportedValueError(f"hash = {brief(link.hash)}: expected sha256: and 64 hexadecimal digits")
    if _is_url(link.path):
        source = _of_url(os.fsdecode(link.path), link.name)
    else:
        path, status = _original(link.path)
        if stat.S_ISDIR(status.st_mode):
            source = replace(_from_directory(Directory(path, name=link.name)), link=f"{path}/")
        else:
            name = _checked_name(Path(path).name if link.name is None else link.name)
            source = Source(name, _no_bytes, bytes, status.st_size, link=path)
    if link.hash is not None and source.link.endswith("/"):
        raise UnsupportedValueError("hash is that of a file: a directory is read, and its files are listed with theirs")
    mime_type = link.mime_type or source.mime_type
    return replace(source, mime_type=mime_type, hash=link.hash, title=_checked_title(link.title))


def _original(given: str | os.PathLike[Any]) -> tuple[str, os.stat_result]:
    """Return what `_looked_at` does; of what is not there, say which of the directories on the way is not."""
    try:
        return _looked_at(given)
    except SourceNotFoundError as error:
        above = Path(working_directory() / os.fsdecode(given)).parents
        missing = [str(directory) for directory in above if not directory.exists()]
        on_the_way = f"; nor does {printable(missing[-1])}" if missing else ""
        raise SourceNotFoundError(f"{error}{on_the_way}: is its disk mounted?") from error.__cause__


def _of_url(url: str, name: str | None) -> Source:
    own = url.rstrip("/").rpartition("/")[2]
    return Source(_checked_name(own if name is None else name), _no_bytes, bytes, link=url)


def _is_url(path: str | os.PathLike[Any]) -> bool:
    text = os.fsdecode(path)
    return ":/" in text and is_url(text) and not os.path.lexists(text)


def _from_copied(copied: Copied) -> Source:
    original = copied.original
    if not isinstance(original, StoredDirectory):
        return _of_bytes(original)
    return _of_tree(_checked_name(original.original_name), CopiedTree(original.as_tree()), original.title)


def _from_stored(stored: StoredFile) -> Source:
    metadata, source = stored.metadata, _of_bytes(stored)
    return replace(source, link=metadata.linked, linked=metadata) if metadata.is_link else source


def _of_bytes(stored: StoredFile) -> Source:
    metadata = stored.metadata

    @contextmanager
    def opened() -> Iterator[Reader]:
        with stored.open() as file:
            yield file

    name = _checked_name(metadata.original_name)
    source = Source(name, opened, lambda: b"", metadata.size, metadata.mime_type, metadata.hash)
    return replace(source, title=metadata.title)


def _from_elsewhere(value: Elsewhere) -> Source:
    def head() -> bytes:
        with value.opened() as reader:
            return reader.read(HEAD_SIZE)

    return Source(_checked_name(value.name), value.opened, head, value.size)


def _from_path(given: str | os.PathLike[Any], name: str | None = None) -> Source:
    path, status = _looked_at(given)
    if stat.S_ISDIR(status.st_mode):
        return _from_directory(Directory(given, name=name))
    checked = _checked_name(Path(path).name if name is None else name)
    return Source(checked, partial(open_file, path), partial(head_of, path), status.st_size)


def _from_member(member: TreeMember) -> Source:
    path = str(member)
    with open_file(path, member.open) as reader:
        size = reader.size
    name = _checked_name(Path(path).name)
    source = Source(name, partial(open_file, path, member.open), partial(head_of, path, member.open), size)
    return replace(source, title=_checked_title(member.title))


def _from_directory(given: Directory) -> Source:
    if not _is_path(given.path):
        raise UnsupportedValueError(f"a Directory is of a path, not of a value of type {type(given.path).__name__}")
    path, status = _looked_at(given.path)
    if not stat.S_ISDIR(status.st_mode):
        raise UnsupportedValueError(f"{printable(path)} is no directory: give the path itself, or File(path, name=…)")
    path = os.path.abspath(path)  # `.` and `runs/..` have a name, too
    name = _checked_name(Path(path).name if given.name is None else given.name)
    return _of_tree(name, LocalTree(given, path), given.title)


def _of_tree(name: str, tree: Tree, title: str | None) -> Source:
    return Source(name, _no_bytes, bytes, mime_type=DIRECTORY_TYPE, tree=tree, title=_checked_title(title))


def _no_bytes() -> NoReturn:
    raise NotImplementedError("of a directory its members are stored, and a link is read where it is")


def _looked_at(given: str | os.PathLike[Any]) -> tuple[str, os.stat_result]:
    """Return the absolute path of a file or directory, and what it is; or say why it cannot be stored."""
    text = os.fsdecode(given)
    if not text:
        raise SourceNotFoundError("the path is empty")
    given_path = Path(text)
    path = str(given_path if given_path.is_absolute() else working_directory() / given_path)
    if ":/" in text and is_url(text) and not os.path.lexists(path):
        raise SourceNotFoundError(
            f"{printable(without_secrets(text))} is a URL, not the path of a file here; open it and give the stream"
        )
    try:
        return path, look_at(path)
    except SourceNotFoundError as error:
        raise SourceNotFoundError(f"{error}{_hint(text)}") from error.__cause__


def _hint(text: str) -> str:
    """Return what to give instead of *text*, which is no file, if a shell would have made something else of it."""
    path = expanded(text)
    if glob.has_magic(path):
        found = ", ".join(map(printable, islice(glob.iglob(path), 3)))
        return f"; patterns are not expanded: {f'give one file, such as {found}' if found else 'and no file matches'}"
    return f"; `~` is not expanded: give {printable(path)}" if path != text else ""


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise UnsupportedValueError(f"a file's name is text, not {type(name).__name__}")
    if ":/" in name and is_url(name):
        raise UnsafeNameError(f"{brief(without_secrets(name))} is a URL, not a file name")
    try:
        return check_name(name)
    except UnsafeNameError as error:
        way_on = "Give it another name with File(path, name=…), Directory(path, name=…) or (name, stream)"
        raise UnsafeNameError(f"{error}. {way_on}") from error


def _checked_title(title: object) -> str | None:
    if title is None or (isinstance(title, str) and is_title(title)):
        return title
    raise UnsupportedValueError(f"title = {brief(title)} is not {TITLE_FORM}")


def _from_stream(stream: Any) -> Source:
    if _is_text(stream):
        raise UnsupportedValueError("the stream is a text stream; open the file in binary mode ('rb')")
    if isinstance(stream, io.IOBase) and _is_closed(stream):
        raise SourceError("the stream is closed; give it open, or give the path")
    if isinstance(stream, io.IOBase) and not stream.readable():
        raise SourceError("the stream is open for writing only; open the file in mode 'rb'")
    reader = StreamReader(stream)
    source = Source(name_of(stream), lambda: nullcontext(reader), reader.head, stream=stream)
    return replace(source, rewind=reader.rewind, can_reread=reader.can_rewind)


def _is_text(stream: Any) -> bool:
    if isinstance(stream, io.TextIOBase | codecs.StreamReader | codecs.StreamReaderWriter):
        return True
    mode = getattr(stream, "mode", "b")
    return isinstance(mode, str) and "b" not in mode and hasattr(stream, "encoding")


def _is_closed(stream: io.IOBase) -> bool:
    try:
        return stream.closed
    except ValueError:  # detached
        return True


def _from_stored_directory(value: StoredDirectory) -> Source:
    source = _of_tree(_checked_name(value.original_name), value.as_tree(), value.title)
    return replace(source, link=getattr(value, "linked", ""))


_OWN: dict[type, Callable[[Any], Source]] = {
    File: _from_file,
    Link: _from_link,
    Copied: _from_copied,
    Elsewhere: _from_elsewhere,
    Placed: lambda value: replace(_recognised(value.value), address=value.address),
    Directory: _from_directory,
    TreeMember: _from_member,
    StoredDirectory: _from_stored_directory,
}
"""What this package has made, and how it is read."""
