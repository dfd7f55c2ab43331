"""Dump files of databases: whose they are, when they were made, and their text as it may be loaded.

They are untrusted input. Which program loads them is the business of `loading`.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, Literal

from datajoint_file.errors import DrillError, printable, reason_of

Product = Literal["mysql", "mariadb", "postgresql"]

_PIECE = 2**20
"""Bytes of a line that are read at a time: what is longer comes in several pieces."""

_HEAD = 16_384
_ENDINGS = (".sql", ".sql.gz", ".dump", ".dmp", ".pgdump", ".backup")
_ARCHIVE = b"PGDMP"
_PACKED = b"\x1f\x8b"

_MYSQL_TITLE = re.compile(rb"^-- (MariaDB|MySQL) dump ", re.MULTILINE)
_MYSQL_SERVER = re.compile(rb"^-- Server version\s+(\S+)", re.MULTILINE)
_MYSQL_DATABASE = re.compile(rb"^-- Host: .*?\s+Database: (\S.*?)\s*$", re.MULTILINE)
_MYSQL_END = re.compile(rb"-- Dump completed(?: on (?P<moment>\d{4}-\d\d-\d\d +\d{1,2}:\d\d:\d\d))?\s*")
_POSTGRESQL_TITLE = b"-- PostgreSQL database dump"
_POSTGRESQL_VERSION = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)
_POSTGRESQL_BEGINNING = re.compile(rb"-- PostgreSQL database dump\s*")
_POSTGRESQL_END = re.compile(rb"-- PostgreSQL database dump complete\s*")
_POSTGRESQL_MOMENT = re.compile(rb"-- Started on (?P<moment>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?P<utc> UTC)?")
_RESTRICT = re.compile(rb"\\restrict (\S+)\s*")
_SCHEMA = re.compile(rb"(?:-- Current Database: |USE )`((?:[^`]|``)*)`;?\s*")
_SYSTEM = (b"mysql", b"sys", b"performance_schema", b"information_schema")


@dataclass(frozen=True, slots=True)
class DumpFile:
    """One dump, or one directory that ``pg_dump -Fd`` has made."""

    path: Path
    product: Product | None  # None if its first lines do not tell
    is_archive: bool = False  # for pg_restore
    version: int = 0  # of the PostgreSQL server it is of; 0 if it does not tell
    database: str = ""  # of a dump that does not name its schema before each table

    @property
    def size(self) -> int:
        """Its bytes on disk; 0 of a directory."""
        return 0 if self.path.is_dir() else self.path.stat().st_size


@dataclass(slots=True)
class Course:
    """What a dump has told while it was read."""

    begun: int = 0
    ended: int = 0
    moment: datetime | None = None  # when it was made, as it says itself
    fault: str = ""  # why it could not be read to its end
    schemas: set[str] = field(
        default_factory=set
    )  # of MySQL, that it fills; in small letters, as some servers have them


def dump_files(path: str | os.PathLike[str]) -> list[DumpFile]:
    """Return the dumps that are meant by a file, or by a directory of them, in the order of their names.

    Raises
    ------
    DrillError
        If there is none, or it cannot be read.
    """
    given = Path(path).expanduser().absolute()
    try:
        if not given.is_dir():
            return [_described(given)]
        if (given / "toc.dat").exists():
            return [DumpFile(given, "postgresql", is_archive=True)]
        found = sorted(one for one in given.iterdir() if one.name.endswith(_ENDINGS) and one.is_file())
        if not found:
            raise DrillError(f"{printable(str(given))} has no dump: none of its files ends in {', '.join(_ENDINGS)}")
        return [_described(one) for one in found]
    except OSError as error:
        raise DrillError(f"the dump {printable(str(given))} cannot be read: {reason_of(error)}") from error


def _described(path: Path) -> DumpFile:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_ARCHIVE):
        return DumpFile(path, "postgresql", is_archive=True)
    if head.startswith(_PACKED):
        with suppress(zlib.error):  # it is said when it is loaded
            head = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    if _POSTGRESQL_TITLE in head:
        version = _POSTGRESQL_VERSION.search(head)
        return DumpFile(path, "postgresql", version=int(version[1]) if version else 0)
    title = _MYSQL_TITLE.search(head)
    if title is None:
        return DumpFile(path, None)
    server = _MYSQL_SERVER.search(head)  # either product's program can dump the other
    is_mariadb = b"MariaDB" in (server[1] if server else title[1])
    database = _MYSQL_DATABASE.search(head)
    named = database[1].decode("utf-8", "replace") if database else ""
    return DumpFile(path, "mariadb" if is_mariadb else "mysql", database=named)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a dump as text, and give the file itself beside it, which tells how far it was read."""
    with path.open("rb") as file:
        is_packed = file.read(len(_PACKED)) == _PACKED
        file.seek(0)
        if is_packed:
            with gzip.GzipFile(fileobj=file) as text:
                yield text, file  # type: ignore[misc]  # a BinaryIO in all but name
        else:
            yield file, file


