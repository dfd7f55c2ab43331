"""Search value: what `find` was asked for, as rows have it, and the SQL conditions that say so.

Where it is searched for is not decided here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.errors import ConfigurationError, QueryError, UnsafeNameError, UnsafePathError, brief, printable
from datajoint_file.model.manifest import decode_path
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import check_link, check_value_key, value_key, write_id_of
from datajoint_file.pipeline.described import Described
from datajoint_file.pipeline.linking import names_at
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.sql import Condition, Dialect
from datajoint_file.transfer.digests import digest_of
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.sources import as_source

_DIGITS = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
_IS_ELSEWHERE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:/")
"""How a path of this machine, or a URL, begins, and no object key."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for."""

    said: str  # as people read it
    digits: str = ""  # with which the hash begins
    names: tuple[str, ...] = ()  # what rows can call it, or the directory that it is in

    @property
    def paths(self) -> tuple[str, ...]:
        """What the path of its row can be: its own, that of a directory, that of the stored directory it is in."""
        return tuple(dict.fromkeys(one for name in self.names for one in (name, f"{name}/", value_key(name))))

    @property
    def linked(self) -> tuple[str, ...]:
        """Where a directory that it is in can be, if that stays where it is."""
        links = [name.split("/") for name in self.names if not write_id_of(name)]
        above = ("/".join([*parts[:end], ""]) for parts in links for end in range(2, len(parts) + 1))
        return tuple(dict.fromkeys(above))

    def conditions(self, dialect: Dialect, name: str) -> Iterator[Condition]:
        """Give conditions on a quoted ``file`` attribute, one of which holds; each by itself can use an index."""
        if self.digits:
            yield dialect.has_hash(name, self.digits)
        if self.names:
            yield dialect.has_path(name, self.paths)
        if self.linked:
            yield dialect.has_path(name, self.linked, "linked")

    def is_met_by(self, metadata: FileMetadata) -> bool:
        """Tell whether what a row had is it, or has it."""
        if self.digits:
            return metadata.hash.startswith(f"sha256:{self.digits}")
        return metadata.path in self.paths or (metadata.is_directory and metadata.linked in self.linked)

    def member_of(self, metadata: FileMetadata) -> str:
        """Return the path within a directory; nothing, if the directory itself is meant, or it is a file."""
        tops = [top for top in (metadata.path, metadata.linked) if top.endswith("/")]
        inner = (name[len(top) :] for name in self.names for top in tops if name.startswith(top))
        found = next(filter(None, inner), "")
        with suppress(UnsafeNameError):
            return decode_path(found) if found else ""
        return found


def by_hash(text: str) -> Wanted:
    """Return what is meant by a digest, or by its first digits.

    Raises
    ------
    QueryError
        If it is none.
    """
    match = _DIGITS.fullmatch(str(text).strip().lower())
    if match is None:
        raise QueryError(
            f"hash = {brief(text)}: rows have SHA-256; give its 64 hexadecimal digits, or the first 8 or more, with or "
            "without sha256: before them"
        )
    return Wanted(f"the hash sha256:{match[1]}{'' if len(match[1]) == 64 else '…'}", match[1])


def by_content(file: Any, progress: bool | None) -> Wanted:
    """Return what is meant by a file or directory of this machine, or whatever an insert takes: it is read, once.

    Raises
    ------
    UnsupportedValueError, SourceError, UnsafeNameError
        As an insert does.
    """
    if isinstance(file, Described):
        return Wanted(f"the content of {printable(file.name)} ({file.hash})", file.hash.partition(":")[2])
    source = as_source(file.path if isinstance(file, Link) else file).listed()
    with progress_bar(f"hash {source.name}", source.size, progress) as advance:
        hash_ = digest_of(source, advance)
    return Wanted(f"the content of {printable(source.name) or 'the stream'} ({hash_})", hash_.partition(":")[2])


def by_path(given: Any, pipeline: Callable[[], Pipeline]) -> Wanted:
    """Return what is meant by an object key, or by a path of this machine or a URL, for which the *pipeline* is asked.

    Raises
    ------
    QueryError
        If it is neither.
    ConfigurationError
        If there is no configuration to say what a path or URL stands for, or that does not know it.
    """
    if isinstance(given, Described):
        return Wanted(f"the path {given.path}", names=_without_slashes([given.path, given.linked or given.path]))
    if not isinstance(given, str | os.PathLike):
        raise QueryError(f"path = {brief(given)}: give an object key, a URL, or a path of this machine")
    text = os.fsdecode(given)
    names = [] if _IS_ELSEWHERE.match(text) else _as_key(text)
    try:
        names += names_at(pipeline().stores, text)
    except ConfigurationError:
        if not names:
            raise
    return Wanted(f"the path {printable(text)}", names=_without_slashes(names))


def _without_slashes(names: list[str]) -> tuple[str, ...]:
    """Return what rows can hold of *names*, which are percent-encoded there."""
    return tuple(dict.fromkeys(name.rstrip("/") for name in names if name.isascii()))


def _as_key(text: str) -> list[str]:
    for check in (check_value_key, check_link):
        with suppress(UnsafePathError):
            return [check(text)]
    return []
