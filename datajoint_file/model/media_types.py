"""Media types (MIME) guessed from a file's name, else from its first bytes.

Advisory only: nothing in this package decides anything by it.
"""

from __future__ import annotations

import mimetypes
from functools import cache, lru_cache

import puremagic

from datajoint_file.model.metadata import is_mime_type

UNKNOWN = "application/octet-stream"
"""The media type of bytes nobody knows (RFC 2046, section 4.5.1)."""

HEAD_SIZE = 4096
"""How many first bytes are looked at."""

_SCIENCE = {
    ".arrow": "application/vnd.apache.arrow.file",
    ".csv": "text/csv",
    ".feather": "application/vnd.apache.arrow.file",
    ".flac": "audio/flac",
    ".h5": "application/x-hdf5",
    ".hdf5": "application/x-hdf5",
    ".mat": "application/x-matlab-data",
    ".md": "text/markdown",
    ".nii": "application/x-nifti",
    ".npy": "application/x-npy",
    ".npz": "application/zip",
    ".nwb": "application/x-hdf5",
    ".parquet": "application/vnd.apache.parquet",
    ".toml": "application/toml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}

_UNCOMPRESSED = {
    **dict.fromkeys(("br", "bz2", "gz", "lz4", "lzma", "xz", "z", "zst"), ""),
    **dict.fromkeys(("taz", "tbz", "tbz2", "tgz", "tlz", "txz", "tzst"), ".tar"),
    "svgz": ".svg",
}
"""What takes the place of a suffix when the file is decompressed."""

# Python's own table only: what the machine's /etc/mime.types says differs from host to host.
_TYPES = mimetypes.MimeTypes()
for _suffix, _type in _SCIENCE.items():
    _TYPES.add_type(_type, _suffix)

_BEGINNINGS = {
    b"\x1f\x8b": "application/gzip",
    b"\x89HDF\r\n\x1a\n": "application/x-hdf5",
    b"\x93NUMPY": "application/x-npy",
    b"MATLAB 5.0 MAT-file": "application/x-matlab-data",
    b"ARROW1\0\0": "application/vnd.apache.arrow.file",
    b"PAR1": "application/vnd.apache.parquet",
    b"PK\x03\x04": "application/zip",
}
"""What puremagic does not know, or takes for something more special: every zip for a document of Word."""

_ENOUGH_CONFIDENCE, _ENOUGH_BYTES = 0.3, 3
"""Below this, puremagic has matched one or two bytes, which random data also has; else so many, in pieces or not."""


def of_name(name: str) -> str:
    """Return the media type that a file's name tells, or nothing.

    Examples
    --------
    >>> of_name("scan.nwb"), of_name("recording.dat")
    ('application/x-hdf5', '')
    """
    stem, _, suffix = name.rpartition(".")
    return _of_suffix(f".{suffix}") if stem.strip(".") else ""


@lru_cache(maxsize=256)
def _of_suffix(suffix: str) -> str:
    by_name, encoding = _TYPES.guess_type(f"x{suffix}", strict=False)
    if encoding:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(encoding, f"application/x-{encoding}")
    return by_name or ""


def of_content(head: bytes) -> str:
    r"""Return the media type that a file's first bytes tell, `UNKNOWN` if they do not.

    Examples
    --------
    >>> of_content(b"%PDF-1.7\n"), of_content(b"\0\1")
    ('application/pdf', 'application/octet-stream')
    """
    return _by_content(head) or UNKNOWN


def without_compression(name: str) -> str:
    """Return the name of what the compressed file *name* holds; nothing, if the name does not say that it is one.

    Examples
    --------
    >>> without_compression("spikes.csv.gz"), without_compression("run.tgz"), without_compression("spikes.csv")
    ('spikes.csv', 'run.tar', '')
    """
    stem, _, suffix = name.rpartition(".")
    ending = _UNCOMPRESSED.get(suffix.lower())
    return "" if ending is None or not stem else stem + ending


def suffix_for(mime_type: str) -> str:
    """Return a file-name suffix for *mime_type*, or none if it says nothing.

    Examples
    --------
    >>> suffix_for("image/png"), suffix_for("application/octet-stream")
    ('.png', '')
    """
    return "" if mime_type == UNKNOWN else _TYPES.guess_extension(mime_type) or ""


@lru_cache(maxsize=256)  # it is asked for the header and for the row
def _by_content(head: bytes) -> str:
    known = next((mime_type for beginning, mime_type in _BEGINNINGS.items() if head.startswith(beginning)), "")
    if known or not any(head[place] in beginnings for place, beginnings in _beginnings()):
        return known
    try:
        matches = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return ""
    types = (match.mime_type.strip() for match in matches if match.confidence >= _ENOUGH_CONFIDENCE)
    return next(filter(is_mime_type, types), "")  # its table is not all well-formed, and a row must be readable


@cache
def _beginnings() -> list[tuple[slice, set[bytes]]]:
    """Return how the signatures begin that could give enough confidence, by their place.

    Asked first: puremagic compares with a thousand of them in turn.
    """
    found: dict[tuple[int, int], set[bytes]] = {}
    for row in (*puremagic.magic_header_array, *puremagic.magic_footer_array):
        signature = row.byte_match
        if len(signature) >= _ENOUGH_BYTES or signature in puremagic.multi_part_dict:
            beginning = signature[:_ENOUGH_BYTES]
            found.setdefault((row.offset, len(beginning)), set()).add(beginning)
    return [(slice(start, start + length or None), beginnings) for (start, length), beginnings in found.items()]
