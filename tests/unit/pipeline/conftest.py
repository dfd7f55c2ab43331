"""Fixtures of the pipeline's tests: directories stored on a local disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.directories import Directory
from datajoint_file.transfer.sources import as_source


@pytest.fixture
def stored_directory(pipeline: Pipeline, cell: Any, tmp_path: Path) -> Callable[..., DirectoryRef]:
    """Store a directory of these files, by path; names that end in a slash are empty directories."""
    remember(str(tmp_path), pipeline)

    def store(files: dict[str, bytes], title: str | None = None) -> DirectoryRef:
        for name, content in files.items():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir()
            else:
                path.write_bytes(content)
        upload = pipeline.plan(as_source(Directory(tmp_path / "tree", title=title)), cell)
        assert upload.source.tree is not None
        directory = DirectoryUpload(pipeline, upload, upload.source.tree)
        directory.send_all()
        return DirectoryRef(directory.finish(), str(tmp_path))

    return store
