"""Sidecars in a project's store: written beside objects before their rows are there, listed and read again.

Like its object a sidecar is written once; only who adopts an object, for the row that it is described for, replaces it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial

from datajoint_file.concurrency.threads import Stop, run_all
from datajoint_file.errors import MetadataError, ObjectExistsError, ObjectNotFoundError
from datajoint_file.model.object_keys import MAX_KEY_BYTES, is_sidecar, sidecar_key
from datajoint_file.model.sidecar import MAX_BYTES, Sidecar
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.storage.backend import ContentHeaders

_HEADERS = ContentHeaders("application/json", is_contested=True)


def write_sidecars(pipeline: Pipeline, sidecars: Sequence[Sidecar]) -> None:
    """Write sidecars, several at a time; where a key would be too long, there is none.

    Raises
    ------
    StorageError
        If the store fails; some may be there then.
    """
    run_all([partial(_write, pipeline, one) for one in sidecars], pipeline.workers, Stop())


def _write(pipeline: Pipeline, sidecar: Sidecar) -> None:
    key, text, backend = sidecar_key(sidecar.file.path), sidecar.to_bytes(), pipeline.backend
    if len(key) > MAX_KEY_BYTES:
        return
    try:
        backend.upload(key, io.BytesIO(text), len(text), _HEADERS)
    except ObjectExistsError:
        backend.delete(key)
        backend.upload(key, io.BytesIO(text), len(text), _HEADERS)


def sidecars_of(pipeline: Pipeline) -> Iterator[tuple[str, Sidecar | MetadataError]]:
    """Give the sidecars of a project, each with its key; of one that cannot be believed why not.

    Raises
    ------
    StorageError
        If the store cannot be listed or read.
    """
    for found in pipeline.backend.list(pipeline.project):
        if is_sidecar(found.key):
            yield found.key, _read(pipeline, found.key)


def sidecar_of(pipeline: Pipeline, path: str) -> Sidecar | MetadataError | None:
    """Return what is beside an object; why not, if it cannot be believed; None if nothing is there.

    Raises
    ------
    StorageError
        If the store cannot be read.
    """
    key = sidecar_key(path)
    try:
        return _read(pipeline, key) if len(key) <= MAX_KEY_BYTES else None
    except ObjectNotFoundError:
        return None


def _read(pipeline: Pipeline, key: str) -> Sidecar | MetadataError:
    with closing(pipeline.backend.open(key)) as file:
        text = file.read(MAX_BYTES + 1)
    try:
        sidecar = Sidecar.from_bytes(text)
    except MetadataError as error:
        return error
    if sidecar_key(sidecar.file.path) != key:
        return MetadataError(f"it speaks of {sidecar.file.path}, beside which it is not")
    return sidecar
