"""How objects are named: places, safe names, partition patterns, key ids, object keys.

Values only: nothing here reads a file, a store or a database. The layout is that of the specification,
``{project}/{partition}/{schema}/objects/{Table}-{attribute}/{key id}/{original name}``; apart from the project
nothing is ever parsed back out of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import unicodedata
from base64 import b32encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from datajoint_file.errors import (
    ConfigurationError,
    InvalidKeyError,
    UnsafeNameError,
    UnsafePathError,
    brief,
    printable,
)
from datajoint_file.model.key_values import KeyValue

MAX_NAME_BYTES = 255
"""Longest file name in UTF-8 bytes, the limit of common file systems."""

MAX_COMPONENT_BYTES = 200
"""Longest component of an object key; longer ones are cut and given a digest (file systems end at 255)."""

MAX_KEY_BYTES = 1024
"""Longest object key of S3, GCS and Azure."""

_PLAIN_COMPONENT = re.compile(r"(?!\.)[A-Za-z0-9._=-]+(?<!\.)")
_OBJECT_KEY = re.compile(r"[A-Za-z0-9._=~%-]+(?:/(?!\.)[A-Za-z0-9._=~%-]+(?<!\.))+")
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one value lives: the table, the attribute and the primary key of its row.

    Examples
    --------
    >>> print(Place("lab_ephys", "Recording", "raw_data", (KeyValue("subject_id", "int", 123),)))
    lab_ephys.Recording.raw_data (subject_id=123)
    """

    schema: str
    table: str
    attribute: str
    key: tuple[KeyValue, ...]

    def __str__(self) -> str:
        key = ", ".join(f"{value.name}={_clipped(printable(value.text))}" for value in self.key)
        return f"{self.schema}.{self.table}.{self.attribute} ({key})"


def _clipped(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_name(name: str) -> str:
    r"""Return *name* if it can be the name of a file anywhere, else say why not.

    Raises
    ------
    UnsafeNameError
        If *name* is empty, ``.`` or ``..``, longer than 255 bytes, holds a path separator (``/`` or ``\``),
        begins with a drive letter, or holds control, line-separator, bidirectional or surrogate characters.

    Examples
    --------
    >>> check_name("Köln 50%.dat")
    'Köln 50%.dat'
    >>> check_name("../../etc/passwd")
    Traceback (most recent call last):
        ...
    datajoint_file.errors.UnsafeNameError: '../../etc/passwd' is not a file name: it holds a path separator
    """
    reason = _why_unsafe(name)
    if reason:
        raise UnsafeNameError(f"{brief(name)} is not a file name: {reason}")
    return name


def _why_unsafe(name: str) -> str:
    if not name.strip(" ."):
        return "it is empty or holds only dots and spaces"
    if "/" in name or "\\" in name:
        return "it holds a path separator"
    if re.match(r"[A-Za-z]:", name):
        return "it begins with a drive letter"
    if not name.isprintable() and _CONTROLS.intersection(map(unicodedata.category, name)):
        return "it holds a control, line-separator or surrogate character"
    if _BIDI_CONTROLS.intersection(name):
        return "it holds a character that changes the writing direction"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    return ""


@lru_cache(maxsize=8192)
def encode_component(text: str) -> str:
    """Return *text* as one component of an object key that every backend holds literally.

    Characters outside ``A-Z a-z 0-9 . _ = -`` are percent-encoded, as are leading and trailing dots (``.`` and
    ``..`` have a meaning, a trailing dot is lost on Windows). Different texts give different components: the
    empty text becomes ``~``, which nothing else gives, and what would be too long ends in ``~`` and a digest.

    Examples
    --------
    >>> encode_component("raw data [1]*.dat"), encode_component(".."), encode_component("")
    ('raw%20data%20%5B1%5D%2A.dat', '%2E%2E', '~')
    """
    if len(text) <= MAX_COMPONENT_BYTES and _PLAIN_COMPONENT.fullmatch(text):
        return text
    if not text:
        return "~"
    encoded = quote(text, safe="=").replace("~", "%7E")
    encoded = _percent_dots(encoded)
    return encoded if len(encoded) <= MAX_COMPONENT_BYTES else _shortened(encoded)


def _percent_dots(encoded: str) -> str:
    inner = encoded.strip(".")
    start = encoded.index(inner) if inner else len(encoded)
    return "%2E" * start + inner + "%2E" * (len(encoded) - start - len(inner))


def _shortened(encoded: str) -> str:
    """Cut *encoded* to size, keeping its start and a short extension around a digest of the whole."""
    stem, dot, suffix = encoded.rpartition(".")
    ending = f".{suffix}" if dot and stem and len(suffix) <= 20 else ""
    digest = _base32(hashlib.sha256(encoded.encode()).digest())[:26]
    start = encoded[: MAX_COMPONENT_BYTES - len(digest) - len(ending) - 1]
    return re.sub(r"%.?$", "", start) + "~" + digest + ending


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
    if len(key) <= MAX_KEY_BYTES and _OBJECT_KEY.fullmatch(key) and not key.startswith(("./", "../")):
        return key
    shown, components = brief(key, 200), key.split("/")
    if "." in components or ".." in components:
        raise UnsafePathError(f"path = {shown} leaves the project")
    if len(key) > MAX_KEY_BYTES:
        raise UnsafePathError(f"path = {shown} is longer than {MAX_KEY_BYTES} bytes")
    raise UnsafePathError(f"path = {shown} is not an object key: expected project/…/name, percent-encoded")


@dataclass(frozen=True, slots=True)
class PartitionPattern:
    """Where in a project objects go, by primary key: ``subject{subject_id}/session{session_id:03d}``.

    The text is literal, a placeholder names a primary-key attribute and may carry a Python format
    specification. A component with an attribute that a table's key lacks is left out for that table.

    Examples
    --------
    >>> pattern = PartitionPattern("subject{subject_id}/session{session_id:03d}")
    >>> key = (KeyValue("subject_id", "int", 123), KeyValue("session_id", "int", 45))
    >>> pattern.render(key)
    ('subject123', 'session045')
    >>> pattern.render(key[:1])
    ('subject123',)
    """

    text: str = ""

    def __post_init__(self) -> None:
        for component in self.components:
            for literal, name, spec, conversion in _parsed(component):
                _check_literal(literal)
                if name is not None:
                    _check_placeholder(name, spec or "", conversion)
            if component in ("", ".", ".."):
                raise ConfigurationError(f"the component {component!r} is empty or has a meaning of its own")

    @property
    def components(self) -> tuple[str, ...]:
        """The pattern's parts between slashes (slashes in a format specification are not counted)."""
        return _split_outside_braces(self.text) if self.text else ()

    @property
    def placeholders(self) -> frozenset[str]:
        """Names of the attributes that the pattern mentions."""
        return frozenset(name for component in self.components for name in _names(component))

    def render(self, key: tuple[KeyValue, ...]) -> tuple[str, ...]:
        """Return the encoded components for a row with primary key *key*.

        Raises
        ------
        ConfigurationError
            If a value cannot be formatted as the pattern asks.
        """
        values = {value.name: value for value in key}
        return tuple(self._rendered(c, values) for c in self.components if values.keys() >= set(_names(c)))

    def _rendered(self, component: str, values: Mapping[str, KeyValue]) -> str:
        text = ""
        for literal, name, spec, _ in _parsed(component):
            text += literal
            if name is not None:
                text += self._formatted(values[name], spec or "")
        return encode_component(text)

    def _formatted(self, value: KeyValue, spec: str) -> str:
        try:
            return format(value.value, spec) if spec else value.text
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f'[object_storage] partition_pattern = "{self.text}": {value.name} = {value.text} '
                f"cannot be formatted as {{{value.name}:{spec}}}: {error}"
            ) from error


