"""An imaging pipeline: scans from the microscope, and the cells found in them, with their images as `file` attributes.

Copy from here. It runs on any database that DataJoint is configured for, with the storage of the nearest
`datajoint.toml`::

    python examples/imaging.py

The two images come with scikit-image, so nothing is downloaded: `ihc.png`, human colon stained for a protein (brown)
and for nuclei (blue), and `cell.png`, a cell floating in saline (Müller et al., Optics Express 26, 10729, 2018).
"""

from io import BytesIO
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datajoint as dj
import imageio.v3 as iio
import numpy as np
import skimage.data
from numpy.typing import NDArray
from scipy import ndimage
from skimage.color import gray2rgb, rgb2hed
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label
from skimage.morphology import h_maxima
from skimage.segmentation import mark_boundaries, watershed
from skimage.util import img_as_ubyte

import datajoint_file  # makes `file` a type

IMAGES = Path(skimage.data.__file__).parent

schema = dj.Schema("demo_imaging")


@schema
class Subject(dj.Manual):
    definition = """
    subject_id  : int32
    ---
    description : varchar(80)
    """


@schema
class Scan(dj.Manual):
    definition = """
    -> Subject
    scan_id  : int32
    ---
    modality : varchar(40)
    raw      : file          # the image, as the microscope wrote it
    """


@schema
class Segmentation(dj.Computed):
    definition = """
    -> Scan
    ---
    n_cells : int32
    mask    : file           # 0 is background; 1, 2, … are cells
    preview : file           # the scan with its cells outlined
    largest : file           # a folder: the largest cells, an image each
    """

    def make(self, key: dict[str, Any]) -> None:
        raw = (Scan & key).fetch1("raw")  # a FileRef: nothing is read yet
        image = iio.imread(BytesIO(raw.read()))  # verified bytes
        cells = find_cells(image)
        name = Path(raw.original_name).stem
        with TemporaryDirectory() as scratch:
            cut_out(image, cells, Path(scratch))
            self.insert1(
                {
                    **key,
                    "n_cells": cells.max(),
                    "mask": (f"{name}-mask.tif", as_stream(cells, ".tif")),
                    "preview": (
                        f"{name}-preview.png",
                        as_stream(outline(image, cells), ".png"),
                    ),
                    "largest": datajoint_file.Directory(scratch, name=f"{name}-largest"),
                }
            )


def find_cells(image: NDArray[Any]) -> NDArray[np.uint16]:
    """Label the cells of a grey image, or the nuclei of a stained one (height, width, RGB)."""
    signal = rgb2hed(image)[..., 0] if image.ndim == 3 else image  # haematoxylin, which stains nuclei
    smooth = gaussian(signal, sigma=1.5)
    inside = ndimage.binary_opening(smooth > threshold_otsu(smooth), iterations=2)
    depth = ndimage.distance_transform_edt(inside)
    seeds = label(h_maxima(depth, 1))  # cells that touch have a seed each
    return np.asarray(watershed(-depth, seeds, mask=inside), np.uint16)


def outline(image: NDArray[Any], cells: NDArray[Any]) -> NDArray[np.uint8]:
    """Draw the borders of the cells into the image."""
    rgb = image if image.ndim == 3 else gray2rgb(image)
    return np.asarray(img_as_ubyte(mark_boundaries(rgb, cells, color=(1, 1, 0))))


def cut_out(image: NDArray[Any], cells: NDArray[Any], directory: Path, count: int = 4) -> None:
    """Write the largest cells into a directory, each as an image."""
    sizes, boxes = np.bincount(cells.ravel())[1:], ndimage.find_objects(cells)
    for index in np.argsort(-sizes, kind="stable")[:count]:
        iio.imwrite(directory / f"cell{index + 1}.png", image[boxes[index]])


def as_stream(image: NDArray[Any], extension: str) -> BytesIO:
    """Write an image into memory."""
    stream = BytesIO()
    iio.imwrite(stream, image, extension=extension)
    stream.seek(0)  # a stream is inserted from where it stands
    return stream


def insert_scans() -> None:
    """Enter what the experimenter knows. Rows that are there already are skipped, and their files not sent again."""
    Subject.insert(
        [
            {"subject_id": 1, "description": "human colon"},
            {"subject_id": 2, "description": "cell in saline"},
        ],
        skip_duplicates=True,
    )
    Scan.insert(
        [
            {"subject_id": 1, "scan_id": 1, "modality": "immunohistochemistry", "raw": IMAGES / "ihc.png"},
            {"subject_id": 2, "scan_id": 1, "modality": "quantitative phase", "raw": IMAGES / "cell.png"},
        ],
        skip_duplicates=True,
    )


def download_previews(directory: str | PathLike[str]) -> list[Path]:
    """Put copies of the previews where one can look at them."""
    return [
        row["preview"].download(Path(directory) / f"subject{row['subject_id']}-scan{row['scan_id']}.png")
        for row in Segmentation()
    ]


if __name__ == "__main__":
    insert_scans()
    Segmentation.populate()
    for row in Segmentation * Scan:
        print(f"{row['raw'].original_name}: {row['n_cells']} cells, {row['mask']}")
    for path in download_previews("downloads"):
        print(f"look at {path}")