def text_of(dump: DumpFile, course: Course, advance: Callable[[int], object]) -> Iterator[bytes]:
    """Give the text of a dump in pieces, without what concerns the server itself; *course* takes note of what it tells.

    Left out are the sections of a server's own schemas, with its accounts, and the marks by which ``psql`` would be
    told to run commands again. A file that cannot be read to its end is a fault, not an error.
    """
    try:
        with _opened(dump.path) as (text, file):
            told = 0
            for piece in (_for_psql if dump.product == "postgresql" else _for_mysql)(_pieces(text), course):
                yield piece
                advance(file.tell() - told)
                told = file.tell()
            if not text.tell():
                course.fault = "it is empty: look at the exit code and the messages of what was to write it"
    except (EOFError, zlib.error, OSError) as error:
        course.fault = f"it cannot be read to its end: {error}"


def _pieces(text: BinaryIO) -> Iterator[tuple[bool, bytes]]:
    """Give lines, or pieces of long ones, each with whether a line begins with it."""
    is_beginning = True
    while piece := text.readline(_PIECE):
        yield is_beginning, piece
        is_beginning = piece.endswith(b"\n")


def _for_mysql(pieces: Iterator[tuple[bool, bytes]], course: Course) -> Iterator[bytes]:
    is_left_out = False
    for is_beginning, piece in pieces:
        if is_beginning and piece.startswith((b"-- ", b"USE ")):
            if _MYSQL_TITLE.match(piece):
                course.begun += 1
            elif end := _MYSQL_END.fullmatch(piece):
                course.ended += 1
                course.moment = _moment(end["moment"], None)
            elif used := _SCHEMA.fullmatch(piece):
                is_left_out = used[1].lower() in _SYSTEM
                course.schemas.add(used[1].replace(b"``", b"`").decode("utf-8", "replace").lower())
        if not is_left_out:
            yield piece


def _for_psql(pieces: Iterator[tuple[bool, bytes]], course: Course) -> Iterator[bytes]:
    mark = None
    for is_beginning, piece in pieces:
        if is_beginning and piece.startswith(b"-- "):
            if _POSTGRESQL_BEGINNING.fullmatch(piece):
                course.begun += 1
            elif _POSTGRESQL_END.fullmatch(piece):
                course.ended += 1
            elif moment := _POSTGRESQL_MOMENT.match(piece):
                course.moment = _moment(moment["moment"], moment["utc"])
        elif (
            is_beginning and course.begun == course.ended + 1 and mark is None and (found := _RESTRICT.fullmatch(piece))
        ):
            mark = found[1]
            continue
        elif mark is not None and is_beginning and piece.strip() == b"\\unrestrict " + mark:
            mark = None
            continue
        yield piece


def _moment(text: bytes | None, utc: bytes | None) -> datetime | None:
    """Return the moment that a dump tells: by the clock and zone of the machine that made it, so that of this one."""
    if text is None:
        return None
    day, clock = text.decode().split()
    try:
        moment = datetime.strptime(f"{day} {clock}", "%Y-%m-%d %H:%M:%S")
        return moment.replace(tzinfo=timezone.utc) if utc else moment.astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def archive_moment(listing: str) -> tuple[datetime | None, int]:
    """Return when an archive was made and of which major version its server was, from what ``pg_restore -l`` prints."""
    created = re.search(r"^;\s+Archive created at (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)( UTC)?", listing, re.MULTILINE)
    version = re.search(r"^;\s+Dumped from database version: (\d+)", listing, re.MULTILINE)
    utc = created[2].encode() if created and created[2] else None
    return _moment(created[1].encode(), utc) if created else None, int(version[1]) if version else 0
