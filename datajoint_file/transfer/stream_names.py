"""Name inference for streams: what the bytes that a stream gives are called, not the file that they come out of.

What unpacks (tar, gzip, bz2, lzma, zstd) passes the name of the archive on as its own.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import tarfile
from pathlib import PurePath
from typing import Any

from datajoint_file.errors import UnsafeNameError
from datajoint_file.model.media_types import without_compression
from datajoint_file.model.names import check_name

_DECOMPRESSORS = frozenset({"BZ2File", "GzipFile", "LZ4FrameFile", "LZMAFile", "ZstdFile"})
"""Classes of the standard library, and of what stands in for them: isal, pyzstd, backports.zstd, lz4."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/]")
_SECRETS_OF_URL = re.compile(r"(?<=:/)(/*)(?:[^/@?#]*:[^@]*|[^/?#]*)@|[?#].*", re.DOTALL)


def name_of(stream: Any) -> str:
    """Return the name of what *stream* gives; nothing, if it has none or one that cannot be stored.

    Examples
    --------
    >>> import gzip
    >>> name_of(gzip.GzipFile("spikes.csv.gz", "rb", fileobj=io.BytesIO()))
    'spikes.csv'
    """
    name = _path_of(stream)
    try:
        return check_name(PurePath(without_secrets(name) if is_url(name) else name).name)
    except UnsafeNameError:
        return ""


def is_url(text: str) -> bool:
    """Tell whether *text* looks like a URL; ``Path`` has made one slash of two."""
    return _URL.match(text) is not None


def without_secrets(url: str) -> str:
    """Return *url* without user, password and query, which in a signed one lets anybody in."""
    return _SECRETS_OF_URL.sub(r"\1", url)


def _path_of(stream: Any) -> str:
    if isinstance(stream, tarfile.ExFileObject):
        member: Any = stream.raw
        name = _own_name(member)
        return "" if name == _own_name(member.fileobj) else name  # before Python 3.12 it is the archive's
    if name := _text(getattr(stream, "original_name", None)):  # of a stored file that is open
        return name
    if isinstance(stream, io.BufferedReader | io.BufferedRandom):
        return _path_of(stream.raw)
    if isinstance(stream, codecs.StreamRecoder):
        return _path_of(stream.stream)
    if _DECOMPRESSORS.intersection(kind.__name__ for kind in type(stream).__mro__):
        return _path_of_decompressed(stream)
    return _text(getattr(stream, "filename", None)) or _own_name(stream)  # `name` of an upload is the form's field


def _path_of_decompressed(stream: Any) -> str:
    compressed = getattr(stream, "fileobj", getattr(stream, "_fp", None))
    name = _own_name(stream)
    if name and name != _own_name(compressed):  # GzipFile("x.csv", fileobj=…)
        return without_compression(name) or name
    return without_compression(_path_of(compressed))


def _own_name(stream: Any) -> str:
    return _text(getattr(stream, "name", None))


def _text(name: object) -> str:
    text = os.fsdecode(name) if isinstance(name, bytes) else name
    return text if isinstance(text, str) and not text.startswith("<") else ""
