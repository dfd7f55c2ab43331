"""Addresses of files: as the query of a URL, and as the Python expression that fetches the same.

Names and keys are anybody's: in a URL all but letters and digits is percent-encoded, in Python they are literals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from datajoint_file.hooks.row_listing import Key, key_from_json, key_to_json


@dataclass(frozen=True, slots=True)
class Address:
    """Where files are: a `file` attribute of a table; all of the table, or of the schema, if that is left empty.

    Parameters
    ----------
    schema : str
        The schema.
    table : str
        The table, as its class is called: ``Recording``, ``Recording.Trace``.
    attribute : str
        The attribute.
    """

    schema: str
    table: str = ""
    attribute: str = ""

    def __str__(self) -> str:
        return ".".join(filter(None, (self.schema, self.table, self.attribute)))

    def of(self, attribute: str) -> Address:
        """Return the address of an attribute of the table."""
        return replace(self, attribute=attribute)

    def url(self, page: str, key: Key | None = None, after: Key | None = None, /, **others: str) -> str:
        """Return the address of a page about it, within the site.

        Examples
        --------
        >>> Address("lab", "Recording", "raw").url("file", (7, "a/b"))
        '/file?schema=lab&table=Recording&attribute=raw&key=%5B7%2C%20%22a%2Fb%22%5D'
        """
        named = {"schema": self.schema, "table": self.table, "attribute": self.attribute}
        keys = {"key": key, "after": after}
        given = {name: json.dumps(key_to_json(one)) for name, one in keys.items() if one is not None}
        query = {name: text for name, text in {**named, **given, **others}.items() if text}
        return f"/{page}?{urlencode(query, quote_via=quote, safe='')}"

    def python(self, values: Mapping[str, Any], full_table_name: str, member: str = "") -> str:
        """Return the expression that fetches the file of a row, or a member of the directory that it is.

        Examples
        --------
        >>> Address("lab", "Recording", "raw").python({"subject_id": 7}, '"lab"."recording"')
        "(dj.virtual_schema('lab').Recording & {'subject_id': 7}).fetch1('raw')"
        """
        if all(part.isidentifier() for part in self.table.split(".")):
            table = f"dj.virtual_schema({self.schema!a}).{self.table}"
        else:
            table = f"dj.FreeTable(dj.conn(), {full_table_name!a})"
        key = ", ".join(f"{name!a}: {_literal(value)}" for name, value in values.items())
        fetched = f"({table} & {{{key}}}).fetch1({self.attribute!a})"
        return f"{fetched} / {member!a}" if member else fetched


def key_of(text: str) -> Key:
    """Return the key that a URL has.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        found = json.loads(text)
        key = key_from_json(found) if isinstance(found, list) else ()
    except (ValueError, RecursionError):
        key = ()
    if not key or any(isinstance(value, dict | list) for value in key):
        raise ValueError("the address of this page has no key of a row")
    return key


def _literal(value: Any) -> str:
    """Return a value as Python, and DataJoint in a restriction, reads it without an import."""
    return ascii(value if value is None or isinstance(value, bool | int | float | str | bytes) else str(value))
