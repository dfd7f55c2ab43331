"""Links to stored files: presigned URLs, which let anybody get one file for a while.

How a store signs them is its own business.
"""

from __future__ import annotations

import math
from datetime import timedelta

from datajoint_file.errors import SigningError, brief
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.model.wording import spoken, timespan
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import ContentHeaders

LONGEST = timedelta(days=7)
"""What S3 and Google Cloud Storage allow."""


def sign(pipeline: Pipeline, metadata: FileMetadata, expires: timedelta | float | str, *, inline: bool) -> str:
    """Return a URL of a stored file; see `FileRef.sign`."""
    seconds = seconds_of(expires)
    headers = ContentHeaders(filename=metadata.original_name, disposition="inline" if inline else "attachment")
    backend = pipeline.stores.of_object(metadata)
    if backend.capabilities.is_mounted:
        raise SigningError(
            f"{metadata.path}: a disk makes no links, as s3, gcs and azure do. Its path is ref.full_path; for others, "
            "let a web application hand the file on"
        ).of(metadata.path)
    pipeline.first.reads.look(metadata)  # what the mirror has, the link does not lead to
    pipeline.reads.require_unchanged(metadata)
    return backend.sign(metadata.path, seconds, headers)


def seconds_of(expires: timedelta | float | str) -> int:
    """Return how many whole seconds are meant, no fewer.

    Raises
    ------
    ValueError, TypeError
        If it is no amount of time, or not one from a second to 7 days.

    Examples
    --------
    >>> seconds_of("1 hour"), seconds_of(timedelta(minutes=5)), seconds_of(0.5)
    (3600, 300, 1)
    """
    seconds = expires if isinstance(expires, float) else timespan(expires, "expires").total_seconds()
    if not 0 < seconds <= LONGEST.total_seconds():  # and nothing that is no number
        raise ValueError(f"expires = {brief(expires)}: a link is good for up to {spoken(LONGEST)}")
    return math.ceil(seconds)
