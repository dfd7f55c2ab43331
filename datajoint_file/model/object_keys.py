"""Object keys: ``{project}/{partition}/{schema}/objects/{Table}-{attribute}/{key id}/{original name}``.

Of a directory that is the beginning of its members' keys, and ends in a slash; its manifest is ``{key id}/~manifest``.

Values only: nothing here reads a file, a store or a database. Of a key only the project is ever read back, and by the
collector what is unique in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from datajoint_file.errors import InvalidKeyError, UnsafeNameError, UnsafePathError, brief, printable
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.names import base32, decode_member, encode_component
from datajoint_file.model.partition import PartitionPattern

MAX_KEY_BYTES = 1024
"""Longest object key of S3, GCS and Azure."""

_COMPONENT = r"[A-Za-z0-9._=~%-]+"
_CELL = rf"objects/{_COMPONENT}-{_COMPONENT}/[a-z2-7]{{16}}-(?P<write_id>[a-z2-7]{{26}})"
_BEGINNING = rf"[A-Za-z0-9][A-Za-z0-9._=-]*/(?:{_COMPONENT}/)*?(?P<schema>{_COMPONENT})/{_CELL}/"
_KEY_OF_AN_INSERT = re.compile(
    rf"(?P<value>{_BEGINNING}{_COMPONENT}(?:/|\Z))(?P<member>{_COMPONENT}(?:/{_COMPONENT})*)?"
)
_WRITE_ID_OR_LONGER = re.compile(r"[a-z2-7]{26,}")
_PLAIN = rf"(?!\.){_COMPONENT}(?<!\.)"
_MEMBER = rf"(?!\.\.?(?:/|\Z)){_COMPONENT}(?<!\.)"
_ROOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")
_OBJECT_KEY = re.compile(rf"{_COMPONENT}(?:/{_PLAIN})+")
_MEMBER_KEY = re.compile(rf"{_COMPONENT}(?:/{_PLAIN})*?/{_CELL}/{_PLAIN}(?:/{_MEMBER})+".replace("?P<write_id>", "?:"))

REGISTRY = "~registry"
"""The directory of a project that holds the marks of the schemas that use it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Where one value lives: the table, the attribute and the primary key of its row.

    Examples
    --------
    >>> print(Cell("lab_ephys", "Recording", "raw_data", (KeyValue("subject_id", "int", 123),)))
    lab_ephys.Recording.raw_data (subject_id=123)
    """

    schema: str
    table: str
    attribute: str
    key: tuple[KeyValue, ...]

    def __str__(self) -> str:
        key = key_text((value.name, value.text) for value in self.key)
        return f"{self.schema}.{self.table}.{self.attribute} ({key})"


def key_text(values: Iterable[tuple[str, str]]) -> str:
    """Return a primary key as messages have it: attributes and their values on one line, long ones cut."""
    shown = ((name, printable(text)) for name, text in values)
    return ", ".join(f"{name}={text if len(text) <= 60 else f'{text[:57]}...'}" for name, text in shown)


def check_object_key(key: str) -> str:
    """Return *key* if it is an object key inside a project, else refuse it. Rows are untrusted input.

    Raises
    ------
    UnsafePathError
        If *key* is absolute, has an empty, ``.`` or ``..`` component, fewer than two components, more than
        1024 bytes, or a character or an outer dot that `encode_component` would not have written.

    Examples
    --------
    >>> check_object_key("lab/../../etc/passwd")
    Traceback (most recent call last):
        ...
    datajoint_file.errors.UnsafePathError: path = 'lab/../../etc/passwd' leaves the project
    """
    is_key = _OBJECT_KEY.fullmatch(key) or _MEMBER_KEY.fullmatch(key)
    if len(key) <= MAX_KEY_BYTES and is_key and not key.startswith(("./", "../")):
        return key
    shown, components = brief(key, 200), key.split("/")
    if "." in components or ".." in components:
        raise UnsafePathError(f"path = {shown} leaves the project")
    if len(key) > MAX_KEY_BYTES:
        raise UnsafePathError(f"path = {shown} is longer than {MAX_KEY_BYTES} bytes")
    raise UnsafePathError(f"path = {shown} is not an object key: expected project/…/name, percent-encoded")


MANIFEST = "~manifest"
"""What the list of a directory's members is called, beside the directory. No file that is stored is called so."""


