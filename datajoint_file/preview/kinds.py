"""Table of readers by media type, and what is shown where the reader of a type fails.

The media type is that of the file's name, else of its row, else of its first bytes.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from contextlib import closing
from importlib import import_module

from datajoint_file.errors import printable
from datajoint_file.model import media_types
from datajoint_file.model.wording import format_size
from datajoint_file.preview.shown import Preview
from datajoint_file.preview.stream import Metered, Subject
from datajoint_file.preview.text import hexdump, is_text, text

_READERS = {
    "application/gzip": "kinds:compressed",
    "application/json": "text:json_text",
    "application/vnd.apache.arrow.file": "tables:feather",
    "application/vnd.apache.parquet": "tables:parquet",
    "application/x-hdf5": "hdf5:tree",
    "application/x-matlab-data": "arrays:matlab",
    "application/x-netcdf": "netcdf:netcdf",
    "application/x-npy": "arrays:npy",
    "application/zip": "arrays:archive",
    "text/csv": "text:table",
    "text/tab-separated-values": "text:table",
    **dict.fromkeys((f"image/{kind}" for kind in ("bmp", "gif", "jpeg", "png", "webp")), "images:picture"),
    "image/tiff": "images:tiff",
    **dict.fromkeys(("audio/vnd.wave", "audio/wav", "audio/wave", "audio/x-wav"), "sound:wave"),
    **dict.fromkeys(("audio/flac", "audio/ogg", "audio/x-flac"), "sound:sound"),
}

_PACKAGES = {"PIL": "pillow"}
"""What pip calls a module, where it is not its name."""


Reader = Callable[[Metered, Subject], Preview]


def preview_file(subject: Subject) -> Preview:
    """Return what there is to see of a file; read no more of it than that takes, and never more than 32 MiB.

    Raises
    ------
    StorageError
        If the store fails, or has no such object. That a file is damaged, or of no known kind, is no error: its first
        bytes are shown then.
    """
    with closing(subject.open()) as file:
        head = file.read(media_types.HEAD_SIZE)
        kind, stream = media_type(subject, head), Metered(file, subject.size)
        shown = _shown(stream, subject, kind, head)
    if stream.failure is not None:  # however the library that has met it has put it, or hidden it
        raise stream.failure
    return shown.with_facts(format_size(subject.size), kind)


def media_type(subject: Subject, head: bytes) -> str:
    """Return the media type by which a file is read."""
    said = subject.mime_type if subject.mime_type != media_types.UNKNOWN else None
    return media_types.of_name(subject.name) or said or media_types.of_content(head)


def reader_of(kind: str) -> Reader | None:
    """Return what reads files of a media type; None if they are known by nothing but their first bytes."""
    module, _, function = _READERS.get(kind, "").partition(":")
    if not module:
        return None
    reader: Reader = getattr(import_module(f"datajoint_file.preview.{module}"), function)
    return reader


def _shown(stream: Metered, subject: Subject, kind: str, head: bytes) -> Preview:
    if not subject.size:
        return Preview(subject.name, ("empty",))
    stream.seek(0)
    try:
        reader = reader_of(kind)
        return _plain(stream, subject, kind, head) if reader is None else reader(stream, subject)
    except Exception as error:  # noqa: BLE001 - any library may raise any error for bytes that anybody has written
        return _first_bytes(subject, head, why_not(error, stream, kind))


def _plain(stream: Metered, subject: Subject, kind: str, head: bytes) -> Preview:
    if is_text(head) or (kind.startswith("text/") and b"\0" not in head):
        return text(stream, subject)
    return _first_bytes(subject, head)


def _first_bytes(subject: Subject, head: bytes, *notes: str) -> Preview:
    return Preview(subject.name, parts=(hexdump(head),), notes=notes)


def compressed(stream: Metered, subject: Subject) -> Preview:
    """Show the beginning of what gzip has compressed, as far as a beginning is enough for what it is."""
    data = stream.read(min(_BEGINNING, subject.size))
    unpacked = zlib.decompressobj(wbits=31).decompress(data, _BEGINNING)
    name = media_types.without_compression(subject.name)
    inner = Subject(name, _BEGINNING + 1, None, lambda: io.BytesIO(unpacked))
    kind = media_type(inner, unpacked)
    is_read = _READERS.get(kind, "").startswith("text:") or is_text(unpacked)
    reader = (reader_of(kind) or text) if is_read else None
    shown = reader(Metered(inner.open(), len(unpacked)), inner) if reader else _first_bytes(inner, unpacked)
    return Preview(subject.name, (f"in it {kind}", *shown.facts), shown.parts, shown.notes)


def why_not(error: Exception, stream: Metered, kind: str) -> str:
    """Return why a file cannot be shown as what it is."""
    if isinstance(error, ImportError):
        module = (error.name or "").partition(".")[0]
        return f"to see what is in it: pip install {_PACKAGES.get(module, module) or kind}"
    if stream.is_spent:
        return TOO_LARGE
    told = printable(" ".join(str(error).split()))[:LONGEST_REASON]
    return f"it cannot be shown as {kind}: {type(error).__name__}{told and f': {told}'}"


TOO_LARGE = "too large to preview: open it with ref.open(), or ref.download() it, and the library for its format"

LONGEST_REASON = 160

_BEGINNING = 64 * 1024
