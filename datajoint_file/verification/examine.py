"""Examination of what one row names, a file or a directory: what is wrong with it, in whatever way its store fails.

How it is compared is told in `check_object` and `check_directory`.
"""

from __future__ import annotations

from datajoint_file.concurrency.progress import Advance
from datajoint_file.errors import (
    BucketNotFoundError,
    MetadataError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageUnavailableError,
    UnknownProjectError,
    printable,
)
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.object_keys import proof_key
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.verification.check_directory import check_directory
from datajoint_file.verification.check_object import Level, Problem, check_object, missing

_LENGTH = 500


def examine(pipeline: Pipeline, metadata: FileMetadata, level: Level, advance: Advance) -> Problem | None:
    """Compare one object with what a row says of it. Returns what is wrong, or None.

    *advance* is told how many bytes have been read; at the cheaper levels, how many are spoken for.
    """
    pipeline = pipeline.first  # what its mirror has is no answer
    try:
        backend = pipeline.stores.of_object(metadata)
        try:
            return _check(pipeline, metadata, level, advance)
        except ObjectNotFoundError:
            pipeline.stores.require_present(metadata)
            backend.stat(proof_key(metadata.path))  # asked again: a disk that is being unmounted may have said so
            return _check(pipeline, metadata, level, advance)
    except ObjectNotFoundError:
        return missing(metadata)
    except MetadataError as error:
        return Problem("row", "the key of an object", _one_line(error))
    except (StorageUnavailableError, StorageAccessError, BucketNotFoundError) as error:
        return _unreadable(metadata, error, is_unreachable=True)
    except UnknownProjectError as error:
        return _unreadable(metadata, error, is_unreachable=True, is_configured=False)
    except OSError as error:
        return _unreadable(metadata, error)


def _check(pipeline: Pipeline, metadata: FileMetadata, level: Level, advance: Advance) -> Problem | None:
    if metadata.is_directory:
        return check_directory(pipeline, metadata, level, advance)
    return check_object(pipeline.stores.of_object(metadata), metadata, level, advance)


def _unreadable(
    metadata: FileMetadata, error: Exception, *, is_unreachable: bool = False, is_configured: bool = True
) -> Problem:
    return Problem("unreadable", f"an object of {metadata.size} bytes", _one_line(error), is_unreachable, is_configured)


def _one_line(error: Exception) -> str:
    """Return what *error* says, on one line of bounded length: others' programs have their words in it."""
    return printable(" ".join(str(error).split())[:_LENGTH] or type(error).__name__)