def is_directory(key: str) -> bool:
    """Tell whether *key* is that of a directory, which ends in a slash."""
    return key.endswith("/")


def check_value_key(key: str) -> str:
    """Return *key* if it is the key of a file, or of a directory that an insert has made, else refuse it.

    Raises
    ------
    UnsafePathError
        As `check_object_key` does.

    Examples
    --------
    >>> check_value_key("lab/etc/")
    Traceback (most recent call last):
        ...
    datajoint_file.errors.UnsafePathError: path = 'lab/etc/' is not the key of a directory that was inserted
    """
    if not is_directory(key):
        return check_object_key(key)
    if _parsed(check_object_key(key[:-1])) is None or value_key(key) != key:
        raise UnsafePathError(f"path = {brief(key, 200)} is not the key of a directory that was inserted")
    return key


def check_link(path: str) -> str:
    """Return *path* if it is that of a file that stays where it is, or of a directory (with a slash at its end).

    It begins with the name of a root; the names below it are percent-encoded, and can be read back.

    Raises
    ------
    UnsafePathError
        If it leaves the root, or is the key of an object that an insert has made: that is no link.

    Examples
    --------
    >>> check_link("nas/rig%203/.run1.dat")
    'nas/rig%203/.run1.dat'
    >>> check_link("nas/a%2Fb")
    Traceback (most recent call last):
        ...
    datajoint_file.errors.UnsafePathError: path = 'nas/a%2Fb' is not that of a linked file: 'a/b' is not a file name: \
it holds a path separator
    """
    root, *names = path.removesuffix("/").split("/")
    why = "" if _ROOT.fullmatch(root) else f"{brief(root)} cannot be the name of a root"
    if not names or len(path) > MAX_KEY_BYTES:
        why = why or f"expected a root's name, a slash and a path of up to {MAX_KEY_BYTES} bytes in all"
    try:
        for name in () if why else names:
            decode_member(name)
    except UnsafeNameError as error:
        why = str(error)
    if not why and _parsed(path):
        why = "it is the key of a stored object"
    if why:
        raise UnsafePathError(f"path = {brief(path, 200)} is not that of a linked file: {why}")
    return path


def manifest_key(directory: str) -> str:
    """Return the key of the manifest of a directory."""
    return f"{directory[:-1].rpartition('/')[0]}/{MANIFEST}"


SIDECAR = "~row"
"""What the key of a description beside an object ends in. No file that is stored is called so."""


def sidecar_key(key: str) -> str:
    """Return the key of what describes the row beside an object, or a directory.

    Examples
    --------
    >>> sidecar_key("lab/objects/Recording-raw/k7/a.dat"), sidecar_key("lab/objects/Recording-raw/k7/a.zarr/")
    ('lab/objects/Recording-raw/k7/a.dat~row', 'lab/objects/Recording-raw/k7/~row')
    """
    return f"{key[:-1].rpartition('/')[0]}/{SIDECAR}" if is_directory(key) else f"{key}{SIDECAR}"


def is_sidecar(key: str) -> bool:
    """Tell whether *key* is what `sidecar_key` gives of an object that an insert has made: no object by itself."""
    match = _parsed(key) if key.endswith(SIDECAR) else None
    return match is not None and not match["member"]


