"""What is said of a store that cannot be opened as it is configured: file, table, key, and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import load_settings
from datajoint_file.errors import ConfigurationError, StorageUnavailableError
from datajoint_file.storage import open_backend


def opened(path: Path, storage: str) -> Any:
    path.write_text(f'[project]\nname = "lab"\n[storage]\n{storage}\n', encoding="utf-8")
    settings = load_settings(path)
    return open_backend(settings.storage, "lab", settings.directory)


@pytest.mark.parametrize(
    ("storage", "key", "advice"),
    [
        ('backend = "s33"\npath = "x"', 'backend = "s33": ', "did you mean s3?; allowed: file, s3, gcs, azure, or"),
        ('backend = "flie"\npath = "x"', 'backend = "flie": ', "did you mean file?"),
        ('backend = "nothing-like-it"\npath = "x"', 'backend = "nothing-like-it": ', "unknown; allowed: file, s3"),
        ('backend = "s3"\nbucket = "${env:NOT_SET}"', "the secret ${env:NOT_SET}", "is not set"),
        ('backend = "file"\npath = "${env:NOT_SET}/x"', "the secret ${env:NOT_SET}", "is not set"),
        ('backend = "s3"\nbucket = "b"\nprefix = "${env:PREFIX}"', 'prefix = "${env:PREFIX}": ', "'..'"),
    ],
)
def test_message_begins_with_file_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str, key: str, advice: str
) -> None:
    monkeypatch.setenv("PREFIX", "a/../b")
    path = tmp_path / "datajoint.toml"
    with pytest.raises(ConfigurationError) as caught:
        opened(path, storage)
    assert f"{path}: [storage] {key}" in str(caught.value).replace("[storage]: ", "[storage] ")
    assert str(caught.value).startswith(str(path))
    assert advice in str(caught.value)


def test_directory_that_is_a_file_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "objects").touch()
    backend = opened(tmp_path / "datajoint.toml", 'backend = "file"\npath = "objects"')
    with pytest.raises(StorageUnavailableError, match="objects is a file") as caught:
        backend.exists("lab/x/y.dat")
    assert "mounted" not in str(caught.value)
