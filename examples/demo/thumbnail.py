"""An image as coloured half blocks, two pixels a character: to look at in a terminal."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
from rich.text import Text
from skimage.transform import resize
from skimage.util import img_as_ubyte


def thumbnail(path: Path, columns: int) -> Text:
    """Return the colour image at *path*, *columns* characters wide."""
    image = iio.imread(path)
    rows = round(columns * image.shape[0] / image.shape[1] / 2)
    pixels = img_as_ubyte(resize(image, (2 * rows, columns), anti_aliasing=True)).tolist()
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", style=f"rgb({_values(above)}) on rgb({_values(below)})")
        text.append("\n")
    return text


def _values(pixel: list[int]) -> str:
    return ",".join(map(str, pixel))