def value_key(key: str) -> str:
    """Return the key of the directory of which *key* is a member; any other key as it is.

    Of what is noted beside a directory while it is made, the key of its manifest: it goes with that.

    Examples
    --------
    >>> value_key("lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/m.zarr/c/0")
    'lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/m.zarr/'
    """
    match = _parsed(key)
    if match is None:
        return key
    home, _, name = match["value"].rstrip("/").rpartition("/")
    if name.startswith("~"):
        return f"{home}/{MANIFEST}"
    return match["value"] if match["member"] else key


def directory_of(key: str) -> str:
    """Return the key of the stored directory that a file, or another directory, is in; nothing of a value by itself.

    Examples
    --------
    >>> directory_of("lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/m.zarr/c/")
    'lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/m.zarr/'
    >>> directory_of("lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/m.zarr/")
    ''
    """
    value = value_key(key.rstrip("/"))
    return value if is_directory(value) else ""


def own_directories(key: str) -> int:
    """Return in how many directories, from the innermost on, only objects of the same write are.

    Of a key that no insert has made one: nobody shares the place of a mark.
    """
    match = _parsed(key)
    return match["member"].count("/") + 2 if match and match["member"] else 1


def proof_key(key: str) -> str:
    """Return the key of the object that is there if the value is, whole: of a directory that of its manifest.

    It is the last that is stored of a directory, and the first that is deleted.
    """
    return manifest_key(key) if is_directory(key) else key


def key_digest(key: tuple[KeyValue, ...]) -> str:
    """Return 16 lower-case base32 characters that stand for a primary key, equal for equal keys only.

    SHA-256 over the canonical typed key: ``1`` and ``"1"``, or two moments a microsecond apart, differ.

    Examples
    --------
    >>> key_digest((KeyValue("subject_id", "int", 1),)) == key_digest((KeyValue("subject_id", "str", "1"),))
    False
    """
    return _digest(_compact_json([[value.name, value.kind, value.text] for value in key]))


_compact_json = json.JSONEncoder(separators=(",", ":")).encode


@lru_cache(maxsize=8192)
def _digest(canonical: str) -> str:
    return base32(hashlib.sha256(canonical.encode()).digest()[:10])


def new_write_id() -> str:
    """Return 26 lower-case base32 characters of 128 random bits, which no other write has had or will have."""
    return base32(secrets.token_bytes(16))


def new_object_key(project: str, pattern: PartitionPattern, cell: Cell, name: str, write_id: str = "") -> str:
    """Return the key of one write: no object has had it, and no other write will have it. Raises as `object_key`."""
    return object_key(prefix_of(project, pattern, cell), name, write_id or new_write_id())


def prefix_of(project: str, pattern: PartitionPattern, cell: Cell) -> str:
    """Return what the keys of all writes to *cell* begin with: everything but what tells one write from another."""
    table = f"{encode_component(cell.table)}-{encode_component(cell.attribute)}"
    partition = pattern.render(cell.key) if pattern.text else ()
    return "/".join((project, *partition, encode_component(cell.schema), "objects", table, key_digest(cell.key)))


def object_key(prefix: str, name: str, write_id: str) -> str:
    """Return the key of one write to the cell of *prefix*, which is from `prefix_of`.

    Raises
    ------
    InvalidKeyError
        If it would be longer than the 1024 bytes that object stores allow.
    """
    key = f"{prefix}-{write_id}/{encode_component(name)}"
    if len(key) > MAX_KEY_BYTES:
        raise InvalidKeyError(
            f"the object key would have {len(key)} bytes, more than the {MAX_KEY_BYTES} that object stores allow: "
            "shorten the file name, or leave long key attributes out of partition_pattern"
        )
    return key


def is_made_for(key: str, project: str, digest: str, write_id: str = "") -> bool:
    """Tell whether *key* can be what `new_object_key` made of a key's digest and a write id (any, if empty)."""
    try:
        check_value_key(key)
    except UnsafePathError:
        return False
    return key.startswith(f"{project}/") and f"/{digest}-{write_id}{'/' if write_id else ''}" in key


