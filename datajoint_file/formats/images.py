"""Images as arrays: PNG, JPEG and TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datajoint_file.formats.limits import check_growth, unpacked_sizes


def save_png(array: Any, path: Path) -> None:
    """Write what PNG can hold: grey of 8 or 16 bits, colours of 8, with or without transparency."""
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(array)).save(path, "PNG")


def load_png(stream: BinaryIO) -> Any:
    """Read an image; colours of a palette are looked up."""
    return _load(stream, "PNG")


def load_jpg(stream: BinaryIO) -> Any:
    """Read an image, as it is stored: not turned as the camera was."""
    return _load(stream, "JPEG")


def save_tif(array: Any, path: Path) -> None:
    """Write an array of any number of dimensions, uncompressed."""
    import tifffile

    is_coloured = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype in (np.uint8, np.uint16)
    tifffile.imwrite(path, array, photometric="rgb" if is_coloured else "minisblack")


def load_tif(stream: BinaryIO) -> Any:
    """Read the first series of a file, and no other files that it may name."""
    import tifffile

    stream.seek(0, 2)
    size = stream.tell()
    stream.seek(0)
    with tifffile.TiffFile(stream, _multifile=False) as file:
        series = file.series[0]
        check_growth(int(series.nbytes), size)
        _check_strips([page for page in series.pages if page is not None], stream, size)
        return file.asarray()


_DEFLATE = (8, 32946, 50013)
_LZMA = 34925


def _check_strips(pages: list[Any], stream: BinaryIO, stored: int) -> None:
    """Raise if strips and tiles become too large, whatever their pages say of them: tifffile unpacks all of each."""
    check_growth(sum(sum(page.databytecounts) for page in pages), stored)
    unpacked = 0
    for page in pages:
        if page.compression in (*_DEFLATE, _LZMA):
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                stream.seek(offset)
                for size in unpacked_sizes(stream.read(length), is_lzma=page.compression == _LZMA):
                    check_growth(unpacked := unpacked + size, stored)


def _load(stream: BinaryIO, kind: str) -> Any:
    """Read an image of one kind: other ones are not looked for. Pillow refuses those of too many pixels."""
    from PIL import Image

    with Image.open(stream, formats=(kind,)) as image:
        if image.mode in ("P", "PA"):
            return np.array(image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB"))
        pixels = np.array(image)
        return pixels.view(np.uint8) != 0 if pixels.dtype == bool else pixels  # of 255 for true, to which 1 is unequal
