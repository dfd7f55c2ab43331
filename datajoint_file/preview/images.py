"""Readers of images: a small picture, decoded by Pillow or tifffile, and written anew as PNG.

How large it becomes is asked before it is decoded. Of a stack the first page is shown.
"""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from typing import Any, cast

import numpy as np

from datajoint_file.model.wording import counted
from datajoint_file.preview.shown import Picture, Preview
from datajoint_file.preview.stream import BudgetSpentError, Metered, Subject

SIDE = 480
"""Pixels of the longer side of a picture."""

MOST_DECODED = 128 * 2**20
"""Bytes that an image may have in memory."""

_KINDS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Those whose decoders run no other program (as Ghostscript) and open no other file."""

_BYTES = {"I;16": 2, "I;16B": 2, "I;16L": 2, "I": 4, "F": 4}
_SCALED = tuple(_BYTES)
_UNCOMPRESSED = 1  # of TIFF 6.0


def picture(stream: Metered, subject: Subject) -> Preview:
    """Show an image."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too many pixels, and of damaged metadata
        with Image.open(cast("Any", stream), formats=_KINDS) as image:
            facts = (f"{image.width:,} x {image.height:,} pixels", _mode(image), *_pages(image))
            image.draft(None, (SIDE, SIDE))  # JPEG is decoded at a fraction of its size
            decoded = image.width * image.height * _BYTES.get(image.mode, len(image.getbands()))
            if decoded > MOST_DECODED:
                return Preview(subject.name, facts, notes=(f"too large for a picture: {decoded:,} bytes in memory",))
            try:
                return Preview(subject.name, facts, (_small(image),))
            except BudgetSpentError:
                return Preview(subject.name, facts, notes=("too much would have to be read for a picture",))


def tiff(stream: Metered, subject: Subject) -> Preview:
    """Show the first page, by tifffile if Pillow does not know its kind."""
    from PIL import UnidentifiedImageError

    try:
        return picture(stream, subject)
    except (UnidentifiedImageError, ValueError, KeyError):
        if stream.is_spent or stream.failure is not None:
            raise
    stream.seek(0)
    return _page(stream, subject)


def _mode(image: Any) -> str:
    words = {"1": "black and white", "L": "grey", "P": "palette", "F": "float32", "I": "int32", "LA": "grey, alpha"}
    return "uint16" if image.mode.startswith("I;16") else words.get(image.mode, image.mode)


def _pages(image: Any) -> tuple[str, ...]:
    if image.format != "TIFF":
        return ()
    place = image.fp.tell()
    try:
        return (counted(image.n_frames, "page"),) if image.n_frames > 1 else ()
    finally:
        image.fp.seek(place)


def _small(image: Any) -> Picture:
    from PIL import Image

    if image.mode in _SCALED:
        image = Image.fromarray(_grey(np.asarray(image)))
    elif image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if "transparency" in image.info else "L" if image.mode == "1" else "RGB")
    image.thumbnail((SIDE, SIDE))
    written = io.BytesIO()
    clean = Image.frombytes(image.mode, image.size, image.tobytes())  # without what it says of itself
    clean.save(written, "PNG")
    return Picture(written.getvalue(), image.width, image.height)


def _grey(values: Any) -> Any:
    """Return the values of a plane as grey, from the least to the greatest."""
    step = max(1, -(-max(values.shape) // SIDE))
    plane = values[::step, ::step].astype("float64")
    finite = plane[np.isfinite(plane)] / 2  # so that no difference is too large
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    span = high - low or 1.0
    return (np.nan_to_num((plane / 2 - low) / span, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype("uint8")


def _page(stream: Metered, subject: Subject) -> Preview:
    import tifffile
    from PIL import Image

    with tifffile.TiffFile(cast("Any", stream), _multifile=False) as file:
        page: Any = file.pages.first
        facts: tuple[str, ...] = (" x ".join(f"{side:,}" for side in page.shape), str(page.dtype))
        with suppress(BudgetSpentError):
            facts = (*facts, counted(len(file.pages), "page"))
        if page.compression != _UNCOMPRESSED or not 0 < page.nbytes <= MOST_DECODED:
            return Preview(subject.name, facts, notes=("it has no picture that can be made safely",))
        plane = np.squeeze(page.asarray())
    while plane.ndim > 2:
        plane = plane[..., 0] if plane.shape[-1] <= 4 else plane[0]
    if plane.ndim < 2 or plane.dtype.kind not in "biuf":
        return Preview(subject.name, facts)
    return Preview(subject.name, facts, (_small(Image.fromarray(_grey(plane))),))