def project_of(key: str) -> str:
    """Return the project that an object key begins with."""
    return key.partition("/")[0]


def write_id_of(key: str) -> str:
    """Return the 26 random characters of an object key that an insert has made; nothing for any other text.

    Examples
    --------
    >>> write_id_of("lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat")
    'aaaabbbbccccddddeeeeffffgg'
    >>> write_id_of("lab/README.md"), write_id_of("lab/~registry/x.json")
    ('', '')
    """
    match = _parsed(key)
    return match["write_id"] if match else ""


def schema_named_by(key: str) -> str:
    """Return the schema that an object key which an insert has made names, as far as it can be read back: a hint."""
    match = _parsed(key)
    return unquote(match["schema"]) if match else ""


def table_named_by(key: str) -> tuple[str, str]:
    """Return schema and table that an object key names, as they are written in it; nothing of any other text.

    Examples
    --------
    >>> table_named_by("lab/ephys/objects/Recording.Trace-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat")
    ('ephys', 'Recording.Trace')
    """
    match = _parsed(key)
    if match is None:
        return "", ""
    cell = key[match.end("schema") :].removeprefix("/objects/").partition("/")[0]
    return match["schema"], cell.rpartition("-")[0]


def names_attribute(key: str, table: str, attribute: str) -> bool:
    """Tell whether an object key is what an insert into *attribute* of *table*, as people call it, has made."""
    return f"/objects/{encode_component(table)}-{encode_component(attribute)}/" in key


def is_of_schema(key: str, schema: str) -> bool:
    """Tell whether *key* is what an insert into a table of *schema* has made.

    Components are compared as they are written: of a long one only the beginning could be read back.

    Examples
    --------
    >>> key = "lab/ephys/objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat"
    >>> is_of_schema(key, "ephys"), is_of_schema(key, "ephys_copy")
    (True, False)
    """
    match = _parsed(key)
    return match is not None and match["schema"] == encode_component(schema)


def _parsed(key: str) -> re.Match[str] | None:
    match = _KEY_OF_AN_INSERT.fullmatch(key)
    if match is None or any(part in (".", "..") or part.startswith("~partial-") for part in key.split("/")):
        return None
    return match


def is_candidate(project: str, key: str) -> bool:
    """Tell whether *key* is that of an object of *project* which an insert has made. Nothing else is ever deleted."""
    return project_of(key) == project and bool(write_id_of(key))


def keys_in(text: str, project: str) -> set[str]:
    r"""Return whatever in *text* (JSON, or anything) reads like an object key of *project*.

    Examples
    --------
    >>> keys_in('{"a": ["lab\\/ephys\\/x.dat"]}', "lab")
    {'lab/ephys/x.dat'}
    >>> sorted(keys_in("s3://lab/lab/ephys/x.dat", "lab"))
    ['lab/ephys/x.dat', 'lab/lab/ephys/x.dat']
    """
    if project not in text:
        return set()
    return set(_keys_of(project).findall(text.replace("\\/", "/")))


def write_ids_in(text: str) -> set[str]:
    """Return whatever in *text* could be a write id, with whatever stands around it.

    Examples
    --------
    >>> sorted(write_ids_in("lab%2Fephys%2d" + "a" * 26 + "_.")) == sorted(["2d" + "a" * 24, "d" + "a" * 25, "a" * 26])
    True
    """
    runs = _WRITE_ID_OR_LONGER.findall(text)
    return {run[start : start + 26] for run in runs for start in range(len(run) - 25)}


@lru_cache
def _keys_of(project: str) -> re.Pattern[str]:
    """Return what keys of *project* look like in a text, also within a URL whose bucket has the project's name."""
    return re.compile(rf"(?<![A-Za-z0-9._=~%-])(?=({re.escape(project)}/{_COMPONENT}(?:/{_COMPONENT})*/?))")
