"""Statements about rows, beside their values: tags, and who inserted their files; written with the rows, and put back.

They are a file for each table, of a line for each row of which something is known, in the order of the rows: so both
are read side by side. Whoever wrote one may have written anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

from datajoint.errors import AccessError
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    StringConstraints,
    ValidationError,
)

from datajoint_file.errors import ExchangeError, brief
from datajoint_file.exchange.description import Name
from datajoint_file.exchange.tables import Rows
from datajoint_file.exchange.values import Written
from datajoint_file.hooks.base_rows import base_rows
from datajoint_file.journal.source_table import Call, object_id
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.query.source import Calls, source_of
from datajoint_file.query.tags import as_tag, tag_table_if_there
from datajoint_file.sql.tag_table import TagTable

ABOUT = ("tags", "provenance")
"""What is said of rows; either can be left out."""

_ROWS_AT_ONCE = 400


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has characters that are not printable")
    return text


def _on_a_calendar(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 9999:
        raise ValueError("no file was inserted then")
    return moment.astimezone(timezone.utc)


_Text = Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(_printable)]
_User = Annotated[str, StringConstraints(max_length=128), AfterValidator(_printable)]
_Moment = Annotated[AwareDatetime, AfterValidator(_on_a_calendar)]
_Tag = Annotated[str, AfterValidator(as_tag)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Provenance(_Value):
    """Who inserted a file, as `datajoint_file.Source` has it; ``table`` and ``key`` are those of ``make``."""

    at: _Moment
    who: _User
    user: _Text | None = None
    host: _Text | None = None
    program: _Text | None = None
    version: _Text | None = None
    commit: _Text | None = None
    is_dirty: bool | None = None
    package: _Text | None = None
    table: _Text | None = None
    key: dict[str, JsonValue] = Field(default_factory=dict, max_length=64)

    def as_call(self, imported: Mapping[str, Any]) -> Call:
        """Return it as what is noted here, with who *imported* it."""
        facts = self.model_dump(exclude={"at", "who", "is_dirty", "table", "key"}, exclude_none=True)
        facts |= {} if self.is_dirty is None else {"dirty": self.is_dirty}
        facts |= {"make": {"table": self.table, "key": self.key}} if self.table else {}
        return Call(self.at, self.who, facts | {"imported": dict(imported)})


class About(_Value):
    """What is said of one row: its tags, and who inserted the file of which attribute."""

    key: dict[str, JsonValue]
    tags: list[_Tag] = Field(default_factory=list, max_length=10_000)
    provenance: dict[Name, Provenance] = Field(default_factory=dict)
    _size: int = PrivateAttr(0)

    @property
    def size(self) -> int:
        """Bytes of its line."""
        return self._size


class Statements:
    """What is known of the rows of one table, and this user may read; made before the transaction that only reads.

    For what this user may not read is found out here, and a statement that is refused would end that transaction.
    """

    def __init__(self, rows: Rows, left_out: Sequence[str]) -> None:
        self._rows = rows
        self.notes: list[str] = []
        connection = rows.table.connection
        self._run = lambda sql, args: connection.query(sql, args).fetchall()
        self._tags: TagTable | None = None
        self._calls: Calls | None = None
        title = rows.description.title
        if "tags" not in left_out:
            try:
                self._tags = tag_table_if_there(base_rows(rows.table, advice=""))
            except AccessError:
                self.notes.append(f"the tags of {title} are not in it: this user may not read them")
        if "provenance" not in left_out and rows.description.files:
            self._calls = Calls(connection, rows.table.database)
            self._calls_of([])

    def lines(self, written: Path) -> Iterator[bytes]:
        """Give the lines of the file, of rows that were *written*; none of rows of which nothing is known."""
        if self._tags is None and self._calls is None:
            return
        primary = self._rows.description.primary_key
        with written.open("rb") as file:
            while some := [json.loads(line) for line in islice(file, _ROWS_AT_ONCE)]:
                tags = self._rows.tags(self._tags, some) if self._tags is not None else {}
                for row, provenance in zip(some, self._provenance(some), strict=True):
                    said: dict[str, Any] = {"key": {name: row[name] for name in primary}}
                    if found := [one for one in tags.get(self._rows.key_of(row), ()) if _is_tag(one)]:
                        said["tags"] = found
                    if provenance:
                        said["provenance"] = provenance
                    if len(said) > 1:
                        yield f"{json.dumps(said, ensure_ascii=False)}\n".encode()

    def _calls_of(self, files: Iterable[FileMetadata]) -> dict[str, Call]:
        """Return the calls that inserted files; from now on none if this user may not read of one."""
        try:
            return self._calls.of(files, self._run) if self._calls is not None else {}
        except AccessError:
            self._calls = None
            title = self._rows.description.title
            self.notes.append(f"who inserted the files of {title} is not in it: this user may not read all of it")
            return {}

    def _provenance(self, some: Sequence[Written]) -> Iterator[dict[str, Any]]:
        """Give what is noted of the files of each row, by attribute."""
        names = self._rows.description.files if self._calls is not None else []
        files = [{name: FileMetadata.from_json(row[name]["row"]) for name in names if row[name]} for row in some]
        calls = self._calls_of(chain(*(one.values() for one in files)))
        known = {id(call): call for call in calls.values()}
        told = {number: _told(call) for number, call in known.items()}
        for row in files:
            noted = {name: told.get(id(calls.get(object_id(one)))) for name, one in row.items()}
            yield {name: one for name, one in noted.items() if one}


def _is_tag(text: str) -> bool:
    try:
        return as_tag(text) == text
    except ValueError:
        return False


def _told(call: Call) -> dict[str, Any] | None:
    """Return what a call has noted as an export has it; nothing, if somebody has written there what no call notes."""
    said = source_of(None, call, {})
    known = {name: getattr(said, name) for name in Provenance.model_fields}
    try:
        found = Provenance.model_validate(known)
    except ValidationError:
        return None
    return found.model_dump(mode="json", exclude_none=True, exclude_defaults=True)


class ReceivedStatements:
    """What an export says of the rows of a table, read side by side with these.

    Parameters
    ----------
    lines : iterator of (str, bytes)
        Where each is, as people are told, and the line itself.
    """

    def __init__(self, lines: Iterator[tuple[str, bytes]]) -> None:
        self._lines = (_read(where, line) for where, line in lines)
        self._next = next(self._lines, None)

    def of(self, key: Written) -> About | None:
        """Return what is said of the next row, which has this key."""
        if self._next is None or self._next[1].key != key:
            return None
        found, self._next = self._next[1], next(self._lines, None)
        return found

    def end(self) -> None:
        """Raise unless all that is said was of a row."""
        if self._next is not None:
            raise ExchangeError(f"{self._next[0]}: it is about no row of the export, or they are in another order")


def _read(where: str, line: bytes) -> tuple[str, About]:
    try:
        found = About.model_validate_json(line)
        found._size = len(line)
        return where, found
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]
        told = f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        raise ExchangeError(f"{where}: {brief(told, 300)}; nothing was inserted") from None
