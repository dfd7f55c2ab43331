"""Validation of the metadata of a Zarr: plain objects of JSON, which name no codecs but those known to run nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from datajoint_file.errors import FormatError, UnsafeContentError, brief

CODECS = frozenset(
    (
        *("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"),
        *("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"),
        *("astype", "bitround", "categorize", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"),
        *("base64", "json2", "msgpack2", "vlen-array", "vlen-bytes", "vlen-utf8"),
        *("bytes", "endian", "sharding_indexed", "transpose"),
    )
)
"""Those of numcodecs and of zarr itself, but for pickles and for what needs another library."""

_FILES = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json")

_NAMING = ("codecs", "index_codecs", "compressor", "compressors", "filters", "serializer")
"""Where codecs are named, by arrays and by codecs that are made of others."""


def metadata_of(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return what the metadata say, by the names of their files.

    Raises
    ------
    UnsafeContentError
        If they name a codec that is not in `CODECS`: one of pickles runs any code.
    FormatError
        If anything in them is no JSON object where Zarr has one. zarr makes do with some of it, so it would be read
        as something else than what has been looked at.
    """
    described = {name: _object(name, json.loads(files[name])) for name in files if _file(name) in _FILES}
    for name, document in described.items():
        for where, node in _nodes(name, document):
            for key in _NAMING:
                _check_codecs(where, node.get(key))
    return described


def _file(name: str) -> str:
    return name.rpartition("/")[2]


def _nodes(name: str, document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give where the metadata of arrays and groups are, and what they are: in a file, and consolidated in it."""
    if _file(name) == ".zmetadata":
        others = _object(name, document.get("metadata"))
        for path, other in others.items():
            yield from _nodes(path, _object(name, other))
    elif _file(name) != ".zattrs":
        yield name, document
        if (consolidated := document.get("consolidated_metadata")) is not None:
            for path, other in _object(name, _object(name, consolidated).get("metadata")).items():
                yield from _nodes(f"{path} in {name}", _object(name, other))  # any name, even one of a file


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{brief(name)} in it has {type(value).__name__} where Zarr has an object")
    return value


def _check_codecs(where: str, given: Any) -> None:
    """Look through what stands where codecs are named: one, several, or none."""
    for codec in given if isinstance(given, list) else [] if given is None else [given]:
        if isinstance(codec, str):
            _check_name(where, codec)
        elif _object(where, codec).keys() & {"id", "name"}:
            _check_within(where, codec)
        else:
            raise FormatError(f"{brief(where)} in it names no codec where there is one")


def _check_within(where: str, given: Any) -> None:
    """Look through a codec and its configuration, which can name others."""
    if isinstance(given, list):
        for one in given:
            _check_within(where, one)
    elif isinstance(given, dict):
        for key, value in given.items():
            if key in ("id", "name"):
                _check_name(where, value)
            elif key in _NAMING:
                _check_codecs(where, value)
            else:
                _check_within(where, value)


def _check_name(where: str, name: Any) -> None:
    if not isinstance(name, str) or name.removeprefix("numcodecs.") not in CODECS:
        is_pickle = "pickle" in str(name)
        why = "chunks are pickles, which can run any code" if is_pickle else "it is none of those known to be safe"
        raise UnsafeContentError(
            f"{brief(where)} in it names the codec {brief(name)}: {why}; if you trust it: zarr.open(ref.fsmap)"
        )
