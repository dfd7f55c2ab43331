"""Temporary files made of the objects that a statement is given; they go with the statement, whatever happens.

An object becomes what `as_source` takes: bytes if it is small, else the path of a file or directory.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from datajoint_file.errors import FormatError, UnsupportedValueError, brief
from datajoint_file.formats.registry import (
    DEFAULTS,
    Format,
    call,
    format_of,
    is_written,
    refusal,
    type_name,
    written_by,
)
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.sources import File

IN_MEMORY = 2**20
"""What is no larger is kept in memory, and not in a temporary file."""

MOST_SENT = 64 * 2**20
"""So many bytes of an object can travel to a worker of another process, which has not this one's temporary files."""


Defaults = Callable[[], Mapping[str, str]]
"""Tells which formats objects without a name get, by the names of their types; asked only if there is one."""


@dataclass(frozen=True, slots=True)
class Named:
    """An object that is to be stored, as which file."""

    name: str
    content: Any
    format: Format

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"({brief(self.name)}, {type_name(type(self.content))})"


def object_in(value: Any, attribute: str, defaults: Defaults) -> Named | None:
    """Return the object that *value* gives to be stored for *attribute*; none, if it is a source as it is.

    Nothing is written.

    Raises
    ------
    UnsupportedValueError
        If no format writes an object of this type into a file of this name.
    """
    name, content = _parts(value)
    if content is None or isinstance(content, bytes | bytearray | memoryview | os.PathLike | io.IOBase):
        return None
    kind = type_name(type(content))
    if not is_written(kind) and _is_source(content):
        return None
    if not name:
        suffix = "" if kind == "str" else _default(kind, defaults())
        if not suffix:
            _refuse_nameless(kind)
            return None
        name = f"{attribute}{suffix}"
    found = format_of(name)
    if found is None or found.save is None or kind not in found.types:
        if kind == "str" or not (is_written(kind) or found):
            return None
        raise UnsupportedValueError(refusal(name, kind))
    if kind == "str":
        _refuse_path(name, content)
    return Named(name, content, found)


def _default(kind: str, defaults: Mapping[str, str]) -> str:
    """Return the suffix for a type, by its name with or without its package; capitals make no difference."""
    suffixes = {name.lower(): suffix for name, suffix in (*DEFAULTS.items(), *defaults.items())}
    return suffixes.get(kind.lower()) or suffixes.get(kind.rpartition(".")[2].lower(), "")


def _refuse_nameless(kind: str) -> None:
    """Raise if a name is all that an object of this type lacks."""
    if "." in kind and is_written(kind):
        raise UnsupportedValueError(
            f"an object of type {kind} needs the name of a file, which ends in {', '.join(written_by(kind))}: give "
            f'(name, object), or name a suffix in datajoint.toml: [formats] {kind.rpartition(".")[2]} = "…"'
        )


def _parts(value: Any) -> tuple[str, Any]:
    if isinstance(value, File) and not isinstance(value.content, str):
        return value.name or "", value.content
    if type(value) is tuple and len(value) == 2 and isinstance(value[0], str):
        return value
    return "", value


def _is_source(content: Any) -> bool:
    """Tell whether `as_source` takes it, or says itself why not."""
    return type(content).__module__.startswith("datajoint_file.") or callable(getattr(content, "read", None))


def _refuse_path(name: str, text: str) -> None:
    """Refuse a text that is more likely the path of a file: what is in it was to be stored then."""
    is_path = not any(map(str.isspace, text)) and ("/" in text or "\\" in text or PurePath(text).suffix != "")
    if is_path or (text and "\0" not in text and os.path.lexists(text)):
        raise UnsupportedValueError(
            f"({brief(name)}, {brief(text)}): is this a path, or what is to be in the file? Give File(path, name=…) or "
            "(name, text.encode())"
        )


def write(name: str, content: Any, path: Path) -> None:
    """Write an object, or bytes, to a new file of this *path*, as an insert of ``(name, content)`` would.

    Raises
    ------
    UnsupportedValueError
        If no format writes such an object into a file of this name.
    FormatError, MissingLibraryError
        If it would not come back as it is, or the format's library is not installed.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        path.write_bytes(content)
        return
    found = object_in((name, content), "", dict)
    if found is None:
        raise UnsupportedValueError(refusal(name, type_name(type(content))))
    call(found.format, found.what, _write_and_compare, found, path, hint=found.format.instead)


class ObjectFiles:
    """The files of the objects of one statement, in a directory of their own, which only this user can read."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._count = 0

    def stored(self, value: Any, attribute: str, defaults: Defaults, *, is_sent: bool) -> Any:
        """Return *value* as `as_source` takes it: an object is written to a file, and read again to compare.

        It *is_sent* if it goes to a worker of another process, as bytes then.

        Raises
        ------
        UnsupportedValueError
            As by `object_in`; or if it is too large to be sent.
        FormatError
            If it would not come back from that format as it is.
        MissingLibraryError
            If the format's library is not installed.
        """
        found = object_in(value, attribute, defaults)
        if found is None:
            return value
        path = self._written(found)
        content = _content(found, path, is_sent=is_sent)
        if found.format.is_directory:
            return Directory(content, name=found.name)
        return replace(value if isinstance(value, File) else File(content), content=content, name=found.name)

    def remove(self) -> None:
        """Remove them."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _written(self, found: Named) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="datajoint-file-"))
        self._count += 1
        path = self._directory / f"{self._count}{found.format.suffix}"
        call(found.format, found.what, _write_and_compare, found, path, hint=found.format.instead)
        return path


def _write_and_compare(found: Named, path: Path) -> None:
    format_ = found.format
    if format_.save is None:
        raise NotImplementedError(format_.suffix)
    format_.save(found.content, path)
    if format_.differs is not None and format_.load is not None:
        difference = format_.differs(found.content, _loaded(format_, path))
        if difference:
            instead = f". Instead, {format_.instead}" if format_.instead else ""
            raise FormatError(f"it would not come back from {format_.suffix} as it is: {difference}{instead}")


def _loaded(format_: Format, path: Path) -> Any:
    load: Any = format_.load
    if format_.takes == "stream":
        with path.open("rb") as stream:
            return load(stream)
    return load(path)


def _content(found: Named, path: Path, *, is_sent: bool) -> Path | bytes:
    if found.format.is_directory:
        if is_sent:
            raise UnsupportedValueError(
                f"{found.what}: a directory made of an object cannot be sent to a worker in another process; write it "
                "where workers can read it and give its path, or use datajoint_file.create"
            )
        return path
    size = path.stat().st_size
    if is_sent and size > MOST_SENT:
        raise UnsupportedValueError(
            f"{found.what}: {size} bytes made of an object are too many to be sent to a worker in another process; "
            "write them to a file that workers can read, and give its path"
        )
    if size > IN_MEMORY and not is_sent:
        return path
    content = path.read_bytes()
    path.unlink()
    return content
