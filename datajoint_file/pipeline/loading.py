"""Loader of stored files and directories as objects: verified bytes, given to the reader of their format.

Which reader that is, and what it refuses, is the business of `formats`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from datajoint_file.errors import FormatError, printable
from datajoint_file.formats.registry import Takes, call, chosen, format_of, suffixes

if TYPE_CHECKING:
    from datajoint_file.pipeline.fileref import FileRef


def load_file(ref: FileRef, suffix: str | None) -> Any:
    """Return the object that a stored file holds, by the format of *suffix*, or of its name or media type."""

    def given(takes: Takes) -> Any:
        return io.BytesIO(ref.read()) if takes == "stream" else ref.cache()

    return _load(ref.original_name, ref.path, ref.mime_type, suffix, given, is_directory=False)


def load_directory(name: str, path: str, files: Any, suffix: str | None) -> Any:
    """Return what a stored directory of this *name* holds, whose *files* are read when they are used."""
    return _load(name, path, None, suffix, lambda _: files, is_directory=True)


_FILE = "a file", "read() or open()"


def _load(
    name: str, path: str, type_: str | None, suffix: str | None, given: Callable[[Takes], Any], *, is_directory: bool
) -> Any:
    what = f"{printable(name)} ({printable(path)})"
    format_ = chosen(suffix) if suffix is not None else format_of(name, type_)
    if format_ is None or format_.load is None or format_.is_directory != is_directory:
        kind, other = ("a directory", "load('a/b.npy') of a file in it, or fs") if is_directory else _FILE
        by = "its name" if is_directory else f"its name or its type {printable(type_ or '')}"
        raise FormatError(
            f"{what} is {kind} of no format that can be read, by {by}: use {other}, or load(format=…) with one of "
            f"{suffixes(is_directory=is_directory)}; or import the module that registers its format"
        )
    return call(format_, what, format_.load, given(format_.takes))