def _split_outside_braces(text: str) -> tuple[str, ...]:
    components = [""]
    for part in re.findall(r"\{\{|\}\}|\{[^{}]*\}|.", text, re.DOTALL):  # doubled braces are literal ones
        if part == "/":
            components.append("")
        else:
            components[-1] += part
    return tuple(components)


def _parsed(component: str) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    try:
        yield from string.Formatter().parse(component)
    except ValueError as error:
        raise ConfigurationError(f"{component!r} is not a format string: {error}") from error


def _names(component: str) -> list[str]:
    return [name for _, name, _, _ in _parsed(component) if name is not None]


def _check_literal(literal: str) -> None:
    if not literal.isprintable():
        raise ConfigurationError("it holds control characters")


def _check_placeholder(name: str, spec: str, conversion: str | None) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigurationError(f"the placeholder {{{name}}} is not the name of an attribute")
    if conversion or "{" in spec:
        raise ConfigurationError(f"the placeholder {{{name}}} may have a plain format specification only")


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
    return _base32(hashlib.sha256(canonical.encode()).digest()[:10])


def new_write_id() -> str:
    """Return 26 lower-case base32 characters of 128 random bits, which no other write has had or will have."""
    return _base32(secrets.token_bytes(16))


def new_object_key(project: str, pattern: PartitionPattern, place: Place, name: str, write_id: str = "") -> str:
    """Return the key of one write: no object has had it, and no other write will have it.

    Raises
    ------
    InvalidKeyError
        If the key would be longer than the 1024 bytes that object stores allow.
    """
    return object_key(prefix_of(project, pattern, place), name, write_id or new_write_id())


def prefix_of(project: str, pattern: PartitionPattern, place: Place) -> str:
    """Return what the keys of all writes to *place* begin with: everything but what tells one write from another."""
    table = f"{encode_component(place.table)}-{encode_component(place.attribute)}"
    schema = encode_component(place.schema)
    return "/".join((project, *pattern.render(place.key), schema, "objects", table, key_digest(place.key)))


def object_key(prefix: str, name: str, write_id: str) -> str:
    """Return the key of one write to the place of *prefix*, which is from `prefix_of`.

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
        check_object_key(key)
    except UnsafePathError:
        return False
    return key.startswith(f"{project}/") and f"/{digest}-{write_id}{'/' if write_id else ''}" in key


def _base32(digest: bytes) -> str:
    """Encode for file systems that do not tell upper from lower case."""
    return b32encode(digest).decode().rstrip("=").lower()
