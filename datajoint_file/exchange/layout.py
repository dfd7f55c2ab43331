"""Layout of a slice: which paths its rows, descriptions and files have, whatever they are called in the database.

Paths are of characters that each file system and each format holds literally, and unlike if upper and lower case are
the same. What a file was called stays in its row.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from datajoint_file.model.names import encode_component

DESCRIPTION = "data/definitions.json"
MANIFEST = "manifest-sha256.txt"
"""Checksums of all that is below ``data``, as BagIt and ``sha256sum -c`` have them."""

_ROWS, _FILES = "data/tables/", "data/files/"
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)
_LONGEST = 240
_FILE_PATH = re.compile(
    r"data/files/[\w.#$-]+/[a-z0-9_]+/\d{4,12}/\d{3}(?:/(?!\.{1,2}(?:/|$))[\w.=~-]{1,255})", re.ASCII
)


def rows_path(full_name: str) -> str:
    """Return the path of a table's rows."""
    return f"{_ROWS}{full_name}.jsonl"


def about_path(full_name: str) -> str:
    """Return the path of what is said of a table's rows: their tags, and who inserted their files."""
    return f"data/about/{full_name}.jsonl"


def file_path(full_name: str, attribute: str, number: int, name: str) -> str:
    """Return the path of a file or directory, the *number*-th of an attribute.

    Examples
    --------
    >>> file_path("lab.recording", "raw", 1001, "my data.dat"), file_path("lab.recording", "raw", 0, "nul.txt")
    ('data/files/lab.recording/raw/0001/001/my=20data.dat', 'data/files/lab.recording/raw/0000/000/=6Eul.txt')
    """
    return f"{_FILES}{full_name}/{attribute}/{number // 1000:04}/{number % 1000:03}/{_portable(encode_component(name))}"


def is_file_path(path: str) -> bool:
    """Tell whether *path* is one that `file_path` can give: anybody may have written it."""
    return len(path) <= 1_000 and _FILE_PATH.fullmatch(path) is not None


def manifest_path(place: str) -> str:
    """Return the path of the list of the files of a directory at *place*."""
    return f"{place.rpartition('/')[0]}/~manifest"


def member_paths(names: Iterable[str]) -> Iterator[str]:
    """Give the paths of a directory's members within it; *names* are those of its manifest, in order.

    Examples
    --------
    >>> list(member_paths(["a=b", "a%3Db", "A=b"]))
    ['a=3Db', 'a=3Db=~1', 'A=3Db=~2']
    """
    seen = set[str]()
    for number, name in enumerate(names):
        path = "/".join(map(_portable, name.split("/")))
        if path.casefold() in seen:
            path = f"{path}=~{number}"
        seen.add(path.casefold())
        yield path


def _portable(component: str) -> str:
    """Return a percent-encoded component without percent signs, which manifests of bags write in two ways."""
    text = component.replace("=", "=3D").replace("%", "=")
    if _RESERVED.match(text):
        text = f"={ord(text[0]):02X}{text[1:]}"
    if len(text) > _LONGEST:
        text = f"{text[:150]}=~{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    return text
