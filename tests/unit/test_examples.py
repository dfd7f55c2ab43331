"""Examples in docstrings."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import datajoint_file
from datajoint_file.model.object_keys import Cell
from datajoint_file.pipeline.directory_upload import DirectoryUpload
from datajoint_file.pipeline.directoryref import DirectoryRef
from datajoint_file.pipeline.lookup import remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.directories import LocalTree
from datajoint_file.transfer.sources import as_source
from tests.conftest import CACHE_VARIABLE

PACKAGE = Path(datajoint_file.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if ">>>" in path.read_text(encoding="utf-8"))


@pytest.fixture
def ref(pipeline: Pipeline, cell: Cell, tmp_path: Path) -> DirectoryRef:
    """The stored directory of the examples."""
    (tmp_path / "sorted" / "raw").mkdir(parents=True)
    for name, content in {"params.py": b"x = 1\n\n", "raw/day1.csv": b"1, 2", "raw/day2.csv": b"3, 4"}.items():
        (tmp_path / "sorted" / name).write_bytes(content)
    upload = pipeline.plan(as_source(tmp_path / "sorted"), cell)
    assert isinstance(upload.source.tree, LocalTree)
    made = DirectoryUpload(pipeline, upload, upload.source.tree)
    made.send_all()
    remember("the examples", pipeline)
    return DirectoryRef(made.finish(), "the examples")


def test_examples_in_docstrings_run(ref: DirectoryRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    run = 0
    for path in MODULES:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        failed, tried = doctest.testmod(import_module(name), extraglobs={"ref": ref})
        assert not failed, name
        run += tried
    assert run > 100
