"""Columns of tables, and whole rows as text: what the catalog tells, and the SQL that writes a row down losslessly.

A row becomes a JSON object whose keys are the kind of a value and its column, and whose values are text or null, so
that it is read back whatever the settings of a session are.
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datajoint_file.sql.dialect import Dialect

MAX_LARGE_BYTES = 2**20
"""A larger value (binary, text, JSON) is not written down, only how long it is."""

MAX_ROW_BYTES = 2**23
"""Of a row whose large values are longer than this together, none is: a server refuses text above its packet size."""

Kind = Literal["text", "base64", "double", "bits", "epoch", "moment", "bytes"]
"""How a value is written: as itself, encoded, as the hexadecimal bytes of a double, as an integer, as seconds since
1970, as a time with its zone. Of large values there is the number of bytes as well, and it alone if they are not
kept."""

_SCHEMAS = "schemas"
"""The key, in a row's text, of the schemas from which rows may have gone together with it."""

_PLAIN_TEXT = re.compile(r"[A-Za-z0-9 .,:;/|_+=()\[\]@#-]*")

_FILE_COMMENT = re.compile(r":\s*<\s*file\s*(?:@[^>]*)?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, as the database's catalog tells it, in the table's order."""

    name: str
    type: str
    is_key: bool  # part of the primary key
    is_generated: bool
    comment: str
    collation: str = ""  # by which its text is compared, where the dialect has to know
    has_format: bool = False  # whether settings of the session decide what its text is

    @property
    def is_file(self) -> bool:
        """Whether it is a ``file`` attribute."""
        return is_file_comment(self.comment)


def is_file_comment(comment: str) -> bool:
    """Tell whether DataJoint has written this comment of a column for a ``file`` attribute."""
    return _FILE_COMMENT.match(comment) is not None


def is_plain_text(text: str) -> bool:
    """Tell whether *text* means itself between single quotes, on each server and to DataJoint.

    Examples
    --------
    >>> is_plain_text("rec-1.dat"), is_plain_text("50%"), is_plain_text("it's")
    (True, False, False)
    """
    return _PLAIN_TEXT.fullmatch(text) is not None


def row_sql(dialect: Dialect, columns: Sequence[Column], schemas: Sequence[str] = ()) -> str:
    """Return the SQL of a whole row as text; *schemas* are noted in it, for `read_schemas`."""
    written = [(column, *dialect.written(column)) for column in columns]
    large = [dialect.byte_length(column) for column, _, _, is_large in written if is_large]
    is_small = ""
    if len(large) * MAX_LARGE_BYTES > MAX_ROW_BYTES:
        is_small = f" AND {' + '.join(f'COALESCE({length}, 0)' for length in large)} <= {MAX_ROW_BYTES}"
    if dialect.max_result and large:  # text may grow sixfold as JSON, binary by a third
        grown = [
            f"COALESCE({dialect.byte_length(column)}, 0) * {1 if kind == 'base64' else 4}"
            for column, kind, _, is_large in written
            if is_large
        ]
        is_small += f" AND {' + '.join(grown)} <= {dialect.max_result} DIV 2"
    pairs = []
    for column, kind, text, is_large in written:
        if is_large:
            length = dialect.byte_length(column)
            text = f"CASE WHEN {length} <= {MAX_LARGE_BYTES}{is_small} THEN {text} END"
            pairs.append((f"bytes {column.name}", dialect.as_characters(length)))
        pairs.append((f"{kind} {column.name}", text))
    if schemas:
        pairs.append((_SCHEMAS, dialect.literal(json.dumps(schemas))))
    return dialect.json_object([(dialect.literal(key), text) for key, text in pairs])


def cell_sql(dialect: Dialect, columns: Sequence[Column], values: Sequence[str] = ()) -> str:
    """Return the SQL of 16 characters that stand for a row's primary key; of *values* instead, as SQL, if given.

    The same for keys that the database takes for equal, however they are spelled.
    """
    keys = [column for column in columns if column.is_key]
    named = values or [dialect.named(column) for column in keys]
    return dialect.digest([dialect.compared(key, name) for key, name in zip(keys, named, strict=True)])


@dataclass(frozen=True, slots=True)
class NotKept:
    """Stands for a value that was too large to be written down."""

    size: int  # in bytes


Value = str | bytes | float | int | None | NotKept
"""What was written down: text for all that has no other form."""


def read_row(text: str) -> dict[str, tuple[Kind, Value]]:
    """Return the values of a row that `row_sql` has written, and how each was.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    written = json.loads(text)
    if not isinstance(written, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - what json raises as well
    written.pop(_SCHEMAS, None)
    sizes, row = dict[str, int](), dict[str, tuple[Kind, Value]]()
    for key, value in written.items():
        kind, _, name = key.partition(" ")
        if kind == "bytes":
            sizes[name] = int(value or 0)
        elif not isinstance(value, str | None):
            raise ValueError(f"{name} is no text")
        else:
            try:
                row[name] = (kind, read_value(kind, value))
            except (struct.error, TypeError) as error:
                raise ValueError(f"{name} is nothing that was written down as {kind}") from error
    for name, size in sizes.items():
        if row.get(name, ("text", ""))[1] is None and size:
            row[name] = (row[name][0], NotKept(size))
    return row


def read_schemas(text: str) -> list[str]:
    """Return the schemas that are noted in a row's text; none if it is damaged."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        return [str(name) for name in json.loads(json.loads(text)[_SCHEMAS])]
    return []


def read_value(kind: str, value: str | None) -> Value:
    """Return a value from the text that it was written as."""
    if value is None or kind in ("text", "epoch", "moment"):
        return value
    if kind == "base64":
        return base64.b64decode(value)
    if kind == "bits":
        return int(value)
    (number,) = struct.unpack(">d", bytes.fromhex(value))
    return float(number)
