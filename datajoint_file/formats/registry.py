"""Registry of formats: which function writes an object of which type, and which one reads it, by suffix.

It imports no library of a format before one is used, and opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal

from datajoint_file.errors import (
    DataJointFileError,
    FormatError,
    MissingLibraryError,
    UnsupportedValueError,
    brief,
    printable,
)
from datajoint_file.model.names import SUFFIX

GROUP = "datajoint_file.formats"
"""Entry points of other packages: their names are suffixes, what they name is a module that registers them."""

Load = Callable[[Any], Any]
Save = Callable[[Any, Path], None]

Takes = Literal["stream", "path", "directory"]
"""What a reader is called with: an open binary file, its path, or the files of a directory by name."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format: how its files are written and read.

    What a writer has written is read again at once. Where *differs* finds a difference, it is refused.
    """

    suffix: str
    load: Load | None
    save: Save | None = None
    types: tuple[str, ...] = ()  # which it writes, by full name; no subclasses, which would come back as another type
    takes: Takes = "path"
    differs: Callable[[Any, Any], str] | None = None  # says how what was given differs from what comes back
    media_types: tuple[str, ...] = ()
    pip: str = ""
    instead: str = ""  # what to do with what cannot come back from it

    @property
    def is_directory(self) -> bool:
        """Whether its files are directories."""
        return self.takes == "directory"


def _within(name: str) -> Callable[..., Any]:
    """Return the function ``module.function`` of this room, which is imported when it is called."""
    module, _, function = name.partition(".")

    def called(*args: Any) -> Any:
        return getattr(import_module(f"datajoint_file.formats.{module}"), function)(*args)

    return called


def _built_in(
    suffixes: str, module: str, types: Iterable[str] = (), *, takes: Takes = "stream", differs: str = "", **more: Any
) -> list[Format]:
    kind = suffixes.split()[0].removeprefix(".")
    save = _within(f"{module}.save_{kind}") if types else None
    compare = _within(differs) if differs else None
    load = _within(f"{module}.load_{kind}")
    first, *others = suffixes.split()
    media_types = more.pop("media_types", ())
    formats = [Format(first, load, save, tuple(types), takes, compare, media_types, **more)]
    return formats + [Format(suffix, load, save, tuple(types), takes, compare, **more) for suffix in others]


_FRAME, _ARRAY, _DATASET = "pandas.DataFrame", "numpy.ndarray", "xarray.Dataset"
_OTHER_IMAGE = "give it as .tif, or .npy"

_BUILT_IN = [
    *_built_in(".txt", "text", ["str"], differs="sameness.differs", media_types=("text/plain",)),
    *_built_in(
        ".json", "text", ["dict", "list"], differs="sameness.differs", media_types=("application/json",),
        instead="give dictionaries with names that are text, lists, text, numbers",
    ),
    *_built_in(
        ".yaml .yml", "text", ["dict", "list"], differs="sameness.differs", media_types=("application/yaml",),
        pip="pyyaml", instead="give dictionaries, lists, text, numbers, dates",
    ),
    *_built_in(
        ".csv", "tables", [_FRAME], differs="sameness.frames_differ", media_types=("text/csv",), pip="pandas",
        instead="give it as .parquet, which keeps types and the index",
    ),
    *_built_in(
        ".tsv", "tables", [_FRAME], differs="sameness.frames_differ", media_types=("text/tab-separated-values",),
        pip="pandas", instead="give it as .parquet, which keeps types and the index",
    ),
    *_built_in(
        ".parquet", "tables", [_FRAME], differs="sameness.frames_differ", pip="pandas 'pyarrow>=16'",
        media_types=("application/vnd.apache.parquet",), instead="give each column one type, and names that are text",
    ),
    *_built_in(
        ".feather", "tables", [_FRAME], differs="sameness.frames_differ", pip="pandas 'pyarrow>=16'",
        instead="give it as .parquet, which keeps the index and attrs",
    ),
    *_built_in(".npy", "arrays", [_ARRAY], media_types=("application/x-npy",), instead="give an array of numbers"),
    *_built_in(".npz", "arrays", ["dict"], differs="sameness.differs", instead="give a dictionary of arrays by name"),
    *_built_in(
        ".mat", "matlab", ["dict"], differs="sameness.values_differ", media_types=("application/x-matlab-data",),
        pip="scipy", instead="give arrays of two dimensions or more, or .npz",
    ),
    *_built_in(
        ".png", "images", [_ARRAY], differs="sameness.values_differ", media_types=("image/png",), pip="pillow",
        instead=_OTHER_IMAGE,
    ),
    *_built_in(".jpg .jpeg", "images", media_types=("image/jpeg",), pip="pillow"),
    *_built_in(
        ".tif .tiff", "images", [_ARRAY], differs="sameness.values_differ", media_types=("image/tiff",),
        pip="tifffile", instead="give it as .npy",
    ),
    *_built_in(
        ".wav", "sound", ["tuple"], differs="sameness.values_differ", media_types=("audio/x-wav", "audio/wav"),
        pip="scipy", instead="give (rate, array) of int16, int32, uint8, float32 or float64, or .npz",
    ),
    *_built_in(
        ".h5 .hdf5", "hdf5", takes="path", media_types=("application/x-hdf5",), pip="h5py"
    ),
    *_built_in(".nwb", "hdf5", ["pynwb.NWBFile"], takes="path", pip="pynwb"),
    *_built_in(
        ".h5ad", "hdf5", ["anndata.AnnData"], takes="path", differs="sameness.annotated_differ", pip="anndata"
    ),
    *_built_in(
        ".nc", "datasets", [_DATASET], differs="sameness.datasets_differ", media_types=("application/x-netcdf",),
        pip="xarray h5netcdf scipy", instead="give it as .zarr",
    ),
    *_built_in(
        ".zarr", "datasets", [_DATASET, _ARRAY], takes="directory", differs="sameness.datasets_differ",
        pip="xarray zarr", instead="give an array of numbers, or .npy",
    ),
]  # fmt: skip

_formats: dict[str, Format] = {format_.suffix: format_ for format_ in _BUILT_IN}

DEFAULTS = {"DataFrame": ".parquet", "ndarray": ".npy", "AnnData": ".h5ad", "NWBFile": ".nwb"}
"""Which format an object gets that is given without a name, unless ``[formats]`` says otherwise."""


def register(
    suffix: str,
    *,
    load: Callable[[Path], Any] | None = None,
    save: Callable[[Any, Path], None] | None = None,
    types: Iterable[type | str] = (),
    differs: Callable[[Any, Any], str] | None = None,
    media_types: Iterable[str] = (),
    replace: bool = False,
) -> None:
    """Add a format, in this process.

    A package adds its formats to every process by an entry point in the group ``datajoint_file.formats``: its name is
    the suffix, what it names is the module that calls `register`; it is imported when a file of that suffix is met.

    Parameters
    ----------
    suffix : str
        With its dot: ``".xyz"``, ``".nii.gz"``. Capitals make no difference.
    load : callable, optional
        Called with the path of a local file whose bytes have been verified; returns the object. It must not run what
        the file says: rows and their files may come from others.
    save : callable, optional
        Called with an object and the path of a file that it is to write.
    types : classes, or their full names
        What it writes. Subclasses are not taken, since they would come back as something else: name them as well.
    differs : callable, optional
        Called with the object and what *load* returns for what was written; says how they differ, and nothing (``""``)
        if they do not. With it, an insert refuses what would not come back as it is.
    media_types : str
        Files without a known suffix are loaded by their media type.
    replace : bool
        Take the place of a format of that suffix.

    Raises
    ------
    ValueError
        If *suffix* is none, has a format already, or there is neither *load* nor *save*, or *save* without *types*.

    Examples
    --------
    >>> from datajoint_file import formats
    >>> formats.register(".events", load=lambda path: path.read_text().split(), replace=True)
    """
    lower = suffix.lower()
    if not is_suffix(lower):
        raise ValueError(f"suffix = {brief(suffix)}: give a dot, and letters and digits, such as '.xyz' or '.nii.gz'")
    if lower in _formats and not replace:
        raise ValueError(f"{lower} has a format already; replace=True takes its place")
    names = tuple(kind if isinstance(kind, str) else type_name(kind) for kind in types)
    if (load or save) is None or (save is None) != (not names):
        raise ValueError(f"{lower}: give load=, or save= with the types= that it writes, or all three")
    _formats[lower] = Format(lower, load, save, names, "path", differs, tuple(media_types))


def is_suffix(text: str) -> bool:
    """Tell whether *text* is a suffix as formats have them.

    Examples
    --------
    >>> is_suffix(".nii.gz"), is_suffix("csv"), is_suffix(".a/b")
    (True, False, False)
    """
    return re.fullmatch(SUFFIX, text) is not None


def type_name(kind: type) -> str:
    """Return the name of a type, with that of its package, wherever in that it is defined.

    Examples
    --------
    >>> type_name(dict), type_name(Path)
    ('dict', 'pathlib.Path')
    """
    package = kind.__module__.partition(".")[0]
    return kind.__qualname__ if package == "builtins" else f"{package}.{kind.__qualname__}"


def format_of(name: str, media_type: str | None = None) -> Format | None:
    """Return the format of a file by its name, of which the longest suffix decides; else by its media type.

    Examples
    --------
    >>> format_of("day1.CSV").suffix, format_of("day1", "image/png").suffix, format_of("day1.xyz")
    ('.csv', '.png', None)
    """
    parts = name.lower().split(".")[1:]
    for start in range(len(parts)):
        if (found := _by_suffix("." + ".".join(parts[start:]))) is not None:
            return found
    if not media_type:
        return None
    return next((one for one in _formats.values() if media_type in one.media_types), None)


def chosen(suffix: str) -> Format:
    """Return the format of a suffix that somebody asks for.

    Raises
    ------
    UnsupportedValueError
        If there is none.
    """
    found = _by_suffix(str(suffix).lower())
    if found is None:
        raise UnsupportedValueError(f"format = {brief(suffix)} is none of the formats {suffixes()}")
    return found


def is_written(kind: str) -> bool:
    """Tell whether there is a format for objects of the type of this name."""
    return any(kind in one.types for one in _formats.values())


def written_by(kind: str) -> list[str]:
    """Return the suffixes of the formats for objects of the type of this name."""
    return [one.suffix for one in _formats.values() if kind in one.types]


def refusal(name: str, kind: str) -> str:
    """Say why an object of the type *kind* cannot be stored as *name*, and what would be possible."""
    writers = written_by(kind)
    wanted = format_of(name)
    told = f"({brief(name)}, {kind}): no format writes an object of type {kind} into a file of this name"
    if writers:
        told += f"; name it {', '.join(writers)}"
    if wanted is not None:
        what = " or ".join(wanted.types) or "nothing"
        told += f"; {wanted.suffix} takes {what}"
    return f"{told}. {_way_on(kind)}; datajoint_file.formats.register adds formats"


def _way_on(kind: str) -> str:
    if kind.endswith(".Figure"):
        return "Let figure.savefig(stream, format=…) write into an io.BytesIO, and give (name, stream.getvalue())"
    return "Else write it yourself, and give the path of the file, or (name, bytes)"


def suffixes(*, is_directory: bool = False) -> str:
    """Name all formats of files, or of directories, that can be read."""
    readable = (one for one in _formats.values() if one.load is not None and one.is_directory == is_directory)
    return ", ".join(sorted(one.suffix for one in readable))


def call(format_: Format, what: str, function: Callable[..., Any], *args: Any, hint: str = "") -> Any:
    """Call a reader or writer, and say of its errors that they are about *what*, and the *hint* what else to do.

    Raises
    ------
    MissingLibraryError
        If its library is not installed.
    FormatError
        If it fails.
    """
    try:
        return function(*args)
    except FormatError as error:
        raise error.within(what) from error
    except DataJointFileError:  # of the store, where files are read when they are used
        raise
    except ImportError as error:
        line = f"pip install {format_.pip}" if format_.pip else "install it"
        raise MissingLibraryError(f"{what}: the format {format_.suffix} needs a library: {line} ({error})") from error
    except Exception as error:  # any library, any error
        told = printable((str(error).splitlines() or [""])[0])  # some go on with a part of the content
        reason = f"{type(error).__name__}: {told if len(told) <= 160 else told[:157] + '...'}"
        raise FormatError(f"{what}: as {format_.suffix} it fails by {reason}{hint and f'; {hint}'}") from error


def _by_suffix(suffix: str) -> Format | None:
    if suffix not in _formats and (point := _entry_points().get(suffix)) is not None:
        point.load()
        if suffix not in _formats:
            raise FormatError(f"{point.value} is to register the format {suffix}, and does not: ask who made it")
    return _formats.get(suffix)


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name.lower(): point for point in entry_points(group=GROUP)}
