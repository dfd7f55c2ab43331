"""References to objects: every ``file`` attribute of every schema on the server, whoever declared it.

Fails closed: an attribute that cannot be read to its end, or a row that cannot be understood, is an error. What is
deleted in the light of it is not decided here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from datajoint_file.collector.plan import Refusal, refuse
from datajoint_file.collector.snapshot import CHANGED, Snapshot, refusing
from datajoint_file.errors import CollectionRefusedError, UnsafePathError, brief
from datajoint_file.hooks.tables import class_name
from datajoint_file.model.metadata import FORMAT, object_named, path_in
from datajoint_file.model.object_keys import is_candidate, is_directory, keys_in, value_key, write_id_of, write_ids_in
from datajoint_file.sql.columns import is_file_comment

_JSON = frozenset({"json", "text", "mediumtext", "longtext"})
"""Types that hold JSON, which people copy to text as well; in MariaDB it is text."""

_OWN_TABLES = "~file_"
_TABLE_NAME = re.compile(r"(?:#|_|__)?[a-z][a-z0-9]*(?:__?[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, order=True)
class Attribute:
    """One attribute that may refer to objects, as the database calls it.

    If it is not a declared ``file`` attribute, it can hold JSON, and might refer to objects as well: ``CREATE TABLE …
    AS SELECT`` loses the mark on PostgreSQL, and people note in JSON what they have used.
    """

    schema: str
    table: str
    name: str
    is_declared: bool

    def __str__(self) -> str:
        return f"{self.schema}.{_called(self.table)}.{self.name}"


def _called(table: str) -> str:
    """Return what people call a table: its class, if DataJoint may have made it."""
    return class_name(table) if _TABLE_NAME.fullmatch(table) else table


def attributes(snapshot: Snapshot) -> list[Attribute]:
    """Return every ``file`` attribute on the server, and every other of JSON or text, whoever declared it.

    That the user may see all of them was asked before, in `preflight`.
    """
    found = []
    with refusing("the list of all attributes"):
        for schema, table, name, comment, type_ in snapshot.dialect.attributes(snapshot.try_query):
            if name is None:
                way_on = "Try again; mend the table if it stays"
                raise refuse(Refusal(CHANGED, f"{schema}.{_called(table)} cannot be opened", way_on))
            is_declared = is_file_comment(comment)
            if is_declared or (type_ in _JSON and not table.startswith(_OWN_TABLES)):
                found.append(Attribute(schema, table, name, is_declared))
    return sorted(found)


def references(snapshot: Snapshot, project: str) -> Iterator[tuple[Attribute, set[str], set[str]]]:
    """Give, for each row that may speak of *project*: attribute, object keys, and what could be other keys' write ids.

    Text can hold a key in any form: escaped, in a URL, at the end of a sentence. Its write id stands in all of them.

    To be used within a snapshot: then it is what the rows say at one moment.

    Raises
    ------
    CollectionRefusedError
        If an attribute cannot be read, if fewer rows came than there are, or if a row of a ``file`` attribute is not
        the metadata of a file. What was given so far is then not all.
    """
    for attribute in attributes(snapshot):
        for text in _texts(snapshot, attribute, project):
            path = _path(attribute, text) if attribute.is_declared else ""
            keys = {value_key(key) for key in keys_in(text, project) if is_candidate(project, key)}
            keys |= {path} if path.startswith(f"{project}/") else set()
            yield attribute, keys, write_ids_in(text) - {write_id_of(path)}


def schemas_using(snapshot: Snapshot, project: str) -> set[str]:
    """Return the schemas with a ``file`` attribute that refers to *project*."""
    with snapshot.snapshot():
        return {found.schema for found, keys, _ in references(snapshot, project) if keys and found.is_declared}


def _texts(snapshot: Snapshot, attribute: Attribute, project: str) -> Iterator[str]:
    """Give what the rows of an attribute hold that may speak of *project*, within a snapshot."""
    name, table = snapshot.name(attribute.name), snapshot.name(attribute.schema, attribute.table)
    text, condition = snapshot.dialect.as_searchable(name), f"{name} IS NOT NULL"
    if not attribute.is_declared:  # the project's name holds nothing that needs quoting
        condition = f"{text} LIKE '%{project}%'"
    for (value,) in snapshot.stream(text, f"{table} WHERE {condition}", str(attribute)):
        yield _text(value)


def _path(attribute: Attribute, text: str) -> str:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _incomplete(attribute, f"a row holds {brief(text)}, which is no JSON ({type(error).__name__})") from error
    path = path_in(row)
    if path is None:
        raise _incomplete(attribute, f"a row holds {brief(text)}, which names no path")
    version = row.get("format", 1)
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= FORMAT:
        reason = (
            f"{attribute}: a row is of format {brief(version)}; this version knows format {FORMAT}, and cannot say "
            "which objects it refers to"
        )
        raise refuse(Refusal("newer-format", reason, "Upgrade datajoint-file"))
    try:
        if version == 2 and not is_directory(path):
            raise _incomplete(attribute, f"a row of format 2 holds {brief(text)}, which is no directory's")
        return object_named(row, path)
    except UnsafePathError as error:
        raise _incomplete(attribute, f"a row's {error}") from error


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes | bytearray) else str(value)


def _incomplete(attribute: Attribute, problem: str) -> CollectionRefusedError:
    reason = f"{attribute}: {problem}: what this attribute refers to is not known"
    way_on = "Correct or delete the row (fetching it shows the same error), and try again"
    return refuse(Refusal("unreadable-row", reason, way_on))
