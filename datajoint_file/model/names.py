"""File names and key components: which names any backend can hold, and how they are percent-encoded."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from base64 import b32encode
from functools import lru_cache
from urllib.parse import quote, unquote

from datajoint_file.errors import UnsafeNameError, brief

MAX_NAME_BYTES = 255
"""Longest file name in UTF-8 bytes, the limit of common file systems."""

MAX_COMPONENT_BYTES = 200
"""Longest component of an object key; longer ones are cut and given a digest (file systems end at 255)."""

MIGRATED = "__file"
"""What the name of an attribute ends in while a migration fills it; its objects' keys and sidecars keep that."""

SUFFIX = r"^(\.[A-Za-z0-9]+)+$"
"""What the suffix of a format is, as a regular expression."""

_READ_UNASKED = frozenset({"datajoint.toml", "datajoint.json", ".secrets"})
"""What DataJoint and this package look for, from the working directory upwards."""

_PLAIN_COMPONENT = re.compile(r"(?!\.)[A-Za-z0-9._=-]+(?<!\.)")
_PLAIN_MEMBER = re.compile(r"(?!\.+\Z)[A-Za-z0-9._=-]*[A-Za-z0-9_=-]")
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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


def check_derived_name(name: str) -> str:
    """Return *name* if a file that nobody looked at may be called so on this machine, else say why not.

    It is a file name, and none that a shell or DataJoint would read or run where it lies: no row decides on that.
    Case, a stream of NTFS, trailing dots and spaces, and characters that file systems ignore make no difference.

    Raises
    ------
    UnsafeNameError
        If it is no file name, begins with a dot, or is ``datajoint.toml`` or ``datajoint.json``.

    Examples
    --------
    >>> check_derived_name("Datajoint.TOML")
    Traceback (most recent call last):
        ...
    datajoint_file.errors.UnsafeNameError: a shell or DataJoint would read or run a file called 'Datajoint.TOML'; \
choose its name: ref.download("chosen-name")
    """
    if _seen(check_name(name)).startswith(".") or is_read_by_datajoint(name):
        raise UnsafeNameError(
            f"a shell or DataJoint would read or run a file called {brief(name)}; choose its name: "
            'ref.download("chosen-name")'
        )
    return name


def is_read_by_datajoint(name: str) -> bool:
    """Tell whether DataJoint would read what is called so, where it works; what makes no difference is as above.

    Examples
    --------
    >>> is_read_by_datajoint("Datajoint.TOML"), is_read_by_datajoint(".bashrc")
    (True, False)
    """
    return _seen(name).partition(":")[0].rstrip(" .").casefold() in _READ_UNASKED


def _seen(name: str) -> str:
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf")


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
    encoded = _percent_dots(quote(text, safe="=").replace("~", "%7E"))
    return encoded if len(encoded) <= MAX_COMPONENT_BYTES else _shortened(encoded)


def encode_member(name: str) -> str:
    """Return one component of a member's path, within a stored directory, as it is called there.

    As `encode_component`, with two differences, so that other programs find what they look for, and the name can be
    read back: leading dots stay (``.zarray``), and what would be too long is refused.

    Raises
    ------
    UnsafeNameError
        If it is no file name, or its encoded form is longer than 255 bytes.

    Examples
    --------
    >>> encode_member(".zarray"), encode_member("raw data.npy"), encode_member("draft.")
    ('.zarray', 'raw%20data.npy', 'draft%2E')
    """
    if len(name) <= MAX_NAME_BYTES and _PLAIN_MEMBER.fullmatch(name):
        return name
    encoded = quote(check_name(name), safe="=").replace("~", "%7E")
    inner = encoded.rstrip(".")
    encoded = inner + "%2E" * (len(encoded) - len(inner))
    if len(encoded) > MAX_NAME_BYTES:
        raise UnsafeNameError(
            f"{brief(name)} has {len(encoded)} bytes, percent-encoded, and no component of an object key may have more "
            f"than {MAX_NAME_BYTES}: shorten it, or leave it out with Directory(…, exclude=…)"
        )
    return encoded


def decode_member(component: str) -> str:
    """Return the name of which `encode_member` has made *component*, which anybody may have written.

    Raises
    ------
    UnsafeNameError
        If it is not what `encode_member` makes of a name.
    """
    if _PLAIN_MEMBER.fullmatch(component) and len(component) <= MAX_NAME_BYTES:
        return component
    name = unquote(component, errors="surrogateescape")
    if encode_member(name) != component:
        raise UnsafeNameError(f"{brief(component)} is not a percent-encoded file name")
    return name


def _percent_dots(encoded: str) -> str:
    inner = encoded.strip(".")
    start = encoded.index(inner) if inner else len(encoded)
    return "%2E" * start + inner + "%2E" * (len(encoded) - start - len(inner))


def _shortened(encoded: str) -> str:
    """Cut *encoded* to size, keeping its start and a short extension around a digest of the whole."""
    stem, dot, suffix = encoded.rpartition(".")
    ending = f".{suffix}" if dot and stem and len(suffix) <= 20 else ""
    digest = base32(hashlib.sha256(encoded.encode()).digest())[:26]
    start = encoded[: MAX_COMPONENT_BYTES - len(digest) - len(ending) - 1]
    return re.sub(r"%.?$", "", start) + "~" + digest + ending


def base32(digest: bytes) -> str:
    """Encode for file systems that do not tell upper from lower case."""
    return b32encode(digest).decode().rstrip("=").lower()
