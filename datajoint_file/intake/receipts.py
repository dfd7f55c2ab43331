"""Import receipt: a JSON file beside a local one that says where its bytes are stored, and when they were read back.

It is a note for people and programs, and evidence of nothing: who deletes on its account asks row and store again.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datajoint_file.model.names import check_name
from datajoint_file.storage.disk.walk import LinkOnTheWayError
from datajoint_file.transfer.atomic_write import READ_FILE, LocalFile, destination_errors, published
from datajoint_file.transfer.pinned_directory import PinnedDirectory

SUFFIX = ".receipt.json"

OWN_FILES = (f"*{SUFFIX}", ".datajoint-file-*")
"""What `watch` and `free` make beside the files, as patterns of ``gitignore``."""

_WRITTEN_BY = "datajoint-file watch"

_MAX_BYTES = 2**16

_TYPES = {"table": str, "attribute": str, "key": dict, "path": str, "size": int, "hash": str, "modified": int}


@dataclass(frozen=True, slots=True)
class ImportReceipt:
    """What stands in a receipt.

    Parameters
    ----------
    table, attribute : str
        Where its row is: ``lab.Recording``.
    key : mapping of str
        The primary key of the row, as text.
    path, size, hash
        What the row says of it.
    modified : int
        When the local file was modified last, in nanoseconds, as it was when it was inserted.
    verified : str
        When the stored bytes were read back, and found to be these.
    """

    table: str
    attribute: str
    key: Mapping[str, str]
    path: str
    size: int
    hash: str
    modified: int
    verified: str = ""

    def write(self, root: PinnedDirectory, path: str) -> None:
        """Write it beside the file *path* below *root*: it is there as a whole, or not at all."""
        document = {"receipt of": _WRITTEN_BY, "format": 1, **asdict(self)}
        check_name(f"{path.rpartition('/')[2]}{SUFFIX}")
        target, partial_name = f"{root.real}/{path}{SUFFIX}", f".datajoint-file-{secrets.token_hex(8)}.partial"
        within, errors = partial(_directory, root, path.rpartition("/")[0]), partial(destination_errors, Path(target))
        with errors():
            new = LocalFile(target, partial_name, errors, within=within, replaces=True)
        with published(new):
            new.write(0, f"{json.dumps(document, indent=2)}\n".encode())


@contextmanager
def _directory(root: PinnedDirectory, below: str) -> Iterator[int]:
    """Open a directory for a block; one that somebody has put a link in the place of is none."""
    descriptor = root.open_directory(below)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class NoReceiptError(ValueError):
    """There is no receipt, or what is called so is none."""


def read_receipt(root: PinnedDirectory, path: str) -> ImportReceipt:
    """Return the receipt of a file below *root*. Whoever may write there can have written anything into it.

    Raises
    ------
    NoReceiptError
        If there is none that can be used.
    """
    try:
        document = json.loads(_text(root, f"{path}{SUFFIX}"))
    except LinkOnTheWayError:
        raise NoReceiptError("its receipt is a symbolic link, or reached by one") from None
    except FileNotFoundError:
        raise NoReceiptError("it has no receipt") from None
    except OSError as error:
        raise NoReceiptError(f"its receipt cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise NoReceiptError("its receipt is no JSON") from None
    return _checked(document)


def _text(root: PinnedDirectory, path: str) -> str:
    descriptor = root.open(path, READ_FILE)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError("too long")
    return text.decode()


def _checked(document: Any) -> ImportReceipt:
    if not isinstance(document, dict) or document.get("receipt of") != _WRITTEN_BY:
        raise NoReceiptError(f"its receipt is none of `{_WRITTEN_BY}`")
    if document.get("format") != 1:
        raise NoReceiptError("its receipt is of a newer version of datajoint-file")
    for name, kind in _TYPES.items():
        if type(document.get(name)) is not kind:
            raise NoReceiptError(f"its receipt has no {name} that can be used")
    if not all(isinstance(text, str) for text in document["key"].values()):
        raise NoReceiptError("its receipt has no key that can be used")
    return ImportReceipt(**{name: document[name] for name in _TYPES}, verified=str(document.get("verified", "")))
