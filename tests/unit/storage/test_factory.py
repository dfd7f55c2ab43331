"""What is said of a store that cannot be opened as it is configured: file, table, key, and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import load_settings
from datajoint_file.errors import ConfigurationError, StorageUnavailableError
from datajoint_file.storage import open_backend, place_of


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


AZURE = "DefaultEndpointsProtocol=https;AccountName={};AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"


def test_place_tells_servers_and_accounts_apart_and_no_keys(tmp_path: Path) -> None:
    def place(storage: str) -> str:
        path = tmp_path / "datajoint.toml"
        path.write_text(f'[project]\nname = "lab"\n[storage]\n{storage}\n', encoding="utf-8")
        settings = load_settings(path)
        return repr(place_of(settings.storage, settings.directory))

    azure = 'backend = "azure"\ncontainer = "c"\ncredentials = { connection_string = "%s" }'
    bucket, key = 'backend = "s3"\nbucket = "b"\n', 'credentials = { key = "a", secret = "%s" }'
    sftp = 'backend = "sftp"\npath = "/data"\noptions = { host = "%s", password = "secret" }'
    kinds = {
        bucket,
        f'{bucket}endpoint_url = "http://127.0.0.1:9000"',
        f'{bucket}options = {{ client_kwargs = {{ endpoint_url = "http://127.0.0.2:9000" }} }}',
        *(azure % AZURE.format(account) for account in ("one", "two")),
        *(sftp % host for host in ("one", "two")),
    }
    places = {place(kind) for kind in kinds}
    assert len(places) == len(kinds)
    assert not any("secret" in text or "c2VjcmV0" in text for text in places)
    assert place(bucket + key % "one") == place(bucket + key % "two") == place(bucket)
