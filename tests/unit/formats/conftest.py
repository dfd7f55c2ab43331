"""What the tests of formats share: an object stored as an insert would, in a project on the local disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.formats.objects import ObjectFiles
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.directoryref import DirectoryRef, ref_of
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.sources import as_source

Keep = Callable[..., "FileRef | DirectoryRef"]


@pytest.fixture
def files() -> Iterator[ObjectFiles]:
    made = ObjectFiles()
    yield made
    made.remove()


@pytest.fixture
def keep(pipeline: Pipeline, cell: Cell, tmp_path: Path, files: ObjectFiles) -> Keep:
    """Store a value, and return its reference."""
    remember(str(tmp_path), pipeline)

    def kept(value: Any, formats: dict[str, str] | None = None) -> FileRef | DirectoryRef:
        source = as_source(files.stored(value, cell.attribute, lambda: formats or {}, is_sent=False))
        upload = pipeline.plan(source, cell)
        if upload.source.tree is None:
            return ref_of(pipeline.ingest(upload).to_json(), str(tmp_path))
        directory = DirectoryUpload(pipeline, upload, upload.source.tree)
        directory.send_all()
        return ref_of(directory.finish().to_json(), str(tmp_path))

    return kept
